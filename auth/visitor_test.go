package auth_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/throttle"
)

// guest is a browser at an address of its own that asks handlers without a server, so
// that a test may have its own clock. It keeps cookies for one request at a time.
type guest struct {
	h       http.Handler
	addr    string
	cookies map[string]*http.Cookie
}

func (a *app) guest(addr string) *guest {
	return &guest{a.handler, addr, map[string]*http.Cookie{}}
}

// do sends a request and keeps the cookies of its answer; header are names and values
// in turn.
func (g *guest) do(method, path string, form url.Values, header ...string) answer {
	r := g.request(method, path, form, header...)
	w := httptest.NewRecorder()
	g.h.ServeHTTP(w, r)
	g.keep(w)
	return answer{w.Result(), w.Body.String()}
}

func (g *guest) request(method, path string, form url.Values, header ...string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(form.Encode()))
	r.RemoteAddr = g.addr + ":4711"
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, c := range g.cookies {
		r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	for pair := range slices.Chunk(header, 2) {
		r.Header.Set(pair[0], pair[1])
	}
	return r
}

func (g *guest) keep(w *httptest.ResponseRecorder) {
	for _, c := range w.Result().Cookies() {
		if g.cookies[c.Name] = c; c.MaxAge < 0 {
			delete(g.cookies, c.Name)
		}
	}
}

func (g *guest) get(path string, header ...string) answer { return g.do("GET", path, nil, header...) }

func (g *guest) login(name, pw string) answer {
	return g.do("POST", "/login", url.Values{"username": {name}, "password": {pw}})
}

func (g *guest) reauth(pw string) answer {
	return g.do("POST", "/reauth", url.Values{"password": {pw}})
}

func (g *guest) change(current, new string) answer {
	return g.do("POST", "/change", url.Values{"current": {current}, "new": {new}})
}

// mustLogin signs in with the right password.
func (g *guest) mustLogin(t testing.TB, name string) {
	t.Helper()
	if r := g.login(name, rightPassword); r.StatusCode != http.StatusSeeOther {
		t.Fatalf("login of %s: %d %s", name, r.StatusCode, r.body)
	}
}

// signIn signs a guest in without the work of a hash.
func (a *app) signIn(t testing.TB, g *guest, name string) {
	t.Helper()
	u, err := a.users.ByName(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	in := *g
	in.h = a.m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.finish(w, r, a.auth.SignIn(r, u, "password"))
	}))
	if r := in.do("POST", "/", nil); r.StatusCode != http.StatusNoContent {
		t.Fatalf("login of %s: %d %s", name, r.StatusCode, r.body)
	}
}

// value is what a cookie holds, "" where there is none.
func (g *guest) value(name string) string {
	if c := g.cookies[name]; c != nil {
		return c.Value
	}
	return ""
}

func (g *guest) token() string { return g.value(cloakroom.DefaultCookieName) }

// copy is another browser at the same address with the same cookies.
func (g *guest) copy() *guest {
	c := &guest{g.h, g.addr, map[string]*http.Cookie{}}
	for name, k := range g.cookies {
		c.cookies[name] = k
	}
	return c
}

// patient is a throttle that lets as many attempts through as one can have, for what
// is about each of them.
func patient(t testing.TB, st throttle.Store) *throttle.Throttle {
	t.Helper()
	th, err := throttle.New(st, &throttle.Options{Free: throttle.DefaultLock, SourceFree: 1e6})
	if err != nil {
		t.Fatal(err)
	}
	return th
}

// lock gives an account as many failures in a row as it may have.
func (a *app) lock(t testing.TB, name string) {
	t.Helper()
	id := a.id(t, name)
	for range throttle.DefaultLock {
		if _, err := a.throttle.Begin(t.Context(), throttle.Attempt{Account: id, Source: "203.0.113.9"}); err != nil {
			t.Fatal(err)
		}
	}
	if st, err := a.throttle.State(t.Context(), id); err != nil || !st.Locked {
		t.Fatalf("state %+v, %v", st, err)
	}
}

// id is the ID of a user.
func (a *app) id(t testing.TB, name string) string {
	t.Helper()
	u, err := a.users.ByName(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return u.ID
}
