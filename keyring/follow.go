package keyring

import (
	"context"
	"fmt"
	"time"
)

// DefaultInterval is how often [Ring.Follow] looks at a source by default.
const DefaultInterval = time.Second

const (
	// settle is how long new text has to stay the same before it is believed: who
	// writes into a file rather than replacing it is seen half-way, and half of a
	// key file may be one as well, of fewer keys. Where keys are missing it is longer.
	settle     = 100 * time.Millisecond
	settleLoss = 250 * time.Millisecond

	// maxSettle bounds how often text is read that does not settle.
	maxSettle = 20

	// grace is how long a source has to return after its context has ended.
	grace = time.Second
)

// FollowOptions say how [Ring.Follow] looks. The zero value, and nil, are the defaults.
type FollowOptions struct {
	// Interval is the time between two looks; zero and below mean [DefaultInterval].
	Interval time.Duration

	// Timeout is when the context of each reading of the source ends; zero and below mean
	// ten seconds. The source is given one second more to return: a reading takes no
	// longer than both together. One that has not returned by then has failed, and the
	// source is not read again until it has.
	Timeout time.Duration

	// Now makes it look at once for each value that is received. While it looks it
	// receives none: a channel with room for one value loses no call. A closed
	// channel is as none.
	Now <-chan struct{}

	// Looked, if set, is told of each look: whether there are other keys in the ring
	// now, and why it failed if it did. While looks fail the ring goes on with the
	// keys it has. It is called by the goroutine that looks, so the next look waits
	// until it returns.
	Looked func(changed bool, err error)
}

// Follow keeps the ring to what the source says, until ctx ends. The caller owns the
// goroutine:
//
//	go ring.Follow(ctx, src, nil)
//
// It returns a second after that at the latest, if Looked does. Of a source whose Read does
// not heed its context one goroutine stays behind, until that Read returns.
//
// The first look comes after one interval: the ring has just been read by [Load].
// A source that is away, or says something that is no ring, changes nothing: what
// signed a moment ago goes on doing so. Nor does a ring that has no key in common with
// this one; see [Ring.Adopt]. Keys that leaked are retired rather than exchanged
// ([Retire]); to exchange all of them, start with the new ones.
//
// New text is believed when it has stayed the same for 100 ms, or 250 ms where it lacks
// keys that the ring has. So a file may be written to as well as replaced, if its writer
// does not pause for that long: after a pause, what is there by then is taken if it is
// a ring, and the rest at the next look. Until then the keys that it lacks are not
// accepted. To replace the file, as [Writer] does, has no such moment.
//
// The same keys in another order, and other comments, are no change. Keys that were
// put into the ring otherwise, as by [Ring.Replace], do not stay.
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
		case _, ok := <-f.Now:
			if !ok {
				f.Now = nil
				continue
			}
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

	// stuck is where the answer comes of a source that did not heed its context.
	stuck chan answer
}

// look takes what is new. It compares with the ring and not with what it read before,
// so that it has nothing to remember.
func (f *follower) look(ctx context.Context) (changed bool, err error) {
	text, err := f.read(ctx)
	if err != nil {
		return false, err
	}
	next, err := readRingOf(f.src, text)
	if err == nil && next.load().same(f.ring.load()) {
		return false, nil
	}
	if text, err = f.settled(ctx, text); err != nil {
		return false, err
	}
	if next, err = readRingOf(f.src, text); err != nil {
		return false, err
	}
	if changed, err = f.ring.adopt(next); err != nil {
		return false, fmt.Errorf("keyring: %s: %w", nameOf(f.src), err)
	}
	return changed, nil
}

// rest is how long a text has to stay the same.
func (f *follower) rest(text []byte) time.Duration {
	if next, err := readRingOf(f.src, text); err == nil && f.ring.load().missing(next.load()) > 0 {
		return settleLoss
	}
	return settle
}

// settled returns the text of the source when it is twice the same.
func (f *follower) settled(ctx context.Context, text []byte) ([]byte, error) {
	for range maxSettle {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(f.rest(text)):
		}
		again, err := f.read(ctx)
		if err != nil || sameText(again, text) {
			return again, err
		}
		text = again
	}
	return nil, fmt.Errorf("keyring: %s: it changes at every read; whatever writes to it has to finish first", nameOf(f.src))
}

type answer struct {
	text []byte
	err  error
}

// read reads the source. One that does not come back although its time is over, as a
// file on a share that hangs, is left to itself, and not asked again until it has.
func (f *follower) read(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, f.Timeout)
	defer cancel()
	if f.stuck != nil {
		select {
		case <-f.stuck: // what it says is old by now
			f.stuck = nil
		case <-ctx.Done():
			return nil, f.noAnswer(ctx)
		}
	}
	answers := make(chan answer, 1)
	go func() {
		text, err := f.src.Read(ctx)
		answers <- answer{text, err}
	}()
	select {
	case a := <-answers:
		return a.text, a.err
	case <-ctx.Done():
	}
	select {
	case a := <-answers:
		return a.text, a.err
	case <-time.After(grace):
		f.stuck = answers
		return nil, f.noAnswer(ctx)
	}
}

func (f *follower) noAnswer(ctx context.Context) error {
	return fmt.Errorf("keyring: %s: no answer within %v: %w", nameOf(f.src), f.Timeout, ctx.Err())
}
