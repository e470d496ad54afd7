package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

const (
	// callsPerConn is how many calls are on their way over one connection at
	// once; the next waits for one of them, and no longer than its context. The
	// client's own queue is a ring of twice that, and who waits for a place in
	// the ring waits whatever a context says: so nobody ever does.
	callsPerConn = 512

	// dialTimeout bounds how long one attempt to connect, or to hear from the
	// server again, takes. Callers wait for it as long as their contexts last.
	dialTimeout = 2 * time.Second

	// silence is how long the server may leave a connection without an answer
	// before it is given up and made anew.
	silence = 5 * time.Second

	flushDelay = 20 * time.Microsecond
)

// A conn is one connection, which all calls share: they are sent one behind the
// other and answered in that order. It knows whether the server was heard since
// something last went wrong. While it was not, one goroutine asks, on a deadline
// of its own, and calls wait for what it finds: so nobody's context decides for
// others, no call waits longer than its own, and none piles up in a queue that
// nobody reads.
type conn struct {
	client rueidis.Client
	calls  chan struct{} // a place for each call under way
	secret string        // that no error may have in it
	ready  atomic.Bool

	mu     sync.Mutex
	asking *question // under way, or nil
	closed bool
	wg     sync.WaitGroup
	stop   context.CancelFunc // ends the question under way
}

// A question is whether the server is there.
type question struct {
	done chan struct{}
	err  error // readable once done is closed
}

var errClosed = errors.New("store is closed")

func newConn(client rueidis.Client) *conn {
	return &conn{client: client, calls: make(chan struct{}, callsPerConn)}
}

// do sends one command, once.
func (c *conn) do(ctx context.Context, cmd rueidis.Completed) (rueidis.RedisMessage, error) {
	if err := ctx.Err(); err != nil {
		return rueidis.RedisMessage{}, err
	}
	select {
	case c.calls <- struct{}{}:
	default:
		select {
		case c.calls <- struct{}{}:
		case <-ctx.Done():
			return rueidis.RedisMessage{}, ctx.Err()
		}
	}
	defer func() { <-c.calls }()
	if !c.ready.Load() {
		if err := c.ask(ctx); err != nil {
			return rueidis.RedisMessage{}, err
		}
	}
	res := c.client.Do(ctx, cmd)
	if err := res.NonRedisError(); err != nil {
		c.ready.Store(false)
		return rueidis.RedisMessage{}, c.redact(err)
	}
	return res.ToMessage()
}

// ask waits until the server has answered, and begins to ask unless somebody
// does.
func (c *conn) ask(ctx context.Context) error {
	c.mu.Lock()
	q := c.asking
	switch {
	case c.closed:
		c.mu.Unlock()
		return errClosed
	case q == nil && c.ready.Load(): // somebody has asked meanwhile
		c.mu.Unlock()
		return nil
	case q == nil:
		q = &question{done: make(chan struct{})}
		own, cancel := context.WithTimeout(context.Background(), dialTimeout)
		c.asking, c.stop = q, cancel
		c.wg.Go(func() { c.answer(own, q) })
	}
	c.mu.Unlock()
	select {
	case <-q.done:
		return q.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *conn) answer(ctx context.Context, q *question) {
	err := c.client.Do(ctx, c.client.B().Ping().Build()).NonRedisError()
	c.mu.Lock()
	if err == nil {
		c.ready.Store(true)
	} else {
		q.err = fmt.Errorf("no answer from the server: %w", c.explain(err))
	}
	c.asking = nil
	c.stop()
	c.mu.Unlock()
	close(q.done)
}

// close ends the goroutine, and the client if it is ours, after calls under way.
func (c *conn) close(own bool) {
	c.mu.Lock()
	if c.closed = true; c.asking != nil {
		c.stop()
	}
	c.mu.Unlock()
	c.ready.Store(false)
	c.wg.Wait()
	if own {
		c.client.Close()
	}
}

// A watched connection tells when it fails, before the client does anything
// about it: from then on calls ask first rather than dial on their own account.
type watched struct {
	net.Conn
	failed func()
}

func (w watched) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if err != nil {
		w.failed()
	}
	return n, err
}

func (w watched) Write(p []byte) (int, error) {
	n, err := w.Conn.Write(p)
	if err != nil {
		w.failed()
	}
	return n, err
}
