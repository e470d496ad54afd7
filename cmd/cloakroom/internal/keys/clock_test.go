package keys_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keys"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// prompt is a fleet whose database does nothing for whoever has no time left, and hangs at
// one thing.
type prompt struct {
	*link
	hangs string
}

func (p prompt) at(ctx context.Context, what string) error {
	if p.hangs == what {
		<-ctx.Done()
	}
	return ctx.Err()
}

func (p prompt) Clock(ctx context.Context) (time.Time, error) {
	if err := p.at(ctx, "clock"); err != nil {
		return time.Time{}, err
	}
	return p.link.Clock(ctx)
}

func (p prompt) Instances(ctx context.Context) ([]fleet.Instance, error) {
	if err := p.at(ctx, "instances"); err != nil {
		return nil, err
	}
	return p.link.Instances(ctx)
}

func (p prompt) Silent(ctx context.Context) ([]fleet.Instance, error) {
	if err := p.at(ctx, "silent"); err != nil {
		return nil, err
	}
	return p.link.Silent(ctx)
}

func (p prompt) Leave(ctx context.Context, id string) error {
	if err := p.at(ctx, "leave"); err != nil {
		return err
	}
	return p.link.Leave(ctx, id)
}

func (p prompt) Generation(ctx context.Context) (int64, error) {
	if err := p.at(ctx, "generation"); err != nil {
		return 0, err
	}
	return p.link.Generation(ctx)
}

func (p prompt) SetNote(ctx context.Context, name, text string) error {
	if err := p.at(ctx, "note"); err != nil {
		return err
	}
	return p.link.SetNote(ctx, name, text)
}

// A machine whose clock is ahead ends a leaked key by the database's, also where an instance
// that lags uses up all the time, or a command has none left.
func TestAttack_A15_AClockThatIsAheadKeepsNoKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, before := range []time.Duration{0, time.Millisecond} {
			leaked := keyring.Generate()
			m, s := source(t, leaked), database()
			s.instances["lags"] = fleet.Instance{ID: "lags", Seen: time.Now()}
			l := s.link()
			l.skew = -10 * time.Minute
			r := &keys.Rotator{Source: m, Fleet: prompt{link: l}, Wait: 10 * time.Second, Before: before, Log: (&journal{}).logger()}
			err := r.Retire(t.Context(), leaked.ID())
			if _, lags := errors.AsType[*keys.LagError](err); !lags {
				t.Fatalf("nobody lags: nothing was shown: %v", err)
			}
			if _, unsure := errors.AsType[*keys.ClockError](err); unsure {
				t.Error(err)
			}
			for _, k := range m.keys(t) {
				if theirs := time.Now().Add(l.skew); k.ID() == leaked.ID() && !k.Info().Ended(theirs.Add(-4*time.Minute)) {
					t.Errorf("before %v: it is accepted until %v, and the others' clock shows %v", before, k.Until(), theirs)
				}
			}
		}
	})
}

// Where the clock is not known the key ends by this machine's, and the result says so.
func TestAClockThatIsNotKnownIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leaked := keyring.Generate()
		m := source(t, leaked)
		r := &keys.Rotator{Source: m, Fleet: prompt{database().link(), "clock"}, Interval: time.Second, Log: (&journal{}).logger()}
		begun := time.Now()
		err := r.Retire(t.Context(), leaked.ID())
		unsure, ok := errors.AsType[*keys.ClockError](err)
		if !ok || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(unsure.Error(), "run this again") {
			t.Errorf("%v", err)
		}
		if ended := m.keys(t)[0]; !ended.Info().Ended(begun) {
			t.Errorf("it is accepted until %v", ended.Until())
		}
		must(t, func() error { _, err := (&keys.Rotator{Source: m}).Common(t.Context()); return err }())
	})
}

// Whatever hangs in the database, a start is told of it as soon as its patience is over.
func TestBeginningIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, what := range []string{"instances", "silent", "leave", "generation", "note"} {
			m, s := source(t, keyring.Generate()), database()
			s.instances["before"] = fleet.Instance{ID: "before", Addr: "10.0.0.1:8080", Seen: time.Now()}
			ring, err := keyring.Load(t.Context(), m)
			must(t, err)
			k, err := keys.New(keys.Options{Ring: ring, Source: m, Fleet: prompt{s.link(), what}, Lifetime: lifetime, Patience: 3 * time.Second,
				Instance: fleet.Instance{Addr: "10.0.0.1:8080"}, Log: (&journal{}).logger()})
			must(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			begun := time.Now()
			if err := k.Begin(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", what, err)
			}
			within(t, what, time.Since(begun), 3*time.Second)
			cancel()
		}
	})
}

// Who was asked once has not been waited for.
func TestALagThatWasNotWaitedForNamesNoTime(t *testing.T) {
	lag := &keys.LagError{Want: "key:01020304 accepted everywhere", Behind: []fleet.Instance{{ID: "web-1"}}}
	if text := lag.Error(); strings.Contains(text, "within") || !strings.Contains(text, "has followed: web-1 has none yet: ") {
		t.Error(text)
	}
	lag.After = time.Second
	if text := lag.Error(); !strings.Contains(text, "has followed within 1s: web-1 ") {
		t.Error(text)
	}
}
