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
	"slices"
	"strings"
	"time"
)

const (
	// maxFile bounds a key file in bytes: 64 keys and a page of comments.
	maxFile = 64 << 10

	// maxFaults bounds how many faults of a file are told at once.
	maxFaults = 20
)

// An entry is a key and the line it stands on, 0 if on none.
type entry struct {
	key  Key
	line int
}

// where names the entry in an error.
func (e entry) where() string {
	if e.line == 0 {
		return e.key.String()
	}
	return fmt.Sprintf("line %d", e.line)
}

// Read reads a key file: one key a line as [ParseKey] reads it, in any order,
// exactly one of them active. Empty lines and lines that begin with # say
// nothing. It refuses what [New] refuses, and more than 64 KiB.
//
// The error tells every fault with the number of its line and what to do about
// it, and never shows any part of a line.
func Read(r io.Reader) (*Ring, error) {
	st, err := readState(r)
	if err != nil {
		return nil, fmt.Errorf("keyring: read keys: %w", err)
	}
	return newRing(st), nil
}

// ReadKeys reads a key file as [Read] does, and returns the keys in their
// order, secrets included, for a program that changes a key file. It does not
// judge them: [New] and [WriteFile] do.
func ReadKeys(r io.Reader) ([]Key, error) {
	entries, faults, err := readEntries(r)
	if err == nil {
		err = join(faults)
	}
	if err != nil {
		return nil, fmt.Errorf("keyring: read keys: %w", err)
	}
	keys := make([]Key, len(entries))
	for i, e := range entries {
		keys[i] = e.key
	}
	return keys, nil
}

func readState(r io.Reader) (*state, error) {
	entries, faults, err := readEntries(r)
	if err != nil {
		return nil, err
	}
	active := -1
	for i, e := range entries {
		if e.key.state == Active && active < 0 {
			active = i
		}
	}
	switch {
	case len(entries) == 0 && len(faults) == 0:
		return nil, errors.New("there is no key; put in the line that cloakroom key new prints")
	case active > 0:
		e := entries[active]
		entries = slices.Insert(slices.Delete(entries, active, active+1), 0, e)
	case active < 0 && len(faults) == 0:
		// With a line that cannot be read, this may be the active one.
		faults = append(faults, errors.New("no key is active; one line has to have the state active"))
	}
	if err := join(append(faults, judgeAll(entries)...)); err != nil {
		return nil, err
	}
	st := new(state)
	for _, e := range entries {
		st.keys = append(st.keys, e.key)
	}
	return st, nil
}

// readEntries returns the keys that can be read and the faults of the others;
// the error means that the whole cannot be read.
func readEntries(r io.Reader) (entries []entry, faults []error, err error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	switch {
	case err != nil:
		return nil, nil, err
	case len(data) > maxFile:
		return nil, nil, fmt.Errorf("more than %d KiB is no key file", maxFile>>10)
	case bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")):
		// What > makes in older PowerShells.
		return nil, nil, errors.New("text is UTF-16; save it as UTF-8 or ASCII")
	}
	text := strings.TrimPrefix(string(data), "\ufeff")
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.Trim(line, " \t\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		k, err := parseKey(line)
		if err != nil {
			faults = append(faults, fmt.Errorf("line %d: %w", n, err))
			continue
		}
		entries = append(entries, entry{k, n})
	}
	return entries, faults, nil
}

// join makes one error of many, one a line, the first maxFaults of them.
func join(faults []error) error {
	if more := len(faults) - maxFaults; more > 0 {
		faults = append(faults[:maxFaults:maxFaults], fmt.Errorf("and %d more faults", more))
	}
	return errors.Join(faults...)
}

// ReadFile reads the key file at path as [Read] does. On Unix it refuses a file
// that its group or others may read or write (ASVS 13.3.1); on other systems the
// permissions of the directory have to see to that. It refuses whatever is no
// regular file; a symbolic link is followed. The error for a file that does not
// exist wraps fs.ErrNotExist.
func ReadFile(path string) (*Ring, error) {
	f, err := openRead(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("keyring: key file: %w; cloakroom key new prints what to put into it", err)
		}
		return nil, fmt.Errorf("keyring: key file: %w", err)
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
	if err := checkMode(path, info); err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	st, err := readState(f)
	if err != nil {
		return nil, fmt.Errorf("keyring: key file %q: %w", path, err)
	}
	return newRing(st), nil
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
	text := "# Keys of cloakroom, one a line. They are secret: keep them apart from the database's backups.\n" + Generate().Text() + "\n"
	err = create(path, text)
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
