package secretfile

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"
)

// lockWait bounds the wait for whoever else is changing a file. That takes
// milliseconds.
const lockWait = 10 * time.Second

// lockBeside takes the lock that is a file beside path: for systems and file systems
// that have none better. A crash while it is held leaves it behind, and the error says
// so.
func lockBeside(ctx context.Context, path string, wait time.Duration) (unlock func(), err error) {
	lock := path + ".lock"
	err = poll(ctx, wait, func() (bool, error) {
		f, err := os.OpenFile(lock, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if errors.Is(err, fs.ErrExist) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		return true, f.Close()
	})
	if errors.Is(err, errWaited) {
		return nil, faultf(lock, ErrLocked, "is in the way; remove it if no other process is making or changing the file that it is named after")
	}
	if err != nil {
		return nil, err
	}
	return func() { os.Remove(lock) }, nil
}

// errWaited is the error of poll whose time is over.
var errWaited = errors.New("waited long enough")

// locked is the error of a file whose lock was waited for in vain.
func locked(path string) error {
	return faultf(path, ErrLocked, "is locked by another process; see that no other key command or program hangs, and try again")
}

// poll tries until it is done or failed, the context ends, or it has waited.
func poll(ctx context.Context, wait time.Duration, try func() (done bool, err error)) error {
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		done, err := try()
		switch {
		case done || err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case wait <= 0:
			return errWaited
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
			wait -= pause
		}
	}
}
