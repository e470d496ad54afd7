// Package breaker stands in front of a session store and bounds what an outage of
// it costs: every call gets a deadline, and once the store has stopped answering,
// calls fail at once instead of waiting for it, until it answers again.
//
//	b, err := breaker.New(st, nil)
//	m, err := cloakroom.New(b.Store(), keys, nil)
//	// GET /readyz: b.Ready(r.Context()) == nil
//
// # What opens the circuit
//
// Options.Failures failures with no answer between them. An answer is whatever
// says something about a session, store.ErrNotFound, ErrEnded, ErrConflict and
// ErrImmutable among them. A failure is every other error, except that
//
//   - a call whose caller has gone away says nothing: a client that closes its
//     connection ten thousand times opens nothing. Nor does a deadline of the
//     caller's that left the store less than half of Options.Timeout;
//   - what may come of one visitor's record counts once for each session: a Put, a
//     Touch or an End that fails (a value too large for the store, a row that its
//     own requests lock), or a Get with an error that is neither a timeout nor of
//     the network (a damaged row). A Get that is not answered counts each time:
//     reading one record waits for no other, and its sender chose nothing of it;
//   - calls whose work grows, all but the four of store.Store, never count.
//
// So nobody can shut out others by what they do to sessions of their own, while
// anybody else's are answered between.
//
// # How it closes
//
// When it opens, and after each probe that fails, no call is let through for a
// cool-down: Options.CoolDown at first, twice as long each time, at most
// Options.MaxCoolDown, of which a random part up to the half is left out, so that
// instances do not ask in step. The next call after that is preceded by a probe;
// until the probe has ended all others go on failing at once. A probe is a Get,
// whatever the call is: no write is sent to find out. Whoever's call it is pays at
// most Options.Timeout. A probe that is answered closes the circuit, and its call
// goes on. It does not end because its client goes away, so that nobody can keep
// the circuit open by leaving. [Breaker.Ready] probes as any call does: an
// instance that gets no requests while it is not ready still recovers.
//
// There is no goroutine and no timer: time passes for those who call. The one
// exception is Options.Hard.
package breaker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// ErrOpen is the error of calls that are not made since the store has stopped
// answering. It comes wrapped, beside the error that opened the circuit, and is a
// store.ErrNotAsked: nothing of such a call has reached the store.
var ErrOpen = fmt.Errorf("circuit is open: %w", store.ErrNotAsked)

// What the zero value of an option means.
const (
	DefaultTimeout      = 250 * time.Millisecond
	DefaultBulkTimeout  = 30 * time.Second
	DefaultFailures     = 5
	DefaultCoolDown     = 100 * time.Millisecond
	DefaultMaxCoolDown  = 2 * time.Second
	DefaultMaxAbandoned = 64
)

// Options are the options of a [Breaker]. The zero value is what most need.
type Options struct {
	// Timeout bounds each call of Get, Put, Touch and End; zero means
	// DefaultTimeout. A shorter deadline of the caller's holds as well. A
	// cloakroom.Manager sets one, Options.StoreTimeout: make it the same.
	Timeout time.Duration

	// BulkTimeout bounds each call whose work grows, ListUser, EndUser, Sweep and
	// Scan, and those of a store.KeyRegistry; zero means DefaultBulkTimeout. At
	// least Timeout.
	BulkTimeout time.Duration

	// Failures is how many of them in a row open the circuit; zero means
	// DefaultFailures.
	Failures int

	// CoolDown is the first pause between two probes, and MaxCoolDown the longest;
	// zero means DefaultCoolDown and DefaultMaxCoolDown, or CoolDown if that is
	// longer.
	CoolDown, MaxCoolDown time.Duration

	// Hard makes the deadlines hold for a store that does not heed its context, as
	// one that is stuck in a system call: each call runs in a goroutine of its own,
	// which is abandoned at the deadline, and ends when the store returns. While
	// MaxAbandoned of them have not returned, calls fail at once; zero means
	// DefaultMaxAbandoned. Stores that pass storetest.Run heed their context, and a
	// driver of a network server does so too: they need no Hard, which costs some
	// microseconds a call.
	Hard         bool
	MaxAbandoned int

	// Changed is told each time the circuit opens, with what opened it, and each
	// time it closes, with nil: once a change, in their order. A log line, a
	// metric. It must not call the Breaker, and calls wait for it. May be nil. What
	// a store says may hold addresses and names: it is for the log alone.
	Changed func(s State, why error)
}

// State is what a circuit is in.
type State uint8

// The states.
const (
	Closed State = iota // calls get through
	Open                // calls fail at once, but for probes
)

// String returns "closed" or "open".
func (s State) String() string {
	switch s {
	case Closed:
		return "closed"
	case Open:
		return "open"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// Breaker is a circuit breaker before one store. It may be used by many goroutines.
type Breaker struct {
	st    store.Store // or what makes its deadlines hard
	outer store.Store // see Store
	opts  Options

	// now is replaced by each change. Calls remember what they began under: what
	// they find out about another time is of no use.
	now atomic.Pointer[circuit]

	mu       sync.Mutex // guards changes, and what follows
	failures int        // in a row
	blamed   []store.ID // sessions whose failure is among them and counts once
	failing  atomic.Bool

	telling sync.Mutex // keeps what Changed is told in order
}

// circuit is a state, from one change to the next.
type circuit struct {
	err      error // what calls are told; nil: closed
	coolDown time.Duration
	due      time.Time   // of the next probe
	probing  atomic.Bool // somebody does
}

// New returns a Breaker in front of st. Nil options are the zero Options. Every
// fault is reported at once.
func New(st store.Store, opts *Options) (*Breaker, error) {
	o, err := opts.resolve()
	if st == nil {
		err = errors.Join(errors.New("breaker: New needs a store"), err)
	}
	if err != nil {
		return nil, err
	}
	b := &Breaker{st: st, opts: o}
	b.now.Store(new(circuit))
	can := abilitiesOf(st)
	if o.Hard {
		h := &hard{Store: st, can: can, most: int64(o.MaxAbandoned)}
		b.st, can = h, h.abilities()
	}
	b.outer = b.offer(can)
	return b, nil
}

func (o *Options) resolve() (Options, error) {
	var r Options
	if o != nil {
		r = *o
	}
	var faults []error
	atLeast := func(name string, d *time.Duration, usual time.Duration, least time.Duration) {
		if *d == 0 {
			*d = max(usual, least)
		}
		if *d < least {
			faults = append(faults, fmt.Errorf("breaker: %s %v is too short: at least %v", name, *d, least))
		}
	}
	atLeast("Timeout", &r.Timeout, DefaultTimeout, time.Millisecond)
	atLeast("BulkTimeout", &r.BulkTimeout, DefaultBulkTimeout, r.Timeout)
	atLeast("CoolDown", &r.CoolDown, DefaultCoolDown, time.Millisecond)
	atLeast("MaxCoolDown", &r.MaxCoolDown, DefaultMaxCoolDown, r.CoolDown)
	count := func(name string, n *int, usual int) {
		if *n == 0 {
			*n = usual
		}
		if *n < 0 {
			faults = append(faults, fmt.Errorf("breaker: %s %d is negative", name, *n))
		}
	}
	count("Failures", &r.Failures, DefaultFailures)
	count("MaxAbandoned", &r.MaxAbandoned, DefaultMaxAbandoned)
	return r, errors.Join(faults...)
}

// Store returns the guarded store. It is a store.UserStore, store.Sweeper,
// store.Scanner or store.KeyRegistry where the store behind it is one, and not
// otherwise. What else that can do it does not have.
func (b *Breaker) Store() store.Store { return b.outer }

// State returns what the circuit is in. It asks nobody: see Ready.
func (b *Breaker) State() State {
	if b.now.Load().err != nil {
		return Open
	}
	return Closed
}

// Ready asks the store for a session that nobody has, and returns nil if that is
// answered: for /readyz. It takes at most Options.Timeout, and none while the
// circuit is open and no probe is due, when the error wraps ErrOpen. The text of the error is for the
// log alone.
func (b *Breaker) Ready(ctx context.Context) error {
	_, err := guarded{b}.Get(ctx, store.ID{})
	if err == nil || isAnswer(err) {
		return nil
	}
	return fmt.Errorf("breaker: session store is not ready: %w", err)
}

// failed notes a failure of a call that began under c. A record that may itself
// be the cause is named by blame.
func (b *Breaker) failed(c *circuit, why error, blame *store.ID) {
	b.mu.Lock()
	if b.now.Load() != c {
		b.mu.Unlock()
		return // it tells of the time before a change
	}
	if blame != nil {
		if slices.Contains(b.blamed, *blame) {
			b.mu.Unlock()
			return
		}
		b.blamed = append(b.blamed, *blame)
	}
	b.failing.Store(true)
	if b.failures++; b.failures < b.opts.Failures {
		b.mu.Unlock()
		return
	}
	b.change(b.opened(why, b.opts.CoolDown), why, true)
}

// answered notes that the store has answered. It is on the way of every call.
func (b *Breaker) answered(c *circuit) {
	if !b.failing.Load() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.now.Load() == c {
		b.forget()
	}
}

func (b *Breaker) forget() {
	b.failures, b.blamed = 0, b.blamed[:0]
	b.failing.Store(false)
}

// opened returns an open circuit.
func (b *Breaker) opened(why error, coolDown time.Duration) *circuit {
	wait := coolDown - rand.N(coolDown/2)
	c := &circuit{coolDown: coolDown, due: time.Now().Add(wait)}
	if errors.Is(why, context.Canceled) {
		// A driver's own: no caller has gone away, and none shall be taken for gone.
		c.err = fmt.Errorf("%w: %v", ErrOpen, why)
	} else {
		c.err = fmt.Errorf("%w: %w", ErrOpen, why)
	}
	return c
}

// change puts another circuit in place, and unlocks b.mu.
func (b *Breaker) change(to *circuit, why error, tell bool) {
	b.forget()
	b.now.Store(to)
	if !tell || b.opts.Changed == nil {
		b.mu.Unlock()
		return
	}
	b.telling.Lock()
	defer b.telling.Unlock()
	b.mu.Unlock()
	state := Closed
	if to.err != nil {
		state = Open
	}
	b.opts.Changed(state, why)
}

// pass decides about a call that meets an open circuit: it returns nil if a probe
// was due and has been answered, or the error for the call.
func (b *Breaker) pass(ctx context.Context, c *circuit, id store.ID) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if time.Now().Before(c.due) || !c.probing.CompareAndSwap(false, true) {
		return c.err
	}
	why := errors.New("the probe panicked")
	defer func() { // also then: otherwise nobody would ever probe again
		b.mu.Lock()
		if why == nil {
			b.change(new(circuit), nil, true)
			return
		}
		b.change(b.opened(why, min(2*c.coolDown, b.opts.MaxCoolDown)), why, false)
	}()
	if why = b.probe(ctx, id); why != nil {
		return fmt.Errorf("%w: %w", ErrOpen, why)
	}
	return nil
}
