// Package databases opens a database of each kind that Cloakroom runs on, for the tests of
// whatever keeps tables there.
package databases

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/mariadb"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/postgres"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
)

// A Database is an open database of any kind.
type Database interface {
	sqlstore.DB
	Store() *sqlstore.Store
	Close() error
}

// A Kind is one kind of database.
type Kind struct {
	Name string

	// Address returns that of a new database, which lasts as long as the test.
	Address func(tb testing.TB) string

	// Open opens the database at an address, as one process of several would.
	Open func(ctx context.Context, address string) (Database, error)
}

// Kinds are all of them. The first needs no server.
var Kinds = []Kind{
	{
		"sqlite",
		func(tb testing.TB) string { return filepath.Join(tb.TempDir(), "test.db") },
		func(_ context.Context, path string) (Database, error) {
			return sqlite.Open(path, &sqlite.Options{Sync: sqlite.Normal})
		},
	},
	{
		"postgres",
		func(tb testing.TB) string { return services.Postgres(tb) },
		func(ctx context.Context, url string) (Database, error) { return postgres.Open(ctx, url, nil) },
	},
	{
		"mariadb",
		func(tb testing.TB) string { return services.MariaDB(tb) },
		func(ctx context.Context, url string) (Database, error) { return mariadb.Open(ctx, url, nil) },
	},
}

// OpenFor opens the database at an address until the test ends.
func (k Kind) OpenFor(tb testing.TB, address string) Database {
	tb.Helper()
	db, err := k.Open(tb.Context(), address)
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
