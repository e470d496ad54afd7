package keyring_test

import (
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
