package breaker

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/deadline"
	"github.com/cloakroom-dev/cloakroom/store"
)

// guarded is a store.Store of which each call goes through the circuit.
type guarded struct{ b *Breaker }

// call is one call that got through.
type call struct {
	ctx    context.Context   // for the store
	caller context.Context   // as it came
	own    *deadline.Context // to be released; nil where the caller's is soon enough
	began  time.Time
	under  *circuit
}

// begin lets a call through, under a deadline, or returns its error. A probe that
// comes before it takes of the same time.
func (b *Breaker) begin(ctx context.Context, timeout time.Duration, id store.ID) (call, error) {
	c := call{ctx: ctx, caller: ctx, began: time.Now(), under: b.now.Load()}
	if at := c.began.Add(timeout); !endsBefore(ctx, at) {
		c.own = deadline.Until(ctx, at)
		c.ctx = c.own
	}
	for c.under.err != nil {
		if err := b.pass(c.ctx, c.under, id); err != nil {
			c.release()
			return c, err
		}
		c.under = b.now.Load()
	}
	return c, nil
}

func endsBefore(ctx context.Context, at time.Time) bool {
	d, ok := ctx.Deadline()
	return ok && !d.After(at)
}

func (c *call) release() {
	if c.own != nil {
		c.own.Release()
	}
}

// doubt says how much a failure tells about the store.
type doubt uint8

const (
	reads  doubt = iota // a Get: a silent store is at fault, each time
	writes              // the record may be at fault
	grows               // the work may be
)

// end judges what came of a call, and returns it.
func (b *Breaker) end(c *call, about doubt, id store.ID, err error) error {
	if err == nil || isAnswer(err) {
		c.release()
		b.answered(c.under)
		return err
	}
	silent := c.ctx.Err() != nil || isSilence(err)
	c.release()
	switch gone := c.caller.Err(); {
	case gone == nil:
	case !errors.Is(gone, context.DeadlineExceeded), time.Since(c.began) < b.opts.Timeout/2:
		return err // a caller who goes away, or never had the time, says nothing
	}
	switch {
	case about == grows:
	case about == reads && silent:
		b.failed(c.under, err, nil)
	default:
		b.failed(c.under, err, &id)
	}
	return err
}

// probe asks an open circuit's store whether it answers, for whom the session of
// id is. If that one cannot be read, for a reason that may be its own, another is
// asked for: one that nobody has.
func (b *Breaker) probe(ctx context.Context, id store.ID) error {
	call := deadline.With(context.WithoutCancel(ctx), b.opts.Timeout)
	defer call.Release()
	_, err := b.st.Get(call, id)
	if err != nil && !isAnswer(err) && call.Err() == nil && !isSilence(err) && !id.IsZero() {
		_, err = b.st.Get(call, store.ID{})
	}
	if err == nil || isAnswer(err) {
		return nil
	}
	return err
}

// isAnswer reports an error that says something about a session.
func isAnswer(err error) bool {
	return errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrEnded) ||
		errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrImmutable)
}

// isSilence reports an error of the network or of the time, which says that
// nothing has been answered. Drivers have others besides: those count as unknown.
func isSilence(err error) bool {
	var network net.Error // also a system call's
	return errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, errStuck)
}

func (g guarded) Get(ctx context.Context, id store.ID) (store.Record, error) {
	c, err := g.b.begin(ctx, g.b.opts.Timeout, id)
	if err != nil {
		return store.Record{}, err
	}
	rec, err := g.b.st.Get(c.ctx, id)
	return rec, g.b.end(&c, reads, id, err)
}

func (g guarded) Put(ctx context.Context, r store.Record) error {
	c, err := g.b.begin(ctx, g.b.opts.Timeout, r.ID)
	if err != nil {
		return err
	}
	return g.b.end(&c, writes, r.ID, g.b.st.Put(c.ctx, r))
}

func (g guarded) Touch(ctx context.Context, id store.ID, seen, expires time.Time) error {
	c, err := g.b.begin(ctx, g.b.opts.Timeout, id)
	if err != nil {
		return err
	}
	return g.b.end(&c, writes, id, g.b.st.Touch(c.ctx, id, seen, expires))
}

func (g guarded) End(ctx context.Context, id store.ID, version uint64, why store.Ended, until time.Time) error {
	c, err := g.b.begin(ctx, g.b.opts.Timeout, id)
	if err != nil {
		return err
	}
	return g.b.end(&c, writes, id, g.b.st.End(c.ctx, id, version, why, until))
}
