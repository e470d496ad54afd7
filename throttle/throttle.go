package throttle

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Throttle is the budget of failed attempts. Use [New]; the methods of the zero
// Throttle return an error. It may be used by many goroutines at once.
type Throttle struct {
	store Store
	opts  Options
}

// New returns a Throttle that keeps its counters in st; nil is a [NewMemory] of its
// own. The error holds every fault of the options.
func New(st Store, opts *Options) (*Throttle, error) {
	if opts == nil {
		opts = &Options{}
	}
	o := *opts
	if err := o.check(); err != nil {
		return nil, err
	}
	if st == nil {
		st = NewMemory()
	}
	return &Throttle{store: st, opts: o}, nil
}

// Attempt is somebody who is about to prove an identity. The texts may be of any
// length and hold anything.
type Attempt struct {
	// Account is the account's ID, or something that no ID is and that the name
	// typed is part of, such as "?" and the canonical name: accounts that do not
	// exist count as others do.
	Account string

	// Source is the client's address. What is no address counts as one source.
	Source string

	// Device is an ID of the device that is known to be one of this account's, or
	// empty. Whoever says that it is has proof, such as a sealed cookie.
	Device string
}

// Ticket is an attempt that was let through, and counted.
type Ticket struct {
	// Locked says that the account or, on a known device, the device has had its
	// failures in a row. The password is verified all the same and refused, be it
	// right, as a wrong one is: nobody learns from the answer or its time which it
	// was.
	Locked bool

	// Locks says that this attempt is the one that locks, if it fails.
	Locks bool

	// Failures is how many attempts at the account have failed in a row before this
	// one. Those under way count.
	Failures int

	lanes   []Lane
	marks   []Mark
	device  bool
	settled atomic.Bool
}

// RefusedError says that an attempt was refused. It was not counted, and nothing is
// to be verified.
type RefusedError struct {
	RetryAfter time.Duration // positive, at most Options.MaxDelay
	Lane       string        // "account", "pair", "source" or "device"
}

// Error names the lane, for a log: people are told the time alone.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("throttle: too many attempts (%s): retry after %v", e.Lane, e.RetryAfter)
}

var (
	errZero    = errors.New("throttle: a Throttle that New has not made")
	errTicket  = errors.New("throttle: no ticket of Begin")
	errSettled = errors.New("throttle: the ticket was settled before")
)

// Begin lets an attempt through and counts it, as if it failed: before anything is
// verified, so that of attempts at the same moment no more are verified than of
// attempts one after the other. The error is a [*RefusedError], or says that the
// store did not answer: then nothing is to be verified either.
//
// Who succeeds calls Succeed, who has verified nothing calls Cancel, and who has
// failed does nothing. So an attempt during which the process dies is a failure.
func (t *Throttle) Begin(ctx context.Context, a Attempt) (*Ticket, error) {
	if t == nil || t.store == nil {
		return nil, errZero
	}
	lanes := t.lanes(a)
	marks, refused, err := t.store.Take(ctx, lanes, time.Now())
	if err != nil {
		return nil, fmt.Errorf("throttle: begin: %w", err)
	}
	if refused != nil {
		return nil, &RefusedError{RetryAfter: refused.After, Lane: lanes[refused.Lane].Name}
	}
	tk := &Ticket{Locked: marks[0].Locked, lanes: lanes, marks: marks, device: a.Device != ""}
	for i, m := range marks {
		if lanes[i].Lock == 0 {
			continue
		}
		tk.Locks = tk.Locks || m.Total > 0 && m.Row >= lanes[i].Lock
		tk.Failures = m.Row - m.Total // of the account: behind a device it comes last
	}
	return tk, nil
}

// settle is how long Succeed and Cancel may take at most, be their context ended
// or not: a client that has gone away is the usual reason of a Cancel.
const settle = 5 * time.Second

// Succeed says that the attempt has proved the identity. It clears the lanes that
// are the account's own and gives the others back what the attempt took. Behind a
// ticket that is Locked it changes nothing. It works though ctx has ended.
func (t *Throttle) Succeed(ctx context.Context, tk *Ticket) error {
	if tk != nil && tk.Locked {
		return t.settle(ctx, "succeed", tk, nil)
	}
	if tk != nil && tk.device {
		return t.settle(ctx, "succeed", tk, []How{Clear, ClearTotal})
	}
	return t.settle(ctx, "succeed", tk, []How{Clear, Clear, Give})
}

// Cancel says that nothing was verified, and gives back what the attempt took. It
// works though ctx has ended.
func (t *Throttle) Cancel(ctx context.Context, tk *Ticket) error {
	return t.settle(ctx, "cancel", tk, []How{Give, Give, Give})
}

// settle does what is due to each lane of a ticket, once.
func (t *Throttle) settle(ctx context.Context, what string, tk *Ticket, hows []How) error {
	switch {
	case t == nil || t.store == nil:
		return errZero
	case tk == nil || len(tk.lanes) == 0:
		return errTicket
	case tk.settled.Swap(true):
		return errSettled
	case hows == nil:
		return nil
	}
	back := make([]Return, len(tk.lanes))
	for i := range back {
		back[i] = Return{Lane: tk.lanes[i], Mark: tk.marks[i], How: hows[i]}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settle)
	defer cancel()
	if err := t.store.Settle(ctx, back); err != nil {
		return fmt.Errorf("throttle: %s: %w", what, err)
	}
	return nil
}

// State is how an account stands, for administration.
type State struct {
	Failures int       // in a row, at most Options.Lock; attempts under way count
	Locked   bool      // it has reached Options.Lock: see [Throttle.Unlock]
	Until    time.Time // attempts on unknown devices are refused until then; zero: now they are not
}

// State returns how an account stands. Delays of one source, and those of known
// devices, are not part of it.
func (t *Throttle) State(ctx context.Context, account string) (State, error) {
	if t == nil || t.store == nil {
		return State{}, errZero
	}
	lane := t.account(account)
	c, err := t.store.Read(ctx, lane.Key)
	if err != nil {
		return State{}, fmt.Errorf("throttle: state: %w", err)
	}
	s := State{Failures: min(c.Total, t.opts.Lock), Locked: c.Total >= t.opts.Lock}
	now := time.Now()
	if _, wait := lane.wait(c, now.UnixMilli()); wait > 0 {
		s.Until = now.Add(wait)
	}
	return s, nil
}

// Unlock makes an account as new: its failures, its delays, those from each source
// and those of its known devices. Delays of a source for whatever account stay.
func (t *Throttle) Unlock(ctx context.Context, account string) error {
	if t == nil || t.store == nil {
		return errZero
	}
	if err := t.store.Drop(ctx, t.account(account).Owner); err != nil {
		return fmt.Errorf("throttle: unlock: %w", err)
	}
	return nil
}

// Sweep forgets what no rule asks for any more, and returns how many counters that
// were. It is to be called every hour or so, by one of the programs that share a
// store or by several. What the store does between is not affected.
func (t *Throttle) Sweep(ctx context.Context) (int, error) {
	if t == nil || t.store == nil {
		return 0, errZero
	}
	n, err := t.store.Sweep(ctx, time.Now())
	if err != nil {
		return n, fmt.Errorf("throttle: sweep: %w", err)
	}
	return n, nil
}

// lanes returns the lanes of an attempt. The first one locks. The order is that of
// how few pass: where several are on their way, the narrowest is in front.
func (t *Throttle) lanes(a Attempt) []Lane {
	account := t.account(a.Account)
	if a.Device != "" {
		device := t.lane("device", t.opts.Free, a.Account, a.Device)
		device.Owner, device.Lock, device.Keep = account.Owner, t.opts.Lock, keep
		account.Free = 0 // its delays are for unknown devices
		return []Lane{device, account}
	}
	network := group(a.Source)
	pair := t.lane("pair", t.opts.Free, a.Account, network)
	pair.Owner = account.Owner
	return []Lane{account, pair, t.lane("source", t.opts.SourceFree, network)}
}

// account returns the lane of an account.
func (t *Throttle) account(account string) Lane {
	l := t.lane("account", t.opts.Free, account)
	l.Owner, l.Lock, l.Keep = l.Key, t.opts.Lock, keep
	return l
}

func (t *Throttle) lane(name string, free int, of ...string) Lane {
	return Lane{
		Name: name, Key: key(name, of...), Free: free,
		Delay: t.opts.Delay, MaxDelay: t.opts.MaxDelay, Forget: t.opts.Forget,
	}
}

// key is the SHA-256 over texts, each behind its length: no two lists of texts are
// the same bytes.
func key(name string, of ...string) Key {
	var few [192]byte // mostly enough, and nothing for the garbage collector
	b := appendText(appendText(few[:0], "cloakroom throttle v1"), name)
	for _, s := range of {
		b = appendText(b, s)
	}
	return sha256.Sum256(b)
}

func appendText(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint64(b, uint64(len(s))), s...)
}
