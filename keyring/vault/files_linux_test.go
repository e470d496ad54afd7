package vault_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// In memory, where Kubernetes puts a service account's JWT and lets everybody in the
// container read it, others may read a secret. On a disk they may not.
func TestASVS_13_3_1_MountedSecretsOfALogin(t *testing.T) {
	t.Parallel()
	f, query := ready(t, nil)
	memory, err := os.MkdirTemp("/dev/shm", "cloakroom-vault-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(memory) })
	disk := t.TempDir()
	// Where all temporary files are in memory, it is no disk.
	var st syscall.Statfs_t
	if err := syscall.Statfs(disk, &st); err != nil {
		t.Fatal(err)
	}
	noDisk := st.Type == 0x01021994
	for _, method := range []string{"token", "approle", "kubernetes"} {
		before, path, _ := strings.Cut(query[method], "-file=")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{memory, disk} {
			path := filepath.Join(dir, method)
			rewrite(t, path, string(text))
			if err := os.Chmod(path, 0o444); err != nil {
				t.Fatal(err)
			}
			s := f.open(before + "-file=" + path)
			if dir == memory || noDisk {
				reads(t, s, keys)
				continue
			}
			_, err := s.Read(t.Context())
			told(t, err, "-file: ", "chmod 600")
		}
	}
}
