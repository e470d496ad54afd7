//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package link

import "net"

// Quiet tells, without a packet, whether a connection that lay idle is open and
// has nothing to say, and whether that is known. Here it never is.
func Quiet(net.Conn) (quiet, known bool) { return false, false }
