package secretfile

import (
	"errors"
	"io/fs"

	"github.com/cloakroom-dev/cloakroom/internal/guessable"
)

// Shown returns a path as it may be shown where nobody knows whether there is such a
// file: without what looks like a secret in its end.
func Shown(path string) string {
	end := ""
	if i := guessable.Mark(path); i >= 0 {
		path, end = path[:i], "…"
	}
	for i := range len(path) {
		if (i == 0 || path[i-1] == '/' || path[i-1] == '\\') && guessable.LooksLikeKey(path[i:]) {
			return path[:i] + "…"
		}
	}
	return path + end
}

// hide takes out of an error a path that looks like a secret.
func hide(err error) error {
	var pathError *fs.PathError
	if errors.As(err, &pathError) && Shown(pathError.Path) != pathError.Path {
		return &fs.PathError{Op: pathError.Op, Path: Shown(pathError.Path), Err: pathError.Err}
	}
	return err
}
