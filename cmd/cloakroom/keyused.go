package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/backend"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/internal/event"
)

// used returns an error if the source is not the one that the service reads: instances run,
// and it lacks the key of each that signs, or none runs, and the next could not start with
// these. It is seen before anything is changed there, and before the audit log gets an entry
// under a key that its other entries do not know. What is not known for sure is left to
// [keyDesk.await].
func (d *keyDesk) used(ctx context.Context) error {
	if d.fleet == nil {
		return nil
	}
	list, err := inTime(ctx, d.fleet.Instances)
	switch {
	case err != nil:
		return nil
	case len(list) == 0:
		return d.starts(ctx)
	}
	return d.signedElsewhere(list)
}

// signedElsewhere returns an error if no instance signs with a key of the source, in whatever
// state that is there. An instance that lags behind the right source, or has stopped following
// it, signs with one that is retiring there, or was rolled back to next; in a copy that is
// older than the last rotation, the key that signs now is missing, though others are in both.
// An instance that does not say what it signs with speaks neither for nor against it.
func (d *keyDesk) signedElsewhere(list []fleet.Instance) error {
	var others []fleet.Instance
	for _, i := range list {
		id, says := i.Active()
		switch {
		case !says:
		case d.ring.Has(id):
			return nil
		default:
			others = append(others, i)
		}
	}
	if len(others) == 0 {
		return nil
	}
	return fmt.Errorf("keys: no instance that runs signs with a key of %v, and nothing is changed: %s: give --keys as the service has it; or, if it is to use these, restart it with them",
		d.cfg.Keys, fleet.Few(others, "; ", func(i fleet.Instance) string {
			id, _ := i.Active()
			return event.Printable(i.Name()) + " has " + id.String() + " active"
		}))
}

// starts returns an error if a service would not start with these keys, as the sessions were
// signed with others.
func (d *keyDesk) starts(ctx context.Context) error {
	_, err := inTime(ctx, func(ctx context.Context) (struct{}, error) {
		err := d.openStore(ctx)
		if err == nil {
			err = d.b.Wants(ctx, d.ring)
		}
		return struct{}{}, err
	})
	_, wants := errors.AsType[*backend.ConfigError](err)
	switch {
	case errors.Is(err, backend.ErrNoData): // no session was ever signed
		return nil
	case wants:
		return err
	case err != nil:
		d.note("whether these are the keys of the sessions is not known, as their store cannot be asked: %v", err)
	}
	return nil
}

// usedWithin is how long whoever is in a hurry waits to be told whose keys these are.
const usedWithin = time.Second

// elsewhere is [keyDesk.used] for a key that leaked: an old copy is left alone, or it would
// look as if the service had let go of the key. What is not known at once is no reason to
// keep a key, and whoever can write to the database must not be able to keep one either: the
// way around a wrong refusal is told.
func (r *retirement) elsewhere(urgent context.Context, ended bool) error {
	if r.fleet == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(urgent, usedWithin)
	defer cancel()
	list, err := r.fleet.Instances(ctx)
	switch {
	case err != nil:
		return nil
	case len(list) == 0:
		err = r.lacksLast(ctx)
	default:
		err = r.signedElsewhere(list)
	}
	if err == nil || ended {
		return err
	}
	return errors.Join(err, fmt.Errorf("keys: %v is not retired: if the service has its keys from %v all the same, put there what \"cloakroom key retire --now --print %[1]s\" prints, which asks no instance",
		r.key.ID(), r.cfg.Keys))
}

// lacksLast returns an error if the sessions were signed with another key last. Here a store
// that is away, or was not named, is no obstacle.
func (r *retirement) lacksLast(ctx context.Context) error {
	if r.openStore(ctx) != nil {
		return nil
	}
	wants, _ := errors.AsType[*backend.ConfigError](r.b.Wants(ctx, r.ring))
	if wants == nil {
		return nil
	}
	return wants
}
