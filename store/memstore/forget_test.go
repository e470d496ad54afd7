package memstore_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
)

// TestMemoryIsGivenBack fills a store and empties it, by ending and by sweeping.
func TestMemoryIsGivenBack(t *testing.T) {
	const sessions = 100_000
	st := memstore.New(nil)
	fill(t, st, 0, 1000, oneEach) // what it has to begin with
	before := heap()
	r := record(0, "")
	r.Expires = time.Now().Add(-2 * time.Minute)
	for i := range sessions {
		r.ID, r.UserID, r.Data = id(1000+i), oneEach(i), make([]byte, 100)
		if err := st.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	full := heap()
	for i := range sessions / 2 {
		if err := st.End(t.Context(), id(1000+i), 0, store.Ended{}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	half := heap()
	if n, err := st.Sweep(t.Context(), time.Now().Add(4*time.Minute)); n != sessions/2 || err != nil {
		t.Fatalf("Sweep: %d, %v, want %d", n, err, sessions/2)
	}
	swept := heap()
	t.Logf("bytes of %d sessions: %d; half of them ended: %d; the others swept: %d",
		sessions, full-before, half-before, swept-before)
	if per := (full - before) / sessions; per > 250+112 {
		t.Errorf("a session takes %d bytes beside its 112 of Data, want at most 250", per-112)
	}
	if max := (full-before)*5/8 + 1<<20; half-before > max {
		t.Errorf("%d bytes after half of the sessions have ended, want at most %d", half-before, max)
	}
	if max := int64(sessions/2*90 + 1<<20); swept-before > max {
		t.Errorf("%d bytes for %d tombstones, want at most %d", swept-before, sessions/2, max)
	}
	runtime.KeepAlive(st)
}

// TestForeignMemoryIsNotKept gives user IDs that are part of something large.
func TestForeignMemoryIsNotKept(t *testing.T) {
	st := memstore.New(nil)
	before := heap()
	for i := range 50 {
		body := strings.Repeat(oneEach(i), 50_000) // 1.2 MB
		if err := st.Put(t.Context(), record(i, body[:24])); err != nil {
			t.Fatal(err)
		}
	}
	if kept := heap() - before; kept > 4<<20 {
		t.Errorf("50 sessions keep %d bytes", kept)
	}
	runtime.KeepAlive(st)
}

// TestForgetsByItself is a program that never sweeps: what it keeps stays bounded
// by what it must keep, and of that nothing is forgotten.
func TestForgetsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(nil)
		ctx := t.Context()
		lasting := record(0, "alice")
		lasting.Deadline = lasting.Created.Add(1000 * time.Hour)
		lasting.Expires = lasting.Deadline
		if err := st.Put(ctx, lasting); err != nil {
			t.Fatal(err)
		}
		if err := st.End(ctx, id(1), 0, store.Ended{}, lasting.Deadline); !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
		const each = 5000
		for round := range 10 {
			from := 10 + round*each
			fill(t, st, from, from+each, fourEach)
			// The half of them ends, so that tombstones are there as well.
			for i := from; i < from+each; i += 2 {
				if err := st.End(ctx, id(i), 0, store.Ended{}, time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(25 * time.Hour) // all are over now, tombstones as well
			if n := st.Len(); n > 2*each {
				t.Fatalf("round %d: the store holds %d records, want at most twice the %d that live", round, n, each)
			}
		}
		if _, err := st.Get(ctx, lasting.ID); err != nil {
			t.Errorf("Get of a session that lives: %v", err)
		}
		if _, err := st.Get(ctx, id(1)); !errors.Is(err, store.ErrEnded) {
			t.Errorf("Get of a tombstone that has time left: %v", err)
		}
	})
}

// TestNothingIsForgottenEarly lets everything come to just below its time.
func TestNothingIsForgottenEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(nil)
		fill(t, st, 0, 1000, fourEach) // idle after 30 minutes
		time.Sleep(35 * time.Minute)
		fill(t, st, 1000, 5000, fourEach) // each forgets a little
		for i := range 1000 {
			if _, err := st.Get(t.Context(), id(i)); err != nil {
				t.Fatalf("Get %v after Expires: %v", store.Slack, err)
			}
		}
		time.Sleep(time.Millisecond)
		if n, err := st.Sweep(t.Context(), time.Now()); n != 1000 || err != nil {
			t.Errorf("Sweep a millisecond later: %d, %v, want 1000", n, err)
		}
	})
}

// A counter is a context that is asked before each step of a sweep.
type counter struct {
	context.Context
	ask func() error
}

func (c counter) Err() error { return c.ask() }

// TestSweepGoesInSmallSteps looks how much is forgotten under one lock.
func TestSweepGoesInSmallSteps(t *testing.T) {
	const sessions = 50_000
	st := memstore.New(nil)
	r := record(0, "")
	r.Expires = time.Now().Add(-2 * time.Minute)
	for i := range sessions {
		r.ID, r.UserID = id(i), fourEach(i)
		if err := st.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	before, most, steps := st.Len(), 0, 0
	ctx := counter{t.Context(), func() error {
		most = max(most, before-st.Len())
		before = st.Len()
		steps++
		return nil
	}}
	if n, err := st.Sweep(ctx, time.Now().Add(4*time.Minute)); n != sessions || err != nil {
		t.Fatalf("Sweep: %d, %v", n, err)
	}
	// A step ends with a bucket; and while the table shrinks, a bucket may hold
	// what was in some before.
	if most == 0 || most > 64 {
		t.Errorf("a step forgets up to %d records, want at most 64", most)
	}
	t.Logf("%d steps, the largest forgets %d records", steps, most)
}

func TestSweepHeedsContext(t *testing.T) {
	const sessions = 10_000
	st := memstore.New(nil)
	r := record(0, "")
	r.Expires = time.Now().Add(-2 * time.Minute)
	for i := range sessions {
		r.ID = id(i)
		if err := st.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	left := 100
	ctx := counter{t.Context(), func() error {
		if left--; left < 0 {
			return context.Canceled
		}
		return nil
	}}
	now := time.Now().Add(4 * time.Minute)
	n, err := st.Sweep(ctx, now)
	if !errors.Is(err, context.Canceled) || n == 0 || n == sessions || n+st.Len() != sessions {
		t.Errorf("Sweep: %d, %v, and %d are left of %d", n, err, st.Len(), sessions)
	}
	if rest, err := st.Sweep(t.Context(), now); n+rest != sessions || err != nil {
		t.Errorf("the next Sweep: %d, %v, want %d", rest, err, sessions-n)
	}
}

// TestSweepMissesNothing sweeps while the tables grow and shrink.
func TestSweepMissesNothing(t *testing.T) {
	const old, fresh = 20_000, 60_000
	st := memstore.New(nil)
	r := record(0, "")
	r.Expires = time.Now().Add(-2 * time.Minute)
	for i := range old {
		r.ID, r.UserID = id(i), fourEach(i)
		if err := st.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	fill(t, st, old, old+1000, fourEach)
	var running sync.WaitGroup
	running.Go(func() { fill(t, st, old+1000, old+fresh, fourEach) })
	n, err := st.Sweep(t.Context(), time.Now().Add(4*time.Minute))
	if n != old || err != nil {
		t.Errorf("Sweep: %d, %v, want %d", n, err, old)
	}
	running.Wait()
	if n := st.Len(); n != fresh {
		t.Errorf("the store holds %d records, want %d", n, fresh)
	}
}
