//go:build unix

package vault_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring/vault"
)

// Certificates may be read by all, and are read to an end; who else could change them
// would say whom to trust.
func TestASVS_13_3_1_FilesOfCertificates(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "hunter2canary")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	long := file(t, strings.Repeat("#", 1<<20+1))
	trusted, err := os.ReadFile(other.file)
	if err != nil {
		t.Fatal(err)
	}
	ca := file(t, string(trusted))
	open := func(place string, variables map[string]string) error {
		done := make(chan error, 1)
		go func() { _, err := vault.Open(place, env(variables)); done <- err }()
		select {
		case err := <-done:
			return err
		case <-time.After(5 * time.Second):
			return errors.New("waits for a pipe")
		}
	}
	const place = "https://host/secret/x?token-file=/t"
	for _, parameter := range []string{"ca", "cert", "key"} {
		for _, path := range []string{pipe, "/dev/zero"} {
			err := open(place+"&"+parameter+"="+path, nil)
			told(t, err, parameter, "not a regular file")
			if err != nil && strings.Contains(err.Error(), path) {
				t.Errorf("shows the value: %v", err)
			}
		}
	}
	told(t, open(place+"&ca="+long, nil), "too long")
	told(t, open(place, map[string]string{"VAULT_CACERT": pipe}), "VAULT_CACERT", "not a regular file")
	for mode, want := range map[os.FileMode]string{0o644: "", 0o444: "", 0o664: "chmod go-w", 0o646: "chmod go-w"} {
		if err := os.Chmod(ca, mode); err != nil {
			t.Fatal(err)
		}
		if err := open(place+"&ca="+ca, nil); want != "" {
			told(t, err, "ca: ", want)
		} else if err != nil {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	// The client reads what the process's own environment names, be it of use or not.
	for _, variable := range []string{"VAULT_CACERT", "VAULT_CLIENT_CERT", "VAULT_CLIENT_KEY"} {
		t.Setenv(variable, pipe)
		told(t, open("http://127.0.0.1:1/secret/x?token-file=/t", nil), variable, "not a regular file")
		os.Unsetenv(variable)
	}
	t.Setenv("VAULT_CAPATH", filepath.Dir(pipe))
	told(t, open("http://127.0.0.1:1/secret/x?token-file=/t", nil), "VAULT_CAPATH", "regular files")
	t.Setenv("VAULT_CAPATH", filepath.Dir(other.file))
	if err := open("http://127.0.0.1:1/secret/x?token-file=/t", nil); err != nil && strings.Contains(err.Error(), "regular files") {
		t.Errorf("a directory of certificates: %v", err)
	}
}
