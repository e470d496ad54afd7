package vault

import (
	"errors"
	"fmt"
	"io"
)

// maxSecret bounds a file with a token, a secret id, a JWT or a key of TLS.
const maxSecret = 64 << 10

// readSecret reads a file that only its owner may read. The error does not name it.
func readSecret(path string) ([]byte, error) {
	f, err := openRead(path)
	if err != nil {
		return nil, fmt.Errorf("the file cannot be read: %w", cause(err))
	}
	defer f.Close()
	// The open file is asked, not the path: that cannot change in between.
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("the file cannot be read: %w", cause(err))
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is no regular file; name the file itself")
	}
	if err := checkMode(f, info); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return nil, fmt.Errorf("the file cannot be read: %w", cause(err))
	}
	if len(text) > maxSecret {
		return nil, errors.New("the file is too large for what it is to hold")
	}
	return text, nil
}
