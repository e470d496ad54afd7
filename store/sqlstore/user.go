package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// ListUser returns a user's live records without their Data; see
// [store.UserStore].
func (s *Store) ListUser(ctx context.Context, userID string) ([]store.Record, error) {
	if userID == "" {
		return nil, nil // where an index has no WHERE, it holds everybody who is nobody
	}
	list, err := s.list(ctx, false, s.sql.listUser, []byte(userID))
	if err != nil {
		return nil, fmt.Errorf("sqlstore: list sessions of a user: %w", err)
	}
	return list, nil
}

// EndUser ends a user's live sessions but one, in one statement; see
// [store.UserStore].
func (s *Store) EndUser(ctx context.Context, userID string, except store.ID, why store.Ended, until time.Time) (int, error) {
	if why.Reason == store.NotEnded {
		return 0, errors.New("sqlstore: end sessions of a user: a session cannot end without a reason")
	}
	if userID == "" {
		return 0, nil
	}
	n, err := s.db.Exec(ctx, s.sql.endUser, append(tombstone(why, until), []byte(userID), except[:])...)
	if err != nil {
		return 0, fmt.Errorf("sqlstore: end sessions of a user: %w", err)
	}
	return n, nil
}

// Scan returns live records in the order of their IDs; see [store.Scanner].
func (s *Store) Scan(ctx context.Context, after store.ID, n int) ([]store.Record, error) {
	if n <= 0 {
		return nil, nil
	}
	list, err := s.list(ctx, true, s.sql.scan, after[:], n)
	if err != nil {
		return nil, fmt.Errorf("sqlstore: scan: %w", err)
	}
	return list, nil
}

// list reads the records of a query whose first column is the ID.
func (s *Store) list(ctx context.Context, data bool, query string, args ...any) ([]store.Record, error) {
	rows, err := s.db.Reader().QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []store.Record
	for rows.Next() {
		var (
			r  scanned
			id []byte
		)
		to := append([]any{&id}, r.fields()...)
		if data {
			to = append(to, &r.data)
		}
		if err := rows.Scan(to...); err != nil {
			return nil, err
		}
		if len(id) != len(store.ID{}) {
			return nil, fmt.Errorf("a stored ID has %d bytes", len(id))
		}
		list = append(list, r.record(store.ID(id)))
	}
	return list, rows.Err()
}

// scanned is a row as it is read.
type scanned struct {
	version, ended, endedAt          int64
	created, seen, expires, deadline int64

	user       string
	info, data []byte
}

// fields returns where the columns of a row go, in the order in which every
// query names them; data comes last, if it is read.
func (r *scanned) fields() []any {
	return []any{&r.version, &r.created, &r.seen, &r.expires, &r.deadline, &r.ended, &r.endedAt, &r.user, &r.info}
}

// record returns what a row says: of a tombstone ID and Ended only.
func (r *scanned) record(id store.ID) store.Record {
	if r.ended != 0 {
		reason := store.Reason(math.MaxUint8) // of a number that nobody here has written
		if r.ended > 0 && r.ended < math.MaxUint8 {
			reason = store.Reason(r.ended)
		}
		return store.Record{ID: id, Ended: store.Ended{Reason: reason, At: at(r.endedAt)}}
	}
	return store.Record{
		ID: id, Version: uint64(r.version), UserID: r.user,
		Created: at(r.created), Seen: at(r.seen), Expires: at(r.expires), Deadline: at(r.deadline),
		Info: r.info, Data: r.data,
	}
}

// at reads a stored time.
func at(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// blob makes an empty value of nil, which would be stored as NULL.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
