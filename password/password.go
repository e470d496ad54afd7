package password

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"runtime"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"
)

// MaxLength is the longest password in bytes, before normalisation. ASVS 6.2.9
// asks for 64 characters at least, which are up to 256 bytes.
const MaxLength = 1024

// Passwords that are refused before any work is done, whoever they are for.
var (
	// ErrEmpty says that the password is empty.
	ErrEmpty = errors.New("password: empty")

	// ErrTooLong says that the password has more than MaxLength bytes.
	ErrTooLong = fmt.Errorf("password: over %d bytes", MaxLength)
)

// Options say how strong hashes are and how many are computed at a time. The
// zero value of every field is its default, and nil Options are all defaults.
type Options struct {
	// Params are the parameters of new hashes. The zero value is DefaultParams.
	Params Params

	// Parallel is how many hashes are computed at a time. The default is one less
	// than GOMAXPROCS, or less where that many new hashes would need over 64 MiB,
	// and at least 1. The processor that is left is for all other requests: a hash
	// holds its own for tens of milliseconds, and they would wait behind it at
	// every step.
	Parallel int

	// Memory is how much memory in KiB all hashes of a moment may need together,
	// stored ones with parameters of their own included. The default is 131072
	// (128 MiB). A stored hash that needs more by itself is unusable. Go's
	// collector frees a hash's memory some time after it was needed.
	Memory uint32

	// Queue is how many may wait for their turn; the default is 256.
	Queue int

	// Wait is how long one waits at most; the default is 5 seconds.
	Wait time.Duration

	// Pepper encrypts what is stored; nil stores hashes as they are.
	Pepper Pepper

	// Unsealed turns the Pepper off without locking anybody out: it opens what is
	// sealed, and seals nothing more. New hashes are stored as they are, and sealed
	// ones become that at login: NeedsRehash is true for them, Renew and Rewrap
	// return them plain. When none is sealed any more, the Pepper may go. Without a
	// Pepper it means nothing.
	Unsealed bool
}

// Hasher hashes and verifies passwords. Its methods may be called by many
// goroutines at once. The zero value is of no use; see [New].
type Hasher struct {
	params Params
	memory uint32 // KiB for all hashes of a moment
	pool   *pool
	dummy  phc    // what is verified against where there is no usable hash
	pepper Pepper // opens what is sealed; nil for none
	seals  bool   // it seals as well

	// What computes hashes: argon2.IDKey, and matches of the schemes of others.
	// The tests of this package count the calls.
	kdf     func(password, salt []byte, time, memory uint32, threads uint8, keyLen uint32) []byte
	foreign func(s scheme, password string) bool
}

// New returns a Hasher. It returns all faults of opts at once.
func New(opts *Options) (*Hasher, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	o.setDefaults()
	if err := errors.Join(o.Params.check(), o.check()); err != nil {
		return nil, err
	}
	h := &Hasher{
		params:  o.Params,
		memory:  o.Memory,
		pool:    newPool(o.Parallel, o.Memory, o.Queue, o.Wait),
		pepper:  o.Pepper,
		seals:   o.Pepper != nil && !o.Unsealed,
		kdf:     argon2.IDKey,
		foreign: scheme.matches,
	}
	// No password leads to a random key; it only has to be of the same size.
	h.dummy = phc{Params: o.Params, salt: make([]byte, saltSize), key: make([]byte, keySize)}
	rand.Read(h.dummy.salt)
	rand.Read(h.dummy.key)
	return h, nil
}

const (
	defaultMemory         = 128 << 10 // KiB
	defaultParallelMemory = 64 << 10  // KiB
	defaultQueue          = 256
	defaultWait           = 5 * time.Second
	maxParallel           = 1024
	maxQueue              = 1 << 20
)

// setDefaults fills in what is zero.
func (o *Options) setDefaults() {
	if o.Params == (Params{}) {
		o.Params = DefaultParams
	}
	if o.Memory == 0 {
		o.Memory = defaultMemory
	}
	if o.Queue == 0 {
		o.Queue = defaultQueue
	}
	if o.Wait == 0 {
		o.Wait = defaultWait
	}
	if o.Parallel == 0 && o.Params.check() == nil {
		o.Parallel = max(1, min(runtime.GOMAXPROCS(0)-1, int(defaultParallelMemory/o.Params.Memory)))
	}
}

// check returns what is wrong with options whose defaults have been filled in.
func (o *Options) check() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("password: "+format, args...))
	}
	if o.Parallel < 0 || o.Parallel > maxParallel {
		fault("Parallel is %d, want 1 to %d, or 0 for the default", o.Parallel, maxParallel)
	} else if need := uint64(o.Parallel) * uint64(o.Params.Memory); need > uint64(o.Memory) {
		fault("%d hashes at a time need %d KiB, Memory allows %d", o.Parallel, need, o.Memory)
	}
	if o.Queue < 0 || o.Queue > maxQueue {
		fault("Queue is %d, want 1 to %d, or 0 for the default", o.Queue, maxQueue)
	}
	if o.Wait < 0 {
		fault("Wait is %v, want a positive time, or 0 for the default", o.Wait)
	}
	return errors.Join(faults...)
}

// Hash returns what is stored of a password: its hash in PHC form under a new
// random salt, sealed where there is a pepper that seals. It returns [ErrEmpty] or
// [ErrTooLong] before any work, a [*BusyError] where too many are waiting, and
// ctx's error where ctx ends while it waits for its turn.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	if err := within(password); err != nil {
		return "", err
	}
	p := phc{Params: h.params, salt: make([]byte, saltSize)}
	rand.Read(p.salt)
	err := h.turn(ctx, p.Memory, func() { p.key = h.derive(p, password, keySize) })
	if err != nil {
		return "", fmt.Errorf("password: hash: %w", err)
	}
	return h.seal(p.String()), nil
}

// Verify tells whether the password is the one that was hashed, with the
// algorithm and the parameters that stand in the hash. Where stored is empty or
// unusable, see [Hasher.Check], it does the work of a new hash all the same and
// returns false, so that the time says nothing about the account (ASVS 6.3.8).
// A stored hash of another algorithm or with other parameters takes another time
// until it is replaced, see [Hasher.NeedsRehash].
//
// The errors are those of Hash; [ErrEmpty] and [ErrTooLong] come whatever is
// stored. A hash that has begun is brought to its end: it holds its memory until
// then, whether or not somebody still wants to know.
func (h *Hasher) Verify(ctx context.Context, stored, password string) (bool, error) {
	if err := within(password); err != nil {
		return false, err
	}
	p, other, err := h.usable(stored)
	usable := err == nil
	if !usable {
		p = h.dummy
	}
	memory := p.Memory
	if other != nil {
		memory = other.memory()
	}
	var ok bool
	err = h.turn(ctx, memory, func() {
		if other != nil {
			ok = h.foreign(other, password)
		} else {
			ok = equal(h.derive(p, password, len(p.key)), p.key)
		}
	})
	if err != nil {
		return false, fmt.Errorf("password: verify: %w", err)
	}
	return ok && usable, nil
}

// NeedsRehash tells whether what is stored is other than what Hash would store
// now: of another algorithm, with other parameters, stronger ones included, as
// hashes of one strength take one time, or not sealed with the pepper's current
// key, or sealed where Options.Unsealed says that nothing is. A program asks it after a password was verified, as only then it has what
// to hash anew; see [Hasher.Renew]. It is false for "" and true for what is
// unusable.
func (h *Hasher) NeedsRehash(stored string) bool {
	if stored == "" {
		return false
	}
	return !h.current(stored) || !h.sealedNow(stored)
}

// current tells whether the hash itself, sealed or not, is as new ones are.
func (h *Hasher) current(stored string) bool {
	p, other, err := h.usable(stored)
	return err == nil && other == nil && p.Params == h.params && len(p.salt) == saltSize && len(p.key) == keySize
}

// Check returns why no password can ever be verified against a stored hash, and
// nil where one can. The error does not repeat the hash.
func (h *Hasher) Check(stored string) error {
	_, _, err := h.usable(stored)
	return err
}

// usable reads a stored hash that this Hasher has the memory to verify: its own,
// or another scheme's where that is not nil.
func (h *Hasher) usable(stored string) (phc, scheme, error) {
	stored, err := h.open(stored)
	if err != nil {
		return phc{}, nil, err
	}
	p, other, err := parse(stored)
	if err != nil {
		return phc{}, nil, err
	}
	need := p.Memory
	if other != nil {
		need = other.memory()
	}
	if need > h.memory {
		return phc{}, nil, fmt.Errorf("password: stored hash needs %d KiB, %d are allowed", need, h.memory)
	}
	return p, other, nil
}

// turn does the work when it is this call's turn.
func (h *Hasher) turn(ctx context.Context, memory uint32, work func()) error {
	// A cheaper hash takes a whole place, so that Parallel holds as well.
	if err := h.pool.acquire(ctx, memory); err != nil {
		return err
	}
	start := time.Now()
	defer func() { h.pool.release(memory, time.Since(start)) }()
	work()
	return nil
}

// derive computes a key of argon2id.
func (h *Hasher) derive(p phc, password string, size int) []byte {
	pw := norm.NFC.AppendString(make([]byte, 0, len(password)), password)
	return h.kdf(pw, p.salt, p.Time, p.Memory, p.Threads, uint32(size))
}

// within returns why a password is not hashed.
func within(password string) error {
	switch {
	case password == "":
		return ErrEmpty
	case len(password) > MaxLength:
		return ErrTooLong
	}
	return nil
}

// Stats is what a Hasher does and has done, for metrics.
type Stats struct {
	Running int    // hashes being computed now
	Waiting int    // calls that wait for their turn
	Done    uint64 // hashes computed
	Busy    uint64 // calls refused with a BusyError
}

// Stats returns the numbers of this moment.
func (h *Hasher) Stats() Stats { return h.pool.stats() }

// BusyError says that too many hashes were waiting, or that one waited too long.
// Nothing is known about the password.
type BusyError struct {
	// RetryAfter is when a place may be free again: whole seconds, at least one.
	RetryAfter time.Duration
}

// Error implements error.
func (e *BusyError) Error() string {
	return fmt.Sprintf("too many hashes at once, try again in %v", e.RetryAfter)
}

// wholeSeconds rounds up to whole seconds between 1 and 60: Retry-After knows no
// parts, and a guess about more than a minute is none.
func wholeSeconds(d time.Duration) time.Duration {
	n := math.Ceil(d.Seconds())
	return time.Duration(min(max(n, 1), 60)) * time.Second
}
