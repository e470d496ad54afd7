package keyring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
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
func (s *FileSource) Read(context.Context) ([]byte, error) {
	f, err := openRead(s.path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("keyring: key file: %w; cloakroom key new prints what to put into it", err)
		}
		return nil, fmt.Errorf("keyring: key file: %w", err)
	}
	defer f.Close()
	// The open file is asked, not the path: that cannot change in between.
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("keyring: key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("keyring: key file %q is no regular file; name the file itself", s.path)
	}
	if err := checkMode(s.path, info); err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("keyring: key file: %w", err)
	}
	return text, nil
}

// Write implements [Writer]: it replaces the file as [WriteFile] does. Of processes
// that write at once, one after the other does.
func (s *FileSource) Write(ctx context.Context, old, text []byte) error {
	now, err := s.Read(ctx)
	if err != nil {
		return err
	}
	if string(now) != string(old) {
		return ErrChanged
	}
	if err := replace(s.path, string(text)); err != nil {
		return fmt.Errorf("keyring: write key file: %w", err)
	}
	return nil
}

// String returns "file:" and the path.
func (s *FileSource) String() string { return "file:" + s.path }
