// Package faultproxy stands between a program and a server, for tests only, and
// does to the connection what networks do: it delays, swallows, cuts, refuses.
//
// A [Proxy] starts without a fault, carries connections to its upstream, and ends
// with its test. A fault that is set concerns the connections that are there as
// well as new ones.
package faultproxy

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Direction says which way a fault works.
type Direction uint8

// The directions. The zero value is both of them.
const (
	Both Direction = iota
	Up             // from the client to the server
	Down           // from the server to the client
)

// Fault is what a Proxy does wrong. The zero value is no fault. Latency, Slice
// and Blackhole work in Direction, and may be set together.
type Fault struct {
	Direction Direction

	// Latency holds every chunk back for this long after it has arrived. Chunks
	// that wait go on at once when the fault is healed: late, but whole.
	Latency time.Duration

	// Slice writes this many bytes at a time.
	Slice int

	// Blackhole accepts connections and what comes over them, and hands nothing
	// on. No network drops the middle of a stream and delivers its end: so a
	// connection that has lost something is reset as soon as it would deliver
	// again.
	Blackhole bool

	// DropAnswers lets requests through and swallows what the server says: what
	// was asked has been done, and nobody hears of it.
	DropAnswers bool

	// Reset cuts every connection with an RST, and each new one once it is
	// accepted.
	Reset bool

	// Refuse closes every connection, and each new one once it is accepted.
	Refuse bool
}

// hits reports whether what works in Direction works this way.
func (f *Fault) hits(way Direction) bool { return f.Direction == Both || f.Direction == way }

func (f *Fault) swallows(way Direction) bool {
	return f.Blackhole && f.hits(way) || f.DropAnswers && way == Down
}

// Proxy carries TCP connections to a server, with the faults that a test sets.
// Its methods may be called by many goroutines at once.
type Proxy struct {
	upstream string
	listener net.Listener
	ctx      context.Context // ends with the test
	running  sync.WaitGroup

	accepted, up, down atomic.Int64

	mu      sync.Mutex
	fault   Fault
	changed chan struct{} // closed by the next Set
	links   map[*link]bool
}

// New starts a proxy on a loopback port. upstream is the host:port of the server,
// which need not be there yet. The proxy and all that goes over it end with t.
func New(t testing.TB, upstream string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("faultproxy: listen: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &Proxy{upstream: upstream, listener: l, ctx: ctx, changed: make(chan struct{}), links: map[*link]bool{}}
	p.running.Go(p.accept)
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		p.Set(Fault{Reset: true})
		p.running.Wait()
	})
	return p
}

// Addr returns the host:port to connect to.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Connections returns how many connections have been accepted since New.
func (p *Proxy) Connections() int { return int(p.accepted.Load()) }

// Open returns how many connections there are now.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// Bytes returns how many bytes clients and the server have sent since New,
// whatever became of them.
func (p *Proxy) Bytes() (up, down int64) { return p.up.Load(), p.down.Load() }

// Heal takes the fault away.
func (p *Proxy) Heal() { p.Set(Fault{}) }

// Set makes f the fault, in place of the one before.
func (p *Proxy) Set(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
	close(p.changed)
	p.changed = make(chan struct{})
	for l := range p.links {
		healed := l.lost[Up] && !f.swallows(Up) || l.lost[Down] && !f.swallows(Down)
		if f.Refuse || f.Reset || healed {
			l.end(!f.Refuse)
		}
	}
}

// Flap sets f for the time down, heals it for the time up, and so on. It ends,
// healed, when stop is called, which the test must do.
func (p *Proxy) Flap(f Fault, down, up time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(p.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			p.Set(f)
			sleep(ctx.Done(), down)
			p.Heal()
			sleep(ctx.Done(), up)
		}
	}()
	return func() { cancel(); <-done }
}

func sleep(done <-chan struct{}, d time.Duration) {
	select {
	case <-done:
	case <-time.After(d):
	}
}

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			if p.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			sleep(p.ctx.Done(), time.Millisecond) // out of descriptors
			continue
		}
		p.accepted.Add(1)
		p.running.Go(func() { p.serve(c.(*net.TCPConn)) })
	}
}

// A link is a connection of a client and the one to the server that belongs to it.
type link struct {
	client, server *net.TCPConn
	lost           [3]bool // bytes, by Direction; guarded by Proxy.mu
	once           sync.Once
	ended          chan struct{}
}

// end closes both ends, with an RST if it is one.
func (l *link) end(reset bool) {
	l.once.Do(func() {
		close(l.ended)
		for _, c := range []*net.TCPConn{l.client, l.server} {
			if c == nil {
				continue
			}
			if reset {
				_ = c.SetLinger(0)
			}
			_ = c.Close()
		}
	})
}

func (p *Proxy) serve(client *net.TCPConn) {
	l := &link{client: client, ended: make(chan struct{})}
	if f := p.current(); f.Refuse || f.Reset {
		l.end(f.Reset)
		return
	}
	server, err := new(net.Dialer).DialContext(p.ctx, "tcp", p.upstream)
	if err != nil {
		l.end(true)
		return
	}
	l.server = server.(*net.TCPConn)
	p.mu.Lock()
	p.links[l] = true
	refused, reset := p.fault.Refuse || p.fault.Reset || p.ctx.Err() != nil, p.fault.Reset
	p.mu.Unlock()
	if refused { // while the server was called
		l.end(reset)
	}
	var pumps sync.WaitGroup
	pumps.Go(func() { p.pump(l, l.client, l.server, Up, &p.up) })
	pumps.Go(func() { p.pump(l, l.server, l.client, Down, &p.down) })
	pumps.Wait()
	l.end(false)
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

// pump carries one way of a link until it ends.
func (p *Proxy) pump(l *link, from, to *net.TCPConn, way Direction, count *atomic.Int64) {
	chunk := make([]byte, 32<<10)
	for {
		n, err := from.Read(chunk)
		count.Add(int64(n))
		if n > 0 && p.arrives(l, way, time.Now()) && !p.write(to, chunk[:n], way) {
			l.end(true)
			return
		}
		switch {
		case err == nil:
		case !errors.Is(err, io.EOF):
			l.end(true)
			return
		case way == Up && p.hasLost(l): // nobody will take the answers either
			l.end(false)
			return
		default:
			_ = to.CloseWrite()
			return
		}
	}
}

// arrives waits as long as the fault says, and reports whether to hand on what
// was read at the given time.
func (p *Proxy) arrives(l *link, way Direction, read time.Time) bool {
	for {
		p.mu.Lock()
		f, changed := p.fault, p.changed
		if f.swallows(way) {
			l.lost[way] = true
		}
		lost := l.lost[way]
		p.mu.Unlock()
		wait := time.Until(read.Add(f.Latency))
		if lost || f.Latency == 0 || !f.hits(way) || wait <= 0 {
			return !lost
		}
		select {
		case <-time.After(wait):
		case <-changed:
		case <-l.ended:
			return false
		}
	}
}

// apart is how many slices of a chunk are kept apart in time, so that the reader
// meets them one by one; the rest of a large chunk would take too long.
const apart = 128

func (p *Proxy) write(to *net.TCPConn, chunk []byte, way Direction) bool {
	for i := 0; len(chunk) > 0; i++ {
		n := len(chunk)
		if f := p.current(); f.Slice > 0 && f.hits(way) {
			n = min(n, f.Slice)
			if i > 0 && i < apart {
				time.Sleep(50 * time.Microsecond)
			}
		}
		if _, err := to.Write(chunk[:n]); err != nil {
			return false
		}
		chunk = chunk[n:]
	}
	return true
}

func (p *Proxy) current() Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fault
}

func (p *Proxy) hasLost(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return l.lost[Up] || l.lost[Down]
}
