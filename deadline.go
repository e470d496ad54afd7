package cloakroom

import (
	"context"
	"sync"
	"time"
)

// deadlineCtx bounds a call of the store. It does what context.WithTimeout does,
// but starts a timer only when somebody asks for Done: a store in memory asks
// for Err alone, and a timer would cost it more than its work.
type deadlineCtx struct {
	context.Context // the parent
	at              time.Time

	mu       sync.Mutex
	done     chan struct{}
	err      error
	stop     func() bool // of the timer
	unfollow func() bool // of the parent
}

func withDeadline(parent context.Context, d time.Duration) *deadlineCtx {
	at := time.Now().Add(d)
	if p, ok := parent.Deadline(); ok && p.Before(at) {
		at = p
	}
	return &deadlineCtx{Context: parent, at: at}
}

func (c *deadlineCtx) Deadline() (time.Time, bool) { return c.at, true }

func (c *deadlineCtx) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done != nil {
		return c.done
	}
	c.done = make(chan struct{})
	if c.look(); c.err != nil {
		close(c.done)
		return c.done
	}
	c.stop = time.AfterFunc(time.Until(c.at), func() { c.cancel(context.DeadlineExceeded) }).Stop
	c.unfollow = context.AfterFunc(c.Context, func() { c.cancel(c.Context.Err()) })
	return c.done
}

func (c *deadlineCtx) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look()
	return c.err
}

// look notes an end that came before anybody asked for Done. What a context has
// said once it says for ever.
func (c *deadlineCtx) look() {
	if c.err != nil {
		return
	}
	if err := c.Context.Err(); err != nil {
		c.end(err)
	} else if !time.Now().Before(c.at) {
		c.end(context.DeadlineExceeded)
	}
}

// release frees what the context holds. It is called when the store has answered.
func (c *deadlineCtx) release() { c.cancel(context.Canceled) }

func (c *deadlineCtx) cancel(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.end(err)
	}
}

func (c *deadlineCtx) end(err error) {
	c.err = err
	if c.stop != nil {
		close(c.done)
		c.stop()
		c.unfollow()
	}
}
