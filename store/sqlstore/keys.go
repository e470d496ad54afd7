package sqlstore

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// KnownKeys returns the keys that were remembered, the one used last first. A
// program that starts with a ring that lacks the first of them has lost its key
// file: to go on would sign everybody out, in silence.
func (s *Store) KnownKeys(ctx context.Context) ([]store.KnownKey, error) {
	rows, err := s.db.Reader().QueryContext(ctx, s.sql.keys)
	if err != nil {
		return nil, fmt.Errorf("sqlstore: read known keys: %w", err)
	}
	defer rows.Close()
	var list []store.KnownKey
	for rows.Next() {
		var (
			k    store.KnownKey
			used int64
		)
		if err := rows.Scan(&k.ID, &used); err != nil {
			return nil, fmt.Errorf("sqlstore: read known keys: %w", err)
		}
		k.LastUsed = at(used)
		list = append(list, k)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("sqlstore: read known keys: %w", err)
	}
	return list, nil
}

// RememberKey notes that the key with this id, of 1 to 32 bytes, is used at the
// time now. A later time that is remembered stays: clocks differ.
func (s *Store) RememberKey(ctx context.Context, id string, now time.Time) error {
	if id == "" || len(id) > 32 {
		return fmt.Errorf("sqlstore: remember a key: an id of %d bytes, want 1 to 32", len(id))
	}
	if _, err := s.db.Exec(ctx, s.sql.rememberKey, []byte(id), now.UnixMilli()); err != nil {
		return fmt.Errorf("sqlstore: remember a key: %w", err)
	}
	return nil
}

// ForgetKeys forgets every key: the next start takes the keys that it is given.
func (s *Store) ForgetKeys(ctx context.Context) error {
	if _, err := s.db.Exec(ctx, s.sql.forgetKeys); err != nil {
		return fmt.Errorf("sqlstore: forget keys: %w", err)
	}
	return nil
}

// later is an Upsert of one column that sets it to the later of both values.
func later(d *Dialect, table, key, column string) string {
	set := column + " = "
	head, inserted, _ := strings.Cut(d.Upsert(key, column), set)
	return head + set + "{greatest}(" + table + "." + column + ", " + inserted + ")"
}
