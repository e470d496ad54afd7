package sqlusers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/password"
)

// TestASVS_6_3_2_NoDefaultAccounts: a new database lets nobody in.
func TestASVS_6_3_2_NoDefaultAccounts(t *testing.T) {
	each(t, func(t *testing.T, users *sqlusers.Users, _ database) {
		ctx := t.Context()
		list, err := users.Search(ctx, sqlusers.Filter{}, "", 10)
		if len(list) != 0 || err != nil {
			t.Errorf("a new database has the accounts %+v, %v", list, err)
		}
		for _, name := range []string{"admin", "root", "test", "cloakroom", ""} {
			_, err := users.ByName(ctx, name)
			is(t, err, auth.ErrNoUser)
		}
		if has, err := users.HasAdmin(ctx); has || err != nil {
			t.Errorf("a new database has an administrator: %v, %v", has, err)
		}
	})
}

func TestChangePassword(t *testing.T) { each(t, proveChangePassword) }

func proveChangePassword(t *testing.T, users *sqlusers.Users, _ database) {
	ctx := t.Context()
	u, err := users.Create(ctx, sqlusers.NewUser{Name: "alice", Password: phc("first"), MustChange: true})
	is(t, err, nil)
	if !u.MustChange || !read(t, users, u.ID).MustChange {
		t.Errorf("made %+v, want one who must change", u)
	}
	change := func(id, old, hash string, want bool) {
		t.Helper()
		if done, err := users.ChangePassword(ctx, id, old, hash); done != want || err != nil {
			t.Errorf("changed: %v, %v, want %v", done, err, want)
		}
	}
	change(u.ID, phc("another"), phc("second"), false)
	change(u.ID, "", phc("second"), false)
	change("nobody", phc("first"), phc("second"), false)
	if got := read(t, users, u.ID); fmt.Sprint(got) != fmt.Sprint(u) {
		t.Errorf("a refused change changed %+v", got)
	}
	change(u.ID, phc("first"), phc("second"), true)
	if got := read(t, users, u.ID); got.Password != phc("second") || got.Epoch != u.Epoch+1 || got.MustChange {
		t.Errorf("after the change the user is %+v", got)
	}

	// The same hash anew says nothing about who has chosen the password.
	is(t, users.RequireChange(ctx, u.ID), nil)
	is(t, users.SetPassword(ctx, u.ID, phc("second again"), false), nil)
	if got := read(t, users, u.ID); !got.MustChange || got.Epoch != u.Epoch+2 {
		t.Errorf("hashed anew, the user is %+v", got)
	}
	is(t, users.SetPassword(ctx, u.ID, phc("third"), true), nil)
	if got := read(t, users, u.ID); got.MustChange || got.Epoch != u.Epoch+3 {
		t.Errorf("with a new password the user is %+v", got)
	}
	is(t, users.RequireChange(ctx, "nobody"), auth.ErrNoUser)

	// Nobody without a password changes one.
	none, err := users.Create(ctx, sqlusers.NewUser{Name: "invited"})
	is(t, err, nil)
	change(none.ID, "", phc("mallory"), false)
	if got := read(t, users, none.ID); fmt.Sprint(got) != fmt.Sprint(none) {
		t.Errorf("somebody without a password became %+v", got)
	}
}

// TestASVS_15_4_2_ParallelChanges: of changes of one password at once, on two
// instances, one is made, and its user is told.
func TestASVS_15_4_2_ParallelChanges(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.Name, func(t *testing.T) {
			address := k.Address(t)
			one, _ := openAt(t, k, address)
			two, _ := openAt(t, k, address)
			instances := []*sqlusers.Users{one, two}
			u := create(t, one, "alice")
			for round := range 10 {
				before := read(t, one, u.ID)
				done := make([]bool, 12)
				var wg sync.WaitGroup
				for i := range done {
					wg.Go(func() {
						var err error
						done[i], err = instances[i%2].ChangePassword(t.Context(), u.ID, before.Password, phc(fmt.Sprint(round, i)))
						is(t, err, nil)
					})
				}
				wg.Wait()
				got, winner := read(t, one, u.ID), slices.Index(done, true)
				if winner < 0 || slices.Contains(done[winner+1:], true) ||
					got.Password != phc(fmt.Sprint(round, winner)) || got.Epoch != before.Epoch+1 {
					t.Fatalf("told %v, stored %+v", done, got)
				}
			}
		})
	}
}

// TestASVS_8_2_3_ChangesTouchTheirOwn: each change writes the columns that it is
// for, of the account that it is for, and no others.
func TestASVS_8_2_3_ChangesTouchTheirOwn(t *testing.T) {
	set := []string{"epoch", "link", "must_change", "password", "updated"}
	for what, c := range map[string]struct {
		columns []string
		change  func(ctx context.Context, users *sqlusers.Users, id string) error
	}{
		"SetPassword": {set, func(ctx context.Context, users *sqlusers.Users, id string) error {
			return users.SetPassword(ctx, id, phc("new"), true)
		}},
		"SetPassword, hashed anew": {[]string{"password", "updated"}, func(ctx context.Context, users *sqlusers.Users, id string) error {
			return users.SetPassword(ctx, id, phc("new"), false)
		}},
		"ChangePassword": {set, func(ctx context.Context, users *sqlusers.Users, id string) error {
			_, err := users.ChangePassword(ctx, id, phc("alice"), phc("new"))
			return err
		}},
		"ReplaceHash": {[]string{"password", "updated"}, func(ctx context.Context, users *sqlusers.Users, id string) error {
			_, err := users.ReplaceHash(ctx, id, phc("alice"), phc("new"))
			return err
		}},
		"RequireChange": {[]string{"epoch", "updated"}, func(ctx context.Context, users *sqlusers.Users, id string) error {
			return users.RequireChange(ctx, id)
		}},
		"NewLink and ClaimLink": {append(set, "link_kind", "link_until"), func(ctx context.Context, users *sqlusers.Users, id string) error {
			s, err := users.NewLink(ctx, id, sqlusers.LinkInvite, time.Now(), 2*time.Hour)
			if err == nil {
				_, err = users.ClaimLink(ctx, s, time.Now(), phc("new"))
			}
			return err
		}},
		"Rename": {[]string{"canonical", "name", "updated"}, func(ctx context.Context, users *sqlusers.Users, id string) error {
			return users.Rename(ctx, id, "other")
		}},
		"SetRoles": {[]string{"admin", "roles", "updated"}, func(ctx context.Context, users *sqlusers.Users, id string) error {
			return users.SetRoles(ctx, id, []string{"admin"})
		}},
		"SetDisabled": {[]string{"disabled", "epoch", "link", "updated"}, func(ctx context.Context, users *sqlusers.Users, id string) error {
			return users.SetDisabled(ctx, id, true)
		}},
	} {
		t.Run(what, func(t *testing.T) {
			users, db := openAt(t, kinds[0], kinds[0].Address(t))
			ctx := t.Context()
			u, bystander := create(t, users, "alice", "writer"), create(t, users, "bob", "admin")
			is(t, users.RequireChange(ctx, u.ID), nil)
			link(t, users, u.ID, sqlusers.LinkReset, time.Now())
			// A time that no clock has, so that each write of it shows.
			if _, err := db.Exec(ctx, "UPDATE cloakroom_user SET updated = 1"); err != nil {
				t.Fatal(err)
			}
			before, others := row(t, db, u.ID), row(t, db, bystander.ID)
			is(t, c.change(ctx, users, u.ID), nil)
			after := row(t, db, u.ID)
			want := slices.Sorted(slices.Values(c.columns))
			var got []string
			for _, column := range slices.Sorted(maps.Keys(after)) {
				if after[column] != before[column] {
					got = append(got, column)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("changed the columns %q, want %q", got, want)
			}
			if !maps.Equal(row(t, db, bystander.ID), others) {
				t.Errorf("changed another account: %v", row(t, db, bystander.ID))
			}
		})
	}
}

// row reads every column of an account.
func row(t *testing.T, db database, id string) map[string]string {
	t.Helper()
	rows, err := db.Reader().QueryContext(t.Context(), "SELECT * FROM cloakroom_user WHERE id = ?", []byte(id))
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil || !rows.Next() {
		t.Fatalf("no row of %s: %v", id, err)
	}
	values, to := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		to[i] = &values[i]
	}
	if err := rows.Scan(to...); err != nil {
		t.Fatal(err)
	}
	read := make(map[string]string)
	for i, c := range columns {
		read[c] = fmt.Sprint(values[i])
	}
	return read
}

// TestAttack_A50_NoHashInSightOfAdministration: what administration lists has no
// hash and no link, and no error repeats what was given for a hash or a token.
func TestAttack_A50_NoHashInSightOfAdministration(t *testing.T) {
	each(t, func(t *testing.T, users *sqlusers.Users, _ database) {
		ctx, now := t.Context(), time.Now()
		u := create(t, users, "alice", "admin")
		s := link(t, users, u.ID, sqlusers.LinkReset, now)
		list, err := users.Search(ctx, sqlusers.Filter{}, "", 10)
		is(t, err, nil)
		a, err := users.Account(ctx, u.ID)
		is(t, err, nil)
		_, err = users.Account(ctx, "nobody")
		is(t, err, auth.ErrNoUser)
		b, err := json.Marshal(append(list, a))
		is(t, err, nil)
		seen := string(b) + fmt.Sprintf("%+v %#v", list, a)
		if len(list) != 1 || fmt.Sprint(list[0]) != fmt.Sprint(a) {
			t.Errorf("listed %+v, read %+v", list, a)
		}

		const canary = "canary-password"
		_, created := users.Create(ctx, sqlusers.NewUser{Name: "bob", Password: canary})
		_, changed := users.ChangePassword(ctx, u.ID, phc("alice"), canary)
		_, replaced := users.ReplaceHash(ctx, u.ID, phc("alice"), canary)
		_, claimed := users.ClaimLink(ctx, s, now, canary)
		for _, err := range []error{created, changed, replaced, claimed, users.SetPassword(ctx, u.ID, canary, true)} {
			is(t, err, sqlusers.ErrNoHash)
			seen += err.Error()
		}
		_, gone := users.ClaimLink(ctx, canary, now, phc("new"))
		_, unchecked := users.CheckLink(ctx, canary, now)
		seen += errors.Join(gone, unchecked).Error()
		for _, secret := range []string{"$argon2", "$2", canary, s, phc("alice")} {
			if strings.Contains(seen, secret) {
				t.Errorf("%.40q is in sight: %s", secret, seen)
			}
		}
		if got := read(t, users, u.ID); got.Password != phc("alice") {
			t.Errorf("something that is no hash changed %+v", got)
		}
	})
}

// TestHashesAreTaken: what package password makes is taken, and nothing is that
// only looks like it.
func TestHashesAreTaken(t *testing.T) {
	each(t, func(t *testing.T, users *sqlusers.Users, _ database) {
		ctx := t.Context()
		u := create(t, users, "alice")
		hasher, err := password.New(nil)
		is(t, err, nil)
		hash, err := hasher.Hash(ctx, "correct horse battery staple")
		is(t, err, nil)
		is(t, users.SetPassword(ctx, u.ID, hash, true), nil)
		for _, hash := range []string{"x", "$", "$x", "$1$salt$hash", "$apr1$salt$hash", "$argon2id$", phc("x") + "\n", strings.Repeat("$", 1<<20)} {
			is(t, users.SetPassword(ctx, u.ID, hash, true), sqlusers.ErrNoHash)
		}
		if got := read(t, users, u.ID).Password; got != hash {
			t.Errorf("stored %q", got)
		}
	})
}
