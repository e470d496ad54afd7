package secretfile

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/cloakroom-dev/cloakroom/internal/guessable"
)

// CheckPath says why a text is no path that somebody meant, or returns nil: it is a URL,
// which may have a password, or has several lines, as what a file holds, or looks like a
// key. What says "file" or "directory". The error repeats nothing of the text, and neither
// may who refuses it. A path that looks like a key can be written with ./ in front.
func CheckPath(path, what string) error {
	switch {
	case strings.Contains(path, "://"):
		return fmt.Errorf("takes the path of a %s, and this looks like a URL: name a %[1]s, and exchange a password in the URL, which others may have seen", what)
	case strings.ContainsAny(path, "\x00\r\n"):
		return fmt.Errorf("takes the path of a %s, and this has several lines: write what it is into a file of mode 0600, and exchange a key in it, which others may have seen", what)
	case guessable.HasKey(path):
		return fmt.Errorf("a key, where the path of a %s belongs: others may have seen it, make another with \"cloakroom key new\"", what)
	}
	return nil
}

// Shown returns a path as it may be shown where nobody knows whether there is such a
// file: without what looks like a secret in its end, nothing of a URL, and one line.
func Shown(path string) string {
	if isURL(path) {
		return "…"
	}
	end := ""
	if i := strings.IndexAny(path, "\x00\r\n"); i >= 0 {
		path, end = path[:i], "…"
	}
	if i := guessable.Mark(path); i >= 0 {
		path, end = path[:i], "…"
	}
	for i := range len(path) {
		if i > 0 && path[i-1] != '/' && path[i-1] != '\\' && !guessable.IsBreak(rune(path[i-1])) {
			continue
		}
		// A blank may be part of a path, or stand behind a key.
		word := path[i:]
		if n := strings.IndexFunc(word, guessable.IsBreak); n >= 0 {
			word = word[:n]
		}
		if guessable.LooksLikeKey(path[i:]) || guessable.LooksLikeKey(word) {
			return path[:i] + "…"
		}
	}
	return path + end
}

// isURL tells whether a path is a URL, or what is left of one with a password when it was
// cleaned or joined as a path is: one of its slashes is gone.
func isURL(path string) bool {
	scheme, rest, ok := strings.Cut(path, ":/")
	return strings.Contains(path, "://") || ok && len(scheme) > 1 && strings.Contains(rest, "@")
}

// hide takes out of an error a path that looks like a secret.
func hide(err error) error {
	var pathError *fs.PathError
	if errors.As(err, &pathError) && Shown(pathError.Path) != pathError.Path {
		return &fs.PathError{Op: pathError.Op, Path: Shown(pathError.Path), Err: pathError.Err}
	}
	return err
}
