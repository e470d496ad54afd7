package sqlthrottle_test

import (
	"path/filepath"
	"testing"

	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/mariadb"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/postgres"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
	"github.com/cloakroom-dev/cloakroom/throttle"
	"github.com/cloakroom-dev/cloakroom/throttle/sqlthrottle"
	"github.com/cloakroom-dev/cloakroom/throttle/throttletest"
)

// database is an open database of any kind.
type database interface {
	sqlstore.DB
	Close() error
}

// kinds opens a new database of each kind, or one that is there, by its address.
var kinds = []struct {
	name    string
	address func(tb testing.TB) string
	open    func(tb testing.TB, address string) (database, error)
}{
	{
		"sqlite",
		func(tb testing.TB) string { return filepath.Join(tb.TempDir(), "throttle.db") },
		func(_ testing.TB, path string) (database, error) {
			return sqlite.Open(path, &sqlite.Options{Sync: sqlite.Normal})
		},
	},
	{
		"postgres",
		func(tb testing.TB) string { return services.Postgres(tb) },
		func(tb testing.TB, url string) (database, error) { return postgres.Open(tb.Context(), url, nil) },
	},
	{
		"mariadb",
		func(tb testing.TB) string { return services.MariaDB(tb) },
		func(tb testing.TB, url string) (database, error) { return mariadb.Open(tb.Context(), url, nil) },
	},
}

// open opens a store at an address until the test ends.
func open(tb testing.TB, kind int, address string) (*sqlthrottle.Store, database) {
	tb.Helper()
	db, err := kinds[kind].open(tb, address)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	s, err := sqlthrottle.Open(tb.Context(), db)
	if err != nil {
		tb.Fatal(err)
	}
	return s, db
}

// TestStore holds each kind to the contract, four instances at a time.
func TestStore(t *testing.T) {
	for i, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			address := k.address(t)
			stores := make([]throttle.Store, 4)
			var db database
			for n := range stores {
				stores[n], db = open(t, i, address)
			}
			throttletest.RunShared(t, func(t *testing.T) []throttle.Store {
				if _, err := db.Exec(t.Context(), "DELETE FROM cloakroom_throttle"); err != nil {
					t.Fatal(err)
				}
				return stores
			})
		})
	}
}
