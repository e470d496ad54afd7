package auth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/password"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
	"github.com/cloakroom-dev/cloakroom/throttle"
)

// app is a small program with a login, behind a server of its own.
type app struct {
	*httptest.Server
	users  *accounts
	store  *faulty
	m      *cloakroom.Manager
	auth   *auth.Auth
	hasher *password.Hasher
	log    *logBuffer

	handler  http.Handler
	throttle *throttle.Throttle
	know     bool
	counted  uint64 // hashes, see hashes

	mu     sync.Mutex
	served []string // the paths whose handlers ran behind a guard
	result error    // of the last Login
	user   auth.User
}

// setup says what is different in an app.
type setup struct {
	auth     auth.Options
	hasher   password.Options
	wrap     func(*accounts) auth.Users
	sessions cloakroom.Options
	keys     *keyring.Ring
	sealed   bool // sessions are in their cookies
	know     bool // logins note the browser
}

const rightPassword = "correct horse battery staple"

// rightHash is the hash of rightPassword with the parameters of new hashes.
var rightHash = sync.OnceValue(func() string { return hashOf(rightPassword) })

func hashOf(pw string) string {
	h, err := password.New(nil)
	if err != nil {
		panic(err)
	}
	phc, err := h.Hash(context.Background(), pw)
	if err != nil {
		panic(err)
	}
	return phc
}

// newApp starts an app behind a server: see newHandler.
func newApp(t testing.TB, with *setup) *app {
	t.Helper()
	a := newHandler(t, with)
	a.Server = httptest.NewTLSServer(a.handler)
	a.Config.ErrorLog = slog.NewLogLogger(a.m.Logger().Handler(), slog.LevelError)
	t.Cleanup(a.Close)
	return a
}

// newHandler makes an app with the accounts alice (admin), bob, dora (disabled), nopw
// (without a password), broken (with no usable hash), lock, and must (who has to
// change their password), without a server: for a test's own clock.
func newHandler(t testing.TB, with *setup) *app {
	t.Helper()
	var o setup
	if with != nil {
		o = *with
	}
	a := &app{log: new(logBuffer), store: &faulty{Store: memstore.New(nil)}, know: o.know}
	a.users = &accounts{users: map[string]*account{}}
	for i, u := range []auth.User{
		{Name: "alice", Roles: []string{"admin", "staff"}, Password: rightHash()},
		{Name: "bob", Password: rightHash()},
		{Name: "dora", Password: rightHash(), Disabled: true},
		{Name: "nopw"},
		{Name: "broken", Password: "$argon2id$broken"},
		{Name: "lock", Password: rightHash()},
		{Name: "must", Password: rightHash(), MustChange: true},
	} {
		u.ID = fmt.Sprintf("u%d", i+1)
		a.users.users[u.ID] = &account{User: u, canonical: u.Name}
	}
	ring, err := o.keys, error(nil)
	if ring == nil {
		ring, err = keyring.New(keyring.Generate())
	}
	if err != nil {
		t.Fatal(err)
	}
	o.sessions.Logger = slog.New(slog.NewJSONHandler(a.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if o.sealed {
		a.m, err = cloakroom.NewSealed(ring, a.store, &o.sessions)
	} else {
		a.m, err = cloakroom.New(a.store, ring, &o.sessions)
	}
	if err != nil {
		t.Fatal(err)
	}
	if a.hasher, err = password.New(&o.hasher); err != nil {
		t.Fatal(err)
	}
	o.auth.Hasher = a.hasher
	var users auth.Users = a.users
	if o.wrap != nil {
		users = o.wrap(a.users)
	}
	if o.auth.Throttle == nil {
		if o.auth.Throttle, err = throttle.New(nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	a.throttle = o.auth.Throttle
	if a.auth, err = auth.New(a.m, users, &o.auth); err != nil {
		t.Fatal(err)
	}
	a.handler = a.m.Handler(a.mux())
	return a
}

var note = cloakroom.NewKey[string]("note")

func (a *app) mux() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		user, err := a.auth.Login(r, r.PostFormValue("username"), r.PostFormValue("password"))
		a.mu.Lock()
		a.user, a.result = user, err
		a.mu.Unlock()
		if err != nil {
			auth.WriteError(w, r, err)
			return
		}
		if a.know {
			a.auth.KnowDevice(w, r, user)
		}
		http.Redirect(w, r, auth.Next(r.PostFormValue("next"), "/home"), http.StatusSeeOther)
	})
	mux.HandleFunc("POST /reauth", func(w http.ResponseWriter, r *http.Request) {
		a.finish(w, r, a.auth.Reauthenticate(r, r.PostFormValue("password")))
	})
	mux.HandleFunc("POST /change", func(w http.ResponseWriter, r *http.Request) {
		err := a.auth.ChangePassword(r, r.PostFormValue("current"), r.PostFormValue("new"))
		if err == nil && a.know {
			user, _ := a.users.ByID(r.Context(), cloakroom.FromContext(r.Context()).UserID())
			user.Epoch-- // as the program knew the user before
			a.auth.KnowDevice(w, r, user)
		}
		a.finish(w, r, err)
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		if err := a.auth.Logout(r); err != nil {
			auth.WriteError(w, r, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("/note", func(w http.ResponseWriter, r *http.Request) {
		s := cloakroom.FromContext(r.Context())
		if v := r.URL.Query().Get("set"); v != "" {
			note.Set(s, v)
		}
		io.WriteString(w, note.GetOr(s, ""))
	})
	served := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		a.served = append(a.served, r.URL.Path)
		a.mu.Unlock()
		u, ok := auth.UserFrom(r.Context())
		fmt.Fprintf(w, "%s %t %v", u.Name, ok, u.Roles)
	})
	mux.Handle("GET /change", a.auth.RequireLoginToChange(served))
	mux.Handle("/private", a.auth.RequireLogin(served))
	mux.Handle("/admin", a.auth.RequireRole("admin")(served))
	mux.Handle("/either", a.auth.RequireRole("owner", "staff")(served))
	mux.Handle("/recent", a.auth.RequireRecent(5*60e9)(served))
	mux.Handle("/nested", a.auth.RequireLogin(a.auth.RequireRole("admin")(a.auth.RequireRecent(60e9)(served))))
	return mux
}

// finish answers what has come of a re-authentication or a change.
func (a *app) finish(w http.ResponseWriter, r *http.Request, err error) {
	a.mu.Lock()
	a.result = err
	a.mu.Unlock()
	if err != nil {
		auth.WriteError(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// reached returns the paths of handlers that ran since the last call.
func (a *app) reached() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer func() { a.served = nil }()
	return a.served
}

// sessions returns how many sessions of a user are live.
func (a *app) sessions(t *testing.T, id string) int {
	t.Helper()
	infos, err := a.m.List(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	return len(infos)
}

// client is a browser: it keeps cookies, and follows no redirect by itself.
type client struct {
	*http.Client
	t   *testing.T
	url *url.URL
}

func (a *app) client(t *testing.T) *client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(a.URL)
	if err != nil {
		t.Fatal(err)
	}
	return &client{&http.Client{
		Transport:     a.Client().Transport,
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, t, u}
}

// answer is a response with its body read.
type answer struct {
	*http.Response
	body string
}

// detail returns the detail of a problem document, "" for any other body.
func (r answer) detail() string {
	var p struct {
		Detail string
		Status int
	}
	if json.Unmarshal([]byte(r.body), &p) != nil || p.Status != r.StatusCode {
		return ""
	}
	return p.Detail
}

// do sends a request; header are names and values in turn.
func (c *client) do(method, path string, form url.Values, header ...string) answer {
	c.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequest(method, c.url.String()+path, body)
	if err != nil {
		c.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for pair := range slices.Chunk(header, 2) {
		r.Header.Set(pair[0], pair[1])
	}
	resp, err := c.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return answer{resp, string(b)}
}

func (c *client) get(path string, header ...string) answer {
	c.t.Helper()
	return c.do("GET", path, nil, header...)
}

// login signs in and returns the answer.
func (c *client) login(name, pw string, header ...string) answer {
	c.t.Helper()
	return c.do("POST", "/login", url.Values{"username": {name}, "password": {pw}}, header...)
}

// mustLogin signs in with the right password.
func (c *client) mustLogin(name string) {
	c.t.Helper()
	if r := c.login(name, rightPassword); r.StatusCode != http.StatusSeeOther {
		c.t.Fatalf("login of %s: %d %s", name, r.StatusCode, r.body)
	}
}

// token returns the session cookie's value.
func (c *client) token() string {
	for _, k := range c.Jar.Cookies(c.url) {
		if k.Name == cloakroom.DefaultCookieName {
			return k.Value
		}
	}
	return ""
}

// with sends a request with a token of the test's choosing.
func (c *client) with(token, method, path string, header ...string) answer {
	c.t.Helper()
	bare := &client{&http.Client{Transport: c.Transport, CheckRedirect: c.CheckRedirect}, c.t, c.url}
	return bare.do(method, path, nil, append(header, "Cookie", cloakroom.DefaultCookieName+"="+token)...)
}

// navigation are the headers of a browser that goes somewhere.
var navigation = []string{
	"Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
	"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document",
}

var errBoom = errors.New("dial tcp 10.0.0.7:5432: canary")
