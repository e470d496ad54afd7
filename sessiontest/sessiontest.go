// Package sessiontest tests handlers that use sessions: it makes requests that
// come with one, and looks at the session that a response has left behind.
//
//	m := sessiontest.New(t, nil)
//	r := sessiontest.Request(t, m, httptest.NewRequest("GET", "/cart", nil), func(s *cloakroom.Session) {
//		s.Login(cloakroom.Identity{UserID: "u1"})
//		cart.Set(s, []string{"apple"})
//	})
//	w := httptest.NewRecorder()
//	m.Handler(shop).ServeHTTP(w, r)
//	left, _ := cart.Get(sessiontest.Session(t, m, r, w.Result()))
//
// Nothing is simulated: what prepares a session and what looks at it goes through
// Manager.Handler, as every request of the program does.
package sessiontest

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
)

// New returns a Manager for one test: it keeps sessions in memory, under a key
// made for it. Nil options are the zero Options; without a Logger, warnings and
// errors go to the log of the test. Options that cloakroom.New refuses end it.
func New(tb testing.TB, opts *cloakroom.Options) *cloakroom.Manager {
	tb.Helper()
	var o cloakroom.Options
	if opts != nil {
		o = *opts
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	ring, err := keyring.New(keyring.Generate())
	if err != nil {
		tb.Fatalf("sessiontest: %v", err)
	}
	m, err := cloakroom.New(memstore.New(nil), ring, &o)
	if err != nil {
		tb.Fatalf("sessiontest: %v", err)
	}
	return m
}

// Request gives r the cookie of a session that setup has prepared, and returns
// it. The session begins as the one whose cookie r brings, if it brings one, so
// Request can be called again for a second step. A setup that stores nothing
// leaves r without a cookie, as a visitor who is a stranger. What cannot be
// saved ends the test.
func Request(tb testing.TB, m *cloakroom.Manager, r *http.Request, setup func(*cloakroom.Session)) *http.Request {
	tb.Helper()
	resp := visit(tb, m, r, func(s *cloakroom.Session) {
		tb.Helper()
		setup(s)
		if err := s.Commit(r.Context()); err != nil {
			tb.Fatalf("sessiontest: prepare a session: %v", err)
		}
	})
	follow(r, resp)
	return r
}

// Session returns the session that a browser is left with which has sent r and
// got resp: after a response without a cookie that is r's own. It is for
// reading; its request is over, so that changes are lost.
func Session(tb testing.TB, m *cloakroom.Manager, r *http.Request, resp *http.Response) *cloakroom.Session {
	tb.Helper()
	next := r.Clone(r.Context())
	follow(next, resp)
	var left *cloakroom.Session
	visit(tb, m, next, func(s *cloakroom.Session) { left = s })
	return left
}

// visit runs f as the handler of a GET of "/" that comes from the client of r,
// with its cookies.
func visit(tb testing.TB, m *cloakroom.Manager, r *http.Request, f func(*cloakroom.Session)) *http.Response {
	tb.Helper()
	req := httptest.NewRequestWithContext(r.Context(), http.MethodGet, "/", nil)
	req.RemoteAddr = r.RemoteAddr
	for _, name := range []string{"Cookie", "User-Agent"} {
		req.Header[name] = r.Header[name]
	}
	ran := false
	w := httptest.NewRecorder()
	m.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ran = true
		f(m.FromContext(r.Context()))
	})).ServeHTTP(w, req)
	if !ran {
		tb.Fatalf("sessiontest: the session could not be loaded: status %d", w.Code)
	}
	return w.Result()
}

// follow does to the cookies of r what a browser does with those of resp.
func follow(r *http.Request, resp *http.Response) {
	for _, set := range resp.Cookies() {
		kept := r.Cookies()
		r.Header.Del("Cookie")
		for _, c := range kept {
			if c.Name != set.Name {
				r.AddCookie(c)
			}
		}
		if set.MaxAge >= 0 {
			r.AddCookie(set)
		}
	}
}
