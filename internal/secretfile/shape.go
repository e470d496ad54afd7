package secretfile

import (
	"errors"
	"io/fs"
	"strings"
)

// LooksLikeSecret tells whether a text has the shape of 32 random bytes or more in
// hexadecimal or base64, as keys have and names of files have not: people put the one in
// the place of the other. A path is never taken for a secret if a sign stands in it that
// base64 has none of, as the dot of ./ or of an extension.
func LooksLikeSecret(text string) bool {
	text = strings.TrimRight(strings.TrimSpace(text), "=")
	var digit, upper, lower, slash, std, url int
	for _, b := range []byte(text) {
		switch {
		case '0' <= b && b <= '9':
			digit++
		case 'A' <= b && b <= 'Z':
			upper++
		case 'a' <= b && b <= 'z':
			lower++
		case b == '/':
			slash++
		case b == '+':
			std++
		case b == '-' || b == '_':
			url++
		default:
			return false
		}
	}
	if slash+std+url == 0 && len(text) >= 64 && strings.Trim(text, "0123456789abcdefABCDEF") == "" {
		return true
	}
	switch {
	case digit == 0 || upper == 0 || lower == 0 || len(text) < 42:
		return false
	case slash == 0:
		return true
	case url > 0 || slash > len(text)/8 || len(text) < 43:
		return false // an alphabet has one pair of signs
	}
	return !isAbsolute(text) && mixed(text) >= 0.4
}

// isAbsolute tells whether a path begins with a directory of small letters, as /etc.
func isAbsolute(path string) bool {
	first, _, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return ok && path[0] == '/' && len(first) > 1 && strings.Trim(first, "abcdefghijklmnopqrstuvwxyz") == ""
}

// mixed returns how often, of neighbours, one is a capital or small letter or a digit
// and the other is not: of random characters about 0.6, of words about 0.2.
func mixed(text string) float64 {
	kind := func(b byte) int { return int(b) / 32 } // in ASCII: digits and signs, capitals, small letters
	changes, pairs := 0, 0
	for i := 1; i < len(text); i++ {
		if text[i] == '/' || text[i-1] == '/' {
			continue
		}
		pairs++
		if kind(text[i]) != kind(text[i-1]) {
			changes++
		}
	}
	return float64(changes) / float64(max(pairs, 1))
}

// Shown returns a path as it may be shown where nobody knows whether there is such a
// file: without what looks like a secret in its end.
func Shown(path string) string {
	for i := range len(path) {
		if (i == 0 || path[i-1] == '/' || path[i-1] == '\\') && LooksLikeSecret(path[i:]) {
			return path[:i] + "…"
		}
	}
	return path
}

// hide takes out of an error a path that looks like a secret.
func hide(err error) error {
	var pathError *fs.PathError
	if errors.As(err, &pathError) && Shown(pathError.Path) != pathError.Path {
		return &fs.PathError{Op: pathError.Op, Path: Shown(pathError.Path), Err: pathError.Err}
	}
	return err
}
