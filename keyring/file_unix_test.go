//go:build unix

package keyring_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

func TestASVS_13_3_1_KeyFilesAreMadeForTheOwnerAlone(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	dir := t.TempDir()
	made := filepath.Join(dir, "made")
	if _, err := keyring.OpenFile(made); err != nil {
		t.Fatal(err)
	}
	locked := filepath.Join(dir, "locked")
	setLink(t, noLink)
	if _, err := keyring.OpenFile(locked); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{made, locked} {
		info, err := os.Stat(path)
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("%s has the mode %v, %v", filepath.Base(path), info.Mode(), err)
		}
	}
}

func TestASVS_13_3_1_KeyFilesOpenToOthersAreRefused(t *testing.T) {
	path := writeKeys(t, keyring.Generate().Text())
	for mode := range fs.FileMode(0o1000) {
		if mode&0o400 == 0 {
			continue // nobody but root could read it at all
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		for _, open := range []func(string) (*keyring.Ring, error){readFile, keyring.OpenFile} {
			_, err := open(path)
			if ok := mode&0o077 == 0; (err == nil) != ok {
				t.Errorf("mode %04o: %v", mode, err)
			}
			if err != nil && (!strings.HasSuffix(err.Error(), `run chmod 600 "`+path+`"`) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("mode %04o: error is not one line that ends with what to do: %v", mode, err)
			}
		}
	}
}

func TestWhatIsNoRegularFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		syscall.Mkfifo(at("pipe"), 0o600),
		os.Symlink("loop2", at("loop1")),
		os.Symlink("loop1", at("loop2")),
		os.Symlink("nowhere", at("dangling")),
		os.Mkdir(at("directory"), 0o700),
		os.Symlink("pipe", at("link to pipe")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	before := names(t, dir)
	for name, want := range map[string]string{
		"pipe":         "no regular file",
		"link to pipe": "no regular file",
		"directory":    "no regular file",
		"loop1":        "too many levels",
		"dangling":     "leads to no file",
	} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			if _, err := keyring.OpenFile(at(name)); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error is %v, want it to say %q", name, err, want)
			}
			if _, err := readFile(at(name)); err == nil {
				t.Errorf("%s was read", name)
			}
		}()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatalf("opening %s waits for ever", name)
		}
	}
	// Devices are only read here: root could write over one.
	if _, err := readFile(os.DevNull); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a device: %v", err)
	}
	for _, name := range []string{"pipe", "link to pipe", "directory"} {
		if err := put(at(name), keyring.Generate()); err == nil {
			t.Errorf("%s was written over", name)
		}
	}
	if after := names(t, dir); after != before {
		t.Errorf("the directory changed from %s to %s", before, after)
	}
}

// Mounted secrets are links.
func TestLinksAreFollowed(t *testing.T) {
	k := keyring.Generate()
	target := writeKeys(t, k.Text())
	link := filepath.Join(t.TempDir(), "keys")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.OpenFile(link)
	if err != nil || ring.Active() != k.ID() {
		t.Fatalf("%v, %v", ring, err)
	}
	next := keyring.Generate()
	if err := put(link, next, k.AsNext()); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, target} {
		if ring, err = readFile(path); err != nil || ring.Active() != next.ID() {
			t.Errorf("after a write: %v, %v", ring, err)
		}
	}
	if info, err := os.Lstat(link); err != nil || info.Mode().Type() != fs.ModeSymlink {
		t.Errorf("the link was replaced: %v, %v", info.Mode(), err)
	}
}

// Keys rotated by root stay those of the service. Only root can give files away,
// so that for others this shows that a file of their own stays their own.
func TestWriteKeepsTheOwner(t *testing.T) {
	path := writeKeys(t, keyring.Generate().Text())
	uid, gid := os.Geteuid(), os.Getegid()
	if uid == 0 {
		uid, gid = 12345, 12346
		if err := os.Chown(path, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	if err := put(path, keyring.Generate()); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); int(st.Uid) != uid || int(st.Gid) != gid || info.Mode() != 0o600 {
		t.Errorf("owner is %d:%d with mode %v, was %d:%d", st.Uid, st.Gid, info.Mode(), uid, gid)
	}
}

// A mode that lets nobody else in stays: a key file may be one that its owner cannot
// write to either.
func TestWriteKeepsTheMode(t *testing.T) {
	for _, mode := range []fs.FileMode{0o400, 0o600, 0o700} {
		path := writeKeys(t, keyring.Generate().Text())
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(announceEach(path, 1), put(path, keyring.Generate())); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("mode %v became %v, %v", mode, info.Mode(), err)
		}
	}
}

// A reader meets the old keys or the new ones, never half of a file.
func TestWriteIsAtomic(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	a, b := keyring.Generate(), keyring.Generate()
	if err := put(path, a); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := keyring.OpenFile(path); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 10 {
		if err := errors.Join(put(path, a, b.AsNext()), put(path, b, a.AsNext())); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
}
