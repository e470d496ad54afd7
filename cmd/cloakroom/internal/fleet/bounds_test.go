package fleet_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// writes is a database that counts what is written, and fails where it is to.
type writes struct {
	database
	n     int
	fails error
}

func (w *writes) Exec(ctx context.Context, query string, args ...any) (int, error) {
	w.n++
	if w.fails != nil {
		return 0, w.fails
	}
	return w.database.Exec(ctx, query, args...)
}

// counting opens a fleet of which every write is counted, in a database that needs no
// server.
func counting(t *testing.T) (*fleet.Fleet, *writes) {
	t.Helper()
	t.Parallel()
	w := &writes{database: kinds[0].OpenFor(t, kinds[0].Address(t))}
	f, err := fleet.Open(t.Context(), w)
	must(t, err)
	w.n = 0
	return f, w
}

// Names of tasks and of notes, holders and leases are as long as they may be, and no
// longer: each kind of database would do something else with the rest.
func TestNamesAndLeasesAreBounded(t *testing.T) {
	f, w := counting(t)
	name := func(n int) string { return strings.Repeat("n", n) }
	for _, c := range []struct {
		name, holder int
		lease        time.Duration
		ok           bool
	}{
		{1, 1, time.Millisecond, true},
		{64, 64, time.Hour, true},
		{0, 1, lease, false},
		{65, 1, lease, false},
		{2, 0, lease, false},
		{2, 65, lease, false},
		{2, 1, 0, false},
		{2, 1, -time.Second, false},
		{2, 1, time.Hour + time.Millisecond, false},
	} {
		until, err := f.Lead(t.Context(), name(c.name), name(c.holder), time.Now(), c.lease)
		if (err == nil) != c.ok || until.IsZero() == c.ok {
			t.Errorf("%+v: until %v, %v", c, until, err)
		}
	}
	if w.n != 2 {
		t.Errorf("%d writes, want one for each lease that was taken", w.n)
	}
	for n, ok := range map[int]bool{0: false, 1: true, 59: true, 60: false} {
		if err := f.SetNote(t.Context(), name(n), name(4096)); (err == nil) != ok {
			t.Errorf("a note under a name of %d bytes: %v", n, err)
		}
		if text, err := f.Note(t.Context(), name(n)); err != nil || (len(text) == 4096) != ok {
			t.Errorf("a note under a name of %d bytes: %d bytes, %v", n, len(text), err)
		}
	}
}

// As long as another one leads nothing is written, as every instance asks each ten
// seconds; nor where the database does not say who leads.
func TestWhoDoesNotLeadWritesNothing(t *testing.T) {
	f, w := counting(t)
	now := time.Now()
	leads(t, f, "a", now)
	before := w.n
	for range 3 {
		if leads(t, f, "b", now.Add(time.Second)) {
			t.Error("two lead")
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if until, err := f.Lead(ctx, task, "b", now, lease); err == nil || !until.IsZero() {
		t.Errorf("until %v, %v, and the database was not asked", until, err)
	}
	if w.n != before {
		t.Errorf("%d writes by who does not lead", w.n-before)
	}
}

// A call raises the number once, and one that the database refuses is not tried in
// another way.
func TestACallIsOneWrite(t *testing.T) {
	f, w := counting(t)
	_, err := f.Call(t.Context())
	must(t, err)
	// So far ahead the number rises by one, and not with the clock.
	ahead := time.Now().Add(time.Hour).UnixMilli()
	if n, err := w.Exec(t.Context(), "UPDATE cloakroom_signals SET value = ?", ahead); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	w.n = 0
	if n, err := f.Call(t.Context()); err != nil || n != ahead+1 || w.n != 1 {
		t.Errorf("%d, %v, want %d; %d writes", n, err, ahead+1, w.n)
	}
	w.n, w.fails = 0, errors.New("disk full")
	if n, err := f.Call(t.Context()); !errors.Is(err, w.fails) || n != 0 || w.n != 1 {
		t.Errorf("%d, %v; %d writes", n, err, w.n)
	}
}

// An end that cannot be read is none: whoever says so of a key may accept it for ever,
// and is named when the key leaks.
func TestAttack_A15_AnEndThatCannotBeReadIsNone(t *testing.T) {
	id := keyring.Generate().ID()
	now := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	for state, want := range map[string]bool{
		"active": true, "next": true, "": true, "2026-01-02T03:04:05Z": true, "some other state": true,
		"retiring": true, "retiring until ": true, "retiring until noon": true, "retiring until 2026-01-02": true,
		"retiring until 2027-01-02T03:04:06Z": true, "retiring until 2027-01-02T03:04:05Z": false, "retiring until 2026-01-02T03:04:05Z": false,
	} {
		if got := (fleet.Instance{Keys: "ab12cd34 active, " + id.String() + " " + state}).Accepts(id, now); got != want {
			t.Errorf("%q: accepts %t", state, got)
		}
	}
}

// An instance is named by where it listens, if it says so.
func TestNameOfAnInstance(t *testing.T) {
	for want, i := range map[string]fleet.Instance{
		"web-1": {ID: "web-1"}, "web-1 (10.0.0.1:8080)": {ID: "web-1", Addr: "10.0.0.1:8080"},
	} {
		if got := i.Name(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// Whoever writes to the table keeps to no bounds; what is read of it does.
func TestAttack_A43_RowsAreBounded(t *testing.T) {
	f, w := counting(t)
	huge := []byte(strings.Repeat("é", 1_000_000))
	n, err := w.Exec(t.Context(), w.Dialect().SQL("INSERT INTO cloakroom_instances VALUES (?, 0, {clock}, ?, ?, ?, ?, ?, 0)"), huge, huge, huge, huge, huge, huge)
	if n != 1 || err != nil {
		t.Fatal(n, err)
	}
	list, err := f.Instances(t.Context())
	must(t, err)
	i := list[0]
	for _, c := range []struct {
		text string
		most int
	}{{i.ID, 64}, {i.Version, 254}, {i.Addr, 254}, {i.URL, 254}, {i.Keys, 4096}, {i.Failing, 254}} {
		if len(c.text) != c.most || !utf8.ValidString(c.text) {
			t.Errorf("%d bytes, want %d: %q", len(c.text), c.most, c.text)
		}
	}
}

// Which key an instance signs with is what it says of one, and no more.
func TestActiveOfAnInstance(t *testing.T) {
	active, next := keyring.Generate(), keyring.Generate().AsNext()
	said := fleet.Describe([]keyring.KeyInfo{next.Info(), active.Info()})
	for keys, want := range map[string]string{
		said: active.ID().String(), "ab12cd34 active": "ab12cd34", "99ffee00 next, ab12cd34 active": "ab12cd34",
		"": "", " active": "", "x active": "", "ab12cd34": "", "ab12cd34 next": "", "ab12cd34 active until": "",
	} {
		id, says := fleet.Instance{Keys: keys}.Active()
		if says != (want != "") || says && id.String() != want {
			t.Errorf("%q: %v, %t, want %q", keys, id, says, want)
		}
	}
}
