package sqlstore_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// expired returns a record whose idle time ended so long ago.
func expired(user string, ago time.Duration) store.Record {
	r := record(user)
	now := r.Seen
	r.Created, r.Seen, r.Expires = now.Add(-time.Hour), now.Add(-time.Hour), now.Add(-ago)
	return r
}

// TestSweepForgets: neither early nor what was touched since.
func TestSweepForgets(t *testing.T) { each(t, proveSweepForgets) }

func proveSweepForgets(t *testing.T, db database) {
	s := db.Store()
	ctx, now := t.Context(), time.Now()
	kept := put(t, s, expired("kept", store.Slack-time.Minute))
	gone := put(t, s, expired("gone", store.Slack+time.Second))
	touched := put(t, s, expired("touched", store.Slack+time.Second))
	if err := s.Touch(ctx, touched.ID, now, now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	live := put(t, s, record("live"))

	tomb := func(until time.Duration) store.ID {
		t.Helper()
		r := expired("", time.Minute)
		r.Deadline = r.Expires
		r.Expires = r.Deadline.Add(-time.Second)
		put(t, s, r)
		if err := s.End(ctx, r.ID, 0, why(), now.Add(until)); err != nil {
			t.Fatal(err)
		}
		return r.ID
	}
	oldTomb, newTomb := tomb(-store.Slack-time.Second), tomb(-2*time.Second)
	// The Deadline is a minute ago: a tombstone lives at least that long.
	for range 2 { // the second finds nothing more
		_, err := s.Sweep(ctx, now)
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		id   store.ID
		want error
	}{
		{"expired within the slack", kept.ID, nil},
		{"expired before it", gone.ID, store.ErrNotFound},
		{"touched since", touched.ID, nil},
		{"live", live.ID, nil},
		{"tombstone whose until is past but not the deadline", oldTomb, store.ErrEnded},
		{"tombstone", newTomb, store.ErrEnded},
	} {
		if _, err := s.Get(ctx, c.id); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	// Four minutes later, at most the slack away from the database's clock.
	n, err := s.Sweep(ctx, now.Add(store.Slack-time.Second))
	if n != 3 || err != nil {
		t.Errorf("forgot %d, %v, want the one within the slack and both tombstones", n, err)
	}
}

// TestSweepOfAnUnknownID: a tombstone without a session is forgotten as well.
func TestSweepOfAnUnknownID(t *testing.T) { each(t, proveSweepOfAnUnknownID) }

func proveSweepOfAnUnknownID(t *testing.T, db database) {
	s := db.Store()
	now := time.Now()
	if err := s.End(t.Context(), store.ID{1}, 0, why(), now.Add(-store.Slack-time.Second)); !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), store.ID{1}); !errors.Is(err, store.ErrEnded) {
		t.Fatal(err)
	}
	if n, err := s.Sweep(t.Context(), now); n != 1 || err != nil {
		t.Errorf("forgot %d, %v, want 1", n, err)
	}
}

// TestSweepRefusesAWrongClock: it would end every session at once.
func TestSweepRefusesAWrongClock(t *testing.T) { each(t, proveSweepRefusesAWrongClock) }

func proveSweepRefusesAWrongClock(t *testing.T, db database) {
	s := db.Store()
	r := put(t, s, expired("alice", store.Slack+time.Second))
	for _, off := range []time.Duration{store.Slack + time.Second, -store.Slack - time.Second, 24 * time.Hour, -24 * 365 * time.Hour} {
		if n, err := s.Sweep(t.Context(), time.Now().Add(off)); err == nil || n != 0 {
			t.Errorf("a clock that is off by %v forgot %d", off, n)
		}
	}
	if _, err := s.Get(t.Context(), r.ID); err != nil {
		t.Error(err)
	}
}

// TestSweepInSmallSteps: many rows are forgotten in many transactions, between
// which requests come in, and what is due but touched is looked at once.
func TestSweepInSmallSteps(t *testing.T) {
	db := &spy{DB: open(t)}
	s, err := sqlstore.New(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	ctx, now := t.Context(), time.Now()
	const rows = 2000
	err = db.Write(ctx, func(ctx context.Context, tx sqlstore.Queryer) error {
		// Every second row was touched and lives on.
		_, err := tx.ExecContext(ctx, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
			INSERT INTO cloakroom_session
			SELECT randomblob(32), 1, 0, 0, CASE i % 2 WHEN 0 THEN ?2 ELSE 1000 END, ?2, 1000, 0, 0, x'', x'', randomblob(300) FROM n`,
			rows, now.Add(time.Hour).UnixMilli())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	db.take()

	var (
		wg      sync.WaitGroup
		done    atomic.Bool
		slowest time.Duration
		between int
	)
	wg.Go(func() {
		for !done.Load() {
			start := time.Now()
			if err := s.Put(ctx, record("")); err != nil {
				t.Error(err)
				return
			}
			slowest = max(slowest, time.Since(start))
			between++
		}
	})
	n, err := s.Sweep(ctx, time.Now())
	done.Store(true)
	wg.Wait()
	if n != rows/2 || err != nil {
		t.Errorf("forgot %d, %v, want %d", n, err, rows/2)
	}
	if between < 3 {
		t.Errorf("%d writes came in between, the sweep must make room", between)
	}
	t.Logf("%d writes in between, the slowest took %v", between, slowest)
	steps := 0
	for _, c := range db.take() {
		if strings.HasPrefix(c.query, "DELETE") {
			steps++
		}
	}
	if steps < rows/250 {
		t.Errorf("%d rows in %d transactions, want at most 250 in one", rows, steps)
	}
	if n, err := s.Sweep(ctx, time.Now()); n != 0 || err != nil {
		t.Errorf("a second sweep forgot %d, %v", n, err)
	}
	if ran := db.take(); len(ran) != 3 {
		t.Errorf("a second sweep ran %d statements: what was touched is still due", len(ran))
	}
}

// TestOverdue: what nobody has swept is counted, up to a limit.
func TestOverdue(t *testing.T) { each(t, proveOverdue) }

func proveOverdue(t *testing.T, db database) {
	s := db.Store()
	now := time.Now()
	for range 3 {
		put(t, s, expired("gone", 2*time.Hour))
	}
	put(t, s, expired("later", time.Minute))
	put(t, s, record("live"))
	for _, c := range []struct {
		ago         time.Duration
		limit, want int
	}{{time.Hour, 10, 3}, {time.Hour, 2, 2}, {0, 10, 4}, {3 * time.Hour, 10, 0}} {
		if n, err := s.Overdue(t.Context(), now.Add(-c.ago), c.limit); err != nil || n != c.want {
			t.Errorf("%v ago, at most %d: %d, %v, want %d", c.ago, c.limit, n, err, c.want)
		}
	}
}
