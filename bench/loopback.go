package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// clients send requests to a server at once, each on a connection of its own.
const clients = 8

// ofBare is the part of the bare server's rate that is left with sessions.
const ofBare = 0.85

// loopback measures how many requests a real server answers in a second of
// processor time, its clients' included, when it reads one value of a session in
// memory, beside the server that has no sessions. On a machine with nothing else
// to do all processors are busy meanwhile, and that is the rate on the wall.
func loopback(c config) (_ []line, err error) {
	apps, err := inMemory()
	if err != nil {
		return nil, err
	}
	apps[0] = app{name: "the bare server", read: http.HandlerFunc(page)}
	var servers []*server
	defer func() {
		for _, s := range servers {
			err = errors.Join(err, s.close())
		}
	}()
	for i, a := range apps {
		cookie := "session=0123456789012345678901234567890123456789012"
		if i > 0 {
			if cookie, err = a.enter(); err != nil {
				return nil, err
			}
		}
		s, err := newServer(a, cookie)
		if err != nil {
			return nil, err
		}
		servers = append(servers, s)
	}
	rates, err := measureServers(c, servers)
	if err != nil {
		return nil, err
	}
	bare, ours := rates[0], rates[1]
	perSecond := func(i int) string { return digits(median(rates[i])) + "/s" }
	percent := func(x float64) string { return digits(100*x) + " %" }
	lines := []line{{
		what: "loopback HTTP, memory, read", floor: perSecond(0), ours: perSecond(1),
		overFloor: percent(ratio(ours, bare)),
		goal:      "≥ " + percent(ofBare) + " of the bare server", holds: yes(ratio(ours, bare) >= ofBare),
	}}
	for i := 2; i < len(apps); i++ {
		if i > 2 {
			lines = append(lines, line{})
		}
		l := &lines[len(lines)-1]
		l.peer = fmt.Sprintf("%s %s (%s of the bare server)", apps[i].name, perSecond(i), percent(ratio(rates[i], bare)))
		l.name, l.counts = apps[i].name, fmt.Sprintf("%s; 100 %%; %s", percent(ratio(ours, bare)), percent(ratio(rates[i], bare)))
		l.overPeer = times(ratio(ours, rates[i]))
	}
	return lines, nil
}

// measureServers lets the servers answer by turns, and returns requests a second of
// processor time, round by round.
func measureServers(c config, servers []*server) ([][]float64, error) {
	rates := make([][]float64, len(servers))
	for round := range c.rounds + 1 {
		n, spent := make([]int64, len(servers)), make([]time.Duration, len(servers))
		for range slicesOfTurn {
			for i, s := range servers {
				answers, took, err := s.load(c.turn / slicesOfTurn)
				if err != nil {
					return nil, err
				}
				n[i] += answers
				spent[i] += took
			}
		}
		if round == 0 {
			continue // warm-up
		}
		for i := range servers {
			rates[i] = append(rates[i], float64(n[i])/spent[i].Seconds())
		}
	}
	return rates, nil
}

// A server answers on the loopback interface, to clients whose connections stay.
type server struct {
	http    http.Server
	served  chan error
	request []byte
	conns   [clients]net.Conn
	readers [clients]*bufio.Reader
}

func newServer(a app, cookie string) (*server, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &server{served: make(chan error, 1)}
	s.http.Handler = a.read
	go func() { s.served <- s.http.Serve(ln) }()
	s.request = fmt.Appendf(nil, "GET / HTTP/1.1\r\nHost: %s\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\nAccept: text/html,*/*;q=0.8\r\nCookie: %s\r\n\r\n", ln.Addr(), cookie)
	for i := range s.conns {
		if s.conns[i], err = net.Dial("tcp", ln.Addr().String()); err != nil {
			return nil, err
		}
		s.readers[i] = bufio.NewReader(s.conns[i])
	}
	return s, nil
}

func (s *server) close() error {
	for _, c := range s.conns {
		c.Close()
	}
	err := s.http.Close()
	<-s.served
	return err
}

// load sends requests for so long and returns how many were answered, and what
// that took of the processors.
func (s *server) load(long time.Duration) (answers int64, took time.Duration, err error) {
	var n atomic.Int64
	var errs [clients]error
	var wg sync.WaitGroup
	start, busy := time.Now(), processTime()
	for i := range s.conns {
		wg.Go(func() {
			for time.Since(start) < long {
				if errs[i] = s.ask(i); errs[i] != nil {
					return
				}
				n.Add(1)
			}
		})
	}
	wg.Wait()
	return n.Load(), processTime() - busy, errors.Join(errs[:]...)
}

// ask sends one request and reads its answer, with as little work as it takes: a
// client that worked more would hide what the server does.
func (s *server) ask(i int) error {
	if _, err := s.conns[i].Write(s.request); err != nil {
		return err
	}
	length := -1
	for first := true; ; first = false {
		text, err := s.readers[i].ReadSlice('\n')
		if err != nil {
			return err
		}
		text = bytes.TrimRight(text, "\r\n")
		if first && !bytes.HasPrefix(text, []byte("HTTP/1.1 200")) {
			return fmt.Errorf("answer: %s", text)
		}
		if len(text) == 0 {
			break
		}
		if value, ok := bytes.CutPrefix(text, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return err
			}
		}
	}
	if length != len(body) {
		return fmt.Errorf("answer of %d bytes, want %d", length, len(body))
	}
	_, err := s.readers[i].Discard(length)
	return err
}
