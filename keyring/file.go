package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cloakroom-dev/cloakroom/internal/secretfile"
)

// ReadFile reads the key file at path as [Read] does. On Unix it refuses a file
// that its group or others may read or write (ASVS 13.3.1); on other systems the
// permissions of the directory have to see to that. It refuses whatever is no
// regular file; a symbolic link is followed. The error for a file that does not
// exist wraps fs.ErrNotExist. For a file that something has mounted as a secret see
// [MountedFile].
func ReadFile(path string) (*Ring, error) {
	text, err := readFile(context.Background(), "key file", path, secretfile.Private)
	if err != nil {
		return nil, err
	}
	st, err := readState(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("keyring: key file %q: %w", path, err)
	}
	return newRing(st), nil
}

// readFile returns what a key file holds, by a rule. Noun is what its errors call it.
func readFile(ctx context.Context, noun, path string, rule secretfile.Rule) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("keyring: key file: %w", err)
	}
	text, err := secretfile.Read(path, rule, maxFile)
	if err != nil {
		return nil, explainFile(noun, err)
	}
	return text, nil
}

// explainFile says what to do about a file that cannot be read.
func explainFile(noun string, err error) error {
	var fault *secretfile.Fault
	switch {
	case errors.As(err, &fault):
		return fmt.Errorf("keyring: %s %w", noun, err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("keyring: key file: %w; cloakroom key new prints what to put into it", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("keyring: key file: %w; it has to belong to the user that this program runs as", err)
	}
	return fmt.Errorf("keyring: key file: %w", err)
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
	err = secretfile.Create(context.Background(), path, []byte(heading+Generate().Text()+"\n"))
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
