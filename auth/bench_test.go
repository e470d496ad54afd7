package auth_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/sessiontest"
)

// BenchmarkGuard measures what a guard adds to a request, beside the session
// (floor) and what the Users cost.
func BenchmarkGuard(b *testing.B) {
	m := sessiontest.New(b, &cloakroom.Options{Logger: slog.New(slog.DiscardHandler)})
	users := &oneUser{auth.User{ID: "u1", Name: "ada", Roles: []string{"admin", "staff"}}}
	a, err := auth.New(m, users, nil)
	if err != nil {
		b.Fatal(err)
	}
	r := sessiontest.Request(b, m, httptest.NewRequest("GET", "/", nil), func(s *cloakroom.Session) {
		s.Login(cloakroom.Identity{UserID: "u1", Roles: users.user.Roles})
	})
	served := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_ = cloakroom.FromContext(r.Context()).UserID()
	})
	for name, h := range map[string]http.Handler{
		"floor":  m.Handler(served),
		"login":  m.Handler(a.RequireLogin(served)),
		"nested": m.Handler(a.RequireLogin(a.RequireRole("admin")(served))),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(httptest.NewRecorder(), r)
			}
		})
	}
}
