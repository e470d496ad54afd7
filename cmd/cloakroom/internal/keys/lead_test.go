package keys_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keys"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

const (
	day      = 24 * time.Hour
	rotation = 90 * day
	most     = 3 * time.Minute // by which a rotation that is due is over
)

// rotates makes the instance one that rotates.
func rotates(o *keys.Options) { o.Rotation, o.Interval = rotation, 5*time.Second }

// told returns the lines of an event at all instances.
func told(name string, all ...*instance) (lines []string) {
	for _, i := range all {
		lines = append(lines, i.log.of(name)...)
	}
	return lines
}

// 90 days after the key was made the service rotates by itself: one instance does it,
// no cookie is refused, nothing else happens, and the old key goes when it is over.
func TestASVS_13_3_4_RotationBySchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := keyring.Generate()
		m, s := source(t, first), database()
		time.Sleep(rotation - 10*time.Minute) // the service is started anew each week
		brief := func(o *keys.Options) { rotates(o); o.Lifetime = 10 * time.Minute }
		a, b, c := run(t, m, s, brief), run(t, m, s, brief), run(t, m, s, brief)
		time.Sleep(9 * time.Minute)
		if m.written() != 0 || a.ring.Active() != first.ID() {
			t.Fatal("it rotates before its time")
		}
		old := signed(a.ring)
		time.Sleep(time.Minute + 30*time.Second)
		if len(m.in(t, keyring.Next)) != 1 || a.ring.Active() != first.ID() {
			t.Fatalf("%v: a key signs before it has been next for a minute", m.keys(t))
		}
		time.Sleep(most)
		next := m.in(t, keyring.Active)[0]
		for _, i := range []*instance{a, b, c} {
			if next == first.ID() || i.ring.Active() != next || !old(i.ring) {
				t.Errorf("%v signs", i.ring.Active())
			}
			i.log.count(t, event.KeysChanged, 2)
		}
		leaders := 0
		for _, i := range []*instance{a, b, c} {
			if i.Status().Leads {
				leaders++
			}
		}
		if leaders != 1 {
			t.Errorf("%d lead", leaders)
		}
		time.Sleep(10*time.Minute + keys.Grace + 5*time.Minute + time.Minute)
		if got := m.keys(t); len(got) != 1 || got[0].ID() != next || m.written() != 3 {
			t.Errorf("%v after %d writes", got, m.written())
		}
		for name, want := range map[string]int{event.KeyAnnounced: 1, event.KeyActivated: 1, event.KeyPruned: 1, event.RotationFailed: 0} {
			lines := told(name, a, b, c)
			if len(lines) != want || want == 1 && !strings.Contains(lines[0], "actor=rotation") {
				t.Errorf("%q", lines)
			}
		}
	})
}

// A key of which nobody knows when it was made, a bare secret, is due.
func TestBareSecretIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var secret [32]byte
		rand.Read(secret[:])
		m := &memory{text: fmt.Appendf(nil, "%x\n", secret)}
		s := database()
		a := run(t, m, s, rotates)
		before := a.ring.Active()
		time.Sleep(most)
		if a.ring.Active() == before || m.in(t, keyring.Retiring)[0] != before {
			t.Errorf("%v", m.keys(t))
		}
	})
}

// An instance that does not follow keeps the key from signing, for as long as it runs;
// the reason is told once.
func TestScheduleWaitsForEveryInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := keyring.Generate()
		m, s := source(t, first), database()
		a := run(t, m, s, rotates)
		b := run(t, m, s, func(o *keys.Options) { o.Interval = time.Minute; o.Instance.ID = "web-2" })
		b.src.set(errAway)
		a.stop()
		time.Sleep(10 * time.Minute) // b rotates nothing
		a = run(t, m, s, func(o *keys.Options) { rotates(o); o.Rotation = 10 * time.Minute })
		time.Sleep(20 * time.Minute)
		if m.in(t, keyring.Active)[0] != first.ID() || len(m.in(t, keyring.Next)) != 1 {
			t.Fatalf("%v", m.keys(t))
		}
		a.log.count(t, event.RotationFailed, 1)
		if line := a.log.of(event.RotationFailed)[0]; !strings.Contains(line, "web-2 has "+first.ID().String()) {
			t.Error(line)
		}
		b.src.set(nil)
		time.Sleep(most)
		if a.ring.Active() == first.ID() || b.ring.Active() != a.ring.Active() {
			t.Error("it did not go on")
		}
		a.log.count(t, event.RotationFailed, 1)
	})
}

// An instance that cannot reach the database looks at the source all the same, and the
// key becomes active when it has.
func TestScheduleGivesTheSilentTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		time.Sleep(rotation - 190*time.Second) // it is due right behind a look
		seldom := func(o *keys.Options) { rotates(o); o.Interval = 3 * time.Minute }
		b := run(t, m, s, seldom)
		time.Sleep(time.Second)
		b.link.set(errAway)
		time.Sleep(30 * time.Second) // its turns come later than the other's
		a := run(t, m, s, seldom)
		for first := a.ring.Active(); a.ring.Active() == first; time.Sleep(time.Second) {
			if !accepts(b.ring, a.ring) {
				t.Fatal("who cannot be seen is passed by")
			}
		}
		if !accepts(a.ring, b.ring) {
			t.Error("who cannot be seen is passed by")
		}
	})
}

// Who stops gives back the lease: the next one need not wait for its end.
func TestLeaderStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		a := run(t, m, s, rotates)
		time.Sleep(time.Second)
		b := run(t, m, s, rotates)
		time.Sleep(time.Second)
		a.stop()
		time.Sleep(11 * time.Second)
		if a.Status().Leads || !b.Status().Leads {
			t.Error("nobody leads")
		}
	})
}

// The leader dies after each step: another one goes on where it was. Nothing is done
// twice.
func TestLeaderDiesAfterEachStep(t *testing.T) {
	for name, at := range map[string]func(m *memory, t *testing.T) bool{
		"lease":    func(*memory, *testing.T) bool { return true },
		"announce": func(m *memory, t *testing.T) bool { return len(m.in(t, keyring.Next)) == 1 },
		"activate": func(m *memory, t *testing.T) bool { return len(m.in(t, keyring.Retiring)) == 1 },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, s := source(t, keyring.Generate()), database()
				time.Sleep(rotation)
				all := []*instance{run(t, m, s, rotates), run(t, m, s, rotates)}
				for !at(m, t) {
					time.Sleep(100 * time.Millisecond)
				}
				time.Sleep(time.Second)
				for _, i := range all {
					if i.Status().Leads {
						i.die()
					}
				}
				time.Sleep(most + 30*time.Second)
				if m.written() != 2 || len(m.in(t, keyring.Next)) != 0 {
					t.Errorf("%d writes, %v", m.written(), m.keys(t))
				}
				for _, i := range all {
					if i.Status().Leads && i.ring.Active() != m.in(t, keyring.Active)[0] {
						t.Errorf("%v signs", i.ring.Active())
					}
				}
			})
		})
	}
}

// The leader dies when it has made a key active and told nobody, and those that are left
// find it minutes later: they do not rotate once more.
func TestLeaderDiesBeforeItTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		time.Sleep(rotation)
		seldom := func(o *keys.Options) { rotates(o); o.Interval = 3 * time.Minute }
		a := run(t, m, s, seldom)
		time.Sleep(time.Minute)
		b := run(t, m, s, seldom)
		m.after = func() {
			a.link.set(errAway)
			m.after = nil
		}
		for m.written() < 2 {
			time.Sleep(time.Second)
		}
		a.die()
		time.Sleep(10 * time.Minute)
		if !b.Status().Leads || m.written() != 2 || len(m.in(t, keyring.Next)) != 0 {
			t.Errorf("%d writes, %v", m.written(), m.keys(t))
		}
	})
}

// A leader that is frozen right before it makes a key active, all having followed, does
// not when it wakes up: another one leads by then, and waits for one that has started
// meanwhile and reads other keys.
func TestFrozenLeaderDoesNotAct(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := keyring.Generate()
		m, s := source(t, first), database()
		elsewhere := source(t, first)
		time.Sleep(rotation)
		a := run(t, m, s, rotates)
		a.link.freezes()
		for a.link.at().IsZero() {
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute) // by now it is gone
		b := run(t, m, s, rotates)
		run(t, elsewhere, s, func(o *keys.Options) { o.Instance.ID = "elsewhere" })
		time.Sleep(5 * time.Minute)
		b.log.count(t, event.RotationFailed, 1)
		time.Sleep(10 * time.Minute)
		if !b.Status().Leads || a.Status().Leads || time.Since(a.link.at()) < time.Minute {
			t.Fatal("nothing was shown")
		}
		if m.in(t, keyring.Active)[0] != first.ID() || m.written() != 1 {
			t.Errorf("%v signs after %d writes, though one lacks the next key", m.in(t, keyring.Active), m.written())
		}
	})
}

// Two who both think that they lead harm nothing: the writes are compared.
func TestTwoLeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := source(t, keyring.Generate())
		s := database()
		time.Sleep(rotation)
		lax := func(o *keys.Options) { rotates(o); o.Fleet = anybody{s.link()} }
		a, b := run(t, m, s, lax), run(t, m, s, lax)
		time.Sleep(most)
		if !a.Status().Leads || !b.Status().Leads {
			t.Fatal("one leads: nothing was shown")
		}
		if m.written() != 2 || len(m.keys(t)) != 2 || a.ring.Active() != b.ring.Active() || len(told(event.KeyActivated, a, b)) != 1 {
			t.Errorf("%d writes, %v", m.written(), m.keys(t))
		}
	})
}

// What an operator has rolled back does not become active by itself, until the
// operator decides.
func TestScheduleRespectsARollback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := keyring.Generate()
		m, s := source(t, first), database()
		time.Sleep(rotation)
		a := run(t, m, s, rotates)
		time.Sleep(most)
		second := a.ring.Active()
		r := rotator(m, s)
		if id, err := r.Rollback(t.Context()); err != nil || id != first.ID() {
			t.Fatal(id, err)
		}
		time.Sleep(time.Hour - time.Minute)
		if a.ring.Active() != first.ID() || m.written() != 3 {
			t.Errorf("%v signs, after %d writes", a.ring.Active(), m.written())
		}
		a.log.count(t, event.RotationFailed, 1)
		if line := a.log.of(event.RotationFailed)[0]; !strings.Contains(line, second.String()+" was rolled back") {
			t.Error(line)
		}
		must(t, r.Retire(t.Context(), second))
		time.Sleep(most)
		if id := a.ring.Active(); id == first.ID() || id == second {
			t.Errorf("%v signs after the bad one is gone", id)
		}
	})
}

// A source that does not answer, a database that does not, a clock that is wrong: told
// once, and gone on with.
func TestScheduleAndFaults(t *testing.T) {
	for name, fault := range map[string]func(i *instance, on bool){
		"source": func(i *instance, on bool) { i.memory().set(away(on)) },
		"clock": func(i *instance, on bool) {
			i.link.own.Lock()
			defer i.link.own.Unlock()
			i.link.skew = 0
			if on {
				i.link.skew = day
			}
		},
		"database": func(i *instance, on bool) { i.link.set(away(on)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, s := source(t, keyring.Generate()), database()
				time.Sleep(rotation - time.Minute)
				i := run(t, m, s, rotates)
				before := i.ring.Active()
				fault(i, true)
				time.Sleep(30 * time.Minute)
				if m.written() != 0 || i.ring.Active() != before {
					t.Errorf("%d writes", m.written())
				}
				want := 1
				if name == "database" {
					want = 0 // it does not lead
				}
				i.log.count(t, event.RotationFailed, want)
				fault(i, false)
				time.Sleep(most)
				if i.ring.Active() == before {
					t.Error("it did not go on")
				}
				i.log.count(t, event.RotationFailed, want)
			})
		})
	}
}

func away(on bool) error {
	if on {
		return errors.New("no route to host")
	}
	return nil
}
