//go:build unix

package vault

import (
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

// checkMode refuses a file that others than its owner can read or change (ASVS
// 13.3.1), unless it lies in memory, where Docker and Kubernetes mount secrets and
// let everybody in the container read them.
func checkMode(f *os.File, info fs.FileInfo) error {
	if perm := info.Mode().Perm(); perm&0o077 != 0 && (perm&0o022 != 0 || !inMemory(f)) {
		return fmt.Errorf("the file is open to others (mode %04o): run chmod 600 on it", perm)
	}
	return nil
}
