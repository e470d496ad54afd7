package fleet_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
)

const (
	task  = "rotation"
	lease = 30 * time.Second
)

// leads takes the lease, and tells whether it is the holder's.
func leads(t *testing.T, f *fleet.Fleet, holder string, now time.Time) bool {
	t.Helper()
	until, err := f.Lead(t.Context(), task, holder, now, lease)
	must(t, err)
	if !until.IsZero() && until.Sub(now) != lease-5*time.Second {
		t.Errorf("it leads for %v", until.Sub(now))
	}
	return !until.IsZero()
}

func TestLeaseIsOneHolders(t *testing.T) {
	each(t, func(t *testing.T, open func() (*fleet.Fleet, database)) {
		f, db := open()
		g, _ := open()
		now := time.Now()
		check := func(what string, got, want bool) {
			t.Helper()
			if got != want {
				t.Errorf("%s: leads %t, want %t", what, got, want)
			}
		}
		check("a, first", leads(t, f, "a", now), true)
		check("b, beside it", leads(t, g, "b", now), false)
		check("a, again", leads(t, f, "a", now.Add(10*time.Second)), true)
		check("b, when the first lease would have ended", leads(t, g, "b", now.Add(lease)), false)
		check("b, when the second has", leads(t, g, "b", now.Add(lease+10*time.Second)), true)
		check("a, late", leads(t, f, "a", now.Add(lease+11*time.Second)), false)
		must(t, f.Release(t.Context(), task, "a"))
		check("a, after giving back what is not its own", leads(t, f, "a", now.Add(lease+12*time.Second)), false)
		must(t, g.Release(t.Context(), task, "b"))
		check("a, after b gave it back", leads(t, f, "a", now.Add(lease+13*time.Second)), true)
		must(t, f.Release(t.Context(), task, "a"))
		// A clock that was wrong for a moment stops nobody for years.
		check("a, in two years", leads(t, f, "a", now.Add(2*365*24*time.Hour)), true)
		check("b, today", leads(t, g, "b", now), true)
		check("a, today", leads(t, f, "a", now), false)
		// Nor does one who writes to the database: no lease is that long.
		if n, err := db.Exec(t.Context(), db.Dialect().SQL("UPDATE cloakroom_leases SET holder = 'x', until_at = ?"), now.Add(55*time.Minute).UnixMilli()); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		check("b, beside a lease that nobody has", leads(t, g, "b", now), true)
		// Tasks are apart.
		if until, err := f.Lead(t.Context(), "other", "a", now, lease); err != nil || until.IsZero() {
			t.Errorf("another task: %v, %v", until, err)
		}
	})
}

// Of eight contenders exactly one acts at any moment, while they give back and prolong
// as they like.
func TestEightContendersOneLeader(t *testing.T) {
	each(t, func(t *testing.T, open func() (*fleet.Fleet, database)) {
		var (
			acting, turns, leaders atomic.Int32
			last                   atomic.Value
			wg                     sync.WaitGroup
			start                  = make(chan struct{})
		)
		last.Store("")
		for n := range 8 {
			f, _ := open()
			holder := fmt.Sprint("instance ", n)
			wg.Go(func() {
				<-start
				for turns.Load() < 40 && !t.Failed() {
					until, err := f.Lead(t.Context(), task, holder, time.Now(), lease)
					if err != nil {
						t.Error(err)
						return
					}
					if time.Now().Before(until) {
						if acting.Add(1) != 1 {
							t.Error("two act at a time")
						}
						time.Sleep(time.Duration(rand.IntN(5)) * time.Millisecond)
						turns.Add(1)
						if last.Swap(holder) != holder {
							leaders.Add(1)
						}
						acting.Add(-1)
						if rand.IntN(2) == 0 || turns.Load() >= 40 {
							if err := f.Release(t.Context(), task, holder); err != nil {
								t.Error(err)
							}
						}
					}
					time.Sleep(time.Duration(rand.IntN(5)) * time.Millisecond)
				}
			})
		}
		close(start)
		wg.Wait()
		if leaders.Load() < 2 {
			t.Errorf("%d turns by %d leaders: nothing was shown", turns.Load(), leaders.Load())
		}
	})
}

// What somebody has written into a lease by hand, and SQLite takes, is no lease.
func TestAttack_A43_WhatIsNoTimeIsNoLease(t *testing.T) {
	t.Parallel()
	f, db := open(t, 0, kinds[0].Address(t))
	for i, value := range []string{"'abc'", "''", "x'ff00'", "1e30"} {
		holder := string(rune('a' + i))
		leads(t, f, "z", time.Now())
		if n, err := db.Exec(t.Context(), "UPDATE cloakroom_leases SET until_at = "+value); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if !leads(t, f, holder, time.Now()) {
			t.Errorf("%s: nobody leads any more", value)
		}
		must(t, f.Release(t.Context(), task, holder))
	}
}
