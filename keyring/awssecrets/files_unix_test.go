//go:build unix

package awssecrets_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring/awssecrets"
)

// TestFilesWithoutAnEnd: what is a pipe is not waited for, whichever of the SDK's files
// it stands for, and nobody waits for a turn because of it.
func TestFilesWithoutAnEnd(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), canary)
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, variable := range []string{"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"} {
		t.Run(variable, func(t *testing.T) {
			serve(t, "x")
			before := os.Getenv(variable)
			t.Setenv(variable, pipe)
			src, err := awssecrets.Open(name, &awssecrets.Options{Timeout: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { _, err := src.Read(t.Context()); done <- err }()
			select {
			case err = <-done:
			case <-time.After(5 * time.Second):
				err = errors.New("waits for a pipe")
			}
			check(t, variable, err, variable, "not a regular one")
			t.Setenv(variable, before)
			if _, err := src.Read(t.Context()); err != nil {
				t.Errorf("once it is away: %v", err)
			}
		})
	}
}
