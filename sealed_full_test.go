package cloakroom_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/keyring"
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
		"MaxBytes": {MaxBytes: 2328},
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

// lineageChars is what the IDs of sixteen keys add to a cookie, but for rounding.
const lineageChars = 16 * 4 * 8 / 6

// However full a session is, sixteen rotations in its life make it no larger than a
// cookie may be: it moves to each key, is written to, and is given roles.
func TestASVS_3_3_5_AFullSealedSessionThroughRotations(t *testing.T) {
	s := newSealedSite(t, nil)
	v := s.visitor(t)
	fits := v.fill()
	v.visit(func(s *cloakroom.Session) {
		s.Login(cloakroom.Identity{UserID: strings.Repeat("u", 254), Roles: roles(2, 126)})
	})
	before := []keyring.Key{retiring(s.key)}
	for n := range 17 {
		next := keyring.Generate()
		s.replace(t, next, before...)
		before = append(before, retiring(next))
		line := setCookie(t, v.visit(func(s *cloakroom.Session) {
			if got := len(word.GetOr(s, "")); got != fits-2 {
				t.Errorf("after %d rotations there are %d bytes", n, got)
			}
		}))
		if moved := line != ""; moved != (n < 16) || len(line) > 4096 {
			t.Fatalf("rotation %d makes a line of %d", n+1, len(line))
		}
		if n == 16 {
			break
		}
		if n == 15 && len(line) < 4094 {
			t.Errorf("the largest session makes a line of %d", len(line))
		}
		v.visit(func(s *cloakroom.Session) { word.Set(s, text(fits-1)) })
		v.visit(func(s *cloakroom.Session) { word.Set(s, text(fits)); s.Renew() })
		v.visit(func(s *cloakroom.Session) { s.SetRoles(s.Identity().Roles) })
	}
	// Beyond these it stays under its key, which goes on for as long, and takes what makes
	// it smaller.
	if w := v.do(func(w http.ResponseWriter, r *http.Request) {
		word.Set(cloakroom.FromContext(r.Context()), text(fits-1))
	}); w.Code != http.StatusInternalServerError {
		t.Errorf("a write beyond its room is answered %d", w.Code)
	}
	v.visit(func(s *cloakroom.Session) { word.Set(s, text(fits-10)) })
	if v.user() == "" {
		t.Error("the session has ended")
	}
}

// Who is signed in never grows into the room that rotations need.
func TestASVS_3_3_5_ALongIdentityLeavesRoomForRotations(t *testing.T) {
	s := newSealedSite(t, nil)
	most := 0
	for n := range 80 {
		v := s.visitor(t)
		w := v.do(func(w http.ResponseWriter, r *http.Request) {
			cloakroom.FromContext(r.Context()).Login(cloakroom.Identity{UserID: "u1", Roles: append(roles(28, 99), strings.Repeat("r", n))})
		})
		if w.Code != http.StatusOK {
			break
		}
		most = n
	}
	if most == 0 || most == 79 {
		t.Fatalf("the bound is not here: %d", most)
	}
	v := s.visitor(t)
	who := cloakroom.Identity{UserID: "u1", Roles: append(roles(28, 99), strings.Repeat("r", most))}
	v.visit(func(s *cloakroom.Session) { s.Login(who) })
	larger := append(slices.Clone(who.Roles[:28]), strings.Repeat("r", most+1))
	if w := v.do(func(w http.ResponseWriter, r *http.Request) { cloakroom.FromContext(r.Context()).SetRoles(larger) }); w.Code != http.StatusInternalServerError {
		t.Errorf("a longer role is answered %d", w.Code)
	}
	before := []keyring.Key{retiring(s.key)}
	for n := range 16 {
		next := keyring.Generate()
		s.replace(t, next, before...)
		before = append(before, retiring(next))
		if setCookie(t, v.visit(func(*cloakroom.Session) {})) == "" {
			t.Fatalf("rotation %d: the session does not move", n+1)
		}
	}
}
