package cloakroom_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom"
)

// accessors is every way in which a handler can come to know anything of its
// session, or change it.
var accessors = map[string]func(context.Context, *cloakroom.Session){
	"ID":         func(_ context.Context, s *cloakroom.Session) { s.ID() },
	"UserID":     func(_ context.Context, s *cloakroom.Session) { s.UserID() },
	"Identity":   func(_ context.Context, s *cloakroom.Session) { s.Identity() },
	"AuthTime":   func(_ context.Context, s *cloakroom.Session) { s.AuthTime() },
	"Created":    func(_ context.Context, s *cloakroom.Session) { s.Created() },
	"Expires":    func(_ context.Context, s *cloakroom.Session) { s.Expires() },
	"Deadline":   func(_ context.Context, s *cloakroom.Session) { s.Deadline() },
	"New":        func(_ context.Context, s *cloakroom.Session) { s.New() },
	"Late":       func(_ context.Context, s *cloakroom.Session) { s.Late() },
	"Names":      func(_ context.Context, s *cloakroom.Session) { s.Names() },
	"Has":        func(_ context.Context, s *cloakroom.Session) { s.Has("word") },
	"Clear":      func(_ context.Context, s *cloakroom.Session) { s.Clear() },
	"Flash":      func(_ context.Context, s *cloakroom.Session) { s.Flash("x") },
	"Flashes":    func(_ context.Context, s *cloakroom.Session) { s.Flashes() },
	"Login":      func(_ context.Context, s *cloakroom.Session) { login(s) },
	"Renew":      func(_ context.Context, s *cloakroom.Session) { s.Renew() },
	"SetRoles":   func(_ context.Context, s *cloakroom.Session) { s.SetRoles(nil) },
	"SetEpoch":   func(_ context.Context, s *cloakroom.Session) { s.SetEpoch(1) },
	"End":        func(c context.Context, s *cloakroom.Session) { _ = s.End(c) },
	"EndOthers":  func(c context.Context, s *cloakroom.Session) { _, _ = s.EndOthers(c) },
	"Alive":      func(c context.Context, s *cloakroom.Session) { s.Alive(c) },
	"Key.Get":    func(_ context.Context, s *cloakroom.Session) { word.Get(s) },
	"Key.GetOr":  func(_ context.Context, s *cloakroom.Session) { word.GetOr(s, "") },
	"Key.Pop":    func(_ context.Context, s *cloakroom.Session) { word.Pop(s) },
	"Key.Set":    func(_ context.Context, s *cloakroom.Session) { word.Set(s, "x") },
	"Key.Delete": func(_ context.Context, s *cloakroom.Session) { word.Delete(s) },
	"Key.Update": func(_ context.Context, s *cloakroom.Session) {
		word.Update(s, func(s string) string { return s })
	},
}

// TestAttack_A41_EveryAccessKeepsCachesAway: also for strangers, whose page a
// cache would otherwise serve to everybody, and for those who look and find
// nothing (ASVS 14.2.2).
func TestAttack_A41_EveryAccessKeepsCachesAway(t *testing.T) {
	both(t, testAttack_A41_EveryAccessKeepsCachesAway)
}

func testAttack_A41_EveryAccessKeepsCachesAway(t *testing.T, newSite siteMaker) {
	for name, access := range accessors {
		for _, who := range []string{"stranger", "signed in", "bad cookie"} {
			s := newSite(t, nil)
			v := s.visitor(t)
			switch who {
			case "signed in":
				v = s.signedIn(t, "u1")
			case "bad cookie":
				v.cookie = cookieName + "=x"
			}
			w := v.do(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Cache-Control", "public, max-age=3600")
				access(r.Context(), cloakroom.FromContext(r.Context()))
				_, _ = w.Write([]byte("page"))
			})
			h := w.Result().Header
			if h.Get("Vary") != "Cookie" || h.Get("Cache-Control") != "no-store" || w.Code != http.StatusOK {
				t.Errorf("%s of %s: answer is %d with Vary %q, Cache-Control %q", name, who, w.Code, h["Vary"], h["Cache-Control"])
			}
		}
	}
}

// accessors has to have them all.
func TestAttack_A41_NoAccessIsForgotten(t *testing.T) {
	for _, name := range methods[*cloakroom.Session]() {
		if _, ok := accessors[name]; !ok && name != "Commit" && name != "Format" {
			t.Errorf("Session.%s is not among the accessors", name)
		}
	}
	for _, name := range methods[cloakroom.Key[string]]() {
		if _, ok := accessors["Key."+name]; !ok && name != "Name" {
			t.Errorf("Key.%s is not among the accessors", name)
		}
	}
}

// Who leaves the session alone may be cached, cookie or not.
func TestAttack_A41_UntouchedIsLeftAlone(t *testing.T) { both(t, testAttack_A41_UntouchedIsLeftAlone) }

func testAttack_A41_UntouchedIsLeftAlone(t *testing.T, newSite siteMaker) {
	s := newSite(t, nil)
	for _, v := range []*visitor{s.visitor(t), s.signedIn(t, "u1"), {tb: t, m: s.Manager, cookie: cookieName + "=x"}} {
		w := v.do(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "public, max-age=3600")
			_ = cloakroom.FromContext(r.Context()).Commit(r.Context()) // of nothing
		})
		h := w.Result().Header
		if h["Vary"] != nil || h.Get("Cache-Control") != "public, max-age=3600" || h["Set-Cookie"] != nil {
			t.Errorf("an untouched session makes the header %v", h)
		}
	}
}

func TestASVS_14_2_2_CacheHeadersAreCompleted(t *testing.T) {
	read := func(s *cloakroom.Session) { s.UserID() }
	for _, test := range []struct {
		name               string
		set                http.Header
		touch              func(*cloakroom.Session)
		vary, cacheControl []string
	}{
		{"nothing", http.Header{}, read, []string{"Cookie"}, []string{"no-store"}},
		{"other Vary", http.Header{"Vary": {"Accept-Encoding"}}, read, []string{"Accept-Encoding", "Cookie"}, []string{"no-store"}},
		{"Vary has it", http.Header{"Vary": {"Accept, cookie"}}, read, []string{"Accept, cookie"}, []string{"no-store"}},
		{"Vary in two lines", http.Header{"Vary": {"Accept", "COOKIE"}}, read, []string{"Accept", "COOKIE"}, []string{"no-store"}},
		{"Vary star", http.Header{"Vary": {"*"}}, read, []string{"*"}, []string{"no-store"}},
		{"Vary of a like name", http.Header{"Vary": {"X-Cookie, Cookies"}}, read, []string{"X-Cookie, Cookies", "Cookie"}, []string{"no-store"}},
		{"public", http.Header{"Cache-Control": {"public, max-age=60"}}, read, []string{"Cookie"}, []string{"no-store"}},
		{"private", http.Header{"Cache-Control": {"private"}}, read, []string{"Cookie"}, []string{"private"}},
		{"private and more", http.Header{"Cache-Control": {"max-age=60, Private"}}, read, []string{"Cookie"}, []string{"max-age=60, Private"}},
		{"private for one field", http.Header{"Cache-Control": {`private="X-A"`}}, read, []string{"Cookie"}, []string{"no-store"}},
		{"no-store and more", http.Header{"Cache-Control": {"no-store, no-transform"}}, read, []string{"Cookie"}, []string{"no-store, no-transform"}},
		{"no-cache", http.Header{"Cache-Control": {"no-cache"}}, read, []string{"Cookie"}, []string{"no-store"}},
		{"private with a cookie", http.Header{"Cache-Control": {"private"}}, login, []string{"Cookie"}, []string{"no-store"}},
		{"no-store with a cookie", http.Header{"Cache-Control": {"no-store"}}, login, []string{"Cookie"}, []string{"no-store"}},
		{"two lines", http.Header{"Cache-Control": {"public", "max-age=60"}}, read, []string{"Cookie"}, []string{"no-store"}},
	} {
		v := newSite(t, nil).visitor(t)
		w := v.do(func(w http.ResponseWriter, r *http.Request) {
			for name, lines := range test.set {
				w.Header()[name] = slices.Clone(lines)
			}
			test.touch(cloakroom.FromContext(r.Context()))
			w.WriteHeader(http.StatusOK)
		})
		h := w.Result().Header
		if !slices.Equal(h["Vary"], test.vary) || !slices.Equal(h["Cache-Control"], test.cacheControl) {
			t.Errorf("%s: Vary %q, Cache-Control %q, want %q and %q", test.name, h["Vary"], h["Cache-Control"], test.vary, test.cacheControl)
		}
	}
}

// Errors are nobody's to keep either.
func TestASVS_14_2_2_ErrorsAreNotStored(t *testing.T) { both(t, testASVS_14_2_2_ErrorsAreNotStored) }

func testASVS_14_2_2_ErrorsAreNotStored(t *testing.T, newSite siteMaker) {
	s := newSite(t, nil)
	v := s.signedIn(t, "u1")
	s.spy.on(func(_ context.Context, op string) error { return context.DeadlineExceeded })
	w := v.do(who)
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Cache-Control") != "no-store" || strings.Contains(w.Body.String(), "u1") {
		t.Errorf("answer is %d %v", w.Code, w.Header())
	}
}
