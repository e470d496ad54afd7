package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/admin"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/audit"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/auditlog"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/web"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/password"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
	"github.com/cloakroom-dev/cloakroom/throttle"
)

// house is a service with everything that administrators work with. ada is the
// administrator.
type house struct {
	t             *testing.T
	handler, late http.Handler // for late every proof of identity is too old
	site          *web.Site
	db            *sqlite.DB
	users         *sqlusers.Users
	store         *memstore.Store
	throttle      *throttle.Throttle
	audit         *auditlog.Log
	admin         *admin.Admin
	log           *lines
	phc           string // of goodPassword
	hasher        *password.Hasher
	reading       func() error // before the audit log is read; nil for nothing
}

// reads is an audit log that does what a test wants before it is read.
type reads struct {
	*auditlog.Log
	before *func() error
}

func (r *reads) Find(ctx context.Context, q auditlog.Query) ([]auditlog.Entry, error) {
	if err := r.wait(); err != nil {
		return nil, err
	}
	return r.Log.Find(ctx, q)
}

func (r *reads) Summary(ctx context.Context, since time.Time) (auditlog.Summary, error) {
	if err := r.wait(); err != nil {
		return auditlog.Summary{}, err
	}
	return r.Log.Summary(ctx, since)
}

func (r *reads) Each(ctx context.Context, q auditlog.Query) iter.Seq2[auditlog.Entry, error] {
	if err := r.wait(); err != nil {
		return func(yield func(auditlog.Entry, error) bool) { yield(auditlog.Entry{}, err) }
	}
	return r.Log.Each(ctx, q)
}

func (r *reads) wait() error {
	if *r.before == nil {
		return nil
	}
	return (*r.before)()
}

// lines is a log that many goroutines write.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// take returns the lines since it was called last, as JSON.
func (l *lines) take(t *testing.T) (all []map[string]any) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, m)
	}
	l.b.Reset()
	return all
}

const adminBase = "https://login.example.org/auth"

func newHouse(t *testing.T, sealed bool) *house {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	h := &house{t: t, store: memstore.New(nil), log: new(lines)}
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "users.db"), nil)
	must(err)
	t.Cleanup(func() { db.Close() })
	h.db = db
	h.users, err = sqlusers.New(t.Context(), db)
	must(err)
	h.hasher, err = password.New(nil)
	must(err)
	h.phc, err = h.hasher.Hash(t.Context(), goodPassword)
	must(err)
	ring, err := keyring.New(keyring.Generate())
	must(err)
	h.throttle, err = throttle.New(nil, nil)
	must(err)
	h.audit, err = auditlog.Open(t.Context(), db, ring)
	must(err)
	t.Cleanup(func() { h.audit.Close() })
	log := audit.Tee(audit.NewLogger(h.log, "json", "info"), h.audit.Handler)
	records := &admin.Records{Store: h.store, Users: h.users, Keep: 24 * time.Hour}
	if sealed {
		records.Store = nil
	}
	h.admin = &admin.Admin{Users: h.users, Sessions: records, Throttle: h.throttle, Log: log, Links: func() string { return adminBase }}
	build := func(reauthAfter time.Duration) *web.Site {
		site, err := web.New(web.Options{
			Prefix: "/auth", Accounts: h.users, Hasher: h.hasher, Logger: log, Unlisted: sealed, ReauthAfter: reauthAfter,
			Manager: func(o *cloakroom.Options) (*cloakroom.Manager, error) {
				if sealed {
					return cloakroom.NewSealed(ring, h.store, o)
				}
				return cloakroom.New(h.store, ring, o)
			},
			Session: cloakroom.Options{IdleTimeout: time.Hour, Lifetime: 24 * time.Hour, ClientAddr: audit.ClientAddr},
			Administration: &web.Administration{
				Admin: h.admin, Accounts: h.users, Throttle: h.throttle, Records: records, Audit: &reads{h.audit, &h.reading},
			},
		})
		must(err)
		return site
	}
	h.site = build(15 * time.Minute)
	late := build(time.Nanosecond)
	h.handler = audit.Middleware(log, nil, h.site.Fail, h.site)
	h.late = audit.Middleware(slog.New(slog.DiscardHandler), nil, late.Fail, late)
	h.add("ada", sqlusers.Admin)
	return h
}

// add makes a user who signs in with goodPassword.
func (h *house) add(name string, roles ...string) auth.User {
	h.t.Helper()
	u, err := h.users.Create(h.t.Context(), sqlusers.NewUser{Name: name, Roles: roles, Password: h.phc})
	if err != nil {
		h.t.Fatal(err)
	}
	return u
}

// read returns a user as it is stored.
func (h *house) read(id string) auth.User {
	h.t.Helper()
	u, err := h.users.ByID(h.t.Context(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	return u
}

// visitor is a browser or a program with a cookie.
type visitor struct {
	h      *house
	cookie *http.Cookie
	csrf   string
	id     string
	late   bool
	header http.Header
}

// signIn returns somebody who has just signed in.
func (h *house) signIn(name string) *visitor {
	h.t.Helper()
	v := &visitor{h: h}
	res := v.do("POST", "/auth/login", fmt.Sprintf(`{"username":%q,"password":%q}`, name, goodPassword))
	if res.Code != 200 {
		h.t.Fatalf("login of %s: %d %s", name, res.Code, res.Body)
	}
	v.look()
	return v
}

// look takes the token that belongs to the session.
func (v *visitor) look() {
	var doc struct {
		User struct{ ID string }
		CSRF string `json:"csrf_token"`
	}
	if err := json.Unmarshal(v.do("GET", "/auth/session", "").Body.Bytes(), &doc); err == nil && doc.CSRF != "" {
		v.csrf, v.id = doc.CSRF, doc.User.ID
	}
}

// alive tells whether the visitor is signed in.
func (v *visitor) alive() bool { return v.do("GET", "/auth/session", "").Code == 200 }

// do sends what a program sends.
func (v *visitor) do(method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return v.send(r)
}

// page asks for a page as a browser does.
func (v *visitor) page(path string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", path, nil)
	r.Header.Set("Accept", "text/html")
	return v.send(r)
}

// form posts a form of a page.
func (v *visitor) form(path string, values url.Values) *httptest.ResponseRecorder {
	if values == nil {
		values = make(url.Values)
	}
	if v.csrf != "" && !values.Has("csrf_token") {
		values.Set("csrf_token", v.csrf)
	}
	r := httptest.NewRequest("POST", path, strings.NewReader(values.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return v.send(r)
}

func (v *visitor) send(r *http.Request) *httptest.ResponseRecorder {
	for name, values := range v.header {
		r.Header[name] = values
		if name == "Host" {
			r.Host = values[0]
		}
	}
	if v.csrf != "" {
		r.Header.Set("X-Csrf-Token", v.csrf)
	}
	if v.cookie != nil {
		r.AddCookie(v.cookie)
	}
	handler := v.h.handler
	if v.late {
		handler = v.h.late
	}
	res := httptest.NewRecorder()
	handler.ServeHTTP(res, r)
	for _, c := range res.Result().Cookies() {
		if c.Name == "__Host-session" {
			v.cookie = c
			if c.MaxAge < 0 {
				v.cookie = nil
			}
		}
	}
	return res
}

// want fails unless the answer has this status.
func want(t *testing.T, what string, res *httptest.ResponseRecorder, status int) {
	t.Helper()
	if res.Code != status {
		t.Errorf("%s: %d, want %d: %s", what, res.Code, status, res.Body)
	}
}

// linkOf returns the link that an answer shows.
func linkOf(t *testing.T, res *httptest.ResponseRecorder, kind string) string {
	t.Helper()
	var doc map[string]struct{ URL string }
	var all map[string]json.RawMessage
	if err := json.Unmarshal(res.Body.Bytes(), &all); err != nil {
		t.Fatalf("%d %s", res.Code, res.Body)
	}
	one, _ := json.Marshal(map[string]json.RawMessage{kind: all[kind]})
	if err := json.Unmarshal(one, &doc); err != nil || doc[kind].URL == "" {
		t.Fatalf("no %s in %s: %v", kind, res.Body, err)
	}
	return doc[kind].URL
}

// tokenOf returns the token of a link.
func tokenOf(t *testing.T, link string) string {
	t.Helper()
	u, err := url.Parse(link)
	if err != nil || u.Query().Get("token") == "" {
		t.Fatalf("%s: %v", link, err)
	}
	return u.Query().Get("token")
}
