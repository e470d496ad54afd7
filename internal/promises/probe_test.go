package promises_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// backend is what a store must be able to do to be put to these tests.
type backend = store.UserStore

// op names a call of the store. A Put is two operations: creating and updating
// are different things.
type op string

const (
	opGet     op = "get"
	opCreate  op = "create"
	opUpdate  op = "update"
	opTouch   op = "touch"
	opEnd     op = "end"
	opEndUser op = "end user"
	opList    op = "list user"
	opHandler op = "handler" // no call of the store: the handler stands between load and commit
)

// call is one call of the store, as a request made it.
type call struct {
	by           *trace
	op           op
	n            int // the how-manieth of its request, from 1
	id           store.ID
	user         string // of a Put and of an EndUser
	version      uint64 // of a Put and of an End
	began, ended int64  // on the probe's clock, which ticks with each begin and end
	err          error  // what the caller was told
	applied      bool   // whether the store was asked
	result       error  // what the store said then
}

// did reports whether the store did what this call asked for.
func (c *call) did() bool { return c.applied && c.result == nil }

// fault decides what becomes of a call: whether and when it reaches the store,
// and what its caller is told.
type fault func(ctx context.Context, apply func(context.Context) error) error

// answered reports whether the store was asked and could answer, for better or
// worse.
func (c *call) answered() bool { return c.applied && (c.result == nil || isAnswer(c.result)) }

// isAnswer reports an error that says something about a session.
func isAnswer(err error) bool {
	return errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrEnded) || errors.Is(err, store.ErrConflict)
}

var errStore = errors.New("the store is out of order")

// The ways in which a store fails.
var (
	// none is not a fault.
	none fault = func(ctx context.Context, apply func(context.Context) error) error { return apply(ctx) }

	// refused never reaches the store.
	refused fault = func(context.Context, func(context.Context) error) error { return errStore }

	// unheard is done, but the answer gets lost.
	unheard fault = func(ctx context.Context, apply func(context.Context) error) error {
		_ = apply(ctx)
		return errStore
	}

	// hanging never reaches the store, and there is no answer either.
	hanging fault = func(ctx context.Context, _ func(context.Context) error) error {
		<-ctx.Done()
		return ctx.Err()
	}

	// hangingUnheard is done, and there is no answer.
	hangingUnheard fault = func(ctx context.Context, apply func(context.Context) error) error {
		_ = apply(context.WithoutCancel(ctx))
		<-ctx.Done()
		return ctx.Err()
	}
)

// overdue reaches the store when release is closed, long after its caller has
// given up; what the store said then is sent to done.
func overdue(release <-chan struct{}, done chan<- error) fault {
	return func(ctx context.Context, apply func(context.Context) error) error {
		go func() {
			<-release
			done <- apply(context.WithoutCancel(ctx))
		}()
		<-ctx.Done()
		return ctx.Err()
	}
}

// trace follows one request on its way through the store.
type trace struct {
	name string

	// gate is asked before each call; it may block, which stops the request
	// there. Nil lets everything through.
	gate func(*call) fault

	// after is asked when a call has been applied, before its caller is told.
	after func(*call)

	// idle makes each session that the request loads look as if nothing had been
	// heard of its visitor for a while, so that a touch is due.
	idle time.Duration

	// garble changes what the store answers to a Get.
	garble func(*store.Record)

	// ctx is the request's on the server: it ends when the client goes away.
	ctx context.Context

	// over is closed when the server is done with the request.
	over chan struct{}

	mu    sync.Mutex
	calls []*call
}

// seen returns the calls so far.
func (tr *trace) seen() []*call {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return slices.Clone(tr.calls)
}

// count returns how many calls of these operations there were; of any without.
func (tr *trace) count(ops ...op) int {
	n := 0
	for _, c := range tr.seen() {
		if len(ops) == 0 || slices.Contains(ops, c.op) {
			n++
		}
	}
	return n
}

// created returns the IDs under which the request has stored something new.
func (tr *trace) created() []store.ID {
	var ids []store.ID
	for _, c := range tr.seen() {
		if c.op == opCreate && c.did() {
			ids = append(ids, c.id)
		}
	}
	return ids
}

type traceKey struct{}

func traceOf(ctx context.Context) *trace {
	tr, _ := ctx.Value(traceKey{}).(*trace)
	return tr
}

// probe stands between the Managers and the store. Calls of a request that
// carries a trace go through the trace; all others pass.
type probe struct {
	backend
	clock atomic.Int64
	down  atomic.Bool // nothing gets through, from nobody
	first *probe      // whose clock and state it shares; nil: it has its own
}

// tick returns the next moment.
func (p *probe) tick() int64 {
	if p.first != nil {
		p = p.first
	}
	return p.clock.Add(1)
}

// do makes one call.
func (p *probe) do(ctx context.Context, c call, apply func(context.Context) error) error {
	if p.down.Load() || p.first != nil && p.first.down.Load() {
		return errStore
	}
	tr := traceOf(ctx)
	if tr == nil {
		return apply(ctx)
	}
	return p.traced(ctx, tr, &c, apply)
}

func (p *probe) traced(ctx context.Context, tr *trace, c *call, apply func(context.Context) error) error {
	tr.mu.Lock()
	tr.calls = append(tr.calls, c)
	c.by, c.n = tr, len(tr.calls)
	tr.mu.Unlock()
	what := none
	if tr.gate != nil {
		if f := tr.gate(c); f != nil {
			what = f
		}
	}
	c.began = p.tick()
	err := what(ctx, func(ctx context.Context) error {
		err := apply(ctx)
		tr.mu.Lock()
		c.applied, c.result = true, err
		tr.mu.Unlock()
		if tr.after != nil {
			tr.after(c)
		}
		return err
	})
	tr.mu.Lock()
	c.err, c.ended = err, p.tick()
	tr.mu.Unlock()
	return err
}

func (p *probe) Get(ctx context.Context, id store.ID) (rec store.Record, err error) {
	err = p.do(ctx, call{op: opGet, id: id}, func(ctx context.Context) (err error) {
		rec, err = p.backend.Get(ctx, id)
		return err
	})
	if tr := traceOf(ctx); tr != nil && err == nil {
		rec.Seen = rec.Seen.Add(-tr.idle)
		if tr.garble != nil {
			tr.garble(&rec)
		}
	}
	return rec, err
}

func (p *probe) Put(ctx context.Context, r store.Record) error {
	kind := opUpdate
	if r.Version == 0 {
		kind = opCreate
	}
	return p.do(ctx, call{op: kind, id: r.ID, user: r.UserID, version: r.Version},
		func(ctx context.Context) error { return p.backend.Put(ctx, r) })
}

func (p *probe) Touch(ctx context.Context, id store.ID, seen, expires time.Time) error {
	return p.do(ctx, call{op: opTouch, id: id},
		func(ctx context.Context) error { return p.backend.Touch(ctx, id, seen, expires) })
}

func (p *probe) End(ctx context.Context, id store.ID, version uint64, why store.Ended, until time.Time) error {
	return p.do(ctx, call{op: opEnd, id: id, version: version},
		func(ctx context.Context) error { return p.backend.End(ctx, id, version, why, until) })
}

func (p *probe) ListUser(ctx context.Context, userID string) (recs []store.Record, err error) {
	err = p.do(ctx, call{op: opList, user: userID}, func(ctx context.Context) (err error) {
		recs, err = p.backend.ListUser(ctx, userID)
		return err
	})
	return recs, err
}

func (p *probe) EndUser(ctx context.Context, userID string, except store.ID, why store.Ended, until time.Time) (n int, err error) {
	err = p.do(ctx, call{op: opEndUser, user: userID}, func(ctx context.Context) (err error) {
		n, err = p.backend.EndUser(ctx, userID, except, why, until)
		return err
	})
	return n, err
}
