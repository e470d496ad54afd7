package keyring_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

// announceEach adds n keys to the file at path, each in an edit of its own.
func announceEach(path string, n int) error {
	for range n {
		_, err := keyring.Edit(context.Background(), keyring.File(path), func(keys []keyring.Key) ([]keyring.Key, error) {
			return append(keys, keyring.Generate().AsNext()), nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Whoever edits a key file at once, in one process or several, no edit is lost, and
// nothing is left behind.
func TestEditsOfAFileLoseNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "keys")
	if _, err := keyring.OpenFile(path); err != nil {
		t.Fatal(err)
	}
	outs := make([]bytes.Buffer, 3)
	cmds := make([]*exec.Cmd, len(outs))
	for i := range cmds {
		cmds[i] = process("edit", dir)
		cmds[i].Stdout, cmds[i].Stderr = &outs[i], &outs[i]
		if err := cmds[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if err := announceEach(path, 3); err != nil {
				t.Error(err)
			}
		})
	}
	// Who starts meanwhile reads a whole file.
	stop := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			if _, err := keyring.OpenFile(path); err != nil {
				t.Error(err)
				return
			}
		}
	})
	wg.Wait()
	for i := range cmds {
		if err := cmds[i].Wait(); err != nil {
			t.Errorf("process %d: %v: %s", i, err, &outs[i])
		}
	}
	close(stop)
	reader.Wait()
	ring, err := readFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(ring.Keys()); n != 1+8*3 {
		t.Errorf("%d keys are in the file, 25 were put into it", n)
	}
	if names(t, dir) != "keys" {
		t.Errorf("beside the key file lies: %s", names(t, dir))
	}
}

// Of all that have read the same text one may write, and the others learn that they
// came too late.
func TestWriteIsACompareAndSet(t *testing.T) {
	t.Parallel()
	for range 20 {
		path := writeKeys(t, keyring.Generate().Text())
		src := keyring.File(path)
		old, err := src.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		var written []byte
		start := make(chan struct{})
		for range 8 {
			wg.Go(func() {
				text, err := keyring.Text([]keyring.Key{keyring.Generate()})
				if err != nil {
					t.Error(err)
				}
				<-start
				err = keyring.File(path).Write(t.Context(), old, text)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil && written != nil:
					t.Error("two wrote in the place of one text")
				case err == nil:
					written = text
				case !errors.Is(err, keyring.ErrChanged):
					t.Error(err)
				}
			})
		}
		close(start)
		wg.Wait()
		if now, err := src.Read(t.Context()); err != nil || written == nil || !bytes.Equal(now, written) {
			t.Fatalf("what was written is not what stands there: %v", err)
		}
	}
}

// What a crash has left is gone with the next write: there are keys in it. Other files
// are left alone.
func TestWriteRemovesWhatACrashLeft(t *testing.T) {
	t.Parallel()
	path := writeKeys(t, keyring.Generate().Text())
	dir := filepath.Dir(path)
	other := filepath.Join(dir, ".cloakroom-keys-00000000-1.tmp")
	sum := sha256.Sum256([]byte("keys"))
	left := filepath.Join(dir, fmt.Sprintf(".cloakroom-keys-%x-1.tmp", sum[:4]))
	for _, path := range []string{left, other} {
		if err := os.WriteFile(path, []byte(keyring.Generate().Text()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := announceEach(path, 1); err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, dir), filepath.Base(other)+" keys"; got != want {
		t.Errorf("in the directory lies %s, want %s (%s was left)", got, want, left)
	}
}

func TestWriteNeedsAFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := []byte(keyring.Generate().Text())
	for name, path := range map[string]string{
		"no file":      filepath.Join(dir, "keys"),
		"no directory": filepath.Join(dir, "missing", "keys"),
		"a directory":  dir,
	} {
		err := keyring.File(path).Write(t.Context(), nil, text)
		if err == nil || errors.Is(err, keyring.ErrChanged) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if names(t, dir) != "" {
		t.Errorf("it left %s", names(t, dir))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	path := writeKeys(t, string(text))
	for _, src := range []keyring.Source{keyring.File(path), keyring.MountedFile(path)} {
		if _, err := src.Read(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%v under a context that has ended: %v", src, err)
		}
	}
	for src, want := range map[keyring.Source]string{
		keyring.File("a/b"):        "file:a/b",
		keyring.MountedFile("a/b"): "mounted file:a/b",
		keyring.Env("A"):           "env:A",
	} {
		if got := fmt.Sprint(src); got != want {
			t.Errorf("prints as %s, want %s", got, want)
		}
	}
}
