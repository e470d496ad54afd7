package vault

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

// maxSecret bounds a token, a secret id or a JWT in bytes.
const maxSecret = 32 << 10

// readSecret reads a file with a secret, by the rules for keys that are mounted (ASVS
// 13.3.1): nobody but its owner may read it, unless it lies in memory. The error does
// not name the file: someone may have written the secret itself in the place of its
// name.
func readSecret(ctx context.Context, path string) (string, error) {
	text, err := keyring.MountedFile(path).Read(ctx)
	switch {
	case err == nil:
		return strings.TrimSpace(string(text)), nil
	case ctx.Err() != nil:
		return "", ctx.Err()
	case errors.Is(err, fs.ErrNotExist):
		return "", errors.New("there is no such file")
	case errors.Is(err, fs.ErrPermission):
		return "", errors.New("the file may not be read: it has to belong to the user that this program runs as")
	}
	return "", errors.New("the file is not safe to use: it has to be a regular one that nobody but its owner can read, of mode 0400 or 0600 (run chmod 600 on it); in memory (tmpfs) others may read it, and not change it")
}

// legible tells whether a text can be a token, a secret id or a JWT, which travel in
// headers: it is printable ASCII without spaces.
func legible(text string) bool {
	return text != "" && len(text) <= maxSecret && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}
