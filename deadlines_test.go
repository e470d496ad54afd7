package cloakroom_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
)

const (
	idle     = cloakroom.DefaultIdleTimeout
	lifetime = cloakroom.DefaultLifetime
)

// keepAlive makes requests every ten minutes, the last one exactly d from now.
func keepAlive(v *visitor, d time.Duration) {
	end := time.Now().Add(d)
	for {
		time.Sleep(min(10*time.Minute, time.Until(end)))
		if !time.Now().Before(end) {
			return
		}
		v.user()
	}
}

func TestASVS_7_3_1_AnIdleSessionEnds(t *testing.T) { both(t, testASVS_7_3_1_AnIdleSessionEnds) }

func testASVS_7_3_1_AnIdleSessionEnds(t *testing.T, newSite siteMaker) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		v := s.signedIn(t, "u1")
		time.Sleep(idle - time.Millisecond)
		if v.user() != "u1" {
			t.Fatal("session ended a millisecond before its idle timeout")
		}
		time.Sleep(idle - time.Millisecond)
		if v.user() != "u1" {
			t.Fatal("activity did not move the idle timeout")
		}
		time.Sleep(idle)
		if v.user() != "" {
			t.Fatal("session lives at its idle timeout")
		}
		// And it does not come back by being asked for.
		if v.user() != "" {
			t.Fatal("an expired session was revived by a request")
		}
	})
}

// The idle timeout is stated as 0.9 to 1.0 of the option, as activity is noted
// once a tenth of it only.
func TestPromise04_TheEffectiveIdleTimeoutIsBetween09And10(t *testing.T) {
	both(t, testPromise04_TheEffectiveIdleTimeoutIsBetween09And10)
}

func testPromise04_TheEffectiveIdleTimeoutIsBetween09And10(t *testing.T, newSite siteMaker) {
	for _, last := range []time.Duration{
		0, time.Millisecond, idle/10 - time.Millisecond, idle / 10, idle/10 + time.Millisecond, idle / 2,
	} {
		ends := idle
		if last < idle/10 {
			ends -= last // not noted: the session ends an idle timeout after the login
		}
		if ends < idle*9/10 || ends > idle {
			t.Errorf("effective idle timeout is %v", ends)
		}
		for after, want := range map[time.Duration]string{ends - time.Millisecond: "u1", ends: ""} {
			synctest.Test(t, func(t *testing.T) {
				v := newSite(t, nil).signedIn(t, "u1")
				time.Sleep(last)
				v.user() // the last activity, that long after the login
				time.Sleep(after)
				if got := v.user(); got != want {
					t.Errorf("last seen %v after the login: %v later the user is %q, want %q", last, after, got, want)
				}
			})
		}
	}
}

func TestASVS_7_3_2_ASessionEndsWhateverTheActivity(t *testing.T) {
	both(t, testASVS_7_3_2_ASessionEndsWhateverTheActivity)
}

func testASVS_7_3_2_ASessionEndsWhateverTheActivity(t *testing.T, newSite siteMaker) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		v := s.signedIn(t, "u1")
		keepAlive(v, lifetime-time.Millisecond)
		if v.user() != "u1" {
			t.Fatal("session ended a millisecond before its deadline")
		}
		time.Sleep(time.Millisecond)
		if v.user() != "" {
			t.Fatal("session lives at its deadline")
		}
	})
}

// Writing is activity as well, and moves the deadline no more than reading does.
func TestPromise04_WritingMovesTheIdleTimeAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		v := s.signedIn(t, "u1")
		deadline := s.spy.live(t)[0].Deadline
		for range int(lifetime / (25 * time.Minute)) {
			time.Sleep(25 * time.Minute)
			v.visit(func(s *cloakroom.Session) { count.Update(s, func(n int) int { return n + 1 }) })
			rec := s.spy.live(t)[0]
			if !rec.Deadline.Equal(deadline) {
				t.Fatalf("deadline moved from %v to %v", deadline, rec.Deadline)
			}
			if want := time.Now().Add(idle); !rec.Expires.Equal(want) && !rec.Expires.Equal(deadline) {
				t.Fatalf("session seen at %v expires at %v", time.Now(), rec.Expires)
			}
			if rec.Expires.After(deadline) {
				t.Fatalf("session expires at %v, after its deadline %v", rec.Expires, deadline)
			}
		}
		time.Sleep(time.Until(deadline))
		if v.user() != "" {
			t.Fatal("session lives at its deadline")
		}
	})
}

func TestPromise04_RenewingMovesNeitherDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		v := s.signedIn(t, "u1")
		before := s.spy.live(t)[0]
		end := time.Now().Add(lifetime)
		for time.Until(end) > 20*time.Minute {
			time.Sleep(20 * time.Minute)
			old := v.cookie
			v.visit(func(s *cloakroom.Session) { s.Renew() })
			if v.cookie == old {
				t.Fatal("the token stayed")
			}
			after := s.spy.live(t)
			if len(after) != 1 || !after[0].Created.Equal(before.Created) || !after[0].Deadline.Equal(before.Deadline) {
				t.Fatalf("renewing made of %+v\n%+v", before, after)
			}
			// It is a request like any other: no later than an idle timeout from it.
			if after[0].Expires.After(time.Now().Add(idle)) {
				t.Fatalf("session renewed at %v expires at %v", time.Now(), after[0].Expires)
			}
		}
		time.Sleep(time.Until(end) - time.Millisecond)
		if v.user() != "u1" {
			t.Error("renewing shortened the session")
		}
		time.Sleep(time.Millisecond)
		if v.user() != "" {
			t.Error("renewing prolonged the session")
		}
	})
}

func TestPromise04_AFreshProofStartsBothDeadlinesAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		v := s.signedIn(t, "u1")
		keepAlive(v, 20*time.Hour)
		v.login("u1")
		rec := s.spy.live(t)[0]
		if now := time.Now(); !rec.Created.Equal(now) || !rec.Deadline.Equal(now.Add(lifetime)) || !rec.Expires.Equal(now.Add(idle)) {
			t.Errorf("at %v the record is %+v", now, rec)
		}
		v.visit(func(s *cloakroom.Session) {
			if !s.AuthTime().Equal(time.Now()) || !s.Created().Equal(time.Now()) || !s.Expires().Equal(time.Now().Add(idle)) {
				t.Errorf("session proven at %v, created %v, expires %v", s.AuthTime(), s.Created(), s.Expires())
			}
		})
		keepAlive(v, lifetime-time.Millisecond)
		if v.user() != "u1" {
			t.Error("the deadline of before the login was kept")
		}
		time.Sleep(time.Millisecond)
		if v.user() != "" {
			t.Error("session lives at its second deadline")
		}
	})
}

// An anonymous session has its deadlines too, and its login starts both.
func TestPromise04_AnonymousSessionsEndAsWell(t *testing.T) {
	both(t, testPromise04_AnonymousSessionsEndAsWell)
}

func testPromise04_AnonymousSessionsEndAsWell(t *testing.T, newSite siteMaker) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		v := s.visitor(t)
		v.visit(func(s *cloakroom.Session) { word.Set(s, "x") })
		time.Sleep(idle)
		v.visit(func(s *cloakroom.Session) {
			if word.GetOr(s, "") != "" {
				t.Error("an anonymous session lives at its idle timeout")
			}
		})
	})
}

// What a client may do to its cookie changes nothing: the deadlines are the
// server's, and attributes are not sent back at all (RFC 6265bis §5.8.3).
func TestPromise04_EditedCookieAttributesChangeNothing(t *testing.T) {
	both(t, testPromise04_EditedCookieAttributesChangeNothing)
}

func testPromise04_EditedCookieAttributesChangeNothing(t *testing.T, newSite siteMaker) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, &cloakroom.Options{Persistent: true})
		v := s.signedIn(t, "u1")
		plain := v.cookie
		spellings := []string{
			plain + "; Max-Age=99999999; Expires=Fri, 31 Dec 9999 23:59:59 GMT; Path=/; Secure; HttpOnly",
			"$Version=1; " + plain + "; $Path=/; $Domain=example.com",
			"Max-Age=99999999; " + plain,
		}
		time.Sleep(idle - time.Second)
		for _, c := range spellings {
			if probe := (&visitor{tb: t, m: s.Manager, cookie: c}); probe.user() != "u1" {
				t.Errorf("with %q the session is not found", c)
			}
		}
		time.Sleep(idle)
		for _, c := range append(spellings, plain) {
			if probe := (&visitor{tb: t, m: s.Manager, cookie: c}); probe.user() != "" {
				t.Errorf("with %q the session outlives its idle timeout", c)
			}
		}
	})
}

// Neither what the store does about expiry nor what it says counts: here one
// that keeps all, and claims another end of the idle time than it was given.
func TestPromise04_AStoreThatKeepsExpiredRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		v := s.signedIn(t, "u1")
		time.Sleep(10 * lifetime)
		if n := len(s.spy.live(t)); n != 1 {
			t.Fatalf("store keeps %d records, the test needs the one", n)
		}
		if v.user() != "" {
			t.Error("session lives as long as its store keeps it")
		}
		if infos, err := s.List(t.Context(), "u1"); len(infos) != 0 || err != nil {
			t.Errorf("expired sessions are listed: %v, %v", infos, err)
		}
		s.spy.lie(func(r store.Record) store.Record {
			r.Expires = time.Now().Add(time.Hour) // past its deadline
			return r
		})
		if v.user() != "" {
			t.Error("a store that prolongs the idle time prolongs the deadline")
		}
	})
}

// An expired load ends nothing: a clock that was wrong for a moment would
// otherwise end sessions for good.
func TestPromise04_AnExpiredLoadEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		v := s.signedIn(t, "u1")
		cookie := v.cookie
		time.Sleep(idle)
		w := v.visit(func(s *cloakroom.Session) {
			if s.UserID() != "" || !s.ID().IsZero() || !s.New() || s.Late() {
				t.Error("an expired session is somebody")
			}
		})
		s.wantCalls(t, "expired load", "get")
		if c := setCookie(t, w); c != "" || v.cookie != cookie {
			t.Errorf("expired load set %q", c)
		}
		if n := len(s.spy.live(t)); n != 1 {
			t.Errorf("after an expired load %d records are left", n)
		}
		// Who stores something begins a new session, beside the old record.
		v.visit(func(s *cloakroom.Session) { word.Set(s, "new") })
		if n := len(s.spy.live(t)); n != 2 {
			t.Errorf("store has %d live records", n)
		}
	})
}

// No two Managers agree on the time to the second. A record that another one has
// just seen, in our future, is neither prolonged nor ended by us.
func TestAttack_A43_ClocksThatDiffer(t *testing.T) {
	site := newSite(t, nil)
	st := site.spy
	ahead := site.signedIn(t, "u1") // today
	token := ahead.cookie
	// A clock that is decades behind: time in the bubble begins in 2000.
	synctest.Test(t, func(t *testing.T) {
		deadline := st.live(t)[0].Deadline
		v := &visitor{tb: t, m: site.Manager, cookie: token}
		if v.user() != "u1" {
			t.Error("a clock that is behind ended a session")
		}
		if got := st.take(); !slices.Equal(got, []string{"get"}) {
			t.Errorf("a clock that is behind called the store %q", got)
		}
		v.visit(func(s *cloakroom.Session) { word.Set(s, "x") })
		rec := st.live(t)[0]
		if !rec.Deadline.Equal(deadline) || rec.Expires.After(deadline) {
			t.Errorf("a clock that is behind moved the deadline: %+v", rec)
		}
	})
	if ahead.user() != "u1" {
		t.Error("after a clock that was behind the session is gone")
	}

	// A clock that is decades ahead: what began in 2000 has expired today. It
	// says so, and leaves the record to those whose clock is right.
	var old *visitor
	synctest.Test(t, func(t *testing.T) {
		old = &visitor{tb: t, m: site.Manager}
		old.login("u2")
		if old.user() != "u2" {
			t.Error("not signed in")
		}
	})
	st.take()
	old.tb = t
	if old.user() != "" {
		t.Error("session of decades ago lives")
	}
	if got := st.take(); !slices.Equal(got, []string{"get"}) {
		t.Errorf("a clock that is ahead called the store %q", got)
	}
	if n := len(st.live(t)); n != 2 {
		t.Errorf("a clock that is ahead left %d records of two", n)
	}
}

// A step of the clock by a few minutes ends nobody who is active.
func TestAttack_A43_AStepForwardEndsOnlyTheIdle(t *testing.T) {
	both(t, testAttack_A43_AStepForwardEndsOnlyTheIdle)
}

func testAttack_A43_AStepForwardEndsOnlyTheIdle(t *testing.T, newSite siteMaker) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		active, away := s.signedIn(t, "u1"), s.signedIn(t, "u2")
		keepAlive(active, 25*time.Minute)
		active.user()
		time.Sleep(5 * time.Minute) // as if the clock had stepped
		if active.user() != "u1" || away.user() != "" {
			t.Errorf("after a step of five minutes: active %q, away %q", active.user(), away.user())
		}
	})
}

func TestSweepForgetsWhatHasExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		s.signedIn(t, "u1")
		time.Sleep(idle + store.Slack - 30*time.Second)
		s.signedIn(t, "u2")
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Sweep(ctx, 0) }() // every minute
		synctest.Wait()
		if n := len(s.spy.live(t)); n != 2 {
			t.Errorf("before its time a record is forgotten: %d left", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if recs := s.spy.live(t); len(recs) != 1 || recs[0].UserID != "u2" {
			t.Errorf("live records are %v", recs)
		}
		s.spy.on(func(context.Context, string) error { return errors.New("disk on fire") })
		time.Sleep(time.Minute)
		synctest.Wait()
		if line := s.log.wantEvent(t, "sweep_failed"); line["err"] != "disk on fire" || line["level"] != "ERROR" {
			t.Errorf("log line is %v", line)
		}
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Sweep returned %v", err)
		}
	})
}

// forgetful is a store that forgets by itself: it has no Sweep.
type forgetful struct{ store.Store }

func TestSweepOfAStoreThatForgetsByItself(t *testing.T) {
	m := newManager(t, forgetful{memstore.New(nil)}, newSite(t, nil).ring, nil)
	if err := m.Sweep(t.Context(), time.Hour); err != nil {
		t.Error(err)
	}
}

// A cookie says nothing about the session's end but where it is persistent, and
// then the deadline, not the idle timeout.
func TestPromise04_APersistentCookieLastsUntilTheDeadline(t *testing.T) {
	both(t, testPromise04_APersistentCookieLastsUntilTheDeadline)
}

func testPromise04_APersistentCookieLastsUntilTheDeadline(t *testing.T, newSite siteMaker) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, &cloakroom.Options{Persistent: true, Lifetime: 2 * time.Hour})
		v := s.visitor(t)
		maxAge := func(w http.Header) string {
			_, after, _ := strings.Cut(w.Get("Set-Cookie"), "; Max-Age=")
			return after
		}
		w := v.visit(func(s *cloakroom.Session) { s.Login(cloakroom.Identity{UserID: "u1"}) })
		if got := maxAge(w.Header()); got != "7200" {
			t.Errorf("Max-Age is %q", got)
		}
		time.Sleep(20 * time.Minute)
		w = v.visit(func(s *cloakroom.Session) { s.Renew() })
		if got := maxAge(w.Header()); got != "6000" {
			t.Errorf("after twenty minutes Max-Age of a renewed token is %q", got)
		}
	})
}
