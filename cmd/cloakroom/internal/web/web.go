// Package web is what the service says over HTTP: its pages for people, the same
// in JSON for programs.
//
// A request passes, in this order: the headers that every answer carries, the
// method, what a browser wants the answer for, the body as a whole, the session, the
// cross-origin check and the
// token, the guard, and at last its handler. So a wrong method or a malformed
// body costs no look at a session. Whatever refuses a request on that way, it is
// answered by the same page or document.
package web

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/csrf"
	"github.com/cloakroom-dev/cloakroom/password"
	"github.com/cloakroom-dev/cloakroom/throttle"
)

// Options are what the service stands on. Prefix, Manager, Accounts and Hasher
// are needed.
type Options struct {
	Prefix   string // "/auth"
	Accounts Accounts
	Hasher   *password.Hasher
	Logger   *slog.Logger

	// Manager makes the Manager of the sessions, wherever they are kept.
	Manager func(*cloakroom.Options) (*cloakroom.Manager, error)

	// Session are the options of the sessions, but for what the other fields
	// say. IdleTimeout and Lifetime must be set: the profile names them.
	Session cloakroom.Options

	// Unlisted says that the sessions cannot be listed, as they are in cookies.
	Unlisted bool

	// UsersTimeout bounds each call of the accounts; zero means the default of
	// package auth.
	UsersTimeout time.Duration

	// Throttle counts wrong passwords; nil means one of this Site's own, in memory.
	Throttle *throttle.Throttle

	// Policy judges new passwords; nil means the default of package password.
	Policy *password.Policy

	// ReauthAfter is how long a proof of identity is good for what does harm in the
	// hands of whoever finds a screen unlocked; zero means DefaultReauthAfter.
	ReauthAfter time.Duration

	// PublicURL is where browsers see the service; "" for the address of each
	// request.
	PublicURL string

	// HTTPS says that browsers come by https, whatever the connection is.
	HTTPS bool

	// Administration is what the pages of administrators stand on; nil leaves them
	// out.
	Administration *Administration
}

// DefaultReauthAfter is the ReauthAfter of an Options that names none.
const DefaultReauthAfter = 15 * time.Minute

// Accounts is what the pages need of the accounts beside signing in. Package
// sqlusers keeps it and explains its errors.
type Accounts interface {
	auth.Users
	HasAdmin(ctx context.Context) (bool, error)
	CheckSetup(ctx context.Context, token string, now time.Time) error
	List(ctx context.Context, after string, n int) ([]sqlusers.Account, error)
	RaiseEpochFrom(ctx context.Context, id string, epoch uint64) (bool, error)
	ClaimSetup(ctx context.Context, token string, now time.Time, n sqlusers.NewUser) (auth.User, error)
	CheckLink(ctx context.Context, token string, now time.Time) (sqlusers.Link, error)
	ClaimLink(ctx context.Context, token string, now time.Time, phc string) (auth.User, error)
	RaiseEpoch(ctx context.Context, id string) error
}

var _ Accounts = (*sqlusers.Users)(nil)

// Site is the handler of the whole service. Use [New].
type Site struct {
	Options
	manager *cloakroom.Manager
	auth    *auth.Auth
	csrf    *csrf.Protection
	pages   *pages
	handler http.Handler
	reached atomic.Int32 // the stage that was last seen
}

// New returns the service.
func New(o Options) (*Site, error) {
	o.ReauthAfter = cmp.Or(o.ReauthAfter, DefaultReauthAfter)
	s := &Site{Options: o}
	var err error
	if s.pages, err = loadPages(o.Prefix); err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	o.Session.Logger, o.Session.ErrorHandler = o.Logger, s.refuse
	if s.manager, err = o.Manager(&o.Session); err != nil {
		return nil, err
	}
	s.auth, err = auth.New(s.manager, o.Accounts, &auth.Options{
		LoginURL: o.Prefix + "/login", ReauthURL: o.Prefix + "/reauth", PasswordURL: o.Prefix + "/password",
		Hasher: o.Hasher, Policy: o.Policy, Throttle: o.Throttle, UsersTimeout: o.UsersTimeout, ErrorHandler: s.refuse,
	})
	if err != nil {
		return nil, err
	}
	s.csrf, err = csrf.New(s.manager, &csrf.Options{PublicURL: o.PublicURL, ErrorHandler: s.refuse})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	for path, m := range s.routes() {
		mux.Handle(path, s.only(m))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { s.fail(w, r, http.StatusNotFound, "") })
	s.handler = s.headers(mux)
	return s, nil
}

// Sweep removes expired sessions every so often, until ctx ends.
func (s *Site) Sweep(ctx context.Context, every time.Duration) { _ = s.manager.Sweep(ctx, every) }

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
	// signed in; changer as well, with a password that must be changed. confirmed
	// is user with a recent proof of identity (ASVS 7.5.2). Each takes a body only
	// where its method has one.
	public := func(h http.HandlerFunc) http.Handler { return h }
	visitor := func(h http.HandlerFunc) http.Handler {
		return s.inside(h)
	}
	user := func(h http.HandlerFunc) http.Handler {
		return s.inside(s.auth.RequireLogin(h))
	}
	changer := func(h http.HandlerFunc) http.Handler {
		return s.inside(s.auth.RequireLoginToChange(h))
	}
	confirmed := func(h http.HandlerFunc) http.Handler { return user(s.confirmed(h)) }
	const get, post, del = http.MethodGet, http.MethodPost, http.MethodDelete
	at := s.Prefix
	all := map[string]methods{
		"/{$}":                        {get: public(s.home)},
		at:                            {get: public(s.home)},
		at + "/{$}":                   {get: public(s.home)},
		at + s.pages.styleName:        {get: public(asset("text/css", styleSheet))},
		at + s.pages.scriptName:       {get: public(asset("text/javascript", script))},
		at + "/csp-report":            {post: public(s.report)},
		at + "/login":                 {get: visitor(s.loginPage), post: visitor(s.login)},
		at + "/logout":                {post: visitor(s.logout)},
		at + "/session":               {get: programs(user(s.session))},
		at + "/profile":               {get: user(s.profile)},
		at + "/sessions":              {get: user(s.sessions)},
		at + "/sessions/{handle}":     {del: user(s.endSession)},
		at + "/sessions/{handle}/end": {post: user(s.endSession)},
		at + "/sessions/end-others":   {post: confirmed(s.endOthers)},
		at + "/sessions/end-all":      {post: confirmed(s.endAll)},
		at + "/password":              {get: changer(s.passwordPage), post: changer(s.changePassword)},
		at + "/reauth":                {get: user(s.reauthPage), post: user(s.reauth)},
		at + "/invite":                {get: visitor(s.linkPage), post: visitor(s.useLink)},
		at + "/reset":                 {get: visitor(s.linkPage), post: visitor(s.useLink)},
		at + "/setup":                 {get: visitor(s.setupPage), post: visitor(s.setup)},
	}
	maps.Copy(all, s.adminRoutes())
	return all
}

// inside puts a handler behind what every request with a session passes.
func (s *Site) inside(h http.Handler) http.Handler {
	return s.alone(s.body(s.manager.Handler(s.csrf.Handler(h))))
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
	ctx, cancel := s.bounded(r)
	defer cancel()
	switch st, err := s.stage(ctx); {
	case err != nil:
		s.unavailable(w, r, "look for users", err)
	case st == empty:
		s.beforeSetup(w, r)
	default:
		redirect(w, s.Prefix+"/profile")
	}
}
