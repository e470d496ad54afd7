package fleet_test

import (
	"path/filepath"
	"testing"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/mariadb"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/postgres"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
)

// database is an open database of any kind.
type database interface {
	sqlstore.DB
	Close() error
}

// kinds opens a new database of each kind, or one that is there, by its address.
var kinds = []struct {
	name    string
	address func(t testing.TB) string
	open    func(t testing.TB, address string) (database, error)
}{
	{
		"sqlite",
		func(t testing.TB) string { return filepath.Join(t.TempDir(), "fleet.db") },
		func(_ testing.TB, path string) (database, error) {
			return sqlite.Open(path, &sqlite.Options{Sync: sqlite.Normal})
		},
	},
	{
		"postgres",
		func(t testing.TB) string { return services.Postgres(t) },
		func(t testing.TB, url string) (database, error) { return postgres.Open(t.Context(), url, nil) },
	},
	{
		"mariadb",
		func(t testing.TB) string { return services.MariaDB(t) },
		func(t testing.TB, url string) (database, error) { return mariadb.Open(t.Context(), url, nil) },
	},
}

// open opens a fleet, as one process of several would.
func open(t testing.TB, kind int, address string) (*fleet.Fleet, database) {
	t.Helper()
	db, err := kinds[kind].open(t, address)
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	f, err := fleet.Open(t.Context(), db)
	must(t, err)
	return f, db
}

// each runs a test on a new database of each kind, side by side.
func each(t *testing.T, test func(t *testing.T, open func() (*fleet.Fleet, database))) {
	t.Helper()
	t.Parallel()
	for i, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			address := k.address(t)
			test(t, func() (*fleet.Fleet, database) { return open(t, i, address) })
		})
	}
}

// must ends the test if something went wrong.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
