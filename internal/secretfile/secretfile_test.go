package secretfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cloakroom-dev/cloakroom/internal/secretfile"
)

const secret = "hunter2hunter2"

func write(t *testing.T, dir string, mode fs.FileMode, text string) string {
	t.Helper()
	path := filepath.Join(dir, "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadRefuses(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir, 0o600, secret)
	if b, err := secretfile.Read(path, secretfile.Private, len(secret)); err != nil || string(b) != secret {
		t.Errorf("%q, %v", b, err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("secret", link); err != nil {
		t.Fatal(err)
	}
	if b, err := secretfile.Read(link, secretfile.Private, 100); err != nil || string(b) != secret {
		t.Errorf("through a link: %q, %v", b, err)
	}
	if _, err := secretfile.Read(path, secretfile.Private, len(secret)-1); err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("too long: %v", err)
	}
	if _, err := secretfile.Read(dir, secretfile.Private, 100); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a directory: %v", err)
	}
	if _, err := secretfile.Read(path+"x", secretfile.Private, 100); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
}

// What replaces a file leaves nothing half-done, keeps the mode, goes through links,
// and of many at once none undoes another.
func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir, 0o640, "0")
	link := filepath.Join(dir, "link")
	if err := os.Symlink("secret", link); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			err := secretfile.Replace(t.Context(), []string{path, link}[i%2], secretfile.Sealed, 100, func(old []byte) ([]byte, error) {
				n, err := strconv.Atoi(string(old))
				return fmt.Append(nil, n+1), err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	text, err := os.ReadFile(path)
	if err != nil || string(text) != "40" {
		t.Errorf("%q, %v, want 40", text, err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode() != 0o640 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode().Type() != fs.ModeSymlink {
		t.Errorf("the link was replaced: %v, %v", info.Mode(), err)
	}
	no := errors.New("no")
	if err := secretfile.Replace(t.Context(), path, secretfile.Sealed, 100, func([]byte) ([]byte, error) { return nil, no }); !errors.Is(err, no) {
		t.Error(err)
	}
	if err := secretfile.Replace(t.Context(), path+"x", secretfile.Sealed, 100, func([]byte) ([]byte, error) { return nil, nil }); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := secretfile.Replace(t.Context(), path, secretfile.Private, 100, func([]byte) ([]byte, error) { return nil, nil }); err == nil {
		t.Error("a file that others read is replaced as if it were private")
	}
	if names, err := filepath.Glob(filepath.Join(dir, ".cloakroom-*")); err != nil || len(names) > 0 {
		t.Errorf("left behind: %v, %v", names, err)
	}
	if text, _ = os.ReadFile(path); !bytes.Equal(text, []byte("40")) {
		t.Errorf("%q after failures", text)
	}
}
