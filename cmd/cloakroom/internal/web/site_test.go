package web_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html"
	"math"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/audit"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/web"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/password"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
)

const goodPassword = "correct horse battery staple"

// world is a service with accounts and a store that can be made to fail.
type world struct {
	t       *testing.T
	handler http.Handler
	users   *accounts
	store   *faulty
	log     *bytes.Buffer
	cookie  *http.Cookie // of whoever signed in last
}

// accounts is a database of accounts in front of which something may go wrong.
type accounts struct {
	*sqlusers.Users
	fault  func() error // nil: none
	raised func()       // runs when an epoch has been raised
}

func (a *accounts) ByName(ctx context.Context, name string) (auth.User, error) {
	if a.fault != nil {
		return auth.User{}, a.fault()
	}
	return a.Users.ByName(ctx, name)
}

func (a *accounts) ByID(ctx context.Context, id string) (auth.User, error) {
	if a.fault != nil {
		return auth.User{}, a.fault()
	}
	return a.Users.ByID(ctx, id)
}

func (a *accounts) HasAdmin(ctx context.Context) (bool, error) {
	if a.fault != nil {
		return false, a.fault()
	}
	return a.Users.HasAdmin(ctx)
}

func (a *accounts) CheckSetup(ctx context.Context, token string, now time.Time) error {
	if a.fault != nil {
		return a.fault()
	}
	return a.Users.CheckSetup(ctx, token, now)
}

// faulty is a store that fails while fault is set.
type faulty struct {
	*memstore.Store
	fault error
}

func (s *faulty) Get(ctx context.Context, id store.ID) (store.Record, error) {
	if s.fault != nil {
		return store.Record{}, s.fault
	}
	return s.Store.Get(ctx, id)
}

func (s *faulty) Put(ctx context.Context, r store.Record) error {
	if s.fault != nil {
		return s.fault
	}
	return s.Store.Put(ctx, r)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOver(t, false)
}

// newWorldOver is newWorld with sessions in a store, or sealed into their cookies.
func newWorldOver(t *testing.T, sealed bool) *world {
	t.Helper()
	return newWorldWith(t, func(o *worldOptions) { o.sealed = sealed })
}

// worldOptions are what worlds differ in.
type worldOptions struct {
	sealed      bool
	reauthAfter time.Duration
}

func newWorldWith(t *testing.T, choose func(*worldOptions)) *world {
	t.Helper()
	var o worldOptions
	choose(&o)
	sealed := o.sealed
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "users.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	users, err := sqlusers.New(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	hasher, err := password.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	phc, err := hasher.Hash(t.Context(), goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := users.Create(t.Context(), sqlusers.NewUser{Name: "ada", Roles: []string{"admin"}, Password: phc}); err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.New(keyring.Generate())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, users: &accounts{Users: users}, store: &faulty{Store: memstore.New(nil)}, log: new(bytes.Buffer)}
	log := audit.NewLogger(w.log, "json", "debug")
	site, err := web.New(web.Options{
		Prefix: "/auth", Accounts: w.users, Hasher: hasher, Logger: log,
		Manager: func(opts *cloakroom.Options) (*cloakroom.Manager, error) {
			if sealed {
				return cloakroom.NewSealed(ring, w.store, opts)
			}
			return cloakroom.New(w.store, ring, opts)
		},
		Unlisted: sealed, ReauthAfter: o.reauthAfter,
		Session: cloakroom.Options{IdleTimeout: time.Hour, Lifetime: 24 * time.Hour, ClientAddr: audit.ClientAddr},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.handler = audit.Middleware(log, nil, site.Fail, site)
	res := w.do("POST", "/auth/login", fmt.Sprintf(`{"username":"ada","password":%q}`, goodPassword), false)
	if res.Code != 200 {
		t.Fatalf("login: %d %s", res.Code, res.Body)
	}
	w.cookie = sessionCookie(res)
	return w
}

// sessionCookie is the cookie of an answer's session, nil if it sets none.
func sessionCookie(res *httptest.ResponseRecorder) *http.Cookie {
	for _, c := range res.Result().Cookies() {
		if c.Name == "__Host-session" {
			return c
		}
	}
	return nil
}

// do sends a request, of a person's browser or a program.
func (w *world) do(method, path, body string, page bool) *httptest.ResponseRecorder {
	w.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if page {
		r.Header.Set("Accept", "text/html")
	}
	if w.cookie != nil {
		r.AddCookie(w.cookie)
	}
	res := httptest.NewRecorder()
	w.handler.ServeHTTP(res, r)
	return res
}

// tells are words that an answer to a fault must not have.
var tells = []string{"hunter2", "SELECT", "goroutine", ".go:", "/var/lib", "runtime error"}

func TestASVS_16_5_1_NothingOfTheFaultInTheAnswer(t *testing.T) {
	w := newWorld(t)
	fault := errors.New("SELECT * FROM /var/lib/hunter2: runtime error at main.go:1")
	for _, route := range []struct{ method, path, body string }{
		{"GET", "/", ""}, {"GET", "/auth/login", ""}, {"GET", "/auth/profile", ""}, {"GET", "/auth/session", ""},
		{"GET", "/auth/sessions", ""}, {"GET", "/auth/setup?token=x", ""},
		{"POST", "/auth/login", `{"username":"ada","password":"` + goodPassword + `"}`},
	} {
		for _, page := range []bool{true, false} {
			for name, set := range map[string]func(on bool){
				"users": func(on bool) {
					if w.users.fault = nil; on {
						w.users.fault = func() error { return fault }
					}
				},
				"store": func(on bool) {
					if w.store.fault = nil; on {
						w.store.fault = fault
					}
				},
			} {
				if name == "store" && route.path == "/" {
					continue // it needs no session
				}
				cookie := w.cookie
				if route.method == "POST" {
					w.cookie = nil // a login; with a session it would need a token
				}
				set(true)
				res := w.do(route.method, route.path, route.body, page)
				set(false)
				w.cookie = cookie
				if res.Code != 503 || res.Header().Get("Retry-After") == "" {
					t.Errorf("%s %s without %s: %d, Retry-After %q", route.method, route.path, name, res.Code, res.Header().Get("Retry-After"))
				}
				if len(res.Result().Cookies()) > 0 {
					t.Errorf("%s %s without %s: the cookie was touched: an outage is no logout", route.method, route.path, name)
				}
				for _, word := range tells {
					if strings.Contains(res.Body.String(), word) {
						t.Errorf("%s %s without %s tells %q:\n%s", route.method, route.path, name, word, res.Body)
					}
				}
			}
		}
	}
	if res := w.do("GET", "/auth/session", "", false); res.Code != 200 {
		t.Errorf("ASVS 16.5.2: %d when all is well again", res.Code)
	}
}

func TestASVS_16_5_4_APanicIsA500AndTheServiceLivesOn(t *testing.T) {
	w := newWorld(t)
	for _, page := range []bool{true, false} {
		w.users.fault = func() error { panic("hunter2 SELECT runtime error") }
		res := w.do("GET", "/auth/profile", "", page)
		w.users.fault = nil
		if res.Code != 500 || len(res.Result().Cookies()) > 0 {
			t.Errorf("%d %v", res.Code, res.Header())
		}
		for _, word := range tells {
			if strings.Contains(res.Body.String(), word) {
				t.Errorf("the answer tells %q:\n%s", word, res.Body)
			}
		}
		id := res.Header().Get("X-Request-Id")
		if page && !strings.Contains(res.Body.String(), id) {
			t.Errorf("the page does not name the request:\n%s", res.Body)
		}
		for _, h := range []string{"Content-Security-Policy", "Cache-Control", "X-Content-Type-Options"} {
			if res.Header().Get(h) == "" {
				t.Errorf("no %s", h)
			}
		}
	}
	if n := strings.Count(w.log.String(), `"msg":"panic"`); n != 2 || strings.Contains(w.log.String(), "hunter2") {
		t.Errorf("%d panics in the log:\n%s", n, w.log)
	}
	if res := w.do("GET", "/auth/session", "", false); res.Code != 200 {
		t.Errorf("%d after a panic", res.Code)
	}
}

// pages are all that people can see.
func pages(t *testing.T) map[string]string {
	w := newWorld(t)
	all := make(map[string]string)
	add := func(name string, res *httptest.ResponseRecorder, status int) {
		t.Helper()
		if res.Code != status || !strings.HasPrefix(res.Header().Get("Content-Type"), "text/html") {
			t.Fatalf("%s: %d %s", name, res.Code, res.Header().Get("Content-Type"))
		}
		all[name] = res.Body.String()
	}
	add("profile", w.do("GET", "/auth/profile", "", true), 200)
	add("sessions", w.do("GET", "/auth/sessions", "", true), 200)
	add("405", w.do("DELETE", "/auth/login", "", true), 405)
	add("404", w.do("GET", "/nothing", "", true), 404)
	add("403", w.do("POST", "/auth/sessions/end-others", "", true), 403)
	add("410", w.do("GET", "/auth/setup?token=x", "", true), 410)
	w.store.fault = errors.New("down")
	add("503", w.do("GET", "/auth/profile", "", true), 503)
	w.store.fault = nil
	w.cookie = nil
	add("login", w.do("GET", "/auth/login", "", true), 200)
	return all
}

// What a reader of the screen, a keyboard and a small window need.
func TestPagesAreAccessible(t *testing.T) {
	for name, page := range pages(t) {
		for _, want := range []string{
			"<!doctype html>", `<html lang="en">`, `<meta name="viewport"`, `<main id="main">`, `href="#main"`, `<header class="top">`,
		} {
			if !strings.Contains(page, want) {
				t.Errorf("%s: no %s", name, want)
			}
		}
		if n := strings.Count(page, "<h1>"); n != 1 {
			t.Errorf("%s: %d headings of the first rank", name, n)
		}
		if m := regexp.MustCompile(`<title>([^<]+) · Cloakroom</title>`).FindStringSubmatch(page); m == nil {
			t.Errorf("%s: no title", name)
		}
		for _, m := range regexp.MustCompile(`<input [^>]*>`).FindAllString(page, -1) {
			id := regexp.MustCompile(` id="([^"]+)"`).FindStringSubmatch(m)
			if strings.Contains(m, `type="hidden"`) || strings.HasSuffix(m, " hidden>") || strings.Contains(m, `type="checkbox"`) {
				continue
			}
			if id == nil || !strings.Contains(page, `<label for="`+id[1]+`">`) {
				t.Errorf("%s: no label for %s", name, m)
			}
		}
		for _, m := range regexp.MustCompile(`aria-describedby="([^"]+)"`).FindAllStringSubmatch(page, -1) {
			for id := range strings.FieldsSeq(m[1]) {
				if !strings.Contains(page, `id="`+id+`"`) {
					t.Errorf("%s: nothing is called %s", name, id)
				}
			}
		}
		if strings.Contains(page, "%!") || strings.Contains(page, "<no value>") {
			t.Errorf("%s: a text lacks its argument:\n%s", name, page)
		}
	}
}

func TestErrorsAreTiedToTheirFields(t *testing.T) {
	w := newWorld(t)
	w.cookie = nil
	page := w.do("GET", "/auth/login", "", true)
	token := regexp.MustCompile(`name="csrf_token" value="([^"]+)"`).FindStringSubmatch(page.Body.String())[1]
	r := httptest.NewRequest("POST", "/auth/login", strings.NewReader("csrf_token="+token+"&username=%3Cb%3E&password=wrong+wrong"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "text/html")
	r.AddCookie(page.Result().Cookies()[0]) // before a login
	res := httptest.NewRecorder()
	w.handler.ServeHTTP(res, r)
	body := res.Body.String()
	if res.Code != 401 || !strings.Contains(body, `id="error" role="alert"`) || strings.Count(body, `aria-invalid="true" aria-describedby="error"`) != 2 {
		t.Errorf("%d\n%s", res.Code, body)
	}
	if strings.Contains(body, "<b>") || !strings.Contains(body, html.EscapeString("<b>")) || strings.Contains(body, "wrong wrong") {
		t.Errorf("the name must come back escaped, the password not at all:\n%s", body)
	}
}

// Contrast as WCAG 2.2 measures it: 4.5 for text, 3 for the edges of fields.
func TestColoursCanBeRead(t *testing.T) {
	css := web.StyleSheet()
	if len(css) > 14<<10 {
		t.Errorf("%d bytes of style", len(css))
	}
	if !strings.Contains(css, "prefers-reduced-motion") || strings.Contains(css, "url(") {
		t.Error("motion must be asked for, and nothing be fetched")
	}
	light, dark, ok := strings.Cut(css, "@media (prefers-color-scheme: dark)")
	if !ok {
		t.Fatal("no dark scheme")
	}
	for name, text := range map[string]string{"light": light, "dark": dark} {
		colour := make(map[string]float64)
		for _, m := range regexp.MustCompile(`--([a-z-]+): (#[0-9a-f]+)`).FindAllStringSubmatch(text, -1) {
			if _, ok := colour[m[1]]; !ok {
				colour[m[1]] = luminance(t, m[2])
			}
		}
		for _, pair := range []struct {
			front, back string
			least       float64
		}{
			{"ink", "ground", 4.5}, {"ink", "paper", 4.5}, {"ink", "sunk", 4.5}, {"ink", "tag", 4.5}, {"ink", "watch-ground", 4.5},
			{"faint", "ground", 4.5}, {"faint", "paper", 4.5}, {"faint", "sunk", 4.5}, {"faint", "watch-ground", 4.5},
			{"accent", "ground", 4.5}, {"accent", "paper", 4.5}, {"accent", "sunk", 4.5}, {"accent", "watch-ground", 4.5}, {"accent-deep", "paper", 4.5},
			{"on-accent", "accent", 4.5}, {"on-accent", "accent-deep", 4.5}, {"on-error", "error", 4.5}, {"on-error", "error-deep", 4.5},
			{"error", "error-ground", 4.5}, {"error", "paper", 4.5}, {"error", "sunk", 4.5}, {"note", "note-ground", 4.5}, {"watch", "watch-ground", 4.5},
			{"brass", "sunk", 4.5}, {"brass", "paper", 4.5}, {"brass", "ground", 3}, {"on-stub", "stub", 4.5}, {"on-stub-brass", "stub", 4.5},
			{"edge", "paper", 3}, {"edge", "ground", 3}, {"edge", "sunk", 3},
		} {
			a, b := colour[pair.front], colour[pair.back]
			if contrast := (max(a, b) + .05) / (min(a, b) + .05); contrast < pair.least {
				t.Errorf("%s: %s on %s: %.2f, want %.1f", name, pair.front, pair.back, contrast, pair.least)
			}
		}
	}
}

// luminance is the relative luminance of #rgb or #rrggbb.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	hex = hex[1:]
	if len(hex) == 3 {
		hex = strings.Join([]string{hex[:1], hex[:1], hex[1:2], hex[1:2], hex[2:], hex[2:]}, "")
	}
	var channel [3]float64
	for i := range channel {
		n, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		if c := float64(n) / 255; c <= .04045 {
			channel[i] = c / 12.92
		} else {
			channel[i] = math.Pow((c+.055)/1.055, 2.4)
		}
	}
	return .2126*channel[0] + .7152*channel[1] + .0722*channel[2]
}
