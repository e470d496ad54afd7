package auth_test

import (
	"fmt"
	"testing"

	"github.com/cloakroom-dev/cloakroom/auth"
)

// Whose password may be known to others signs in to change it and for nothing else
// (ASVS 6.2.10, 6.4.1; NIST SP 800-63B-4 §3.1.1.2). The change ends that, and every other
// session.
func TestNIST_3_1_1_2_6b_AChangeIsForced(t *testing.T) {
	for name, wrap := range kinds {
		for _, sealed := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", sealed ", sealed), func(t *testing.T) {
				a := newHandler(t, &setup{wrap: wrap, sealed: sealed, auth: auth.Options{PasswordURL: "/change?why=must"}})
				g, other := a.guest("192.0.2.1"), a.guest("192.0.2.2")
				a.signIn(t, other, "alice")
				a.users.change("u1", func(u *account) { u.MustChange, u.Epoch = true, u.Epoch+1 })
				if r := other.get("/private"); r.StatusCode != 401 {
					t.Errorf("a session of before: %d", r.StatusCode)
				}
				a.signIn(t, g, "alice")
				a.reached()
				a.log.take()
				for _, path := range []string{"/private", "/admin", "/either", "/recent", "/nested"} {
					if r := g.get(path); r.StatusCode != 403 || r.detail() != "Password change required" || r.Header.Get("Cache-Control") != "no-store" {
						t.Errorf("%s: %d %s", path, r.StatusCode, r.body)
					}
					r := g.get(path+"?a=b", navigation...)
					if want := "/change?next=" + "%2F" + path[1:] + "%3Fa%3Db&why=must"; r.StatusCode != 303 || r.Header.Get("Location") != want {
						t.Errorf("%s by a browser: %d %q, want %q", path, r.StatusCode, r.Header.Get("Location"), want)
					}
				}
				if got := a.reached(); got != nil {
					t.Errorf("it reached %q", got)
				}
				if l := a.log.lines(t, "access_refused"); len(l) != 10 || l[0]["reason"] != "password change" || l[0]["user"] != "u1" {
					t.Errorf("log: %v", l)
				}
				if r := g.get("/change", navigation...); r.StatusCode != 200 {
					t.Errorf("the page of the change: %d", r.StatusCode)
				}
				if r := g.reauth(rightPassword); r.StatusCode != 204 || g.get("/private").StatusCode != 403 {
					t.Errorf("a proof does not do: %d", r.StatusCode)
				}
				if r := g.change(rightPassword, rightPassword); r.StatusCode != 422 || g.get("/private").StatusCode != 403 {
					t.Errorf("the same password does not do: %d", r.StatusCode)
				}
				if r := g.change(rightPassword, newPassword); r.StatusCode != 204 || g.get("/private").StatusCode != 200 || g.get("/admin").StatusCode != 200 {
					t.Errorf("changed: %d %s", r.StatusCode, r.body)
				}
				if r := a.guest("192.0.2.3").login("alice", rightPassword); r.StatusCode != 401 {
					t.Errorf("the first password: %d", r.StatusCode)
				}
			})
		}
	}
}

// The page of the change asks for a login as all do, and lets in who need not change
// anything.
func TestASVS_6_4_1_ThePageOfTheChangeIsGuarded(t *testing.T) {
	a := newHandler(t, nil)
	g := a.guest("192.0.2.1")
	if r := g.get("/change"); r.StatusCode != 401 {
		t.Errorf("nobody: %d", r.StatusCode)
	}
	if r := g.get("/change", navigation...); r.StatusCode != 303 || r.Header.Get("Location") != "/login?next=%2Fchange" {
		t.Errorf("nobody's browser: %d %v", r.StatusCode, r.Header)
	}
	g.mustLogin(t, "bob")
	if r := g.get("/change"); r.StatusCode != 200 {
		t.Errorf("bob: %d", r.StatusCode)
	}
	// Without a PasswordURL a browser is told so.
	must := a.guest("192.0.2.1")
	must.mustLogin(t, "must")
	if r := must.get("/private", navigation...); r.StatusCode != 403 || !containsLine(r.body, "<p>Password change required</p>") {
		t.Errorf("without an address: %d %s", r.StatusCode, r.body)
	}
	if d := a.user; d.ID != "u7" || !d.MustChange {
		t.Errorf("Login returned %+v", d)
	}
}

func TestPasswordURLIsChecked(t *testing.T) {
	a := newHandler(t, nil)
	for _, target := range []string{"https://evil.example/", "//evil.example", "change", "/a#b"} {
		if _, err := auth.New(a.m, a.users, &auth.Options{PasswordURL: target}); err == nil {
			t.Errorf("PasswordURL %q is taken", target)
		}
	}
}
