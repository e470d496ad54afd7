package secretfile_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/secretfile"
)

// TestASVS_13_3_1_WhoElseMayReadOrChange goes through all modes, in memory and on disk.
func TestASVS_13_3_1_WhoElseMayReadOrChange(t *testing.T) {
	shm, err := os.MkdirTemp("/dev/shm", "cloakroom-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(shm) })
	for _, dir := range []string{shm, t.TempDir()} {
		var st syscall.Statfs_t
		if err := syscall.Statfs(dir, &st); err != nil {
			t.Fatal(err)
		}
		memory := st.Type == 0x01021994 // the second may lie there as well
		for mode := range fs.FileMode(0o100) {
			mode |= 0o600
			path := write(t, dir, mode, secret)
			for rule, ok := range map[secretfile.Rule]bool{
				secretfile.Private: mode&0o077 == 0,
				secretfile.Mounted: mode&0o077 == 0 || memory && mode&0o022 == 0,
				secretfile.Sealed:  mode&0o022 == 0,
			} {
				_, err := secretfile.Read(path, rule, 100)
				if (err == nil) != ok {
					t.Errorf("mode %04o, rule %d, in memory %v: %v", mode, rule, memory, err)
				}
				if err != nil && !strings.Contains(err.Error(), " chmod ") {
					t.Errorf("%v: says not what to do", err)
				}
			}
		}
	}
}

// A pipe that nobody writes to keeps nobody waiting.
func TestAPipeIsNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := secretfile.Read(path, secretfile.Private, 100)
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "no regular file") {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("waits for a writer")
	}
}

// TestASVS_13_3_1_FilesOfOthersAreNotBelieved: whoever owns a file can change it, and its
// mode as well.
func TestASVS_13_3_1_FilesOfOthersAreNotBelieved(t *testing.T) {
	for _, c := range []struct {
		owner, process int
		want           bool
	}{
		{1000, 1000, true}, {0, 1000, true}, {1001, 1000, false}, {65534, 1000, false},
		{1000, 0, true}, {0, 0, true},
	} {
		if got := secretfile.Ours(c.owner, c.process); got != c.want {
			t.Errorf("a file of %d is believed by a process of %d: %t", c.owner, c.process, got)
		}
	}
	if os.Geteuid() != 0 {
		return // only root can make a file of another's
	}
	path := write(t, t.TempDir(), 0o600, secret)
	if err := os.Chown(path, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if _, err := secretfile.Read(path, secretfile.Private, 100); err != nil {
		t.Errorf("root cannot rotate the keys of a service: %v", err)
	}
}
