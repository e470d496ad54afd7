package secretfile

import (
	"os"
	"syscall"
)

// inMemory tells whether an open file lies on a file system that has no disk behind
// it. On tmpfs Docker's swarm, Kubernetes and systemd put secrets; on ramfs systemd
// does where its tmpfs could be swapped out.
func inMemory(f *os.File) bool {
	const tmpfs, ramfs = 0x01021994, 0x858458f6 // statfs(2)
	var st syscall.Statfs_t
	for {
		err := syscall.Fstatfs(int(f.Fd()), &st)
		if err == syscall.EINTR {
			continue
		}
		// The type has 32 bits on some machines, and a sign.
		kind := uint32(st.Type)
		return err == nil && (kind == tmpfs || kind == ramfs)
	}
}
