//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package secretfile

import (
	"context"
	"errors"
	"os"
	"syscall"
)

// lockFile keeps others from changing the file at path, which has to exist, until
// unlock is called. The lock lies on the file itself: it leaves nothing behind, and
// ends with the process that holds it. As files are replaced, it is only taken when
// the path leads to the locked one still.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	var f *os.File
	err = poll(ctx, lockWait, func() (bool, error) {
		if f, err = openLock(path); err != nil {
			return false, err
		}
		if err = flock(f); err == nil {
			held, errHeld := f.Stat()
			there, errThere := os.Stat(path)
			if errHeld == nil && errThere == nil && os.SameFile(held, there) {
				return true, nil
			}
			err = errors.Join(errHeld, errThere)
		} else if err == syscall.EWOULDBLOCK {
			err = nil
		}
		f.Close()
		return false, err
	})
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.ENOLCK) || errors.Is(err, syscall.EBADF) {
		// A file system without locks, or a share that locks what is written alone.
		return lockBeside(ctx, path, lockWait)
	}
	if errors.Is(err, errWaited) {
		return nil, locked(path)
	}
	if err != nil {
		return nil, err
	}
	return func() { f.Close() }, nil
}

// openLock opens the file for writing where it can: network shares ask for that. A
// file of mode 0400 is replaced all the same.
func openLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		f, err = openRead(path)
	}
	return f, err
}

func flock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err != syscall.EINTR {
			return err
		}
	}
}
