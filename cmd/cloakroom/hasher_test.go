package main_test

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
)

// What a command stores of a password is encrypted where the service encrypts, and under
// the same keys: a copy of the database is of no use to anybody, and the service takes it.
func TestCommandsHashAsTheServiceDoes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	stored := func(name string) (phc string) {
		t.Helper()
		db, err := sql.Open("sqlite", filepath.Join(dir, "cloakroom-data", "cloakroom.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := db.QueryRow("SELECT CAST(password AS TEXT) FROM cloakroom_user WHERE CAST(name AS TEXT) = ?", name).Scan(&phc); err != nil {
			t.Fatal(err)
		}
		return phc
	}
	addUser(t, dir, "ada", "--pepper=true")
	addUser(t, dir, "bob")
	if phc := stored("ada"); !strings.HasPrefix(phc, "$sealed$") {
		t.Errorf("with pepper: %.12s", phc)
	}
	if phc := stored("bob"); !strings.HasPrefix(phc, "$argon2id$") {
		t.Errorf("without: %.12s", phc)
	}
	s := start(t, dir, "--pepper=true")
	s.client().login("ada", goodPassword)
	s.client().login("bob", goodPassword)
}
