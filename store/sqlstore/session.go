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
	end, endVersion, endUser       string
	listUser, scan                 string
	clock, sweepDelete, sweepDefer string
	overdue                        string
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
		oldest   = `SELECT id FROM cloakroom_session WHERE due < ? ORDER BY due LIMIT ?`
		readable = `version, created, seen, expires, deadline, ended, ended_at, user_id, info`
		anEnd    = tombstone + `WHERE id = ? AND ended = 0`
	)
	s := statements{
		get:     `SELECT ` + readable + `, data FROM cloakroom_session WHERE id = ?`,
		explain: `SELECT version, created, deadline, ended, user_id FROM cloakroom_session WHERE id = ?`,
		create:  insert + d.Upsert("id"),
		update: `UPDATE cloakroom_session SET version = version + 1, ` + forward + `, info = ?, data = ?
			WHERE id = ? AND version = ? AND ended = 0 AND user_id = ? AND created = ? AND deadline = ?`,
		touch:      `UPDATE cloakroom_session SET ` + forward + ` WHERE id = ? AND ended = 0`,
		end:        anEnd,
		endVersion: anEnd + ` AND version = ?`,
		endUser:    tombstone + `WHERE user_id = ? AND ` + hasUser + ` AND ended = 0 AND id <> ?`,
		listUser: `SELECT id, ` + readable + ` FROM cloakroom_session
			WHERE user_id = ? AND ` + hasUser + ` AND ended = 0`,
		scan: `SELECT id, ` + readable + `, data FROM cloakroom_session
			WHERE id > ? AND ended = 0 ORDER BY id LIMIT ?`,
		clock:       `SELECT {clock}`,
		sweepDelete: d.DeleteFew("cloakroom_session", "id", oldest, "expires < ?"),
		sweepDefer:  d.UpdateFew("cloakroom_session", "id", oldest, "due = expires"),
		overdue:     `SELECT count(*) FROM (` + oldest + `) overdue`,
		keys:        `SELECT id, last_used FROM cloakroom_key ORDER BY last_used DESC, id`,
		rememberKey: `INSERT INTO cloakroom_key (id, last_used) VALUES (?, ?) ` + later(d, "cloakroom_key", "id", "last_used"),
		forgetKeys:  `DELETE FROM cloakroom_key`,
	}
	for _, p := range []*string{
		&s.get, &s.explain, &s.create, &s.update, &s.touch, &s.end, &s.endVersion, &s.endUser, &s.listUser,
		&s.scan, &s.clock, &s.sweepDelete, &s.sweepDefer, &s.overdue, &s.keys, &s.rememberKey, &s.forgetKeys,
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

// A write is one statement. If it met no row, a second one looks at what stands
// there, and the answer is what the write would have met at that moment. Where it
// would have succeeded, since things have changed in between, it is run again:
// the first run is known to have done nothing.

// Put stores r if the stored version is r.Version; see [store.Store].
func (s *Store) Put(ctx context.Context, r store.Record) error {
	if len(r.UserID) > store.MaxUserID {
		return fmt.Errorf("sqlstore: put: user ID of %d bytes, at most %d", len(r.UserID), store.MaxUserID)
	}
	for {
		n, err := s.put(ctx, r)
		if err != nil {
			return fmt.Errorf("sqlstore: put: %w", err)
		}
		if n == 1 {
			return nil
		}
		there, err := s.explain(ctx, r.ID)
		if err != nil {
			return fmt.Errorf("sqlstore: put: %w", err)
		}
		if err := there.refuse(r); err != nil {
			return err
		}
	}
}

// put runs the statement of a Put.
func (s *Store) put(ctx context.Context, r store.Record) (int, error) {
	if r.Version == 0 {
		r.Ended = store.Ended{}
		return s.insert(ctx, r, min(r.Expires.UnixMilli(), r.Deadline.UnixMilli()))
	}
	return s.db.Exec(ctx, s.sql.update, r.Seen.UnixMilli(), r.Expires.UnixMilli(), blob(r.Info), blob(r.Data),
		r.ID[:], int64(r.Version), []byte(r.UserID), r.Created.UnixMilli(), r.Deadline.UnixMilli())
}

// insert makes a row, of a session or of a tombstone, where there is none.
func (s *Store) insert(ctx context.Context, r store.Record, expires int64) (int, error) {
	var endedAt int64
	if r.Ended.Reason != store.NotEnded {
		endedAt = r.Ended.At.UnixMilli()
	}
	return s.db.Exec(ctx, s.sql.create, r.ID[:], 1, r.Created.UnixMilli(), r.Seen.UnixMilli(),
		expires, r.Deadline.UnixMilli(), expires, int64(r.Ended.Reason), endedAt, []byte(r.UserID), blob(r.Info), blob(r.Data))
}

// Touch moves Seen and Expires forward; see [store.Store].
func (s *Store) Touch(ctx context.Context, id store.ID, seen, expires time.Time) error {
	for {
		n, err := s.db.Exec(ctx, s.sql.touch, seen.UnixMilli(), expires.UnixMilli(), id[:])
		if err != nil {
			return fmt.Errorf("sqlstore: touch: %w", err)
		}
		if n == 1 {
			return nil
		}
		there, err := s.explain(ctx, id)
		switch {
		case err != nil:
			return fmt.Errorf("sqlstore: touch: %w", err)
		case there.version == 0:
			return store.ErrNotFound
		case there.ended:
			return store.ErrEnded
		}
	}
}

// End makes a tombstone of the session; see [store.Store].
func (s *Store) End(ctx context.Context, id store.ID, version uint64, why store.Ended, until time.Time) error {
	if why.Reason == store.NotEnded {
		return errors.New("sqlstore: end: a session cannot end without a reason")
	}
	for {
		query, args := s.sql.end, append(tombstone(why, until), id[:])
		if version > 0 {
			query, args = s.sql.endVersion, append(args, int64(version))
		}
		n, err := s.db.Exec(ctx, query, args...)
		if err != nil {
			return fmt.Errorf("sqlstore: end: %w", err)
		}
		if n == 1 {
			return nil
		}
		// Nothing, a tombstone, or another version. A tombstone is inserted before
		// anything is read, so that a create which is on its way comes before this
		// or fails after it, whatever the database's isolation.
		epoch := time.UnixMilli(0)
		n, err = s.insert(ctx, store.Record{ID: id, Created: epoch, Seen: epoch, Deadline: until, Ended: why}, until.UnixMilli())
		if err != nil {
			return fmt.Errorf("sqlstore: end: %w", err)
		}
		if n == 1 {
			return store.ErrNotFound
		}
		there, err := s.explain(ctx, id)
		switch {
		case err != nil:
			return fmt.Errorf("sqlstore: end: %w", err)
		case there.ended:
			return store.ErrEnded
		case there.version != 0 && version != 0 && there.version != version:
			return store.ErrConflict
		}
	}
}

// tombstone returns the arguments of the statement of that name.
func tombstone(why store.Ended, until time.Time) []any {
	at := until.UnixMilli()
	return []any{int64(why.Reason), why.At.UnixMilli(), at, at, []byte{}, []byte{}, []byte{}}
}

// standing is what a write looks at: version 0 is nothing.
type standing struct {
	version           uint64
	ended             bool
	created, deadline int64
	user              string
}

// explain says what stands under an ID.
func (s *Store) explain(ctx context.Context, id store.ID) (there standing, err error) {
	var reason int64
	err = s.db.Reader().QueryRowContext(ctx, s.sql.explain, id[:]).
		Scan(&there.version, &there.created, &there.deadline, &reason, &there.user)
	if errors.Is(err, sql.ErrNoRows) {
		return standing{}, nil
	}
	there.ended = reason != 0
	return there, err
}

// refuse says why r cannot be put where this stands; nil if it can.
func (there standing) refuse(r store.Record) error {
	switch {
	case there.version == 0 && r.Version == 0:
		return nil
	case there.version == 0:
		return store.ErrNotFound
	case there.ended:
		return store.ErrEnded
	case there.version != r.Version:
		return store.ErrConflict
	case there.user != r.UserID, there.created != r.Created.UnixMilli(), there.deadline != r.Deadline.UnixMilli():
		return store.ErrImmutable
	}
	return nil
}
