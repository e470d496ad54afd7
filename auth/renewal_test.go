package auth_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/sessiontest"
)

// Roles are those of this moment, and another role is another token (ASVS 7.2.4).
func TestPromise03_ARoleChangeRenewsTheToken(t *testing.T) {
	a := newApp(t, nil)
	c := a.client(t)
	c.mustLogin("alice")
	before := c.token()
	if c.get("/private"); c.token() != before {
		t.Fatal("the token changed for nothing")
	}
	a.users.change("u1", func(u *account) { u.Roles = []string{"staff", "admin", "staff"} })
	if c.get("/private"); c.token() != before {
		t.Error("the token changed for another order of the same roles")
	}
	a.users.change("u1", func(u *account) { u.Roles = []string{"staff"} })
	if r := c.get("/admin"); r.StatusCode != 403 {
		t.Errorf("without the role: %d", r.StatusCode)
	}
	lost := c.token()
	if lost == before {
		t.Error("the token is the old one")
	}
	if r := c.with(before, "GET", "/private"); r.StatusCode != 409 || r.detail() != "Session renewed" {
		t.Errorf("with the old token: %d %s", r.StatusCode, r.body)
	}
	if c.get("/private"); c.token() != lost {
		t.Error("the token changed once more")
	}
	a.users.change("u1", func(u *account) { u.Roles = []string{"admin", "staff"} })
	if r := c.get("/admin"); r.StatusCode != 200 || c.token() == lost {
		t.Errorf("with the role again: %d", r.StatusCode)
	}
	if l := a.log.lines(t, "roles_changed"); len(l) != 2 || l[0]["user"] != "u1" {
		t.Errorf("log: %v", l)
	}
	if n := a.sessions(t, "u1"); n != 1 {
		t.Errorf("%d sessions", n)
	}
}

// A late request is told that its session goes on, and a browser that goes
// somewhere arrives on its own.
func TestPromise03_ALateRequestIsToldSo(t *testing.T) {
	a := newApp(t, nil)
	c := a.client(t)
	c.mustLogin("alice")
	old := c.token()
	c.mustLogin("alice")
	a.reached()
	for _, method := range []string{"GET", "POST", "HEAD"} {
		if r := c.with(old, method, "/admin"); r.StatusCode != 409 || method != "HEAD" && r.detail() != "Session renewed" {
			t.Errorf("%s: %d %s", method, r.StatusCode, r.body)
		}
	}
	r := c.with(old, "GET", "/admin?tab=users", navigation...)
	if r.StatusCode != 303 || r.Header.Get("Location") != "/admin?tab=users" || len(r.Cookies()) != 0 {
		t.Errorf("navigation: %d %v", r.StatusCode, r.Header)
	}
	if r := c.with(old, "POST", "/admin", navigation...); r.StatusCode != 409 {
		t.Errorf("POST: %d", r.StatusCode)
	}
	if got := a.reached(); got != nil {
		t.Errorf("handlers ran for %q", got)
	}
}

func TestASVS_7_5_1_RecentProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sessiontest.New(t, nil)
		users := &accounts{users: map[string]*account{"u1": {User: auth.User{ID: "u1", Name: "alice"}}}}
		served := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
		visit := func(opts *auth.Options, r *http.Request) *http.Response {
			a, err := auth.New(m, users, opts)
			if err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			m.Handler(a.RequireRecent(5*time.Minute)(served)).ServeHTTP(w, r)
			return w.Result()
		}
		page := &auth.Options{ReauthURL: "/reauth?why=old"}
		r := sessiontest.Request(t, m, httptest.NewRequest("GET", "/pay?n=1", nil), func(s *cloakroom.Session) {
			s.Login(cloakroom.Identity{UserID: "u1"})
		})
		if resp := visit(nil, r); resp.StatusCode != 200 {
			t.Errorf("at once: %d", resp.StatusCode)
		}
		time.Sleep(5 * time.Minute)
		if resp := visit(nil, r); resp.StatusCode != 200 {
			t.Errorf("after 5 minutes: %d", resp.StatusCode)
		}
		time.Sleep(time.Millisecond)
		if resp := visit(nil, r); resp.StatusCode != 401 {
			t.Errorf("after more: %d", resp.StatusCode)
		}
		for pair := range slices.Chunk(navigation, 2) {
			r.Header.Set(pair[0], pair[1])
		}
		if resp := visit(nil, r); resp.StatusCode != 401 || resp.Header.Get("Location") != "" {
			t.Errorf("without a page for it: %d %v", resp.StatusCode, resp.Header)
		}
		if resp := visit(page, r); resp.StatusCode != 303 || resp.Header.Get("Location") != "/reauth?next=%2Fpay%3Fn%3D1&why=old" {
			t.Errorf("with a page: %d %v", resp.StatusCode, resp.Header)
		}
		// Renewing the token is no proof.
		r = sessiontest.Request(t, m, r, func(s *cloakroom.Session) { s.Renew() })
		if resp := visit(nil, r); resp.StatusCode != 401 {
			t.Errorf("after Renew: %d", resp.StatusCode)
		}
		r = sessiontest.Request(t, m, r, func(s *cloakroom.Session) { s.Login(cloakroom.Identity{UserID: "u1"}) })
		if resp := visit(nil, r); resp.StatusCode != 200 {
			t.Errorf("after login: %d", resp.StatusCode)
		}
	})
}
