package promises_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/store"
)

// Twenty logins of one user at once, at two instances with a limit of three: once
// all are answered exactly three sessions live, and these are those of the last
// moment; the next login ends the oldest.
func TestASVS_7_1_2_TwentyLoginsAtOnce(t *testing.T) {
	t.Parallel()
	const limit, logins = 3, 20
	onEachPair(t, func(t *testing.T, here *place) {
		w := newWorldAt(t, here, &cloakroom.Options{MaxSessions: limit, StoreTimeout: slowStore})
		times := 2
		if *prove {
			times = 50
		}
		for range times {
			user := w.fresh("u")
			var wg sync.WaitGroup
			var cookies sync.Map
			for i := range logins {
				wg.Go(func() {
					q := post("/login", "user", user)
					q.at = i % 2
					if a := w.do(q); a.ok() {
						cookies.Store(a.cookie, true)
					} else if a.refusal() != nil || a.detail() != "Session ended" { // by later ones
						t.Errorf("login: %v", a)
					}
				})
			}
			wg.Wait()
			if got := len(w.sessions(t, user)); got != limit {
				t.Errorf("%d sessions live, the limit is %d", got, limit)
			}
			in := 0
			for c := range cookies.Range {
				if w.do(request{at: 1, method: "GET", path: "/me", cookie: c.(string)}).ok() {
					in++
				}
			}
			if in != limit {
				t.Errorf("%d of %d cookies are signed in, the limit is %d", in, logins, limit)
			}
			time.Sleep(2 * time.Millisecond)
			last := w.login(t, user, "")
			if got := w.sessions(t, user); len(got) != limit || !w.do(request{method: "GET", path: "/me", cookie: last}).ok() {
				t.Errorf("one login more: %d sessions", len(got))
			}
		}
	})
}

// An end of all ends all, at every instance, and those of nobody else; an end of
// the others leaves the one from which it was asked for.
func TestASVS_7_4_2_EndOfAllAtEveryInstance(t *testing.T) {
	t.Parallel()
	onEachPair(t, func(t *testing.T, here *place) {
		w := newWorldAt(t, here, nil)
		user, other := w.fresh("u"), w.login(t, w.fresh("other"), "")
		var cookies []string
		for i := range 6 {
			q := post("/login", "user", user)
			q.at = i % 2
			cookies = append(cookies, w.must(t, q).cookie)
		}
		kept := cookies[2]
		if n, err := w.instances[1].m.EndUser(t.Context(), user, idOf(kept)); n != 5 || err != nil { // ASVS 7.4.3
			t.Errorf("an end of the others ended %d, %v", n, err)
		}
		for _, c := range cookies {
			a := w.do(request{method: "GET", path: "/me", cookie: c})
			if a.ok() != (c == kept) {
				t.Errorf("kept %t: %v", c == kept, a)
			}
		}
		w.must(t, post("/admin/enduser", "user", user))
		for _, c := range cookies {
			if err := w.nobody(c); err != nil {
				t.Error(err)
			}
		}
		if got := w.sessions(t, user); len(got) != 0 {
			t.Errorf("%d are listed", len(got))
		}
		w.must(t, request{at: 1, method: "GET", path: "/me", cookie: other})
	})
}

// Sessions of one user come and go at two instances: logins, renewals, logouts and
// ends of all by many clients. Whatever was answered before an end of all began
// is dead when it returns; and the limit holds when the dust has settled.
func TestASVS_15_4_2_EndOfAllAmongLogins(t *testing.T) {
	t.Parallel()
	const clients, limit = 8, 4
	onEachPair(t, func(t *testing.T, here *place) {
		w := newWorldAt(t, here, &cloakroom.Options{MaxSessions: limit, StoreTimeout: slowStore})
		steps := 12
		if *prove {
			steps = 200
		}
		user := w.fresh("u")
		var mu sync.Mutex
		answered := map[string]bool{} // the cookies of everything that was answered
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				rng := mathrand.New(mathrand.NewPCG(uint64(i), 7))
				cookie := ""
				for range steps {
					q := request{at: rng.IntN(2), method: "POST", path: "/login", form: url.Values{"user": {user}}, cookie: cookie}
					switch n := rng.IntN(10); {
					case n < 3 && cookie != "":
						q.path = "/renew"
					case n == 3 && cookie != "":
						q.path = "/logout"
					case n == 4:
						mu.Lock()
						before := make([]string, 0, len(answered))
						for c := range answered {
							before = append(before, c)
						}
						clear(answered)
						mu.Unlock()
						q.path, q.cookie = "/admin/enduser", ""
						if a := w.do(q); !a.ok() {
							t.Errorf("an end of all: %v", a)
							return
						}
						for _, c := range before {
							if _, live := w.live(idOf(c)); live {
								t.Error("a session outlived an end of all")
							}
						}
						continue
					}
					a := w.do(q)
					if !a.ok() && a.status != http.StatusConflict && a.status != http.StatusUnauthorized {
						t.Errorf("%s: %v", q.path, a)
						return
					}
					if cookie = a.cookie; a.ok() && cookie != "" {
						mu.Lock()
						answered[cookie] = true
						mu.Unlock()
					}
				}
			})
		}
		wg.Wait()
		if got := len(w.sessions(t, user)); got > limit {
			t.Errorf("%d sessions live, the limit is %d", got, limit)
		}
	})
}

// Sixty-four users at once, at two instances with connections of their own: each
// page is the caller's own.
func TestAttack_A56_EachPageIsTheCallersOwn(t *testing.T) {
	t.Parallel()
	onEachPair(t, func(t *testing.T, here *place) {
		w := newWorldAt(t, here, nil)
		w.crowd(t, 64, 5)
	})
}

// Cookies of any content, at pages that need a session, that do not, at the login
// and at the logout, leave nothing in the store and do not reach it. Names of
// users that are too long are refused and leave nothing either.
func TestAttack_A07_RandomCookiesLeaveNoRecord(t *testing.T) {
	t.Parallel()
	n := 600
	if *prove {
		n = 200_000
	}
	for name, at := range places {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			here := at(t)
			w := newWorldAt(t, here, nil)
			w.login(t, "u", "") // so that all tables are in use
			size := func() int {
				if here.dump == nil {
					return len(w.sessions(t, "u"))
				}
				if name == "sqlite" {
					rows := here.raw.(*rows)
					return len(query(t, rows.use(t), "SELECT id FROM cloakroom_session"))
				}
				return len(here.dump(t))
			}
			before := size()
			tr := w.trace()
			for i := range n {
				raw := make([]byte, 53)
				rand.Read(raw)
				if i%2 == 0 {
					key := w.ring.Active()
					copy(raw, append([]byte{1}, key[:]...))
				}
				for _, q := range []request{{method: "GET", path: "/read"}, {method: "GET", path: "/me"}, {method: "POST", path: "/logout"}} {
					q.cookie, q.direct, q.at = base64.RawURLEncoding.EncodeToString(raw), true, i%2
					if i%100 == 0 {
						q.trace = tr
					}
					if a := w.do(q); a.status >= 500 || a.cookie != "" {
						t.Fatalf("%s %s: %v", q.method, q.path, a)
					}
					if q.trace != nil {
						if tr.count() > 0 {
							t.Fatalf("%s %s: %d calls of the store", q.method, q.path, tr.count())
						}
						tr = w.trace()
					}
				}
			}
			if a := w.do(post("/login", "user", strings.Repeat("u", 100_000))); a.ok() || a.cookie != "" {
				t.Errorf("a name of 100,000 bytes: %v", a)
			}
			if after := size(); after != before {
				t.Errorf("%d before, %d after", before, after)
			}
		})
	}
}

// Names that mean something in a store's keys, paths or SQL are names of users and
// nothing else.
func TestAttack_A08_NamesThatMeanSomethingElsewhere(t *testing.T) {
	t.Parallel()
	names := []string{"../../x", "a b", "a\r\nb", "user:1", "\x00", "a\x00b", "*", "?", "{1}", "s:x", "%", "_", "'; DROP TABLE cloakroom_session; --",
		"ü", "u\u0308", "u", "U", "u ", " u", "\xff\xfe", strings.Repeat("n", store.MaxUserID), strings.Repeat("\xff", store.MaxUserID)}
	onEach(t, func(t *testing.T, st backend) {
		w := newWorld(t, st, nil)
		cookies := map[string]string{}
		for _, name := range names {
			cookies[name] = w.login(t, name, "")
		}
		for _, name := range names {
			if got := w.sessions(t, name); len(got) != 1 || got[0] != idOf(cookies[name]) {
				t.Errorf("%q has %d sessions", name, len(got))
			}
		}
		for _, name := range names {
			if n, err := w.instances[0].m.EndUser(t.Context(), name, store.ID{}); n != 1 || err != nil {
				t.Errorf("%q: ended %d, %v", name, n, err)
			}
			if err := w.nobodyAt(cookies[name], false, 0); err != nil {
				t.Errorf("%q: %v", name, err)
			}
		}
	})
}

// Sizes and lifetimes up to their bounds: what was acknowledged is there, and what
// is too large is refused and leaves what was there before.
func TestAttack_A52_SizesAndLifetimes(t *testing.T) {
	t.Parallel()
	const largest = 1_000_000 // of all values, as JSON, with their names
	onEach(t, func(t *testing.T, st backend) {
		for _, life := range []time.Duration{time.Second, 30 * 24 * time.Hour, 30*24*time.Hour + time.Second, 31 * 24 * time.Hour, 400 * 24 * time.Hour} {
			w := newWorld(t, st, &cloakroom.Options{StoreTimeout: slowStore, Lifetime: life, IdleTimeout: life})
			cookie := w.signIn(t, "u")
			a := w.do(request{at: 1, method: "POST", path: "/update", cookie: cookie})
			if life > time.Second && !a.ok() {
				t.Errorf("a life of %v: %v", life, a)
			}
			if rec, live := w.live(idOf(cookie)); live && !rec.Deadline.Equal(rec.Created.Add(life)) {
				t.Errorf("a life of %v: %v to %v", life, rec.Created, rec.Deadline)
			}
			a = w.do(request{method: "POST", path: "/logout", cookie: cookie})
			if !a.ok() {
				t.Errorf("a life of %v: logout: %v", life, a)
			}
			w.close()
		}
		w := newWorld(t, st, &cloakroom.Options{StoreTimeout: slowStore, MaxBytes: largest})
		cookie := w.signIn(t, "v")
		stored := 1
		for _, size := range []int{0, 1, 64 << 10, largest - 2000, largest, store.MaxData + 1} {
			value := strings.Repeat("x", size)
			r := request{method: "POST", path: "/set?name=big", cookie: cookie, direct: true}
			a := w.large(r, value)
			switch {
			case a.ok():
				stored = size
			case size < 900<<10 || a.status == http.StatusServiceUnavailable:
				t.Errorf("%d bytes: %v", size, a)
			}
			if c := w.read(t, 1, cookie); size != 0 && stored != 1 && len(c.Values["big"]) != stored {
				t.Errorf("%d bytes: the session holds %d, not %d", size, len(c.Values["big"]), stored)
			}
		}
		if stored < 900<<10 {
			t.Errorf("at most %d bytes were taken", stored)
		}
	})
}

// large sends a value that no URL holds.
func (w *world) large(q request, value string) answer {
	body := url.Values{"value": {value}}.Encode()
	r, err := http.NewRequest("POST", w.instances[q.at].server.URL+q.path, strings.NewReader(body))
	if err != nil {
		return answer{err: err}
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Cookie", cloakroom.DefaultCookieName+"="+q.cookie)
	res, err := w.client.Do(r)
	if err != nil {
		return answer{err: err}
	}
	defer res.Body.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(res.Body)
	return answer{status: res.StatusCode, header: res.Header, body: b.String(), err: err}
}
