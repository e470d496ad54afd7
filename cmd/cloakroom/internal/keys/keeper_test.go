package keys_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keys"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/keyring/vault"
)

// rotator is a command's.
func rotator(m *memory, s *state) *keys.Rotator {
	return &keys.Rotator{Source: m, Fleet: s.link(), Lifetime: 12 * time.Hour, Log: (&journal{}).logger()}
}

// rarely is an interval at which nobody looks within a test.
func rarely(o *keys.Options) { o.Interval = time.Hour }

// Instances that look at their source once an hour have followed within 2 s of a
// command, and each says so once.
func TestFollowsACallAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		a, b := run(t, m, s, rarely), run(t, m, s, rarely)
		time.Sleep(5 * time.Second)
		begun := time.Now()
		if _, err := rotator(m, s).Announce(t.Context()); err != nil {
			t.Fatal(err)
		}
		must(t, rotator(m, s).Await(t.Context()))
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
		for _, i := range []*instance{a, b} {
			if len(i.ring.Keys()) != 2 {
				t.Errorf("%v", i.ring.Keys())
			}
			i.log.count(t, event.KeysChanged, 1)
			i.log.count(t, event.KeysFailed, 0)
			if line := i.log.of(event.KeysChanged)[0]; !strings.Contains(line, fleet.Describe(i.ring.Keys())) {
				t.Error(line)
			}
		}
		// A file is followed without a fleet as well.
		alone := run(t, m, nil, nil)
		if _, err := rotator(m, s).Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1200 * time.Millisecond)
		if !accepts(a.ring, alone.ring) || a.ring.Active() != alone.ring.Active() {
			t.Error("the one without a fleet has not followed")
		}
	})
}

// What the fleet knows of an instance is what it does.
func TestReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		i := run(t, m, s, func(o *keys.Options) {
			rarely(o)
			o.Instance = fleet.Instance{Addr: "10.0.0.1:8080", Version: "v1"}
		})
		seen := func() fleet.Instance {
			t.Helper()
			list, err := s.link().Instances(t.Context())
			if err != nil || len(list) != 1 {
				t.Fatalf("%v, %v", list, err)
			}
			return list[0]
		}
		for range 10 {
			time.Sleep(10 * time.Second)
			if got := seen(); time.Since(got.Seen) > 11*time.Second || got.ID != i.ID() || got.Addr != "10.0.0.1:8080" || got.Keys != fleet.Describe(i.ring.Keys()) {
				t.Fatalf("%+v", got)
			}
		}
		// A look that fails is told, and acts on no generation.
		m.set(errAway)
		gen, err := s.link().Call(t.Context())
		must(t, err)
		time.Sleep(1500 * time.Millisecond)
		if got := seen(); got.Failing != errAway.Error() || got.Look >= gen {
			t.Errorf("%+v", got)
		}
		m.set(nil)
		time.Sleep(3 * time.Second)
		if got := seen(); got.Failing != "" || got.Look != gen {
			t.Errorf("%+v, want it to have looked at %d", got, gen)
		}
		if st := i.Status(); st.Failing != nil || st.LastLook.IsZero() || st.LastGood != st.LastLook || len(st.Keys) != 1 {
			t.Errorf("%+v", st)
		}
		i.stop()
		if list, _ := s.link().Instances(t.Context()); len(list) != 0 {
			t.Errorf("%v after it has left", list)
		}
	})
}

var _ interface{ Renewal() error } = (*vault.Source)(nil)

// expiring is a source whose login will not be renewed, as one of package vault.
type expiring struct {
	*memory
	err atomic.Pointer[error]
}

func (e *expiring) Renewal() error {
	if err := e.err.Load(); err != nil {
		return *err
	}
	return nil
}

// A login that cannot be renewed is told of while the source still answers, once, and
// once an hour.
func TestASVS_13_3_4_AnEndingLoginIsToldInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := source(t, keyring.Generate())
		e := &expiring{memory: m}
		i := run(t, m, nil, func(o *keys.Options) { o.Source, o.Interval = e, time.Minute })
		time.Sleep(time.Minute)
		i.log.count(t, event.KeysExpire, 0)
		ends := errors.New("vault: refused (400): the secret-id is used up; the keys can be read until noon")
		e.err.Store(&ends)
		time.Sleep(50 * time.Minute)
		i.log.count(t, event.KeysExpire, 1)
		i.log.count(t, event.KeysFailed, 0)
		time.Sleep(20 * time.Minute)
		i.log.count(t, event.KeysExpire, 2)
		e.err.Store(nil)
		time.Sleep(2 * time.Hour)
		i.log.count(t, event.KeysExpire, 2)
	})
}

// An outage is told once in the beginning, once an hour, and at its end; and is over
// soon after the source is back, however rarely it is looked at.
func TestSourceAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		i := run(t, m, s, func(o *keys.Options) { o.Interval = time.Minute })
		before := i.ring.Active()
		m.set(errAway)
		time.Sleep(30 * time.Minute)
		i.log.count(t, event.KeysFailed, 1)
		if n := m.asked(); n > 45 {
			t.Errorf("asked %d times in half an hour", n)
		}
		if st := i.Status(); !errors.Is(st.Failing, errAway) || time.Since(st.LastGood) < 28*time.Minute || time.Since(st.LastLook) > time.Minute {
			t.Errorf("%+v", st)
		}
		time.Sleep(45 * time.Minute)
		i.log.count(t, event.KeysFailed, 2)
		m.set(errors.New("vault: permission denied; renew the token"))
		time.Sleep(2 * time.Minute)
		i.log.count(t, event.KeysFailed, 3)
		i.log.count(t, event.KeysUp, 0)
		m.set(nil)
		time.Sleep(2 * time.Minute)
		i.log.count(t, event.KeysUp, 1)
		i.log.count(t, event.KeysFailed, 3)
		i.log.count(t, event.KeysChanged, 0)
		if i.ring.Active() != before {
			t.Error("there is another key")
		}
		// A short one is over soon: it asks again after a second, two, four.
		time.Sleep(time.Until(i.Status().LastLook.Add(59 * time.Second)))
		m.set(errAway)
		time.Sleep(2 * time.Second)
		m.set(nil)
		if _, err := rotator(m, s).Announce(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if len(i.ring.Keys()) != 2 {
			t.Error("it has not followed")
		}
	})
}

// A text that is another one each time does not fill the log.
func TestFaultsThatChangeAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := source(t, keyring.Generate())
		i := run(t, m, nil, nil)
		for n := range 600 {
			m.set(fmt.Errorf("read tcp 127.0.0.1:%d: connection reset", 30000+n))
			time.Sleep(time.Second)
		}
		if n := len(i.log.of(event.KeysFailed)); n > 20 {
			t.Errorf("%d lines in ten minutes", n)
		}
	})
}

// The keys follow though the database of the accounts is away, which is told once.
func TestFleetAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		i := run(t, m, s, nil)
		time.Sleep(3 * time.Second)
		i.link.set(errors.New("no route to host"))
		time.Sleep(5 * time.Minute)
		i.log.count(t, event.StoreFailed, 1)
		if _, err := rotator(m, s).Announce(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1500 * time.Millisecond)
		if len(i.ring.Keys()) != 2 {
			t.Error("it has not followed")
		}
		i.link.set(nil)
		time.Sleep(2 * time.Second)
		must(t, rotator(m, s).Await(t.Context()))
		i.link.set(errors.New("no route to host"))
		time.Sleep(time.Minute)
		i.log.count(t, event.StoreFailed, 2)
		i.log.count(t, event.KeysFailed, 0)
	})
}

// A SIGHUP is a look, and where the source is away the keys stay.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		hup := make(chan struct{})
		i := run(t, m, nil, func(o *keys.Options) {
			rarely(o)
			o.Reload = hup
		})
		if _, err := rotator(m, s).Announce(t.Context()); err != nil {
			t.Fatal(err)
		}
		m.set(errors.New("no route to host"))
		hup <- struct{}{}
		time.Sleep(500 * time.Millisecond)
		i.log.count(t, event.KeysFailed, 1)
		if len(i.ring.Keys()) != 1 {
			t.Error("it took what it cannot read")
		}
		m.set(nil)
		hup <- struct{}{}
		time.Sleep(500 * time.Millisecond)
		i.log.count(t, event.KeysChanged, 1)
		close(hup)
		time.Sleep(time.Minute)
	})
}

// The hook runs in the beginning and after each change of the active key, until it has
// succeeded.
func TestActivated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		var calls atomic.Int32
		var fails atomic.Bool
		i := run(t, m, s, func(o *keys.Options) {
			rarely(o)
			o.Activated = func(context.Context) error {
				calls.Add(1)
				if fails.Load() {
					return errors.New("users: no answer")
				}
				return nil
			}
		})
		time.Sleep(5 * time.Second)
		if calls.Load() != 1 {
			t.Fatalf("called %d times in the beginning", calls.Load())
		}
		fails.Store(true)
		if _, err := rotator(m, s).Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		i.log.count(t, event.RotationFailed, 1)
		fails.Store(false)
		time.Sleep(time.Minute)
		n := calls.Load()
		if n < 10 || n > 30 {
			t.Errorf("called %d times in ten minutes", n)
		}
		time.Sleep(10 * time.Minute)
		if calls.Load() != n {
			t.Error("called though nothing has changed")
		}
	})
}

// Options that cannot be are refused, all at once.
func TestOptions(t *testing.T) {
	_, err := keys.New(keys.Options{Rotation: time.Hour, Interval: -1})
	if err == nil || strings.Count(err.Error(), "\n") < 3 {
		t.Errorf("%v", err)
	}
	ring, _ := keyring.New(keyring.Generate())
	t.Setenv("KEYS_TEST", "x")
	_, err = keys.New(keys.Options{Ring: ring, Source: keyring.Env("KEYS_TEST"), Rotation: time.Hour, Lifetime: time.Hour, Fleet: database().link()})
	if err == nil || !strings.Contains(err.Error(), "cannot be written") {
		t.Errorf("%v", err)
	}
}

// Run begins where nobody has, and goes on where that fails.
func TestRunBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, away := range []error{nil, errAway} {
			m, s := source(t, keyring.Generate()), database()
			ring, err := keyring.Load(t.Context(), m)
			must(t, err)
			l := s.link()
			k, err := keys.New(keys.Options{Ring: ring, Source: m, Fleet: l, Interval: time.Hour, Log: (&journal{}).logger()})
			must(t, err)
			if _, err := rotator(m, s).Rotate(t.Context()); err != nil {
				t.Fatal(err)
			}
			l.set(away)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() {
				defer close(done)
				k.Run(ctx)
			}()
			time.Sleep(time.Second)
			if ring.Active() != m.in(t, keyring.Active)[0] {
				t.Errorf("%v signs", ring.Active())
			}
			l.set(nil)
			time.Sleep(2 * time.Second)
			must(t, rotator(m, s).Await(t.Context()))
			cancel()
			<-done
		}
	})
}
