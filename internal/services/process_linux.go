package services

import "syscall"

// ownProcess starts a server as nobody if we are root, out of reach of a Ctrl-C
// that is meant for the tests, and has the kernel end it if we are killed.
func ownProcess() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if uid, gid, ok := unprivileged(); ok {
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	return attr
}
