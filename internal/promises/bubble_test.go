package promises_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/cloakroom-dev/cloakroom"
)

// newBubble starts a deployment whose clock is that of testing/synctest. Its
// servers and clients are the real ones; only the network between them is made
// of pipes, since time does not pass in a bubble while somebody waits for the
// outside.
func newBubble(tb testing.TB, st backend, opts *cloakroom.Options) *world {
	tb.Helper()
	w := prepareBubble(tb, st)
	w.start(tb, opts)
	return w
}

func prepareBubble(tb testing.TB, st backend) *world {
	tb.Helper()
	w := prepareWorld(tb, st)
	hosts := map[string]*pipes{}
	w.listen = func() net.Listener {
		l := &pipes{name: fmt.Sprintf("instance%d:80", len(hosts)), conns: make(chan net.Conn), done: make(chan struct{})}
		hosts[l.name] = l
		return l
	}
	w.transport.DialContext = func(ctx context.Context, _, addr string) (net.Conn, error) {
		return hosts[addr].dial(ctx)
	}
	return w
}

// pipes is a network of one host.
type pipes struct {
	name  string
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipes) dial(ctx context.Context) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return here, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipes) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipes) Addr() net.Addr  { return l }
func (l *pipes) Network() string { return "pipe" }
func (l *pipes) String() string  { return l.name }
