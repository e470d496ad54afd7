// Package wiretest is what the tests of packages postgres and mariadb have in
// common: a proxy before the server that counts round trips and takes answers
// away.
package wiretest

import (
	"net"
	"net/url"
	"sync"
	"testing"
)

// Proxy stands between a program and a server.
type Proxy struct {
	t        testing.TB
	upstream string
	listener net.Listener

	mu      sync.Mutex
	conns   map[net.Conn]bool
	opened  int  // connections so far
	trips   int  // round trips so far: something was asked after something was answered
	swallow bool // answers are taken away, and the connection with them
}

// New starts a proxy before the server of a URL, and returns the URL through it.
// The test's end ends it.
func New(t testing.TB, server string) (p *Proxy, through string) {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p = &Proxy{t: t, upstream: u.Host, listener: l, conns: map[net.Conn]bool{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.CloseAll()
		wg.Wait()
	})
	u.Host = l.Addr().String()
	return p, u.String()
}

// serve carries one connection.
func (p *Proxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.upstream)
	if err != nil {
		client.Close()
		return
	}
	p.mu.Lock()
	p.conns[client], p.conns[server] = true, true
	p.mu.Unlock()
	// Under mu: whether this is a connection that counts, and whether the next that
	// is asked begins a round trip.
	counted, answered := false, true
	var wg sync.WaitGroup
	wg.Go(func() {
		p.carry(server, client, func(b []byte) bool {
			if !counted && isCancel(b) {
				return true
			}
			if !counted {
				counted = true
				p.opened++
			}
			if answered {
				p.trips++
			}
			answered = false
			return true
		})
	})
	wg.Go(func() {
		p.carry(client, server, func([]byte) bool {
			answered = true
			return !p.swallow
		})
	})
	wg.Wait()
	p.mu.Lock()
	delete(p.conns, client)
	delete(p.conns, server)
	p.mu.Unlock()
}

// isCancel tells whether a connection begins as those do that ask PostgreSQL to
// stop what another connection runs. A driver sends one after an answer that did
// not come: it asks for nothing to be done, be it once more or for the first time
// (https://www.postgresql.org/docs/current/protocol-message-formats.html).
func isCancel(b []byte) bool {
	return len(b) == 16 && string(b[:8]) == "\x00\x00\x00\x10\x04\xd2\x16\x2e"
}

// carry copies until an end, or until note forbids it, and then closes both.
func (p *Proxy) carry(to, from net.Conn, note func(b []byte) bool) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if n > 0 {
			p.mu.Lock()
			pass := note(b[:n])
			p.mu.Unlock()
			if !pass {
				return
			}
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// CloseAll closes every connection, as a server does that goes down.
func (p *Proxy) CloseAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

// Swallow takes every answer from now on away, and its connection with it: what
// was asked has been done, and nobody was told. With false answers come again.
func (p *Proxy) Swallow(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.swallow = on
}

// Trips returns how many round trips f took, and how many connections it opened.
func (p *Proxy) Trips(f func()) (trips, opened int) {
	p.mu.Lock()
	t, o := p.trips, p.opened
	p.mu.Unlock()
	f()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.trips - t, p.opened - o
}
