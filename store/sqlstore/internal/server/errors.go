package server

import (
	"context"
	"errors"
)

// Error is an error in one line, without a secret. It wraps what callers may ask
// for and not what a driver knows besides, such as its configuration.
type Error struct {
	Text  string
	Cause error // may be nil
}

func (e *Error) Error() string { return e.Text }
func (e *Error) Unwrap() error { return e.Cause }

// Patience returns the error of a context that err is about, or nil.
func Patience(err error) error {
	for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, end) {
			return end
		}
	}
	return nil
}
