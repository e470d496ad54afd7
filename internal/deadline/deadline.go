// Package deadline has the context that bounds a call of a store.
package deadline

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Context bounds a call of a store. It does what context.WithTimeout does,
// but starts a timer only when somebody asks for Done: a store in memory asks
// for Err alone, and a timer would cost it more than its work.
type Context struct {
	context.Context // the parent
	at              time.Time

	mu       sync.Mutex
	done     chan struct{}
	err      error
	stop     func() bool // of the timer
	unfollow func() bool // of the parent
	after    []*func()   // what AfterFunc was given
}

// With returns a context that ends d from now, or with its parent if that is
// sooner. Whoever made it releases it.
func With(parent context.Context, d time.Duration) *Context { return Until(parent, time.Now().Add(d)) }

// Until is With for a time.
func Until(parent context.Context, at time.Time) *Context {
	if p, ok := parent.Deadline(); ok && p.Before(at) {
		at = p
	}
	return &Context{Context: parent, at: at}
}

// Deadline returns the end.
func (c *Context) Deadline() (time.Time, bool) { return c.at, true }

// Done returns a channel that is closed at the end. Asking for it starts the timer.
func (c *Context) Done() <-chan struct{} {
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

// AfterFunc calls f in a goroutine of its own once the context has ended, unless
// stop is called before that. It is what package context asks a parent of another
// make for (context.AfterFunc says so): without it each call of a driver that
// derives a context of its own would cost a goroutine that waits.
func (c *Context) AfterFunc(f func()) (stop func() bool) {
	c.Done() // starts the timer
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		go f()
		return func() bool { return false }
	}
	this := &f
	c.after = append(c.after, this)
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		i := slices.Index(c.after, this)
		if i < 0 {
			return false
		}
		c.after = slices.Delete(c.after, i, i+1)
		return true
	}
}

// Err tells whether, and how, the context has ended, by the clock.
func (c *Context) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look()
	return c.err
}

// look notes an end that came before anybody asked for Done. What a context has
// said once it says for ever.
func (c *Context) look() {
	if c.err != nil {
		return
	}
	if err := c.Context.Err(); err != nil {
		c.end(err)
	} else if !time.Now().Before(c.at) {
		c.end(context.DeadlineExceeded)
	}
}

// Release frees what the context holds. It is called when the store has answered.
func (c *Context) Release() { c.cancel(context.Canceled) }

func (c *Context) cancel(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.end(err)
	}
}

func (c *Context) end(err error) {
	c.err = err
	if c.stop != nil {
		close(c.done)
		c.stop()
		c.unfollow()
	}
	for _, f := range c.after {
		go (*f)()
	}
	c.after = nil
}
