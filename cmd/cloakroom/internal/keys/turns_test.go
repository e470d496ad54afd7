package keys_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keys"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// granted is a fleet that gives the lease until whenever a test says, and ends the
// instance at once.
type granted struct {
	*link
	until func(now time.Time) time.Time
	end   func()
	acted bool
}

func (g *granted) Lead(_ context.Context, _, _ string, now time.Time, _ time.Duration) (time.Time, error) {
	g.end()
	return g.until(now), nil
}

func (g *granted) Clock(ctx context.Context) (time.Time, error) {
	g.acted = true // it is the first thing that a leader asks
	return g.link.Clock(ctx)
}

// counted returns a time of which the monotonic clock has another notion than the wall
// clock. Package time makes none such; a machine that sleeps does.
func counted(t *testing.T, at time.Time, by time.Duration) time.Time {
	t.Helper()
	moved := at
	*(*int64)(unsafe.Pointer(reflect.ValueOf(&moved).Elem().FieldByName("ext").UnsafeAddr())) += int64(by)
	if !moved.Round(0).Equal(at.Round(0)) || moved.Sub(at) != by {
		t.Fatal("package time keeps its monotonic clock otherwise")
	}
	return moved
}

// A machine that slept has one clock that counted meanwhile and one that did not: by
// either of them the lease may be over, and then nobody acts on it.
func TestAttack_A43_ALeaseEndsByEitherClock(t *testing.T) {
	for name, c := range map[string]struct {
		until func(now time.Time) time.Time
		acts  bool
	}{
		"neither":   {func(now time.Time) time.Time { return now.Add(25 * time.Second) }, true},
		"wall":      {func(now time.Time) time.Time { return counted(t, now.Add(-time.Second), 26*time.Second) }, false},
		"monotonic": {func(now time.Time) time.Time { return counted(t, now.Add(25*time.Second), -26*time.Second) }, false},
		"both":      {func(now time.Time) time.Time { return now.Add(-time.Second) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := source(t, keyring.Generate())
			ring, err := keyring.Load(t.Context(), m)
			must(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			g := &granted{link: database().link(), until: c.until, end: cancel}
			k, err := keys.New(keys.Options{Ring: ring, Source: m, Fleet: g, Rotation: rotation, Lifetime: lifetime, Log: (&journal{}).logger()})
			must(t, err)
			must(t, k.Begin(t.Context()))
			k.Run(ctx)
			if g.acted != c.acts {
				t.Errorf("it acts %t", g.acted)
			}
		})
	}
}

// A lease that runs out while a turn takes long, keys that somebody else changes
// meanwhile, an end of the service: the next turn goes on with it, and no fault is told.
func TestWhatIsNoFaultOfARotation(t *testing.T) {
	for name, test := range map[string]func(t *testing.T, m *memory, s *state){
		"lease": func(t *testing.T, m *memory, s *state) {
			i := run(t, m, s, func(o *keys.Options) {
				rotates(o)
				o.Fleet = watched{o.Fleet, func(_ context.Context, what string) error {
					if what == "clock" {
						time.Sleep(40 * time.Second)
					}
					return nil
				}}
			})
			time.Sleep(10 * time.Minute)
			i.log.count(t, event.RotationFailed, 0)
			if m.written() != 0 {
				t.Errorf("%d writes without a lease", m.written())
			}
		},
		"moved": func(t *testing.T, m *memory, s *state) {
			var moved atomic.Bool
			m.before = func() {
				if m.written() != 1 || moved.Swap(true) { // the second write is that of the activation
					return
				}
				_, err := keyring.Edit(t.Context(), m, func(list []keyring.Key) ([]keyring.Key, error) {
					return append(list, keyring.Generate().AsRetiring(time.Now().Add(time.Hour))), nil
				})
				must(t, err)
			}
			i := run(t, m, s, rotates)
			first := i.ring.Active()
			time.Sleep(most)
			i.log.count(t, event.RotationFailed, 0)
			if !moved.Load() || i.ring.Active() == first {
				t.Errorf("moved %t, %v signs", moved.Load(), i.ring.Active())
			}
		},
		"end": func(t *testing.T, m *memory, s *state) {
			b := run(t, m, s, nil)
			b.src.set(errAway) // it is waited for, for five seconds each time
			i := run(t, m, s, rotates)
			for s.leader() != i.ID() {
				time.Sleep(time.Second)
			}
			time.Sleep(62 * time.Second)
			i.stop()
			i.log.count(t, event.RotationFailed, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, s := source(t, keyring.Generate()), database()
				time.Sleep(rotation)
				test(t, m, s)
			})
		})
	}
}

// leader returns who leads.
func (s *state) leader() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.holders["rotation"]
}

// That nobody rotates a key which has been due for a long time is told an hour after the
// start, as there may have been nobody to do it before.
func TestOverdueCountsFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		s.holders["rotation"], s.leases["rotation"] = "x", time.Now().Add(10*365*day)
		time.Sleep(rotation + 10*day)
		i := run(t, m, s, func(o *keys.Options) { rotates(o); o.Interval = time.Hour })
		time.Sleep(59 * time.Minute)
		i.log.count(t, event.RotationFailed, 0)
		time.Sleep(2 * time.Minute)
		i.log.count(t, event.RotationFailed, 1)
	})
}

// Whether a key that is over can go is asked once an hour, while something needs it:
// that reads all hashes of passwords.
func TestPruningIsTriedOnceAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate(), keyring.Generate().AsRetiring(time.Now().Add(-time.Hour))), database()
		asked := 0
		i := run(t, m, s, func(o *keys.Options) {
			rotates(o)
			o.Interval = time.Hour
			o.Needed = func(context.Context, keyring.KeyID) (string, error) {
				asked++
				return "a hash of a password is sealed under it", nil
			}
		})
		time.Sleep(2*time.Hour + 5*time.Minute)
		i.stop()
		if asked != 3 || len(m.keys(t)) != 2 {
			t.Errorf("asked %d times in two hours, %d keys", asked, len(m.keys(t)))
		}
	})
}

// While nothing is due and nothing is wrong, the source is asked by its turn alone: a
// service that holds the keys may count, or bill, each question.
func TestASourceThatIsWellIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		i := run(t, m, s, func(o *keys.Options) { rotates(o); o.Interval = time.Hour })
		before := m.asked()
		time.Sleep(59 * time.Minute)
		if n := m.asked() - before; n != 0 || !i.Status().Leads {
			t.Errorf("asked %d times, and nothing was to be done", n)
		}
		time.Sleep(2 * time.Minute)
		if n := m.asked() - before; n != 1 {
			t.Errorf("asked %d times in an hour", n)
		}
	})
}

// For how long an instance has lagged says the log, and not for how long a turn has
// waited for it.
func TestALagIsOfAllTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		time.Sleep(rotation)
		b := run(t, m, s, nil)
		b.src.set(errAway)
		i := run(t, m, s, rotates)
		time.Sleep(2 * time.Minute)
		if lines := i.log.of(event.RotationFailed); len(lines) != 1 || !strings.Contains(lines[0], "not every instance has followed within 1m") {
			t.Errorf("%q", lines)
		}
	})
}

// What is no option is refused, each for itself, and what is not set has a default.
func TestEachOption(t *testing.T) {
	ring, err := keyring.New(keyring.Generate())
	must(t, err)
	m := source(t, keyring.Generate())
	for name, change := range map[string]func(o *keys.Options){
		"no ring":           func(o *keys.Options) { o.Ring = nil },
		"no source":         func(o *keys.Options) { o.Source = nil },
		"negative interval": func(o *keys.Options) { o.Interval = -1 },
		"negative rotation": func(o *keys.Options) { o.Rotation = -1 },
		"negative patience": func(o *keys.Options) { o.Patience = -1 },
		"no lifetime":       func(o *keys.Options) { o.Rotation, o.Fleet = rotation, database().link() },
		"no fleet":          func(o *keys.Options) { o.Rotation, o.Lifetime = rotation, lifetime },
	} {
		o := keys.Options{Ring: ring, Source: m}
		change(&o)
		if k, err := keys.New(o); err == nil || k != nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Keys that cannot be written are followed all the same.
	k, err := keys.New(keys.Options{Ring: ring, Source: keyring.Env("KEYS_TEST")})
	must(t, err)
	if k.Interval != keyring.DefaultInterval || k.Patience != 5*time.Second || k.ID() == "" || time.Since(k.Instance.Started) > time.Minute {
		t.Errorf("%+v", k.Options)
	}
}

// Instances that do not say where they listen have not taken each other's place; nor
// does one take its own.
func TestWhoHasNoAddressSucceedsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		left := 0
		counts := func(o *keys.Options) {
			o.Fleet = watched{o.Fleet, func(_ context.Context, what string) error {
				if what == "leave" {
					left++
				}
				return nil
			}}
		}
		a, b := run(t, m, s, counts), run(t, m, s, counts)
		c := run(t, m, s, func(o *keys.Options) { counts(o); o.Instance.Addr = "10.0.0.3:8080" })
		for _, i := range []*instance{a, b, c} {
			must(t, i.Begin(t.Context()))
		}
		if list, err := s.link().Instances(t.Context()); err != nil || len(list) != 3 || left != 0 {
			t.Errorf("%d of three are listed, %d were taken out: %v", len(list), left, err)
		}
	})
}

// An instance whose source is away when it begins says so, and why, though it has
// reported itself.
func TestBeginningWithoutTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		ring, err := keyring.Load(t.Context(), m)
		must(t, err)
		k, err := keys.New(keys.Options{Ring: ring, Source: m, Fleet: s.link(), Log: (&journal{}).logger()})
		must(t, err)
		m.set(errAway)
		if err := k.Begin(t.Context()); !errors.Is(err, errAway) || !errors.Is(k.Status().Failing, errAway) {
			t.Errorf("%v, and it is %v that fails", err, k.Status().Failing)
		}
		// The source is named by its own name.
		m.set(nil)
		m.text = []byte("no key\n")
		if err := k.Begin(t.Context()); err == nil || !strings.Contains(err.Error(), "memory:") {
			t.Errorf("%v", err)
		}
	})
}

// An instance that is stopped in the midst of a question says nothing of a fault: there
// is none.
func TestStoppingIsNoFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		until := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		var hangs atomic.Bool
		i := run(t, source(t, keyring.Generate()), database(), func(o *keys.Options) {
			o.Activated = until
			o.Fleet = watched{o.Fleet, func(ctx context.Context, what string) error {
				if hangs.Load() && what == "generation" {
					return until(ctx)
				}
				return nil
			}}
		})
		time.Sleep(1500 * time.Millisecond)
		hangs.Store(true)
		time.Sleep(2 * time.Second)
		i.stop()
		i.log.count(t, event.RotationFailed, 0)
		i.log.count(t, event.StoreFailed, 0)
	})
}

// Rows of instances that have ended are swept once an hour; and while the database does
// not answer it is not asked for that too, but as soon as it does.
func TestSweepsOnceAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sweeps atomic.Int32
		var fails atomic.Bool
		run(t, source(t, keyring.Generate()), database(), func(o *keys.Options) {
			rarely(o)
			o.Fleet = watched{o.Fleet, func(_ context.Context, what string) error {
				if what == "sweep" {
					sweeps.Add(1)
				} else if what == "generation" && fails.Load() {
					return errors.New("no route to host")
				}
				return nil
			}}
		})
		for hour := range int32(2) {
			time.Sleep(time.Minute)
			if n := sweeps.Load(); n != hour+1 {
				t.Fatalf("%d sweeps in the first minute of hour %d", n, hour)
			}
			time.Sleep(58 * time.Minute)
			fails.Store(true)
			time.Sleep(2*time.Minute + 500*time.Millisecond)
			if n := sweeps.Load(); n != hour+1 {
				t.Fatalf("%d sweeps in hour %d, while the database was away", n, hour)
			}
			fails.Store(false)
		}
	})
}

// Where the number that calls the instances cannot be read, nobody has called; and what
// was known before is known still.
func TestWhoCannotHearIsNotCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		s.gen = 7
		var fails atomic.Bool
		run(t, m, s, func(o *keys.Options) {
			rarely(o)
			o.Fleet = watched{o.Fleet, func(_ context.Context, what string) error {
				if fails.Load() && what == "generation" {
					return errors.New("no route to host")
				}
				return nil
			}}
		})
		before := m.asked()
		for range 3 {
			time.Sleep(5500 * time.Millisecond)
			fails.Store(!fails.Load())
		}
		if n := m.asked() - before; n != 0 {
			t.Errorf("asked %d times, though nobody has called", n)
		}
	})
}

// What an instance follows by its own looks, without a call, the others know at once.
func TestAChangeIsReportedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		i := run(t, m, s, nil)
		time.Sleep(2500 * time.Millisecond)
		_, err := keyring.Edit(t.Context(), m, func(list []keyring.Key) ([]keyring.Key, error) {
			return keyring.Announce(list, keyring.Generate())
		})
		must(t, err)
		time.Sleep(2 * time.Second)
		if list, err := s.link().Instances(t.Context()); err != nil || len(i.ring.Keys()) != 2 || list[0].Keys != fleet.Describe(i.ring.Keys()) {
			t.Errorf("%+v, %v", list, err)
		}
	})
}
