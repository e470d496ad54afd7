package backend

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
)

// registry remembers keys as the stores do.
type registry map[string]time.Time

func (r registry) RememberKey(_ context.Context, id string, now time.Time) error {
	if now = now.Truncate(time.Millisecond); now.After(r[id]) {
		r[id] = now
	}
	return nil
}

func (r registry) KnownKeys(context.Context) (known []store.KnownKey, err error) {
	for id, used := range r {
		known = append(known, store.KnownKey{ID: id, LastUsed: used})
	}
	return known, nil
}

func (r registry) ForgetKeys(context.Context) error { clear(r); return nil }

func newRing(t *testing.T) (*keyring.Ring, string) {
	t.Helper()
	ring, err := keyring.New(keyring.Generate())
	if err != nil {
		t.Fatal(err)
	}
	return ring, ring.Active().String()
}

// TestPromise10_TheLosersKeyDoesNotStopTheWinner: Memcached keeps its keys in two
// registries. An instance that lost its race left its key in the first of them; the
// winner wrote to the second after that, and starts again all the same.
func TestPromise10_TheLosersKeyDoesNotStopTheWinner(t *testing.T) {
	winner, won := newRing(t)
	_, lost := newRing(t)
	past := time.Now().Add(-time.Minute)
	for i := range 2 {
		both := []store.KeyRegistry{nil, nil}
		both[i] = registry{lost: past, won: past.Add(time.Millisecond)}
		both[1-i] = registry{won: past.Add(time.Second)}
		b := &Backend{cfg: &config.Config{}, registries: both}
		known, err := b.knownKeys(t.Context())
		if err != nil || len(known) != 2 || known[0].ID != won || !known[0].LastUsed.Equal(past.Add(time.Second)) {
			t.Errorf("known: %v %v", known, err)
		}
		if err := b.remember(t.Context(), winner, known); err != nil {
			t.Error("the winner starts again:", err)
		}
	}
}

// TestPromise10_TheSecondToNoteItsKeyGivesUp and puts back in front what it found,
// in whichever registry that was.
func TestPromise10_TheSecondToNoteItsKeyGivesUp(t *testing.T) {
	loser, lost := newRing(t)
	_, won := newRing(t)
	for _, has := range []int{0, 1} {
		both := []registry{{}, {}}
		both[has][won] = time.Now()
		b := &Backend{cfg: &config.Config{}, registries: []store.KeyRegistry{both[0], both[1]}}
		err := b.remember(t.Context(), loser, nil)
		if err == nil || !strings.Contains(err.Error(), "lacks the key "+won) {
			t.Errorf("registry %d: %v", has, err)
		}
		if !both[has][won].After(both[has][lost]) {
			t.Errorf("registry %d: the loser's key is in front", has)
		}
	}
}

// Who finds a key that was only claimed is not told that sessions were signed with it, and
// where nothing was decided no key is asked for.
func TestARaceThatIsLostOrOpenSaysSo(t *testing.T) {
	loser, _ := newRing(t)
	_, claimed := newRing(t)
	reg := registry{claimed: time.UnixMilli(3)}
	b := &Backend{cfg: &config.Config{}, registries: []store.KeyRegistry{reg}}
	if err := b.remember(t.Context(), loser, nil); err == nil || !strings.Contains(err.Error(), claimed+" that another instance has claimed") {
		t.Error(err)
	}
	b.registries[0] = forgetful{}
	if err := b.remember(t.Context(), loser, nil); err == nil || !strings.Contains(err.Error(), "have not agreed on a key in 64 looks") {
		t.Error(err)
	}
}

// forgetful is a registry that keeps nothing.
type forgetful struct{ registry }

func (forgetful) RememberKey(context.Context, string, time.Time) error { return nil }

// A doctor wants the keys that a start wants: whatever was claimed in a first start that
// did not come to its end, and what is in use.
func TestWantedIsWhatAStartWants(t *testing.T) {
	ring, own := newRing(t)
	for ours := range 5 {
		for theirs := range 6 {
			const other, used = "0badcafe", 5
			r := registry{}
			if ours > 0 {
				r[own] = time.UnixMilli(int64(ours))
			}
			if theirs > 0 {
				r[other] = time.UnixMilli(int64(theirs))
			}
			if theirs == used {
				r[other] = time.Now()
			}
			known, _ := r.KnownKeys(t.Context())
			k, claimed := Wanted(known, ring)
			b := &Backend{cfg: &config.Config{}}
			if _, err := b.race(t.Context(), r, ring, own); (err != nil) != (k.ID == other) || claimed != (err != nil && theirs != used) {
				t.Errorf("levels %d and %d: wanted %v, claimed %t, and the start says: %v", ours, theirs, k, claimed, err)
			}
		}
	}
}

// Whoever is about to change keys is refused for want of the key for want of which a start
// is: in whichever registry it was used last, and where it was only claimed.
func TestWantsRefusesAsAStart(t *testing.T) {
	ring, own := newRing(t)
	_, other := newRing(t)
	now := time.Now()
	for name, c := range map[string]struct {
		registries [2]registry
		want       string
	}{
		"new":            {[2]registry{{}, {}}, ""},
		"own":            {[2]registry{{own: now}, {}}, ""},
		"own after":      {[2]registry{{own: now}, {other: now.Add(-time.Second)}}, ""},
		"other after":    {[2]registry{{own: now.Add(-time.Second)}, {other: now}}, other + " that the sessions were signed with"},
		"other claimed":  {[2]registry{{}, {other: time.UnixMilli(3)}}, other + " that another instance has claimed"},
		"only a claim":   {[2]registry{{}, {other: time.UnixMilli(1)}}, ""},
		"own, a claimed": {[2]registry{{own: now}, {other: time.UnixMilli(3)}}, ""},
	} {
		b := &Backend{cfg: &config.Config{}, registries: []store.KeyRegistry{c.registries[0], c.registries[1]}}
		err := b.Wants(t.Context(), ring)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), "lacks the key "+c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if fault := new(ConfigError); err != nil && !errors.As(err, &fault) {
			t.Errorf("%s: %v is no fault of the configuration", name, err)
		}
	}
}
