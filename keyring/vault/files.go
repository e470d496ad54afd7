package vault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cloakroom-dev/cloakroom/internal/remote"
	"github.com/cloakroom-dev/cloakroom/internal/secretfile"
)

// readSecret reads a file with a secret, by the rules for files that are mounted (ASVS
// 13.3.1): nobody but its owner may read it, unless it lies in memory. The error does
// not name the file: someone may have written the secret itself in the place of its
// name.
func readSecret(ctx context.Context, path string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	text, err := secretfile.Read(path, secretfile.Mounted, remote.MaxToken)
	said := remote.FileFault(err)
	switch {
	case err == nil:
		return strings.TrimSpace(string(text)), nil
	case errors.Is(err, fs.ErrNotExist):
		return "", errors.New("there is no such file")
	case said != "":
		return "", errors.New("the file " + said)
	case errors.Is(err, secretfile.ErrSize):
		return "", fmt.Errorf("the file has more than %d KiB, which no such secret has; name another", remote.MaxToken>>10)
	}
	return "", fmt.Errorf("the file cannot be read: %w", cause(err))
}

// maxCertificates bounds a file of certificates in bytes: the system's own has a
// quarter of it.
const maxCertificates = 1 << 20

// errEndless is the fault of a file that reading may have no end of.
var errEndless = errors.New("it is not a regular file, or too long for certificates; name the file itself")

// certificates tells whether a file of certificates can be read, which everybody may;
// but who could change it would say which server gets the token. The error does not
// name the file.
func certificates(path string) error {
	_, err := secretfile.Read(path, secretfile.Sealed, maxCertificates)
	switch {
	case errors.Is(err, secretfile.ErrMode):
		return errors.New("others may change the file; run chmod go-w on it")
	case errors.Is(err, secretfile.ErrKind), errors.Is(err, secretfile.ErrSize):
		return errEndless
	case err != nil:
		return fmt.Errorf("the file cannot be read: %w", cause(err))
	}
	return nil
}

// finite tells whether reading all files in a directory comes to an end.
func finite(dir string) bool {
	const most = 10000
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := os.Stat(path)
		if n++; n > most || err == nil && (!info.Mode().IsRegular() || info.Size() > maxCertificates) {
			return errEndless
		}
		return nil
	})
	return !errors.Is(err, errEndless)
}
