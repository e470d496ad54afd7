package keys

import (
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

// SilentError names instances that had not ended when they were last heard of. One that is
// frozen, or cut off from the database, goes on with the keys that it has.
type SilentError struct {
	Key    keyring.KeyID // that they accepted
	Silent []fleet.Instance
}

// Error says what to do.
func (e *SilentError) Error() string {
	var flags []string
	strange := 0
	for _, in := range e.Silent {
		if flag, ok := in.Flag(); ok {
			flags = append(flags, flag)
		} else {
			strange++
		}
	}
	with := ""
	if len(flags) > 0 {
		with = " with " + strings.Join(flags[:min(len(flags), atOnce)], " ")
	}
	if strange > 0 {
		with += fmt.Sprintf("; and %s", Strange)
	}
	return fmt.Sprintf("keys: silent, and perhaps running: %s: whoever runs may accept key %v still: see that none does, and run this again%s",
		since(e.Silent), e.Key, with)
}

// atOnce is how many flags are given to be typed; the others follow at the next turn.
const atOnce = 10

// Strange says what to do about an instance with an ID that none makes for itself.
const Strange = "an id that is not 26 capital letters and digits is no instance's: somebody has written to cloakroom_instances; remove that row, and see who can write there"

// since lists instances, and when each was last heard of.
func since(silent []fleet.Instance) string {
	return fleet.Few(silent, "; ", func(i fleet.Instance) string {
		return event.Printable(i.Name()) + " since " + i.Seen.UTC().Format(time.RFC3339)
	})
}

// Ended returns nil once every instance has followed a key's retirement: those that are
// live have said so, and those that are silent had before. Otherwise it returns a
// [*LagError], a [*SilentError], or both.
func (r *Rotator) Ended(ctx context.Context, id keyring.KeyID) error {
	begun := time.Now()
	err := r.Await(ctx)
	if err == nil {
		if err = r.unlisted(ctx, begun); err == nil {
			err = r.Await(ctx) // who is listed by now
		}
	}
	if r.Fleet == nil {
		return err
	}
	silent, fault := r.fleet().Silent(ctx)
	silent = slices.DeleteFunc(silent, func(i fleet.Instance) bool { return i.Keys != "" && !i.Accepts(id, time.Now()) })
	if len(silent) > 0 {
		fault = &SilentError{Key: id, Silent: silent}
	}
	return errors.Join(err, fault)
}

// unlisted gives instances time that may run though they are not listed, as whoever can
// write to the database can strike them out: where there is none, or where one is gone that
// was there. In two intervals they look at the source by themselves.
func (r *Rotator) unlisted(ctx context.Context, begun time.Time) error {
	if r.Fleet == nil {
		return nil
	}
	list, err := r.fleet().Instances(ctx)
	if err != nil {
		return err
	}
	gone := 0
	for id := range r.seen {
		if !slices.ContainsFunc(list, func(i fleet.Instance) bool { return i.ID == id }) {
			gone++
		}
	}
	switch {
	case gone > 0:
		return r.pause(ctx, begun, min(2*r.interval(), r.wait()), fmt.Sprintf("%d instances are not listed any more", gone))
	case len(list) == 0:
		return r.pause(ctx, begun, min(2*r.interval(), r.wait()), "no instance is listed")
	}
	return nil
}

// pause waits for a time since begun, and says why.
func (r *Rotator) pause(ctx context.Context, begun time.Time, d time.Duration, why string) error {
	rest := time.Until(begun.Add(d))
	if rest > time.Second && why != "" && r.Waits != nil {
		r.Waits(rest, why)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(rest):
		return nil
	}
}
