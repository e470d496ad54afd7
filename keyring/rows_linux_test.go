package keyring_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

// Only who runs as the owner of the key file reads it: another user on the machine
// gets nothing, and is told whose it has to be. Only root can become another user, so
// that for others a file that nobody may read stands for it.
func TestASVS_13_3_2_OnlyTheOwnersProcessReadsTheKeyFile(t *testing.T) {
	// The directory is open to all: it is the file that keeps others out.
	dir, err := os.MkdirTemp("", "cloakroom-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ring, err := keyring.OpenFile(filepath.Join(dir, "keys"))
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err == nil {
		err = copyFile(filepath.Join(dir, "program"), os.Args[0])
	}
	if err != nil {
		t.Fatal(err)
	}
	run := func(uid uint32) string {
		t.Helper()
		cmd := process("read", dir)
		cmd.Path = filepath.Join(dir, "program")
		cmd.Args = []string{cmd.Path}
		if os.Geteuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		}
		out, err := cmd.CombinedOutput()
		if _, exited := err.(*exec.ExitError); err != nil && !exited {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	if got := run(uint32(os.Geteuid())); got != ring.Active().String() {
		t.Errorf("its owner reads %q", got)
	}
	if os.Geteuid() != 0 {
		if err := os.Chmod(filepath.Join(dir, "keys"), 0); err != nil {
			t.Fatal(err)
		}
	}
	got := run(65534)
	if strings.Contains(got, ring.Active().String()) || !strings.Contains(got, "permission denied; it has to belong to the user that this program runs as") {
		t.Errorf("another user reads %q", got)
	}
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	return err
}
