package keys_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keys"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// watched is a fleet at which a test looks on.
type watched struct {
	keys.Fleet
	on func(ctx context.Context, what string) error // before each of what is below
}

func (w watched) Generation(ctx context.Context) (int64, error) {
	if err := w.on(ctx, "generation"); err != nil {
		return 0, err
	}
	return w.Fleet.Generation(ctx)
}

func (w watched) Sweep(ctx context.Context) (int, error) {
	if err := w.on(ctx, "sweep"); err != nil {
		return 0, err
	}
	return w.Fleet.Sweep(ctx)
}

func (w watched) Leave(ctx context.Context, id string) error {
	if err := w.on(ctx, "leave"); err != nil {
		return err
	}
	return w.Fleet.Leave(ctx, id)
}

func (w watched) Clock(ctx context.Context) (time.Time, error) {
	if err := w.on(ctx, "clock"); err != nil {
		return time.Time{}, err
	}
	return w.Fleet.Clock(ctx)
}

// within fails the test unless a time is want, or a little more.
func within(t *testing.T, what string, took, want time.Duration) {
	t.Helper()
	if took < want || took > want+500*time.Millisecond {
		t.Errorf("%s took %v, want %v", what, took, want)
	}
}

// follows returns an instance that has followed whatever the source says.
func follows(t *testing.T, m *memory, id string) fleet.Instance {
	ring, err := keyring.Load(t.Context(), m)
	must(t, err)
	return fleet.Instance{ID: id, Seen: time.Now(), Keys: fleet.Describe(ring.Keys()), Look: math.MaxInt64}
}

// Instances that are not listed are given the time that they need to look, and no more
// than the operator has: both where there is none, and where one is gone.
func TestAttack_A43_HowLongTheStruckOutAreGiven(t *testing.T) {
	for _, c := range []struct{ interval, wait, want time.Duration }{
		{10 * time.Second, 0, 20 * time.Second},
		{0, 3 * time.Second, 3 * time.Second},
	} {
		for _, listed := range []int{0, 1, 2} {
			t.Run(fmt.Sprint(c.want, " ", listed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m, s := source(t, keyring.Generate()), database()
					for n := range listed {
						id := fmt.Sprint("web-", n)
						s.instances[id] = follows(t, m, id)
					}
					r := rotator(m, s)
					r.Interval, r.Wait = c.interval, c.wait
					must(t, r.Await(t.Context()))
					want := c.want
					if listed > 1 {
						delete(s.instances, "web-0")
					} else if listed == 1 {
						want = 0 // it has said that it follows
					}
					begun := time.Now()
					must(t, r.Ended(t.Context(), keyring.KeyID{1}))
					within(t, "it", time.Since(begun), want)
				})
			})
		}
	}
}

// Where an instance has fallen silent the others' looks, however often they are, are no
// measure of its own: two seconds are the least that a key file is given.
func TestTheSilentAreGivenTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate(), keyring.Generate().AsNext()), database()
		s.instances["silent"] = fleet.Instance{ID: "silent", Seen: time.Now().Add(-time.Minute)}
		r := rotator(m, s)
		r.Interval = 100 * time.Millisecond
		begun := time.Now()
		must(t, r.Activate(t.Context(), m.in(t, keyring.Next)[0]))
		within(t, "it", time.Since(begun), 2*time.Second)
	})
}

// The operator is told of a wait that is worth a word, and why; a moment, and the two
// seconds that a file is given each time, are none.
func TestOnlyLongWaitsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate(), keyring.Generate().AsNext()), database()
		var told []string
		r := rotator(m, s)
		r.Waits = func(rest time.Duration, why string) { told = append(told, fmt.Sprint(rest, " ", why)) }
		for _, c := range []struct {
			interval time.Duration
			want     []string
		}{{300 * time.Millisecond, nil}, {5 * time.Second, []string{"10s no instance is listed"}}} {
			r.Interval = c.interval
			must(t, r.Ended(t.Context(), keyring.KeyID{1}))
			if !slices.Equal(told, c.want) {
				t.Errorf("it looks each %v: told %q, want %q", c.interval, told, c.want)
			}
		}
		told = nil
		i := follows(t, m, "web-1")
		s.instances["web-1"] = i
		must(t, r.Activate(t.Context(), m.in(t, keyring.Next)[0]))
		if told != nil {
			t.Errorf("told %q", told)
		}
	})
}

// A question to a database that hangs ends after five seconds, or with the operator's
// patience, which is a second at least.
func TestAStuckDatabaseIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for wait, want := range map[time.Duration]time.Duration{
			0: 5 * time.Second, time.Minute: 5 * time.Second, 3 * time.Second: 3 * time.Second, time.Millisecond: time.Second,
		} {
			r := &keys.Rotator{Source: source(t, keyring.Generate()), Fleet: stuck{database().link()}, Wait: wait}
			begun := time.Now()
			if _, err := r.Prune(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v", err)
			}
			within(t, fmt.Sprintf("waiting %v: it", wait), time.Since(begun), want)
		}
	})
}

// A leaked key goes on for as long as the operator waits for an instance that lags, and
// never for more than five seconds.
func TestAttack_A15_HowLongALeakedKeyGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for wait, want := range map[time.Duration]time.Duration{time.Second: time.Second, 0: 5 * time.Second} {
			leaked := keyring.Generate()
			m, s := source(t, leaked), database()
			s.instances["lags"] = fleet.Instance{ID: "lags", Seen: time.Now()}
			r := rotator(m, s)
			r.Wait = wait
			begun := time.Now()
			var ended time.Duration
			m.after = func() {
				list, err := keyring.ReadKeys(bytes.NewReader(m.text))
				if err == nil && slices.ContainsFunc(list, func(k keyring.Key) bool { return k.ID() == leaked.ID() && k.State() == keyring.Retiring }) {
					ended = time.Since(begun)
				}
			}
			if err := r.Retire(t.Context(), leaked.ID()); err == nil {
				t.Error("nobody lags: nothing was shown")
			}
			within(t, fmt.Sprintf("waiting %v: the end of the key", wait), ended, want)
		}
	})
}

// A database that hangs keeps nobody from stopping: two seconds, and less for whoever has
// less patience.
func TestLeavingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for patience, want := range map[time.Duration]time.Duration{0: 2 * time.Second, time.Second: time.Second} {
			m := source(t, keyring.Generate())
			ring, err := keyring.Load(t.Context(), m)
			must(t, err)
			hangs := watched{database().link(), func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }}
			k, err := keys.New(keys.Options{Ring: ring, Source: m, Fleet: hangs, Patience: patience})
			must(t, err)
			begun := time.Now()
			k.Leave(t.Context())
			within(t, "leaving", time.Since(begun), want)
		}
	})
}

// The hook that fails is called again after a second, two, four, and once a minute for
// as long as it takes.
func TestActivatedIsCalledOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		i := run(t, source(t, keyring.Generate()), nil, func(o *keys.Options) {
			rarely(o)
			o.Activated = func(context.Context) error {
				at = append(at, time.Now())
				return errors.New("users: no answer")
			}
		})
		time.Sleep(10 * time.Minute)
		i.stop()
		for n, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60} {
			if len(at) < n+2 || at[n+1].Sub(at[n]) != want*time.Second {
				t.Fatalf("call %d of %d came after another time than %d s", n+1, len(at), want)
			}
		}
	})
}
