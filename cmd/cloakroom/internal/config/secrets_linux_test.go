package config_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestASVS_13_3_1_PlacesInFilesThatOthersRead: a place may hold a password, so its file
// is nobody else's.
func TestASVS_13_3_1_PlacesInFilesThatOthersRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "place")
	if err := os.WriteFile(path, []byte("redis://:"+secret+"@127.0.0.1/0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode := range fs.FileMode(0o100) {
		if err := os.Chmod(path, 0o600|mode); err != nil {
			t.Fatal(err)
		}
		_, err := load(t, "", map[string]string{"store-file": path})
		switch {
		case mode == 0 && err != nil:
			t.Error(err)
		case mode != 0 && err == nil && mode&0o022 != 0:
			t.Errorf("mode %04o is taken", 0o600|mode)
		case mode != 0 && err == nil && !inMemory(t, path):
			t.Errorf("mode %04o is taken on a disk", 0o600|mode)
		case err != nil && (!strings.HasPrefix(err.Error(), "--store-file: ") || !strings.Contains(err.Error(), "run chmod 600 ") || strings.Contains(err.Error(), secret)):
			t.Errorf("mode %04o: %v", 0o600|mode, err)
		}
	}
	// A shell gives a pipe for <(…), and no mode that says anything.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := w.WriteString("sqlite:u.db"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if c, err := load(t, "", map[string]string{"users-file": fmt.Sprintf("/dev/fd/%d", r.Fd())}); err != nil || c.Users.Path != "u.db" {
		t.Errorf("%v, %v", c, err)
	}
}

// inMemory tells whether a file lies on tmpfs.
func inMemory(t *testing.T, path string) bool {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Type == 0x01021994
}
