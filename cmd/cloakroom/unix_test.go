//go:build unix

package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// As root no mode keeps the service from writing; so it runs as nobody.
func TestDataDirectoryThatCannotBeWritten(t *testing.T) {
	dir, err := os.MkdirTemp("", "cloakroom-ro")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o555); os.Getuid() == 0 && err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{"cloakroom-data", "data"} {
		cmd := exec.Command(binary, "serve", "--listen=127.0.0.1:0", "--data="+data)
		cmd.Dir = dir
		if os.Getuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		} else if data == "data" {
			continue
		}
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != 2 || strings.Count(string(out), "\n") != 1 || !strings.Contains(string(out), "permission denied: choose another directory with --data") {
			t.Errorf("%s: exit code %d: %s", data, code, out)
		}
	}
}
