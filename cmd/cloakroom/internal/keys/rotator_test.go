package keys_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keys"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// A command that was told of shorter sessions than the service has goes by the service:
// it would sign people out.
func TestASVS_13_3_4_TheServiceSaysHowLongSessionsLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		run(t, m, s, rarely)
		r := rotator(m, s)
		r.Lifetime = time.Hour
		if _, err := r.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, k := range m.keys(t) {
			if k.State() == keyring.Retiring && time.Until(k.Until()) < lifetime {
				t.Errorf("the old key is accepted for %v, and sessions live for %v", time.Until(k.Until()), lifetime)
			}
		}
	})
}

// All steps of a rotation, in a few seconds: what was signed before is accepted until
// its last session is over.
func TestASVS_13_3_4_Rotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := keyring.Generate()
		m, s := source(t, first), database()
		a, b := run(t, m, s, rarely), run(t, m, s, rarely)
		old := signed(a.ring)
		log := &journal{}
		r := rotator(m, s)
		r.Log, r.Actor, r.Lifetime = log.logger(), "console", 13*time.Hour
		time.Sleep(time.Minute)
		begun := time.Now()
		id, err := r.Rotate(t.Context())
		must(t, err)
		if took := time.Since(begun); took > 6*time.Second {
			t.Errorf("it took %v", took)
		}
		for _, i := range []*instance{a, b} {
			if i.ring.Active() != id || !old(i.ring) {
				t.Errorf("%v signs, old accepted %t", i.ring.Active(), old(i.ring))
			}
		}
		if list := m.keys(t); list[0].Until().Sub(time.Now().Add(r.Lifetime+keys.Grace)).Abs() > 10*time.Second {
			t.Errorf("the old one is accepted until %v", list[0].Until())
		}
		log.count(t, event.KeyAnnounced, 1)
		log.count(t, event.KeyActivated, 1)
		if line := log.of(event.KeyActivated)[0]; line != event.KeyActivated+" actor=console key="+id.String() {
			t.Error(line)
		}
		time.Sleep(r.Lifetime + keys.Grace + time.Second)
		if old(a.ring) || old(b.ring) {
			t.Error("the old one is accepted for longer than a session lives")
		}
		if gone, err := r.Prune(t.Context()); err != nil || len(gone) != 0 {
			t.Errorf("%v, %v, want it to stay for clocks that are behind", gone, err)
		}
		time.Sleep(5 * time.Minute)
		if gone, err := r.Prune(t.Context()); err != nil || len(gone) != 1 || gone[0] != first.ID() || len(m.keys(t)) != 1 {
			t.Errorf("%v, %v", gone, err)
		}
		log.count(t, event.KeyPruned, 1)
		if gone, err := r.Prune(t.Context()); err != nil || len(gone) != 0 {
			t.Errorf("%v, %v at the second time", gone, err)
		}
	})
}

// Whoever does not follow is named, and no key becomes active that it lacks. Once it is
// gone, or has followed, the same again goes on where it was.
func TestRotationWaitsForEveryInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		a := run(t, m, s, nil)
		b := run(t, m, s, func(o *keys.Options) { o.Instance.ID, o.Instance.Addr = "web-2", "10.0.0.2:8080" })
		b.src.set(errAway)
		r := rotator(m, s)
		_, err := r.Rotate(t.Context())
		lag, ok := errors.AsType[*keys.LagError](err)
		if !ok || len(lag.Behind) != 1 || lag.Behind[0].ID != "web-2" {
			t.Fatalf("%v", err)
		}
		for _, want := range []string{"web-2 (10.0.0.2:8080) has " + b.ring.Active().String() + " active, because: " + errAway.Error(), lag.Want, "30s"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q lacks %q", err, want)
			}
		}
		if a.ring.Active() != b.ring.Active() || len(m.in(t, keyring.Next)) != 1 {
			t.Error("the key became active")
		}
		next := m.in(t, keyring.Next)[0]
		b.src.set(nil)
		if id, err := r.Rotate(t.Context()); err != nil || id != next {
			t.Errorf("%v, %v, want it to go on with %v", id, err, next)
		}
		// One that dies without a word is waited for until it counts as gone.
		b.die()
		r.Wait, r.Interval = 40*time.Second, time.Second
		if _, err := r.Rotate(t.Context()); err != nil {
			t.Error(err)
		}
		// Nobody runs.
		a.stop()
		begun := time.Now()
		if _, err := r.Rotate(t.Context()); err != nil || time.Since(begun) > 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
	})
}

// An instance that cannot reach the database is not seen to follow: it is given the time
// in which it does anyway.
func TestRotationGivesTheSilentTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		a := run(t, m, s, nil)
		b := run(t, m, s, func(o *keys.Options) { o.Interval = time.Minute })
		b.link.set(errAway)
		time.Sleep(70 * time.Second) // it has just looked
		done := make(chan error)
		r := rotator(m, s)
		r.Interval = time.Minute
		go func() {
			_, err := r.Rotate(t.Context())
			done <- err
		}()
		for end := time.After(3 * time.Minute); ; {
			if !accepts(a.ring, b.ring) || !accepts(b.ring, a.ring) {
				t.Fatal("it was passed by")
			}
			select {
			case err := <-done:
				must(t, err)
			case <-time.After(time.Second):
				continue
			case <-end:
			}
			break
		}
		if a.ring.Active() != m.in(t, keyring.Active)[0] || !accepts(a.ring, b.ring) {
			t.Error("it was passed by")
		}
	})
}

// What an instance said of itself before is no proof of what it does now, even where it
// is what is wanted.
func TestAwaitBelievesNoOldReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		i := run(t, m, s, nil)
		time.Sleep(2 * time.Second)
		i.link.set(errAway) // it has said that it has one key
		next, err := rotator(m, s).Announce(t.Context())
		must(t, err)
		time.Sleep(2 * time.Second)
		i.src.set(errAway) // it has two
		_, err = keyring.Edit(t.Context(), m, func(list []keyring.Key) ([]keyring.Key, error) { return list[:1], nil })
		must(t, err)
		if !i.ring.Has(next) {
			t.Fatal("nothing is shown")
		}
		r := rotator(m, s)
		r.Wait = 5 * time.Second
		if err := r.Await(t.Context()); err == nil {
			t.Error("an old report was believed")
		}
	})
}

// An instance that is about to start has read its keys before the new one was there:
// it is waited for, or finds it.
func TestRotationWaitsForWhoStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		run(t, m, s, nil)
		ring, err := keyring.Load(t.Context(), m)
		must(t, err)
		k, err := keys.New(keys.Options{Ring: ring, Source: m, Fleet: s.link(), Interval: time.Hour, Log: (&journal{}).logger()})
		must(t, err)
		r := rotator(m, s)
		if _, err := r.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		must(t, k.Begin(t.Context()))
		if ring.Active() != m.in(t, keyring.Active)[0] {
			t.Error("it begins with keys that are old")
		}
		// It is stuck behind Begin: that it reported is enough to be waited for.
		r.Wait = 3 * time.Second
		if _, err := r.Rotate(t.Context()); err == nil {
			t.Error("nobody waited for the one that has begun")
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go k.Run(ctx)
		id, err := r.Rotate(t.Context())
		if err != nil || ring.Active() != id {
			t.Errorf("%v signs, %v", ring.Active(), err)
		}
	})
}

// between is a source at which something happens once it has answered.
type between struct {
	*memory
	then func()
}

func (b *between) Read(ctx context.Context) ([]byte, error) {
	text, err := b.memory.Read(ctx)
	b.then()
	return text, err
}

// An instance that has just read its keys has reported before: nobody passes it by.
func TestRotationSeesWhoHasJustRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		ring, err := keyring.Load(t.Context(), m)
		must(t, err)
		src := &between{m, func() {
			r := rotator(m, s)
			r.Wait = 3 * time.Second
			if _, err := r.Rotate(t.Context()); err == nil {
				t.Error("nobody waited for the one that has read")
			}
		}}
		k, err := keys.New(keys.Options{Ring: ring, Source: src, Fleet: s.link(), Log: (&journal{}).logger()})
		must(t, err)
		must(t, k.Begin(t.Context()))
	})
}

// After a rollback the key before signs, what either signed goes on, and nobody is
// waited for. The same again goes no further back.
func TestRollback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zero, first := keyring.Generate().AsRetiring(time.Now().Add(time.Hour)), keyring.Generate()
		m, s := source(t, first, zero), database()
		a, b := run(t, m, s, nil), run(t, m, s, nil)
		r := rotator(m, s)
		second, err := r.Rotate(t.Context())
		must(t, err)
		new := signed(a.ring)
		b.src.set(errAway)
		for range 2 {
			if id, err := r.Rollback(t.Context()); err != nil || id != first.ID() {
				t.Fatalf("%v, %v, want %v", id, err, first.ID())
			}
			time.Sleep(2 * time.Second)
			if a.ring.Active() != first.ID() || b.ring.Active() != second || !accepts(a.ring, b.ring) || !accepts(b.ring, a.ring) {
				t.Errorf("%v and %v sign", a.ring.Active(), b.ring.Active())
			}
		}
		b.src.set(nil)
		time.Sleep(2 * time.Second)
		if !new(a.ring) || !new(b.ring) {
			t.Error("who signed in under the new key is signed out")
		}
		if id, err := r.Rotate(t.Context()); err != nil || id != second {
			t.Errorf("%v, %v, want %v again", id, err, second)
		}
	})
}

// A key that ends within a minute is none to go back to.
func TestRollbackToNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate(), keyring.Generate().AsRetiring(time.Now().Add(30*time.Second))), database()
		if id, err := rotator(m, s).Rollback(t.Context()); err == nil {
			t.Errorf("back to %v", id)
		}
	})
}

// The day a key leaks: when Retire returns, nobody accepts it, and everybody goes on
// with one key that all had before any signed with it.
func TestRetireEndsALeakedKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		a, b := run(t, m, s, rarely), run(t, m, s, rarely)
		leaked, id := signed(a.ring), a.ring.Active()
		log := &journal{}
		r := rotator(m, s)
		r.Log = log.logger()
		begun := time.Now()
		must(t, r.Retire(t.Context(), id))
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		if leaked(a.ring) || leaked(b.ring) || !accepts(a.ring, b.ring) || !accepts(b.ring, a.ring) {
			t.Error("it is accepted, or the others are not")
		}
		if !a.ring.Has(id) {
			t.Error("the key is forgotten: a ring without it starts nowhere")
		}
		must(t, r.Retire(t.Context(), id))
		log.count(t, event.KeyRetired, 1)
		if n := m.written(); n != 2 {
			t.Errorf("%d writes", n)
		}
		if err := r.Retire(t.Context(), keyring.KeyID{1}); err == nil {
			t.Error("a key that nobody has was retired")
		}
		// A key that is retiring anyway ends as well.
		if _, err := r.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		old := m.in(t, keyring.Retiring)[1]
		must(t, r.Retire(t.Context(), old))
		for _, k := range m.keys(t) {
			if k.ID() == old && time.Since(k.Until()) < 5*time.Minute {
				t.Errorf("it is accepted until %v by a clock that is behind", k.Until())
			}
		}
	})
}

// With an instance that does not answer a leaked key is retired all the same, soon, and
// the error says who may accept it.
func TestRetireDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		a, b := run(t, m, s, nil), run(t, m, s, nil)
		leaked, id := signed(a.ring), a.ring.Active()
		b.src.set(errAway)
		var err error
		go func() { err = rotator(m, s).Retire(t.Context(), id) }()
		time.Sleep(7 * time.Second)
		if leaked(a.ring) {
			t.Error("it is accepted still where it could be ended")
		}
		time.Sleep(time.Minute)
		if lag, ok := errors.AsType[*keys.LagError](err); !ok || lag.Behind[0].ID != b.ID() {
			t.Errorf("%v", err)
		}
		// The database is away: the key ends in the source, where all find it in turn.
		l := s.link()
		l.set(errors.New("no route to host"))
		id = a.ring.Active()
		leaked = signed(a.ring)
		r := &keys.Rotator{Source: m, Fleet: l, Lifetime: time.Hour, Log: (&journal{}).logger(), Wait: time.Second}
		if err := r.Retire(t.Context(), id); err == nil {
			t.Error("it says that nobody accepts the key, and cannot know")
		}
		time.Sleep(2 * time.Second)
		if leaked(a.ring) {
			t.Error("the key is accepted")
		}
	})
}

// A key that something depends on is not pruned.
func TestPruneKeepsWhatIsNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		past := time.Now().Add(-time.Hour)
		a, b, c := keyring.Generate().AsRetiring(past), keyring.Generate().AsRetiring(past), keyring.Generate().AsRetiring(past)
		m, s := source(t, keyring.Generate(), a, b, c), database()
		r := rotator(m, s)
		r.Needed = func(_ context.Context, id keyring.KeyID) (string, error) {
			switch id {
			case a.ID():
				return "a hash of a password is sealed under it", nil
			case b.ID():
				return "", errors.New("users: no answer")
			}
			return "", nil
		}
		gone, err := r.Prune(t.Context())
		if len(gone) != 1 || gone[0] != c.ID() || err == nil || len(m.keys(t)) != 3 {
			t.Errorf("%v, %v", gone, err)
		}
	})
}

// By a clock that is wrong nothing is done: a key would be dropped that sessions need.
func TestAttack_A43_ClockOfTheMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := keyring.Generate().AsRetiring(time.Now().Add(-time.Hour))
		m, s := source(t, keyring.Generate(), old, keyring.Generate().AsNext()), database()
		for _, off := range []time.Duration{6 * time.Minute, -6 * time.Minute, 365 * 24 * time.Hour} {
			l := s.link()
			l.skew = off
			r := &keys.Rotator{Source: m, Fleet: l, Lifetime: time.Hour, Log: (&journal{}).logger()}
			if _, err := r.Prune(t.Context()); err == nil || !strings.Contains(err.Error(), "clock") {
				t.Errorf("Prune: %v", err)
			}
			if err := r.Activate(t.Context(), m.in(t, keyring.Next)[0]); err == nil || !strings.Contains(err.Error(), "clock") {
				t.Errorf("Activate: %v", err)
			}
			if _, err := r.Rollback(t.Context()); err == nil || !strings.Contains(err.Error(), "clock") {
				t.Errorf("Rollback: %v", err)
			}
		}
		if m.written() != 0 {
			t.Errorf("%d writes", m.written())
		}
		// A key that leaks is retired all the same, by whichever clock is behind.
		l := s.link()
		l.skew = -time.Hour
		r := &keys.Rotator{Source: m, Fleet: l, Lifetime: time.Hour, Log: (&journal{}).logger()}
		id := m.in(t, keyring.Active)[0]
		must(t, r.Retire(t.Context(), id))
		for _, k := range m.keys(t) {
			if k.ID() == id && time.Since(k.Until()) < time.Hour {
				t.Errorf("it lives until %v", k.Until())
			}
		}
	})
}

// Somebody else writes between reading and writing: nothing is lost, and nothing
// becomes active that was not followed.
func TestOthersWriteMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		a, b := run(t, m, s, nil), run(t, m, s, nil)
		r := rotator(m, s)
		next, err := r.Announce(t.Context())
		must(t, err)
		must(t, r.Await(t.Context()))
		var by keyring.KeyID
		m.before = func() {
			m.before = nil
			b.src.set(errAway)
			// An hour-old accident: somebody adds a key of their own by hand.
			_, err := keyring.Edit(t.Context(), m, func(list []keyring.Key) ([]keyring.Key, error) {
				k := keyring.Generate().AsRetiring(time.Now().Add(time.Hour))
				by = k.ID()
				return append(list, k), nil
			})
			must(t, err)
		}
		r.Wait = 5 * time.Second
		if err := r.Activate(t.Context(), next); err == nil || len(m.in(t, keyring.Next)) != 1 {
			t.Errorf("%v: it became active though one has not followed", err)
		}
		b.src.set(nil)
		must(t, r.Activate(t.Context(), next))
		must(t, r.Activate(t.Context(), next))
		must(t, r.Await(t.Context()))
		if a.ring.Active() != next || !a.ring.Has(by) || m.written() != 3 {
			t.Errorf("%v signs, after %d writes", a.ring.Active(), m.written())
		}
		if err := r.Activate(t.Context(), by); err == nil {
			t.Error("a key became active that is not next")
		}
	})
}
