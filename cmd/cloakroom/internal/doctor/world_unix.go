//go:build unix

package doctor

import (
	"io/fs"
	"syscall"
)

// modes tells whether the bits of a mode say who may read a file.
const modes = true

// maxFiles is the hard limit: a program of Go raises its own to that.
func maxFiles() (uint64, bool) {
	var r syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r)
	return uint64(r.Max), err == nil
}

func owner(info fs.FileInfo) (uid int, ok bool) {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid), true
	}
	return 0, false
}

// names is how many names a file has.
func names(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Nlink)
	}
	return 1
}
