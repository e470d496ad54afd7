// Package web is what the service says over HTTP: its pages for people, the same
// in JSON for programs.
//
// A request passes, in this order: the headers that every answer carries, the
// page for errors, the method, the body as a whole, the session, the
// cross-origin check and the token, the guard, and at last its handler. So a
// wrong method or a malformed body costs no look at a session.
package web

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/csrf"
	"github.com/cloakroom-dev/cloakroom/password"
)

// Options are what the pages stand on. All fields but HTTPS are needed.
type Options struct {
	Prefix   string // "/auth"
	Manager  *cloakroom.Manager
	Auth     *auth.Auth
	CSRF     *csrf.Protection
	Accounts Accounts
	Hasher   *password.Hasher
	Logger   *slog.Logger
	Idle     time.Duration // what the profile names as the idle timeout
	HTTPS    bool          // browsers come by https, whatever the connection is
}

// Accounts is what the pages need of the accounts beside signing in. Package
// sqlusers keeps it and explains its errors.
type Accounts interface {
	HasAdmin(ctx context.Context) (bool, error)
	CheckSetup(ctx context.Context, token string, now time.Time) error
	ClaimSetup(ctx context.Context, token string, now time.Time, n sqlusers.NewUser) (auth.User, error)
}

var _ Accounts = (*sqlusers.Users)(nil)

// Site is the handler of the whole service. Use [New].
type Site struct {
	Options
	pages   *pages
	handler http.Handler
}

// New returns the service.
func New(o Options) (*Site, error) {
	pages, err := loadPages(o.Prefix)
	if err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	s := &Site{Options: o, pages: pages}
	mux := http.NewServeMux()
	for path, m := range s.routes() {
		mux.Handle(path, s.only(m))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { s.fail(w, r, http.StatusNotFound, "") })
	s.handler = s.headers(s.errorPages(mux))
	return s, nil
}

// ServeHTTP answers a request.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Fail answers a request whose handler panicked. What is wrong stands in the log,
// under the id that the answer names.
func (s *Site) Fail(w http.ResponseWriter, r *http.Request) {
	s.fail(w, r, http.StatusInternalServerError, "Internal error")
}

// routes are the addresses of the service.
func (s *Site) routes() map[string]methods {
	// public reads no session; visitor has one, perhaps empty; user must be
	// signed in. Each takes a body only where its method has one.
	public := func(h http.HandlerFunc) http.Handler { return h }
	visitor := func(h http.HandlerFunc) http.Handler {
		return s.body(s.Manager.Handler(s.CSRF.Handler(h)))
	}
	user := func(h http.HandlerFunc) http.Handler {
		return s.body(s.Manager.Handler(s.CSRF.Handler(s.Auth.RequireLogin(h))))
	}
	const get, post, del = http.MethodGet, http.MethodPost, http.MethodDelete
	at := s.Prefix
	return map[string]methods{
		"/{$}":                        {get: public(s.home)},
		at:                            {get: public(s.home)},
		at + "/{$}":                   {get: public(s.home)},
		at + s.pages.styleName:        {get: public(s.style)},
		at + "/login":                 {get: visitor(s.loginPage), post: visitor(s.login)},
		at + "/logout":                {post: visitor(s.logout)},
		at + "/session":               {get: programs(user(s.session))},
		at + "/profile":               {get: user(s.profile)},
		at + "/sessions":              {get: user(s.sessions)},
		at + "/sessions/{handle}":     {del: user(s.endSession)},
		at + "/sessions/{handle}/end": {post: user(s.endSession)},
		at + "/sessions/end-others":   {post: user(s.endOthers)},
		at + "/setup":                 {get: visitor(s.setupPage), post: visitor(s.setup)},
	}
}

// methods are the handlers of an address by method. GET's answers HEAD as well,
// under the same guard.
type methods map[string]http.Handler

// only answers a wrong method before anything looks at body or cookie.
func (s *Site) only(m methods) http.Handler {
	if h, ok := m[http.MethodGet]; ok {
		m[http.MethodHead] = h
	}
	allow := strings.Join(slices.Sorted(maps.Keys(m)), ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, ok := m[r.Method]
		if !ok {
			w.Header().Set("Allow", allow)
			s.fail(w, r, http.StatusMethodNotAllowed, "")
			return
		}
		h.ServeHTTP(w, r)
	})
}

// programs answers in JSON whatever the client would rather read: for an address
// that has no page.
func programs(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, inJSON(r))
	})
}

// home leads on: to the profile, or to where it all begins.
func (s *Site) home(w http.ResponseWriter, r *http.Request) {
	admin, err := s.Accounts.HasAdmin(r.Context())
	if err != nil {
		s.unavailable(w, r, "look for an administrator", err)
		return
	}
	if !admin {
		s.beforeSetup(w, r)
		return
	}
	redirect(w, s.Prefix+"/profile")
}
