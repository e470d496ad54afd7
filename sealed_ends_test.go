package cloakroom_test

import (
	"log/slog"
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
