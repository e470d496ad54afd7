package cloakroom_test

import (
	"encoding/base64"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
)

// What sealed sessions cannot do is shown here, so that the documentation stays
// true: promise 2 is not kept. Two requests of one visitor that write different
// names at once: the answer that the browser reads last wins, the other's write is
// gone, though both were told that all is well.
func TestSealedSessionsLoseAWriteOfTwo(t *testing.T) {
	s := newSealedSite(t, nil)
	v := s.signedIn(t, "u1")
	inner := *v
	v.visit(func(at *cloakroom.Session) {
		word.Set(at, "outer")
		inner.visit(func(s *cloakroom.Session) { count.Set(s, 1) })
	})
	v.visit(func(s *cloakroom.Session) {
		if word.GetOr(s, "") != "outer" || count.GetOr(s, 0) != 0 {
			t.Errorf("the session has %q and %d: update the documentation", word.GetOr(s, ""), count.GetOr(s, 0))
		}
	})
}

// Nor is a state of before refused while the session lives: a counter in it counts
// nothing, and what may be used once may be used as often as its cookie is sent.
func TestSealedSessionsCanBeReplayedUntilTheyEnd(t *testing.T) {
	s := newSealedSite(t, nil)
	v := s.signedIn(t, "u1")
	v.visit(func(s *cloakroom.Session) { word.Set(s, "voucher"); count.Set(s, 1) })
	before := *v
	for range 3 {
		probe := before
		probe.visit(func(s *cloakroom.Session) {
			if got, ok := word.Pop(s); !ok || got != "voucher" {
				t.Error("an earlier state is refused: update the documentation")
			}
			if n := count.Update(s, func(n int) int { return n + 1 }); n != 2 {
				t.Errorf("the counter counts %d", n)
			}
		})
		v = &probe
	}
	// The end of the session ends all its states, and so does a new token.
	v.visit(func(s *cloakroom.Session) { s.Renew() })
	if user := before.user(); user != "" {
		t.Errorf("after a renewal an earlier state is %q's", user)
	}
	after := *v
	v.visit(func(s *cloakroom.Session) {
		if err := s.End(t.Context()); err != nil {
			t.Error(err)
		}
	})
	if user := after.user(); user != "" {
		t.Errorf("after the logout an earlier state is %q's", user)
	}
}

// A store of tombstones that forgets lets sessions come back: what the
// documentation warns of.
func TestSealedSessionsComeBackWithoutTheirTombstones(t *testing.T) {
	s := newSealedSite(t, nil)
	v := s.signedIn(t, "u1")
	kept := *v
	v.visit(func(s *cloakroom.Session) { _ = s.End(t.Context()) })
	m, err := newSealed(memstore.New(nil), s.ring, nil)
	if err != nil {
		t.Fatal(err)
	}
	probe := &visitor{tb: t, m: m, cookie: kept.cookie}
	if kept.user() != "" || probe.user() != "u1" {
		t.Error("without its tombstone the session stays ended: update the documentation")
	}
}

// A10: whatever ends a session ends all copies of its cookie, also on an instance
// that starts afterwards.
func TestAttack_A10_SealedCookiesKeptByAThief(t *testing.T) {
	for name, end := range map[string]func(*site, *cloakroom.Session) error{
		"logout":    func(_ *site, s *cloakroom.Session) error { return s.End(t.Context()) },
		"ended":     func(m *site, s *cloakroom.Session) error { return m.End(t.Context(), s.ID()) },
		"renewed":   func(_ *site, s *cloakroom.Session) error { s.Renew(); return nil },
		"new login": func(_ *site, s *cloakroom.Session) error { s.Login(cloakroom.Identity{UserID: "u1"}); return nil },
		"new roles": func(_ *site, s *cloakroom.Session) error { s.SetRoles([]string{"x"}); return nil },
		"new epoch": func(_ *site, s *cloakroom.Session) error { s.SetEpoch(1); return nil },
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSealedSite(t, nil)
			v := s.signedIn(t, "u1")
			time.Sleep(idle / 2)
			v.user()
			stolen := []visitor{*v}
			v.visit(func(s *cloakroom.Session) { word.Set(s, "x") })
			stolen = append(stolen, *v)
			v.visit(func(at *cloakroom.Session) {
				if err := end(s, at); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
			again, err := newSealed(s.spy, newRing(t, s.key), &cloakroom.Options{Logger: s.Logger()})
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range []*cloakroom.Manager{s.Manager, again} {
				for _, probe := range stolen {
					if probe.m = m; probe.user() != "" {
						t.Errorf("%s: a copy still works", name)
					}
				}
			}
		})
	}
}

// The user's epoch goes with the session, for guards to compare.
func TestSealedSessionsCarryTheEpoch(t *testing.T) {
	s := newSealedSite(t, nil)
	v := s.visitor(t)
	v.visit(func(s *cloakroom.Session) {
		s.Login(cloakroom.Identity{UserID: "u1", Epoch: 6, Method: "passkey", Roles: []string{"a", "b"}})
	})
	v.visit(func(s *cloakroom.Session) {
		if u := s.Identity(); u.UserID != "u1" || u.Epoch != 6 || u.Method != "passkey" || len(u.Roles) != 2 || s.AuthTime().IsZero() {
			t.Errorf("identity is %+v of %v", u, s.AuthTime())
		}
		s.SetEpoch(7)
	})
	v.visit(func(s *cloakroom.Session) {
		if s.Identity().Epoch != 7 {
			t.Errorf("identity is %+v", s.Identity())
		}
	})
}

// A reader sends the second cookie alone, once a tenth of the idle timeout.
func TestPromise08_AReaderOfASealedSessionSendsOnlyTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSealedSite(t, nil)
		v := s.signedIn(t, "u1")
		main := v.cookie
		read := func(what string, sets bool, calls ...string) {
			t.Helper()
			w := v.visit(func(*cloakroom.Session) {})
			s.wantCalls(t, what, calls...)
			line := setCookie(t, w)
			if (line != "") != sets || sets && !strings.HasPrefix(line, seenName+"=") || v.cookie != main {
				t.Errorf("%s sets %q", what, line)
			}
		}
		read("at once", false, "get")
		time.Sleep(idle/10 - time.Millisecond)
		read("before a tenth", false, "get")
		time.Sleep(time.Millisecond)
		read("after a tenth", true, "get", "get")
		read("behind it", false, "get")
		time.Sleep(idle / 10)
		read("after another", true, "get", "get")
		// A write takes the time along.
		time.Sleep(idle / 5)
		v.visit(func(s *cloakroom.Session) { word.Set(s, "x") })
		s.wantCalls(t, "write", "get", "get")
		main = v.cookie
		read("behind the write", false, "get")
	})
}

// A reader that began before a write and answers after it takes nothing back.
func TestSealedReadersOverwriteNoWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSealedSite(t, nil)
		v := s.signedIn(t, "u1")
		time.Sleep(idle / 2)
		writer := *v
		w := v.visit(func(*cloakroom.Session) {
			writer.visit(func(s *cloakroom.Session) { word.Set(s, "written") })
		})
		if setCookie(t, w) == "" {
			t.Fatal("the reader sends no time")
		}
		// The reader's answer is the last that the browser reads.
		browser := writer
		browser.follow(w.Result())
		browser.visit(func(s *cloakroom.Session) {
			if word.GetOr(s, "") != "written" {
				t.Error("the reader took the write back")
			}
		})
	})
}

// Without its second cookie, with an old one, one of another session or a forged
// one, a session has the time in the first one, and never less for another's doing.
func TestPromise04_TheSecondSealedCookie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSealedSite(t, nil)
		v, other := s.signedIn(t, "u1"), s.signedIn(t, "u2")
		start, id := time.Now(), v.id()
		time.Sleep(idle / 2)
		other.user()
		v.user()
		old := v.seen
		time.Sleep(idle / 4)
		v.user()
		deadline := start.Add(lifetime)
		flipped := []byte(v.seen)
		flipped[30] ^= 1
		for what, test := range map[string]struct {
			seen    string
			expires time.Time
		}{
			"own":           {v.seen, start.Add(idle/2 + idle/4 + idle)},
			"old":           {old, start.Add(idle/2 + idle)},
			"none":          {"", start.Add(idle)},
			"other's":       {other.seen, start.Add(idle)},
			"flipped":       {string(flipped), start.Add(idle)},
			"cut":           {v.seen[:len(v.seen)-1], start.Add(idle)},
			"longer":        {v.seen + "A", start.Add(idle)},
			"garbage":       {seenName + "=x", start.Add(idle)},
			"old beside it": {old + "; " + v.seen, start.Add(idle/2 + idle/4 + idle)},
			"planted":       {other.seen + "; " + v.seen, start.Add(idle/2 + idle/4 + idle)},
			"behind many":   {strings.Repeat(seenName+"=x; ", 8) + v.seen, start.Add(idle)},
			"the past":      {seenName + "=" + s.SealSeen(id, start.Add(-time.Hour), start.Add(-time.Minute)), start.Add(idle)},
			"the future":    {seenName + "=" + s.SealSeen(id, start.Add(300*24*time.Hour), start.Add(301*24*time.Hour)), deadline},
		} {
			probe := &visitor{tb: t, m: s.Manager, cookie: v.cookie, seen: test.seen}
			probe.do(func(w http.ResponseWriter, r *http.Request) {
				at := cloakroom.FromContext(r.Context())
				if at.UserID() != "u1" || !at.Expires().Equal(test.expires) || !at.Deadline().Equal(deadline) {
					t.Errorf("%s: the session is %q's until %v, want %v", what, at.UserID(), at.Expires(), test.expires)
				}
			})
		}
		// Whatever the second says, the deadline is the end.
		forever := &visitor{tb: t, m: s.Manager, cookie: v.cookie, seen: seenName + "=" + s.SealSeen(id, deadline.Add(time.Hour), deadline.Add(time.Hour))}
		time.Sleep(time.Until(deadline) - time.Millisecond)
		if probe := *forever; probe.user() != "u1" {
			t.Error("before its deadline the session is over")
		}
		time.Sleep(time.Millisecond)
		s.spy.take()
		if forever.user() != "" {
			t.Error("the session outlives its deadline")
		}
		s.wantCalls(t, "after the deadline")
	})
}

// An outage between a reader's load and the note of its time fails nobody.
func TestPromise08_ATimeThatCannotBeNotedIsALogLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSealedSite(t, nil)
		v := s.signedIn(t, "u1")
		time.Sleep(idle / 2)
		s.spy.on(failAfter("get", 1))
		if w := v.visit(func(*cloakroom.Session) {}); setCookie(t, w) != "" {
			t.Error("a time was noted of a session that may have ended")
		}
		s.log.wantEvent(t, "store_failed")
	})
}

// A07, promise 6: made-up cookies of all lengths and versions never reach the
// tombstones, nor does what has expired.
func TestAttack_A07_MadeUpSealedCookies(t *testing.T) {
	s := newSealedSite(t, &cloakroom.Options{Logger: slog.New(slog.DiscardHandler)})
	real := bytesOf(t, s.signedIn(t, "u1").cookie)
	random := rand.NewChaCha8([32]byte{9})
	h := s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := cloakroom.FromContext(r.Context())
		if at.UserID() != "" {
			t.Error("a made-up cookie is a session")
		}
		if err := at.End(r.Context()); err != nil {
			t.Error(err)
		}
	}))
	r, w := s.visitor(t).request(), &discard{header: http.Header{}}
	for i := range 10_000 {
		raw := make([]byte, 1+i%300)
		_, _ = random.Read(raw)
		if i%2 == 0 {
			copy(raw, real[:min(len(real), 22)]) // version, salt and key of a real one
		}
		r.Header["Cookie"] = []string{cookieName + "=" + base64.RawURLEncoding.EncodeToString(raw)}
		clear(w.header)
		h.ServeHTTP(w, r)
	}
	s.wantCalls(t, "made-up cookies")
	if n := s.spy.Len(); n != 0 {
		t.Errorf("the store holds %d records", n)
	}
}

// Promise 5: the store sees IDs of sessions that have ended, and nothing else of
// anybody; the cookie shows neither values nor user.
func TestPromise05_TombstonesOfSealedSessions(t *testing.T) {
	s := newSealedSite(t, nil)
	v := s.signedIn(t, "user-of-note")
	v.visit(func(s *cloakroom.Session) { word.Set(s, "treasure") })
	raw, id := bytesOf(t, v.cookie), v.id()
	for _, secret := range []string{"user-of-note", "treasure", "word", string(id[:])} {
		if strings.Contains(string(raw), secret) {
			t.Errorf("the cookie shows %q", secret)
		}
	}
	v.visit(func(s *cloakroom.Session) { _ = s.End(t.Context()) })
	rec, _ := s.spy.Get(t.Context(), id)
	if rec.ID != id || rec.Ended.Reason != store.Logout || rec.UserID != "" || rec.Data != nil || rec.Info != nil {
		t.Errorf("the store has %+v", rec)
	}
}

// A store that has a live record under a sealed session's ID is no store of
// tombstones: nobody is let in on its word.
func TestPromise07_ALiveRecordForATombstone(t *testing.T) {
	s := newSealedSite(t, nil)
	v := s.signedIn(t, "u1")
	now := time.Now().Truncate(time.Millisecond)
	if err := s.spy.Store.Put(t.Context(), store.Record{ID: v.id(), Created: now, Seen: now, Expires: now.Add(idle), Deadline: now.Add(lifetime)}); err != nil {
		t.Fatal(err)
	}
	w := v.do(func(http.ResponseWriter, *http.Request) { t.Error("the handler ran") })
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("answer is %d", w.Code)
	}
}

// A long stream asks the tombstones.
func TestSealedSessionsAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSealedSite(t, nil)
		v := s.signedIn(t, "u1")
		v.do(func(w http.ResponseWriter, r *http.Request) {
			at := cloakroom.FromContext(r.Context())
			w.WriteHeader(http.StatusOK)
			if !at.Alive(r.Context()) {
				t.Error("a session in use is not alive")
			}
			time.Sleep(idle - time.Millisecond)
			if !at.Alive(r.Context()) {
				t.Error("before its idle time is over it is not alive")
			}
			time.Sleep(time.Millisecond)
			if at.Alive(r.Context()) {
				t.Error("it is alive beyond what its cookies say")
			}
		})
		v.login("u1")
		v.do(func(w http.ResponseWriter, r *http.Request) {
			at := cloakroom.FromContext(r.Context())
			if err := s.End(t.Context(), at.ID()); err != nil || at.Alive(r.Context()) {
				t.Errorf("ended (%v) it is alive", err)
			}
		})
	})
}

// A slow handler does not bring back what has expired meanwhile.
func TestPromise04_ASealedSessionThatExpiresInTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSealedSite(t, nil)
		for name, change := range map[string]func(*cloakroom.Session){
			"write": func(s *cloakroom.Session) { word.Set(s, "late") },
			"renew": func(s *cloakroom.Session) { s.Renew() },
		} {
			v := s.signedIn(t, "u1")
			w := v.do(func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(idle)
				change(cloakroom.FromContext(r.Context()))
			})
			if w.Code != http.StatusConflict || setCookie(t, w) != "" || v.user() != "" {
				t.Errorf("%s: answer is %d", name, w.Code)
			}
		}
	})
}

// The keys are those of sealed sessions alone: a Manager of stored ones that shares
// ring and store takes nothing of theirs.
func TestSealedAndStoredSideBySide(t *testing.T) {
	s := newSealedSite(t, nil)
	stored := newManager(t, s.spy, s.ring, nil)
	sealed := s.signedIn(t, "u1")
	v := &visitor{tb: t, m: stored}
	v.login("u2")
	for _, probe := range []*visitor{{tb: t, m: stored, cookie: sealed.cookie}, {tb: t, m: s.Manager, cookie: v.cookie}} {
		if user := probe.user(); user != "" {
			t.Errorf("a cookie of the one is %q's at the other", user)
		}
	}
	if sealed.user() != "u1" || v.user() != "u2" {
		t.Error("side by side they do not work")
	}
}
