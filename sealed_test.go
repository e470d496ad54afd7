package cloakroom_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
)

// What a sealed session costs the store of tombstones, from the first visit to the
// logout.
func TestSealedSessionsAndTheStore(t *testing.T) {
	s := newSealedSite(t, nil)
	v := s.visitor(t)
	v.visit(func(s *cloakroom.Session) { word.Set(s, "x") })
	s.wantCalls(t, "first value")
	v.login("u1")
	s.wantCalls(t, "login over it", "get", "end")
	v.visit(func(s *cloakroom.Session) {
		if s.UserID() != "u1" || word.GetOr(s, "") != "x" || s.New() {
			t.Errorf("the session is %q's with %q", s.UserID(), word.GetOr(s, ""))
		}
	})
	s.wantCalls(t, "read", "get")
	v.visit(func(s *cloakroom.Session) { word.Set(s, "y") })
	s.wantCalls(t, "write", "get", "get")
	v.visit(func(s *cloakroom.Session) { word.Set(s, "y") })
	s.wantCalls(t, "no change", "get")
	v.visit(func(s *cloakroom.Session) { s.SetRoles([]string{"clerk"}) })
	s.wantCalls(t, "renewal", "get", "end")
	kept := v.cookie
	w := v.visit(func(s *cloakroom.Session) {
		if got := word.GetOr(s, ""); got != "y" || !slices.Equal(s.Identity().Roles, []string{"clerk"}) {
			t.Errorf("the session has %q and %v", got, s.Identity())
		}
		if err := s.End(t.Context()); err != nil {
			t.Error(err)
		}
	})
	s.wantCalls(t, "logout", "get", "end")
	if lines := w.Result().Header["Set-Cookie"]; len(lines) != 2 || !strings.HasPrefix(lines[0], cookieName+"=;") ||
		!strings.HasPrefix(lines[1], cookieName+"-seen=;") || !strings.HasSuffix(lines[1], "; Max-Age=0") {
		t.Errorf("a logout sets %q", lines)
	}
	v.cookie = kept
	if user := v.user(); user != "" {
		t.Errorf("after the logout the cookie is %q's", user)
	}
	if n := len(s.spy.live(t)); n != 0 || len(s.spy.puts) != 0 {
		t.Errorf("the store has %d live records and saw %d puts", n, len(s.spy.puts))
	}
}

// A01: a slow request that writes at its end meets the tombstone, and
// whatever cookie is left of the session is dead.
func TestPromise01_ASealedSessionThatEndedStaysEnded(t *testing.T) {
	for name, change := range map[string]struct {
		f      func(*cloakroom.Session)
		status int
	}{
		"write": {func(s *cloakroom.Session) { word.Set(s, "late") }, http.StatusConflict},
		"renew": {func(s *cloakroom.Session) { s.Renew() }, http.StatusConflict},
		"roles": {func(s *cloakroom.Session) { s.SetRoles([]string{"admin"}) }, http.StatusConflict},
		"read":  {func(s *cloakroom.Session) { word.Get(s) }, http.StatusOK},
		"touch": {func(*cloakroom.Session) { time.Sleep(idle / 2) }, http.StatusOK},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSealedSite(t, nil)
			v := s.signedIn(t, "u1")
			time.Sleep(idle / 5)
			old := *v
			w := v.do(func(w http.ResponseWriter, r *http.Request) {
				other := old
				other.visit(func(s *cloakroom.Session) {
					if err := s.End(t.Context()); err != nil {
						t.Error(err)
					}
				})
				change.f(cloakroom.FromContext(r.Context()))
			})
			if c := setCookie(t, w); w.Code != change.status || c != "" {
				t.Errorf("%s: answer is %d and sets %q", name, w.Code, c)
			}
			if probe := old; probe.user() != "" {
				t.Errorf("%s: the session lives", name)
			}
		})
	}
}

// A02: what was renewed is nobody at once, and a late request with it can store
// nothing.
func TestAttack_A02_SealedTokensOfBefore(t *testing.T) {
	for name, renew := range map[string]func(*cloakroom.Session){
		"renew": func(s *cloakroom.Session) { s.Renew() },
		"roles": func(s *cloakroom.Session) { s.SetRoles([]string{"clerk"}) },
		"login": func(s *cloakroom.Session) { s.Login(cloakroom.Identity{UserID: "u1"}) },
		"other": func(s *cloakroom.Session) { s.Login(cloakroom.Identity{UserID: "u2"}) },
	} {
		s := newSealedSite(t, nil)
		v := s.signedIn(t, "u1")
		old := *v
		v.visit(renew)
		if old.cookie == v.cookie || old.id() == v.id() {
			t.Errorf("%s: the token is the same", name)
		}
		w := old.do(func(w http.ResponseWriter, r *http.Request) {
			s := cloakroom.FromContext(r.Context())
			if s.UserID() != "" || !s.Late() {
				t.Errorf("%s: the old token is %q's, late %v", name, s.UserID(), s.Late())
			}
			word.Set(s, "late")
		})
		if c := setCookie(t, w); w.Code != http.StatusConflict || c != "" || !strings.Contains(w.Body.String(), "Session renewed") {
			t.Errorf("%s: a late write is answered %d %s and sets %q", name, w.Code, w.Body, c)
		}
		if user := v.user(); user == "" {
			t.Errorf("%s: the new token is nobody", name)
		}
	}
}

// Two requests that renew one token at once: one goes on, the other is late.
func TestPromise03_SealedRenewalsAtOnce(t *testing.T) {
	s := newSealedSite(t, nil)
	v := s.signedIn(t, "u1")
	first, second := *v, *v
	w := first.do(func(w http.ResponseWriter, r *http.Request) {
		second.visit(func(s *cloakroom.Session) { s.Renew() })
		cloakroom.FromContext(r.Context()).Renew()
	})
	if w.Code != http.StatusConflict || setCookie(t, w) != "" {
		t.Errorf("the second renewal is answered %d", w.Code)
	}
	if second.user() != "u1" {
		t.Error("the first renewal is nobody")
	}
}

// A04: what a client made up is never adopted.
func TestAttack_A04_SealedTokensAreNeverAdopted(t *testing.T) {
	s := newSealedSite(t, nil)
	stranger := newSealedSite(t, nil).signedIn(t, "mallory")
	for _, planted := range []string{cookieName + "=ATTACKER", stranger.cookie, cookieName + "-seen=" + strings.Repeat("A", 88)} {
		v := s.visitor(t)
		v.cookie = planted
		if user := v.user(); user != "" {
			t.Errorf("a planted cookie signs in %q", user)
		}
		s.wantCalls(t, "planted")
		v.login("u1")
		s.wantCalls(t, "login")
		if v.cookie == planted || v.user() != "u1" {
			t.Errorf("the login keeps %q", v.cookie)
		}
		s.spy.take()
	}
}

// failAfter fails the calls of op but the first n.
func failAfter(op string, n int) func(context.Context, string) error {
	return func(_ context.Context, got string) error {
		if got == op {
			if n--; n < 0 {
				return errors.New("down")
			}
		}
		return nil
	}
}

// An outage of the tombstones is no logout: 503, no cookie touched, nothing of the
// handler's; a visitor without a session does not notice.
func TestPromise07_SealedSessionsAndAnOutage(t *testing.T) {
	s := newSealedSite(t, nil)
	v := s.signedIn(t, "u1")
	cookie := v.cookie
	for name, test := range map[string]struct {
		before func(context.Context, string) error
		f      func(*cloakroom.Session)
	}{
		"load":  {failAfter("get", 0), func(*cloakroom.Session) { t.Error("the handler ran") }},
		"write": {failAfter("get", 1), func(s *cloakroom.Session) { word.Set(s, "x") }},
		"renew": {failAfter("end", 0), func(s *cloakroom.Session) { s.Renew() }},
		"login": {failAfter("end", 0), func(s *cloakroom.Session) { s.Login(cloakroom.Identity{UserID: "u1"}) }},
	} {
		s.spy.on(test.before)
		w := v.do(func(w http.ResponseWriter, r *http.Request) {
			test.f(cloakroom.FromContext(r.Context()))
			_, _ = io.WriteString(w, "secret page")
		})
		if w.Code != http.StatusServiceUnavailable || v.cookie != cookie || setCookie(t, w) != "" || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s: answer is %d %s and sets %q", name, w.Code, w.Body, setCookie(t, w))
		}
		s.spy.on(func(context.Context, string) error { return errors.New("down") })
		stranger := s.visitor(t)
		stranger.visit(func(s *cloakroom.Session) { word.Set(s, "x") })
		s.spy.on(nil)
		if v.user() != "u1" || stranger.id().IsZero() {
			t.Errorf("%s: after the outage a visitor is signed out", name)
		}
	}
}

// What NewSealed is not given, and what it cannot do, it says, all at once.
func TestPromise12_FaultsOfNewSealed(t *testing.T) {
	_, err := cloakroom.NewSealed(nil, nil, &cloakroom.Options{MaxSessions: 3, MaxBytes: 64 << 10, CookieName: "a b"})
	for _, want := range []string{"NewSealed needs keys", "needs a store for the tombstones", "MaxSessions cannot be had with sealed sessions",
		"MaxBytes 65536 does not fit a cookie: at most 23", `CookieName "a b"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %q:\n%v", want, err)
		}
	}
	ring, st := newRing(t, keyring.Generate()), memstore.New(nil)
	if _, err = cloakroom.NewSealed(ring, st, &cloakroom.Options{CookieName: "s", Path: "/" + strings.Repeat("p", 1100)}); err == nil || !strings.Contains(err.Error(), "browsers read 1024") {
		t.Errorf("a long path is %v", err)
	}
	if _, err = cloakroom.NewSealed(ring, st, nil); err != nil {
		t.Error(err)
	}
	if _, err = cloakroom.NewSealed(ring, bareStore{st}, nil); err != nil {
		t.Errorf("a store without further abilities: %v", err)
	}
}

// bareStore has none of a store's further abilities.
type bareStore struct{ store.Store }

// Promise 9 cannot be kept, and nobody is told otherwise.
func TestPromise09_SealedSessionsCannotBeListed(t *testing.T) {
	s := newSealedSite(t, nil)
	v := s.signedIn(t, "u1")
	if _, err := s.List(t.Context(), "u1"); !errors.Is(err, cloakroom.ErrNoUserStore) {
		t.Errorf("list says %v", err)
	}
	if _, err := s.EndUser(t.Context(), "u1", store.ID{}); !errors.Is(err, cloakroom.ErrNoUserStore) {
		t.Errorf("end of all says %v", err)
	}
	v.visit(func(at *cloakroom.Session) {
		if _, err := at.EndOthers(t.Context()); !errors.Is(err, cloakroom.ErrNoUserStore) {
			t.Errorf("end of others says %v", err)
		}
	})
	if v.user() != "u1" {
		t.Error("the session has ended")
	}
	// One whose ID is known can be ended.
	if err := s.End(t.Context(), v.id()); err != nil || v.user() != "" {
		t.Errorf("end says %v, the session is %q's", err, v.user())
	}
}

// Tombstones are swept, and not before the sessions that they end could come back.
func TestSealedTombstonesAreSwept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := newSealedSite(t, &cloakroom.Options{Lifetime: 48 * time.Hour, IdleTimeout: 48 * time.Hour})
		v := long.signedIn(t, "u1")
		byID := long.signedIn(t, "u2")
		// An instance with a shorter Lifetime takes the logout of the one, and ends the
		// other, of which it knows the ID alone.
		short, err := cloakroom.NewSealed(long.ring, long.spy, &cloakroom.Options{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		out := &visitor{tb: t, m: short, cookie: v.cookie}
		out.visit(func(s *cloakroom.Session) {
			if err := s.End(t.Context()); err != nil {
				t.Error(err)
			}
		})
		if err := short.End(t.Context(), byID.id()); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _ = short.Sweep(ctx, time.Hour) }()
		time.Sleep(47 * time.Hour)
		if v.user() != "" || byID.user() != "" || long.spy.Len() != 2 {
			t.Errorf("a tombstone was swept too early: %q and %q, %d left", v.user(), byID.user(), long.spy.Len())
		}
		time.Sleep(5 * time.Hour)
		if n := long.spy.Len(); n != 1 {
			t.Errorf("%d tombstones stay, want that of the session whose deadline nobody knew", n)
		}
		time.Sleep(401 * 24 * time.Hour)
		cancel()
		synctest.Wait()
		if n := long.spy.Len(); n != 0 {
			t.Errorf("%d tombstones stay", n)
		}
	})
}
