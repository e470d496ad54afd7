package fleet_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// names lists who is live.
func names(t *testing.T, f *fleet.Fleet) string {
	t.Helper()
	list, err := f.Instances(t.Context())
	must(t, err)
	return ids(list)
}

func ids(list []fleet.Instance) string {
	var ids []string
	for _, i := range list {
		ids = append(ids, i.ID)
	}
	return strings.Join(ids, " ")
}

// shift sets when an instance was seen, as time does, or somebody who writes to the database.
func shift(t *testing.T, db database, id string, by time.Duration) {
	t.Helper()
	n, err := db.Exec(t.Context(), db.Dialect().SQL("UPDATE cloakroom_instances SET seen = {clock} + ? WHERE id = ?"), by.Milliseconds(), []byte(id))
	if n != 1 || err != nil {
		t.Fatal(n, err)
	}
}

func TestInstancesComeAndGo(t *testing.T) {
	each(t, func(t *testing.T, open func() (*fleet.Fleet, database)) {
		f, db := open()
		now := time.Now()
		want := fleet.Instance{
			ID: "one", Started: now.Add(-time.Hour).Truncate(time.Millisecond).UTC(),
			Version: "v1.2.3", Addr: "10.0.0.1:8080", URL: "https://example.com", Keys: "ab12cd34 active", Failing: "vault: away", Look: 7,
		}
		for id, by := range map[string]time.Duration{
			"one": -time.Hour, "two": -fleet.LiveFor + 3*time.Second, "gone": -fleet.LiveFor - time.Second, "old": -25 * time.Hour,
			"ahead": 5 * time.Second, "wrong": time.Minute, "far": 25 * time.Hour,
		} {
			must(t, f.Report(t.Context(), fleet.Instance{ID: id, Started: now}))
			shift(t, db, id, by)
		}
		must(t, f.Report(t.Context(), want))
		if got := names(t, f); got != "one ahead two" {
			t.Errorf("live: %q, want those seen within 30 s, and who is a little ahead", got)
		}
		if list, err := f.Silent(t.Context()); err != nil || ids(list) != "far gone wrong" {
			t.Errorf("silent: %v, %v, want those that went without a word, and who is far ahead", ids(list), err)
		}
		list, err := f.Instances(t.Context())
		must(t, err)
		if off := time.Since(list[0].Seen).Abs(); off > 10*time.Second {
			t.Errorf("seen %v off", off)
		}
		if want.Seen = list[0].Seen; list[0] != want {
			t.Errorf("%+v, want %+v", list[0], want)
		}
		if n, err := f.Sweep(t.Context()); n != 2 || err != nil {
			t.Errorf("swept %d, %v, want old and far", n, err)
		}
		must(t, f.Leave(t.Context(), "one"))
		must(t, f.Leave(t.Context(), "nobody"))
		if got := names(t, f); got != "ahead two" {
			t.Errorf("live: %q after one has left", got)
		}
	})
}

// An instance with a clock that is wrong is live while it reports, and one that never
// was is not for long.
func TestAttack_A43_OnlyTheClockOfTheDatabaseCounts(t *testing.T) {
	each(t, func(t *testing.T, open func() (*fleet.Fleet, database)) {
		f, db := open()
		now := time.Now()
		for id, by := range map[string]time.Duration{"slow": -40 * time.Second, "fast": 30 * 24 * time.Hour} {
			must(t, f.Report(t.Context(), fleet.Instance{ID: id, Started: now, Seen: time.Now().Add(by)}))
		}
		if got := names(t, f); got != "fast slow" {
			t.Errorf("live: %q", got)
		}
		shift(t, db, "fast", 50*time.Minute)
		if got := names(t, f); got != "slow" {
			t.Errorf("live: %q", got)
		}
	})
}

// Whatever somebody has put in its place, the next call is another number.
func TestAttack_A43_CallOverridesWhatIsNoGeneration(t *testing.T) {
	each(t, func(t *testing.T, open func() (*fleet.Fleet, database)) {
		f, db := open()
		_, err := f.Call(t.Context())
		must(t, err)
		values := []string{"9223372036854775807", "-9223372036854775808", "9223372036854775806"}
		if _, err := db.Exec(t.Context(), "UPDATE cloakroom_signals SET value = 'abc'"); err == nil {
			values = append(values, "'abc'")
		}
		for _, value := range values {
			if n, err := db.Exec(t.Context(), "UPDATE cloakroom_signals SET value = "+value); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			n, err := f.Call(t.Context())
			if off := time.Since(time.UnixMilli(n)).Abs(); err != nil || off > 10*time.Second {
				t.Errorf("%s: %d, %v", value, n, err)
			}
			if next, err := f.Call(t.Context()); err != nil || next <= n {
				t.Errorf("%s: %d, %v, and %d before", value, next, err, n)
			}
		}
	})
}

// What somebody has written there by hand, and SQLite takes, keeps no instance from
// starting, and the next call mends it.
func TestAttack_A43_WhatIsNoNumberIsGenerationZero(t *testing.T) {
	t.Parallel()
	f, db := open(t, 0, kinds[0].Address(t))
	_, err := f.Call(t.Context())
	must(t, err)
	for _, value := range []string{"'abc'", "''", "1.5", "1e30", "x'ff00'", "'9223372036854775808'"} {
		if n, err := db.Exec(t.Context(), "UPDATE cloakroom_signals SET value = "+value); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if n, err := f.Generation(t.Context()); n != 0 || err != nil {
			t.Errorf("%s: %d, %v", value, n, err)
		}
		called, err := f.Call(t.Context())
		must(t, err)
		if n, err := f.Generation(t.Context()); n != called || n == 0 || err != nil {
			t.Errorf("%s: %d, %v behind the call %d", value, n, err, called)
		}
	}
}

// Nor does what is written so into the row of an instance: where it is no time at which
// anything was seen, nobody knows what the row is.
func TestAttack_A43_WhatIsNoTimeIsSilent(t *testing.T) {
	t.Parallel()
	f, db := open(t, 0, kinds[0].Address(t))
	for _, id := range []string{"look", "started", "seen"} {
		must(t, f.Report(t.Context(), fleet.Instance{ID: id, Started: time.Now()}))
		if n, err := db.Exec(t.Context(), "UPDATE cloakroom_instances SET "+id+" = 'abc' WHERE id = ?", []byte(id)); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	if got := names(t, f); got != "look started" { // the first by number, as SQLite sorts
		t.Errorf("live: %q", got)
	}
	if list, err := f.Silent(t.Context()); err != nil || ids(list) != "seen" {
		t.Errorf("silent: %q, %v", ids(list), err)
	}
	if n, err := f.Sweep(t.Context()); n != 1 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
}

// No text makes a row large, and none is refused for its size.
func TestTextsAreBounded(t *testing.T) {
	each(t, func(t *testing.T, open func() (*fleet.Fleet, database)) {
		f, _ := open()
		long := strings.Repeat("é", 5000)
		must(t, f.Report(t.Context(), fleet.Instance{ID: "x", Version: long, Addr: long, URL: long, Keys: long, Failing: long}))
		list, err := f.Instances(t.Context())
		must(t, err)
		i := list[0]
		for _, s := range []string{i.Version, i.Addr, i.URL, i.Failing} {
			if s != strings.Repeat("é", 127) {
				t.Errorf("%d bytes", len(s))
			}
		}
		if len(i.Keys) != 4096 {
			t.Errorf("%d bytes of keys", len(i.Keys))
		}
		for _, id := range []string{"", strings.Repeat("x", 65)} {
			if err := f.Report(t.Context(), fleet.Instance{ID: id}); err == nil {
				t.Errorf("an id of %d bytes was taken", len(id))
			}
			if _, err := f.Lead(t.Context(), "task", id, time.Now(), time.Second); err == nil {
				t.Errorf("a holder of %d bytes was taken", len(id))
			}
		}
		if err := f.SetNote(t.Context(), "n", strings.Repeat("x", 4097)); err == nil {
			t.Error("a note of 4097 bytes was taken")
		}
		// The most keys that a ring holds are kept whole.
		keys := make([]keyring.KeyInfo, keyring.MaxKeys)
		for n := range keys {
			keys[n] = keyring.KeyInfo{ID: keyring.KeyID{byte(n)}, State: keyring.Retiring, Until: time.Now()}
		}
		must(t, f.Report(t.Context(), fleet.Instance{ID: "x", Keys: fleet.Describe(keys)}))
		if list, err = f.Instances(t.Context()); err != nil || list[0].Keys != fleet.Describe(keys) {
			t.Errorf("%+v, %v", list, err)
		}
	})
}

// Each call raises the number, whoever makes it, and across a restored backup.
func TestCallRaisesTheGeneration(t *testing.T) {
	each(t, func(t *testing.T, open func() (*fleet.Fleet, database)) {
		f, db := open()
		g, _ := open()
		if n, err := f.Generation(t.Context()); n != 0 || err != nil {
			t.Fatalf("%d, %v before the first call", n, err)
		}
		var (
			wg   sync.WaitGroup
			mu   sync.Mutex
			seen []int64
		)
		for n := range 8 {
			wg.Go(func() {
				before, err := f.Generation(t.Context())
				if err != nil {
					t.Error(err)
				}
				at, err := []*fleet.Fleet{f, g}[n%2].Call(t.Context())
				if err != nil || at <= before {
					t.Errorf("called at %d, before it was %d: %v", at, before, err)
				}
				mu.Lock()
				defer mu.Unlock()
				seen = append(seen, at)
			})
		}
		wg.Wait()
		last, err := f.Generation(t.Context())
		if err != nil || last != slices.Max(seen) {
			t.Errorf("%d, %v, want the highest of %d", last, err, seen)
		}
		// A backup of the first day is restored. Instances know a higher number.
		time.Sleep(10 * time.Millisecond)
		if n, err := db.Exec(t.Context(), "UPDATE cloakroom_signals SET value = 1"); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if n, err := g.Call(t.Context()); n <= last || err != nil {
			t.Errorf("%d, %v after the backup, before it was %d", n, err, last)
		}
	})
}

func TestNotesAndClock(t *testing.T) {
	each(t, func(t *testing.T, open func() (*fleet.Fleet, database)) {
		f, _ := open()
		g, _ := open()
		if s, err := f.Note(t.Context(), "look"); s != "" || err != nil {
			t.Errorf("%q, %v", s, err)
		}
		must(t, f.SetNote(t.Context(), "look", "here"))
		must(t, g.SetNote(t.Context(), "look", "there"))
		if s, err := f.Note(t.Context(), "look"); s != "there" || err != nil {
			t.Errorf("%q, %v", s, err)
		}
		at, err := f.Clock(t.Context())
		if off := time.Since(at).Abs(); err != nil || off > 10*time.Second {
			t.Errorf("the clock is %v off, %v", off, err)
		}
		// A note is in nobody's way.
		if n, err := f.Generation(t.Context()); n != 0 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	})
}

// Tables of a newer program are left alone, and a fleet opened by many at once works.
func TestSchema(t *testing.T) {
	each(t, func(t *testing.T, open func() (*fleet.Fleet, database)) {
		_, db := open()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if _, err := fleet.Open(t.Context(), db); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if _, err := db.Exec(t.Context(), "UPDATE cloakroom_schema SET version = 9"); err != nil {
			t.Fatal(err)
		}
		_, err := fleet.Open(t.Context(), db)
		if newer, ok := errors.AsType[*sqlstore.SchemaError](err); !ok || newer.Component != "fleet" {
			t.Errorf("got %v", err)
		}
	})
}

// Rings of the same keys have one description, and it shows no secret.
func TestDescribe(t *testing.T) {
	until := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	active, next, old := keyring.Generate(), keyring.Generate().AsNext(), keyring.Generate().AsRetiring(until)
	a, err := keyring.New(active, next, old)
	must(t, err)
	b, err := keyring.New(active, old, next)
	must(t, err)
	got := fleet.Describe(a.Keys())
	want := active.ID().String() + " active, " + next.ID().String() + " next, " + old.ID().String() + " retiring until 2027-01-02T03:04:05Z"
	if got != want || fleet.Describe(b.Keys()) != want {
		t.Errorf("%q and %q, want %q", got, fleet.Describe(b.Keys()), want)
	}
	if fleet.Describe(nil) != "" {
		t.Error("no keys have a description")
	}
}

// What an instance says of its keys is read as it was meant.
func TestAccepts(t *testing.T) {
	now := time.Now()
	active, next, retiring, over := keyring.Generate(), keyring.Generate(), keyring.Generate(), keyring.Generate()
	ring, err := keyring.New(active, next.AsNext(), retiring.AsRetiring(now.Add(time.Hour)), over.AsRetiring(now.Add(-time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	i := fleet.Instance{Keys: fleet.Describe(ring.Keys())}
	for _, c := range []struct {
		what string
		key  keyring.Key
		at   time.Duration
		want bool
	}{
		{"the active key", active, 0, true},
		{"the next key", next, 0, true},
		{"a retiring key", retiring, 0, true},
		{"a retiring key at its end", retiring, time.Hour, false},
		{"a key whose time has passed", over, 0, false},
		{"another key", keyring.Generate(), 0, false},
	} {
		if got := i.Accepts(c.key.ID(), now.Add(c.at)); got != c.want {
			t.Errorf("%s: %t", c.what, got)
		}
	}
	if (fleet.Instance{}).Accepts(active.ID(), now) {
		t.Error("an instance without keys accepts one")
	}
}
