package sqlusers_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/internal/databases"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

type database = databases.Database

// kinds are those of the databases.
var kinds = databases.Kinds

// each runs a test on users in a new database of each kind.
func each(t *testing.T, test func(t *testing.T, users *sqlusers.Users, db database)) {
	t.Helper()
	for _, k := range kinds {
		t.Run(k.Name, func(t *testing.T) {
			users, db := openAt(t, k, k.Address(t))
			test(t, users, db)
		})
	}
}

// openAt opens users, as one process of several would.
func openAt(t *testing.T, k databases.Kind, address string) (*sqlusers.Users, database) {
	t.Helper()
	db := k.OpenFor(t, address)
	users, err := sqlusers.New(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	return users, db
}

// create makes an account or ends the test.
func create(t *testing.T, users *sqlusers.Users, name string, roles ...string) auth.User {
	t.Helper()
	u, err := users.Create(t.Context(), sqlusers.NewUser{Name: name, Roles: roles, Password: phc(name)})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// phc is a hash as package password writes them, of no password that is known.
func phc(seed string) string {
	sum := sha256.Sum256([]byte(seed))
	return "$argon2id$v=19$m=19456,t=2,p=1$" + base64.RawStdEncoding.EncodeToString(sum[:16]) +
		"$" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// is checks an error by errors.Is; nil wants none.
func is(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) || want == nil && got != nil {
		t.Errorf("error %v, want %v", got, want)
	}
	if got != nil && strings.ContainsRune(got.Error(), '\n') {
		t.Errorf("error of several lines: %q", got)
	}
}

// read returns the user as it is stored now.
func read(t *testing.T, users *sqlusers.Users, id string) auth.User {
	t.Helper()
	u, err := users.ByID(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestCreateAndFind(t *testing.T) { each(t, proveCreateAndFind) }

func proveCreateAndFind(t *testing.T, users *sqlusers.Users, _ database) {
	made := create(t, users, "Alice", "writer", "admin", "writer")
	want := auth.User{ID: made.ID, Name: "Alice", Roles: []string{"admin", "writer"}, Password: phc("Alice"), Epoch: 1}
	same := func(got auth.User, err error) {
		t.Helper()
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	same(made, nil)
	same(users.ByID(t.Context(), made.ID))
	same(users.ByName(t.Context(), "alice"))
	if len(made.ID) != 22 {
		t.Errorf("ID %q has %d characters, want the 22 of 128 bits", made.ID, len(made.ID))
	}
	if bob := create(t, users, "bob"); bob.Roles != nil || bob.ID == made.ID {
		t.Errorf("got %+v, want no roles and another ID than %s", bob, made.ID)
	}
	for _, name := range []string{"Alice", "", "alice\x00", "nobody", "alic_", "%"} {
		_, err := users.ByName(t.Context(), name)
		is(t, err, auth.ErrNoUser)
	}
	_, err := users.ByID(t.Context(), "")
	is(t, err, auth.ErrNoUser)
}

// TestOneNameOneAccount: spellings that people take for one name are one name.
func TestOneNameOneAccount(t *testing.T) { each(t, proveOneNameOneAccount) }

func proveOneNameOneAccount(t *testing.T, users *sqlusers.Users, _ database) {
	create(t, users, "Alice")
	for _, name := range []string{"Alice", "alice", "ALICE"} {
		_, err := users.Create(t.Context(), sqlusers.NewUser{Name: name})
		is(t, err, sqlusers.ErrNameTaken)
	}
	for _, name := range []string{"", "a b", "a\nb"} {
		_, err := users.Create(t.Context(), sqlusers.NewUser{Name: name})
		is(t, err, sqlusers.ErrNameInvalid)
	}
	var (
		wg   sync.WaitGroup
		made = make([]error, 16)
	)
	for i := range made {
		wg.Go(func() { _, made[i] = users.Create(t.Context(), sqlusers.NewUser{Name: "carol"}) })
	}
	wg.Wait()
	won := 0
	for _, err := range made {
		if err == nil {
			won++
			continue
		}
		is(t, err, sqlusers.ErrNameTaken)
	}
	if won != 1 {
		t.Errorf("%d accounts of one name, want 1", won)
	}
}

func TestRolesAreChecked(t *testing.T) { each(t, proveRolesAreChecked) }

func proveRolesAreChecked(t *testing.T, users *sqlusers.Users, _ database) {
	u := create(t, users, "alice")
	many := make([]string, sqlusers.MaxRoles+1)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	for _, roles := range [][]string{{""}, {"a b"}, {"a,b"}, {"a\n"}, {"é"}, {strings.Repeat("a", 65)}, {"ok", "\x00"}, many} {
		is(t, users.SetRoles(t.Context(), u.ID, roles), sqlusers.ErrRoleInvalid)
		_, err := users.Create(t.Context(), sqlusers.NewUser{Name: "bob", Roles: roles})
		is(t, err, sqlusers.ErrRoleInvalid)
	}
	is(t, users.SetRoles(t.Context(), u.ID, []string{"z", "a.b:c/d-e_f", strings.Repeat("a", 64), "z"}), nil)
	if got := read(t, users, u.ID).Roles; !slices.IsSorted(got) || len(got) != 3 {
		t.Errorf("roles %q, want three, sorted", got)
	}
	is(t, users.SetRoles(t.Context(), u.ID, nil), nil)
	if got := read(t, users, u.ID).Roles; got != nil {
		t.Errorf("roles %q, want nil", got)
	}
	is(t, users.SetRoles(t.Context(), "nobody", nil), auth.ErrNoUser)
}

func TestPasswords(t *testing.T) { each(t, provePasswords) }

func provePasswords(t *testing.T, users *sqlusers.Users, _ database) {
	u, ctx := create(t, users, "alice"), t.Context()
	is(t, users.SetPassword(ctx, u.ID, phc("1"), false), nil)
	if got := read(t, users, u.ID); got.Password != phc("1") || got.Epoch != u.Epoch {
		t.Errorf("got %+v, want the new hash and the old epoch", got)
	}
	is(t, users.SetPassword(ctx, u.ID, phc("2"), true), nil)
	if got := read(t, users, u.ID); got.Password != phc("2") || got.Epoch != u.Epoch+1 {
		t.Errorf("got %+v, want the new hash and the next epoch", got)
	}
	is(t, users.SetPassword(ctx, "nobody", phc(""), true), auth.ErrNoUser)

	// A login with the old password that hashes anew is too late.
	if done, err := users.ReplaceHash(ctx, u.ID, phc("1"), phc("1 again")); done || err != nil {
		t.Errorf("an old hash came back: %v, %v", done, err)
	}
	if done, err := users.ReplaceHash(ctx, u.ID, phc("2"), phc("2 again")); !done || err != nil {
		t.Errorf("got %v, %v, want the hash replaced", done, err)
	}
	if got := read(t, users, u.ID); got.Password != phc("2 again") || got.Epoch != u.Epoch+1 {
		t.Errorf("got %+v, want the replaced hash and the same epoch", got)
	}
}

// TestASVS_7_4_2_DisablingRaisesTheEpoch: whoever is enabled again has to sign in.
func TestASVS_7_4_2_DisablingRaisesTheEpoch(t *testing.T) {
	each(t, proveASVS_7_4_2_DisablingRaisesTheEpoch)
}

func proveASVS_7_4_2_DisablingRaisesTheEpoch(t *testing.T, users *sqlusers.Users, _ database) {
	u, ctx := create(t, users, "bob"), t.Context()
	is(t, users.SetDisabled(ctx, u.ID, true), nil)
	if got := read(t, users, u.ID); !got.Disabled || got.Epoch != u.Epoch+1 {
		t.Errorf("got %+v, want disabled and the next epoch", got)
	}
	is(t, users.SetDisabled(ctx, u.ID, false), nil)
	if got := read(t, users, u.ID); got.Disabled || got.Epoch != u.Epoch+1 {
		t.Errorf("got %+v, want enabled and the epoch of before", got)
	}
	is(t, users.SetDisabled(ctx, "nobody", true), auth.ErrNoUser)
	is(t, users.SetDisabled(ctx, "nobody", false), auth.ErrNoUser)
}

// TestASVS_7_4_5_Epochs: one user's sessions, or everybody's.
func TestASVS_7_4_5_Epochs(t *testing.T) { each(t, proveASVS_7_4_5_Epochs) }

func proveASVS_7_4_5_Epochs(t *testing.T, users *sqlusers.Users, _ database) {
	ctx := t.Context()
	alice, bob := create(t, users, "alice"), create(t, users, "bob")
	is(t, users.RaiseEpoch(ctx, alice.ID), nil)
	is(t, users.RaiseEpoch(ctx, "nobody"), auth.ErrNoUser)
	is(t, users.RaiseEpochAll(ctx), nil)
	if got := read(t, users, alice.ID).Epoch; got != alice.Epoch+2 {
		t.Errorf("alice has epoch %d, want %d", got, alice.Epoch+2)
	}
	if got := read(t, users, bob.ID).Epoch; got != bob.Epoch+1 {
		t.Errorf("bob has epoch %d, want %d", got, bob.Epoch+1)
	}
	byName, err := users.ByName(ctx, "bob")
	if err != nil || byName.Epoch != bob.Epoch+1 {
		t.Errorf("by name: %+v, %v, want the same epoch", byName, err)
	}
	carol := create(t, users, "carol")
	if got := read(t, users, carol.ID); got.Epoch != carol.Epoch {
		t.Errorf("Create returned epoch %d, stored is %d", carol.Epoch, got.Epoch)
	}
}

func TestLastAdmin(t *testing.T) { each(t, proveLastAdmin) }

func proveLastAdmin(t *testing.T, users *sqlusers.Users, _ database) {
	ctx := t.Context()
	alice, bob := create(t, users, "alice", "admin"), create(t, users, "bob", "admin")
	is(t, users.SetDisabled(ctx, bob.ID, true), nil)
	is(t, users.SetDisabled(ctx, alice.ID, true), sqlusers.ErrLastAdmin)
	is(t, users.SetRoles(ctx, alice.ID, []string{"writer"}), sqlusers.ErrLastAdmin)
	if got := read(t, users, alice.ID); got.Disabled || got.Epoch != alice.Epoch || !slices.Contains(got.Roles, "admin") {
		t.Errorf("a refused change changed %+v", got)
	}
	is(t, users.SetRoles(ctx, alice.ID, []string{"writer", "admin"}), nil) // goes on being one
	is(t, users.SetRoles(ctx, bob.ID, nil), nil)                           // a disabled one does not count
	is(t, users.SetRoles(ctx, bob.ID, []string{"admin"}), nil)
	is(t, users.SetDisabled(ctx, bob.ID, false), nil)
	is(t, users.SetRoles(ctx, alice.ID, nil), nil)
	is(t, users.SetDisabled(ctx, bob.ID, true), sqlusers.ErrLastAdmin)
}

// TestLastAdminsInParallel: of two administrators who take away each other at the
// same moment, one stays.
func TestLastAdminsInParallel(t *testing.T) { each(t, proveLastAdminsInParallel) }

func proveLastAdminsInParallel(t *testing.T, users *sqlusers.Users, _ database) {
	ctx := t.Context()
	admins := []auth.User{create(t, users, "a", "admin"), create(t, users, "b", "admin"), create(t, users, "c", "admin")}
	for round := range 50 {
		var wg sync.WaitGroup
		for i, u := range admins {
			wg.Go(func() {
				var err error
				if (round+i)%2 == 0 {
					err = users.SetDisabled(ctx, u.ID, true)
				} else {
					err = users.SetRoles(ctx, u.ID, nil)
				}
				if err != nil {
					is(t, err, sqlusers.ErrLastAdmin)
				}
			})
		}
		wg.Wait()
		left := 0
		for _, u := range admins {
			if got := read(t, users, u.ID); !got.Disabled && slices.Contains(got.Roles, "admin") {
				left++
			}
			is(t, users.SetRoles(ctx, u.ID, []string{"admin"}), nil)
			is(t, users.SetDisabled(ctx, u.ID, false), nil)
		}
		if left != 1 {
			t.Fatalf("%d administrators left, want 1", left)
		}
	}
}

func TestList(t *testing.T) { each(t, proveListUsers) }

func proveListUsers(t *testing.T, users *sqlusers.Users, _ database) {
	ctx := t.Context()
	var want []string
	for i := range 25 {
		want = append(want, fmt.Sprintf("user%02d", i))
		create(t, users, strings.ToUpper(want[i]), "r")
	}
	var got []string
	for after := ""; ; {
		page, err := users.List(ctx, after, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range page {
			got = append(got, a.Canonical)
			if a.Password != "" || a.ID == "" || a.Created.IsZero() || a.Updated.Before(a.Created) || a.Name != strings.ToUpper(a.Canonical) {
				t.Errorf("listed %+v", a)
			}
			after = a.Canonical
		}
		if len(page) < 10 {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed %q", got)
	}
	if page, err := users.List(ctx, "", 0); page != nil || err != nil {
		t.Errorf("no users asked for: %v, %v", page, err)
	}
}

func TestSharesTheDatabase(t *testing.T) { each(t, proveSharesTheDatabase) }

func proveSharesTheDatabase(t *testing.T, users *sqlusers.Users, db database) {
	u := create(t, users, "alice")
	again, err := sqlusers.New(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, again, u.ID); got.Name != "alice" {
		t.Errorf("got %+v", got)
	}
	if _, err := db.Store().ListUser(t.Context(), u.ID); err != nil {
		t.Error(err)
	}
}

// TestNewerTablesAreRefused: a program never writes into tables that it does not
// know.
func TestNewerTablesAreRefused(t *testing.T) { each(t, proveNewerTablesAreRefused) }

func proveNewerTablesAreRefused(t *testing.T, _ *sqlusers.Users, db database) {
	_, err := db.Exec(t.Context(), db.Dialect().SQL("UPDATE cloakroom_schema SET version = 99 WHERE component = ?"), []byte("user"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = sqlusers.New(t.Context(), db)
	newer, ok := errors.AsType[*sqlstore.SchemaError](err)
	if !ok || newer.Component != "user" || newer.Have != 99 {
		t.Fatalf("got %v, want a SchemaError", err)
	}
	if !strings.Contains(err.Error(), "start the newer program") {
		t.Errorf("the error does not say what to do: %v", err)
	}
}

func TestEndedContext(t *testing.T) { each(t, proveEndedContext) }

func proveEndedContext(t *testing.T, users *sqlusers.Users, _ database) {
	u := create(t, users, "alice")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := users.ByID(ctx, u.ID)
	is(t, err, context.Canceled)
	is(t, users.SetPassword(ctx, u.ID, phc(""), true), context.Canceled)
	if got := read(t, users, u.ID); got.Password != u.Password {
		t.Errorf("a write of an ended context was made: %+v", got)
	}
}
