package throttle

import "net/netip"

// Network returns the network that a client's address stands for in the lanes, which
// is the address itself or the /64 of it, and "" for what is no address.
func Network(address string) string { return group(address) }

// group returns the network that a client's address stands for: an IPv4 address
// itself, of IPv6 the /64, which is what one subscriber gets. An IPv4 address in
// the clothes of IPv6 is itself. Text with a port or a zone is taken as well.
//
// What is no address is one source, whatever it says: otherwise whoever may write
// the text has as many sources as there are texts.
func group(text string) string {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		port, err := netip.ParseAddrPort(text)
		if err != nil {
			return ""
		}
		addr = port.Addr()
	}
	addr = addr.Unmap()
	if addr.Is4() {
		return addr.String()
	}
	prefix, err := addr.Prefix(64) // which has no zone
	if err != nil {
		return ""
	}
	return prefix.String()
}
