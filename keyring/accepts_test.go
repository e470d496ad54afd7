package keyring_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

func TestAccepts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		active, next, old := keyring.Generate(), keyring.Generate().AsNext(), keyring.Generate().AsRetiring(time.Now().Add(time.Minute))
		ring, err := keyring.New(active, next, old)
		if err != nil {
			t.Fatal(err)
		}
		check := func(when string, oldToo bool) {
			t.Helper()
			for _, k := range []keyring.Key{active, next, old} {
				if got, want := ring.Accepts(k.ID()), k.ID() != old.ID() || oldToo; got != want {
					t.Errorf("%s: %v is accepted: %v", when, k, got)
				}
			}
			if ring.Accepts(keyring.KeyID{}) || ring.Accepts(keyring.Generate().ID()) {
				t.Errorf("%s: a key that the ring does not hold is accepted", when)
			}
		}
		check("at first", true)
		time.Sleep(time.Minute - time.Millisecond)
		check("before its time", true)
		time.Sleep(time.Millisecond)
		check("at its time", false)
	})
}

// When a key ends: a retiring one, at its time and not a moment earlier.
func TestEnded(t *testing.T) {
	k, now := keyring.Generate(), time.Now().Truncate(time.Second)
	for _, c := range []struct {
		info keyring.KeyInfo
		want bool
	}{
		{k.Info(), false},
		{k.AsNext().Info(), false},
		{k.AsRetiring(now.Add(time.Second)).Info(), false},
		{k.AsRetiring(now).Info(), true},
		{keyring.KeyInfo{State: keyring.Retiring}, true},
		{keyring.KeyInfo{State: keyring.Active, Until: now.Add(-time.Hour)}, false},
		{keyring.KeyInfo{}, false},
	} {
		if got := c.info.Ended(now); got != c.want {
			t.Errorf("%+v has ended: %t", c.info, got)
		}
	}
	if want := (keyring.KeyInfo{ID: k.ID(), Created: k.Created(), State: keyring.Retiring, Until: now.UTC()}); k.AsRetiring(now).Info() != want {
		t.Errorf("%+v, want %+v", k.AsRetiring(now).Info(), want)
	}
}

// Promise 10: a key that has ended is no bond between two rings, as nobody is signed in
// with it; one that is in use here and has ended there is, as it leaked.
func TestPromise10_AdoptCountsKeysInUse(t *testing.T) {
	a, old, b := keyring.Generate(), keyring.Generate(), keyring.Generate()
	ended := old.AsRetiring(time.Now().Add(-time.Hour))
	ring := mustNew(t, a, ended)
	for _, other := range []*keyring.Ring{mustNew(t, b, ended), mustNew(t, old.AsActive()), mustNew(t, b, old.AsRetiring(time.Now().Add(time.Hour)))} {
		if changed, err := ring.Adopt(other); changed || err == nil || ring.Active() != a.ID() {
			t.Errorf("%v: %t, %v: everybody is signed out", other.Keys(), changed, err)
		}
	}
	if changed, err := ring.Adopt(mustNew(t, b, a.AsRetiring(time.Now().Add(-time.Hour)))); !changed || err != nil {
		t.Errorf("a key that leaked goes on to be accepted: %t, %v", changed, err)
	}
}

// Promise 10: a ring takes over others of its keys, and nobody else's.
func TestPromise10_AdoptTakesNoStrangersKeys(t *testing.T) {
	a, b := keyring.Generate(), keyring.Generate()
	ring := mustNew(t, a, b.AsNext())
	for _, c := range []struct {
		name    string
		other   *keyring.Ring
		changed bool
		fails   bool
		active  keyring.Key
	}{
		{"another order", mustNew(t, a, b.AsNext()), false, false, a},
		{"strangers", mustNew(t, keyring.Generate(), keyring.Generate().AsNext()), false, true, a},
		{"another state", mustNew(t, b, a.AsRetiring(time.Now().Add(time.Hour))), true, false, b},
		{"one that has ended", mustNew(t, keyring.Generate(), a.AsRetiring(time.Now().Add(-time.Hour))), true, false, keyring.Key{}},
	} {
		changed, err := ring.Adopt(c.other)
		if changed != c.changed || (err != nil) != c.fails {
			t.Errorf("%s: %t, %v", c.name, changed, err)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "keyring: none of the keys in use is among them; put those back; ") {
			t.Errorf("%s: %v", c.name, err)
		}
		if want := c.active.ID(); want != (keyring.KeyID{}) && ring.Active() != want {
			t.Errorf("%s: %v signs", c.name, ring.Active())
		}
		if changed && ring.Active() != c.other.Active() {
			t.Errorf("%s: it is not taken", c.name)
		}
	}
}
