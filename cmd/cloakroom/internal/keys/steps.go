package keys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// Activate makes the next key active, once every live instance accepts it, and lets
// the present one retire for as long as a session may live. That the key is active
// already is no error.
func (r *Rotator) Activate(ctx context.Context, next keyring.KeyID) error {
	begun := time.Now()
	for range 3 {
		k, err := r.state(ctx, next)
		if err != nil || k.State() == keyring.Active {
			return err
		}
		followed, err := r.await(ctx, r.wait(), true)
		if err != nil {
			return err
		}
		if err := r.unseen(ctx, begun); err != nil {
			return err
		}
		if err := r.activate(ctx, next, followed); !errors.Is(err, errMoved) {
			return err
		}
	}
	return errMoved
}

// unseen gives those instances time to look which the database does not show, because
// they cannot reach it, or somebody has struck them out: as long as it takes with a file
// and, where one has fallen silent lately, for two looks in turn.
func (r *Rotator) unseen(ctx context.Context, begun time.Time) error {
	if r.Fleet != nil {
		silent, err := r.fleet().Silent(ctx)
		if err != nil {
			return err
		}
		if len(silent) > 0 {
			return r.pause(ctx, begun, max(2*time.Second, 2*r.interval()), "silent: "+since(silent))
		}
	}
	if err := r.unlisted(ctx, begun); err != nil {
		return err
	}
	return r.pause(ctx, begun, 2*time.Second, "")
}

// state returns a key as the source has it; the zero Key is none.
func (r *Rotator) state(ctx context.Context, id keyring.KeyID) (keyring.Key, error) {
	var found keyring.Key
	_, err := r.edit(ctx, func(keys []keyring.Key) ([]keyring.Key, error) {
		found = keyring.Key{}
		if i := slices.IndexFunc(keys, func(k keyring.Key) bool { return k.ID() == id }); i >= 0 {
			found = keys[i]
		}
		return keys, nil
	})
	return found, err
}

// activate makes the key active if the source is as all have followed it.
func (r *Rotator) activate(ctx context.Context, next keyring.KeyID, followed string) error {
	now, err := r.now(ctx)
	if err != nil {
		return err
	}
	lifetime, err := r.Longest(ctx)
	if err != nil {
		return err
	}
	done := false
	_, err = r.edit(ctx, func(keys []keyring.Key) ([]keyring.Key, error) {
		done = false
		if active, _ := oldest(keys, keyring.Active); active == next {
			return keys, nil
		}
		if first, _ := oldest(keys, keyring.Next); first != next {
			return nil, fmt.Errorf("keys: %v is not the next key any more: somebody else has changed the keys; see cloakroom key list", next)
		}
		if describe(keys) != followed {
			return nil, errMoved
		}
		done = true
		return keyring.Activate(keys, now.Add(lifetime+Grace))
	})
	if err == nil && done {
		r.log(ctx, event.KeyActivated, next)
		r.call(ctx)
	}
	return err
}

// lasting is the name of the note on how long sessions live.
const lasting = "lifetime"

// Longest returns the longest that a session lives: as this rotator was told, or as the
// instance that started last was. A command may have been given other settings than the
// service, and a key that goes too early signs people out.
func (r *Rotator) Longest(ctx context.Context) (time.Duration, error) {
	if r.Fleet == nil {
		return r.Lifetime, nil
	}
	text, err := r.fleet().Note(ctx, lasting)
	if err != nil {
		return 0, err
	}
	// What is no duration, or an absurd one, is nobody's.
	if d, err := time.ParseDuration(text); err == nil && d > r.Lifetime && d <= maxLifetime {
		return d, nil
	}
	return r.Lifetime, nil
}

// maxLifetime is more than any session lives.
const maxLifetime = 2 * 366 * 24 * time.Hour

// describe is fleet.Describe of keys that have their secrets.
func describe(keys []keyring.Key) string {
	infos := make([]keyring.KeyInfo, len(keys))
	for i, k := range keys {
		infos[i] = k.Info()
	}
	return fleet.Describe(infos)
}

// Rollback makes the key active again that was so before the present one, which
// becomes next: what it has signed goes on. It returns the ID of the key that signs.
// No instance has to be waited for, as all accept both. The service does not activate
// by itself what was rolled back; and as long as that is next, a second call goes no
// further back, where there is a Fleet to note it. Without one it does, to the next key that
// is retiring still.
func (r *Rotator) Rollback(ctx context.Context) (keyring.KeyID, error) {
	now, err := r.now(ctx)
	if err != nil {
		return keyring.KeyID{}, err
	}
	var noted, active keyring.KeyID
	for {
		// Anew each time: somebody else may do the same.
		held, err := r.held(ctx)
		if err != nil {
			return keyring.KeyID{}, err
		}
		var from keyring.KeyID
		var back, done bool
		_, err = r.edit(ctx, func(keys []keyring.Key) ([]keyring.Key, error) {
			from, _ = oldest(keys, keyring.Active)
			active, done, back = from, false, false
			if len(held) > 0 && from != noted && slices.ContainsFunc(keys, func(k keyring.Key) bool {
				return k.State() == keyring.Next && k.ID().String() == held[len(held)-1]
			}) {
				done = true
				return keys, nil
			}
			// A key that ends in a moment might end before all have followed.
			after, err := keyring.Rollback(keys, now.Add(time.Minute))
			if err != nil || from != noted {
				return keys, err
			}
			back = true
			active, _ = oldest(after, keyring.Active)
			return after, nil
		})
		switch {
		case err != nil:
			return keyring.KeyID{}, err
		case done:
			return active, nil
		case back:
			r.log(ctx, event.KeyRolledBack, active)
			r.call(ctx)
			return active, nil
		}
		// First the note: who dies behind it has rolled nothing back, and a note on the
		// active key says nothing.
		if err := r.hold(ctx, held, from); err != nil {
			return keyring.KeyID{}, err
		}
		noted = from
	}
}

// rolledBack is the name of the note on keys that were rolled back, the last one last.
const rolledBack = "rolled back"

func (r *Rotator) held(ctx context.Context) ([]string, error) {
	if r.Fleet == nil {
		return nil, nil
	}
	text, err := r.fleet().Note(ctx, rolledBack)
	return strings.Fields(text), err
}

// hold notes that a key was rolled back, behind those that were before.
func (r *Rotator) hold(ctx context.Context, held []string, id keyring.KeyID) error {
	if r.Fleet == nil {
		return nil
	}
	held = slices.DeleteFunc(slices.Clone(held), func(s string) bool { return s == id.String() })
	held = append(held, id.String())
	return r.fleet().SetNote(ctx, rolledBack, strings.Join(held[max(0, len(held)-keyring.MaxKeys):], " "))
}

// Retire ends all that a key signed, for the day that it leaks: when it returns nil, no
// instance accepts it that the database shows; see [Rotator.Ended]. In the place of the
// active key the next one signs, or a new one, which the instances are given a few seconds
// to learn first. An error behind the change, such as a [*LagError], says who may accept it
// still; a [*ClockError], that the end may lie ahead for them.
func (r *Rotator) Retire(ctx context.Context, id keyring.KeyID) error {
	k, err := r.state(ctx, id)
	if err != nil {
		return err
	}
	now, unsure := r.beforehand(ctx, k)
	done := false
	_, err = r.edit(ctx, func(keys []keyring.Key) ([]keyring.Key, error) {
		after, err := keyring.Retire(keys, id, now)
		done = err == nil && describe(after) != describe(keys)
		return after, err
	})
	if err != nil {
		return err
	}
	if done {
		r.log(ctx, event.KeyRetired, id)
	}
	return errors.Join(r.Ended(ctx, id), unsure)
}

// beforehand has the instances learn of the next key, if the one that ends signs, and
// returns the time at which it ends; with a [*ClockError], that is this machine's. However
// slow the database is, or whoever holds a lock there: it does not take long, and nothing
// that fails here stands in the way.
func (r *Rotator) beforehand(ctx context.Context, k keyring.Key) (time.Time, error) {
	end := time.Now().Add(cmp.Or(r.Before, beforeRetiring))
	// The clock comes first: an instance that lags uses up all the time that there is.
	now, unsure := r.Common(ctx)
	asked := time.Now()
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	if k.State() == keyring.Active {
		// Whoever does not follow in time meets a key that it does not know. That
		// signs out some who have just signed in; a leaked key lets anybody in.
		if _, err := r.Announce(ctx); err == nil {
			r.await(ctx, r.wait(), false)
		}
	}
	return now.Add(time.Since(asked)), unsure
}

// clockWithin is how long the database's clock is waited for.
const clockWithin = time.Second

// ClockError says that the database's clock is not known. By a clock that is ahead of the
// others' a key ends that they go on accepting.
type ClockError struct{ Err error }

// Error says what to do.
func (e *ClockError) Error() string {
	return fmt.Sprintf("keys: the database does not tell its clock: if this machine's is more than %v ahead, the others accept the key until theirs is as far: "+
		"see that it is right, and run this again: %v", slack, e.Err)
}

// Unwrap returns why the clock is not known.
func (e *ClockError) Unwrap() error { return e.Err }

// Common returns a time that has come both for this machine and for the database, which it
// asks for a second at most. With a [*ClockError] it is this machine's.
func (r *Rotator) Common(ctx context.Context) (time.Time, error) {
	if r.Fleet == nil {
		return time.Now(), nil
	}
	clock, err := answer(ctx, clockWithin, r.Fleet.Clock)
	now := time.Now()
	switch {
	case err != nil:
		return now, &ClockError{err}
	case clock.Before(now):
		return clock, nil
	}
	return now, nil
}

// Prune removes the keys that are accepted no more, but for those that are needed, and
// returns which.
func (r *Rotator) Prune(ctx context.Context) ([]keyring.KeyID, error) {
	now, err := r.now(ctx)
	if err != nil {
		return nil, err
	}
	over := func(k keyring.Key) bool { return k.Info().Ended(now.Add(-slack)) }
	var faults []error
	needed := make(map[keyring.KeyID]bool)
	if r.Needed != nil {
		keys, err := r.edit(ctx, func(keys []keyring.Key) ([]keyring.Key, error) { return keys, nil })
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			if !over(k) {
				continue
			}
			why, err := r.Needed(ctx, k.ID())
			needed[k.ID()] = why != "" || err != nil
			if err != nil {
				faults = append(faults, err)
			}
		}
	}
	var gone []keyring.KeyID
	_, err = r.edit(ctx, func(keys []keyring.Key) ([]keyring.Key, error) {
		gone = nil
		return slices.DeleteFunc(keys, func(k keyring.Key) bool {
			asked := r.Needed == nil
			if is, known := needed[k.ID()]; known {
				asked = !is
			}
			if !over(k) || !asked {
				return false
			}
			gone = append(gone, k.ID())
			return true
		}), nil
	})
	if err != nil {
		return nil, errors.Join(append(faults, err)...)
	}
	for _, id := range gone {
		r.log(ctx, event.KeyPruned, id)
	}
	if len(gone) > 0 {
		r.call(ctx)
	}
	return gone, errors.Join(faults...)
}
