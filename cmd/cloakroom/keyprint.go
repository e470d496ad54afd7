package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keys"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// printStep prints the keys as they are to be after the next step of a rotation. It prints
// them or fails: what is piped into a secret is never empty.
func (d *keyDesk) printStep(ctx context.Context, how rotation) error {
	list, err := d.keys(ctx)
	if err != nil {
		return err
	}
	if how.rollback {
		after, err := keyring.Rollback(list, time.Now().Add(time.Minute))
		return d.printText(after, err, "the key before signs again, and the one of now is next")
	}
	candidates := slices.DeleteFunc(slices.Clone(list), func(k keyring.Key) bool { return k.State() != keyring.Next })
	if len(candidates) == 0 {
		return d.printAnnounced(ctx, list, how.next)
	}
	// Of several the oldest is next, wherever it stands; see [keyring.Activate].
	next := slices.MinFunc(candidates, func(a, b keyring.Key) int { return a.Created().Compare(b.Created()) })
	if how.next {
		return fmt.Errorf("%v is next already: without --next, the step behind it is printed", next)
	}
	if err := d.acceptedByAll(ctx, next.ID()); err != nil {
		return err
	}
	r := d.rotator(nil)
	r.Lifetime = d.lifetime(ctx)
	lifetime, err := r.Longest(ctx)
	if err != nil {
		return err
	}
	after, err := keyring.Activate(list, time.Now().Add(lifetime+keys.Grace))
	return d.printText(after, err, fmt.Sprintf("step 2 of 2: %v signs, and the key before is accepted for a lifetime", next))
}

// printAnnounced prints the keys with a new one that is next, and without those whose time
// has passed and on which nothing depends.
func (d *keyDesk) printAnnounced(ctx context.Context, list []keyring.Key, again bool) error {
	for _, k := range list {
		if k.State() == keyring.Retiring && !k.Info().Ended(time.Now()) && !again {
			// Who has redirected this into a secret is left with the secret that it was.
			text, err := keyring.Text(list)
			if err == nil {
				_, err = d.out.Write(text)
			}
			return errors.Join(err, fmt.Errorf("nothing is to be done, and the keys are printed as they are: the last rotation is over, and %s is accepted until %s: "+
				"the next one begins after that, or at once with --next", k.ID(), moment(k.Until())))
		}
	}
	needed := func(id keyring.KeyID) bool {
		if d.b == nil || d.openStore(ctx) != nil {
			return true
		}
		why, err := d.needed(ctx, id)
		return why != "" || err != nil
	}
	list = slices.DeleteFunc(list, func(k keyring.Key) bool { return k.Info().Ended(time.Now()) && !needed(k.ID()) })
	made := keyring.Generate()
	after, err := keyring.Announce(list, made)
	return d.printText(after, err, fmt.Sprintf("step 1 of 2: %v is accepted, and signs nothing yet", made))
}

// acceptedByAll returns nil if every live instance accepts the key.
func (d *keyDesk) acceptedByAll(ctx context.Context, id keyring.KeyID) error {
	if err := d.errAway(); err != nil || d.fleet == nil {
		return err
	}
	list, err := inTime(ctx, d.fleet.Instances)
	if err != nil {
		return err
	}
	behind := slices.DeleteFunc(list, func(i fleet.Instance) bool { return i.Accepts(id, time.Now()) })
	if len(behind) > 0 {
		return &keys.LagError{Want: "key:" + id.String() + " accepted everywhere", Behind: behind}
	}
	return nil
}

// printText prints keys, and beside them what they are.
func (d *keyDesk) printText(list []keyring.Key, err error, what string) error {
	if err != nil {
		return err
	}
	text, err := keyring.Text(list)
	if err != nil {
		return err
	}
	if _, err := d.out.Write(text); err != nil {
		return errors.Join(errors.New("print the keys"), err)
	}
	d.note("%s: put this in the place of what %s holds, for every instance; where that is a variable, restart them", what, d.cfg.Keys)
	return nil
}
