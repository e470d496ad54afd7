package sqlite_test

import (
	"context"
	"database/sql"
	"encoding/binary"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
)

// open returns a new database.
func open(tb testing.TB, opts *sqlite.Options) *sqlite.DB {
	tb.Helper()
	db, err := sqlite.Open(filepath.Join(tb.TempDir(), "test.db"), opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	return db
}

// rawOpen opens a file as any program would, with one connection.
func rawOpen(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	return db
}

// onWriter runs a query on the writing connection.
func onWriter(t *testing.T, db *sqlite.DB, query string) (value any) {
	t.Helper()
	err := db.Write(t.Context(), func(ctx context.Context, tx sqlstore.Queryer) error {
		return tx.QueryRowContext(ctx, query).Scan(&value)
	})
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// insert returns a write that adds a number to the table t.
func insert(n int) func(context.Context, sqlstore.Queryer) error {
	return func(ctx context.Context, tx sqlstore.Queryer) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO t VALUES (?)", n)
		return err
	}
}

// numbers makes the table t.
func numbers(t *testing.T, db *sqlite.DB) {
	t.Helper()
	err := db.Write(t.Context(), func(ctx context.Context, tx sqlstore.Queryer) error {
		_, err := tx.ExecContext(ctx, "CREATE TABLE t (n INTEGER)")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sum returns how many numbers there are and their sum.
func sum(t *testing.T, db *sqlite.DB) (n, total int) {
	t.Helper()
	err := db.Reader().QueryRowContext(t.Context(), "SELECT count(*), ifnull(sum(n), 0) FROM t").Scan(&n, &total)
	if err != nil {
		t.Fatal(err)
	}
	return n, total
}

// hold lets a write wait in its transaction until the returned function is
// called, which returns what became of it.
func hold(t *testing.T, db *sqlite.DB) (release func() error) {
	t.Helper()
	begun, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		done <- db.Write(context.Background(), func(context.Context, sqlstore.Queryer) error {
			close(begun)
			<-goOn
			return nil
		})
	}()
	<-begun
	return func() error {
		close(goOn)
		return <-done
	}
}

// queued starts a write for each number in a goroutine of its own, behind a held
// one, and waits until they have had the time to line up.
func queued(wg *sync.WaitGroup, n int, write func(i int)) {
	for i := range n {
		wg.Go(func() { write(i) })
	}
	time.Sleep(100 * time.Millisecond)
}

// commits counts the transactions in the log: a frame that ends one carries the
// size of the database (https://www.sqlite.org/fileformat2.html#walformat).
func commits(t *testing.T, path string) int {
	t.Helper()
	b, err := os.ReadFile(path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	const header, frame = 32, 24
	page := int(binary.BigEndian.Uint32(b[8:]))
	n := 0
	for at := header; at+frame+page <= len(b); at += frame + page {
		if string(b[at+8:at+16]) == string(b[16:24]) && binary.BigEndian.Uint32(b[at+4:]) != 0 {
			n++
		}
	}
	return n
}
