package keyring

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// ReadFile reads the key file at path as [Read] does. On Unix it refuses a file
// that its group or others may read or write (ASVS 13.3.1); on other systems the
// permissions of the directory have to see to that. It refuses whatever is no
// regular file; a symbolic link is followed. The error for a file that does not
// exist wraps fs.ErrNotExist. For a file that something has mounted as a secret see
// [MountedFile].
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
	// Made by us or by another: what lies there now is the key.
	r, again := ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrExist) && again != nil {
		return nil, fmt.Errorf("keyring: make key file: %w", err)
	}
	err = again
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("keyring: key file %q leads to no file, or was just removed; remove the link or make its target", path)
	}
	return r, err
}

// WriteFile writes a key file with the given keys, or replaces it in one step:
// a reader sees all of the old or all of the new, also after a power failure. The
// keys are judged as by [New] first. The owner of a file that was there stays, and
// so does a mode that nobody else can read; otherwise it is 0600. Comments go. It
// does not ask what is in the file: of two programs that change one at once, the
// last one wins, but see [Edit]. On Windows it fails while the file is being read;
// that is over at once, so try again.
func WriteFile(path string, active Key, others ...Key) error {
	st, err := newState(active, others)
	if err != nil {
		return fmt.Errorf("keyring: %w", err)
	}
	var text strings.Builder
	for _, k := range st.keys {
		text.WriteString(k.Text() + "\n")
	}
	if err := replace(context.Background(), path, text.String(), nil); err != nil {
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
// same lock file.
func renameLocked(tmp, path string) error {
	unlock, err := lockBeside(context.Background(), path, 2*time.Second)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return cmp.Or(err, fs.ErrExist)
	}
	return os.Rename(tmp, path)
}

// replace puts a file with the given text in the place of path, unless check, which
// may be nil, has an objection. Meanwhile no other call changes the file, in whatever
// process.
func replace(ctx context.Context, path, text string, check func() error) error {
	// What a link leads to is replaced, not the link.
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if check != nil {
			return err
		}
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%q is no regular file", path)
	default:
		unlock, err := lockFile(ctx, path)
		if err != nil {
			return err
		}
		defer unlock()
		// The one that was asked above may have been replaced while we waited.
		if info, err = os.Stat(path); err != nil {
			return err
		}
		removeTemps(path)
	}
	if check != nil {
		if err := check(); err != nil {
			return err
		}
	}
	tmp, err := writeTemp(path, text)
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	if info != nil {
		if err := keepOwner(tmp, info); err != nil {
			return err
		}
	}
	if err := os.Rename(tmp, path); err != nil {
		if errors.Is(err, syscall.EBUSY) {
			return fmt.Errorf("%w; the file is a mount of its own: mount its directory instead, or change the file where it comes from", err)
		}
		return err
	}
	return syncDir(filepath.Dir(path))
}

// writeTemp writes a file beside path and returns its name. The text has
// reached the disk before anything can lead to it.
func writeTemp(path, text string) (name string, err error) {
	// CreateTemp makes files of mode 0600.
	f, err := os.CreateTemp(filepath.Dir(path), tempPrefix(path)+"*.tmp")
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

// tempPrefix begins the names of the files that writeTemp makes for path.
func tempPrefix(path string) string {
	sum := sha256.Sum256([]byte(filepath.Base(path)))
	return fmt.Sprintf(".cloakroom-keys-%x-", sum[:4])
}

// removeTemps removes the files of writeTemp that a crash has left behind: there are
// keys in them. Who holds the lock has the only one that is in use, but for starts
// that race to make the file: they find it made.
func removeTemps(path string) {
	dir, prefix := filepath.Dir(path), tempPrefix(path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // who may write to a directory need not be able to list it
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) && strings.HasSuffix(e.Name(), ".tmp") {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}
