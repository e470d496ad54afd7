package keys

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// How rotation is led.
const (
	task      = "rotation"       // the lease's name
	leaseFor  = 30 * time.Second // a leader that died is replaced after this
	turnEvery = 10 * time.Second
)

// settle is how long a key is next before the service makes it active: for two looks
// of an instance that the database does not show, and a minute at least, twice what an
// instance counts as live for.
func settle(interval time.Duration) time.Duration { return max(2*interval, time.Minute) }

var errLeaseOver = errors.New("keys: the lease on the rotation has run out")

// leader rotates while this instance holds the lease.
type leader struct {
	*Keeper
	rotator *Rotator
	until   time.Time // of the lease

	next  keyring.KeyID // the next key, and since when this leader knows of it
	since time.Time
	said  reasons
	idle  reasons // that nobody rotates

	pruned time.Time // when that was tried last
}

// complainEvery is how often it is said why this instance cannot rotate, as long as that is
// so: often enough to be seen, and not at each turn.
const complainEvery = 24 * time.Hour

// pruneEvery is how often keys are tried to be pruned that something needs.
const pruneEvery = time.Hour

// lead takes a turn every ten seconds.
func (k *Keeper) lead(ctx context.Context) {
	l := &leader{Keeper: k, said: reasons{again: complainEvery}, idle: reasons{again: complainEvery}}
	w, _ := k.Source.(keyring.Writer) // New has seen to it
	l.rotator = &Rotator{Source: w, Fleet: k.Fleet, Lifetime: k.Lifetime, Actor: task, Log: k.Log, Needed: k.Needed, guard: l.holds}
	defer l.leads(false)
	turn := time.NewTicker(turnEvery)
	defer turn.Stop()
	for {
		l.turn(ctx)
		select {
		case <-ctx.Done():
			return
		case <-turn.C:
		}
	}
}

// holds returns nil while the lease is this instance's. A machine that slept may have
// a clock that counted meanwhile and one that did not: both are asked.
func (l *leader) holds() error {
	now := time.Now()
	if now.Before(l.until) && now.Round(0).Before(l.until.Round(0)) {
		return nil
	}
	return errLeaseOver
}

// leads notes whether this instance leads, and returns it.
func (l *leader) leads(now bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.status.Leads = now
	return now
}

// turn rotates if this instance leads and it is time.
func (l *leader) turn(ctx context.Context) {
	l.until = time.Time{}
	l.ask(ctx, func(ctx context.Context) (err error) {
		// That the fleet is away is said elsewhere.
		l.until, err = l.Fleet.Lead(ctx, task, l.Instance.ID, time.Now(), leaseFor)
		return err
	})
	if !l.leads(l.holds() == nil) {
		l.next, l.said = keyring.KeyID{}, reasons{again: complainEvery}
		l.overdue(ctx)
		return
	}
	// The lease bounds what may take long, so that the next turn prolongs it.
	ctx, cancel := context.WithDeadline(ctx, l.until)
	defer cancel()
	switch err := l.rotate(ctx); {
	case err == nil:
		l.said = reasons{again: complainEvery}
	case errors.Is(err, errLeaseOver), errors.Is(err, errMoved), errors.Is(err, context.Canceled), errors.Is(err, errWaiting):
	case l.said.news(reason(err), time.Now()):
		event.Log(ctx, l.Log, slog.LevelError, event.RotationFailed, event.Err(err))
	}
}

// overdue says that nobody rotates, where that should have been done an hour ago: whoever
// holds the lease does not act, or is none that runs.
func (l *leader) overdue(ctx context.Context) {
	due := l.Ring.Keys()[0].Created.Add(l.Rotation)
	if due.Before(l.Instance.Started) {
		due = l.Instance.Started // nobody may have run before
	}
	if time.Since(due) > overdueAfter && l.idle.news("", time.Now()) {
		event.Log(ctx, l.Log, slog.LevelError, event.RotationFailed, event.Err(fmt.Errorf(
			"keys: key %v should have been replaced, and whoever leads does not: see what the other instances say; if there are none, somebody has written to cloakroom_leases; \"cloakroom key rotate\" replaces it now",
			l.Ring.Active())))
	}
}

// overdueAfter is how long a leader is given.
const overdueAfter = time.Hour

// reason is what makes a fault another one: not for how long it has been so.
func reason(err error) string {
	if lag, ok := errors.AsType[*LagError](err); ok {
		err = &LagError{Want: lag.Want, Behind: lag.Behind}
	}
	return err.Error()
}

// errWaiting says that the turn did nothing, and that nothing is wrong.
var errWaiting = errors.New("keys: not yet")

// rotate takes the step that is due, going by the keys in hand, which follow the
// source; it is read again before anything is changed.
func (l *leader) rotate(ctx context.Context) error {
	now, err := l.rotator.now(ctx)
	if err != nil {
		return err
	}
	keys := l.Ring.Keys()
	if slices.ContainsFunc(keys, func(k keyring.KeyInfo) bool { return k.Ended(now.Add(-slack)) }) &&
		time.Since(l.pruned) >= pruneEvery {
		l.pruned = time.Now()
		if _, err := l.rotator.Prune(ctx); err != nil {
			return err
		}
	}
	// A key of which nobody knows when it was made is old: the zero time is long ago.
	due := func(created time.Time) bool { return now.Sub(created) >= l.Rotation }
	if !due(keys[0].Created) {
		l.next = keyring.KeyID{}
		return nil
	}
	next, err := l.rotator.announce(ctx, func(active keyring.Key) error {
		if !due(active.Created()) {
			return errWaiting // who led before has rotated, and this one is to follow yet
		}
		return nil
	})
	if err != nil {
		return err
	}
	if next != l.next {
		l.next, l.since = next, time.Now()
	}
	held, err := l.rotator.held(ctx)
	if err != nil {
		return err
	}
	if slices.Contains(held, next.String()) {
		return fmt.Errorf("keys: key %v was rolled back: make it active with \"cloakroom key rotate\", or end it with \"cloakroom key retire\"; until then no key is rotated", next)
	}
	if time.Since(l.since) < settle(l.Interval) {
		return errWaiting
	}
	return l.followed(ctx, next)
}

// followed makes the next key active if all have it. They have a few seconds to look.
func (l *leader) followed(ctx context.Context, next keyring.KeyID) error {
	want, err := l.rotator.await(ctx, beforeRetiring, false)
	if err != nil {
		if lag, ok := errors.AsType[*LagError](err); ok {
			lag.After = time.Since(l.since)
		}
		return err
	}
	return l.rotator.activate(ctx, next, want)
}
