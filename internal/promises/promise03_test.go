package promises_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
)

// one returns the IDs of a user's live sessions.
func (w *world) sessions(tb testing.TB, user string) []store.ID {
	tb.Helper()
	recs, err := w.probe.backend.ListUser(tb.Context(), user)
	if err != nil {
		tb.Fatal(err)
	}
	var ids []store.ID
	for _, r := range recs {
		ids = append(ids, r.ID)
	}
	return ids
}

// Login, login again, renewal, and other roles: each gives a new token, and the
// old one is nobody at once, on both instances.
func TestASVS_7_2_4_AProofOfIdentityChangesTheToken(t *testing.T) {
	t.Parallel()
	onEachPair(t, func(t *testing.T, here *place) {
		w := newWorldAt(t, here, nil)
		before := w.must(t, request{method: "POST", path: "/set", form: url.Values{"open": {""}, "name": {"cart"}, "value": {"hat"}}})
		cookie := before.cookie
		for _, q := range []request{
			{path: "/login", form: url.Values{"user": {"u"}}},
			{path: "/login", form: url.Values{"user": {"u"}}},
			{path: "/renew"},
			{path: "/roles", form: url.Values{"role": {"admin"}}},
		} {
			q.method, q.cookie = "POST", cookie
			a := w.must(t, q)
			if a.cookie == "" || a.cookie == cookie || idOf(a.cookie) == idOf(cookie) {
				t.Fatalf("%s: %v", q.path, a)
			}
			if err := w.nobody(cookie); err != nil {
				t.Fatalf("%s: the old token: %v", q.path, err)
			}
			cookie = a.cookie
			if c := w.read(t, 1, cookie); c.User != "u" || c.Values["cart"] != "hat" {
				t.Fatalf("%s: %v", q.path, c)
			}
			if got := w.sessions(t, "u"); len(got) != 1 || got[0] != idOf(cookie) {
				t.Fatalf("%s left %d sessions", q.path, len(got))
			}
		}
		// Another user starts with nothing of it.
		other := w.login(t, "other", cookie)
		if c := w.read(t, 0, other); c.User != "other" || len(c.Values) != 0 || len(w.sessions(t, "u")) != 0 {
			t.Errorf("another user got %v", c)
		}
	})
}

// The old token after a renewal, by a slow request that writes or touches at its
// end: it stays dead, the new one works, and there is one session.
func TestAttack_A02_OldTokenAfterRotation(t *testing.T) {
	t.Parallel()
	onEachPair(t, func(t *testing.T, here *place) {
		w := newWorldAt(t, here, nil)
		for _, path := range []string{"/read", "/set", "/update", "/renew", "/roles"} {
			user := w.fresh("u")
			old := w.login(t, user, "")
			var cookie string
			a := w.slowly(t, path, old, func() { cookie = w.login(t, user, old) })
			if a.touchesCookie() || path != "/read" && (a.refusal() != nil || a.detail() != "Session renewed") {
				t.Errorf("%s: %v", path, a)
			}
			if err := w.nobody(old); err != nil {
				t.Errorf("%s: %v", path, err)
			}
			if got := w.sessions(t, user); len(got) != 1 || got[0] != idOf(cookie) {
				t.Errorf("%s left %d sessions", path, len(got))
			}
			if c := w.read(t, 1, cookie); c.User != user || len(c.Values) != 0 || c.Count != 0 {
				t.Errorf("%s: the new session holds %v", path, c)
			}
		}
	})
}

// forge signs a token that the server never issued, with the server's own key.
func (w *world) forge(audience string, token [32]byte) string {
	key := w.ring.Active()
	raw := append(append([]byte{1}, key[:]...), token[:]...)
	_, tag := w.ring.Purpose("cloakroom session cookie v1", cloakroom.DefaultCookieName, audience).Sign(raw)
	return base64.RawURLEncoding.EncodeToString(append(raw, tag[:16]...))
}

// A token that the attacker chose never becomes the name of a session, whatever
// its shape and wherever it stands, not even one that is well signed.
func TestAttack_A04_ChosenTokens(t *testing.T) {
	t.Parallel()
	onEachPair(t, func(t *testing.T, here *place) {
		w := newWorldAt(t, here, nil)
		signed := w.forge("", [32]byte{7})
		if idOf(signed) == (store.ID{}) {
			t.Fatal("the forged token has no shape")
		}
		for _, chosen := range []string{
			signed, w.forge("elsewhere", [32]byte{7}), signed[:len(signed)-1] + "_", signed + "A", signed[:70], signed + "=",
			"ATTACKER", strings.Repeat("A", 71), strings.Repeat("A", 4000), base64.StdEncoding.EncodeToString(make([]byte, 53)), "0", "%00", `"` + signed + `"`,
		} {
			q := request{method: "GET", path: "/read", cookie: chosen, trace: w.trace(), form: url.Values{
				cloakroom.DefaultCookieName: {signed}, "sid": {signed}, "session": {signed}},
				header: http.Header{"X-Session": {signed}, "Authorization": {"Bearer " + signed}}}
			tr := q.trace
			c, err := w.do(q).contents()
			if err != nil || c.User != "" {
				t.Fatalf("%q: %v %v", chosen, c, err)
			}
			if tr.count() > 0 && chosen != signed {
				t.Errorf("%q reached the store", chosen)
			}
			for _, change := range []request{
				{path: "/set", form: url.Values{"open": {""}, "name": {"n"}, "value": {"v"}}},
				{path: "/login", form: url.Values{"user": {"victim"}}},
			} {
				change.method, change.cookie, change.trace = "POST", chosen, w.trace()
				tr := change.trace
				a := w.must(t, change)
				if a.cookie == "" || a.cookie == chosen || idOf(a.cookie) == idOf(signed) {
					t.Errorf("%q was adopted: %v", chosen, a)
				}
				if made := tr.created(); len(made) != 1 || made[0] != idOf(a.cookie) {
					t.Errorf("%q: stored under %v", chosen, made)
				}
			}
			if err := w.nobody(signed); err != nil {
				t.Errorf("%q: %v", chosen, err)
			}
		}
		// Two tokens, both good: nobody can know who set which, so neither counts.
		mine, planted := w.login(t, "victim", ""), w.login(t, "attacker", "")
		a := w.do(request{method: "GET", path: "/read", header: http.Header{"Cookie": {
			cloakroom.DefaultCookieName + "=" + planted + "; " + cloakroom.DefaultCookieName + "=" + mine}}})
		if c, err := a.contents(); err != nil || c.User != "" || a.touchesCookie() {
			t.Errorf("two tokens: %v", a)
		}
	})
}

// For thirty seconds a renewed token is answered as one whose browser has the new
// one already; then it is a stranger's. At no time does it store anything, or get
// a cookie other than by a login.
func TestPromise03_LateTokens(t *testing.T) {
	timeless(t, func(t *testing.T, st backend) {
		w := newBubble(t, st, nil)
		html := http.Header{"Accept": {"text/html"}}
		for _, path := range []string{"/renew", "/login", "/roles"} {
			late := w.login(t, "u", "")
			renewed := w.must(t, request{method: "POST", path: path, cookie: late, form: url.Values{"user": {"u"}}}).cookie
			for at := range w.instances {
				for _, wait := range []time.Duration{0, 14 * time.Second, 999 * time.Millisecond} {
					time.Sleep(wait)
					for _, q := range []request{{method: "GET", path: "/me"}, {method: "POST", path: "/set"}, {method: "POST", path: "/update"},
						{method: "POST", path: "/renew"}, {method: "POST", path: "/logout"},
						{method: "POST", path: "/set", form: url.Values{"open": {""}, "name": {"n"}}}, {method: "POST", path: "/set", header: html}} {
						q.at, q.cookie = at, late
						a := w.do(q)
						if a.status != http.StatusConflict || a.touchesCookie() || q.header == nil && (a.refusal() != nil || a.detail() != "Session renewed") {
							t.Errorf("%s %s: %v", q.method, q.path, a)
						}
					}
					a := w.do(request{at: at, method: "GET", path: "/set", form: url.Values{"open": {""}, "name": {"n"}}, header: html, cookie: late})
					if a.status != http.StatusSeeOther || a.header.Get("Location") != "/set?name=n&open=" || a.touchesCookie() || a.header.Get(pageHeader) != "" {
						t.Errorf("navigation: %v %v", a, a.header)
					}
					if a := w.do(request{at: at, method: "GET", path: "/read", cookie: late}); !a.ok() || a.touchesCookie() || !strings.Contains(a.body, `"user":""`) {
						t.Errorf("read: %v", a)
					}
				}
			}
			again := w.login(t, "u", late) // a fresh proof is no late request
			if w.read(t, 1, again).User != "u" || w.read(t, 1, renewed).User != "u" {
				t.Error("a login with a late token failed, or ended the session")
			}
			time.Sleep(100 * time.Millisecond) // 30 s since the renewal, whose stamp may be some milliseconds ahead
			w.isNobody(t, late)
			a := w.must(t, request{method: "POST", path: "/set", form: url.Values{"open": {""}, "name": {"n"}}, cookie: late})
			if a.cookie == "" || idOf(a.cookie) == idOf(late) {
				t.Errorf("a stranger's first value: %v", a)
			}
		}
	})
}

// A page sends twenty requests while its session is renewed. Those that were on
// their way end well or are told of the renewal, none takes the cookie away, and
// the visitor is still signed in, with everything that was acknowledged.
func TestAttack_A46_TwentyRequestsDuringARenewal(t *testing.T) {
	t.Parallel()
	onEachPair(t, func(t *testing.T, here *place) {
		w := newWorldAt(t, here, nil)
		for round, path := range slices.Repeat([]string{"/renew", "/login", "/roles"}, 4) {
			user := w.fresh("u")
			old := w.login(t, user, "")
			answers := make([]answer, 20)
			var renewal answer
			var wg sync.WaitGroup
			for i := range answers {
				q := request{at: i % 2, method: "GET", path: "/me", cookie: old}
				if i%2 == 0 {
					q.method, q.path = "POST", "/update"
				}
				wg.Go(func() { answers[i] = w.do(q) })
				if i == round {
					wg.Go(func() {
						renewal = w.do(request{method: "POST", path: path, cookie: old, form: url.Values{"user": {user}, "role": {"r"}}})
					})
				}
			}
			wg.Wait()
			acknowledged := 0
			for i, a := range answers {
				if a.ok() && i%2 == 0 {
					acknowledged++
				}
				if a.touchesCookie() || !a.ok() && (a.refusal() != nil || a.detail() != "Session renewed") {
					t.Errorf("%s: request %d: %v", path, i, a)
				}
			}
			if c := w.read(t, 1, renewal.cookie); c.User != user || c.Count != acknowledged {
				t.Errorf("%s: %d updates were acknowledged, the session is %v", path, acknowledged, c)
			}
			if got := w.sessions(t, user); len(got) != 1 {
				t.Errorf("%s: %d sessions", path, len(got))
			}
		}
	})
}

// While a key retires, answers give the browser its token under the new key. One
// that comes to its end after the token was renewed does not: it would take the
// new token away.
func TestPromise03_AnOldTokenIsNotIssuedAgain(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, st backend) {
		w := newWorld(t, st, nil)
		key := w.rotate(t, nil)
		for _, path := range []string{"/renew", "/login", "/logout"} {
			user := w.fresh("u")
			cookie := w.login(t, user, "")
			key = w.rotate(t, key)
			first := w.must(t, request{method: "GET", path: "/read", cookie: cookie})
			if first.cookie == "" || idOf(first.cookie) != idOf(cookie) {
				t.Fatalf("the token was not issued under the new key: %v", first)
			}
			a := w.slowly(t, "/read", cookie, func() {
				w.must(t, request{at: 1, method: "POST", path: path, cookie: cookie, form: url.Values{"user": {user}}})
			})
			if !a.ok() || a.touchesCookie() {
				t.Errorf("after %s: %v", path, a)
			}
		}
	})
}

// rotate makes a new active key and retires the one before.
func (w *world) rotate(t *testing.T, before *keyring.Key) *keyring.Key {
	t.Helper()
	next := keyring.Generate()
	var others []keyring.Key
	if before != nil {
		others = append(others, before.AsRetiring(time.Now().Add(time.Hour)))
	}
	if err := w.ring.Replace(next, others...); err != nil {
		t.Fatal(err)
	}
	return &next
}
