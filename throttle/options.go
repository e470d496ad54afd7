package throttle

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// Options are the numbers of the lanes. Nil and the zero value are the defaults,
// and each zero in it is. All instances that share a store have the same.
type Options struct {
	// Free is how many attempts at an account, from a source or all together, or
	// on a known device, go wrong before there is a delay. Default 5, at most Lock.
	Free int

	// SourceFree is the same for one source, whatever the accounts. Default 100:
	// an office behind one address has many people who mistype. At most 1e6.
	SourceFree int

	// Delay is the first delay; each is twice the one before, up to MaxDelay.
	// Defaults 30 seconds and 1 hour (NIST SP 800-63B-4 §3.2.2). At least a second,
	// and at most 24 hours.
	Delay, MaxDelay time.Duration

	// Forget is how long after the last failure the delays are forgotten. Default
	// 24 hours; at least twice MaxDelay, at most 30 days.
	Forget time.Duration

	// Lock is how many failures in a row lock an account, or a known device.
	// Default 100, which is the most (NIST SP 800-63B-4 §3.2.2).
	Lock int
}

// The defaults.
const (
	DefaultFree       = 5
	DefaultSourceFree = 100
	DefaultDelay      = 30 * time.Second
	DefaultMaxDelay   = time.Hour
	DefaultForget     = 24 * time.Hour
	DefaultLock       = 100
)

// keep is how long failures in a row are remembered that did not reach Lock.
const keep = 30 * 24 * time.Hour

// check fills in the defaults and returns every fault.
func (o *Options) check() error {
	o.Free = cmp.Or(o.Free, DefaultFree)
	o.SourceFree = cmp.Or(o.SourceFree, DefaultSourceFree)
	o.Delay = cmp.Or(o.Delay, DefaultDelay)
	o.MaxDelay = cmp.Or(o.MaxDelay, DefaultMaxDelay)
	o.Forget = cmp.Or(o.Forget, DefaultForget)
	o.Lock = cmp.Or(o.Lock, DefaultLock)
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("throttle: "+format, args...)) }
	if o.Lock < 1 || o.Lock > 100 {
		fault("Lock is %d, want 1 to 100", o.Lock)
	}
	if o.Free < 1 || o.Free > max(o.Lock, 1) {
		fault("Free is %d, want 1 to Lock, which is %d", o.Free, o.Lock)
	}
	if o.SourceFree < 1 || o.SourceFree > 1e6 {
		fault("SourceFree is %d, want 1 to 1000000", o.SourceFree)
	}
	if o.Delay < time.Second || o.Delay > 24*time.Hour {
		fault("Delay is %v, want 1s to 24h", o.Delay)
	}
	if o.MaxDelay < o.Delay || o.MaxDelay > 24*time.Hour {
		fault("MaxDelay is %v, want Delay, which is %v, to 24h", o.MaxDelay, o.Delay)
	}
	if o.Forget < 2*o.MaxDelay || o.Forget > keep {
		fault("Forget is %v, want twice MaxDelay, which is %v, to %v", o.Forget, 2*o.MaxDelay, keep)
	}
	return errors.Join(faults...)
}
