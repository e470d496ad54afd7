package keyring_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

// inMemory returns a directory on tmpfs, where secrets are mounted.
func inMemory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "cloakroom-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Mounted secrets may be read by others in memory alone, and changed by nobody.
func TestASVS_13_3_1_MountedSecretsOpenToOthersLieInMemory(t *testing.T) {
	text := keyring.Generate().Text()
	for _, dir := range []string{inMemory(t), t.TempDir()} {
		// The second is on a disk, but where all temporary files are in memory.
		var st syscall.Statfs_t
		if err := syscall.Statfs(dir, &st); err != nil {
			t.Fatal(err)
		}
		memory := st.Type == 0x01021994
		path := filepath.Join(dir, "keys")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for mode := range fs.FileMode(0o1000) {
			if mode&0o400 == 0 {
				continue
			}
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			_, err := keyring.Load(t.Context(), keyring.MountedFile(path))
			ok := mode&0o022 == 0 && (memory || mode&0o077 == 0)
			if (err == nil) != ok {
				t.Errorf("mode %04o, in memory %v: %v", mode, memory, err)
			}
			if err != nil && (!strings.Contains(err.Error(), "mount it with mode 0400") || strings.Contains(err.Error(), "\n")) {
				t.Errorf("mode %04o: error is not one line with what to do: %v", mode, err)
			}
			// A key file of one's own has no such liberty.
			if _, err := readFile(path); (err == nil) != (mode&0o077 == 0) {
				t.Errorf("mode %04o, read as a key file: %v", mode, err)
			}
		}
	}
}

// Kubernetes mounts links to links, and swaps the one to the directory.
func TestMountedSecretsAreSwapped(t *testing.T) {
	dir := inMemory(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	put := func(version string, k keyring.Key) {
		t.Helper()
		for _, err := range []error{
			os.Mkdir(at(version), 0o755),
			os.WriteFile(filepath.Join(at(version), "keys"), []byte(k.Text()), 0o644),
			os.Symlink(version, at("..data_tmp")),
			os.Rename(at("..data_tmp"), at("..data")),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	a, b := keyring.Generate(), keyring.Generate()
	put("..v1", a)
	if err := os.Symlink("..data/keys", at("keys")); err != nil {
		t.Fatal(err)
	}
	src := keyring.MountedFile(at("keys"))
	if ring, err := keyring.Load(t.Context(), src); err != nil || ring.Active() != a.ID() {
		t.Errorf("%v, %v", ring, err)
	}
	put("..v2", b)
	if err := os.RemoveAll(at("..v1")); err != nil {
		t.Fatal(err)
	}
	if ring, err := keyring.Load(t.Context(), src); err != nil || ring.Active() != b.ID() {
		t.Errorf("after the swap: %v, %v", ring, err)
	}
	if _, ok := src.(keyring.Writer); ok {
		t.Error("a mounted secret can be written to")
	}
}
