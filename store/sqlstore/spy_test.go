package sqlstore_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/mariadb"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/postgres"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
)

// spy is a database that notes the statements that run on it.
type spy struct {
	sqlstore.DB
	mu         sync.Mutex
	statements []call
}

// call is a statement as it was run.
type call struct {
	query string
	args  []any
}

func (s *spy) note(query string, args []any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.statements = append(s.statements, call{query, args})
}

// take returns what was noted since the last call.
func (s *spy) take() []call {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.statements
	s.statements = nil
	return taken
}

func (s *spy) Reader() sqlstore.Queryer { return spyQueryer{s, s.DB.Reader()} }

func (s *spy) Exec(ctx context.Context, query string, args ...any) (int, error) {
	s.note(query, args)
	return s.DB.Exec(ctx, query, args...)
}

func (s *spy) Write(ctx context.Context, f func(context.Context, sqlstore.Queryer) error) error {
	return s.DB.Write(ctx, func(ctx context.Context, tx sqlstore.Queryer) error {
		return f(ctx, spyQueryer{s, tx})
	})
}

type spyQueryer struct {
	spy *spy
	q   sqlstore.Queryer
}

func (q spyQueryer) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	q.spy.note(query, args)
	return q.q.ExecContext(ctx, query, args...)
}

func (q spyQueryer) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	q.spy.note(query, args)
	return q.q.QueryContext(ctx, query, args...)
}

func (q spyQueryer) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	q.spy.note(query, args)
	return q.q.QueryRowContext(ctx, query, args...)
}

// database is an open database of any kind.
type database interface {
	sqlstore.DB
	Store() *sqlstore.Store
	Close() error
}

// kinds makes an address of each kind of database, and opens what is there.
var kinds = []struct {
	name    string
	address func(tb testing.TB) string
	open    func(ctx context.Context, address string) (database, error)
}{
	{
		"sqlite",
		func(tb testing.TB) string { return filepath.Join(tb.TempDir(), "test.db") },
		func(_ context.Context, path string) (database, error) {
			return sqlite.Open(path, &sqlite.Options{Sync: sqlite.Normal}) // its writes do not wait for the disk
		},
	},
	{
		"postgres",
		func(tb testing.TB) string { return services.Postgres(tb) },
		func(ctx context.Context, url string) (database, error) { return postgres.Open(ctx, url, nil) },
	},
	{
		"mariadb",
		func(tb testing.TB) string { return services.MariaDB(tb) },
		func(ctx context.Context, url string) (database, error) { return mariadb.Open(ctx, url, nil) },
	},
}

// each runs a test on a new database of each kind.
func each(t *testing.T, test func(t *testing.T, db database)) {
	t.Helper()
	for i, k := range kinds {
		t.Run(k.name, func(t *testing.T) { test(t, openKind(t, i)) })
	}
}

// openKind returns a new database of a kind.
func openKind(tb testing.TB, kind int) database {
	tb.Helper()
	return openAt(tb, kind, kinds[kind].address(tb))
}

// openAt opens a database as one process of several would.
func openAt(tb testing.TB, kind int, address string) database {
	tb.Helper()
	db, err := kinds[kind].open(tb.Context(), address)
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

// open returns a new SQLite database.
func open(tb testing.TB) database {
	tb.Helper()
	return openKind(tb, 0)
}

// record returns a new session of a user.
func record(user string) store.Record {
	now := time.Now().UTC().Truncate(time.Millisecond)
	r := store.Record{
		UserID: user, Created: now, Seen: now, Expires: now.Add(30 * time.Minute), Deadline: now.Add(24 * time.Hour),
		Info: []byte("info"), Data: []byte("data"),
	}
	rand.Read(r.ID[:])
	return r
}

// put stores a record or ends the test.
func put(tb testing.TB, s store.Store, r store.Record) store.Record {
	tb.Helper()
	if err := s.Put(tb.Context(), r); err != nil {
		tb.Fatal(err)
	}
	r.Version++
	return r
}

// why is a reason to end a session.
func why() store.Ended {
	return store.Ended{Reason: store.Revoked, At: time.Now().UTC().Truncate(time.Millisecond)}
}
