package promises_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/internal/faultproxy"
	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/breaker"
	"github.com/cloakroom-dev/cloakroom/store/memcachestore"
	"github.com/cloakroom-dev/cloakroom/store/redisstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/mariadb"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/postgres"
)

// networked is a store whose server is reached over a network.
type networked struct {
	kind    services.Kind
	args    []string // to the server: so that it keeps what it acknowledged
	open    func(ctx context.Context, url string) (st store.Store, shut func(), err error)
	forgets bool // a server that is started again has lost all sessions
}

// networkeds are the stores under test.
var networkeds = []networked{
	{services.RedisKind, []string{"--appendonly", "yes", "--appendfsync", "always"}, openRedis, false},
	{services.PostgresKind, nil, openPostgres, false},
	{services.MariaDBKind, nil, openMariaDB, false},
	{services.MemcachedKind, nil, openMemcached, true},
}

func openRedis(ctx context.Context, url string) (store.Store, func(), error) {
	st, err := redisstore.Open(ctx, url, nil)
	if err != nil {
		return nil, nil, err
	}
	return st, func() { st.Close() }, nil
}

func openPostgres(ctx context.Context, url string) (store.Store, func(), error) {
	db, err := postgres.Open(ctx, url, nil)
	if err != nil {
		return nil, nil, err
	}
	return db.Store(), func() { _ = db.Close() }, nil
}

func openMariaDB(ctx context.Context, url string) (store.Store, func(), error) {
	db, err := mariadb.Open(ctx, url, nil)
	if err != nil {
		return nil, nil, err
	}
	return db.Store(), func() { _ = db.Close() }, nil
}

func openMemcached(ctx context.Context, url string) (store.Store, func(), error) {
	st, err := memcachestore.Open(ctx, url, nil)
	if err != nil {
		return nil, nil, err
	}
	return st, func() { _ = st.Close() }, nil
}

// onEachServer runs a test on every store with a server of its own.
func onEachServer(t *testing.T, f func(t *testing.T, n networked, srv *services.Server)) {
	for _, n := range networkeds {
		t.Run(string(n.kind), func(t *testing.T) {
			t.Parallel() // most of it is waiting
			leavesNoGoroutine(t, func(t *testing.T) { f(t, n, services.Start(t, n.kind, n.args...)) })
		})
	}
}

// site is a deployment of two instances, each with connections and a breaker of
// its own, and a proxy between them and the server.
type site struct {
	*world
	proxy    *faultproxy.Proxy
	breakers []*breaker.Breaker
	asked    []*atomic.Int64 // calls that got to each instance's store
	changes  []*atomic.Int64 // of each breaker
	readers  []string        // cookies of several: see outage
}

// newSite starts a deployment. A timeout of 0 is the usual one.
func newSite(t *testing.T, n networked, srv *services.Server, timeout time.Duration) *site {
	t.Helper()
	s := &site{world: prepareWorld(t, nil), proxy: faultproxy.New(t, srv.Addr())}
	s.client.Timeout = time.Minute
	// Before the proxy ends: clients that are told to stop say farewell.
	t.Cleanup(s.world.close)
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		st, shut, err := n.open(ctx, srv.URLAt(s.proxy.Addr()))
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.proxy.Heal(); shut() })
		asked, changes := new(atomic.Int64), new(atomic.Int64)
		b, err := breaker.New(counted{st, asked}, &breaker.Options{
			Timeout: timeout, Changed: func(breaker.State, error) { changes.Add(1) },
		})
		if err != nil {
			t.Fatal(err)
		}
		m, err := cloakroom.New(b.Store(), s.ring, &cloakroom.Options{StoreTimeout: timeout, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		s.serve(m)
		s.breakers, s.asked, s.changes = append(s.breakers, b), append(s.asked, asked), append(s.changes, changes)
	}
	return s
}

// counted counts the calls of a store.
type counted struct {
	store.Store
	n *atomic.Int64
}

func (c counted) Get(ctx context.Context, id store.ID) (store.Record, error) {
	c.n.Add(1)
	return c.Store.Get(ctx, id)
}

func (c counted) Put(ctx context.Context, r store.Record) error {
	c.n.Add(1)
	return c.Store.Put(ctx, r)
}

func (c counted) Touch(ctx context.Context, id store.ID, seen, expires time.Time) error {
	c.n.Add(1)
	return c.Store.Touch(ctx, id, seen, expires)
}

func (c counted) End(ctx context.Context, id store.ID, version uint64, why store.Ended, until time.Time) error {
	c.n.Add(1)
	return c.Store.End(ctx, id, version, why, until)
}

// soon is how long the test waits for what has to happen: on a machine that runs
// all tests at once a deadline of 250 ms may be missed without any fault.
const soon = 30 * time.Second

// answered is how long any request may take in an outage. A commit takes five
// deadlines at most; the rest is for the machine.
const answered = 10 * time.Second

// until asks again until a request succeeds; any answer before is a refusal that
// says that the store is away, and no other.
func (s *site) until(t *testing.T, q request) answer {
	t.Helper()
	var a answer
	for end := time.Now().Add(soon); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if a = s.do(q); a.ok() {
			return a
		}
		if err := unavailable(a); err != nil {
			t.Fatalf("%s %s: %v", q.method, q.path, err)
		}
	}
	t.Fatalf("%s %s: it goes on: %v", q.method, q.path, a)
	return a
}

// unavailable is an error for an answer that is no 503 as promised: the cookie
// untouched, nothing of the page, not the page of somebody who is signed out.
func unavailable(a answer) error {
	if err := a.refusal(); err != nil {
		return err
	}
	if a.status != http.StatusServiceUnavailable || a.detail() != "Unavailable" || a.header.Get("Retry-After") == "" {
		return fmt.Errorf("an outage is answered %v", a)
	}
	return nil
}

// signedIn returns the cookie of a session with a value in it.
func (s *site) signedIn(t *testing.T, user string) string {
	t.Helper()
	return s.until(t, post("/login", "user", user, "name", "first", "value", "f")).cookie
}

// crowd signs in as many as open a circuit: an error that may come of one visitor's
// record does so only if it meets several.
func (s *site) crowd(t *testing.T) {
	t.Helper()
	for range breaker.DefaultFailures {
		s.readers = append(s.readers, s.signedIn(t, s.fresh("u")))
	}
}

// outage asks for everything while the store is away, until each instance's
// circuit is open, and then that nothing reaches the store any more. victim is a
// session that what is asked for may well end, once the store hears of it.
func (s *site) outage(t *testing.T, cookie, victim string) {
	t.Helper()
	for at, b := range s.breakers {
		for n := 0; b.State() != breaker.Open; n++ {
			if n > 100 {
				t.Fatal("the circuit does not open")
			}
			s.refused(t, request{at: at, method: "GET", path: "/me", cookie: s.readers[n%len(s.readers)]})
			if at > 0 {
				continue // readers open it as well
			}
			for _, path := range []string{"/set", "/renew", "/logout"} {
				s.refused(t, request{at: at, method: "POST", path: path, cookie: victim, form: url.Values{"name": {"n"}, "value": {"v"}}})
			}
			login := post("/login", "user", s.fresh("u"))
			login.at = at
			s.refused(t, login)
		}
		// From here on only probes get through: one at a time, and after each that
		// fails half the cool-down at least.
		start, before, changes := time.Now(), s.asked[at].Load(), s.changes[at].Load()
		for range 50 {
			s.refused(t, request{at: at, method: "GET", path: "/me", cookie: cookie})
			s.refused(t, request{at: at, method: "POST", path: "/logout", cookie: cookie})
		}
		most := 1 + int64(time.Since(start)/(breaker.DefaultCoolDown/2))
		if n := s.asked[at].Load() - before; n > most {
			t.Errorf("an open circuit let %d calls of 100 through in %v, want at most %d", n, time.Since(start), most)
		}
		if n := s.changes[at].Load() - changes; n != 0 {
			t.Errorf("%d changes while the store was away", n)
		}
		if err := b.Ready(t.Context()); err == nil {
			t.Error("ready, without a store")
		}
		if a := s.do(request{at: at, method: "GET", path: "/public"}); !a.ok() {
			t.Errorf("a page for all: %v", a)
		}
		if a := s.do(request{at: at, method: "GET", path: "/me"}); a.status != http.StatusUnauthorized || a.touchesCookie() {
			t.Errorf("a stranger at a guarded door: %v", a)
		}
	}
}

// refused asks for something that needs the store while it is away.
func (s *site) refused(t *testing.T, q request) {
	t.Helper()
	start := time.Now()
	a := s.do(q)
	if err := unavailable(a); err != nil {
		t.Errorf("%s %s: %v", q.method, q.path, err)
	}
	if took := time.Since(start); took > answered {
		t.Errorf("%s %s took %v", q.method, q.path, took)
	}
}

// recovered checks that all is as it was before, with no restart of ours.
func (s *site) recovered(t *testing.T, user, cookie string) {
	t.Helper()
	for at, b := range s.breakers {
		a := s.until(t, request{at: at, method: "GET", path: "/read", cookie: cookie})
		if c, err := a.contents(); err != nil || c.User != user || c.Values["first"] != "f" || a.touchesCookie() {
			t.Errorf("after the outage: %+v, %v", c, err)
		}
		s.until(t, request{at: at, method: "GET", path: "/me", cookie: cookie})
		s.ready(t, b)
		login := post("/login", "user", s.fresh("u"))
		login.at = at
		s.until(t, login)
	}
}

// ready waits until an instance says so.
func (s *site) ready(t *testing.T, b *breaker.Breaker) {
	t.Helper()
	var err error
	for end := time.Now().Add(soon); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if err = b.Ready(t.Context()); err == nil {
			break
		}
	}
	if err != nil || b.State() != breaker.Closed {
		t.Errorf("not ready: %v, the circuit is %v", err, b.State())
	}
}

// A breaker in between changes nothing of what every call's failure comes to.
func guard(tb testing.TB, st store.Store) store.Store {
	tb.Helper()
	b, err := breaker.New(st, &breaker.Options{Timeout: slowStore, BulkTimeout: slowStore, Failures: 1 << 30})
	if err != nil {
		tb.Fatal(err)
	}
	return b.Store()
}

func title(f faultproxy.Fault) string { return strings.ReplaceAll(fmt.Sprintf("%+v", f), " ", ",") }
