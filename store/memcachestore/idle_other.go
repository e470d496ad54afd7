//go:build !unix

package memcachestore

import "net"

// pending knows nothing here: a connection that the server has closed is found
// out by the call that uses it.
func pending(net.Conn) (n int, closed bool) { return 0, false }
