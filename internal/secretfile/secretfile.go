// Package secretfile reads, makes and replaces files that hold secrets: keys,
// passwords, encrypted keys, what opens them. It asks who else may read such a file or
// change it.
//
// Errors name the path and what to do about it, and nothing of what the file holds.
package secretfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// A Rule says what a file's group and others may do with it. Whatever the rule, the file
// has to be the process's own or root's; root reads everybody's. On other systems than
// Unix the permissions of the directory have to see to all that.
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

// What a [Fault] is about, for [errors.Is].
var (
	ErrMode   = errors.New("others may read or change the file")
	ErrKind   = errors.New("it is no regular file")
	ErrSize   = errors.New("it is too large")
	ErrLocked = errors.New("it is locked")
)

// A Fault is why a file is not used that is there. Its text begins with the path.
type Fault struct {
	path, words string
	kind        error
}

// Error returns the path in quotation marks, what is wrong with the file, and what to
// do about it.
func (f *Fault) Error() string { return fmt.Sprintf("%q %s", f.path, f.words) }

// Unwrap returns the kind of fault.
func (f *Fault) Unwrap() error { return f.kind }

func faultf(path string, kind error, format string, args ...any) error {
	return &Fault{path, fmt.Sprintf(format, args...), kind}
}

// Check judges an open file by a rule. Only regular files have modes that say anything.
func Check(f *os.File, rule Rule) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	if err := checkOwner(f, info); err != nil {
		return err
	}
	return checkMode(f, rule, info.Mode().Perm())
}

// Read returns what a regular file holds, by a rule; a symbolic link is followed. More
// than limit bytes are an error. The error for a file that does not exist wraps
// [fs.ErrNotExist], and does not repeat a path that looks like a secret; one for a file
// that is not what it should be is a [Fault].
func Read(path string, rule Rule, limit int) ([]byte, error) {
	f, err := openRead(path)
	if err != nil {
		return nil, hide(err)
	}
	defer f.Close()
	// The open file is asked, not the path: that cannot change in between.
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := regular(path, info); err != nil {
		return nil, err
	}
	if err := Check(f, rule); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if len(text) > limit {
		return nil, faultf(path, ErrSize, "has more than %s; name another file", size(limit))
	}
	return text, nil
}

func regular(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return faultf(path, ErrKind, "is no regular file; name the file itself")
	}
	return nil
}

func size(bytes int) string {
	if bytes > 0 && bytes%1024 == 0 {
		return fmt.Sprintf("%d KiB", bytes/1024)
	}
	return fmt.Sprintf("%d bytes", bytes)
}
