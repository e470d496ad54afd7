package secretfile

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Replace calls edit with what the file holds, read by the rule, and puts what it
// returns in the place: a reader sees all of the old or all of the new, also after a
// power failure. Mode and owner stay; what a link leads to is replaced, not the link.
// Where edit fails, nothing is changed, and that error is returned as it is. On Windows
// Replace fails while the file is being read; that is over at once, so try again.
//
// Of all that replace a file at once, in whatever process, one does after the other: on
// Unix the file is locked meanwhile (flock), on other systems and where a file system
// has no locks a file with .lock behind its name is the lock. Whoever holds it is waited
// for until the context ends, and for ten seconds at most; that error is [ErrLocked].
func Replace(ctx context.Context, path string, rule Rule, limit int, edit func(old []byte) ([]byte, error)) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	// A lock on what is no file would be one on a device, or wait for a pipe.
	if err := regular(path, info); err != nil {
		return err
	}
	unlock, err := lockFile(ctx, path)
	if err != nil {
		return err
	}
	defer unlock()
	removeTemps(path)
	old, err := Read(path, rule, limit)
	if err != nil {
		return err
	}
	text, err := edit(old)
	if err != nil {
		return err
	}
	// What was asked above may have been replaced while we waited.
	if info, err = os.Stat(path); err != nil {
		return err
	}
	tmp, err := writeTemp(path, text, info)
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	if err := os.Rename(tmp, path); err != nil {
		if errors.Is(err, syscall.EBUSY) {
			return fmt.Errorf("%w; the file is a mount of its own: mount its directory instead, or change the file where it comes from", err)
		}
		return err
	}
	return syncDir(filepath.Dir(path))
}

// Link is [os.Link]; tests put a file system without hard links in its place.
var Link = os.Link

// Create makes the file, with mode 0600, complete or not at all, also after a power
// failure. It never overwrites: where something is already, of whatever kind, the error
// wraps [fs.ErrExist], and of all that make one file at once one does.
func Create(ctx context.Context, path string, text []byte) error {
	tmp, err := writeTemp(path, text, nil)
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	// A link, unlike a rename, fails where something is already.
	err = Link(tmp, path)
	if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
		// Some file systems have no hard links: FAT, some network shares.
		err = renameLocked(ctx, tmp, path)
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// renameLocked renames without overwriting, among processes that keep to the
// same lock file.
func renameLocked(ctx context.Context, tmp, path string) error {
	unlock, err := lockBeside(ctx, path, 2*time.Second)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return cmp.Or(err, fs.ErrExist)
	}
	return os.Rename(tmp, path)
}

// writeTemp writes a file beside path and returns its name. It has the mode and the
// owner of another, if one is given, and the text has reached the disk before anything
// can lead to it.
func writeTemp(path string, text []byte, like fs.FileInfo) (name string, err error) {
	// CreateTemp makes files of mode 0600.
	f, err := os.CreateTemp(filepath.Dir(path), tempPrefix(path)+"*.tmp")
	if err != nil {
		return "", err
	}
	_, err = f.Write(text)
	if err == nil && like != nil {
		err = keepOwner(f, like)
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
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
// secrets in them. Who holds the lock has the only one that is in use, but for starts
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
