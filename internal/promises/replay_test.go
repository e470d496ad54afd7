package promises_test

import (
	"context"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/store"
)

// restart makes new instances on what the old ones have left: another process
// for a store on a disk or a server, new Managers for one in memory.
type restart struct {
	before *world
	again  func() *world
}

// restarts runs a test on every store.
func restarts(t *testing.T, opts *cloakroom.Options, f func(t *testing.T, r restart)) {
	for name, at := range places {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			here := at(t)
			st, shut := here.open(t)
			w := newWorld(t, st, opts)
			f(t, restart{w, func() *world {
				w.close()
				shut()
				st, _ := here.open(t)
				next := prepareWorld(t, st)
				next.ring = w.ring
				next.start(t, opts)
				return next
			}})
		})
	}
}

// endings are all ways in which a session ends before its time.
var endings = map[string]func(w *world, user, cookie string) answer{
	"logout":     func(w *world, _, c string) answer { return w.do(request{method: "POST", path: "/logout", cookie: c}) },
	"end by id":  func(w *world, _, c string) answer { return w.do(post("/admin/end", "id", idOf(c).String())) },
	"end of all": func(w *world, user, _ string) answer { return w.do(post("/admin/enduser", "user", user)) },
	"renewal":    func(w *world, _, c string) answer { return w.do(request{method: "POST", path: "/renew", cookie: c}) },
	"login again": func(w *world, user, c string) answer {
		return w.do(request{method: "POST", path: "/login", cookie: c, form: url.Values{"user": {user}}})
	},
	"login as another": func(w *world, user, c string) answer {
		return w.do(request{method: "POST", path: "/login", cookie: c, form: url.Values{"user": {user + "-else"}}})
	},
	"too many": func(w *world, user, _ string) answer {
		for range 2 {
			if a := w.do(post("/login", "user", user)); !a.ok() {
				return a
			}
			time.Sleep(2 * time.Millisecond) // the older of two is known by the millisecond
		}
		return w.do(post("/login", "user", user))
	},
}

// A cookie that somebody has kept is worth nothing after any of the endings, from
// a client that was never seen before, on both instances, and after a restart.
// It does not help to have used it meanwhile.
func TestAttack_A10_KeptCookies(t *testing.T) {
	t.Parallel()
	restarts(t, &cloakroom.Options{MaxSessions: 3, StoreTimeout: slowStore}, func(t *testing.T, r restart) {
		kept := map[string]string{}
		for name, end := range endings {
			user := r.before.fresh("u")
			kept[name] = r.before.login(t, user, "")
			time.Sleep(2 * time.Millisecond)
			r.before.must(t, request{at: 1, method: "POST", path: "/update", cookie: kept[name]})
			if a := end(r.before, user, kept[name]); !a.ok() {
				t.Fatalf("%s: %v", name, a)
			}
			if err := r.before.nobody(kept[name]); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		w := r.again()
		for name, cookie := range kept {
			if err := w.nobody(cookie); err != nil {
				t.Errorf("%s, after a restart: %v", name, err)
			}
		}
	})
}

// Logout ends the session where it is kept, and takes the cookie back: replayed
// at once, by a fresh client, and after a restart, its value is nobody's; and
// another session of the same user goes on.
func TestASVS_7_4_1_LogoutEndsTheSessionOnTheServer(t *testing.T) {
	t.Parallel()
	restarts(t, nil, func(t *testing.T, r restart) {
		w := r.before
		value, elsewhere := w.login(t, "u", ""), w.login(t, "u", "")
		a := w.must(t, request{method: "POST", path: "/logout", cookie: value})
		if !a.expired || a.cookie != "" {
			t.Errorf("the cookie was not taken back: %v", a)
		}
		if err := w.nobody(value); err != nil {
			t.Error(err)
		}
		if a := w.do(request{method: "POST", path: "/logout", cookie: value}); !a.ok() {
			t.Errorf("a second logout: %v", a)
		}
		w = r.again()
		if err := w.nobody(value); err != nil {
			t.Errorf("after a restart: %v", err)
		}
		w.must(t, request{method: "GET", path: "/me", cookie: elsewhere})
		if rec, live := w.live(idOf(value)); live || rec.Ended.Reason != store.Logout {
			t.Errorf("the store says %+v", rec)
		}
	})
}

// Many logins of one user at once, on two instances: of those that were answered
// no more live than the limit allows, and at least one does.
func TestASVS_15_4_2_LoginsAtOnceKeepTheLimit(t *testing.T) {
	t.Parallel()
	const limit, logins = 3, 60
	onEachPair(t, func(t *testing.T, here *place) {
		w := newWorldAt(t, here, &cloakroom.Options{MaxSessions: limit, StoreTimeout: slowStore})
		user := w.fresh("u")
		mine := w.login(t, user, "")
		var wg sync.WaitGroup
		for i := range logins {
			wg.Go(func() {
				q := post("/login", "user", user)
				q.at = i % 2
				if i%3 == 0 {
					q.cookie = mine // over a session that others end meanwhile
				}
				if a := w.do(q); !a.ok() && (a.refusal() != nil || a.detail() != "Session ended") {
					t.Errorf("login: %v", a)
				}
			})
		}
		wg.Wait()
		if got := len(w.sessions(t, user)); got < 1 || got > limit {
			t.Errorf("%d sessions, at most %d may be", got, limit)
		}
	})
}

// forgetful is a store that loses a session, as one may that has to make room:
// what it has under the ID it finds no more.
type forgetful struct {
	backend
	lost atomic.Pointer[store.ID]
}

func (f *forgetful) id(id store.ID) store.ID {
	if lost := f.lost.Load(); lost != nil && *lost == id {
		id[0] ^= 1
	}
	return id
}

func (f *forgetful) Get(ctx context.Context, id store.ID) (store.Record, error) {
	return f.backend.Get(ctx, f.id(id))
}

func (f *forgetful) Put(ctx context.Context, r store.Record) error {
	r.ID = f.id(r.ID)
	return f.backend.Put(ctx, r)
}

func (f *forgetful) End(ctx context.Context, id store.ID, version uint64, why store.Ended, until time.Time) error {
	return f.backend.End(ctx, f.id(id), version, why, until)
}

// A session that the store has lost while a request was at work has ended. It was
// not renewed, whatever the tombstone says that the attempt has left.
func TestPromise01_LostByTheStore(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, st backend) {
		f := &forgetful{backend: st}
		w := newWorld(t, f, nil)
		for _, path := range []string{"/set", "/update", "/renew", "/roles"} {
			user := w.fresh("u")
			cookie := w.login(t, user, "")
			id := idOf(cookie)
			a := w.slowly(t, path, cookie, func() { f.lost.Store(&id) })
			if err := a.refusal(); err != nil || a.status != http.StatusConflict || a.detail() != "Session ended" {
				t.Errorf("%s: %v: %v", path, a, err)
			}
			if got := w.sessions(t, user); len(got) != 1 || got[0] != id { // which f has lost
				t.Errorf("%s left %d sessions", path, len(got))
			}
		}
	})
}
