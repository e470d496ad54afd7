package sqlite_test

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
)

// TestPromise11_FileModes: the database and what lies beside it are its owner's
// alone, whatever the umask; the mode of a file that exists is the operator's.
func TestPromise11_FileModes(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	path := filepath.Join(t.TempDir(), "a.db")
	db, err := sqlite.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Store().Put(t.Context(), record(10)); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != 3 {
		t.Errorf("files %q, %v, want the database, its log and its index", files, err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", f, info.Mode())
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if files, err := filepath.Glob(path + "*"); err != nil || len(files) != 1 {
		t.Errorf("files %q, %v, want the database alone once it is closed", files, err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if db, err = sqlite.Open(path, nil); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v, want it left alone", info.Mode())
	}
}

func init() {
	children["refused"] = func(path string) error {
		db, err := sqlite.Open(path, nil)
		if err == nil {
			db.Close()
		}
		return err
	}
}

// TestUnwritable: as a user who may not write. Root may write everywhere, so
// root's tests ask another user.
func TestUnwritable(t *testing.T) {
	dir, err := os.MkdirTemp("", "cloakroom")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "a.db")
	db, err := sqlite.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name       string
		path       string
		file, dir  os.FileMode
		wantInside string
	}{
		{"read-only file", path, 0o444, 0o755, "may not write"},
		{"secret file", path, 0o000, 0o755, "check the permissions"},
		{"read-only folder", filepath.Join(dir, "b.db"), 0o600, 0o555, "may not write"},
	} {
		if err := os.Chmod(path, c.file); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, c.dir); err != nil {
			t.Fatal(err)
		}
		cmd := child(t, "refused", c.path)
		if os.Getuid() == 0 {
			// The folder of the test binary is root's own, but a program can always
			// be started through the link to itself.
			cmd.Path = "/proc/self/exe"
			cmd.Dir = "/"
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
		out, err := cmd.CombinedOutput()
		if err == nil || !bytes.Contains(out, []byte(c.wantInside)) || bytes.Count(out, []byte("\n")) != 1 {
			t.Errorf("%s: %v, %q, want one line with %q", c.name, err, out, c.wantInside)
		}
	}
	os.Chmod(dir, 0o755)
}
