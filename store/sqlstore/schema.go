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
	Component string     // its name in the table cloakroom_schema, at most 27 bytes
	Versions  [][]string // the statements of each version, the first from nothing; see [Dialect.SQL]
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

// Apply brings the tables of the component to the newest version. Where that is
// what they have, it reads one row and needs no right but that. Several processes
// may apply the same Schema at once. Tables newer than the Schema are left alone,
// and the error is a [*SchemaError].
//
// A crash leaves one version or the next or, where [Dialect.Steps] says that the
// database can do no better, a version of which the first statements are done:
// the next Apply goes on behind them.
func (s Schema) Apply(ctx context.Context, db DB) error {
	// Whatever is wrong with the first look, the second one is the judge of.
	if have, err := s.version(ctx, db, db.Reader()); err == nil && have == len(s.Versions) {
		return nil
	}
	for {
		have, err := s.migrate(ctx, db)
		if err != nil {
			if newer, ok := errors.AsType[*SchemaError](err); ok {
				return newer
			}
			return fmt.Errorf("sqlstore: make the %s tables: %w", s.Component, err)
		}
		if have == len(s.Versions) {
			return nil
		}
	}
}

// version reads the version that the database has.
func (s Schema) version(ctx context.Context, db DB, q Queryer) (int, error) {
	have, err := number(ctx, db, q, s.Component)
	if err == nil && have > len(s.Versions) {
		return 0, &SchemaError{Component: s.Component, Have: have, Known: len(s.Versions)}
	}
	return have, err
}

// migrate applies the first version that is missing, and returns the version that
// the database has then.
func (s Schema) migrate(ctx context.Context, db DB) (have int, err error) {
	d := db.Dialect()
	err = db.Migrate(ctx, func(ctx context.Context, tx Queryer) (err error) {
		_, err = tx.ExecContext(ctx, d.SQL(`CREATE TABLE IF NOT EXISTS cloakroom_schema (
			component {key:32} NOT NULL PRIMARY KEY,
			version {int} NOT NULL){table}`))
		if err != nil {
			return err
		}
		if have, err = s.version(ctx, db, tx); err != nil || have == len(s.Versions) {
			return err
		}
		if d.Steps {
			err = s.steps(ctx, db, tx, have)
		} else {
			err = run(ctx, db, tx, s.Versions[have]...)
		}
		have++
		if err == nil && !d.Steps {
			err = note(ctx, db, tx, s.Component, have)
		}
		return err
	})
	return have, err
}

// steps runs the statements of a version one by one, and notes each: in the same
// transaction if the statement can be part of one, and after it if not. So a
// crash makes at most one statement run twice, and that one a CREATE or an ALTER;
// db.Migrate lets those pass that find their work done.
func (s Schema) steps(ctx context.Context, db DB, tx Queryer, have int) error {
	step := s.Component + stepSuffix
	done, err := number(ctx, db, tx, step)
	if err != nil {
		return err
	}
	statements := s.Versions[have]
	for ; done < len(statements); done++ {
		if err := run(ctx, db, tx, "START TRANSACTION", statements[done]); err != nil {
			return err
		}
		if err := note(ctx, db, tx, step, done+1); err != nil {
			return err
		}
		if err := run(ctx, db, tx, "COMMIT"); err != nil {
			return err
		}
	}
	// The next version begins with its first statement: both notes in one.
	if err := run(ctx, db, tx, "START TRANSACTION"); err != nil {
		return err
	}
	if err := note(ctx, db, tx, s.Component, have+1); err != nil {
		return err
	}
	if err := note(ctx, db, tx, step, 0); err != nil {
		return err
	}
	return run(ctx, db, tx, "COMMIT")
}

// stepSuffix makes the name under which the steps of a component are counted.
const stepSuffix = "/step"

// run runs statements.
func run(ctx context.Context, db DB, tx Queryer, statements ...string) error {
	for _, statement := range statements {
		if _, err := tx.ExecContext(ctx, db.Dialect().SQL(statement)); err != nil {
			return err
		}
	}
	return nil
}

// number reads what note wrote: 0 for nothing.
func number(ctx context.Context, db DB, q Queryer, name string) (n int, err error) {
	query := db.Dialect().SQL("SELECT version FROM cloakroom_schema WHERE component = ?")
	err = q.QueryRowContext(ctx, query, []byte(name)).Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return n, err
}

// note writes a number down.
func note(ctx context.Context, db DB, tx Queryer, name string, n int) error {
	d := db.Dialect()
	_, err := tx.ExecContext(ctx, d.SQL("INSERT INTO cloakroom_schema (component, version) VALUES (?, ?) "+
		d.Upsert("component", "version")), []byte(name), n)
	return err
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
				data {bytes} NOT NULL){table}`,
			`CREATE INDEX cloakroom_session_user ON cloakroom_session (user_id)` + d.Where(hasUser),
			`CREATE INDEX cloakroom_session_due ON cloakroom_session (due)`,
			`CREATE TABLE cloakroom_key (
				id {key:32} NOT NULL PRIMARY KEY,
				last_used {int} NOT NULL){table}`,
		},
	}}
}
