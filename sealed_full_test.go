package cloakroom_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom"
)

// fill stores as much as fits into the session, and returns how much that is.
func (v *visitor) fill() int {
	fits := 0
	for n := 2000; n < 3500; n++ {
		probe := *v
		w := probe.do(func(w http.ResponseWriter, r *http.Request) { word.Set(cloakroom.FromContext(r.Context()), text(n)) })
		if w.Code != http.StatusOK {
			break
		}
		fits = n
	}
	v.visit(func(s *cloakroom.Session) { word.Set(s, text(fits)) })
	return fits
}

// roles returns n roles of size bytes each.
func roles(n, size int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("%0*d", size, i)
	}
	return list
}

// Whoever signed in fits beside whatever a visitor has stored, and so do new roles
// and a new epoch: values leave room for 512 bytes of it.
func TestPromise12_AFullSealedSessionSignsIn(t *testing.T) {
	for name, opts := range map[string]cloakroom.Options{
		"default":  {},
		"MaxBytes": {MaxBytes: 2390},
		"long":     {CookieName: strings.Repeat("n", 64), Path: "/" + strings.Repeat("p", 300), Domain: "example.com", Insecure: true, Persistent: true},
	} {
		s := newSealedSite(t, &opts)
		v := s.visitor(t)
		n := v.fill()
		if n == 0 {
			t.Fatalf("%s: nothing fits", name)
		}
		who := cloakroom.Identity{UserID: strings.Repeat("u", 255), Method: "password", Epoch: 127, Roles: roles(8, 20)}
		v.visit(func(s *cloakroom.Session) { s.Login(who) })
		v.visit(func(s *cloakroom.Session) { s.SetRoles(roles(10, 20)) })
		v.visit(func(s *cloakroom.Session) { s.SetEpoch(1 << 40) })
		v.visit(func(s *cloakroom.Session) {
			if s.UserID() != who.UserID || len(word.GetOr(s, "")) != n-2 || len(s.Identity().Roles) != 10 {
				t.Errorf("%s: the session is %.9q's with %d bytes", name, s.UserID(), len(word.GetOr(s, "")))
			}
		})
	}
}

// A login that needs more than its room and does not fit beside the values of before
// goes on without these, and says so in the log. What its own request has stored is
// not dropped: that is an error, as is a login that fits no cookie at all.
func TestPromise12_ALoginTooLargeForTheValuesOfBefore(t *testing.T) {
	s := newSealedSite(t, nil)
	v := s.visitor(t)
	n := v.fill()
	v.visit(func(s *cloakroom.Session) { word.Set(s, text(n-50)) })
	before := *v
	large := cloakroom.Identity{UserID: "u1", Roles: roles(30, 60)}
	v.visit(func(s *cloakroom.Session) { count.Set(s, 7); s.Login(large) })
	v.visit(func(s *cloakroom.Session) {
		if s.UserID() != "u1" || s.Has("word") || count.GetOr(s, 0) != 7 || len(s.Identity().Roles) != 30 {
			t.Errorf("the session is %q's with %v", s.UserID(), s.Names())
		}
	})
	if line := s.log.wantEvent(t, "session_renewed"); line["reason"] != "login without values" || line["level"] != "WARN" {
		t.Errorf("log line is %v", line)
	}
	if old := before; old.visit(func(*cloakroom.Session) {}) != nil && old.user() != "" {
		t.Error("the session of before lives")
	}
	for name, f := range map[string]func(*cloakroom.Session){
		"with values of its own": func(s *cloakroom.Session) { word.Set(s, text(1500)); s.Login(large) },
		"alone":                  func(s *cloakroom.Session) { s.Login(cloakroom.Identity{UserID: "u1", Roles: roles(60, 62)}) },
		"of a long method":       func(s *cloakroom.Session) { s.Login(cloakroom.Identity{UserID: "u1", Method: text(3000)}) },
	} {
		stranger := s.visitor(t)
		stranger.do(func(w http.ResponseWriter, r *http.Request) {
			at := cloakroom.FromContext(r.Context())
			f(at)
			if err := at.Commit(r.Context()); !errors.Is(err, cloakroom.ErrTooLarge) {
				t.Errorf("a login %s: commit says %v", name, err)
			}
		})
		if stranger.cookie != "" {
			t.Errorf("a login %s leaves a cookie", name)
		}
	}
	// New roles never drop values: they are refused, and the session stays as it was.
	v = s.signedIn(t, "u1")
	v.fill()
	cookie := v.cookie
	w := v.do(func(w http.ResponseWriter, r *http.Request) { cloakroom.FromContext(r.Context()).SetRoles(large.Roles) })
	if w.Code != http.StatusInternalServerError || v.cookie != cookie || v.user() != "u1" {
		t.Errorf("roles that do not fit are answered %d", w.Code)
	}
}
