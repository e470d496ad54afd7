package remote_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/remote"
	"github.com/cloakroom-dev/cloakroom/internal/secretfile"
)

func TestTimeout(t *testing.T) {
	for option, want := range map[time.Duration]time.Duration{0: 10 * time.Second, time.Millisecond: time.Millisecond, time.Minute: time.Minute} {
		if got, fault := remote.Timeout(option); got != want || fault != "" {
			t.Errorf("%v: %v, %q", option, got, fault)
		}
	}
	for _, option := range []time.Duration{-1, 1, time.Millisecond - 1, time.Minute + 1} {
		if _, fault := remote.Timeout(option); fault != "Options.Timeout must be between 1ms and 1m" {
			t.Errorf("%v: %q", option, fault)
		}
	}
}

func TestSendable(t *testing.T) {
	for _, text := range []string{"x", "!~", strings.Repeat("x", remote.MaxToken)} {
		if !remote.Sendable(text) {
			t.Errorf("%.10q is refused", text)
		}
	}
	for _, text := range []string{"", " ", "a b", "a\n", "\x7f", "ä", strings.Repeat("x", remote.MaxToken+1)} {
		if remote.Sendable(text) {
			t.Errorf("%.10q is taken", text)
		}
	}
}

// TestASVS_16_2_5_FileFault: what is wrong with a file, and not which one it is.
func TestASVS_16_2_5_FileFault(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hunter2")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{path: "chmod 600", filepath.Dir(path): "not a regular file"} {
		_, err := secretfile.Read(file, secretfile.Mounted, 10)
		if got := remote.FileFault(err); !strings.Contains(got, want) || strings.Contains(got, "hunter2") {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
	if got := remote.FileFault(os.ErrPermission); !strings.Contains(got, "may not be read") {
		t.Error(got)
	}
	if got := remote.FileFault(os.ErrNotExist); got != "" {
		t.Error(got)
	}
}
