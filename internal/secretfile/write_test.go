package secretfile_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/secretfile"
)

// to is an edit to a text, whatever was there.
func to(text string) func([]byte) ([]byte, error) {
	return func([]byte) ([]byte, error) { return []byte(text), nil }
}

// names lists a directory.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return strings.Join(list, " ")
}

func TestReplaceWaitsForAnother(t *testing.T) {
	path := write(t, t.TempDir(), 0o600, "old")
	unlock, err := secretfile.LockFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- secretfile.Replace(t.Context(), path, secretfile.Private, 100, to("new")) }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := secretfile.Replace(ctx, path, secretfile.Private, 100, to("never")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("under another's lock: %v", err)
	}
	select {
	case err := <-done:
		t.Fatalf("did not wait: %v", err)
	default:
	}
	unlock()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "new" {
		t.Errorf("%q, %v", text, err)
	}
}

// A process that hangs with the lock keeps nobody for ever, and nor do its leavings.
func TestTheWaitForALockEnds(t *testing.T) {
	for kind, lock := range map[string]func(context.Context, string) (func(), error){
		"is locked by another process; see that no other key command or program hangs, and try again": secretfile.LockFile,
		`.lock" is in the way; remove it`: func(ctx context.Context, path string) (func(), error) {
			return secretfile.LockBeside(ctx, path, time.Second)
		},
	} {
		path := write(t, t.TempDir(), 0o600, "old")
		unlock, err := lock(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			_, err := lock(t.Context(), path)
			if !errors.Is(err, secretfile.ErrLocked) || !strings.Contains(err.Error(), kind) || !strings.HasPrefix(err.Error(), `"`+path) {
				t.Errorf("error is %v", err)
			}
			if waited := time.Since(start); waited < time.Second || waited > 15*time.Second {
				t.Errorf("%s: after %v", kind, waited)
			}
		})
		unlock()
		if unlock, err = lock(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		unlock()
	}
}

// A hanging lock ends Replace within its bound.
func TestReplaceEndsUnderALock(t *testing.T) {
	path := write(t, t.TempDir(), 0o600, "old")
	unlock, err := secretfile.LockFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		err := secretfile.Replace(t.Context(), path, secretfile.Private, 100, to("new"))
		if waited := time.Since(start); !errors.Is(err, secretfile.ErrLocked) || waited > 15*time.Second {
			t.Errorf("%v after %v", err, waited)
		}
	})
	if text, err := os.ReadFile(path); err != nil || string(text) != "old" {
		t.Errorf("%q, %v", text, err)
	}
}

// Whoever has the lock has it alone, although the file that it lies on is replaced by
// each: a lock on one that is gone is none.
func TestLockIsThatOfTheFileThatIsThere(t *testing.T) {
	path := write(t, t.TempDir(), 0o600, "")
	var inside atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			tmp := fmt.Sprintf("%s.%d", path, i)
			for range 100 {
				unlock, err := secretfile.LockFile(t.Context(), path)
				if err != nil {
					t.Error(err)
					return
				}
				if inside.Add(1) != 1 {
					t.Error("two have the lock at once")
				}
				err = os.WriteFile(tmp, nil, 0o600)
				inside.Add(-1) // with the file, the lock is gone
				err = errors.Join(err, os.Rename(tmp, path))
				unlock()
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// What a crash has left is gone with the next write, whatever the rule: there are
// secrets in it. Files of others are left alone.
func TestReplaceRemovesWhatACrashLeft(t *testing.T) {
	for _, rule := range []secretfile.Rule{secretfile.Private, secretfile.Sealed} {
		dir := t.TempDir()
		path := write(t, dir, 0o600, "old")
		other := filepath.Join(dir, ".cloakroom-keys-00000000-1.tmp")
		left, err := secretfile.WriteTemp(path, []byte("left"), nil)
		if err == nil {
			err = os.WriteFile(other, nil, 0o600)
		}
		if err == nil {
			err = secretfile.Replace(t.Context(), path, rule, 100, to("new"))
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, want := names(t, dir), filepath.Base(other)+" secret"; got != want {
			t.Errorf("in the directory lies %s, want %s (%s was left)", got, want, left)
		}
	}
}

// Of all that make a file at once one does, with and without hard links, and no other
// thing that lies there is touched.
func TestCreateMakesWhatIsNotThere(t *testing.T) {
	for _, link := range []func(string, string) error{os.Link, func(a, b string) error {
		return &os.LinkError{Op: "link", Old: a, New: b, Err: errors.ErrUnsupported}
	}} {
		secretfile.Link = link
		t.Cleanup(func() { secretfile.Link = os.Link })
		dir := t.TempDir()
		path := filepath.Join(dir, "secret")
		var made atomic.Pointer[string]
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				text := fmt.Sprint(i)
				err := secretfile.Create(t.Context(), path, []byte(text))
				switch {
				case err == nil && !made.CompareAndSwap(nil, &text):
					t.Error("two have made it")
				case err != nil && !errors.Is(err, fs.ErrExist):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if text, err := os.ReadFile(path); err != nil || string(text) != *made.Load() {
			t.Errorf("%q, %v, made by %s", text, err, *made.Load())
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
		if names(t, dir) != "secret" {
			t.Errorf("in the directory lies %s", names(t, dir))
		}
		dangling := filepath.Join(dir, "dangling")
		if err := os.Symlink("nowhere", dangling); err != nil {
			t.Fatal(err)
		}
		for _, at := range []string{path, dir, dangling} {
			if err := secretfile.Create(t.Context(), at, []byte("x")); !errors.Is(err, fs.ErrExist) {
				t.Errorf("%s: %v", at, err)
			}
		}
	}
}
