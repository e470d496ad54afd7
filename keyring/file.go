package keyring

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cloakroom-dev/cloakroom/internal/secretfile"
)

// readFile returns what a key file holds, by a rule. Errors call it by the noun.
func readFile(ctx context.Context, noun, path string, rule secretfile.Rule) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("keyring: %s: %w", noun, err)
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
		return fmt.Errorf("keyring: %s: %w; cloakroom key new prints what to put into it", noun, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("keyring: %s: %w; it has to belong to the user that this program runs as", noun, err)
	}
	return fmt.Errorf("keyring: %s: %w", noun, err)
}

// OpenFile loads the [File] at path, and makes it first where there is none: one new
// key, mode 0600, complete or not at all. It never overwrites: of processes that start
// at once one makes the file, and all read the same key. The directory has to exist.
//
// Use it where the file stays: beside a database on one machine. On instances
// whose disk begins empty each would make a key of its own, and they would sign
// each other's visitors out; there, use [Load].
func OpenFile(path string) (*Ring, error) {
	ctx, src := context.Background(), File(path)
	r, err := Load(ctx, src)
	if !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	err = secretfile.Create(ctx, path, []byte(heading+Generate().Text()+"\n"))
	// Made by us or by another: what lies there now is the key.
	r, again := Load(ctx, src)
	if err != nil && !errors.Is(err, fs.ErrExist) && again != nil {
		return nil, fmt.Errorf("keyring: make key file: %w", err)
	}
	err = again
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("keyring: key file %q leads to no file, or was just removed; remove the link or make its target", path)
	}
	return r, err
}
