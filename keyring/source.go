package keyring

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// A Source is where keys come from: a file, an environment variable, a secret
// manager. Packages beside this one are Sources for age, dotenv files, Vault and
// OpenBao, AWS and Google Cloud; a program that imports none of them pays for none.
type Source interface {
	// Read returns the text of the keys as it is now, in a form that [Read] takes.
	// Its error says in one line what is wrong and what to do, and shows nothing of
	// the text. The caller may keep the text, and does not change it.
	Read(ctx context.Context) ([]byte, error)
}

// A Writer is a Source that takes new keys, so that it can be rotated from here.
type Writer interface {
	Source

	// Write puts text in the place of old, which is what Read returned last. Where
	// the source holds something else by now, it changes nothing and returns
	// [ErrChanged]. It replaces all or nothing.
	Write(ctx context.Context, old, text []byte) error
}

// ErrChanged is the error of [Writer.Write] where somebody else has changed the keys
// since they were read.
var ErrChanged = errors.New("keyring: the keys have been changed meanwhile")

// Load reads the keys of a source. The error names the source, if that has a String
// method.
func Load(ctx context.Context, src Source) (*Ring, error) {
	text, err := src.Read(ctx)
	if err != nil {
		return nil, err
	}
	return readRingOf(src, text)
}

// Env returns the Source that is an environment variable of this process. It holds
// what a key file would: key lines, or one bare secret. It never changes while the
// process lives, so keys that come this way rotate by a restart.
func Env(name string) Source { return env(name) }

type env string

func (e env) Read(context.Context) ([]byte, error) {
	text, ok := os.LookupEnv(string(e))
	switch {
	case !ok:
		return nil, fmt.Errorf("keyring: environment variable %s is not set; put in what cloakroom key new prints", string(e))
	case strings.TrimSpace(text) == "":
		return nil, fmt.Errorf("keyring: environment variable %s is empty; put in what cloakroom key new prints", string(e))
	}
	return []byte(text), nil
}

// String returns "env:" and the name of the variable.
func (e env) String() string { return "env:" + string(e) }

// DefaultInterval is how often [Ring.Follow] looks at a source by default.
const DefaultInterval = time.Second

// settle is how long new text has to stay the same before it is believed: who writes
// into a file rather than replacing it is seen half-way.
const settle = 100 * time.Millisecond

// FollowOptions say how [Ring.Follow] looks. The zero value, and nil, are the defaults.
type FollowOptions struct {
	// Interval is the time between two looks; zero means [DefaultInterval].
	Interval time.Duration

	// Timeout bounds a look; zero means ten seconds.
	Timeout time.Duration

	// Now makes it look at once for each value that is received.
	Now <-chan struct{}

	// Accept, if set, may refuse keys that are good by themselves: the ring then
	// goes on with those it has.
	Accept func(ctx context.Context, keys *Ring) error

	// Looked, if set, is told of each look: whether there are other keys in the ring
	// now, and why it failed if it did. While a look fails the ring goes on with the
	// keys it has.
	Looked func(changed bool, err error)
}

// Follow keeps the ring to what the source says, until ctx ends. The caller owns the
// goroutine:
//
//	go ring.Follow(ctx, src, nil)
//
// A source that is away, or says something that is no ring, changes nothing: what
// signed a moment ago goes on doing so.
func (r *Ring) Follow(ctx context.Context, src Source, opts *FollowOptions) {
	f := follower{ring: r, src: src}
	if opts != nil {
		f.FollowOptions = *opts
	}
	if f.Interval <= 0 {
		f.Interval = DefaultInterval
	}
	if f.Timeout <= 0 {
		f.Timeout = 10 * time.Second
	}
	turn := time.NewTicker(f.Interval)
	defer turn.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-turn.C:
		case <-f.Now:
		}
		changed, err := f.look(ctx)
		if f.Looked != nil && ctx.Err() == nil {
			f.Looked(changed, err)
		}
	}
}

type follower struct {
	FollowOptions
	ring *Ring
	src  Source
	last []byte // the text that was taken last
}

// look takes what is new.
func (f *follower) look(ctx context.Context) (changed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, f.Timeout)
	defer cancel()
	text, err := f.src.Read(ctx)
	if err != nil || f.last != nil && sameText(text, f.last) {
		return false, err
	}
	for before := []byte(nil); f.last != nil && !sameText(text, before); {
		before = text
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(settle):
		}
		if text, err = f.src.Read(ctx); err != nil {
			return false, err
		}
	}
	next, err := readRingOf(f.src, text)
	if err != nil {
		return false, err
	}
	if next.same(f.ring) {
		f.last = text
		return false, nil
	}
	if f.Accept != nil {
		if err := f.Accept(ctx, next); err != nil {
			return false, err
		}
	}
	f.ring.ReplaceWith(next)
	f.last = text
	return true, nil
}

// same tells whether two rings hold the same keys in the same states, in whatever
// order.
func (r *Ring) same(o *Ring) bool {
	a, b := r.load().keys, o.load().keys
	return len(a) == len(b) && !slices.ContainsFunc(a, func(k Key) bool {
		return !slices.ContainsFunc(b, func(l Key) bool { return equal(k, l) })
	})
}

// equal tells whether two keys are one in one state. That their IDs are the same is
// no proof: who makes keys can make two of one.
func equal(a, b Key) bool {
	return a.ID() == b.ID() && a.state == b.state && a.until.Equal(b.until) && a.created.Equal(b.created) &&
		(a.material == b.material || a.material != nil && b.material != nil &&
			subtle.ConstantTimeCompare(a.secret[:], b.secret[:]) == 1)
}

// sameText compares texts with secrets in them, in a time that tells nothing of where
// they differ (ASVS 11.2.4).
func sameText(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }

// readRingOf reads the text of a source, and says of which in its error.
func readRingOf(src Source, text []byte) (*Ring, error) {
	st, err := readState(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("keyring: %s: %w", nameOf(src), err)
	}
	return newRing(st), nil
}

// readKeysOf is readRingOf for ReadKeys.
func readKeysOf(src Source, text []byte) ([]Key, error) {
	keys, err := readKeys(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("keyring: %s: %w", nameOf(src), err)
	}
	return keys, nil
}

func nameOf(src Source) string {
	if s, ok := src.(fmt.Stringer); ok {
		return s.String()
	}
	return "read keys"
}
