package main_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/password"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
)

// people are the accounts of a service that keeps them in SQLite, by its back door:
// many at once, with a hash that was computed once or by another program.
type people struct {
	t     *testing.T
	db    *sqlite.DB
	users *sqlusers.Users
}

// peopleOf opens the database in dir, which a command or a service has made.
func peopleOf(t *testing.T, dir string) people {
	t.Helper()
	db, err := sqlite.Open(filepath.Join(dir, "cloakroom-data", "cloakroom.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	users, err := sqlusers.New(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	return people{t, db, users}
}

// add makes an account and returns its ID.
func (p people) add(name, phc string) string {
	p.t.Helper()
	u, err := p.users.Create(p.t.Context(), sqlusers.NewUser{Name: name, Password: phc})
	if err != nil {
		p.t.Fatal(err)
	}
	return u.ID
}

// hash returns the hash that an account has, whatever is written there.
func (p people) hash(name string) string {
	p.t.Helper()
	u, err := p.users.ByName(p.t.Context(), name)
	if err != nil {
		p.t.Fatal(err)
	}
	return u.Password
}

// hashOf is the hash of a password as the service makes it.
func hashOf(t *testing.T, pw string) string {
	t.Helper()
	h, err := password.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	phc, err := h.Hash(t.Context(), pw)
	if err != nil {
		t.Fatal(err)
	}
	return phc
}

// strangerNumber is the address of the nth of up to 2^24 strangers, each a network of
// their own; a service that trusts 127.0.0.1 as a proxy believes it.
func strangerNumber(n int) string { return fmt.Sprintf("10.%d.%d.%d", n>>16&255, n>>8&255, n&255) }
