package keyring

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/guessable"
)

// MaxKeys is the largest number of keys in a ring. A rotation needs three.
const MaxKeys = 64

// A Ring is a set of keys of which one is active. It comes from [New], [Read], [Load]
// or [OpenFile]; the zero Ring has no keys, and using it panics. It is safe for
// concurrent use, and must not be copied.
type Ring struct {
	state atomic.Pointer[state]
}

// A state is what a ring holds between two calls of Replace. It never changes.
type state struct {
	keys []Key // the active one first
}

// KeyInfo is what may be shown of a key.
type KeyInfo struct {
	ID      KeyID
	Created time.Time // zero if nobody knows, as of a bare secret
	State   State
	Until   time.Time // when a retiring key stops being accepted, else zero
}

// Ended tells whether what the key has signed or sealed is accepted no more at the given
// time: the key is retiring, and that is Until or later. Next and active keys do not end.
// Until has whole seconds, as in a key line; where it is zero, a retiring key has ended.
func (i KeyInfo) Ended(now time.Time) bool { return i.State == Retiring && !now.Before(i.Until) }

// New returns a ring that signs with active and accepts others too.
//
// Active has to be in the state [Active]; others are next or retiring keys.
// Refused are: the zero Key, two keys with one ID, secrets that are no random
// bytes or stand in somebody's documentation (ASVS 11.2.3), more than [MaxKeys]
// keys. The error names every fault and no secret.
func New(active Key, others ...Key) (*Ring, error) {
	st, err := newState(active, others)
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	return newRing(st), nil
}

func newRing(st *state) *Ring {
	r := new(Ring)
	r.state.Store(st)
	return r
}

func newState(active Key, others []Key) (*state, error) {
	var faults []error
	if active.material != nil && active.state != Active {
		faults = append(faults, fmt.Errorf("%v is to sign, but its state is %v", active, active.state))
	}
	keys := slices.Concat([]Key{active}, others)
	entries := make([]entry, len(keys))
	for i, k := range keys {
		entries[i].key = k
	}
	if err := join(append(faults, judgeAll(entries)...)); err != nil {
		return nil, err
	}
	return &state{keys: keys}, nil
}

// judgeAll says what keeps keys, the active one first, from being a ring.
func judgeAll(entries []entry) []error {
	var faults []error
	if n := len(entries); n > MaxKeys {
		faults = append(faults, fmt.Errorf("%d keys are too many, %d may be in a ring; remove what has retired", n, MaxKeys))
	}
	seen := make(map[KeyID]entry, len(entries))
	for i, e := range entries {
		if err := judge(e.key); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", e.where(), err))
		}
		if i > 0 && e.key.state == Active {
			faults = append(faults, fmt.Errorf("%s: key is active as well as the one of %s; only one may be, the other is next or retiring", e.where(), entries[0].where()))
		}
		// An ID is all that a cookie says about its key: it has to be clear.
		first, ok := seen[e.key.ID()]
		if ok && e.key.material != nil {
			faults = append(faults, fmt.Errorf("%s: key has the same id as the one of %s; remove one of them", e.where(), first.where()))
		}
		if !ok {
			seen[e.key.ID()] = e
		}
	}
	return faults
}

// judge says why a ring refuses a key, or nil.
func judge(k Key) error {
	switch {
	case k.material == nil:
		return errors.New("there is no key; make one with cloakroom key new")
	case k.id == KeyID{}:
		return errors.New("key has the id that means no key; make another with cloakroom key new")
	case k.state == Retiring && k.until.IsZero():
		return errors.New("key retires without a time; say until when it is accepted")
	case k.until.Year() > 9999 || k.until.Year() < 0:
		// Such a time could not be written down and read again.
		return errors.New("time has to lie between the years 0 and 9999")
	}
	if err := guessable.Secret(k.secret); err != nil {
		return fmt.Errorf("%w; make a key with cloakroom key new", err)
	}
	return nil
}

// load returns the present state. A ring without one is a programmer's mistake.
func (r *Ring) load() *state {
	st := r.state.Load()
	if st == nil {
		panic("keyring: a Ring has to come from New, Read, Load or OpenFile")
	}
	return st
}

// Replace exchanges all keys at once, by the rules of [New]; on an error
// nothing changes. Every purpose made from the ring follows with its next call;
// a call that is running ends with the keys it began with. What was signed by a
// key that is gone is refused from then on.
func (r *Ring) Replace(active Key, others ...Key) error {
	st, err := newState(active, others)
	if err != nil {
		return fmt.Errorf("keyring: replace keys: %w", err)
	}
	r.state.Store(st)
	return nil
}

// ReplaceWith is [Ring.Replace] with the keys of another ring, such as one read
// anew from a file. The rings share nothing afterwards.
func (r *Ring) ReplaceWith(other *Ring) { r.state.Store(other.load()) }

// Adopt takes over the keys of another ring that comes from the same place, read later. It
// is an error and changes nothing where that ring has none of the keys that this one
// accepts, by their IDs and in whatever state: it is another application's then, or a new
// one in the place of keys that are lost, and everybody would be signed out. It returns whether the
// ring has other keys now, or keys in other states; the same ones in another order are no
// change.
func (r *Ring) Adopt(other *Ring) (changed bool, err error) {
	if changed, err = r.adopt(other); err != nil {
		return false, fmt.Errorf("keyring: %w", err)
	}
	return changed, nil
}

func (r *Ring) adopt(other *Ring) (changed bool, err error) {
	for {
		has, next := r.load(), other.load()
		switch {
		case next.same(has):
			return false, nil
		case !has.inUse(next):
			return false, errStrangers
		case r.state.CompareAndSwap(has, next):
			return true, nil
		}
	}
}

var errStrangers = errors.New("none of the keys in use is among them; put those back; if they are lost or leaked, retire them or restart with the new ones")

// same tells whether two states hold the same keys in the same states, in whatever order.
func (st *state) same(o *state) bool {
	return len(st.keys) == len(o.keys) && !slices.ContainsFunc(st.keys, func(k Key) bool {
		return !slices.ContainsFunc(o.keys, func(l Key) bool { return equal(k, l) })
	})
}

// inUse tells whether another state has, in whatever state, a key that is in use in this
// one. What has ended here is not: nobody is signed in with it. That it has ended there is
// what retiring a key that leaked looks like.
func (st *state) inUse(in *state) bool {
	now := time.Now()
	return slices.ContainsFunc(st.keys, func(k Key) bool {
		return !k.Info().Ended(now) && slices.ContainsFunc(in.keys, func(l Key) bool { return l.ID() == k.ID() })
	})
}

// missing counts the keys that another state does not have, in whatever state they are.
func (st *state) missing(in *state) (n int) {
	for _, k := range st.keys {
		if !slices.ContainsFunc(in.keys, func(l Key) bool { return l.ID() == k.ID() }) {
			n++
		}
	}
	return n
}

// Keys describes the keys of the ring, the active one first, the others in the
// order they were given. Retiring keys whose time has passed are listed too.
func (r *Ring) Keys() []KeyInfo {
	st := r.load()
	infos := make([]KeyInfo, len(st.keys))
	for i, k := range st.keys {
		infos[i] = k.Info()
	}
	return infos
}

// Active returns the ID of the key that signs.
func (r *Ring) Active() KeyID { return r.load().keys[0].ID() }

// Has tells whether the ring holds the key, in whatever state: also one that
// has retired and is accepted no more.
func (r *Ring) Has(id KeyID) bool {
	return slices.ContainsFunc(r.load().keys, func(k Key) bool { return k.ID() == id })
}

// Accepts tells whether what the key has signed or sealed is accepted now: the ring holds
// it, and it is not a retiring one whose time has passed.
func (r *Ring) Accepts(id KeyID) bool {
	return slices.ContainsFunc(r.load().keys, func(k Key) bool { return k.ID() == id && !k.Info().Ended(time.Now()) })
}

// String returns "keyring:" and the ID of the active key, never a secret.
func (r *Ring) String() string {
	if r == nil || r.state.Load() == nil {
		return "keyring:none"
	}
	return "keyring:" + r.Active().String()
}

// GoString returns what [Ring.String] returns.
func (r *Ring) GoString() string { return r.String() }

// Format prints what [Ring.String] returns, whatever the verb.
func (r *Ring) Format(f fmt.State, _ rune) { io.WriteString(f, r.String()) }

// LogValue returns what [Ring.String] returns.
func (r *Ring) LogValue() slog.Value { return slog.StringValue(r.String()) }

// MarshalText returns what [Ring.String] returns, for JSON and the like.
func (r *Ring) MarshalText() ([]byte, error) { return []byte(r.String()), nil }
