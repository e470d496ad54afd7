// Package sqlthrottle keeps the counters of package throttle in a SQL database, so
// that all instances of a program count together and a restart forgets nothing.
//
//	counters, err := sqlthrottle.Open(ctx, db)
//	if err != nil {
//		return err
//	}
//	t, err := throttle.New(counters, nil)
//
// Any database that a package of sqlstore opens will do, and it may be that of the
// users or of the sessions.
//
// An attempt that is refused reads and writes nothing. One that passes is a read
// and one statement where its lanes are as new, and a statement for each that
// already counts something; a success is one statement, or two. None of them holds
// a lock while another one is on its way, so that however many guesses at one
// account there are at once, nobody waits for more than a row, and nobody's
// transaction fails: each statement says in its WHERE all that must hold, and what
// was counted is given back if a later lane refuses. A process that dies in
// between leaves a failure counted that was none.
//
// The rows hold SHA-256 digests and numbers, no name and no address. What is
// forgotten stays until it is swept: one program that shares the database calls
// throttle.Throttle.Sweep, the service does. A name that somebody makes up is
// two rows, one for a day and one for 30.
//
// The database user needs SELECT, INSERT, UPDATE and DELETE on cloakroom_throttle.
package sqlthrottle

import (
	"context"
	"fmt"
	"time"

	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
	"github.com/cloakroom-dev/cloakroom/throttle"
)

// Store is a [throttle.Store] in a database. Use [Open].
type Store struct {
	db  sqlstore.DB
	sql statements
}

var _ throttle.Store = (*Store)(nil)

// Open returns the Store that is kept in db, and brings its table to the version
// this program knows. It returns a [*sqlstore.SchemaError] if it is newer.
func Open(ctx context.Context, db sqlstore.DB) (*Store, error) {
	d := db.Dialect()
	if err := schema(d).Apply(ctx, db); err != nil {
		return nil, err
	}
	return &Store{db: db, sql: newStatements(d)}, nil
}

// Read returns the counter of a lane; see [throttle.Store].
func (s *Store) Read(ctx context.Context, key throttle.Key) (throttle.Counter, error) {
	found, err := s.read(ctx, s.db.Reader(), []throttle.Lane{{Key: key}})
	if err != nil {
		return throttle.Counter{}, fmt.Errorf("sqlthrottle: read: %w", err)
	}
	c := found[0]
	if c.Fails == 0 && c.Total == 0 {
		return throttle.Counter{}, nil // given back by two at once
	}
	return c, nil
}

// read returns the counter of each lane, the zero Counter where there is no row.
func (s *Store) read(ctx context.Context, q sqlstore.Queryer, lanes []throttle.Lane) ([]throttle.Counter, error) {
	args := make([]any, len(lanes))
	for i := range lanes {
		args[i] = lanes[i].Key[:]
	}
	rows, err := q.QueryContext(ctx, s.sql.read[len(lanes)], args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := make([]throttle.Counter, len(lanes))
	for rows.Next() {
		var (
			id []byte
			c  throttle.Counter
		)
		if err := rows.Scan(&id, &c.Gen, &c.Fails, &c.Until, &c.Last, &c.Run, &c.Total, &c.Due); err != nil {
			return nil, err
		}
		for i := range lanes {
			if string(lanes[i].Key[:]) == string(id) {
				found[i] = c
			}
		}
	}
	return found, rows.Err()
}

// Drop forgets the lanes of an owner; see [throttle.Store].
func (s *Store) Drop(ctx context.Context, owner throttle.Key) error {
	if owner == (throttle.Key{}) {
		return nil
	}
	if _, err := s.db.Exec(ctx, s.sql.drop, owner[:]); err != nil {
		return fmt.Errorf("sqlthrottle: drop: %w", err)
	}
	return nil
}

const (
	sweepBatch = 200             // rows in one statement: a few milliseconds
	slack      = 5 * time.Minute // by how much the database's clock may differ
)

// Sweep forgets what is due; see [throttle.Store]. It works in small steps, and
// refuses where the time given differs from the database's by more than five
// minutes: by a clock that is ahead, everything was due.
func (s *Store) Sweep(ctx context.Context, now time.Time) (int, error) {
	var clock int64
	if err := s.db.Reader().QueryRowContext(ctx, s.sql.clock).Scan(&clock); err != nil {
		return 0, fmt.Errorf("sqlthrottle: sweep: read the database's clock: %w", err)
	}
	if off := now.Sub(time.UnixMilli(clock)); off.Abs() > slack {
		return 0, fmt.Errorf("sqlthrottle: sweep refused: the time given differs from the database's by %v, more than %v: "+
			"set both clocks right", off.Round(time.Second), slack)
	}
	total, before := 0, now.UnixMilli()
	for {
		n, err := s.db.Exec(ctx, s.sql.sweep, before, sweepBatch, before)
		if err != nil {
			return total, fmt.Errorf("sqlthrottle: sweep: %w", err)
		}
		if total += n; n < sweepBatch {
			return total, nil
		}
	}
}
