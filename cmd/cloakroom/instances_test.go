package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/services"
)

// TestASVS_13_2_1_StoresOnOtherHostsAskWhoComes: a store on another host that
// takes anybody is refused, with nothing sent to it, by the service and by the
// commands; and used where the operator says that something else guards it.
func TestASVS_13_2_1_StoresOnOtherHostsAskWhoComes(t *testing.T) {
	t.Parallel()
	const elsewhere = "192.0.2.1" // RFC 5737: nobody's
	keys, pg := keyFile(t), services.Postgres(t)
	for _, args := range [][]string{
		{"--store", "redis://" + elsewhere + "/0", "--users", pg},
		{"--store", "rediss://" + elsewhere + "/0", "--users", pg},
		{"--store", "memcache://" + elsewhere, "--users", pg},
		{"--store", "postgres://app:app@" + elsewhere + "/db"},
		{"--users", "mysql://root:root@" + elsewhere + "/db"},
	} {
		for _, command := range [][]string{{"serve", "--listen=127.0.0.1:0"}, {"user", "list"}} {
			_, msg, code := runCommand(t, append(append(command, keys, "--allow-plaintext=true"), args...)...)
			if code != 2 || !strings.Contains(msg, "allow-anonymous=true") || strings.Count(msg, "\n") != 1 || strings.Contains(msg, "root:root") {
				t.Errorf("%v %v: exit code %d, %s", command, args, code, msg)
			}
		}
	}

	// One that is there and takes anybody, through an address of this machine
	// that is not loopback.
	redis := services.Start(t, services.RedisKind, "--protected-mode", "no", "--bind", "0.0.0.0")
	tell(t, redis, "CONFIG SET requirepass \"\"")
	addr := strings.Replace(redis.Addr(), "127.0.0.1", outside(t), 1)
	where := []string{keys, "--users", pg, "--store", "redis://" + addr + "/0", "--allow-plaintext=true"}
	_, msg, code := runCommand(t, append([]string{"serve", "--listen=127.0.0.1:0"}, where...)...)
	if code != 2 || !strings.Contains(msg, "takes whoever comes") {
		t.Errorf("exit code %d, %s", code, msg)
	}
	s := start(t, t.TempDir(), append(where, "--allow-anonymous=true")...)
	s.setup()
	if _, msg, code := runCommand(t, append([]string{"session", "list", "--allow-anonymous=true"}, where...)...); code != 0 {
		t.Errorf("exit code %d, %s", code, msg)
	}
}

// tell sends a command to a Redis, as its administrator.
func tell(t *testing.T, redis *services.Server, command string) string {
	t.Helper()
	conn, err := net.Dial("tcp", redis.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "AUTH %s\r\n%s\r\nQUIT\r\n", redis.Password, command)
	b, err := io.ReadAll(conn)
	answer, ok := strings.CutPrefix(string(b), "+OK\r\n")
	if err != nil || !ok || strings.HasPrefix(answer, "-") {
		t.Fatalf("%s: %q, %v", command, b, err)
	}
	return strings.TrimSuffix(answer, "+OK\r\n")
}

// outside returns an address that reaches this machine and is not loopback.
func outside(t *testing.T) string {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	return "0.0.0.0" // reaches this machine, and is judged by what it says
}

// pair is two instances that share a store, and the people who use both.
type pair struct {
	t       *testing.T
	callers [2]caller

	requests, rounds, refused atomic.Int64
}

// at asks one instance. Only where nobody listens it asks again: a connection that
// is refused, or that the kernel had taken for a program which ended without
// having seen it. An answer that gets lost is an error.
func (p *pair) at(i int, method, path string, t ticket, body string, header ...string) (reply, error) {
	p.requests.Add(1)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		a, err := p.callers[i].ask(method, path, t.cookie, t.csrf, body, header...)
		again := errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
		if !again || time.Now().After(end) {
			return a, err
		}
		p.refused.Add(1)
	}
}

// person is a user who has the account to themselves, so that they know what must
// be there. The first thing that is wrong ends them.
type person struct {
	*pair
	name  string
	ended []string // cookies
	err   error
}

// must asks one instance, any for i < 0, and wants this status.
func (p *person) must(want, i int, method, path string, t ticket, body string, header ...string) reply {
	if p.err != nil {
		return reply{}
	}
	if i < 0 {
		i = rand.IntN(2)
	}
	a, err := p.at(i, method, path, t, body, header...)
	// Whoever comes with a token that was renewed within 30 seconds is told so.
	renewed := want == http.StatusUnauthorized && a.status == http.StatusConflict && strings.Contains(a.body, "Session renewed")
	if err != nil || a.status != want && !renewed {
		p.err = fmt.Errorf("%s %s at instance %d: %d, want %d: %v %.200s", method, path, i, a.status, want, err, a.body)
	}
	return a
}

// login signs in at one instance, over the session of t if there is one, and uses
// the session at the other.
func (p *person) login(i int, t ticket) ticket {
	a := p.must(http.StatusOK, i, "POST", "/auth/login", t, credentials(p.name, goodPassword))
	if p.err == nil && (a.cookie == "" || a.cookie == t.cookie) {
		p.err = fmt.Errorf("a login at instance %d and no new cookie", i)
	}
	return p.use(1-i, a.cookie)
}

// use reads the session, which must be this person's.
func (p *person) use(i int, cookie string) ticket {
	t := ticket{user: p.name, cookie: cookie}
	a := p.must(http.StatusOK, i, "GET", "/auth/session", t, "")
	var doc struct {
		User      struct{ Name string }
		CSRFToken string `json:"csrf_token"`
	}
	if err := json.Unmarshal([]byte(a.body), &doc); p.err == nil && (err != nil || doc.User.Name != p.name) {
		p.err = fmt.Errorf("the session of %s at instance %d: %s", p.name, i, a.body)
	}
	t.csrf = doc.CSRFToken
	return t
}

// gone wants the sessions to be nobody's, at both instances.
func (p *person) gone(sessions ...ticket) {
	for _, t := range sessions {
		p.must(http.StatusUnauthorized, 0, "GET", "/auth/session", t, "")
		p.must(http.StatusUnauthorized, 1, "GET", "/auth/session", t, "")
		p.ended = append(p.ended, t.cookie)
	}
}

// list wants so many sessions, and returns the handles of all but the one that asks.
func (p *person) list(i, want int, t ticket) (others []string) {
	a := p.must(http.StatusOK, i, "GET", "/auth/sessions", t, "")
	var doc struct {
		Sessions []struct {
			Handle  string
			Current bool
		}
	}
	if err := json.Unmarshal([]byte(a.body), &doc); p.err == nil && (err != nil || len(doc.Sessions) != want) {
		p.err = fmt.Errorf("%s has %d sessions at instance %d, and the list is %s", p.name, want, i, a.body)
	}
	for _, s := range doc.Sessions {
		if !s.Current {
			others = append(others, s.Handle)
		}
	}
	return others
}

// form is how a browser ends a session; the answer stores a message in its own.
func (p *person) form(want, i int, path string, t ticket) reply {
	return p.must(want, i, "POST", path, t, "x=", "Content-Type", "application/x-www-form-urlencoded", "Accept", "text/html")
}

// both does something at both instances at the same moment.
func (p *person) both(f func(p *person, i int)) {
	var wg sync.WaitGroup
	each := [2]person{{pair: p.pair, name: p.name, err: p.err}, {pair: p.pair, name: p.name, err: p.err}}
	for i := range each {
		wg.Go(func() { f(&each[i], i) })
	}
	wg.Wait()
	p.err = errors.Join(each[0].err, each[1].err)
}

// round is a life: several devices, ends, messages, renewals. Nothing is left of it.
func (p *person) round() {
	i := rand.IntN(2)
	desk, phone, tablet := p.login(i, ticket{}), p.login(1-i, ticket{}), p.login(i, ticket{})
	others := p.list(1-i, 3, desk)
	if p.err != nil {
		return
	}
	// Promise 2: two requests of one session, one at each instance, each ends
	// another session and leaves a message. Both messages are there.
	p.both(func(p *person, i int) {
		p.form(http.StatusSeeOther, i, "/auth/sessions/"+others[i]+"/end", desk)
	})
	p.gone(phone, tablet)
	a := p.must(http.StatusOK, -1, "GET", "/auth/sessions", desk, "", page...)
	if n := strings.Count(a.body, "The session has ended."); p.err == nil && n != 2 {
		p.err = fmt.Errorf("of two writes that were acknowledged %d are there", n)
	}
	// Promise 3: a fresh proof changes the token, everywhere at once.
	before := desk
	desk = p.login(i, desk)
	p.gone(before)
	p.list(-1, 1, desk)
	// Promise 9: all others, from the other instance.
	phone, tablet = p.login(1-i, ticket{}), p.login(i, ticket{})
	p.must(http.StatusNoContent, i, "POST", "/auth/sessions/end-others", phone, "{}")
	p.gone(desk, tablet)
	p.list(i, 1, phone)
	// Promise 1: a logout here while a request there writes.
	p.both(func(p *person, j int) {
		if i == j {
			p.must(http.StatusNoContent, i, "POST", "/auth/logout", phone, "{}")
			return
		}
		a, err := p.at(j, "POST", "/auth/sessions/end-others", phone, "x=", "Content-Type", "application/x-www-form-urlencoded", "Accept", "text/html")
		if err != nil || a.status >= 500 {
			p.err = fmt.Errorf("a write beside a logout: %d, %v", a.status, err)
		}
	})
	p.gone(phone)
	p.rounds.Add(1)
}

// TestPromise01_RollingRestart and promises 2, 3 and 9 across two instances that
// share a store, under load, while each is restarted in turn: no session ends by
// it, nothing that was acknowledged is lost, and nobody sees an error but a
// connection that is refused.
func TestPromise01_RollingRestart(t *testing.T) {
	lasts := 4 * time.Second
	if *prove {
		lasts = time.Minute
	}
	people := []string{"ada", "bob", "cyd"}
	for name, flags := range map[string][]string{
		"postgres": sameFor(services.Postgres(t)),
		"redis":    {"--store", services.Redis(t) + "?prefix=" + services.Prefix(t), "--users", services.Postgres(t)},
	} {
		t.Run(name, func(t *testing.T) {
			p := &pair{t: t}
			dirs := [2]string{t.TempDir(), t.TempDir()}
			args := append(flags, keyFile(t), "--log-level=error")
			for _, u := range people {
				addUser(t, dirs[0], u, args[:len(args)-1]...)
			}
			var running [2]*server
			for i := range running {
				dirs[i] = t.TempDir()
				running[i] = start(t, dirs[i], append(args, "--listen="+freePort(t))...)
				p.callers[i] = newCaller(running[i].URL)
				// A connection that lay idle may be closed while a request sets out on it.
				p.callers[i].http.Transport.(*http.Transport).DisableKeepAlives = true
			}
			var wg sync.WaitGroup
			end := time.Now().Add(lasts)
			all := make([]*person, len(people))
			kept := make([]ticket, len(people)) // sessions that live all the time
			for n, u := range people {
				all[n] = &person{pair: p, name: u}
				keeper := &person{pair: p, name: u + "2"}
				addUser(t, dirs[0], keeper.name, args[:len(args)-1]...)
				kept[n] = keeper.login(n%2, ticket{})
				if keeper.err != nil {
					t.Fatal(keeper.err)
				}
				wg.Go(func() {
					for all[n].err == nil && (time.Now().Before(end) || p.rounds.Load() < int64(len(people))) {
						all[n].round()
					}
				})
			}
			restarts := 0
			for time.Now().Before(end) || restarts < 2 {
				i := restarts % 2
				if code := running[i].end(syscall.SIGTERM); code != 0 {
					t.Errorf("exit code %d", code)
				}
				running[i] = start(t, dirs[i], append(args, "--listen="+strings.TrimPrefix(running[i].URL, "http://"))...)
				restarts++
				time.Sleep(300 * time.Millisecond)
			}
			wg.Wait()
			ended := 0
			for n, u := range all {
				for _, cookie := range u.ended { // replays, when all is over
					u.must(http.StatusUnauthorized, -1, "GET", "/auth/session", ticket{cookie: cookie}, "")
				}
				if ended += len(u.ended); u.err != nil {
					t.Errorf("%s: %v", u.name, u.err)
				}
				keeper := &person{pair: p, name: kept[n].user}
				keeper.use(0, kept[n].cookie)
				if keeper.use(1, kept[n].cookie); keeper.err != nil {
					t.Error(keeper.err)
				}
			}
			t.Logf("%s: two instances, %d restarts, %d rounds of %d requests, %d tried again as nobody listened; %d sessions ended and stayed so, none lost",
				name, restarts, p.rounds.Load(), p.requests.Load(), p.refused.Load(), ended)
		})
	}
}

// sameFor keeps sessions and accounts in one place.
func sameFor(place string) []string { return []string{"--store", place, "--users", place} }

// freePort returns a loopback address below the ports that the system gives to
// connections, so that nobody gets it while a service is restarted.
func freePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		addr := "127.0.0.1:" + strconv.Itoa(10_000+rand.IntN(20_000))
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no port is free")
	return ""
}

// TestGracefulStop_WhoWasLetInIsAnswered: a connection that was taken before the
// end, and says what it wants right after nobody else is let in, gets its answer.
func TestGracefulStop_WhoWasLetInIsAnswered(t *testing.T) {
	var got string
	for range 5 { // a test that is stopped for long enough finds the door closed
		s := start(t, t.TempDir())
		addr := strings.TrimPrefix(s.URL, "http://")
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		s.client().page("/auth/login") // connections are taken in their order
		if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		for {
			another, err := net.Dial("tcp", addr)
			if err != nil {
				break
			}
			another.Close()
		}
		_, _ = io.WriteString(conn, "GET /auth/login HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		b, _ := io.ReadAll(conn)
		<-s.exited
		if got = string(b); strings.HasPrefix(got, "HTTP/1.1 200") {
			return
		}
	}
	t.Errorf("the answer is %.100q", got)
}
