//go:build unix

package keyring

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// openRead opens a file without waiting: opening a named pipe that nobody
// writes to would never return.
func openRead(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// checkMode refuses a file that others than its owner can read or change.
func checkMode(_ *os.File, path string, info fs.FileInfo) error {
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return fmt.Errorf("key file %q is open to others (mode %04o); run: chmod 600 %q", path, perm, path)
	}
	return nil
}

// checkMounted refuses a file that others than its owner can change, and, unless it
// lies in memory, one that they can read: what mounts a secret leaves the reading to
// whoever can see the mount, but on a disk it would lie there for all of the machine.
func checkMounted(f *os.File, path string, info fs.FileInfo) error {
	switch perm := info.Mode().Perm(); {
	case perm&0o022 != 0:
		return fmt.Errorf("mounted key file %q can be changed by others (mode %04o); mount it with mode 0400", path, perm)
	case perm&0o077 != 0 && !inMemory(f):
		return fmt.Errorf("mounted key file %q is open to others (mode %04o) and does not lie in memory (tmpfs), where that may be; mount it with mode 0400, or run: chmod 600 %q", path, perm, path)
	}
	return nil
}

// keepOwner gives the file to the owner of the one that it is to replace: keys
// rotated by root have to stay readable for the service. It gets the mode as well,
// unless that lets others in.
func keepOwner(path string, old fs.FileInfo) error {
	if st, ok := old.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		if err := os.Chown(path, int(st.Uid), int(st.Gid)); err != nil {
			return fmt.Errorf("%w; change the keys as root, or as the user whose file it is", err)
		}
	}
	if perm := old.Mode().Perm(); perm&0o077 == 0 {
		return os.Chmod(path, perm)
	}
	return nil
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
