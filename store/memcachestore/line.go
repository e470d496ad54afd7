package memcachestore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/cloakroom-dev/cloakroom/internal/link"
)

// gomemcache knows no contexts, and has one timeout for all calls. So each
// connection has a client of its own, which one call holds at a time: its
// DialContext and its connection heed the context of that call. How many there
// are, who waits for one and which is closed is decided here; what is said on a
// connection is the library's affair.

// A server is one Memcached server and the connections to it.
type server struct {
	name  string // as the URL has it; decides which keys are its own
	dial  func(ctx context.Context) (net.Conn, error)
	slots chan struct{} // one for each call that holds a line

	mu      sync.Mutex
	idle    []*line // the one used last is the last
	busy    map[*line]struct{}
	once    sync.Once
	closing chan struct{} // closed by close
}

func newServer(a address, dial func(context.Context) (net.Conn, error), conns int) *server {
	return &server{
		name: a.addr, dial: dial,
		slots: make(chan struct{}, conns), busy: map[*line]struct{}{}, closing: make(chan struct{}),
	}
}

// do lends f a connection. Where reading is true and a connection that has been
// idle turns out to be dead, f runs once more with a new one; f must then not
// change anything.
func (s *server) do(ctx context.Context, reading bool, f func(c *memcache.Client) error) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	defer func() { <-s.slots }()
	for {
		l, err := s.take()
		if err != nil {
			return err
		}
		reused, err := l.run(ctx, reading, f)
		s.give(l)
		if err == nil || answered(err) {
			return err
		}
		if !reused || ctx.Err() != nil {
			return explain(ctx, err)
		}
		// A server that was restarted has left all of them dead.
		s.dropIdle()
		if !reading {
			return explain(ctx, err)
		}
	}
}

// wait takes one of the slots.
func (s *server) wait(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case s.slots <- struct{}{}:
		return nil
	default:
	}
	select {
	case s.slots <- struct{}{}:
		return nil
	case <-s.closing:
		return errClosed
	case <-ctx.Done():
		return fmt.Errorf("wait for a connection, %d are in use: %w", cap(s.slots), ctx.Err())
	}
}

// take returns the line that was used last, or a new one.
func (s *server) take() (*line, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closing:
		return nil, errClosed
	default:
	}
	var l *line
	if n := len(s.idle); n > 0 {
		l, s.idle = s.idle[n-1], s.idle[:n-1]
	} else {
		l = newLine(s)
	}
	s.busy[l] = struct{}{}
	return l, nil
}

// give takes a line back.
func (s *server) give(l *line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, l)
	if l.conn != nil {
		s.idle = append(s.idle, l)
	}
}

// dropIdle closes the connections that nobody uses.
func (s *server) dropIdle() {
	s.mu.Lock()
	idle := s.idle
	s.idle = nil
	s.mu.Unlock()
	for _, l := range idle {
		l.drop()
	}
}

// close ends all calls and returns when they have ended.
func (s *server) close() {
	s.once.Do(func() {
		s.mu.Lock()
		close(s.closing)
		for l := range s.busy {
			l.abort(0)
		}
		s.mu.Unlock()
		for range cap(s.slots) {
			s.slots <- struct{}{}
		}
		s.dropIdle()
		for range cap(s.slots) {
			<-s.slots
		}
	})
}

// probe finds out whether the server answers and is one that the store can use.
// It reads an item, and writes it before if it is not there.
func (s *server) probe(ctx context.Context, key string) error {
	return s.do(ctx, true, func(c *memcache.Client) error {
		if err := c.Ping(); err != nil {
			return err
		}
		err := c.Add(&memcache.Item{Key: key, Value: []byte{format}, Expiration: 60})
		if err != nil && !errors.Is(err, memcache.ErrNotStored) {
			return err
		}
		item, err := c.Get(key)
		if errors.Is(err, memcache.ErrCacheMiss) {
			return nil // it expired just now
		}
		if err != nil {
			return err
		}
		return check(item, key)
	})
}

// answered tells of an error that is the server's answer, behind which the
// connection is as good as before.
func answered(err error) bool {
	return errors.Is(err, memcache.ErrCacheMiss) || errors.Is(err, memcache.ErrCASConflict) || errors.Is(err, memcache.ErrNotStored)
}

// explain says what an error means: that the context has ended, or what the
// server has refused.
func explain(ctx context.Context, err error) error {
	if ctxErr := ctx.Err(); ctxErr != nil {
		return fmt.Errorf("%w (%w)", ctxErr, err)
	}
	if at, ok := ctx.Deadline(); ok && !time.Now().Before(at) {
		// A dial looks at the clock itself, and may do so before the context.
		return fmt.Errorf("%w (%w)", context.DeadlineExceeded, err)
	}
	switch text := err.Error(); {
	case strings.Contains(text, "SERVER_ERROR object too large"):
		return ErrTooLarge
	case strings.Contains(text, "SERVER_ERROR out of memory"):
		return ErrFull
	}
	return err
}

// A line is one connection, or none yet, and the library's client that speaks
// on it.
type line struct {
	server *server
	client *memcache.Client
	ctx    context.Context // of the call that holds the line

	mu      sync.Mutex
	conn    *conn              // nil: none
	cancel  context.CancelFunc // of the dial that is under way, or was
	aborted bool               // the call has to end now
}

func newLine(s *server) *line {
	l := &line{server: s}
	l.client = memcache.NewFromSelector(only{s})
	l.client.MaxIdleConns = 1
	// The client sets deadlines by its timeout. Those of the contexts are what
	// counts, here and in conn.
	l.client.Timeout = time.Hour
	l.client.DialContext = func(context.Context, string, string) (net.Conn, error) { return l.connect() }
	return l
}

// grace is how much longer than its context a call waits for the answer to a
// write that has been sent. Whoever gives up on it knows nothing of what becomes
// of it; and as the server mostly answers at once, nobody needs to give up.
const grace = 50 * time.Millisecond

// run lets f use the line under ctx, and tells whether its connection had been
// there before.
func (l *line) run(ctx context.Context, reading bool, f func(c *memcache.Client) error) (reused bool, err error) {
	l.ctx = ctx
	patience := grace
	if reading {
		patience = 0
	}
	if l.conn != nil {
		// What an idle connection has to say is no answer to what comes next.
		if quiet, known := link.Quiet(l.conn.Conn); known && !quiet {
			l.drop()
		}
	}
	reused = l.conn != nil
	var stop func() bool
	if ctx.Done() != nil {
		stop = context.AfterFunc(ctx, func() { l.abort(patience) })
	}
	err = f(l.client)
	if stop != nil && !stop() || l.isAborted() {
		// What abort does may come late, and must not hit the next call.
		l.drop()
		if err != nil && ctx.Err() == nil {
			err = errClosed
		}
	}
	return reused, err
}

// connect dials under the context of the call.
func (l *line) connect() (net.Conn, error) {
	ctx, cancel := context.WithCancel(l.ctx)
	defer cancel()
	l.mu.Lock()
	l.cancel = cancel
	if l.aborted {
		cancel()
	}
	l.mu.Unlock()
	nc, err := l.server.dial(ctx)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.aborted {
		nc.Close()
		return nil, context.Canceled
	}
	l.conn = &conn{Conn: nc, line: l}
	return l.conn, nil
}

// abort makes the call that holds the line fail, unless the server answers within
// a time. Nothing more is sent.
func (l *line) abort(within time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.aborted = true
	if l.cancel != nil {
		l.cancel()
	}
	if l.conn != nil {
		l.conn.Conn.SetReadDeadline(time.Now().Add(within))
		l.conn.Conn.SetWriteDeadline(past)
	}
}

func (l *line) isAborted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.aborted
}

// drop closes the connection. What the server still had to say on it is heard by
// nobody.
func (l *line) drop() {
	l.client.Close()
}

// only is the client's choice of a server: there is one.
type only struct{ s *server }

func (o only) PickServer(string) (net.Addr, error) { return o, nil }
func (o only) Each(f func(net.Addr) error) error   { return f(o) }
func (o only) Network() string                     { return "memcached" }
func (o only) String() string                      { return o.s.name }

// conn is a connection that ends with the context of the call.
type conn struct {
	net.Conn
	line *line
}

// past is a deadline that is over.
var past = time.Unix(1, 0)

// SetDeadline does nothing: what the client asks for is its own timeout, and what
// counts is the context, for which see abort.
func (c *conn) SetDeadline(time.Time) error { return nil }

// Close takes the connection from its line, which dials anew when it is used
// again.
func (c *conn) Close() error {
	l := c.line
	l.mu.Lock()
	if l.conn == c {
		l.conn = nil
	}
	l.mu.Unlock()
	return c.Conn.Close()
}
