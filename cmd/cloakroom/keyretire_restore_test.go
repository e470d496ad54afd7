package main_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestPromise10_AKeyThatIsPutBackIsNotRetired: something restores the key file as soon as
// it is written. The command says so, and does not end as if the key were gone.
func TestPromise10_AKeyThatIsPutBackIsNotRetired(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addUser(t, dir, "ada")
	s := start(t, dir)
	s.end(os.Interrupt) // no instance is left to tell of the key
	path := filepath.Join(dir, "cloakroom-data", "keys")
	was, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	old := keysOf(t, dir, "active")[0]
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Microsecond):
			}
			if now, err := os.ReadFile(path); err != nil || !bytes.Contains(now, []byte("retiring")) {
				continue
			}
			if err := os.WriteFile(path+".before", was, 0o600); err != nil {
				t.Error(err)
			} else if err := os.Rename(path+".before", path); err != nil {
				t.Error(err)
			}
		}
	})
	code, out := command(t, dir, "key", "retire", "--now", "--wait=2s", old)
	close(stop)
	wg.Wait()
	if code != 1 || strings.TrimSpace(out) == "" {
		t.Errorf("exit code %d: %s", code, out)
	}
	if active := keysOf(t, dir, "active"); active[0] == old && !strings.Contains(out, "put the keys back") {
		t.Errorf("it does not say why: %s", out)
	}
	must(t, dir, "key", "retire", "--now", old) // now that nothing restores it
}
