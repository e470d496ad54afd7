package promises_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/store"
)

// lates are the requests that may come to their end too late.
var lates = []kind{reads, sets, updates, renews, setsRoles, logsIn, logsInSet, logsInElse}

// enders are the requests after which a token must be nobody's.
var enders = []kind{logsOut, ends, endsUser, renews, setsRoles, logsIn, logsInElse}

// A session that was ended stays ended in every order which the steps of two
// requests can take: the late one may read, write, touch, renew or sign in, the
// other end the session in any way there is. The two instances take either part.
func TestPromise01_EveryOrderOfTwoRequests(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, st backend) {
		w := newWorld(t, st, nil)
		orders := 0
		for i, late := range lates {
			for j, end := range enders {
				if !*prove && !mine(t, i+j) {
					continue
				}
				user := w.fresh("u")
				orders += explore(t, func() *scene {
					return newScene(t, w, w.signIn(t, user), (i+j)%2, late, end)
				})
			}
		}
		t.Logf("%d orders", orders)
	})
}

// The same for a visitor who has values and has not signed in.
func TestPromise01_EveryOrderOfTwoRequestsOfAStranger(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, st backend) {
		w := newWorld(t, st, nil)
		for i, late := range []kind{reads, sets, updates, renews, logsInElse} {
			for j, end := range []kind{logsOut, ends, renews, logsInElse} {
				if !*prove && !mine(t, i+j) {
					continue
				}
				explore(t, func() *scene {
					a := w.must(t, request{method: "POST", path: "/set", form: url.Values{"open": {""}, "name": {"cart"}, "value": {"hat"}}})
					return newScene(t, w, a.cookie, 0, late, end)
				})
			}
		}
	})
}

// With a third request there is somebody to be mistaken about: a renewal that
// copies what a writer has just changed, while somebody ends the session.
func TestPromise01_EveryOrderOfThreeRequests(t *testing.T) {
	t.Parallel()
	casts := [][]kind{
		{sets, renews, logsOut},
		{updates, renews, ends},
		{updates, renews, endsUser},
		{reads, renews, logsOut},
		{renews, renews, logsOut},
		{renews, logsIn, ends},
		{logsInSet, logsOut, ends},
		{sets, updates, logsOut},
	}
	onEachPair(t, func(t *testing.T, here *place) {
		w := newWorldAt(t, here, nil)
		orders := 0
		for i, cast := range casts {
			if !*prove && !mine(t, i) {
				continue
			}
			user := w.fresh("u")
			orders += explore(t, func() *scene {
				return newScene(t, w, w.signIn(t, user), 0, cast...)
			})
		}
		t.Logf("%d orders", orders)
	})
}

// A handler that thinks for long between load and commit, reading or writing:
// the logout that happens meanwhile is not undone, and the visitor never sees
// the page of a change that was not made.
func TestAttack_A01_SlowRequestAndLogout(t *testing.T) {
	t.Parallel()
	onEachPair(t, func(t *testing.T, here *place) {
		var log events
		w := newWorldAt(t, here, &cloakroom.Options{StoreTimeout: slowStore, Logger: slog.New(&log)})
		for _, end := range []kind{logsOut, ends, endsUser, renews, logsIn} {
			for _, path := range []string{"/read", "/set", "/update", "/renew", "/roles"} {
				t.Run(fmt.Sprintf("%s during %s", end, path), func(t *testing.T) {
					cookie := w.login(t, w.fresh("u"), "")
					a := w.slowly(t, path, cookie, func() {
						s := newScene(t, w, cookie, 1, end)
						s.play(s.actors[0])
						if !s.actors[0].answer.ok() {
							t.Fatal(s)
						}
					})
					if path == "/read" {
						if !a.ok() || a.touchesCookie() {
							t.Errorf("the reader got %v", a)
						}
					} else if err := a.refusal(); err != nil || a.status != http.StatusConflict {
						t.Errorf("the late request got %v: %v", a, err)
					} else if log.take("commit_failed") != 1 {
						t.Error("no line in the log says that a change came too late")
					}
					if err := w.nobody(cookie); err != nil {
						t.Error(err)
					}
				})
			}
		}
	})
}

// slowly sends a request whose handler stands still between load and commit
// while something else happens. A touch is due at its end.
func (w *world) slowly(tb testing.TB, path, cookie string, meanwhile func()) answer {
	tb.Helper()
	method := "POST"
	if path == "/read" {
		method = "GET"
	}
	stands, goOn, done := make(chan struct{}), make(chan struct{}), make(chan answer, 1)
	tr := w.trace()
	tr.idle = time.Hour
	tr.gate = func(c *call) fault {
		if c.op == opHandler {
			close(stands)
			<-goOn
		}
		return nil
	}
	go func() {
		done <- w.do(request{method: method, path: path, cookie: cookie, trace: tr,
			form: url.Values{"slow": {"yes"}, "name": {"late"}, "value": {"late"}, "role": {"late"}}})
	}()
	select {
	case <-stands:
	case a := <-done:
		tb.Fatalf("%s did not stand still: %v", path, a)
	}
	func() {
		defer close(goOn)
		meanwhile()
	}()
	return <-done
}

// Somebody ends a session that is being created: the create, still on its way,
// finds the tombstone.
func TestPromise01_EndBeforeCreate(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, st backend) {
		w := newWorld(t, st, nil)
		for _, path := range []string{"/set", "/login"} {
			var made store.ID
			tr := w.trace()
			tr.gate = func(c *call) fault {
				if c.op == opCreate {
					made = c.id
					if err := w.instances[1].m.End(context.Background(), c.id); err != nil {
						t.Error(err)
					}
				}
				return nil
			}
			a := w.do(request{method: "POST", path: path, trace: tr,
				form: url.Values{"open": {""}, "name": {"n"}, "value": {"v"}, "user": {w.fresh("u")}}})
			if err := a.refusal(); err != nil || a.status != http.StatusConflict || a.detail() != "Session ended" {
				t.Errorf("%s: %v, %v", path, a, err)
			}
			if _, live := w.live(made); live || tr.count(opCreate) != 1 {
				t.Errorf("%s: live %t after %d creates", path, live, tr.count(opCreate))
			}
		}
	})
}

// A write that the store takes long after its caller has given up: whatever has
// happened meanwhile, it revives nothing, and leaves nothing alive that nobody
// knows.
func TestPromise01_OverdueWrites(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, path string
		late       op
		meanwhile  string // what the visitor does before the write arrives
		want       error  // what the store says to the write then
	}{
		{"first write", "/set", opCreate, "", store.ErrEnded},
		{"write", "/set", opUpdate, "/logout", store.ErrEnded},
		{"write, renewed", "/set", opUpdate, "/renew", store.ErrEnded},
		{"write, written", "/set", opUpdate, "/update", store.ErrConflict},
		{"touch", "/read", opTouch, "/logout", store.ErrEnded},
		{"touch, renewed", "/read", opTouch, "/renew", store.ErrEnded},
		{"login", "/login", opCreate, "/logout", store.ErrEnded},
		{"renewal", "/renew", opCreate, "/logout", store.ErrEnded},
		{"renewal, renewed", "/renew", opCreate, "/renew", store.ErrEnded},
		{"end of the renewed", "/renew", opEnd, "/logout", store.ErrEnded},
		{"end of the renewed, written", "/renew", opEnd, "/update", store.ErrConflict},
	}
	onEach(t, func(t *testing.T, st backend) {
		w := newWorld(t, st, &cloakroom.Options{StoreTimeout: 300 * time.Millisecond})
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				cookie := ""
				if c.meanwhile != "" {
					cookie = w.login(t, w.fresh("u"), "")
				}
				release, done := make(chan struct{}), make(chan error, 1)
				tr := w.trace()
				tr.idle = time.Hour
				tr.gate = func(got *call) fault {
					if got.op != c.late || tr.count(c.late) > 1 {
						return nil
					}
					return overdue(release, done)
				}
				q := request{method: "POST", path: c.path, cookie: cookie, trace: tr,
					form: url.Values{"open": {""}, "name": {"n"}, "value": {"v"}, "user": {"else"}}}
				if c.path == "/read" {
					q.method = "GET"
				}
				a := w.do(q)
				if c.late == opTouch {
					if !a.ok() {
						t.Errorf("a touch that failed was a refusal: %v", a)
					}
				} else if err := a.refusal(); err != nil || a.status != http.StatusServiceUnavailable {
					t.Errorf("%v: %v", a, err)
				}
				current := cookie
				if c.meanwhile != "" {
					if b := w.must(t, request{at: 1, method: "POST", path: c.meanwhile, cookie: cookie}); b.cookie != "" || b.expired {
						current = b.cookie
					}
				}
				close(release)
				if err := <-done; !errors.Is(err, c.want) {
					t.Errorf("the store told the overdue call %v, want %v", err, c.want)
				}
				for _, id := range tr.created() {
					if _, live := w.live(id); live {
						t.Error("a session lives that nobody knows")
					}
				}
				if c.want == store.ErrEnded && cookie != "" {
					if err := w.nobody(cookie); err != nil {
						t.Error(err)
					}
				}
				if current != "" {
					w.must(t, request{method: "GET", path: "/me", cookie: current})
				}
			})
		}
	})
}

// Many requests of one session at once, readers with a touch due and writers, at
// two instances, and in the middle of them its end. Whatever they were answered,
// after it the token is nobody's.
func TestAttack_A01_AnEndAmongMany(t *testing.T) {
	t.Parallel()
	rounds, many := 10, 16
	if *prove {
		rounds, many = 1000, 64
	}
	onEachPair(t, func(t *testing.T, here *place) {
		w := newWorldAt(t, here, nil)
		for round := range rounds {
			user := w.fresh("u")
			cookie := w.signIn(t, user)
			end := []kind{logsOut, ends, endsUser}[round%3]
			var wg sync.WaitGroup
			for i := range many {
				wg.Go(func() {
					q := request{at: i % 2, method: "POST", path: "/update", cookie: cookie, direct: true}
					if i%3 == 0 {
						tr := w.trace()
						tr.idle = time.Hour
						q.method, q.path, q.trace = "GET", "/read", tr
					}
					if a := w.do(q); !a.ok() && (a.refusal() != nil || a.status != http.StatusConflict && a.status != http.StatusUnauthorized) {
						t.Errorf("%s: %v", q.path, a)
					}
				})
				if i == many/2 {
					wg.Go(func() {
						s := &scene{w: w, cookie: cookie, id: idOf(cookie), user: user}
						a := &actor{kind: end, at: round % 2}
						if s.play(a); !a.answer.ok() {
							t.Errorf("%s: %v", end, a.answer)
						}
					})
				}
			}
			wg.Wait()
			if err := w.nobodyAt(cookie, true, 0, 1); err != nil {
				t.Fatalf("%s in round %d: %v", end, round, err)
			}
		}
	})
}
