package cloakroom_test

import (
	"encoding/binary"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// A key that is taken away while a request runs takes its sealed sessions with it:
// no write brings one under the next key.
func TestPromise10_NoSealedWriteUnderAKeyThatIsGone(t *testing.T) {
	for name, change := range map[string]func(*cloakroom.Session){
		"write":  func(s *cloakroom.Session) { word.Set(s, "late") },
		"delete": func(s *cloakroom.Session) { s.Clear() },
		"renew":  func(s *cloakroom.Session) { s.Renew() },
		"roles":  func(s *cloakroom.Session) { s.SetRoles([]string{"clerk"}) },
	} {
		s := newSealedSite(t, nil)
		v := s.signedIn(t, "u1")
		v.visit(func(s *cloakroom.Session) { word.Set(s, "x") })
		w := v.do(func(w http.ResponseWriter, r *http.Request) {
			s.replace(t, keyring.Generate())
			change(cloakroom.FromContext(r.Context()))
		})
		if c := setCookie(t, w); w.Code != http.StatusConflict || c != "" {
			t.Errorf("%s: answer is %d and sets %q", name, w.Code, c)
		}
		if user := v.user(); user != "" {
			t.Errorf("%s: the session of %q lives on", name, user)
		}
	}
}

// What this request itself has brought under another key ends with the first as well.
func TestPromise10_ASealedSessionEndsWithItsKeyWithinARequest(t *testing.T) {
	for name, change := range map[string]func(*cloakroom.Session){
		"write": func(s *cloakroom.Session) { word.Set(s, "x") },
		"renew": func(s *cloakroom.Session) { s.Renew() },
	} {
		s := newSealedSite(t, nil)
		v := s.signedIn(t, "u1")
		next := keyring.Generate()
		w := v.do(func(w http.ResponseWriter, r *http.Request) {
			at := cloakroom.FromContext(r.Context())
			s.replace(t, next, retiring(s.key))
			change(at)
			if err := at.Commit(t.Context()); err != nil {
				t.Error(err)
			}
			s.replace(t, next)
			change(at)
			word.Set(at, "y")
			if err := at.Commit(t.Context()); !errors.Is(err, cloakroom.ErrEnded) {
				t.Errorf("%s: commit says %v", name, err)
			}
		})
		if c := setCookie(t, w); c != "" || v.user() != "" {
			t.Errorf("%s: the session lives on, in %q", name, c)
		}
	}
}

// Who signs in meanwhile does so with nothing of what the key could have written.
func TestPromise10_ALoginTakesNothingFromAKeyThatIsGone(t *testing.T) {
	for name, gone := range map[string]bool{"gone": true, "retiring": false} {
		s := newSealedSite(t, nil)
		v := s.visitor(t)
		v.visit(func(s *cloakroom.Session) { word.Set(s, "of before") })
		v.visit(func(at *cloakroom.Session) {
			if gone {
				s.replace(t, keyring.Generate())
			} else {
				s.replace(t, keyring.Generate(), retiring(s.key))
			}
			count.Set(at, 7)
			at.Login(cloakroom.Identity{UserID: "u1"})
		})
		v.visit(func(s *cloakroom.Session) {
			if s.UserID() != "u1" || count.GetOr(s, 0) != 7 || s.Has("word") == gone {
				t.Errorf("%s: the session is %q's with %v", name, s.UserID(), s.Names())
			}
		})
	}
}

// A retiring key whose time passes while a request runs is as good as gone: what it
// signed is neither read nor written on under the next key.
func TestPromise10_ARetiringKeyEndsWhileARequestRuns(t *testing.T) {
	both(t, testPromise10_ARetiringKeyEndsWhileARequestRuns)
}

func testPromise10_ARetiringKeyEndsWhileARequestRuns(t *testing.T, newSite siteMaker) {
	for name, change := range map[string]func(*cloakroom.Session){
		"read":  func(s *cloakroom.Session) { s.UserID() },
		"write": func(s *cloakroom.Session) { word.Set(s, "late") },
		"renew": func(s *cloakroom.Session) { s.Renew() },
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, nil)
			v := s.signedIn(t, "u1")
			s.replace(t, keyring.Generate(), s.key.AsRetiring(time.Now().Add(time.Minute)))
			w := v.do(func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(2 * time.Minute)
				change(cloakroom.FromContext(r.Context()))
			})
			if c := setCookie(t, w); c != "" || name == "renew" && w.Code != http.StatusConflict {
				t.Errorf("%s: answer is %d and sets %q", name, w.Code, c)
			}
			if user := v.user(); user != "" {
				t.Errorf("%s: the session of %q lives on", name, user)
			}
		})
	}
}

// Whoever has the keys makes sessions; but none that no tombstone would outlast, and
// that would go on under the next key after theirs was taken away.
func TestAttack_A14_ForgedSealedDeadlines(t *testing.T) {
	const day = 24 * time.Hour
	for name, test := range map[string]struct {
		deadline, expires time.Duration
		opens             bool
	}{
		"a session's":            {lifetime, idle, true},
		"the longest":            {400 * day, 400 * day, true},
		"of a clock that is off": {400*day + 30*time.Minute, idle, true},
		"longer":                 {401 * day, idle, false},
		"of a hundred years":     {36500 * day, 36500 * day, false},
		"idle beyond it":         {lifetime, lifetime + time.Millisecond, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSealedSite(t, nil)
			now := time.Now()
			plain := make([]byte, 32)
			for _, at := range []time.Time{now, now.Add(test.deadline), now, now.Add(test.expires)} {
				plain = binary.BigEndian.AppendUint64(plain, uint64(at.UnixMilli()))
			}
			plain = append(append(plain, "\x00\x03ada\x01"...), make([]byte, 9)...)
			v := s.visitor(t)
			v.cookie = cookieName + "=" + s.SealPlain(plain)
			s.replace(t, keyring.Generate(), retiring(s.key))
			if user := v.user(); (user == "ada") != test.opens {
				t.Errorf("a deadline %s makes a session of %q", name, user)
			}
			if !test.opens {
				s.wantCalls(t, name)
			}
		})
	}
}
