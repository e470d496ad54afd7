package sqlthrottle_test

import (
	"testing"

	"github.com/cloakroom-dev/cloakroom/internal/databases"
	"github.com/cloakroom-dev/cloakroom/throttle"
	"github.com/cloakroom-dev/cloakroom/throttle/sqlthrottle"
	"github.com/cloakroom-dev/cloakroom/throttle/throttletest"
)

// database is an open database of any kind.
type database = databases.Database

// kinds are those of the databases.
var kinds = databases.Kinds

// open opens a store at an address until the test ends.
func open(tb testing.TB, kind int, address string) (*sqlthrottle.Store, database) {
	tb.Helper()
	db := kinds[kind].OpenFor(tb, address)
	s, err := sqlthrottle.Open(tb.Context(), db)
	if err != nil {
		tb.Fatal(err)
	}
	return s, db
}

// TestStore holds each kind to the contract, four instances at a time.
func TestStore(t *testing.T) {
	for i, k := range kinds {
		t.Run(k.Name, func(t *testing.T) {
			address := k.Address(t)
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
