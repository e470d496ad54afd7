package keys

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

const (
	// Grace is for how much longer than a session lives a retiring key is accepted.
	Grace = 10 * time.Minute

	// slack is by how much the clock may differ from the database's.
	slack = 5 * time.Minute

	// DefaultWait is how long the instances are waited for.
	DefaultWait = 30 * time.Second

	// beforeRetiring is how long, at most, a leaked key goes on because its successor
	// is on its way to the instances.
	beforeRetiring = 5 * time.Second
)

// Rotator takes the steps of a rotation. Each step reads the keys anew and writes them
// only where nobody has changed them since; taken twice, it changes nothing the second
// time. So whoever died after any of them is followed by who runs the same again.
type Rotator struct {
	Source   keyring.Writer
	Fleet    Fleet         // nil: there is nobody to wait for
	Lifetime time.Duration // of a session
	Actor    string        // who does it, for the log: "" means "console"
	Log      *slog.Logger
	Wait     time.Duration // how long the instances are waited for; zero means DefaultWait
	Interval time.Duration // at which an instance looks at the source; zero means a minute
	Before   time.Duration // how long, at most, Retire asks the fleet before it writes, its clock aside; zero means 5 s

	// Needed, if set, is asked before a key is pruned, and says why it has to stay: it
	// is the one that the sessions' store knows as used last, or a hash of a password
	// is sealed under it. "" lets it go.
	Needed func(ctx context.Context, id keyring.KeyID) (why string, err error)

	// Waits, if set, is told before instances are given time that nobody hears of.
	Waits func(rest time.Duration, why string)

	seen  map[string]bool // the instances that were live once, since the Rotator was made
	guard func() error    // asked before each change, nil for a command
}

var (
	errReadOnly = errors.New("keys: this source of keys cannot be written from here: add and remove keys where they are, one step at a time")
	errMoved    = errors.New("keys: somebody else has changed the keys meanwhile: run this again")
)

// LagError says who has not followed the source of the keys.
type LagError struct {
	Want   string           // what the source has, as fleet.Describe says
	After  time.Duration    // how long they were waited for; zero where they were asked once
	Behind []fleet.Instance // at least one
}

// Error names the instances and what each has.
func (e *LagError) Error() string {
	list := fleet.Few(e.Behind, "; ", func(i fleet.Instance) string {
		text := event.Printable(i.Name()) + " has " + event.Printable(orNone(i.Keys))
		if i.Failing != "" {
			text += ", because: " + event.Printable(i.Failing)
		}
		return text
	})
	within := ""
	if e.After > 0 {
		within = fmt.Sprintf(" within %v", e.After.Round(time.Second))
	}
	return fmt.Sprintf("keys: not every instance has followed%s: %s: wanted is %s: "+
		"see that each reads the same keys, or stop it, and run this again", within, list, e.Want)
}

func orNone(s string) string {
	if s == "" {
		return "none yet"
	}
	return s
}

// now returns the time, if this machine and the database agree on it: by a clock that
// is wrong, a key is dropped while sessions need it, or stays while it must not.
func (r *Rotator) now(ctx context.Context) (time.Time, error) {
	now := time.Now()
	if r.Fleet == nil {
		return now, nil
	}
	clock, err := r.fleet().Clock(ctx)
	if err != nil {
		return time.Time{}, err
	}
	if off := now.Sub(clock); off.Abs() > slack {
		return time.Time{}, fmt.Errorf("keys: this machine's clock differs from the database's by %v, more than %v: set both right", off.Round(time.Second), slack)
	}
	return now, nil
}

// edit changes the keys of the source, as long as the guard lets it.
func (r *Rotator) edit(ctx context.Context, f func(keys []keyring.Key) ([]keyring.Key, error)) ([]keyring.Key, error) {
	return keyring.Edit(ctx, r.Source, func(keys []keyring.Key) ([]keyring.Key, error) {
		if r.guard != nil {
			if err := r.guard(); err != nil {
				return nil, err
			}
		}
		return f(keys)
	})
}

// log writes what happened to a key.
func (r *Rotator) log(ctx context.Context, name string, id keyring.KeyID) {
	actor := r.Actor
	if actor == "" {
		actor = "console"
	}
	event.Log(ctx, r.Log, slog.LevelInfo, name, slog.String("actor", actor), slog.String("key", id.String()))
}

// call has the instances look at once. Where that fails they look at their next turn,
// and who waits for them calls again.
func (r *Rotator) call(ctx context.Context) {
	if r.Fleet != nil {
		r.fleet().Call(ctx)
	}
}

// Announce adds a key that every instance is to accept and none signs with. It returns
// the next key's ID; if there is one already, that one's.
func (r *Rotator) Announce(ctx context.Context) (keyring.KeyID, error) {
	return r.announce(ctx, func(keyring.Key) error { return nil })
}

// announce is Announce if the active key lets it.
func (r *Rotator) announce(ctx context.Context, judge func(active keyring.Key) error) (keyring.KeyID, error) {
	var (
		made  = keyring.Generate()
		next  keyring.KeyID
		found bool
	)
	_, err := r.edit(ctx, func(keys []keyring.Key) ([]keyring.Key, error) {
		if i := slices.IndexFunc(keys, func(k keyring.Key) bool { return k.State() == keyring.Active }); i >= 0 {
			if err := judge(keys[i]); err != nil {
				return nil, err
			}
		}
		if next, found = oldest(keys, keyring.Next); found {
			return keys, nil
		}
		next = made.ID()
		return keyring.Announce(keys, made)
	})
	if err != nil {
		return keyring.KeyID{}, err
	}
	if !found {
		r.log(ctx, event.KeyAnnounced, next)
		r.call(ctx)
	}
	return next, nil
}

// oldest returns the key of a state that was made first, and whether there is one.
func oldest(keys []keyring.Key, s keyring.State) (id keyring.KeyID, found bool) {
	var made time.Time
	for _, k := range keys {
		if k.State() == s && (!found || k.Created().Before(made)) {
			id, made, found = k.ID(), k.Created(), true
		}
	}
	return id, found
}

// Await returns nil once every live instance goes on with what the source says, or a
// [*LagError] after Wait. Where no instance is live there is nobody to wait for.
func (r *Rotator) Await(ctx context.Context) error {
	_, err := r.await(ctx, r.wait(), true)
	return err
}

// interval returns how often an instance looks by itself.
func (r *Rotator) interval() time.Duration {
	if r.Interval > 0 {
		return r.Interval
	}
	return time.Minute
}

func (r *Rotator) wait() time.Duration {
	if r.Wait > 0 {
		return r.Wait
	}
	return DefaultWait
}

// await returns what all have. A patient one goes on where the fleet or the source does
// not answer.
func (r *Rotator) await(ctx context.Context, wait time.Duration, patient bool) (string, error) {
	turn := time.NewTicker(200 * time.Millisecond)
	defer turn.Stop()
	var f following
	for begun := time.Now(); ; {
		behind, err := r.behind(ctx, &f)
		switch over := time.Since(begun) >= wait; {
		case err == nil && len(behind) == 0:
			return f.want, nil
		case err != nil && (over || !patient):
			return "", err
		case over:
			return "", &LagError{Want: f.want, After: time.Since(begun), Behind: behind}
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-turn.C:
		}
	}
}

// following is what the instances are to follow.
type following struct {
	want string    // what the source had
	gen  int64     // the generation at which they look
	read time.Time // when it was last read; zero means never, which is long ago
}

// behind returns the live instances that have not followed what the source says. It
// reads that once a second at most.
func (r *Rotator) behind(ctx context.Context, f *following) ([]fleet.Instance, error) {
	if time.Since(f.read) >= time.Second {
		ring, err := keyring.Load(ctx, r.Source)
		if err != nil {
			return nil, err
		}
		if want := fleet.Describe(ring.Keys()); want != f.want {
			if r.Fleet != nil {
				if f.gen, err = r.fleet().Call(ctx); err != nil {
					return nil, err
				}
			}
			f.want = want
		}
		f.read = time.Now()
	}
	if r.Fleet == nil {
		return nil, nil
	}
	list, err := r.fleet().Instances(ctx)
	if err != nil {
		return nil, err
	}
	if r.seen == nil {
		r.seen = make(map[string]bool)
	}
	for _, i := range list {
		r.seen[i.ID] = true
	}
	return slices.DeleteFunc(list, func(i fleet.Instance) bool { return i.Look >= f.gen && i.Keys == f.want }), nil
}
