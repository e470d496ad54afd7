package keys_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keys"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// A key that is not the next one, or is not any more, does not become active, nor does
// another one in its place, which its caller has not thought of. Of several the oldest
// is next, in whatever order they stand.
func TestPromise10_OnlyTheNextKeyBecomesActive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		older := keyring.Generate().AsNext()
		time.Sleep(time.Minute)
		younger, gone := keyring.Generate().AsNext(), keyring.Generate().AsRetiring(time.Now().Add(time.Hour))
		for _, next := range [][]keyring.Key{{older, younger}, {younger, older}} {
			m, s := source(t, append(next, keyring.Generate(), gone)...), database()
			r := rotator(m, s)
			for _, id := range []keyring.KeyID{younger.ID(), gone.ID(), {1}, {}} {
				if err := r.Activate(t.Context(), id); err == nil || !strings.Contains(err.Error(), "is not the next key any more") || m.written() != 0 {
					t.Errorf("%v: %v, %d writes", id, err, m.written())
				}
			}
			if id, err := r.Announce(t.Context()); err != nil || id != older.ID() || m.written() != 0 {
				t.Errorf("%v, %v, want %v, which is next already", id, err, older.ID())
			}
			must(t, r.Activate(t.Context(), older.ID()))
			if active := m.in(t, keyring.Active)[0]; active != older.ID() {
				t.Errorf("%v signs, want %v", active, older.ID())
			}
		}
	})
}

// Where the key signs already nobody is asked, and nothing is in the way; a source that
// cannot be read is an error at once, as none of the instances can help.
func TestActivateAsksNobodyInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		active := keyring.Generate()
		m, l := source(t, active), database().link()
		l.set(errors.New("no route to host"))
		r := &keys.Rotator{Source: m, Fleet: l, Lifetime: time.Hour, Log: (&journal{}).logger()}
		begun := time.Now()
		must(t, r.Activate(t.Context(), active.ID()))
		m.set(errAway)
		if err := r.Activate(t.Context(), active.ID()); !errors.Is(err, errAway) {
			t.Errorf("%v, want what the source says", err)
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("it took %v", took)
		}
	})
}

// Two activate the same key at once: both are told that it signs, and it is written and
// logged once.
func TestTwoActivateTheSameKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate(), keyring.Generate().AsNext()), database()
		next := m.in(t, keyring.Next)[0]
		log := &journal{}
		r := rotator(m, s)
		r.Log = log.logger()
		m.before = func() {
			m.before = nil
			must(t, rotator(m, s).Activate(t.Context(), next))
		}
		must(t, r.Activate(t.Context(), next))
		log.count(t, event.KeyActivated, 0)
		if m.written() != 1 || m.in(t, keyring.Active)[0] != next {
			t.Errorf("%d writes, %v", m.written(), m.keys(t))
		}
	})
}

// What could not be written has not happened, in the log either, where an actor that is
// not named is the console.
func TestOnlyWhatIsWrittenIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate(), keyring.Generate().AsNext()), database()
		next := m.in(t, keyring.Next)[0]
		log := &journal{}
		r := rotator(m, s)
		r.Log = log.logger()
		m.before = func() { m.set(errAway) }
		if err := r.Activate(t.Context(), next); !errors.Is(err, errAway) {
			t.Errorf("%v", err)
		}
		log.count(t, event.KeyActivated, 0)
		m.before = nil
		m.set(nil)
		must(t, r.Activate(t.Context(), next))
		if lines := log.of(event.KeyActivated); len(lines) != 1 || lines[0] != event.KeyActivated+" actor=console key="+next.String() {
			t.Errorf("%q", lines)
		}
	})
}

// How long a session lives, says the service; what no session lives for, somebody else
// has written there, and a key that leaks later would be accepted for years.
func TestAttack_A43_AnAbsurdLifetimeIsNobodys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for note, want := range map[string]time.Duration{
			"13h": 13 * time.Hour, "17568h": 17568 * time.Hour, // two leap years
			"17568h0m1s": lifetime, "11h": lifetime, "-99999h": lifetime, "for ever": lifetime, "": lifetime,
		} {
			m, s := source(t, keyring.Generate(), keyring.Generate().AsNext()), database()
			s.notes["lifetime"] = note
			must(t, rotator(m, s).Activate(t.Context(), m.in(t, keyring.Next)[0]))
			for _, k := range m.keys(t) {
				if left := time.Until(k.Until()); k.State() == keyring.Retiring && (left-want-keys.Grace).Abs() > 10*time.Second {
					t.Errorf("%q: the old key is accepted for %v, want %v and the grace", note, left, want)
				}
			}
		}
	})
}

// A leaked key ends by the clock that is behind. Where the database's is ahead, or does
// not answer, that is this machine's.
func TestAttack_A43_ALeakedKeyEndsByTheClockThatIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, set := range map[string]func(l *link){
			"ahead":  func(l *link) { l.skew = time.Hour },
			"behind": func(l *link) { l.skew = -time.Hour },
			"away":   func(l *link) { l.set(errors.New("no route to host")) },
		} {
			leaked := keyring.Generate()
			m, l := source(t, leaked), database().link()
			set(l)
			r := &keys.Rotator{Source: m, Fleet: l, Wait: time.Second, Log: (&journal{}).logger()}
			begun := time.Now()
			if err := r.Retire(t.Context(), leaked.ID()); (err == nil) != (name != "away") {
				t.Errorf("%s: %v", name, err)
			}
			want := begun
			if name == "behind" {
				want = begun.Add(-time.Hour)
			}
			for _, k := range m.keys(t) {
				if k.ID() == leaked.ID() && (k.State() != keyring.Retiring || k.Until().After(want) || want.Sub(k.Until()) > 10*time.Minute) {
					t.Errorf("%s: the key is accepted until %v, and it is %v", name, k.Until(), begun)
				}
			}
		}
	})
}

// A key that was rolled back once, and made active again, can be rolled back again,
// while yet another one is next.
func TestRollbackAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := keyring.Generate()
		m, s := source(t, first), database()
		r := rotator(m, s)
		second, err := r.Rotate(t.Context())
		must(t, err)
		for range 2 {
			if id, err := r.Rollback(t.Context()); err != nil || id != first.ID() {
				t.Fatalf("%v, %v, want %v", id, err, first.ID())
			}
			if id, err := r.Rotate(t.Context()); err != nil || id != second {
				t.Fatalf("%v, %v, want %v", id, err, second)
			}
		}
		if _, err := r.Announce(t.Context()); err != nil {
			t.Fatal(err)
		}
		if id, err := r.Rollback(t.Context()); err != nil || id != first.ID() {
			t.Errorf("%v, %v, want %v though another key is next", id, err, first.ID())
		}
	})
}

// The note on what was rolled back does not outgrow what a note may hold: of more keys
// than a ring has, the last ones are in it.
func TestTheNoteOnRollbacksIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		second := keyring.Generate()
		m, s := source(t, second, keyring.Generate().AsRetiring(time.Now().Add(time.Hour))), database()
		var ids []string
		for n := range 5 * keyring.MaxKeys {
			ids = append(ids, fmt.Sprintf("%08x", n))
		}
		s.notes["rolled back"] = strings.Join(ids, " ")
		if _, err := rotator(m, s).Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := append(ids[len(ids)-keyring.MaxKeys+1:], second.ID().String())
		if got := strings.Fields(s.notes["rolled back"]); !slices.Equal(got, want) {
			t.Errorf("%d keys, %v", len(got), got)
		}
	})
}

// Only of a key that is over it is asked whether something needs it, as that may take
// long; and the instances look at once where one is gone, and only there.
func TestPruneAsksNoMoreThanItMust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		over, lives := keyring.Generate().AsRetiring(time.Now().Add(-time.Hour)), keyring.Generate().AsRetiring(time.Now().Add(time.Hour))
		m, s := source(t, keyring.Generate(), over, lives, keyring.Generate().AsNext()), database()
		var asked []keyring.KeyID
		r := rotator(m, s)
		r.Needed = func(_ context.Context, id keyring.KeyID) (string, error) {
			asked = append(asked, id)
			return "", nil
		}
		for range 2 {
			if _, err := r.Prune(t.Context()); err != nil {
				t.Fatal(err)
			}
			if len(asked) != 1 || asked[0] != over.ID() || s.calls != 1 || len(m.keys(t)) != 3 {
				t.Errorf("asked for %v, called %d times, %d keys", asked, s.calls, len(m.keys(t)))
			}
		}
	})
}

// Who waits for the instances goes on where the database is away for a moment; where it
// stays away, that is what is wrong, and no instance lags.
func TestAwaitOutlivesAFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		i := run(t, m, s, nil)
		away := errors.New("no route to host")
		l := s.link()
		r := &keys.Rotator{Source: m, Fleet: l, Log: i.log.logger()}
		l.set(away)
		time.AfterFunc(3*time.Second, func() { l.set(nil) })
		must(t, r.Await(t.Context()))
		l.set(away)
		begun := time.Now()
		err := r.Await(t.Context())
		if _, lags := errors.AsType[*keys.LagError](err); !errors.Is(err, away) || lags || time.Since(begun) < keys.DefaultWait {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
	})
}

// An instance that has no keys yet, and none that it listens at, is named as well.
func TestWhoHasNoKeysYetIsNamed(t *testing.T) {
	lag := &keys.LagError{Behind: []fleet.Instance{{ID: "web-2"}, {ID: "web-3", Addr: "10.0.0.3:8080", Keys: "ab12cd34 active"}}}
	if text := lag.Error(); !strings.Contains(text, ": web-2 has none yet; web-3 (10.0.0.3:8080) has ab12cd34 active:") {
		t.Error(text)
	}
	// Gone silent before it said what it has: nobody knows what it accepts.
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		s.instances["begun"] = fleet.Instance{ID: "begun", Seen: time.Now().Add(-time.Minute)}
		err := rotator(m, s).Ended(t.Context(), m.in(t, keyring.Active)[0])
		if silent, ok := errors.AsType[*keys.SilentError](err); !ok || silent.Silent[0].ID != "begun" {
			t.Errorf("%v", err)
		}
	})
}

// Where no instance is known of, as with a key file of one machine, every step goes all
// the same.
func TestStepsWithoutAFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := keyring.Generate()
		m := source(t, first)
		r := &keys.Rotator{Source: m, Lifetime: time.Hour, Log: (&journal{}).logger()}
		second, err := r.Rotate(t.Context())
		must(t, err)
		if id, err := r.Rollback(t.Context()); err != nil || id != first.ID() {
			t.Fatalf("%v, %v", id, err)
		}
		if id, err := r.Rotate(t.Context()); err != nil || id != second {
			t.Fatalf("%v, %v", id, err)
		}
		must(t, r.Retire(t.Context(), second))
		time.Sleep(2 * time.Hour)
		if gone, err := r.Prune(t.Context()); err != nil || len(gone) != 2 || len(m.keys(t)) != 1 {
			t.Errorf("%v, %v, and left are %v", gone, err, m.keys(t))
		}
		i := run(t, m, nil, nil)
		i.Leave(t.Context())
	})
}

// Two who roll back at once go back by one key, and not by two.
func TestTwoRollBackAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zero := keyring.Generate().AsRetiring(time.Now().Add(24 * time.Hour))
		time.Sleep(time.Minute)
		first := keyring.Generate()
		m, s := source(t, first, zero), database()
		r := rotator(m, s)
		_, err := r.Rotate(t.Context())
		must(t, err)
		m.before = func() {
			m.before = nil
			if id, err := rotator(m, s).Rollback(t.Context()); err != nil || id != first.ID() {
				t.Errorf("the other: %v, %v", id, err)
			}
		}
		if id, err := r.Rollback(t.Context()); err != nil || id != first.ID() {
			t.Errorf("%v, %v, want %v", id, err, first.ID())
		}
	})
}
