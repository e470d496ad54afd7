//go:build unix

package secretfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// openRead opens a file without waiting: opening a named pipe that nobody writes to
// would never return.
func openRead(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

func checkMode(f *os.File, rule Rule, perm fs.FileMode) error {
	switch {
	case rule == Sealed && perm&0o022 != 0:
		return fmt.Errorf("%q can be changed by others (mode %04o); run: chmod go-w %[1]q", f.Name(), perm)
	case rule == Sealed || perm&0o077 == 0:
		return nil
	case rule == Mounted && perm&0o022 == 0 && inMemory(f):
		return nil
	}
	return fmt.Errorf("%q is open to others (mode %04o); run: chmod 600 %[1]q", f.Name(), perm)
}

// keepOwner gives the file to the owner of the one that it is to replace: what root
// writes has to stay readable for the service.
func keepOwner(f *os.File, old fs.FileInfo) error {
	st, ok := old.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) == os.Geteuid() {
		return nil
	}
	return f.Chown(int(st.Uid), int(st.Gid))
}

// syncDir makes a new name in the directory last beyond a power failure.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	err = d.Sync()
	// Some file systems cannot sync a directory, and say so in these words.
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return err
}
