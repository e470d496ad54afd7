//go:build unix

package gcpsecrets_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring/gcpsecrets"
)

// federation are the changes that make a file one of workload identity federation.
func federation(s *server, source map[string]any) map[string]any {
	return map[string]any{"type": "external_account", "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x",
		"subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": s.URL + "/token", "credential_source": source}
}

// TestASVS_13_3_1_FileOfCredentials: a file that others can change is not used, and
// none with a secret that others can read; what is a pipe is not waited for.
func TestASVS_13_3_1_FileOfCredentials(t *testing.T) {
	s := serve(t, "x")
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(canary), 0o600); err != nil {
		t.Fatal(err)
	}
	pipe := filepath.Join(t.TempDir(), canary)
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	read := func() error {
		src, err := gcpsecrets.Open(s.place(), &gcpsecrets.Options{Timeout: 2 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { _, err := src.Read(t.Context()); done <- err }()
		select {
		case err := <-done:
			return err
		case <-time.After(10 * time.Second):
			return errors.New("waits for a pipe")
		}
	}
	public := federation(s, map[string]any{"file": token})
	for _, c := range []struct {
		what    string
		changes map[string]any
		mode    os.FileMode
		want    string
	}{
		{"own", nil, 0o400, ""}, {"changed by all", nil, 0o666, "open to others"}, {"changed by the group", nil, 0o620, "open to others"},
		{"federation, changed by all", public, 0o606, "open to others"},
		{"pipe behind it", federation(s, map[string]any{"file": pipe}), 0o600, "not a regular file"},
	} {
		if err := os.Chmod(s.credentials(c.changes), c.mode); err != nil {
			t.Fatal(err)
		}
		if err := read(); c.want != "" {
			check(t, c.what, err, c.want)
		} else if err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	// No secret is in this one; what it says is tried, and fails at the server.
	if err := os.Chmod(s.credentials(public), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := read(); err == nil || strings.Contains(err.Error(), "open to others") {
		t.Errorf("federation, read by all: %v", err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", pipe)
	check(t, "pipe", read(), "not a regular file")
}
