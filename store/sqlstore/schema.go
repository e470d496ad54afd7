package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Schema is the history of a component's tables: each Version leads from the one
// before it to the next. A Version that has been released never changes.
type Schema struct {
	Component string     // its name in the table cloakroom_schema, at most 32 bytes
	Versions  [][]string // the statements of each version, the first from nothing
}

// SchemaError says that a database was made by a newer program.
type SchemaError struct {
	Component string // whose tables they are
	Have      int    // the version in the database
	Known     int    // the newest version this program knows
}

// Error says what to do.
func (e *SchemaError) Error() string {
	return fmt.Sprintf("sqlstore: the %s tables have version %d and this program knows versions up to %d: "+
		"start the newer program, or restore the backup from before its first start", e.Component, e.Have, e.Known)
}

// Apply brings the tables of the component to the newest version, each step in a
// transaction of its own: a crash leaves one version or the next. Several
// processes may apply the same Schema at once. Tables newer than the Schema are
// left alone, and the error is a [*SchemaError].
func (s Schema) Apply(ctx context.Context, db DB) error {
	for {
		have, err := s.step(ctx, db)
		if err != nil {
			return err
		}
		if have == len(s.Versions) {
			return nil
		}
	}
}

// step applies the first version that is missing, and returns the version that
// the database has then.
func (s Schema) step(ctx context.Context, db DB) (int, error) {
	d, have := db.Dialect(), 0
	err := db.Write(ctx, func(ctx context.Context, tx Queryer) error {
		_, err := tx.ExecContext(ctx, d.SQL(`CREATE TABLE IF NOT EXISTS cloakroom_schema (
			component {key:32} NOT NULL PRIMARY KEY,
			version {int} NOT NULL)`))
		if err != nil {
			return err
		}
		have = 0
		err = tx.QueryRowContext(ctx, d.SQL("SELECT version FROM cloakroom_schema WHERE component = ?"),
			[]byte(s.Component)).Scan(&have)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if have > len(s.Versions) {
			return &SchemaError{Component: s.Component, Have: have, Known: len(s.Versions)}
		}
		if have == len(s.Versions) {
			return nil
		}
		for _, statement := range s.Versions[have] {
			if _, err := tx.ExecContext(ctx, d.SQL(statement)); err != nil {
				return err
			}
		}
		have++
		_, err = tx.ExecContext(ctx, d.SQL("INSERT INTO cloakroom_schema (component, version) VALUES (?, ?) "+
			d.Upsert("component", "version")), []byte(s.Component), have)
		return err
	})
	if err != nil {
		if newer, ok := errors.AsType[*SchemaError](err); ok {
			return 0, newer
		}
		return 0, fmt.Errorf("sqlstore: make the %s tables: %w", s.Component, err)
	}
	return have, nil
}

// schema is the history of the tables of sessions and of key ids.
//
// due is a time at or before the one at which the row may be forgotten, and the
// only one of the two that has an index: a touch moves expires alone, and the
// sweep moves due after it, so that a touch costs no index.
func schema(d *Dialect) Schema {
	return Schema{Component: "session", Versions: [][]string{
		{
			`CREATE TABLE cloakroom_session (
				id {key:32} NOT NULL PRIMARY KEY,
				version {int} NOT NULL,
				created {int} NOT NULL,
				seen {int} NOT NULL,
				expires {int} NOT NULL,
				deadline {int} NOT NULL,
				due {int} NOT NULL,
				ended {int} NOT NULL,
				ended_at {int} NOT NULL,
				user_id {key:255} NOT NULL,
				info {bytes} NOT NULL,
				data {bytes} NOT NULL)`,
			`CREATE INDEX cloakroom_session_user ON cloakroom_session (user_id)` + d.Where(hasUser),
			`CREATE INDEX cloakroom_session_due ON cloakroom_session (due)`,
			`CREATE TABLE cloakroom_key (
				id {key:32} NOT NULL PRIMARY KEY,
				last_used {int} NOT NULL)`,
		},
	}}
}
