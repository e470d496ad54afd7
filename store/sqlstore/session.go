package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// hasUser is the condition of the index over users, word for word: a query that
// does not repeat it cannot use the index.
const hasUser = "length(user_id) > 0"

// statements are the texts of every statement in one dialect.
type statements struct {
	get, explain                   string
	create, update, touch          string
	end, endUnknown, endUser       string
	listUser, scan                 string
	clock, sweepDelete, sweepDefer string
	keys, rememberKey, forgetKeys  string
}

// newStatements writes the statements. "ended = 0" stands in every WHERE of a
// write: it is what keeps an ended session ended.
func newStatements(d *Dialect) statements {
	const (
		// tombstone is what every end does to a row. Data, Info and the user go;
		// expires becomes the end of the tombstone's time.
		tombstone = `UPDATE cloakroom_session SET ended = ?, ended_at = ?,
			expires = {greatest}(deadline, ?), due = {greatest}(deadline, ?),
			user_id = ?, info = ?, data = ? `
		insert = `INSERT INTO cloakroom_session
			(id, version, created, seen, expires, deadline, due, ended, ended_at, user_id, info, data)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) `
		forward  = `seen = {greatest}(seen, ?), expires = {greatest}(expires, {least}(?, deadline))`
		oldest   = `(SELECT id FROM cloakroom_session WHERE due < ? ORDER BY due LIMIT ?)`
		readable = `version, created, seen, expires, deadline, ended, ended_at, user_id, info`
	)
	s := statements{
		get:     `SELECT ` + readable + `, data FROM cloakroom_session WHERE id = ?`,
		explain: `SELECT version, ended FROM cloakroom_session WHERE id = ?`,
		create:  insert + d.Upsert("id"),
		update: `UPDATE cloakroom_session SET version = version + 1, ` + forward + `, info = ?, data = ?
			WHERE id = ? AND version = ? AND ended = 0 AND user_id = ? AND created = ? AND deadline = ?`,
		touch:      `UPDATE cloakroom_session SET ` + forward + ` WHERE id = ? AND ended = 0`,
		end:        tombstone + `WHERE id = ? AND ended = 0 AND (version = ? OR ? = 0)`,
		endUnknown: insert + d.Upsert("id"),
		endUser:    tombstone + `WHERE user_id = ? AND ` + hasUser + ` AND ended = 0 AND id <> ?`,
		listUser: `SELECT id, ` + readable + ` FROM cloakroom_session
			WHERE user_id = ? AND ` + hasUser + ` AND ended = 0`,
		scan: `SELECT id, ` + readable + `, data FROM cloakroom_session
			WHERE id > ? AND ended = 0 ORDER BY id LIMIT ?`,
		clock:       `SELECT {clock}`,
		sweepDelete: `DELETE FROM cloakroom_session WHERE id IN ` + oldest + ` AND expires < ?`,
		sweepDefer:  `UPDATE cloakroom_session SET due = expires WHERE id IN ` + oldest,
		keys:        `SELECT id, last_used FROM cloakroom_key ORDER BY last_used DESC, id`,
		rememberKey: `INSERT INTO cloakroom_key (id, last_used) VALUES (?, ?) ` + d.Upsert("id", "last_used"),
		forgetKeys:  `DELETE FROM cloakroom_key`,
	}
	for _, p := range []*string{
		&s.get, &s.explain, &s.create, &s.update, &s.touch, &s.end, &s.endUnknown, &s.endUser, &s.listUser,
		&s.scan, &s.clock, &s.sweepDelete, &s.sweepDefer, &s.keys, &s.rememberKey, &s.forgetKeys,
	} {
		*p = d.SQL(*p)
	}
	return s
}

// Get returns the record under id; see [store.Store].
func (s *Store) Get(ctx context.Context, id store.ID) (store.Record, error) {
	row := s.db.Reader().QueryRowContext(ctx, s.sql.get, id[:])
	var r scanned
	err := row.Scan(append(r.fields(), &r.data)...)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return store.Record{}, store.ErrNotFound
	case err != nil:
		return store.Record{}, fmt.Errorf("sqlstore: get: %w", err)
	}
	rec := r.record(id)
	if rec.Ended.Reason != store.NotEnded {
		return rec, store.ErrEnded
	}
	return rec, nil
}

// Put stores r if the stored version is r.Version; see [store.Store].
func (s *Store) Put(ctx context.Context, r store.Record) error {
	if len(r.UserID) > store.MaxUserID {
		return fmt.Errorf("sqlstore: put: user ID of %d bytes, at most %d", len(r.UserID), store.MaxUserID)
	}
	var outcome error
	err := s.db.Write(ctx, func(ctx context.Context, tx Queryer) (err error) {
		if r.Version == 0 {
			outcome, err = s.create(ctx, tx, r)
		} else {
			outcome, err = s.update(ctx, tx, r)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("sqlstore: put: %w", err)
	}
	return outcome
}

func (s *Store) create(ctx context.Context, tx Queryer, r store.Record) (outcome, err error) {
	expires := min(r.Expires.UnixMilli(), r.Deadline.UnixMilli())
	n, err := changed(ctx, tx, s.sql.create, r.ID[:], 1, r.Created.UnixMilli(), r.Seen.UnixMilli(),
		expires, r.Deadline.UnixMilli(), expires, 0, 0, []byte(r.UserID), blob(r.Info), blob(r.Data))
	if err != nil || n == 1 {
		return nil, err
	}
	_, ended, err := s.explain(ctx, tx, r.ID)
	if err != nil {
		return nil, err
	}
	if ended {
		return store.ErrEnded, nil
	}
	return store.ErrConflict, nil
}

func (s *Store) update(ctx context.Context, tx Queryer, r store.Record) (outcome, err error) {
	n, err := changed(ctx, tx, s.sql.update, r.Seen.UnixMilli(), r.Expires.UnixMilli(), blob(r.Info), blob(r.Data),
		r.ID[:], int64(r.Version), []byte(r.UserID), r.Created.UnixMilli(), r.Deadline.UnixMilli())
	if err != nil || n == 1 {
		return nil, err
	}
	version, ended, err := s.explain(ctx, tx, r.ID)
	switch {
	case err != nil:
		return nil, err
	case version == 0:
		return store.ErrNotFound, nil
	case ended:
		return store.ErrEnded, nil
	case version != r.Version:
		return store.ErrConflict, nil
	}
	return store.ErrImmutable, nil
}

// Touch moves Seen and Expires forward; see [store.Store].
func (s *Store) Touch(ctx context.Context, id store.ID, seen, expires time.Time) error {
	var outcome error
	err := s.db.Write(ctx, func(ctx context.Context, tx Queryer) error {
		outcome = nil
		n, err := changed(ctx, tx, s.sql.touch, seen.UnixMilli(), expires.UnixMilli(), id[:])
		if err != nil || n == 1 {
			return err
		}
		_, ended, err := s.explain(ctx, tx, id)
		if outcome = store.ErrNotFound; ended {
			outcome = store.ErrEnded
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("sqlstore: touch: %w", err)
	}
	return outcome
}

// End makes a tombstone of the session; see [store.Store].
func (s *Store) End(ctx context.Context, id store.ID, version uint64, why store.Ended, until time.Time) error {
	if why.Reason == store.NotEnded {
		return errors.New("sqlstore: end: a session cannot end without a reason")
	}
	var outcome error
	err := s.db.Write(ctx, func(ctx context.Context, tx Queryer) error {
		outcome = nil
		n, err := changed(ctx, tx, s.sql.end, append(tombstone(why, until), id[:], int64(version), int64(version))...)
		if err != nil || n == 1 {
			return err
		}
		// Nothing, a tombstone, or another version. A tombstone is inserted before
		// anything is read, so that a create which is on its way comes before this
		// or fails after it, whatever the database's isolation.
		at := until.UnixMilli()
		n, err = changed(ctx, tx, s.sql.endUnknown, id[:], 1, 0, 0, at, at, at,
			int64(why.Reason), why.At.UnixMilli(), []byte{}, []byte{}, []byte{})
		if err != nil {
			return err
		}
		if n == 1 {
			outcome = store.ErrNotFound
			return nil
		}
		_, ended, err := s.explain(ctx, tx, id)
		if outcome = store.ErrConflict; ended {
			outcome = store.ErrEnded
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("sqlstore: end: %w", err)
	}
	return outcome
}

// tombstone returns the arguments of the statement of that name.
func tombstone(why store.Ended, until time.Time) []any {
	at := until.UnixMilli()
	return []any{int64(why.Reason), why.At.UnixMilli(), at, at, []byte{}, []byte{}, []byte{}}
}

// explain says what stands under an ID: version 0 is nothing.
func (s *Store) explain(ctx context.Context, tx Queryer, id store.ID) (version uint64, ended bool, err error) {
	var reason uint8
	err = tx.QueryRowContext(ctx, s.sql.explain, id[:]).Scan(&version, &reason)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	return version, reason != 0, err
}
