package main_test

import (
	"database/sql"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // counts connections, as the administrator

	"github.com/cloakroom-dev/cloakroom/internal/faultproxy"
	"github.com/cloakroom-dev/cloakroom/internal/services"
)

// outage is a service on a server of its own, which the test takes away.
type outage struct {
	crash
	sessions bool // what is away are the sessions, perhaps among others
	forgets  bool // a restart of it signs everybody out
	admin    caller
	ticket   ticket
	others   []ticket // of other visitors: one alone opens no circuit
}

// newOutage starts a service on a server of this kind. It keeps the accounts as
// well where it can, and alone for "accounts".
func newOutage(t *testing.T, name string) *outage {
	t.Helper()
	o := &outage{crash: crash{t: t, name: name, dir: t.TempDir()}, sessions: true}
	o.args = []string{keyFile(t), "--store-timeout=1s", "--admin-listen=127.0.0.1:0"}
	switch name {
	case "postgres", "mariadb":
		var durable []string
		if name == "mariadb" {
			durable = append(durable, "--innodb-flush-log-at-trx-commit=1")
		}
		o.db = services.Start(t, services.Kind(name), durable...)
		o.args = append(o.args, "--store", o.db.URL(), "--users", o.db.URL())
	case "redis":
		o.db = services.Start(t, services.RedisKind, "--appendonly", "yes", "--appendfsync", "always")
		o.args = append(o.args, "--store", o.db.URL())
	case "memcached":
		o.db, o.forgets = services.Start(t, services.MemcachedKind), true
		o.args = append(o.args, "--store", o.db.URL())
	case "accounts": // the sessions stay in SQLite
		o.db, o.sessions = services.Start(t, services.PostgresKind), false
		o.args = append(o.args, "--users", o.db.URL())
	}
	o.begin()
	return o
}

// begin starts the service and signs somebody in.
func (o *outage) begin() {
	o.addUser("ada")
	o.run()
	o.admin = newCaller("http://" + o.s.logged(regexp.MustCompile(`"addr":"[\\"]*([0-9.:]+)[\\"]*,"serves":"health"`)))
	o.ticket = o.in("ada")
	for range 6 {
		o.others = append(o.others, o.in("ada"))
	}
}

// bound is how long a request may take while what it needs is away, generously:
// one that waits without a deadline ends much later, if ever.
const bound = 12 * time.Second

// within asks and holds the answer against the bound.
func (o *outage) within(c caller, want int, method, path, cookie, csrf, body string, header ...string) reply {
	o.t.Helper()
	begin := time.Now()
	a, err := c.ask(method, path, cookie, csrf, body, header...)
	if took := time.Since(begin); took > bound {
		o.t.Errorf("%s: %s %s took %v", o.name, method, path, took)
	}
	if err != nil || a.status != want {
		o.t.Errorf("%s: %s %s: %d, want %d: %v %.200s", o.name, method, path, a.status, want, err, a.body)
	}
	if want == http.StatusServiceUnavailable {
		if len(a.header["Set-Cookie"]) > 0 {
			o.t.Errorf("%s: %s %s: an outage touches the cookie: %v", o.name, method, path, a.header["Set-Cookie"])
		}
		if strings.Contains(a.body, "ada") || a.header.Get("Cache-Control") != "no-store" || a.header.Get("Retry-After") == "" && c.base == o.c.base {
			o.t.Errorf("%s: %s %s: %v %s", o.name, method, path, a.header, a.body)
		}
	}
	return a
}

var page = []string{"Accept", "text/html,application/xhtml+xml,*/*;q=0.8"}

// during checks what the service answers while the server is away.
func (o *outage) during() {
	o.t.Helper()
	k := o.ticket.cookie
	// First of all on a connection that was good a moment ago.
	o.within(o.c, 303, "GET", "/", "", "", "", page...)
	// Every guarded page, for browsers and for programs, and every change, all at
	// once: the first open the circuit.
	for range 2 {
		var wg sync.WaitGroup
		ask := func(method, path, cookie, csrf, body string, header ...string) {
			wg.Go(func() { o.within(o.c, 503, method, path, cookie, csrf, body, header...) })
		}
		for _, v := range append(o.others, o.ticket) {
			ask("GET", "/auth/session", v.cookie, "", "")
		}
		ask("GET", "/auth/profile", k, "", "", page...)
		ask("GET", "/auth/sessions", k, "", "")
		ask("GET", "/auth/sessions", k, "", "", page...)
		ask("POST", "/auth/sessions/end-others", k, o.ticket.csrf, "{}")
		ask("POST", "/auth/login", "", "", credentials("ada", goodPassword))
		ask("POST", "/auth/login", k, o.ticket.csrf, credentials("ada", goodPassword))
		if o.sessions {
			ask("POST", "/auth/logout", k, o.ticket.csrf, "{}")
		}
		wg.Wait()
	}
	// What needs no session is there, and so is a refusal of what is none.
	o.within(o.c, 200, "GET", "/auth/login", "", "", "", page...)
	o.within(o.c, 303, "GET", "/", "", "", "", page...)
	o.within(o.c, 401, "GET", "/auth/session", "", "", "")
	o.within(o.c, 401, "GET", "/auth/session", k[:len(k)-1], "", "")
	o.within(o.c, 404, "GET", "/nowhere", "", "", "", page...)
	o.within(o.admin, 200, "GET", "/healthz", "", "", "")
	o.within(o.admin, 503, "GET", "/readyz", "", "", "")
}

// logs counts lines of the log by their names.
func (o *outage) logs(event string) int {
	return strings.Count(o.s.stderr.String(), `"msg":"`+event+`"`)
}

// changed waits until the log has told n times that the store is down, and up.
func (o *outage) changed(down, up int) {
	o.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end) && (o.logs("store_down") < down || o.logs("store_up") < up); {
		time.Sleep(10 * time.Millisecond)
	}
	if d, u := o.logs("store_down"), o.logs("store_up"); d != down || u != up {
		o.t.Errorf("%s: store_down %d times and store_up %d times in the log, want %d and %d", o.name, d, u, down, up)
	}
}

// after waits until the service is ready and checks that nothing has happened.
func (o *outage) after(want int) {
	o.t.Helper()
	var a reply
	var err error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if a, err = o.admin.ask("GET", "/readyz", "", "", ""); err == nil && a.status == http.StatusOK {
			break
		}
	}
	if err != nil || a.status != http.StatusOK {
		o.t.Fatalf("%s: the service is not ready again: %d, %v", o.name, a.status, err)
	}
	if status := o.certain(o.ticket); status != want {
		o.t.Errorf("%s: after the outage the session answers %d, want %d", o.name, status, want)
	}
	o.ticket = o.in("ada") // and signing in works
}

// TestPromise07_AnOutageIsNoLogout: while the server behind the service is frozen,
// or killed, no page is shown and nobody is signed out; when it is back, all is
// as before, and the service was not restarted.
func TestPromise07_AnOutageIsNoLogout(t *testing.T) {
	for _, name := range []string{"postgres", "mariadb", "redis", "memcached", "accounts"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOutage(t, name)
			pid, changes := o.s.cmd.Process.Pid, 0
			if o.sessions {
				changes = 1
			}
			o.within(o.c, 200, "GET", "/auth/login", "", "", "", page...)
			o.within(o.admin, 200, "GET", "/readyz", "", "", "")

			o.db.Freeze(t)
			o.during()
			o.changed(changes, 0)
			o.db.Thaw(t)
			o.after(http.StatusOK)
			o.changed(changes, changes)

			o.db.Kill(t)
			o.during()
			o.changed(2*changes, changes)
			o.db.Start(t)
			want := http.StatusOK
			if o.forgets { // as the page of package memcachestore says
				want = http.StatusUnauthorized
			}
			o.after(want)
			o.changed(2*changes, 2*changes)
			if o.s.cmd.Process.Pid != pid || o.s.cmd.ProcessState != nil {
				t.Error("the service was restarted")
			}
		})
	}
}

// TestASVS_16_5_2_AnOpenCircuitAsksNobody: once the circuit is open, requests are
// answered without a word to the store, but for a probe now and then.
func TestASVS_16_5_2_AnOpenCircuitAsksNobody(t *testing.T) {
	for _, kind := range []services.Kind{services.RedisKind, services.PostgresKind} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			o := &outage{crash: crash{t: t, name: string(kind), dir: t.TempDir(), db: services.Start(t, kind)}}
			proxy := faultproxy.New(t, o.db.Addr())
			o.args = []string{keyFile(t), "--store-timeout=1s", "--admin-listen=127.0.0.1:0", "--store", o.db.URLAt(proxy.Addr())}
			o.begin()
			const crowd, each = 6, 50
			proxy.Set(faultproxy.Fault{Refuse: true})
			for range 20 { // a connection that is refused is nobody's own fault: one visitor is enough
				o.within(o.c, 503, "GET", "/auth/session", o.ticket.cookie, "", "")
			}
			if o.logs("store_down") == 0 {
				t.Fatal("20 requests have failed, and the circuit is closed")
			}
			before := proxy.Connections()
			var wg sync.WaitGroup
			for _, v := range o.others {
				wg.Go(func() {
					for range each {
						o.within(o.c, 503, "GET", "/auth/session", v.cookie, "", "")
					}
				})
			}
			wg.Wait()
			if asked := proxy.Connections() - before; asked > crowd*each/8 {
				t.Errorf("%s: %d requests tried to reach the store %d times", o.name, crowd*each, asked)
			} else {
				t.Logf("%s: %d requests with an open circuit tried to reach the store %d times", o.name, crowd*each, asked)
			}
			proxy.Heal()
			o.after(http.StatusOK)
			o.changed(1, 1)
		})
	}
}

// TestASVS_13_1_2_ThePoolHasAnEnd: with two connections a service serves a crowd;
// when both are held, whoever waits gets a 503 in the documented time, nothing
// piles up, at the server or here, and all is well afterwards.
func TestASVS_13_1_2_ThePoolHasAnEnd(t *testing.T) {
	const most, crowd = 2, 60
	o := &outage{crash: crash{t: t, name: "postgres", dir: t.TempDir(), db: services.Start(t, services.PostgresKind)}}
	o.args = []string{keyFile(t), "--store-timeout=2s", "--max-connections=2", "--admin-listen=127.0.0.1:0", "--store", o.db.URL(), "--users", o.db.URL()}
	o.begin()
	u, err := url.Parse(o.db.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("postgres", o.db.Password)
	admin, err := sql.Open("pgx", u.String())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	peak := 0
	connections := func() (n int) {
		t.Helper()
		if err := admin.QueryRowContext(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE usename = 'cloakroom'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		peak = max(peak, n)
		return n
	}
	all := func(want int) {
		t.Helper()
		var wg sync.WaitGroup
		for range crowd {
			wg.Go(func() { o.within(o.c, want, "GET", "/auth/profile", o.ticket.cookie, "", "", page...) })
		}
		over := make(chan struct{})
		go func() { wg.Wait(); close(over) }()
		for waiting := true; waiting; {
			select {
			case <-over:
				waiting = false
			case <-time.After(10 * time.Millisecond):
				connections()
			}
		}
		// What has been cancelled may be on its way out for a moment.
		n := connections()
		for end := time.Now().Add(15 * time.Second); n > most && time.Now().Before(end); n = connections() {
			time.Sleep(20 * time.Millisecond)
		}
		if n > most || peak > 2*most {
			t.Errorf("%d connections at the server, and %d at one time; at most %d are allowed, and as many that are going", n, peak, most)
		}
	}
	all(http.StatusOK)

	// Both are held: each waits for a lock that somebody else has.
	tx, err := admin.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), "LOCK TABLE cloakroom_session, cloakroom_user IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	all(http.StatusServiceUnavailable)
	all(http.StatusServiceUnavailable)
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	o.after(http.StatusOK)
	all(http.StatusOK)

	// The server has gone silent.
	o.db.Freeze(t)
	var wg sync.WaitGroup
	for range crowd {
		wg.Go(func() {
			o.within(o.c, http.StatusServiceUnavailable, "GET", "/auth/profile", o.ticket.cookie, "", "", page...)
		})
	}
	wg.Wait()
	o.db.Thaw(t)
	o.after(http.StatusOK)
	all(http.StatusOK)

	// Hundreds have been refused: none of them is still there.
	o.c.http.CloseIdleConnections()
	o.admin.http.CloseIdleConnections()
	time.Sleep(time.Second)
	o.s.end(syscall.SIGQUIT) // prints them all
	if n := strings.Count(o.s.stderr.String(), "\ngoroutine "); n == 0 || n > 40 {
		t.Errorf("%d goroutines are left", n)
	} else {
		t.Logf("%d requests at %d connections, %d at one time with those that were going; %d goroutines are left", 6*crowd, most, peak, n)
	}
}
