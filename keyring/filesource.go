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

// Write implements [Writer]: it replaces the file as [WriteFile] does. Of processes
// that write at once, one after the other does.
func (s *FileSource) Write(ctx context.Context, old, text []byte) error {
	now, err := s.Read(ctx)
	if err != nil {
		return err
	}
	if !sameText(now, old) {
		return ErrChanged
	}
	if err := replace(s.path, string(text)); err != nil {
		return fmt.Errorf("keyring: write key file: %w", err)
	}
	return nil
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
