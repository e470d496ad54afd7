// Package sqlite keeps Cloakroom's sessions and users in a file on the local
// disk, with SQLite. It needs no cgo and no server.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// Options are the choices of Open. Nil and the zero value are the safe ones.
type Options struct {
	// Normal chooses synchronous=NORMAL in place of FULL.
	Normal bool

	// BusyTimeout is how long a write waits for another process that writes.
	// Zero is 30 seconds.
	BusyTimeout time.Duration

	// Readers is how many reads run at once. Zero is eight.
	Readers int
}

// DB is an open database file.
type DB struct {
	path          string
	reader, write *sql.DB
	store         *sqlstore.Store
}

var _ sqlstore.DB = (*DB)(nil)

// Open opens the database at path, and makes it where there is none.
func Open(path string, opts *Options) (*DB, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.BusyTimeout == 0 {
		o.BusyTimeout = 30 * time.Second
	}
	if o.Readers == 0 {
		o.Readers = 8
	}
	abs, err := prepare(path)
	if err != nil {
		return nil, err
	}
	db := &DB{path: path}
	if db.write, err = sql.Open("sqlite", writeDSN(abs, o)); err != nil {
		return nil, fmt.Errorf("sqlite: open %q: %w", path, err)
	}
	db.write.SetMaxOpenConns(1)
	if db.reader, err = sql.Open("sqlite", readDSN(abs, o)); err != nil {
		return nil, errors.Join(fmt.Errorf("sqlite: open %q: %w", path, err), db.write.Close())
	}
	db.reader.SetMaxOpenConns(o.Readers)
	db.reader.SetMaxIdleConns(o.Readers)
	if db.store, err = sqlstore.New(context.Background(), db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// Store returns the session store that is kept in the database.
func (db *DB) Store() *sqlstore.Store { return db.store }

// Dialect returns [sqlstore.SQLite].
func (db *DB) Dialect() *sqlstore.Dialect { return sqlstore.SQLite }

// Reader returns the read pool.
func (db *DB) Reader() sqlstore.Queryer { return db.reader }

// Write runs f in a transaction; see [sqlstore.DB].
func (db *DB) Write(ctx context.Context, f func(context.Context, sqlstore.Queryer) error) error {
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(ctx, tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// Close closes the database.
func (db *DB) Close() error { return errors.Join(db.reader.Close(), db.write.Close()) }
