package doctor

import "syscall"

// kinds are the file systems that matter, by the numbers of statfs(2).
var kinds = map[uint32]string{
	0x01021994: "tmpfs", 0x858458f6: "ramfs",
	0x6969: "nfs", 0xff534d42: "cifs", 0xfe534d42: "smb2", 0x517b: "smb",
	0x00c36400: "ceph", 0x5346414f: "afs", 0x47504653: "gpfs", 0x0bd00bd0: "lustre",
}

func fileSystem(path string) (kind string, ok bool) {
	st, ok := statfs(path)
	return kinds[uint32(st.Type)], ok // of 32 bits on some machines, and with a sign
}

func room(path string) (free, total uint64, ok bool) {
	st, ok := statfs(path)
	return st.Bavail * uint64(st.Bsize), st.Blocks * uint64(st.Bsize), ok
}

func statfs(path string) (st syscall.Statfs_t, ok bool) {
	for {
		if err := syscall.Statfs(path, &st); err != syscall.EINTR {
			return st, err == nil
		}
	}
}
