package cloakroom_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom"
)

// The tombstone of each session that a logout ends lasts as long as that session
// would have, also where Lifetime has been lowered since, and also of two cookies.
func TestPromise01_EachTombstoneOutlastsItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := newSealedSite(t, &cloakroom.Options{Lifetime: 48 * time.Hour, IdleTimeout: 48 * time.Hour})
		first, second := long.signedIn(t, "u1"), long.signedIn(t, "u2")
		short, err := newSealed(long.spy, long.ring, &cloakroom.Options{Lifetime: time.Hour, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		out := &visitor{tb: t, m: short, cookie: first.cookie + "; " + second.cookie}
		out.visit(func(s *cloakroom.Session) {
			// A session of this request, whose deadline is an hour away, says nothing of
			// the two that came.
			word.Set(s, "x")
			if err := s.Commit(t.Context()); err != nil {
				t.Error(err)
			}
			if err := s.End(t.Context()); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(47 * time.Hour)
		if _, err := long.spy.Sweep(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		if a, b := first.user(), second.user(); a != "" || b != "" {
			t.Errorf("after the logout %q and %q are signed in again", a, b)
		}
		time.Sleep(5 * time.Hour)
		if _, err := long.spy.Sweep(t.Context(), time.Now()); err != nil || long.spy.Len() != 0 {
			t.Errorf("%d tombstones stay (%v), of sessions whose deadlines were known", long.spy.Len(), err)
		}
	})
}

// A10: whoever keeps a copy of a sealed session in use keeps it alive, with a newer
// second cookie than its owner has. The owner comes back after the idle time and is
// a stranger; what ends the session is that they sign out, sign in again, or get a
// cookie that takes the old one's place.
func TestAttack_A10_AThiefKeepsASealedSessionInUse(t *testing.T) {
	for name, ends := range map[string]func(*cloakroom.Session){
		"logout": func(s *cloakroom.Session) {
			if err := s.End(t.Context()); err != nil {
				t.Error(err)
			}
		},
		"login":            login,
		"login as another": func(s *cloakroom.Session) { s.Login(cloakroom.Identity{UserID: "u2"}) },
		"first value":      func(s *cloakroom.Session) { word.Set(s, "x") },
		"after a value":    func(s *cloakroom.Session) { word.Set(s, "x"); _ = s.End(t.Context()) },
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSealedSite(t, nil)
			victim := s.signedIn(t, "u1")
			thief := *victim
			for range 4 {
				time.Sleep(idle / 2)
				if thief.user() != "u1" {
					t.Fatal("the copy is not in use")
				}
			}
			s.spy.take()
			if victim.user() != "" {
				t.Error("beyond the idle time its owner is signed in")
			}
			s.wantCalls(t, "what has expired")
			cookie := victim.cookie
			victim.visit(ends)
			s.wantCalls(t, name, "end")
			if victim.cookie == cookie {
				t.Errorf("%s leaves the cookie", name)
			}
			if user := thief.user(); user != "" {
				t.Errorf("after %s the thief is %q", name, user)
			}
		})
	}
}

// A session whose idle time passes in a slow handler is refused there, and the
// handler that then signs the visitor out ends it for whoever else has it in use.
func TestAttack_A10_ASealedSessionThatExpiresBeforeItsLogout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSealedSite(t, nil)
		victim := s.signedIn(t, "u1")
		thief := *victim
		victim.visit(func(at *cloakroom.Session) {
			for range 4 {
				time.Sleep(idle / 2)
				thief.user()
			}
			word.Set(at, "late")
			if err := at.Commit(t.Context()); !errors.Is(err, cloakroom.ErrEnded) {
				t.Errorf("commit says %v", err)
			}
			if err := at.End(t.Context()); err != nil {
				t.Error(err)
			}
		})
		if user := thief.user(); user != "" {
			t.Errorf("after the logout the thief is %q", user)
		}
	})
}

// A cookie that has expired costs no call of the tombstones until something ends it,
// none once its deadline has passed, and no visitor a refusal for having been renewed
// long ago.
func TestPromise08_ExpiredSealedCookies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSealedSite(t, nil)
		v := s.signedIn(t, "u1")
		renewed := *v
		v.visit(func(s *cloakroom.Session) { s.Renew() })
		time.Sleep(idle)
		s.spy.take()
		if renewed.user() != "" || v.user() != "" {
			t.Error("a session outlives its idle time")
		}
		s.wantCalls(t, "expired")
		renewed.visit(func(s *cloakroom.Session) {
			if err := s.End(t.Context()); err != nil {
				t.Error(err)
			}
		})
		s.spy.on(func(context.Context, string) error { return errors.New("down") })
		kept := *v
		kept.do(func(w http.ResponseWriter, r *http.Request) {
			if err := cloakroom.FromContext(r.Context()).End(r.Context()); !errors.Is(err, cloakroom.ErrUnavailable) {
				t.Errorf("without the tombstones a logout says %v", err)
			}
		})
		if kept.cookie != v.cookie {
			t.Error("a logout that did not happen takes the cookie back")
		}
		for name, f := range map[string]func(*cloakroom.Session){"login": login, "value": func(s *cloakroom.Session) { word.Set(s, "x") }} {
			w := kept.do(func(w http.ResponseWriter, r *http.Request) { f(cloakroom.FromContext(r.Context())) })
			if w.Code != http.StatusServiceUnavailable || kept.cookie != v.cookie {
				t.Errorf("without the tombstones a %s is answered %d", name, w.Code)
			}
		}
		s.spy.on(nil)
		time.Sleep(lifetime)
		s.spy.take()
		v.visit(func(s *cloakroom.Session) { _ = s.End(t.Context()) })
		s.wantCalls(t, "a logout after the deadline")
	})
}

// Two states of one sealed session are one session: the one that was written last.
func TestPromise01_TwoStatesOfASealedSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSealedSite(t, nil)
		v := s.signedIn(t, "u1")
		first := v.cookie
		time.Sleep(time.Second)
		v.visit(func(s *cloakroom.Session) { word.Set(s, "newer") })
		for _, lines := range []string{first + "; " + v.cookie, v.cookie + "; " + first, first + "; " + v.cookie + "; " + first} {
			both := &visitor{tb: t, m: s.Manager, cookie: lines}
			both.visit(func(s *cloakroom.Session) {
				if s.UserID() != "u1" || word.GetOr(s, "") != "newer" {
					t.Errorf("two states are %q's with %q", s.UserID(), word.GetOr(s, ""))
				}
			})
		}
		if n := len(s.log.events(t, "two_cookies")); n != 0 {
			t.Errorf("%d log lines of two cookies", n)
		}
		both := &visitor{tb: t, m: s.Manager, cookie: first + "; " + v.cookie}
		both.login("u1")
		if v.user() != "" || both.user() != "u1" {
			t.Errorf("after the login the session of before is %q's", v.user())
		}
		both.cookie += "; " + both.cookie
		both.visit(func(s *cloakroom.Session) {
			if err := s.End(t.Context()); err != nil {
				t.Error(err)
			}
		})
		if both.cookie != "" {
			t.Error("the logout left a cookie")
		}
	})
}

// A login with two valid cookies leaves neither of their sessions behind; a value
// does, as one of them may be somebody else's doing.
func TestAttack_A38_LoginEndsBoth(t *testing.T) { both(t, testAttack_A38_LoginEndsBoth) }

func testAttack_A38_LoginEndsBoth(t *testing.T, newSite siteMaker) {
	s := newSite(t, nil)
	a, b := s.signedIn(t, "u1"), s.signedIn(t, "u2")
	v := s.visitor(t)
	v.cookie = a.cookie + "; " + b.cookie
	probe := *v
	probe.visit(func(s *cloakroom.Session) { word.Set(s, "x") })
	if a.user() != "u1" || b.user() != "u2" {
		t.Error("a value ended a session")
	}
	v.login("u1")
	if a.user() != "" || b.user() != "" {
		t.Errorf("after the login %q and %q are signed in", a.user(), b.user())
	}
	if v.user() != "u1" {
		t.Error("the login is nobody")
	}
}

// A logout with more cookies of our name than are looked at ends the sessions that
// it has found, and says that it does not know of the rest.
func TestAttack_A39_LogoutWithTooManyCookies(t *testing.T) {
	both(t, testAttack_A39_LogoutWithTooManyCookies)
}

func testAttack_A39_LogoutWithTooManyCookies(t *testing.T, newSite siteMaker) {
	s := newSite(t, nil)
	for name, lines := range map[string]func(own string) string{
		"first":  func(own string) string { return own + strings.Repeat("; "+cookieName+"=x", 8) },
		"eighth": func(own string) string { return strings.Repeat(cookieName+"=x; ", 7) + own + "; " + cookieName + "=x" },
		"ninth":  func(own string) string { return strings.Repeat(cookieName+"=x; ", 8) + own },
	} {
		v := s.signedIn(t, "u1")
		many := &visitor{tb: t, m: s.Manager, cookie: lines(v.cookie)}
		many.visit(func(at *cloakroom.Session) {
			if at.UserID() != "" {
				t.Errorf("%s of nine is a session", name)
			}
			if err := at.End(t.Context()); err == nil || cloakroom.Status(err) != http.StatusInternalServerError {
				t.Errorf("%s of nine: logout says %v", name, err)
			}
		})
		if user := v.user(); (user == "u1") != (name == "ninth") {
			t.Errorf("%s of nine: afterwards the session is %q's", name, user)
		}
		if many.cookie != "" {
			t.Errorf("%s of nine: the cookie stays", name)
		}
		v = s.signedIn(t, "u1")
		many.cookie = lines(v.cookie)
		many.login("u1")
		if user := v.user(); (user == "u1") != (name == "ninth") {
			t.Errorf("%s of nine: after a login the session of before is %q's", name, user)
		}
	}
	// Eight are looked at, and there is nothing to end.
	stranger := &visitor{tb: t, m: s.Manager, cookie: strings.Repeat(cookieName+"=x; ", 8)}
	stranger.visit(func(at *cloakroom.Session) {
		if err := at.End(t.Context()); err != nil {
			t.Errorf("of eight: logout says %v", err)
		}
	})
}

// A request that came late and has signed in anew is late no longer: it can sign out
// again.
func TestPromise03_ALateRequestThatSignsIn(t *testing.T) {
	both(t, testPromise03_ALateRequestThatSignsIn)
}

func testPromise03_ALateRequestThatSignsIn(t *testing.T, newSite siteMaker) {
	s := newSite(t, nil)
	v := s.signedIn(t, "u1")
	late := *v
	v.visit(func(s *cloakroom.Session) { s.Renew() })
	var in string
	late.visit(func(at *cloakroom.Session) {
		if !at.Late() {
			t.Error("the request is not late")
		}
		login(at)
		if err := at.Commit(t.Context()); err != nil || at.Late() || at.UserID() == "" {
			t.Errorf("login says %v, late %v", err, at.Late())
		}
		in = at.ID().Handle()
		if err := at.End(t.Context()); err != nil {
			t.Errorf("logout says %v", err)
		}
	})
	if late.cookie != "" || in == "" {
		t.Errorf("after the logout the cookie is %q", late.cookie)
	}
	if v.user() != "u1" {
		t.Error("the renewed session ended with it")
	}
	// Without a login it stays late, whatever it tries.
	late.cookie = ""
	other := s.signedIn(t, "u2")
	late = *other
	other.visit(func(s *cloakroom.Session) { s.Renew() })
	late.do(func(w http.ResponseWriter, r *http.Request) {
		at := cloakroom.FromContext(r.Context())
		at.Login(cloakroom.Identity{})
		if err := at.Commit(r.Context()); err == nil || !at.Late() {
			t.Errorf("a login that failed says %v, late %v", err, at.Late())
		}
		if err := at.End(r.Context()); !errors.Is(err, cloakroom.ErrRenewed) {
			t.Errorf("logout says %v", err)
		}
	})
}
