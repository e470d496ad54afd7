package promises_test

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/faultproxy"
	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/store/breaker"
)

// silences are the faults under which nothing is answered in time.
var silences = []faultproxy.Fault{
	{Latency: 2 * time.Second},
	{Latency: 30 * time.Second},
	{Blackhole: true},
	{DropAnswers: true},
	{Reset: true},
	{Refuse: true},
}

// The network to the store fails, in every way: each request is answered within
// the documented time, 503 and not 401, with the cookie as it was; soon none waits
// any more; and when the network is back so is everybody.
func TestPromise07_FaultsOfTheNetwork(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, n networked, srv *services.Server) {
		s := newSite(t, n, srv, 0)
		s.crowd(t)
		for _, fault := range silences {
			t.Run(title(fault), func(t *testing.T) {
				user := s.fresh("u")
				cookie, victim := s.signedIn(t, user), s.signedIn(t, s.fresh("u"))
				for _, b := range s.breakers {
					s.ready(t, b)
				}
				s.proxy.Set(fault)
				defer s.proxy.Heal()
				s.outage(t, cookie, victim)
				s.proxy.Heal()
				s.recovered(t, user, cookie)
			})
		}
	})
}

// A network that is slow, or brings one byte at a time, is no outage.
func TestASVS_13_1_3_ASlowNetworkIsNoOutage(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, n networked, srv *services.Server) {
		// More than the usual deadline: a new connection takes several turns, and the
		// machine may be slow as well.
		s := newSite(t, n, srv, 20*time.Second)
		for _, fault := range []faultproxy.Fault{{}, {Latency: 50 * time.Millisecond}, {Slice: 1}, {Slice: 1, Latency: 5 * time.Millisecond}} {
			s.proxy.Set(fault)
			cookie := s.must(t, post("/login", "user", "u", "name", "first", "value", "f")).cookie
			for at := range s.instances {
				s.must(t, request{at: at, method: "POST", path: "/update", cookie: cookie})
				if c := s.read(t, at, cookie); c.User != "u" || c.Count != at+1 || c.Values["first"] != "f" {
					t.Errorf("%s: %+v", title(fault), c)
				}
			}
			s.must(t, request{method: "POST", path: "/logout", cookie: cookie})
			if a := s.do(request{at: 1, method: "GET", path: "/me", cookie: cookie}); a.status != http.StatusUnauthorized {
				t.Errorf("%s: after a logout: %v", title(fault), a)
			}
		}
	})
}

// A network that comes and goes: every answer is the page or a 503, what was
// acknowledged is there, nobody is signed out, and nobody else gets in.
func TestASVS_16_5_3_AFlappingNetwork(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, n networked, srv *services.Server) {
		s := newSite(t, n, srv, 0)
		for _, fault := range []faultproxy.Fault{{Reset: true}, {Blackhole: true}, {DropAnswers: true}, {Slice: 1, Latency: time.Second}} {
			users := make([]string, 4)
			cookies := make([]string, len(users))
			acknowledged := make([]atomic.Int64, len(users))
			asked := make([]atomic.Int64, len(users))
			for i := range users {
				users[i] = s.fresh("u")
				cookies[i] = s.signedIn(t, users[i])
			}
			stop := s.proxy.Flap(fault, 150*time.Millisecond, 150*time.Millisecond)
			var visitors sync.WaitGroup
			for i := range users {
				visitors.Go(func() {
					for turn := range 12 {
						asked[i].Add(1)
						a := s.do(request{at: turn % 2, method: "POST", path: "/update", cookie: cookies[i]})
						if a.ok() {
							acknowledged[i].Add(1)
						} else if err := unavailable(a); err != nil {
							t.Errorf("%s: %v", title(fault), err)
						}
						if a := s.do(request{at: turn % 2, method: "GET", path: "/me", cookie: "forged" + cookies[i]}); a.status != http.StatusUnauthorized {
							t.Errorf("%s: a forged cookie: %v", title(fault), a)
						}
						time.Sleep(40 * time.Millisecond)
					}
				})
			}
			visitors.Wait()
			stop()
			for i := range users {
				s.recovered(t, users[i], cookies[i])
				c, err := s.until(t, request{at: 1, method: "GET", path: "/read", cookie: cookies[i]}).contents()
				if got := int64(c.Count); err != nil || got < acknowledged[i].Load() || got > asked[i].Load() {
					t.Errorf("%s: %d of %d updates were acknowledged, and %d are there", title(fault), acknowledged[i].Load(), asked[i].Load(), got)
				}
			}
		}
	})
}

// The server itself is frozen, killed, and started again.
func TestASVS_16_5_2_AServerThatStops(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, n networked, srv *services.Server) {
		s := newSite(t, n, srv, 0)
		s.crowd(t)
		user := s.fresh("u")
		cookie, victim := s.signedIn(t, user), s.signedIn(t, s.fresh("u"))

		srv.Freeze(t)
		s.outage(t, cookie, victim)
		srv.Thaw(t)
		s.recovered(t, user, cookie)

		victim = s.signedIn(t, s.fresh("u"))
		srv.Kill(t)
		s.outage(t, cookie, victim)
		srv.Start(t)
		if n.forgets { // and then nobody is signed in, which is no outage any more
			for at, b := range s.breakers {
				s.ready(t, b)
				if a := s.do(request{at: at, method: "GET", path: "/me", cookie: cookie}); a.status != http.StatusUnauthorized && unavailable(a) != nil {
					t.Errorf("a session that the server has forgotten: %v", a)
				}
			}
			cookie = s.signedIn(t, user)
		}
		s.recovered(t, user, cookie)
	})
}

// Many at once, in outages that come again and again: nobody waits for ever, and
// when all is over no goroutine is left, which onEachServer looks for.
func TestASVS_15_4_3_CrowdsInOutages(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, n networked, srv *services.Server) {
		s := newSite(t, n, srv, 0)
		const crowd = 32
		cookies := make([]string, crowd)
		for i := range cookies {
			cookies[i] = s.signedIn(t, "u")
		}
		for _, fault := range []faultproxy.Fault{{Blackhole: true}, {Latency: 30 * time.Second}, {Reset: true}} {
			s.proxy.Set(fault)
			var visitors sync.WaitGroup
			for i, cookie := range cookies {
				visitors.Go(func() {
					for turn := range 4 {
						method, path := "GET", "/me"
						if turn == 3 {
							method, path = "POST", "/set"
						}
						s.refused(t, request{at: (i + turn) % 2, method: method, path: path, cookie: cookie})
					}
				})
			}
			visitors.Wait()
			for _, b := range s.breakers {
				if b.State() != breaker.Open {
					t.Errorf("%s: the circuit is %v", title(fault), b.State())
				}
			}
			s.proxy.Heal()
			for i, cookie := range cookies {
				s.until(t, request{at: i % 2, method: "GET", path: "/me", cookie: cookie})
			}
		}
	})
}
