package auth_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/throttle"
)

const deviceCookie = "__Host-device"

// devices is an app whose logins note the browser, and the throttle's store.
func devices(t testing.TB, with *setup) (*app, *spy) {
	t.Helper()
	o := setup{know: true}
	if with != nil {
		o.sessions, o.keys = with.sessions, with.keys
	}
	st := &spy{Store: throttle.NewMemory()}
	o.auth.Throttle = patient(t, st)
	return newHandler(t, &o), st
}

// knows tells whether a browser is known for a user: in which lane its guesses are.
func (s *spy) knows(t testing.TB, g *guest, user string) bool {
	t.Helper()
	if r := g.copy().login(user, "wrong"); r.StatusCode != 401 {
		t.Fatalf("%d %s", r.StatusCode, r.body)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.lanes, "device")
}

func TestALoginMakesABrowserKnown(t *testing.T) {
	a, st := devices(t, nil)
	g := a.guest("192.0.2.1")
	if st.knows(t, g, "alice") {
		t.Error("known before any login")
	}
	g.login("alice", "wrong")
	if len(g.cookies) != 0 {
		t.Errorf("a wrong password sets %v", g.cookies)
	}
	a.log.take()
	g.mustLogin(t, "alice")
	c := g.cookies[deviceCookie]
	if c == nil || !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" || c.MaxAge != 180*24*3600 {
		t.Fatalf("the cookie is %+v", c)
	}
	if raw, err := base64.RawURLEncoding.DecodeString(c.Value); err != nil || strings.Contains(string(raw), "u1") {
		t.Errorf("the cookie shows the user: %q, %v", raw, err)
	}
	if l := a.log.lines(t, "new_device"); len(l) != 1 || l[0]["user"] != "u1" || l[0]["level"] != "WARN" || l[0]["reason"] != "after failures" || l[0]["session"] == nil {
		t.Errorf("log: %v", l)
	}
	if !st.knows(t, g, "alice") || !st.knows(t, g, "ALICE") {
		t.Error("not known")
	}
	for _, other := range []string{"bob", "zoe", "al ice"} {
		if st.knows(t, g, other) {
			t.Errorf("known for %s", other)
		}
	}
	g.mustLogin(t, "alice")
	if l := a.log.lines(t, "new_device"); len(l) != 0 {
		t.Errorf("a known one: %v", l)
	}
	g.mustLogin(t, "bob")
}

// A browser that is known is not signed in (NIST SP 800-63B-4 §5.1).
func TestNIST_5_1_d_AKnownDeviceIsNoAuthentication(t *testing.T) {
	a, _ := devices(t, nil)
	g := a.guest("192.0.2.1")
	g.mustLogin(t, "alice")
	if r := g.get("/private"); r.StatusCode != 200 {
		t.Fatal(r.StatusCode)
	}
	delete(g.cookies, cloakroom.DefaultCookieName)
	for _, path := range []string{"/private", "/admin", "/recent", "/change"} {
		if r := g.get(path); r.StatusCode != 401 || r.detail() != "Not authenticated" {
			t.Errorf("%s: %d %s", path, r.StatusCode, r.body)
		}
	}
	for name, r := range map[string]answer{"reauth": g.reauth(rightPassword), "change": g.change(rightPassword, newPassword)} {
		if r.StatusCode != 401 || r.detail() != "Not authenticated" {
			t.Errorf("%s: %d %s", name, r.StatusCode, r.body)
		}
	}
	// And its value is no session's.
	g.cookies[cloakroom.DefaultCookieName] = &http.Cookie{Name: cloakroom.DefaultCookieName, Value: g.value(deviceCookie)}
	if r := g.get("/private"); r.StatusCode != 401 {
		t.Errorf("as a session: %d", r.StatusCode)
	}
	for range 5 {
		if r := g.login("alice", "wrong"); r.StatusCode != 401 {
			t.Errorf("a wrong password on a known device: %d", r.StatusCode)
		}
	}
}

// Whatever else stands in the cookie is as none: no error, and no lane of its own.
func TestAttack_A34_NoDeviceIsMadeByHand(t *testing.T) {
	a, st := devices(t, nil)
	g := a.guest("192.0.2.1")
	g.mustLogin(t, "alice")
	right := g.value(deviceCookie)
	other, _ := devices(t, nil) // another deployment
	h := other.guest("192.0.2.1")
	h.mustLogin(t, "alice")
	raw, err := base64.RawURLEncoding.DecodeString(right)
	if err != nil {
		t.Fatal(err)
	}
	values := []string{
		"", "x", "=", right[:len(right)-1], right + "A", right + right, " " + right, h.value(deviceCookie), g.token(),
		strings.Repeat("A", 100), strings.Repeat("A", 8000), base64.StdEncoding.EncodeToString(raw), "u1",
	}
	for i := range raw {
		forged := slices.Clone(raw)
		forged[i] ^= 1
		values = append(values, base64.RawURLEncoding.EncodeToString(forged))
	}
	for i, value := range values {
		st.lanes = nil
		a.hashes()
		f := a.guest("192.0.2.1")
		f.cookies[deviceCookie] = &http.Cookie{Name: deviceCookie, Value: value}
		pw, want := "wrong", 401
		if i%9 == 0 {
			pw, want = rightPassword, 303
		}
		if i > 12 && i%9 != 0 {
			continue // each costs a hash; those of the seal are all one
		}
		r := f.login("alice", pw)
		if r.StatusCode != want || slices.Contains(st.lanes, "device") || a.hashes() != 1 {
			t.Errorf("%.60q: %d, lanes %v", value, r.StatusCode, st.lanes)
		}
		if want == 303 && (f.value(deviceCookie) == value || !st.knows(t, f, "alice")) {
			t.Errorf("%.60q was not replaced", value)
		}
	}
	// A valid one beside one that somebody planted is found.
	for n, want := range map[int]bool{1: true, 1000: false} {
		r := g.request("POST", "/login", map[string][]string{"username": {"alice"}, "password": {"wrong"}})
		r.Header.Set("Cookie", strings.Repeat(deviceCookie+"=planted; ", n)+deviceCookie+"="+right)
		serveQuietly(a.handler, r)
		if got := slices.Contains(st.lanes, "device"); got != want {
			t.Errorf("behind %d others the cookie is looked at: %t", n, got)
		}
	}
}

// A browser is known for the last eight users, and for each half a year.
func TestABrowserForgetsUsersInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, st := devices(t, nil)
		for i := range 9 {
			id := strings.Repeat("x", 254) + fmt.Sprint(i) // as long as an ID can be
			a.users.set(func(u *accounts) {
				u.users[id] = &account{User: auth.User{ID: id, Name: fmt.Sprint("user", i), Password: rightHash()}, canonical: fmt.Sprint("user", i)}
			})
		}
		g := a.guest("192.0.2.1")
		for i := range 9 {
			g.mustLogin(t, fmt.Sprint("user", i))
			time.Sleep(time.Second)
			if i == 7 {
				g.mustLogin(t, "user0") // no longer the oldest
				time.Sleep(time.Second)
			}
		}
		if c := g.cookies[deviceCookie]; len(c.String()) > 4096 {
			t.Errorf("the cookie has %d bytes", len(c.String()))
		}
		for i := range 9 {
			if got := st.knows(t, g, fmt.Sprint("user", i)); got != (i != 1) {
				t.Errorf("user%d: known %t", i, got)
			}
		}
		time.Sleep(100 * 24 * time.Hour)
		g.mustLogin(t, "user3")
		time.Sleep(81 * 24 * time.Hour)
		for i := range 9 {
			if got := st.knows(t, g, fmt.Sprint("user", i)); got != (i == 3) {
				t.Errorf("half a year later, user%d: known %t", i, got)
			}
		}
	})
}

// The cookie is sealed with the keys of the deployment: it outlives a new one, and ends
// with the one that sealed it. Where the sessions' cookie is a plain one, so is this.
func TestDevicesAndKeys(t *testing.T) {
	first, second := keyring.Generate(), keyring.Generate()
	ring, err := keyring.New(first)
	if err != nil {
		t.Fatal(err)
	}
	a, st := devices(t, &setup{keys: ring, sessions: cloakroom.Options{Insecure: true, CookieName: "session"}})
	g := a.guest("192.0.2.1")
	g.mustLogin(t, "alice")
	if c := g.cookies["device"]; c == nil || c.Secure || !c.HttpOnly || g.cookies[deviceCookie] != nil {
		t.Errorf("cookies %v", g.cookies)
	}
	old, err := keyring.ParseKey(strings.Replace(first.Text(), "active", "next", 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := ring.Replace(second, old); err != nil {
		t.Fatal(err)
	}
	if !st.knows(t, g, "alice") {
		t.Error("unknown under a new key")
	}
	if err := ring.Replace(second); err != nil {
		t.Fatal(err)
	}
	if st.knows(t, g, "alice") {
		t.Error("known without the key that sealed it")
	}
	a.handler = a.m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.auth.KnowDevice(w, r, auth.User{})
		a.auth.KnowDevice(w, r, auth.User{ID: strings.Repeat("x", 256)})
	}))
	if r := a.guest("192.0.2.1").get("/"); len(r.Cookies()) != 0 {
		t.Errorf("nobody's device: %v", r.Cookies())
	}
}

// Whatever comes as the cookie, a login goes on, and the answer has a cookie that is
// taken the next time.
func FuzzDeviceCookie(f *testing.F) {
	a, _ := devices(f, nil)
	g := a.guest("192.0.2.1")
	g.mustLogin(f, "alice")
	f.Add(deviceCookie + "=" + g.value(deviceCookie))
	f.Add(deviceCookie + "=AAAA; " + deviceCookie + "=")
	f.Add("; ;=;" + deviceCookie)
	h := a.m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.auth.KnowDevice(w, r, auth.User{ID: "u2"})
	}))
	f.Fuzz(func(t *testing.T, header string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Cookie"] = []string{header}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		set := w.Header()["Set-Cookie"]
		if len(set) != 1 || !strings.HasPrefix(set[0], deviceCookie+"=") || len(set[0]) > 4096 {
			t.Errorf("%q sets %q", header, set)
		}
	})
}

// Whoever knew a password has perhaps made himself known in a hundred browsers. When it
// is changed, or everything of the user ends, none of them is known any more, but the
// one in which it was changed.
func TestAttack_A34_DevicesEndWithThePassword(t *testing.T) {
	a, st := devices(t, nil)
	owner := a.guest("192.0.2.1")
	owner.mustLogin(t, "alice")
	var hoard []*guest
	for range 20 {
		g := a.guest("192.0.2.66")
		g.mustLogin(t, "alice")
		hoard = append(hoard, g)
	}
	if res := owner.change(rightPassword, "quite another one of hers"); res.StatusCode >= 400 {
		t.Fatalf("%d %s", res.StatusCode, res.body)
	}
	for i, g := range hoard {
		if st.knows(t, g, "alice") {
			t.Fatalf("browser %d is known", i)
		}
	}
	if !st.knows(t, owner, "alice") {
		t.Error("the browser of the change is not known")
	}
}
