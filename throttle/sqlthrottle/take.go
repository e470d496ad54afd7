package sqlthrottle

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
	"github.com/cloakroom-dev/cloakroom/throttle"
)

// A Take reads its lanes and, if none refuses, counts in one after the other. Each
// statement finds its row as it was read, or changed in a way that means the same,
// or finds none: then the rest is read again. If one refuses now, the others get
// back what they counted. SQLite lets one write at a time and keeps several
// together: there the whole is one transaction, in which nothing comes between.

// rounds is how often a Take reads at most. Each further time says that another
// one got through or out of the lane, and few get through before it refuses.
const rounds = 1000

// undo is how long it may take to give back what a Take counted that failed.
const undo = 5 * time.Second

// step is one statement of a Take.
type step struct {
	query string
	args  []any
	lanes []int // that it counts in: as many rows
}

// attempt is a Take under way.
type attempt struct {
	*Store
	lanes []throttle.Lane
	now   time.Time

	marks  []throttle.Mark
	counts []bool // in which lanes it is counted
}

// Take counts an attempt in every lane or in none; see [throttle.Store].
func (s *Store) Take(ctx context.Context, lanes []throttle.Lane, now time.Time) ([]throttle.Mark, *throttle.Refusal, error) {
	if len(lanes) == 0 || len(lanes) > maxLanes {
		return nil, nil, fmt.Errorf("sqlthrottle: take: %d lanes, want 1 to %d", len(lanes), maxLanes)
	}
	a := attempt{Store: s, lanes: lanes, now: now}
	a.reset()
	refused, err := a.run(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("sqlthrottle: take: %w", err), a.giveBack(ctx))
	}
	switch {
	case err != nil:
		return nil, nil, err
	case refused != nil:
		return nil, refused, nil
	}
	return a.marks, nil, nil
}

func (a *attempt) reset() {
	a.marks, a.counts = make([]throttle.Mark, len(a.lanes)), make([]bool, len(a.lanes))
}

// run takes until all lanes have counted or one refuses.
func (a *attempt) run(ctx context.Context) (*throttle.Refusal, error) {
	for range rounds {
		refused, steps, err := a.look(ctx, a.db.Reader(), a.db.Exec)
		if err != nil {
			return nil, err
		}
		if refused != nil {
			return refused, a.giveBack(ctx)
		}
		if a.db.Dialect() == sqlstore.SQLite {
			return a.atOnce(ctx)
		}
		if done, err := a.walk(ctx, a.db.Exec, steps); done || err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("no way through after %d rounds", rounds)
}

// atOnce takes in one transaction. What was looked at before spares it those that
// are refused.
func (a *attempt) atOnce(ctx context.Context) (refused *throttle.Refusal, err error) {
	// Whoever leaves early does not read what the transaction may still set.
	b := *a
	var got *throttle.Refusal
	err = a.db.Write(ctx, func(ctx context.Context, tx sqlstore.Queryer) (err error) {
		b.reset()
		var steps []step
		if got, steps, err = b.look(ctx, tx, within(tx)); err != nil || got != nil {
			return err
		}
		done, err := b.walk(ctx, within(tx), steps)
		if err == nil && !done {
			err = errors.New("a row changed within a transaction")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if got == nil {
		a.marks = b.marks
	}
	return got, nil
}

// look reads the lanes that do not count yet, and says what is to be done or who
// refuses.
func (a *attempt) look(ctx context.Context, q sqlstore.Queryer, exec execFunc) (*throttle.Refusal, []step, error) {
	var (
		lanes []throttle.Lane
		at    []int
	)
	for i, counted := range a.counts {
		if !counted {
			lanes, at = append(lanes, a.lanes[i]), append(at, i)
		}
	}
	found, err := a.read(ctx, q, lanes)
	if err != nil {
		return nil, nil, err
	}
	var (
		refused *throttle.Refusal
		absent  []int
		rows    = make([]throttle.Counter, len(a.lanes))
		steps   []step
		fresh   = throttle.Fresh()
	)
	for n, i := range at {
		c, l := found[n], &a.lanes[i]
		next, mark, wait := l.Take(c, a.now, fresh)
		if wait > 0 {
			if next.Until != c.Until { // a clock was set back
				if _, err := exec(ctx, a.sql.swap, swapArgs(l, c, next)...); err != nil {
					return nil, nil, err
				}
			}
			if refused == nil || wait > refused.After {
				refused = &throttle.Refusal{Lane: i, After: wait}
			}
			continue
		}
		a.marks[i], rows[i] = mark, next
		if c.Gen == 0 {
			absent = append(absent, i)
		} else {
			steps = append(steps, a.sql.count(l, c, next, mark, i))
		}
	}
	if refused == nil && len(absent) > 0 {
		steps = slices.Insert(steps, 0, a.insert(absent, rows))
	}
	return refused, steps, nil
}

// insert makes the rows of lanes that have none, in the order of their keys: two
// statements that insert the same rows in different orders would wait for each
// other.
func (a *attempt) insert(lanes []int, rows []throttle.Counter) step {
	slices.SortFunc(lanes, func(i, j int) int { return bytes.Compare(a.lanes[i].Key[:], a.lanes[j].Key[:]) })
	var args []any
	for _, i := range lanes {
		owner := a.lanes[i].Owner[:]
		if a.lanes[i].Owner == (throttle.Key{}) {
			owner = []byte{}
		}
		c := &rows[i]
		args = append(args, a.lanes[i].Key[:], owner, c.Gen, c.Fails, c.Until, c.Last, c.Run, c.Total, c.Due)
	}
	return step{query: a.sql.insert[len(lanes)], args: args, lanes: lanes}
}

// count is the step that makes next of c. Where one more is nothing but that, for
// however many others come between, it adds one; where it brings a delay, a lock or
// a new count, it finds the row as it was read or not at all, and since the next
// one is refused it is not in many others' way.
func (s *statements) count(l *throttle.Lane, c, next throttle.Counter, m throttle.Mark, i int) step {
	below := cmp.Or(l.Lock, math.MaxInt) - 1 // of failures in a row
	switch {
	case l.Free == 0 && m.Total == 0:
		return step{lanes: []int{i}} // it is locked, and counts no more
	case l.Free == 0 && next.Total <= below:
		return step{s.addTotal, []any{next.Due, l.Key[:], c.Run, below}, []int{i}}
	case l.Free > 0 && next.Gen == c.Gen && next.Fails < l.Free && !m.Locked && next.Total <= below:
		return step{s.add, []any{
			m.Total, next.Last, next.Due, l.Key[:], c.Gen, c.Run, m.At, l.Free - 1, below,
		}, []int{i}}
	}
	return step{s.swap, swapArgs(l, c, next), []int{i}}
}

// swapArgs are the arguments of the statement swap, which makes next of c.
func swapArgs(l *throttle.Lane, c, next throttle.Counter) []any {
	return []any{
		next.Gen, next.Fails, next.Until, next.Last, next.Run, next.Total, next.Due,
		l.Key[:], c.Gen, c.Fails, c.Until, c.Last, c.Run, c.Total,
	}
}

// walk takes the steps, and tells whether all of them met what they were to meet.
func (a *attempt) walk(ctx context.Context, exec execFunc, steps []step) (bool, error) {
	for _, s := range steps {
		if s.query != "" {
			n, err := exec(ctx, s.query, s.args...)
			if err != nil {
				return false, err
			}
			if n != len(s.lanes) {
				return false, a.partly(ctx, n, s.lanes)
			}
		}
		for _, i := range s.lanes {
			a.counts[i] = true
		}
	}
	return true, nil
}

// partly gives back what a step has counted in some of its rows. Which ones does
// not matter: they were inserted, with a number that is in no other row.
func (a *attempt) partly(ctx context.Context, n int, lanes []int) error {
	if n == 0 {
		return nil
	}
	return a.give(ctx, lanes)
}

// giveBack gives back what is counted so far.
func (a *attempt) giveBack(ctx context.Context) error {
	var lanes []int
	for i, counted := range a.counts {
		if counted {
			lanes = append(lanes, i)
		}
	}
	clear(a.counts)
	return a.give(ctx, lanes)
}

// give gives back what some lanes counted, though ctx may have ended.
func (a *attempt) give(ctx context.Context, lanes []int) error {
	back := make([]throttle.Return, len(lanes))
	for n, i := range lanes {
		back[n] = throttle.Return{Lane: a.lanes[i], Mark: a.marks[i]}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undo)
	defer cancel()
	return a.Settle(ctx, back)
}
