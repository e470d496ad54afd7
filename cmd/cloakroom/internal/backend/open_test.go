package backend

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
)

// One database file is opened once, whatever the two settings call it: SQLite has one
// writer, and two of them would wait for each other.
func TestOneFileByTwoNames(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(filepath.Join(dir, "data"), 0o700))
	must(os.Symlink("data", filepath.Join(dir, "folder")))
	must(os.Symlink(filepath.Join("data", "db"), filepath.Join(dir, "link")))
	db := filepath.Join(dir, "data", "db")
	for _, c := range []struct {
		name, store string
		want        int // databases
	}{
		{"the same name", db, 1},
		{"a name with dots", filepath.Join(dir, "data") + "/../data/./db", 1},
		{"a folder that is a link", filepath.Join(dir, "folder", "db"), 1},
		{"a link to the file", filepath.Join(dir, "link"), 1},
		{"another file", filepath.Join(dir, "data", "other"), 2},
	} {
		cfg := &config.Config{Data: dir, Users: config.Place{Scheme: config.SQLite, Path: db}, Store: config.Place{Scheme: config.SQLite, Path: c.store}}
		if got := cfg.Store.Same(cfg.Users); got != (c.want == 1) {
			t.Errorf("%s: one place: %t", c.name, got)
		}
		b, err := Open(t.Context(), cfg, true, slog.New(slog.DiscardHandler))
		must(err)
		if got := len(b.closers); got != c.want {
			t.Errorf("%s: %d databases are open, want %d", c.name, got, c.want)
		}
		must(b.Close())
	}
}
