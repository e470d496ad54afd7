package sqlthrottle

import (
	"cmp"
	"context"
	"fmt"
	"math"

	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
	"github.com/cloakroom-dev/cloakroom/throttle"
)

// Settle does what is due to each lane; see [throttle.Store]. One statement takes
// away the rows of which nothing is left, which mostly are all of them; then each
// of the others is one more. None of these finds a row that the first has taken
// away: the numbers of its counts are in no other.
func (s *Store) Settle(ctx context.Context, back []throttle.Return) error {
	if len(back) == 0 {
		return nil
	}
	err := s.settle(ctx, s.db.Exec, back)
	if err != nil {
		return fmt.Errorf("sqlthrottle: settle: %w", err)
	}
	return nil
}

func (s *Store) settle(ctx context.Context, exec execFunc, back []throttle.Return) error {
	var (
		conditions []string
		args       []any
	)
	for i := range back {
		condition, with := gone(&back[i])
		conditions, args = append(conditions, condition), append(args, with...)
	}
	n, err := exec(ctx, s.sql.remove(conditions), args...)
	if err != nil || n == len(back) {
		return err
	}
	for i := range back {
		r := &back[i]
		switch r.How {
		case throttle.Give:
			_, err = exec(ctx, s.sql.give, giveArgs(r)...)
		case throttle.ClearTotal:
			lock, run := lockOf(r)
			_, err = exec(ctx, s.sql.clearTotal, throttle.Fresh(), int64(throttle.Never), later(r), r.Lane.Key[:], lock, run)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// execFunc is DB.Exec, or the like within a transaction.
type execFunc func(ctx context.Context, query string, args ...any) (int, error)

// within returns the execFunc of a transaction.
func within(tx sqlstore.Queryer) execFunc {
	return func(ctx context.Context, query string, args ...any) (int, error) {
		res, err := tx.ExecContext(ctx, query, args...)
		if err != nil {
			return 0, err
		}
		n, err := res.RowsAffected()
		return int(n), err
	}
}

// gone returns the condition under which nothing is left of a row.
func gone(r *throttle.Return) (string, []any) {
	m := &r.Mark
	if r.How == throttle.Give {
		return goneGive, []any{r.Lane.Key[:], m.Gen, m.Run, m.Fails, m.Total}
	}
	lock, run := lockOf(r)
	if r.How == throttle.ClearTotal {
		return goneTotal, []any{r.Lane.Key[:], lock, run}
	}
	return goneClear, []any{r.Lane.Key[:], lock, run}
}

// lockOf returns below how many failures in a row a success clears a lane, and of
// which count it clears any number: the one that it is part of itself.
func lockOf(r *throttle.Return) (lock, run int64) {
	if r.Mark.Total > 0 {
		run = r.Mark.Run
	}
	return int64(cmp.Or(r.Lane.Lock, math.MaxInt)), run
}

// later is when a row is due that was locked and is not.
func later(r *throttle.Return) int64 {
	return r.Mark.At + max(r.Lane.Keep, r.Lane.Forget).Milliseconds()
}

// giveArgs are the arguments of the statement give, which does what
// throttle.Lane.Give does.
func giveArgs(r *throttle.Return) []any {
	l, m := &r.Lane, &r.Mark
	gen := m.Gen
	if l.Free == 0 {
		gen = 0 // no row has it: the lane counts no attempts
	}
	lock := cmp.Or(l.Lock, math.MaxInt)
	return []any{
		gen, m.Fails, l.Free, m.Until, m.UntilBefore,
		gen, m.LastBefore,
		m.Run, lock, m.Total, lock, later(r),
		gen, m.Fails,
		m.Run, m.Total,
		l.Key[:], gen, m.Run,
	}
}
