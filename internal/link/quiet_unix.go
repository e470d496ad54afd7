//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package link

import (
	"net"
	"syscall"
)

// Quiet tells, without a packet, whether a connection that lay idle is open and
// has nothing to say, and whether that is known. One whose server has gone has
// something to say: that it has ended. What else there is to read is no answer to
// what will be asked next.
func Quiet(c net.Conn) (quiet, known bool) {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = t.NetConn() // below TLS
	}
	s, ok := c.(syscall.Conn)
	if !ok {
		return false, false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false, true
	}
	// Control and not Read: a driver may have left a reader in the background,
	// and Read would wait for it for ever.
	err = raw.Control(func(fd uintptr) {
		var one [1]byte
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = err == syscall.EAGAIN || err == syscall.EWOULDBLOCK
	})
	return err == nil && quiet, true
}
