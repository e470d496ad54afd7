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

// checkOwner refuses a file of somebody else's, who may read and change it whatever its
// mode is.
func checkOwner(f *os.File, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || ours(int(st.Uid), os.Geteuid()) {
		return nil
	}
	return faultf(f.Name(), ErrMode, "belongs to another user (uid %d), who can change it; give it to the user that runs this: chown %d %q", st.Uid, os.Geteuid(), f.Name())
}

// ours tells whether a process may believe a file: its own, and root's, who can change
// everything. Root itself works on the files of those that it runs services as.
func ours(owner, process int) bool { return process == 0 || owner == process || owner == 0 }

// checkMode refuses a file of a mode that the rule forbids.
func checkMode(f *os.File, rule Rule, perm fs.FileMode) error {
	path, change := f.Name(), perm&0o022 != 0
	switch {
	case rule == Sealed && change:
		return faultf(path, ErrMode, "can be changed by others (mode %04o); run chmod go-w %q", perm, path)
	case rule == Sealed || perm&0o077 == 0:
		return nil
	case rule == Private:
		return faultf(path, ErrMode, "is open to others (mode %04o); run chmod 600 %q", perm, path)
	case change:
		return faultf(path, ErrMode, "can be changed by others (mode %04o); mount it with mode 0400, or run chmod 600 %q", perm, path)
	case inMemory(f):
		return nil
	}
	return faultf(path, ErrMode, "is open to others (mode %04o) and does not lie in memory (tmpfs), where that may be; mount it with mode 0400, or run chmod 600 %q", perm, path)
}

// keepOwner gives a file the mode and the owner of the one that it is to replace: what
// root writes has to stay readable for the service. The mode comes first, as a file that
// was given away takes none from who is not wholly root.
func keepOwner(f *os.File, old fs.FileInfo) error {
	if err := f.Chmod(old.Mode().Perm()); err != nil {
		return err
	}
	if st, ok := old.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		if err := f.Chown(int(st.Uid), int(st.Gid)); err != nil {
			return fmt.Errorf("%w; change the keys as root, or as the user whose file it is", err)
		}
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
