package mariadb_test

import (
	"testing"

	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/mariadb"
	"github.com/cloakroom-dev/cloakroom/store/storetest"
)

// open returns a new database.
func open(tb testing.TB, opts *mariadb.Options) *mariadb.DB {
	tb.Helper()
	return openURL(tb, services.MariaDB(tb), opts)
}

// openURL opens a database that is there.
func openURL(tb testing.TB, url string, opts *mariadb.Options) *mariadb.DB {
	tb.Helper()
	db, err := mariadb.Open(tb.Context(), url, opts)
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

// TestStore holds the store to the contract.
func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, nil).Store() })
}
