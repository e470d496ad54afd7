package keyring

import (
	"context"
	"fmt"
)

// A FileSource is a key file as a [Source]. It comes from [File]; the zero FileSource
// names no file.
type FileSource struct {
	path string
}

var _ Writer = (*FileSource)(nil)

// File returns the [Source] that is the key file at path, by the rules of [ReadFile].
// It can be written to.
func File(path string) *FileSource { return &FileSource{path} }

// Read implements [Source].
func (s *FileSource) Read(ctx context.Context) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("keyring: key file: %w", err)
	}
	return readFile(s.path, checkMode)
}

// Write implements [Writer]: it replaces the file as [WriteFile] does. Of all that
// write at once, in whatever process, one after the other does so, and finds what the
// one before has written: on Unix the file is locked meanwhile (flock), on other
// systems and where a file system has no locks a file with .lock behind its name is
// the lock. An editor does not keep to that.
func (s *FileSource) Write(ctx context.Context, old, text []byte) error {
	var readErr error
	err := replace(ctx, s.path, string(text), func() error {
		var now []byte
		if now, readErr = s.Read(ctx); readErr == nil && !sameText(now, old) {
			readErr = ErrChanged
		}
		return readErr
	})
	if err != nil && err != readErr {
		return fmt.Errorf("keyring: write key file: %w", err)
	}
	return err
}

// String returns "file:" and the path.
func (s *FileSource) String() string { return "file:" + s.path }

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
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("keyring: key file: %w", err)
	}
	return readFile(string(s), checkMounted)
}

// String returns "mounted file:" and the path.
func (s mountedFile) String() string { return "mounted file:" + string(s) }
