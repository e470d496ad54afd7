package password

import (
	"context"
	"net/netip"
)

// sourceKey is the context key of WithSource.
type sourceKey struct{}

// WithSource returns a context whose hashes are those of a source, as a rule the
// address of the client. Sources take turns: however many calls of one source
// wait, a call of another waits behind one of them at most for each place. Calls
// without a source are one source together. Addresses of one IPv6 network of 64
// bits are one source, as they are one customer's.
func WithSource(ctx context.Context, source string) context.Context {
	return context.WithValue(ctx, sourceKey{}, network(source))
}

// network returns the IPv6 network of an address, and everything else as it is.
func network(source string) string {
	addr, err := netip.ParseAddr(source)
	if err != nil {
		return source
	}
	if addr = addr.Unmap(); addr.Is4() {
		return addr.String()
	}
	prefix, _ := addr.WithZone("").Prefix(64)
	return prefix.String()
}

// sourceOf returns the source of a context, "" for none.
func sourceOf(ctx context.Context) string {
	s, _ := ctx.Value(sourceKey{}).(string)
	return s
}
