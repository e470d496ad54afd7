package sqlstore

import (
	"context"
	"fmt"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// sweepBatch is how many rows a sweep handles in one statement: a few
// milliseconds, which a request may have to wait.
const sweepBatch = 200

// Sweep forgets what may be forgotten; see [store.Sweeper]. It works in small
// steps, so that requests wait for a few milliseconds at most, and costs
// what it forgets and not what is stored. Several processes may sweep at once.
// What it returns with an error it has forgotten all the same.
func (s *Store) Sweep(ctx context.Context, now time.Time) (int, error) {
	var clock int64
	if err := s.db.Reader().QueryRowContext(ctx, s.sql.clock).Scan(&clock); err != nil {
		return 0, fmt.Errorf("sqlstore: sweep: read the database's clock: %w", err)
	}
	if off := now.Sub(at(clock)); off.Abs() > store.Slack {
		return 0, fmt.Errorf("sqlstore: sweep refused: the time given differs from the database's by %v, more than %v: "+
			"set both clocks right", off.Round(time.Second), store.Slack)
	}
	before := now.Add(-store.Slack).UnixMilli()
	total := 0
	for {
		forgot, err := s.db.Exec(ctx, s.sql.sweepDelete, before, sweepBatch, before)
		if err != nil {
			return total, fmt.Errorf("sqlstore: sweep: %w", err)
		}
		total += forgot
		if forgot == sweepBatch {
			continue
		}
		// What was due and is still here was touched since: it is due later.
		deferred, err := s.db.Exec(ctx, s.sql.sweepDefer, before, sweepBatch-forgot)
		if err != nil {
			return total, fmt.Errorf("sqlstore: sweep: %w", err)
		}
		if forgot+deferred < sweepBatch {
			return total, nil
		}
	}
}

// Overdue returns how many rows have been due to be forgotten since before a time, and
// limit where there are more: many, if nobody calls [Store.Sweep]. It only reads, so that
// it can be called over a connection that may not write, as [New] can where the tables
// are those of this version.
func (s *Store) Overdue(ctx context.Context, before time.Time, limit int) (n int, err error) {
	if err := s.db.Reader().QueryRowContext(ctx, s.sql.overdue, before.UnixMilli(), limit).Scan(&n); err != nil {
		return 0, fmt.Errorf("sqlstore: count what is overdue: %w", err)
	}
	return n, nil
}
