package keyring

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// ReadFile reads the key file at path as [Read] does. On Unix it refuses a file
// that its group or others may read or write (ASVS 13.3.1); on other systems the
// permissions of the directory have to see to that. It refuses whatever is no
// regular file; a symbolic link is followed. The error for a file that does not
// exist wraps fs.ErrNotExist.
func ReadFile(path string) (*Ring, error) {
	text, err := readFile(path, checkMode)
	if err != nil {
		return nil, err
	}
	st, err := readState(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("keyring: key file %q: %w", path, err)
	}
	return newRing(st), nil
}

// readFile returns what a key file holds, whatever it is: at most one byte more
// than a reader of keys takes. Of its mode check is the judge.
func readFile(path string, check func(f *os.File, path string, info fs.FileInfo) error) ([]byte, error) {
	f, err := openRead(path)
	if err != nil {
		advice := ""
		switch {
		case errors.Is(err, fs.ErrNotExist):
			advice = "; cloakroom key new prints what to put into it"
		case errors.Is(err, fs.ErrPermission):
			advice = "; it has to belong to the user that this program runs as"
		}
		return nil, fmt.Errorf("keyring: key file: %w%s", err, advice)
	}
	defer f.Close()
	// The open file is asked, not the path: that cannot change in between.
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("keyring: key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("keyring: key file %q is no regular file; name the file itself", path)
	}
	if err := check(f, path, info); err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("keyring: key file: %w", err)
	}
	return text, nil
}

// OpenFile reads the key file at path as [ReadFile] does, and makes it first
// where there is none: one new key, mode 0600, complete or not at all. It never
// overwrites: of processes that start at once one makes the file, and all read
// the same key. The directory has to exist.
//
// Use it where the file stays: beside a database on one machine. On instances
// whose disk begins empty each would make a key of its own, and they would sign
// each other's visitors out; there, use [ReadFile].
func OpenFile(path string) (*Ring, error) {
	r, err := ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	err = create(path, heading+Generate().Text()+"\n")
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("keyring: make key file: %w", err)
	}
	// Made by us or by another: what lies there now is the key.
	r, err = ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("keyring: key file %q leads to no file, or was just removed; remove the link or make its target", path)
	}
	return r, err
}

// WriteFile writes a key file with the given keys, or replaces it in one step:
// a reader sees all of the old or all of the new. The keys are judged as by
// [New] first. Mode is 0600, and the owner of a file that was there stays;
// comments in it do not. Two programs that change a file at once do not see
// each other: the last one wins. On Windows it fails while the file is being
// read; that is over at once, so try again.
func WriteFile(path string, active Key, others ...Key) error {
	st, err := newState(active, others)
	if err != nil {
		return fmt.Errorf("keyring: %w", err)
	}
	var text strings.Builder
	for _, k := range st.keys {
		text.WriteString(k.Text() + "\n")
	}
	if err := replace(path, text.String()); err != nil {
		return fmt.Errorf("keyring: write key file: %w", err)
	}
	return nil
}

// link is os.Link; a test puts a file system without hard links in its place.
var link = os.Link

// create makes the file with the given text, or says fs.ErrExist.
func create(path, text string) error {
	tmp, err := writeTemp(path, text)
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	// A link, unlike a rename, fails where something is already.
	err = link(tmp, path)
	if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
		// Some file systems have no hard links: FAT, some network shares.
		err = renameLocked(tmp, path)
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// renameLocked renames without overwriting, among processes that keep to the
// same lock file. A crash in these few microseconds leaves the lock behind, and
// the error says so.
func renameLocked(tmp, path string) error {
	lock := path + ".lock"
	for range 100 {
		f, err := os.OpenFile(lock, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if errors.Is(err, fs.ErrExist) {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		if err != nil {
			return err
		}
		f.Close()
		defer os.Remove(lock)
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return cmp.Or(err, fs.ErrExist)
		}
		return os.Rename(tmp, path)
	}
	return fmt.Errorf("%q is in the way; remove it if no other process is making the key file", lock)
}

// replace puts a file with the given text in the place of path.
func replace(path, text string) error {
	// What a link leads to is replaced, not the link.
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	tmp, err := writeTemp(path, text)
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	if info, err := os.Stat(path); err == nil {
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%q is no regular file", path)
		}
		if err := keepOwner(tmp, info); err != nil {
			return err
		}
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// writeTemp writes a file beside path and returns its name. The text has
// reached the disk before anything can lead to it.
func writeTemp(path, text string) (name string, err error) {
	// CreateTemp makes files of mode 0600.
	f, err := os.CreateTemp(filepath.Dir(path), ".cloakroom-keys-*.tmp")
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}
