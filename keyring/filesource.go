package keyring

import (
	"context"
	"errors"
	"fmt"

	"github.com/cloakroom-dev/cloakroom/internal/secretfile"
)

// File returns the [Source] that is the key file at path. On Unix it refuses a file
// that its group or others may read or write (ASVS 13.3.1); on other systems the
// permissions of the directory have to see to that. It refuses whatever is no
// regular file; a symbolic link is followed. The error for a file that does not
// exist wraps fs.ErrNotExist.
//
// Write replaces the file in one step: a reader sees all of the old or all of the new,
// also after a power failure. Mode and owner stay, and what a link leads to is replaced,
// not the link. Of all that write at once, in whatever process, one after the other does
// so, and finds what the one before has written: on Unix the file is locked meanwhile
// (flock), on other systems and where a file system has no locks a file with .lock
// behind its name is the lock, which is waited for ten seconds at most. An editor does
// not keep to that. On Windows Write fails while the file is being read; that is over at
// once, so try again.
func File(path string) Writer { return file(path) }

type file string

// What errors call the files.
const (
	fileNoun    = "key file"
	mountedNoun = "mounted key file"
)

// Read implements [Source].
func (f file) Read(ctx context.Context) ([]byte, error) {
	return readFile(ctx, fileNoun, string(f), secretfile.Private)
}

// Write implements [Writer].
func (f file) Write(ctx context.Context, old, text []byte) error {
	err := secretfile.Replace(ctx, string(f), secretfile.Private, maxFile, func(now []byte) ([]byte, error) {
		if !sameText(now, old) {
			return nil, ErrChanged
		}
		return text, nil
	})
	var fault *secretfile.Fault
	switch {
	case err == nil || errors.Is(err, ErrChanged):
		return err
	case errors.As(err, &fault):
		return explainFile(fileNoun, err)
	}
	return fmt.Errorf("keyring: write %s: %w", fileNoun, err)
}

// String returns "file:" and the path.
func (f file) String() string { return "file:" + string(f) }

// MountedFile returns the [Source] that is a file which something else has mounted as
// a secret: Docker, Kubernetes, or systemd for its credentials. It is [File] but for
// two things. It cannot be written to, as what is mounted is exchanged from outside;
// each look follows the links anew, as Kubernetes swaps one to do so. And its group and
// others may read it where it lies in memory (on tmpfs or ramfs, on Linux): those that
// mount secrets give such modes, and who can see the mount is up to them. Nobody but
// its owner may be able to change it.
func MountedFile(path string) Source { return mountedFile(path) }

type mountedFile string

func (s mountedFile) Read(ctx context.Context) ([]byte, error) {
	return readFile(ctx, mountedNoun, string(s), secretfile.Mounted)
}

// String returns "mounted file:" and the path.
func (s mountedFile) String() string { return "mounted file:" + string(s) }
