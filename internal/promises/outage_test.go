package promises_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/store"
)

// The store is down altogether: what needs no session goes on, everything else is
// a 503 that leaves the cookie alone, and no guard lets anybody in or sends them
// to the login. When the store is back so is everybody, without a restart.
func TestASVS_16_5_2_StoreDown(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, st backend) {
		w := newWorld(t, st, &cloakroom.Options{Skip: func(r *http.Request) bool { return strings.HasPrefix(r.URL.RawQuery, "static") }})
		user := w.fresh("u")
		cookie := w.login(t, user, "")
		w.must(t, request{method: "POST", path: "/update", cookie: cookie})
		w.probe.down.Store(true)
		for _, q := range []request{
			{method: "GET", path: "/public"}, {method: "GET", path: "/public?static", cookie: cookie},
			{method: "GET", path: "/read"}, {method: "GET", path: "/public", cookie: "forged"},
		} {
			if a := w.do(q); a.status != http.StatusOK || a.touchesCookie() {
				t.Errorf("%s %s: %v", q.method, q.path, a)
			}
		}
		if a := w.do(request{method: "GET", path: "/me"}); a.status != http.StatusUnauthorized {
			t.Errorf("a stranger: %v", a)
		}
		for _, q := range []request{
			{method: "GET", path: "/me", cookie: cookie}, {method: "GET", path: "/public", cookie: cookie}, {method: "GET", path: "/list", cookie: cookie},
			{method: "POST", path: "/set", cookie: cookie}, {method: "POST", path: "/logout", cookie: cookie}, {method: "POST", path: "/renew", cookie: cookie},
			{method: "POST", path: "/login", cookie: cookie, form: url.Values{"user": {user}}}, {method: "POST", path: "/login", form: url.Values{"user": {user}}},
			{method: "POST", path: "/set", form: url.Values{"open": {""}, "name": {"n"}, "value": {"v"}}},
			post("/admin/end", "id", idOf(cookie).String()), post("/admin/enduser", "user", user),
		} {
			a := w.do(q)
			if err := a.refusal(); err != nil || a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || a.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s: %v %v: %v", q.method, q.path, a, a.header, err)
			}
		}
		w.probe.down.Store(false)
		for at := range w.instances {
			if c := w.read(t, at, cookie); c.User != user || c.Count != 1 || len(c.Values) != 0 {
				t.Errorf("after the outage: %+v", c)
			}
		}
	})
}

// A store that answers with something else than what it was given: cut, changed,
// taken from another session or another user. It opens no guarded door, and what
// is made of it is not acknowledged.
func TestASVS_16_5_3_GarbageFromTheStore(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, st backend) {
		w := newWorld(t, st, nil)
		other, _ := w.live(idOf(w.login(t, "other", "")))
		for name, garble := range map[string]func(*store.Record){
			"no data":       func(r *store.Record) { r.Data = nil },
			"one byte":      func(r *store.Record) { r.Data = r.Data[:1] },
			"half":          func(r *store.Record) { r.Data = r.Data[:len(r.Data)/2] },
			"zeros":         func(r *store.Record) { r.Data = make([]byte, len(r.Data)) },
			"one bit":       func(r *store.Record) { r.Data = append([]byte(nil), r.Data...); r.Data[len(r.Data)-1] ^= 1 },
			"another's":     func(r *store.Record) { r.Data = other.Data },
			"another":       func(r *store.Record) { *r = other },
			"other user":    func(r *store.Record) { r.UserID = "admin" },
			"no user":       func(r *store.Record) { r.UserID = "" },
			"younger":       func(r *store.Record) { r.Created = r.Created.Add(time.Millisecond) },
			"prolonged":     func(r *store.Record) { r.Deadline = r.Deadline.Add(time.Hour) },
			"of old":        func(r *store.Record) { r.Expires = time.Time{} },
			"nothing":       func(r *store.Record) { *r = store.Record{} },
			"only the name": func(r *store.Record) { *r = store.Record{ID: r.ID, Version: 1} },
		} {
			cookie := w.login(t, w.fresh("u"), "")
			for _, q := range []request{{method: "GET", path: "/me"}, {method: "POST", path: "/set"}, {method: "POST", path: "/renew"}, {method: "GET", path: "/list"}} {
				q.cookie, q.trace = cookie, w.trace()
				q.trace.garble = garble
				a := w.do(q)
				if err := a.refusal(); err != nil || a.status != http.StatusUnauthorized {
					t.Errorf("%s: %s: %v: %v", name, q.path, a, err)
				}
			}
			w.must(t, request{method: "GET", path: "/me", cookie: cookie}) // and the session is unharmed
		}
	})
}

// A browser that goes away at any moment leaves no half of a commit: what has
// begun is done. Of a renewal one token lives, the old or the new one.
func TestPromise07_AClientThatGoesAway(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, st backend) {
		w := newWorld(t, st, nil)
		for _, path := range []string{"/set", "/renew", "/login", "/logout"} {
			for n := 1; ; n++ {
				user := w.fresh("u")
				cookie := w.login(t, user, "")
				ctx, leave := context.WithCancel(t.Context())
				tr := w.trace()
				left := false
				tr.gate = func(c *call) fault {
					if c.n == n {
						left = true
						leave()
						<-tr.ctx.Done()
					}
					return nil
				}
				w.do(request{method: "POST", path: path, cookie: cookie, trace: tr, ctx: ctx, form: url.Values{"user": {user}, "name": {"n"}, "value": {"v"}}})
				<-tr.over
				leave()
				lives := w.sessions(t, user)
				switch {
				case n == 1 || path == "/set":
					if len(lives) != 1 || lives[0] != idOf(cookie) {
						t.Errorf("%s, gone at call %d: %d sessions", path, n, len(lives))
					}
				case path == "/logout":
					if len(lives) != 0 {
						t.Errorf("%s, gone at call %d: %d sessions", path, n, len(lives))
					}
				case len(lives) != 1 || lives[0] == idOf(cookie):
					t.Errorf("%s, gone at call %d: %d sessions", path, n, len(lives))
				}
				if path == "/set" && n > 1 && w.read(t, 1, cookie).Values["n"] != "v" {
					t.Errorf("gone at call %d: the commit had begun, and is not there", n)
				}
				if !left {
					break
				}
			}
		}
	})
}
