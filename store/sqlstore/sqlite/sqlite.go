// Package sqlite keeps Cloakroom's sessions and users in a file on the local
// disk, with SQLite. It needs no cgo and no server.
//
//	db, err := sqlite.Open("sessions.db", nil)
//	if err != nil {
//		return err
//	}
//	defer db.Close()
//	sessions := db.Store()
//	users, err := sqlusers.New(ctx, db)
//
// # What is kept
//
// A write that has returned nil is in the file. What that is worth:
//
//	                                    Sync: Full   Sync: Normal
//	the program is killed (kill -9)     kept         kept
//	the machine loses power             kept         the last writes may be lost
//	the disk lies about flushing        may be lost  may be lost
//
// Lost means undone as if it had never been, back to a moment before: a session
// that was ended in the last second lives again. Neither setting ever leaves a
// damaged or half-written file. Full waits for the disk once a group of writes.
//
// # Many writers
//
// SQLite has one writer at a time. Writes that come while another is on its way
// to the disk are put into one transaction, so eight writers do not wait eight
// times as long. Reads go on meanwhile. Several processes may open one file, as
// long as all run on one machine: the file must be on a local disk, as SQLite's
// write-ahead log does not work over a network file system.
//
// Two more files, named as the database with "-wal" and "-shm" behind it, belong
// to it while it is open. To copy a database that is in use, copy it with
// SQLite's own tools; a copy of the one file lacks what is in the log. A program
// that has a database open never opens the same file by other means, be it to
// read it: closing that takes SQLite's locks away, as POSIX locks belong to the
// process.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// Sync says when a write waits for the disk.
type Sync uint8

// The choices of Sync; the package comment says what each loses.
const (
	Full   Sync = iota // at every commit
	Normal             // when the log is copied into the file, now and then
)

// Options are the choices of Open. Nil and the zero value are the safe ones.
type Options struct {
	// Sync is Full unless it is set.
	Sync Sync

	// BusyTimeout is how long a write waits for the writes of other processes
	// before it fails. Zero is 30 seconds.
	BusyTimeout time.Duration

	// Readers is how many reads run at once; others wait. Zero is eight, the
	// most is 64. Each takes up to 2 MiB of memory.
	Readers int
}

// maxReaders is the largest Options.Readers.
const maxReaders = 64

// check returns the options with every default filled in.
func (o *Options) check() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	var faults []error
	if c.Sync > Normal {
		faults = append(faults, fmt.Errorf("sqlite: Sync %d is neither Full nor Normal", c.Sync))
	}
	if c.BusyTimeout < 0 {
		faults = append(faults, fmt.Errorf("sqlite: BusyTimeout %v is negative", c.BusyTimeout))
	}
	if c.Readers < 0 || c.Readers > maxReaders {
		faults = append(faults, fmt.Errorf("sqlite: Readers %d is not within 0 to %d", c.Readers, maxReaders))
	}
	if c.BusyTimeout == 0 {
		c.BusyTimeout = 30 * time.Second
	}
	if c.Readers == 0 {
		c.Readers = 8
	}
	return c, errors.Join(faults...)
}

// DB is an open database. Use [Open]. Its methods may be called by many
// goroutines at once.
type DB struct {
	path   string
	reader *reader
	writer *writer
	store  *sqlstore.Store
	close  func() error
}

var _ sqlstore.DB = (*DB)(nil)

// Open opens the database at path, and makes it where there is none: readable
// and writable by its owner only. The mode of a file that exists stays as it is,
// as does what other programs keep in it. The folder must exist. Errors are of
// one line and say what to do.
//
// There is no database in memory: package memstore is made for that.
func Open(path string, opts *Options) (*DB, error) {
	o, err := opts.check()
	if err != nil {
		return nil, err
	}
	abs, err := prepare(path)
	if err != nil {
		return nil, err
	}
	db := &DB{path: path}
	db.close = sync.OnceValue(db.shut)
	if db.writer, err = newWriter(path, writeDSN(abs, o), o.BusyTimeout); err != nil {
		return nil, err
	}
	if db.reader, err = newReader(path, readDSN(abs, o), o.Readers); err != nil {
		return nil, errors.Join(err, db.writer.close())
	}
	if db.store, err = sqlstore.New(context.Background(), db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	// Whoever cannot write is told now and not at the first login.
	nothing := func(context.Context, sqlstore.Queryer) error { return nil }
	if err := db.Write(context.Background(), nothing); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// Store returns the session store that is kept in the database, always the same.
func (db *DB) Store() *sqlstore.Store { return db.store }

// Dialect returns [sqlstore.SQLite].
func (db *DB) Dialect() *sqlstore.Dialect { return sqlstore.SQLite }

// Reader runs statements on the read pool, whose connections refuse to write.
func (db *DB) Reader() sqlstore.Queryer { return db.reader }

// Write runs f in a transaction that it shares with other writes; see
// [sqlstore.DB]. If ctx ends before the transaction has begun, f is not run and
// Write returns at once. If it ends later, Write waits up to a second for what
// becomes of f, and returns that: only a disk that hangs leaves the caller in
// doubt.
func (db *DB) Write(ctx context.Context, f func(ctx context.Context, tx sqlstore.Queryer) error) error {
	return db.writer.do(ctx, f)
}

// Exec runs one statement in a transaction that it shares with other writes; see
// [DB.Write] for what becomes of it when ctx ends.
func (db *DB) Exec(ctx context.Context, query string, args ...any) (int, error) {
	var n int64
	err := db.writer.do(ctx, func(ctx context.Context, tx sqlstore.Queryer) error {
		res, err := tx.ExecContext(ctx, query, args...)
		if err != nil {
			return err
		}
		n, err = res.RowsAffected()
		return err
	})
	if err != nil {
		return 0, err // n is not read: the statement may still run
	}
	return int(n), nil
}

// Migrate is Write: the file has one writer at a time, and a transaction undoes
// every statement.
func (db *DB) Migrate(ctx context.Context, f func(ctx context.Context, tx sqlstore.Queryer) error) error {
	return db.Write(ctx, f)
}

// IntegrityCheck reads the whole database and returns an error if it is damaged.
// It takes as long as reading the file does, and stops nobody meanwhile.
func (db *DB) IntegrityCheck(ctx context.Context) error {
	rows, err := db.reader.QueryContext(ctx, "PRAGMA integrity_check(1)")
	if err != nil {
		return describe(db.path, "check", err)
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return describe(db.path, "check", err)
		}
		if line != "ok" {
			return fmt.Errorf("sqlite: %q is damaged (%s): restore a backup", db.path, oneLine(line))
		}
	}
	if err := rows.Err(); err != nil {
		return describe(db.path, "check", err)
	}
	return nil
}

// Close waits for the reads and writes that have begun, copies the log into the
// file, and closes it. What is called afterwards fails.
func (db *DB) Close() error { return db.close() }

// shut closes the readers first: the connection that is closed last copies the
// log and takes the two files beside the database away.
func (db *DB) shut() error {
	return errors.Join(db.reader.close(), db.writer.close())
}

// open opens a handle of n connections. None is opened yet.
func open(path, dsn string, n int) (*sql.DB, error) {
	pool, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, describe(path, "open", err)
	}
	pool.SetMaxOpenConns(n)
	pool.SetMaxIdleConns(n)
	return pool, nil
}
