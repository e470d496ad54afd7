//go:build unix && !solaris && !aix

package secretfile

import (
	"os"
	"syscall"
)

// lock keeps others out of this package's Replace in the directory. It leaves nothing
// behind, whatever becomes of this process; where a file system has no locks, it
// does without.
func lock(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(d.Fd()), syscall.LOCK_EX)
		if err != syscall.EINTR {
			return func() { d.Close() }, nil
		}
	}
}
