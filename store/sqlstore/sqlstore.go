// Package sqlstore keeps sessions in a SQL database, through database/sql and
// statements written by hand.
//
// A package beside this one opens each database: sqlite a file on the local disk,
// postgres a PostgreSQL server, mariadb a MariaDB or MySQL server. Only they
// import a driver, so that a program gets those that it uses.
//
// Most programs want the file that package sqlite opens:
//
//	db, err := sqlite.Open("sessions.db", nil)
//	if err != nil {
//		return err
//	}
//	defer db.Close()
//	manager, err := cloakroom.New(db.Store(), keys, nil)
//
// A read is one statement, and one round trip where the database is elsewhere. A
// write that succeeds is one too, an UPDATE whose WHERE says everything that must
// hold, and no transaction around it; a second one only explains why the first
// found no row. The row of a session is its own entry in the list
// of its user's sessions, so no crash leaves a session that works and that no
// list shows.
//
// What has expired stays in the database until it is swept: one program that uses
// it runs cloakroom.Manager.Sweep. The service does.
//
// What a database keeps through a crash is the database's affair: see the
// package that opens it.
package sqlstore

import (
	"context"
	"database/sql"

	"github.com/cloakroom-dev/cloakroom/store"
)

// Queryer runs statements. *sql.DB, *sql.Conn and *sql.Tx are Queryers.
type Queryer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// DB is an open database: what this package and auth/sqlusers need of one. Its
// methods may be called by many goroutines at once.
type DB interface {
	// Dialect says how the database wants its SQL.
	Dialect() *Dialect

	// Reader runs statements that change nothing, each by itself. It sees every
	// Exec and Write that has returned.
	Reader() Queryer

	// Exec runs one statement that changes something, and returns how many rows
	// it met once that is kept. It is one question to the database and one
	// answer, where the database is elsewhere. An UPDATE counts the rows that its
	// WHERE met, be they changed by it or not.
	//
	// A statement of which the database says that it undid it, to let another
	// one go on, is run again. One that was not answered never is: it may have
	// been kept.
	Exec(ctx context.Context, query string, args ...any) (int, error)

	// Write runs f in a transaction that sees no other write in between, and
	// returns nil once what f did is kept. If f returns an error, nothing of
	// what f did is kept, and Write returns that error.
	//
	// The transaction may be shared with other calls and must not end with this
	// caller's patience: f uses the context that it is given. f may run more
	// than once, so it does nothing but run statements and set variables of its
	// caller's; rows that it opens it closes before its next statement. If Write
	// returns because ctx has ended, f may still run or be kept afterwards: the
	// caller does not read what f sets.
	Write(ctx context.Context, f func(ctx context.Context, tx Queryer) error) error

	// Migrate runs f, which makes or alters tables, while no other Migrate runs
	// in any program that uses the database. It is a transaction, but where
	// Dialect.Steps says that there is none for such statements.
	Migrate(ctx context.Context, f func(ctx context.Context, tx Queryer) error) error
}

// Store keeps sessions in a database. Use [New]; several Stores, in this and in
// other processes, may share a database.
type Store struct {
	db  DB
	sql statements
}

var (
	_ store.UserStore   = (*Store)(nil)
	_ store.Sweeper     = (*Store)(nil)
	_ store.Scanner     = (*Store)(nil)
	_ store.KeyRegistry = (*Store)(nil)
)

// New returns the Store that is kept in db, and brings its tables to the version
// this program knows. It returns a [*SchemaError] if they are newer.
func New(ctx context.Context, db DB) (*Store, error) {
	d := db.Dialect()
	if err := schema(d).Apply(ctx, db); err != nil {
		return nil, err
	}
	return &Store{db: db, sql: newStatements(d)}, nil
}
