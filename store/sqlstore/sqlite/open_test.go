package sqlite_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
)

// refused opens a path and wants a one-line error that holds these words.
func refused(t *testing.T, path string, opts *sqlite.Options, words ...string) {
	t.Helper()
	db, err := sqlite.Open(path, opts)
	if err == nil {
		db.Close()
		t.Errorf("%q was opened", path)
		return
	}
	if s := err.Error(); strings.Contains(s, "\n") || strings.Contains(s, "sqlite: sqlite:") || len(s) > 400 {
		t.Errorf("not an error of one line: %q", s)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

// TestOddPaths: no character of a path ends it, opens another file or sets an
// option.
func TestOddPaths(t *testing.T) {
	dir := t.TempDir()
	names := []string{
		"plain.db", "with space.db", "question?mode=memory.db", "hash#1.db", "percent%41%.db", "colon:a.db",
		"amp&_pragma=synchronous(0).db", "plus+.db", "quote'\"`.db", "ünï-日本.db", "-dash", "semi;colon.db", "back\\slash.db",
		"_txlock=deferred", "new\nline.db", "\xff.db", "memory", strings.Repeat("x", 200),
	}
	if os.PathSeparator == '\\' {
		names = []string{"plain.db", "with space.db", "hash#1.db", "percent%41%.db", "amp&.db", "plus+.db", "ünï.db", "semi;colon.db"}
	}
	for _, name := range names {
		db, err := sqlite.Open(filepath.Join(dir, name), nil)
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if err := db.Store().Put(t.Context(), record(10)); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		var level int
		if err := db.Reader().QueryRowContext(t.Context(), "PRAGMA query_only").Scan(&level); err != nil || level != 1 {
			t.Errorf("%q: query_only %d, %v", name, level, err)
		}
		if err := db.Close(); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%q: the database is not in that file: %v", name, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(names) {
		t.Errorf("%d files of %d databases, %v: %v", len(entries), len(names), err, entries)
	}
}

func TestRelativePath(t *testing.T) {
	t.Chdir(t.TempDir())
	db, err := sqlite.Open("here.db", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir()) // connections that are opened later find the same file
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := db.Store().ListUser(t.Context(), "user"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

func TestRefusedPaths(t *testing.T) {
	dir := t.TempDir()
	refused(t, "", nil, "name a file")
	refused(t, ":memory:", nil, "memstore")
	refused(t, "file:x.db?mode=memory", nil, "memstore")
	refused(t, dir, nil, "is a folder", "name a file in it")
	refused(t, filepath.Join(dir, "nowhere", "a.db"), nil, "make it first")
	refused(t, filepath.Join(dir, "a\x00b"), nil, "NUL")
	refused(t, os.DevNull, nil, "not a regular file")

	text := filepath.Join(dir, "text.db")
	if err := os.WriteFile(text, bytes.Repeat([]byte("no database\n"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, text, nil, "not a SQLite database", "text.db")
	if b, err := os.ReadFile(text); err != nil || len(b) != 12000 {
		t.Errorf("the refused file was changed: %d bytes, %v", len(b), err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	_, err := sqlite.Open(path, &sqlite.Options{Sync: 7, BusyTimeout: -1, Readers: 65})
	if err == nil {
		t.Fatal("taken")
	}
	for _, w := range []string{"Sync", "BusyTimeout", "Readers"} {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error lacks %s: %v", w, err)
		}
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("a file was made: %v", err)
	}
}

// TestSettings: what the package comment promises is set on every connection.
func TestSettings(t *testing.T) {
	for _, c := range []struct {
		sync sqlite.Sync
		want int
	}{{sqlite.Full, 2}, {sqlite.Normal, 1}} {
		db := open(t, &sqlite.Options{Sync: c.sync})
		for pragma, want := range map[string]any{
			"synchronous": int64(c.want), "foreign_keys": int64(1), "journal_mode": "wal", "trusted_schema": int64(0),
		} {
			if got := onWriter(t, db, "PRAGMA "+pragma); got != want {
				t.Errorf("%s is %v, want %v", pragma, got, want)
			}
		}
	}
}

// TestReaderCannotWrite: a statement that changes something and runs on the read
// pool by mistake is refused.
func TestReaderCannotWrite(t *testing.T) {
	db := open(t, nil)
	r := record(10)
	if err := db.Store().Put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Reader().ExecContext(t.Context(), "DELETE FROM cloakroom_session"); err == nil {
		t.Error("the read pool wrote")
	}
	if _, err := db.Store().Get(t.Context(), r.ID); err != nil {
		t.Error(err)
	}
}

// TestDamage: a damaged file is an error that says so, at the latest when it is
// looked for.
func TestDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	db, err := sqlite.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		if err := db.Store().Put(t.Context(), record(500)); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.IntegrityCheck(t.Context()); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 8 * 4096; i < len(b); i += 4096 {
		copy(b[i:], bytes.Repeat([]byte{0x5a}, 64)) // the head of every page behind the tables' own
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err = sqlite.Open(path, nil)
	if err == nil {
		err = db.IntegrityCheck(t.Context())
		db.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "restore a backup") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want one line that says what to do", err)
	}

	copy(b[100:], bytes.Repeat([]byte{0xff}, 200)) // the first page
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, path, nil, "damaged", "restore a backup")
}

// TestOthersTables: the database of another program keeps what it had.
func TestOthersTables(t *testing.T) {
	path := filepath.Join(t.TempDir(), "theirs.db")
	theirs := rawOpen(t, path)
	if _, err := theirs.Exec("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (42)"); err != nil {
		t.Fatal(err)
	}
	db, err := sqlite.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Store().Put(t.Context(), record(10)); err != nil {
		t.Fatal(err)
	}
	var a int
	if err := theirs.QueryRow("SELECT a FROM theirs").Scan(&a); err != nil || a != 42 {
		t.Errorf("theirs is %d, %v", a, err)
	}
}

// TestHeldByAnother: a program that never lets go is named after the timeout,
// and forgotten when it has let go.
func TestHeldByAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	db, err := sqlite.Open(path, &sqlite.Options{BusyTimeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	other := rawOpen(t, path)
	if _, err := other.Exec("BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	r := record(10)
	start := time.Now()
	err = db.Store().Put(t.Context(), r)
	if err == nil || !strings.Contains(err.Error(), "another program holds it") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want one line that says what to do", err)
	}
	if took := time.Since(start); took < 50*time.Millisecond {
		t.Errorf("gave up after %v, want 50 ms", took)
	}
	refused(t, path, &sqlite.Options{BusyTimeout: 50 * time.Millisecond}, "another program holds it")
	if _, err := other.Exec("ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := db.Store().Put(t.Context(), r); err != nil {
		t.Error(err)
	}
	if _, err := db.Store().Get(t.Context(), store.ID{}); err == nil {
		t.Error("found nobody")
	}
}
