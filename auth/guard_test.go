package auth_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/auth"
)

// request is a request with a session's token, for handlers without a server.
func request(method, target, token string, header ...string) (*http.Request, *httptest.ResponseRecorder) {
	r := httptest.NewRequest(method, target, nil)
	if token != "" {
		r.Header.Set("Cookie", cloakroom.DefaultCookieName+"="+token)
	}
	for pair := range slices.Chunk(header, 2) {
		r.Header.Set(pair[0], pair[1])
	}
	return r, httptest.NewRecorder()
}

func TestGuards(t *testing.T) {
	a := newApp(t, nil)
	nobody, alice, bob := a.client(t), a.client(t), a.client(t)
	alice.mustLogin("alice")
	bob.mustLogin("bob")
	for _, c := range []struct {
		path string
		want [3]int // nobody, alice, bob
	}{
		{"/private", [3]int{401, 200, 200}},
		{"/admin", [3]int{401, 200, 403}},
		{"/either", [3]int{401, 200, 403}},
		{"/recent", [3]int{401, 200, 200}},
		{"/nested", [3]int{401, 200, 403}},
	} {
		for i, who := range []*client{nobody, alice, bob} {
			a.reached()
			r := who.get(c.path)
			if r.StatusCode != c.want[i] {
				t.Errorf("%s by %d: %d, want %d", c.path, i, r.StatusCode, c.want[i])
			}
			if ran := a.reached() != nil; ran != (c.want[i] == 200) {
				t.Errorf("%s by %d: the handler ran: %t", c.path, i, ran)
			}
			if cc := r.Header.Get("Cache-Control"); cc != "no-store" {
				t.Errorf("%s by %d: Cache-Control: %s", c.path, i, cc)
			}
			if d := r.detail(); d != map[int]string{200: "", 401: "Not authenticated", 403: "Forbidden"}[r.StatusCode] {
				t.Errorf("%s by %d: detail %q", c.path, i, d)
			}
		}
	}
}

// A guard is asked whatever the method calls itself: the server passes "post" on
// as it came, and HEAD is a GET that somebody forgot.
func TestAttack_A48_EveryMethodIsGuarded(t *testing.T) {
	a := newApp(t, nil)
	c := a.client(t)
	methods := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", "head", "post", "pOsT", "Get", "options", "PROPFIND", "X"}
	for _, path := range []string{"/private", "/admin", "/either", "/recent", "/nested"} {
		for _, method := range methods {
			for name, header := range map[string][]string{"program": nil, "browser": navigation} {
				r := c.do(method, path, nil, header...)
				want := 401
				if name == "browser" && (method == "GET" || method == "HEAD") {
					want = 303
				}
				if r.StatusCode != want {
					t.Errorf("%s %s by a %s: %d, want %d", method, path, name, r.StatusCode, want)
				}
			}
		}
	}
	if got := a.reached(); got != nil {
		t.Errorf("handlers ran for %q", got)
	}
	// And signed in, without the role.
	c.mustLogin("bob")
	for _, method := range methods {
		if r := c.do(method, "/admin", nil); r.StatusCode != 403 {
			t.Errorf("%s: %d", method, r.StatusCode)
		}
	}
	if got := a.reached(); got != nil {
		t.Errorf("handlers ran for %q", got)
	}
}

func TestABrowserIsSentToTheLoginPage(t *testing.T) {
	a := newApp(t, nil)
	c := a.client(t)
	for target, want := range map[string]string{
		"/private":                              "/login?next=%2Fprivate",
		"/private?a=b&c=d%20e":                  "/login?next=%2Fprivate%3Fa%3Db%26c%3Dd%2520e",
		"/private?u=https://evil.test/":         "/login?next=%2Fprivate%3Fu%3Dhttps%3A%2F%2Fevil.test%2F",
		"/private?" + strings.Repeat("x", 2048): "/login",
		"/private?a=b\\c":                       "/login",
	} {
		r := c.get(target, navigation...)
		if r.StatusCode != 303 || r.Header.Get("Location") != want || r.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%.40s: %d %v", target, r.StatusCode, r.Header)
		}
	}
	// The way back.
	r := c.get("/private?a=b", navigation...)
	to, err := url.Parse(r.Header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	r = c.do("POST", "/login", url.Values{"username": {"bob"}, "password": {rightPassword}, "next": to.Query()["next"]})
	if r.StatusCode != 303 || r.Header.Get("Location") != "/private?a=b" {
		t.Errorf("back: %d %v", r.StatusCode, r.Header)
	}
	// What is no navigation gets a status that a script can read.
	for name, header := range map[string][]string{
		"fetch":   {"Accept", navigation[1], "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"},
		"image":   {"Accept", "image/avif,image/webp,*/*;q=0.8", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"},
		"curl":    {"Accept", "*/*"},
		"program": {"Accept", "application/json"},
	} {
		if r := a.client(t).get("/private", header...); r.StatusCode != 401 {
			t.Errorf("%s: %d", name, r.StatusCode)
		}
	}
}

// A request that was refused for want of a login is never kept: what follows the
// login is a GET of a checked address.
func TestAttack_A55_ARefusedPostIsNotReplayed(t *testing.T) {
	a := newApp(t, nil)
	c := a.client(t)
	for _, method := range []string{"POST", "PUT", "DELETE"} {
		r := c.do(method, "/private", url.Values{"transfer": {"1000000"}}, navigation...)
		if r.StatusCode != 401 || r.Header.Get("Location") != "" || len(r.Cookies()) != 0 {
			t.Errorf("%s: %d %v", method, r.StatusCode, r.Header)
		}
	}
	r := c.login("bob", rightPassword)
	if r.StatusCode != http.StatusSeeOther { // 303 makes a GET of it; 307 and 308 would send the body again
		t.Errorf("login: %d", r.StatusCode)
	}
	if got := a.reached(); got != nil {
		t.Errorf("handlers ran for %q", got)
	}
	if r := c.get("/private"); r.StatusCode != 200 {
		t.Errorf("%d", r.StatusCode)
	}
}

// Disabling someone, deleting them or ending their sessions works on the next
// request, and the session never comes back, even if the account does.
func TestASVS_7_4_2_GuardsEndSessionsOfUsersWhoMayNot(t *testing.T) {
	for name, c := range map[string]struct {
		reason   string
		event    func(*account)
		backWith func(*account)
	}{
		"disabled": {"disabled", func(u *account) { u.Disabled = true }, func(u *account) { u.Disabled = false }},
		"epoch":    {"epoch", func(u *account) { u.Epoch++ }, func(u *account) { u.Epoch-- }},
		"earlier":  {"epoch", func(u *account) { u.Epoch-- }, func(u *account) { u.Epoch++ }},
		"gone":     {"no user", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			a := newApp(t, nil)
			a.users.change("u2", func(u *account) { u.Epoch = 7 })
			bob := a.client(t)
			bob.mustLogin("bob")
			if r := bob.get("/private"); r.StatusCode != 200 {
				t.Fatalf("before: %d", r.StatusCode)
			}
			token := bob.token()
			kept := *a.users.users["u2"]
			if c.event != nil {
				a.users.change("u2", c.event)
			} else {
				a.users.remove("u2")
			}
			a.reached()
			a.log.take()
			r := bob.get("/private")
			if r.StatusCode != 401 || r.detail() != "Not authenticated" || bob.token() != "" || a.reached() != nil {
				t.Errorf("%d %v %s", r.StatusCode, r.Header, r.body)
			}
			if n := a.sessions(t, "u2"); n != 0 {
				t.Errorf("%d sessions are left", n)
			}
			if l := a.log.lines(t, "session_ended"); len(l) != 1 || l[0]["reason"] != c.reason || l[0]["user"] != "u2" || l[0]["session"] == nil {
				t.Errorf("log: %v", l)
			}
			if c.backWith != nil {
				a.users.change("u2", c.backWith)
			} else {
				a.users.set(func(u *accounts) { u.users["u2"] = &kept })
			}
			if r := bob.with(token, "GET", "/private"); r.StatusCode != 401 {
				t.Errorf("the session came back: %d", r.StatusCode)
			}
		})
	}
}

// The answer does not wait for the clean-up to succeed.
func TestPromise07_CleanUpThatFailsOpensNoDoor(t *testing.T) {
	a := newApp(t, nil)
	bob := a.client(t)
	bob.mustLogin("bob")
	a.users.change("u2", func(u *account) { u.Epoch++ })
	a.store.set(nil, errBoom)
	for range 2 {
		if r := bob.get("/private"); r.StatusCode != 401 {
			t.Errorf("%d %s", r.StatusCode, r.body)
		}
	}
	a.store.set(nil, nil)
	if r := bob.get("/private"); r.StatusCode != 401 || a.sessions(t, "u2") != 0 || a.reached() != nil {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
}

// Users who cannot be read let nobody in and end no session (ASVS 16.5.3).
func TestPromise07_GuardsFailClosed(t *testing.T) {
	a := newApp(t, &setup{auth: auth.Options{UsersTimeout: 50e6}})
	c := a.client(t)
	c.mustLogin("alice")
	token := c.token()
	for name, f := range map[string]func(*accounts){
		"error":        func(u *accounts) { u.fail = errBoom },
		"hang":         func(u *accounts) { u.hang = true },
		"another user": func(u *accounts) { u.strange = true },
	} {
		a.users.set(f)
		for _, path := range []string{"/private", "/admin", "/either", "/recent", "/nested"} {
			for _, header := range [][]string{nil, navigation} {
				r := c.get(path, header...)
				if r.StatusCode != 503 || r.Header.Get("Retry-After") != "1" || len(r.Cookies()) != 0 {
					t.Errorf("%s: %s: %d %v", name, path, r.StatusCode, r.Header)
				}
				if strings.Contains(r.body, "canary") || strings.Contains(r.body, "10.0.0.7") {
					t.Errorf("%s: the answer says %s", name, r.body)
				}
			}
		}
		if got := a.reached(); got != nil {
			t.Errorf("%s: handlers ran for %q", name, got)
		}
		a.users.set(func(u *accounts) { u.fail, u.hang, u.strange = nil, false, false })
		if r := c.get("/private"); r.StatusCode != 200 || c.token() != token {
			t.Errorf("%s: afterwards: %d", name, r.StatusCode)
		}
		a.reached()
	}
	if l := a.log.lines(t, "users_failed"); len(l) != 30 || l[0]["level"] != "ERROR" {
		t.Errorf("%d log lines", len(l))
	}
}

func TestUsersAreReadOnceARequest(t *testing.T) {
	a := newApp(t, nil)
	c := a.client(t)
	c.mustLogin("alice")
	for _, path := range []string{"/private", "/nested"} {
		a.users.set(func(u *accounts) { u.byID = 0 })
		if r := c.get(path); r.StatusCode != 200 || a.users.byID != 1 {
			t.Errorf("%s: %d, %d calls", path, r.StatusCode, a.users.byID)
		}
	}
	a.users.set(func(u *accounts) { u.byID = 0 })
	if a.client(t).get("/private"); a.users.byID != 0 {
		t.Errorf("nobody: %d calls", a.users.byID)
	}
}

// What an outer guard has read holds for its user alone.
func TestALoginBehindAGuardIsSeen(t *testing.T) {
	a := newApp(t, nil)
	c := a.client(t)
	c.mustLogin("alice")
	h := a.m.Handler(a.auth.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		admin := auth.Rule{Roles: []string{"admin"}}
		if d := a.auth.Decide(r.Context(), admin); !d.Allowed {
			t.Errorf("alice: %v", d.Err)
		}
		if _, err := a.auth.Login(r, "bob", rightPassword); err != nil {
			t.Error(err)
		}
		if d := a.auth.Decide(r.Context(), admin); d.Allowed || d.User.Name != "bob" {
			t.Errorf("bob: %+v", d)
		}
		if err := a.auth.Logout(r); err != nil {
			t.Error(err)
		}
		if d := a.auth.Decide(r.Context(), auth.Rule{}); d.Allowed || d.Err != auth.ErrUnauthenticated {
			t.Errorf("nobody: %+v", d)
		}
	})))
	r, w := request("POST", "/", c.token())
	h.ServeHTTP(w, r)
}

// A guard of one Auth does not take the word of another's.
func TestGuardsOfTwoAuthsReadTheirOwnUsers(t *testing.T) {
	a := newApp(t, nil)
	c := a.client(t)
	c.mustLogin("alice")
	others := &accounts{users: map[string]*account{"u1": {User: auth.User{ID: "u1", Name: "alice", Disabled: true}}}}
	b, err := auth.New(a.m, others, &auth.Options{Hasher: a.hasher})
	if err != nil {
		t.Fatal(err)
	}
	r, w := request("GET", "/", c.token())
	a.m.Handler(a.auth.RequireLogin(b.RequireLogin(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the handler ran")
	})))).ServeHTTP(w, r)
	if w.Code != 401 {
		t.Errorf("%d", w.Code)
	}
}

// A login page behind its own guard is a fault of the program; the browser must
// not go round in circles for it.
func TestNoCircleAtTheLoginPage(t *testing.T) {
	a := newApp(t, nil)
	r, w := request("GET", "/login?next=/x", "", navigation...)
	a.m.Handler(a.auth.RequireLogin(http.NotFoundHandler())).ServeHTTP(w, r)
	if w.Code != 401 {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

func TestErrorHandlerAnswersForGuards(t *testing.T) {
	var got error
	a := newApp(t, &setup{auth: auth.Options{ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
		got = err
		w.WriteHeader(auth.Status(err) + 50)
	}}})
	c := a.client(t)
	if r := c.get("/private"); r.StatusCode != 451 || got != auth.ErrUnauthenticated {
		t.Errorf("%d %v", r.StatusCode, got)
	}
	c.mustLogin("bob")
	if r := c.get("/admin"); r.StatusCode != 453 || got != auth.ErrForbidden || r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v", r.StatusCode, got)
	}
}

func TestPromise12_FaultsAreLoud(t *testing.T) {
	a := newApp(t, nil)
	panics := func(name string, f func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%s: no panic", name)
			}
		}()
		f()
	}
	served := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the handler ran") })
	for name, h := range map[string]http.Handler{
		"RequireLogin":  a.auth.RequireLogin(served),
		"RequireRole":   a.auth.RequireRole("admin")(served),
		"RequireRecent": a.auth.RequireRecent(time.Hour)(served),
	} {
		panics(name+" without the middleware", func() {
			r, w := request("GET", "/", "")
			h.ServeHTTP(w, r)
		})
	}
	r := httptest.NewRequest("POST", "/", nil)
	panics("Login without the middleware", func() { _, _ = a.auth.Login(r, "alice", rightPassword) })
	panics("Logout without the middleware", func() { _ = a.auth.Logout(r) })
	panics("Decide without the middleware", func() { a.auth.Decide(context.Background(), auth.Rule{}) })
	panics("RequireRole()", func() { a.auth.RequireRole() })
	panics("RequireRole of nothing", func() { a.auth.RequireRole("admin", "") })
	panics("RequireRecent(0)", func() { a.auth.RequireRecent(0) })
	panics("RequireLogin(nil)", func() { a.auth.RequireLogin(nil) })

	_, err := auth.New(nil, nil, &auth.Options{LoginURL: "//evil.example", ReauthURL: "https://evil.example/", UsersTimeout: -1})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"Manager", "Users", "LoginURL", "ReauthURL", "UsersTimeout"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %q", want, err)
		}
	}
	for _, page := range []string{"login", "/login#top", "/log in", "/../login", "/\\evil.example"} {
		if _, err := auth.New(a.m, a.users, &auth.Options{LoginURL: page}); err == nil {
			t.Errorf("LoginURL %q was taken", page)
		}
	}
	if _, err := auth.New(a.m, a.users, nil); err != nil {
		t.Errorf("nil options: %v", err)
	}
}
