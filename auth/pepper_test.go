package auth_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/password"
)

// A login after the pepper's key was replaced, or the pepper turned off, stores the same
// hash under the new one, or plain, and computes none but that of every login.
func TestNIST_3_1_1_2_pepper_ALoginWrapsWithoutHashing(t *testing.T) {
	old, key := keyring.Generate(), keyring.Generate()
	ring, err := keyring.New(old)
	if err != nil {
		t.Fatal(err)
	}
	pepper := ring.Purpose("password")
	wrap := func(u *accounts) auth.Users { return replacer{u} }
	a := newApp(t, &setup{wrap: wrap, hasher: password.Options{Pepper: pepper}})
	stored, err := a.hasher.Rewrap(rightHash())
	if err != nil {
		t.Fatal(err)
	}
	if err := ring.Replace(key, old.AsRetiring(time.Now().Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	off := newApp(t, &setup{wrap: wrap, hasher: password.Options{Pepper: pepper, Unsealed: true}})
	for name, a := range map[string]*app{"$sealed$": a, rightHash(): off} {
		a.users.change("u2", func(u *account) { u.Password = stored })
		a.client(t).mustLogin("bob")
		h := a.users.hash("u2")
		if n := a.hashes(); n != 1 || h == stored || !strings.HasPrefix(h, name) || a.hasher.NeedsRehash(h) {
			t.Errorf("%d hashes were computed, and %s is stored", n, h)
		}
		a.client(t).mustLogin("bob")
		if a.users.hash("u2") != h {
			t.Error("the next login has stored it once more")
		}
	}
}
