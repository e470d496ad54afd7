//go:build unix

package memcachestore

import (
	"net"
	"syscall"
)

// pending looks, without waiting, whether there is something to read on a
// connection or it has been closed.
func pending(nc net.Conn) (n int, closed bool) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return 0, false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, true
	}
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		// The descriptor does not block: Go has made it so.
		got, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		switch {
		case err == syscall.EAGAIN || err == syscall.EINTR:
		case err != nil || got == 0:
			closed = true
		default:
			n = got
		}
	})
	return n, closed || err != nil
}
