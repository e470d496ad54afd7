package sqlusers_test

import (
	"testing"

	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// Administrators who can sign in are told from those who cannot, and hashes that are
// sealed from those that are not.
func TestTallies(t *testing.T) { each(t, proveTallies) }

func proveTallies(t *testing.T, users *sqlusers.Users, _ database) {
	ctx := t.Context()
	check := func(all, able, unsealed int) {
		t.Helper()
		a, b, err := users.CountAdmins(ctx)
		is(t, err, nil)
		n, err := users.UnsealedHashes(ctx)
		is(t, err, nil)
		if a != all || b != able || n != unsealed {
			t.Errorf("%d administrators, %d can sign in, %d hashes unsealed; want %d, %d, %d", a, b, n, all, able, unsealed)
		}
	}
	check(0, 0, 0)
	plain := enroll(t, users, nil, "plain", 3)
	pepper := enroll(t, users, sealer(t, keyring.Generate()), "sealed", 2)
	check(0, 0, 3)
	for _, id := range []string{plain[0], plain[1], pepper[0]} {
		is(t, users.SetRoles(ctx, id, []string{"admin"}), nil)
	}
	check(3, 3, 3)
	is(t, users.SetDisabled(ctx, plain[1], true), nil)
	_, err := users.Create(ctx, sqlusers.NewUser{Name: "invited", Roles: []string{"admin"}})
	is(t, err, nil)
	check(4, 2, 3)
}
