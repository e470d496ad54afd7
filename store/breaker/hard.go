package breaker

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// errStuck says that a store keeps too many goroutines already.
var errStuck = errors.New("store: too many calls have not returned since their deadline")

// hard is a store whose calls end with their context, whether the store behind it
// heeds that or not.
type hard struct {
	store.Store
	can       abilities
	most      int64
	abandoned atomic.Int64 // calls that nobody waits for any more
}

// abilities returns those of the store, through hard.
func (h *hard) abilities() abilities {
	var a abilities
	if h.can.users != nil {
		a.users = h
	}
	if h.can.sweeper != nil {
		a.sweeper = h
	}
	if h.can.scanner != nil {
		a.scanner = h
	}
	if h.can.keys != nil {
		a.keys = h
	}
	return a
}

// away makes a call in a goroutine of its own, and waits for it as long as ctx
// allows. A panic of the store is the caller's, while there is one.
func away[T any](h *hard, ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		got      T
		err      error
		panicked any
	}
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	if h.abandoned.Load() >= h.most {
		return none, errStuck
	}
	var settled atomic.Bool // by whoever is first: the store that returns, or the caller who leaves
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			r.panicked = recover()
			done <- r
			if !settled.CompareAndSwap(false, true) {
				h.abandoned.Add(-1)
			}
		}()
		r.got, r.err = f()
	}()
	select {
	case r := <-done:
		if r.panicked != nil {
			panic(r.panicked)
		}
		return r.got, r.err
	case <-ctx.Done():
		h.abandoned.Add(1)
		if !settled.CompareAndSwap(false, true) {
			h.abandoned.Add(-1) // it returns this moment
		}
		return none, ctx.Err()
	}
}

// nothing is what a call returns that returns an error alone.
type nothing struct{}

func (h *hard) Get(ctx context.Context, id store.ID) (store.Record, error) {
	return away(h, ctx, func() (store.Record, error) { return h.Store.Get(ctx, id) })
}

func (h *hard) Put(ctx context.Context, r store.Record) error {
	_, err := away(h, ctx, func() (nothing, error) { return nothing{}, h.Store.Put(ctx, r) })
	return err
}

func (h *hard) Touch(ctx context.Context, id store.ID, seen, expires time.Time) error {
	_, err := away(h, ctx, func() (nothing, error) { return nothing{}, h.Store.Touch(ctx, id, seen, expires) })
	return err
}

func (h *hard) End(ctx context.Context, id store.ID, version uint64, why store.Ended, until time.Time) error {
	_, err := away(h, ctx, func() (nothing, error) { return nothing{}, h.Store.End(ctx, id, version, why, until) })
	return err
}

func (h *hard) ListUser(ctx context.Context, userID string) ([]store.Record, error) {
	return away(h, ctx, func() ([]store.Record, error) { return h.can.users.ListUser(ctx, userID) })
}

func (h *hard) EndUser(ctx context.Context, userID string, except store.ID, why store.Ended, until time.Time) (int, error) {
	return away(h, ctx, func() (int, error) { return h.can.users.EndUser(ctx, userID, except, why, until) })
}

func (h *hard) Sweep(ctx context.Context, now time.Time) (int, error) {
	return away(h, ctx, func() (int, error) { return h.can.sweeper.Sweep(ctx, now) })
}

func (h *hard) Scan(ctx context.Context, after store.ID, n int) ([]store.Record, error) {
	return away(h, ctx, func() ([]store.Record, error) { return h.can.scanner.Scan(ctx, after, n) })
}

func (h *hard) KnownKeys(ctx context.Context) ([]store.KnownKey, error) {
	return away(h, ctx, func() ([]store.KnownKey, error) { return h.can.keys.KnownKeys(ctx) })
}

func (h *hard) RememberKey(ctx context.Context, id string, now time.Time) error {
	_, err := away(h, ctx, func() (nothing, error) { return nothing{}, h.can.keys.RememberKey(ctx, id, now) })
	return err
}

func (h *hard) ForgetKeys(ctx context.Context) error {
	_, err := away(h, ctx, func() (nothing, error) { return nothing{}, h.can.keys.ForgetKeys(ctx) })
	return err
}
