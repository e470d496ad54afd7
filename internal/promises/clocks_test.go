package promises_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/store"
)

// A clock that is wrong for a while, by an hour back or a year on: no session
// lives past the deadline that it was given first, none that was ended comes back,
// and none is ended because somebody's clock was ahead.
func TestAttack_A43_Clocks(t *testing.T) {
	for name, open := range places {
		t.Run(name, func(t *testing.T) { clocks(t, open(t)) })
	}
}

func clocks(t *testing.T, here *place) {
	var live, ended, renewed string
	var first *world
	const login = 10 * time.Hour
	now := time.Now().Truncate(time.Millisecond)
	// at runs f by a clock that shows login when it is right.
	at := func(what string, clock time.Duration, f func(t *testing.T, w *world)) {
		t.Run(what, func(t *testing.T) {
			inBubble(t, here, now.Add(clock-login), func(t *testing.T, st backend) {
				w := newBubbleOf(t, st, first)
				defer w.close()
				f(t, w)
			})
		})
	}
	at("right", login, func(t *testing.T, w *world) {
		first = w
		live, ended, renewed = w.login(t, "u", ""), w.login(t, "u", ""), w.login(t, "u", "")
		w.must(t, request{method: "POST", path: "/logout", cookie: ended})
		w.must(t, request{method: "POST", path: "/renew", cookie: renewed})
	})
	still := func(t *testing.T, w *world) {
		w.must(t, request{method: "POST", path: "/update", cookie: live})
		w.isNobody(t, ended)
		rec, _ := w.live(idOf(live))
		if rec.Expires.After(rec.Deadline) || !rec.Created.Equal(now) {
			t.Errorf("the record is now %+v", rec)
		}
	}
	at("an hour back", login-time.Hour, func(t *testing.T, w *world) {
		still(t, w)
		w.isNobody(t, renewed) // not late: that would last for an hour
	})
	at("a year on", login+365*24*time.Hour, func(t *testing.T, w *world) {
		w.isNobody(t, live)
		w.isNobody(t, ended)
		w.isNobody(t, renewed)
	})
	at("right again", login+29*time.Minute, still)
	at("much later", login+58*time.Minute, still)
	at("ten hours back", 0, func(t *testing.T, w *world) {
		for range 80 { // it is used all the time, and still ends when it was to end
			still(t, w)
			time.Sleep(25 * time.Minute)
		}
		time.Sleep(time.Hour)
		w.isNobody(t, live)
	})
}

// newBubbleOf starts a deployment in a bubble with the keys of another one.
func newBubbleOf(tb testing.TB, st backend, first *world) *world {
	w := prepareBubble(tb, st)
	if first != nil {
		w.ring = first.ring
	}
	w.start(tb, nil)
	return w
}

// A session ends when its idle time is over, to the second, on every store: the
// judge is the program. The server's own clock stands still meanwhile, and keeps
// everything.
func TestASVS_7_3_1_IdleOnEveryStore(t *testing.T) {
	timeless(t, func(t *testing.T, st backend) {
		w := newBubble(t, st, &cloakroom.Options{IdleTimeout: 30 * time.Minute, Lifetime: 24 * time.Hour, StoreTimeout: slowStore})
		cookie := w.login(t, "u", "")
		for range 4 { // each visit begins it anew
			time.Sleep(30*time.Minute - time.Second)
			w.must(t, request{at: 1, method: "GET", path: "/me", cookie: cookie})
		}
		time.Sleep(30*time.Minute + time.Second)
		if _, kept := w.live(idOf(cookie)); !kept {
			t.Error("the store has judged it, and not the program")
		}
		w.isNobody(t, cookie)
		w.must(t, request{method: "POST", path: "/login", cookie: cookie, form: map[string][]string{"user": {"u"}}})
	})
}

// A session ends at its deadline whatever is done with it, on every store: reading,
// writing and renewing do not move it.
func TestASVS_7_3_2_LifetimeOnEveryStore(t *testing.T) {
	timeless(t, func(t *testing.T, st backend) {
		const life = 2 * time.Hour
		w := newBubble(t, st, &cloakroom.Options{IdleTimeout: 30 * time.Minute, Lifetime: life, StoreTimeout: slowStore})
		begin := time.Now()
		read, written, renewed := w.login(t, "u", ""), w.login(t, "u", ""), w.login(t, "u", "")
		for time.Since(begin) < life-16*time.Minute {
			time.Sleep(15 * time.Minute)
			w.must(t, request{method: "GET", path: "/me", cookie: read})
			w.must(t, request{at: 1, method: "POST", path: "/update", cookie: written})
			renewed = w.must(t, request{method: "POST", path: "/renew", cookie: renewed}).cookie
		}
		time.Sleep(time.Until(begin.Add(life - time.Second)))
		for _, c := range []string{read, written, renewed} {
			w.must(t, request{at: 1, method: "GET", path: "/me", cookie: c})
		}
		time.Sleep(2 * time.Second)
		for _, c := range []string{read, written, renewed} {
			w.isNobody(t, c)
			tr := w.trace() // nor if the store says that it was used just now
			tr.garble = func(r *store.Record) { r.Seen, r.Expires = time.Now(), r.Deadline.Add(time.Hour) }
			if a := w.do(request{method: "GET", path: "/me", cookie: c, trace: tr}); a.status != http.StatusUnauthorized {
				t.Errorf("past its deadline: %v", a)
			}
		}
	})
}

// The server's clock is five minutes ahead of the program's, or behind: sessions
// begin, go on, and end when they should.
func TestAttack_A43_TheServersClockDiffers(t *testing.T) {
	for name, open := range places {
		for what, skew := range map[string]time.Duration{"ahead": -5 * time.Minute, "behind": 5 * time.Minute} {
			t.Run(what+"/"+name, func(t *testing.T) {
				here := open(t)
				inBubble(t, here, time.Now().Add(skew), func(t *testing.T, st backend) {
					w := newBubble(t, st, &cloakroom.Options{StoreTimeout: slowStore, MaxSessions: 2})
					cookie, ended := w.signIn(t, "u"), w.login(t, "u", "")
					w.must(t, request{method: "POST", path: "/logout", cookie: ended})
					renewed := w.must(t, request{method: "POST", path: "/renew", cookie: cookie}).cookie
					for range 5 {
						time.Sleep(29 * time.Minute)
						w.must(t, request{at: 1, method: "POST", path: "/update", cookie: renewed})
						w.isNobody(t, ended)
						w.isNobody(t, cookie)
					}
					if c := w.read(t, 0, renewed); c.Count != 5 || c.Values["first"] != "f" || len(w.sessions(t, "u")) != 1 {
						t.Errorf("the session is %+v", c)
					}
					w.must(t, post("/admin/enduser", "user", "u"))
					w.isNobody(t, renewed)
				})
			})
		}
	}
}
