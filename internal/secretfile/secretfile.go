// Package secretfile reads and replaces files that hold secrets: passwords, encrypted
// keys, what opens them. It asks who else may read such a file or change it.
//
// Errors name the path and what to do about it, and nothing of what the file holds.
package secretfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// A Rule says what a file's group and others may do with it. On other systems than
// Unix the permissions of the directory have to see to that.
type Rule int

const (
	// Private lets nobody else read or change the file (ASVS 13.3.1).
	Private Rule = iota

	// Mounted is Private, but for a file that lies in memory (on tmpfs or ramfs, on
	// Linux): others may read it, as what mounts secrets gives such modes, and who
	// can see the mount is up to that.
	Mounted

	// Sealed lets others read the file, as it is encrypted, but not change it.
	Sealed
)

// Check judges an open file by a rule. Only regular files have modes that say anything.
func Check(f *os.File, rule Rule) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	return checkMode(f, rule, info.Mode().Perm())
}

// Read returns what a regular file holds, by a rule; a symbolic link is followed. More
// than limit bytes are an error. The error for a file that does not exist wraps
// [fs.ErrNotExist].
func Read(path string, rule Rule, limit int) ([]byte, error) {
	f, err := openRead(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// The open file is asked, not the path: that cannot change in between.
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%q is no regular file; name the file itself", path)
	}
	if err := Check(f, rule); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if len(text) > limit {
		return nil, fmt.Errorf("%q has more than %d bytes; name another file", path, limit)
	}
	return text, nil
}

// Replace calls edit with what the file holds, read by the rule, and puts what it
// returns in the place: a reader sees all of the old or all of the new, which has
// reached the disk by then. Mode and owner stay; what a link leads to is replaced, not
// the link. Of programs that replace files of a directory by this function at once, one
// does after the other. Where edit fails, nothing is changed.
func Replace(path string, rule Rule, limit int, edit func(old []byte) ([]byte, error)) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	unlock, err := lock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	old, err := Read(path, rule, limit)
	if err != nil {
		return err
	}
	text, err := edit(old)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	tmp, err := writeTemp(dir, text, info)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		os.Remove(tmp)
		return err
	}
	return syncDir(dir)
}

// writeTemp writes a file into the directory, with the mode and the owner of another,
// and returns its name.
func writeTemp(dir string, text []byte, like fs.FileInfo) (name string, err error) {
	f, err := os.CreateTemp(dir, ".cloakroom-*.tmp") // of mode 0600
	if err != nil {
		return "", err
	}
	_, err = f.Write(text)
	if err == nil {
		err = keepOwner(f, like)
	}
	if err == nil {
		err = f.Chmod(like.Mode().Perm())
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}
