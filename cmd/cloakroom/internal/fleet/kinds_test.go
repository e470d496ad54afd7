package fleet_test

import (
	"testing"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/internal/databases"
)

type database = databases.Database

// kinds are those of the databases.
var kinds = databases.Kinds

// open opens a fleet, as one process of several would.
func open(t testing.TB, kind int, address string) (*fleet.Fleet, database) {
	t.Helper()
	db := kinds[kind].OpenFor(t, address)
	f, err := fleet.Open(t.Context(), db)
	must(t, err)
	return f, db
}

// each runs a test on a new database of each kind, side by side.
func each(t *testing.T, test func(t *testing.T, open func() (*fleet.Fleet, database))) {
	t.Helper()
	t.Parallel()
	for i, k := range kinds {
		t.Run(k.Name, func(t *testing.T) {
			t.Parallel()
			address := k.Address(t)
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
