package sqlusers_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// token makes a setup token or ends the test.
func token(t *testing.T, users *sqlusers.Users, now time.Time) string {
	t.Helper()
	s, err := users.NewSetupToken(t.Context(), now, 30*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSetup(t *testing.T) { each(t, proveSetup) }

func proveSetup(t *testing.T, users *sqlusers.Users, _ database) {
	ctx, now := t.Context(), time.Now()
	if has, err := users.HasAdmin(ctx); has || err != nil {
		t.Fatal(has, err)
	}
	s := token(t, users, now)
	if b, err := base64.RawURLEncoding.DecodeString(s); err != nil || len(b) != 32 {
		t.Errorf("token %q: want 32 bytes in base64url, %v", s, err)
	}
	for range 3 { // a check claims nothing
		is(t, users.CheckSetup(ctx, s, now), nil)
	}
	admin, err := users.ClaimSetup(ctx, s, now, sqlusers.NewUser{Name: "Root", Roles: []string{"writer"}, Password: phc("h")})
	is(t, err, nil)
	if !slices.Equal(admin.Roles, []string{"admin", "writer"}) || admin.Password != phc("h") || admin.Epoch == 0 {
		t.Errorf("made %+v", admin)
	}
	if has, err := users.HasAdmin(ctx); !has || err != nil {
		t.Error(has, err)
	}
	is(t, users.CheckSetup(ctx, s, now), sqlusers.ErrSetupGone)
	_, err = users.ClaimSetup(ctx, s, now, sqlusers.NewUser{Name: "other"})
	is(t, err, sqlusers.ErrSetupGone)
	_, err = users.NewSetupToken(ctx, now, time.Minute)
	is(t, err, sqlusers.ErrHasAdmin)
}

// TestASVS_6_4_1_SetupTokens: random, short-lived, single use, replaced by a
// newer one, and never taken for another.
func TestASVS_6_4_1_SetupTokens(t *testing.T) { each(t, proveASVS_6_4_1_SetupTokens) }

func proveASVS_6_4_1_SetupTokens(t *testing.T, users *sqlusers.Users, _ database) {
	ctx, now := t.Context(), time.Now()
	old := token(t, users, now)
	s := token(t, users, now)
	if old == s {
		t.Fatal("two tokens are one")
	}
	gone := func(s string, at time.Time) {
		t.Helper()
		is(t, users.CheckSetup(ctx, s, at), sqlusers.ErrSetupGone)
		_, err := users.ClaimSetup(ctx, s, at, sqlusers.NewUser{Name: "root"})
		is(t, err, sqlusers.ErrSetupGone)
		// Even with a name that would be refused: nothing is told before the token.
		_, err = users.ClaimSetup(ctx, s, at, sqlusers.NewUser{Name: ""})
		is(t, err, sqlusers.ErrSetupGone)
	}
	gone(old, now)
	gone("", now)
	gone(s+"A", now)
	gone(s[:42], now)
	gone(s, now.Add(30*time.Minute+time.Millisecond))
	is(t, users.CheckSetup(ctx, s, now.Add(30*time.Minute-time.Millisecond)), nil)
	_, err := users.NewSetupToken(ctx, now, 0)
	if err == nil {
		t.Error("a token for no time was made")
	}
}

// TestSetupRefusedLeavesTheToken: claim and account are one transaction.
func TestSetupRefusedLeavesTheToken(t *testing.T) { each(t, proveSetupRefusedLeavesTheToken) }

func proveSetupRefusedLeavesTheToken(t *testing.T, users *sqlusers.Users, _ database) {
	ctx, now := t.Context(), time.Now()
	create(t, users, "taken")
	s := token(t, users, now)
	for _, c := range []struct {
		user sqlusers.NewUser
		want error
	}{
		{sqlusers.NewUser{Name: "TAKEN"}, sqlusers.ErrNameTaken},
		{sqlusers.NewUser{Name: "a b"}, sqlusers.ErrNameInvalid},
		{sqlusers.NewUser{Name: "root", Roles: []string{"a b"}}, sqlusers.ErrRoleInvalid},
	} {
		_, err := users.ClaimSetup(ctx, s, now, c.user)
		is(t, err, c.want)
		is(t, users.CheckSetup(ctx, s, now), nil)
	}
	_, err := users.ClaimSetup(ctx, s, now, sqlusers.NewUser{Name: "root"})
	is(t, err, nil)
}

// TestSetupEndsWithAnAdministrator: made in another way, by another process.
func TestSetupEndsWithAnAdministrator(t *testing.T) { each(t, proveSetupEndsWithAnAdministrator) }

func proveSetupEndsWithAnAdministrator(t *testing.T, users *sqlusers.Users, _ database) {
	ctx, now := t.Context(), time.Now()
	s := token(t, users, now)
	create(t, users, "root", "admin")
	is(t, users.CheckSetup(ctx, s, now), sqlusers.ErrSetupGone)
	_, err := users.ClaimSetup(ctx, s, now, sqlusers.NewUser{Name: "second"})
	is(t, err, sqlusers.ErrSetupGone)
}

// TestASVS_15_4_2_ParallelClaims: of callers with one token exactly one wins, in
// every round.
func TestASVS_15_4_2_ParallelClaims(t *testing.T) { each(t, proveASVS_15_4_2_ParallelClaims) }

func proveASVS_15_4_2_ParallelClaims(t *testing.T, users *sqlusers.Users, db database) {
	ctx, now := t.Context(), time.Now()
	for round := range 40 {
		s := token(t, users, now)
		errs := make([]error, 12)
		made := make([]auth.User, len(errs))
		start := make(chan struct{})
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				<-start
				made[i], errs[i] = users.ClaimSetup(ctx, s, now, sqlusers.NewUser{Name: fmt.Sprintf("root%d-%d", round, i)})
			})
		}
		close(start)
		wg.Wait()
		won := 0
		for i, err := range errs {
			if err == nil {
				won++
				if got := read(t, users, made[i].ID); !slices.Equal(got.Roles, []string{"admin"}) {
					t.Errorf("made %+v", got)
				}
				continue
			}
			is(t, err, sqlusers.ErrSetupGone)
		}
		list, err := users.List(ctx, "", 10)
		if won != 1 || len(list) != 1 || err != nil {
			t.Fatalf("round %d: %d claims won and %d accounts were made, want one of each; %v", round, won, len(list), err)
		}
		if _, err := db.Exec(ctx, "DELETE FROM cloakroom_user"); err != nil {
			t.Fatal(err)
		}
	}
}

// slow is a database on which something happens between a check and the write
// that follows it.
type slow struct {
	sqlstore.DB
	before func()
}

func (s slow) Write(ctx context.Context, f func(context.Context, sqlstore.Queryer) error) error {
	if s.before != nil {
		s.before()
	}
	return s.DB.Write(ctx, f)
}

// TestASVS_15_4_2_ClaimChecksAgain: what was right when the claim was looked at
// is looked at again in its transaction.
func TestASVS_15_4_2_ClaimChecksAgain(t *testing.T) {
	for change, meanwhile := range map[string]func(t *testing.T, users *sqlusers.Users){
		"the token is replaced":    func(t *testing.T, users *sqlusers.Users) { token(t, users, time.Now()) },
		"an administrator is made": func(t *testing.T, users *sqlusers.Users) { create(t, users, "first", "admin") },
	} {
		t.Run(change, func(t *testing.T) {
			each(t, func(t *testing.T, users *sqlusers.Users, db database) {
				s := token(t, users, time.Now())
				late := &slow{DB: db}
				lateUsers, err := sqlusers.New(t.Context(), late)
				if err != nil {
					t.Fatal(err)
				}
				late.before = func() { meanwhile(t, users) }
				_, err = lateUsers.ClaimSetup(t.Context(), s, time.Now(), sqlusers.NewUser{Name: "late"})
				is(t, err, sqlusers.ErrSetupGone)
				_, err = users.ByName(t.Context(), "late")
				is(t, err, auth.ErrNoUser)
			})
		})
	}
}

// TestPromise11_SetupTokenIsHashedAtRest: whoever reads the database cannot set
// up.
func TestPromise11_SetupTokenIsHashedAtRest(t *testing.T) {
	each(t, func(t *testing.T, users *sqlusers.Users, db database) {
		s := token(t, users, time.Now())
		var stored []byte
		if err := db.Reader().QueryRowContext(t.Context(), "SELECT hash FROM cloakroom_setup").Scan(&stored); err != nil {
			t.Fatal(err)
		}
		if want := sha256.Sum256([]byte(s)); !bytes.Equal(stored, want[:]) {
			t.Errorf("stored %x, want the hash of the token", stored)
		}
	})
	users, db := openAt(t, kinds[0], kinds[0].Address(t))
	s := token(t, users, time.Now())
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	var path string
	if err := db.Reader().QueryRowContext(t.Context(), "SELECT file FROM pragma_database_list").Scan(&path); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) < 2 {
		t.Fatalf("files %q, %v, want the database and its log", files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(s)) || bytes.Contains(b, raw) {
			t.Errorf("%s holds the token", filepath.Base(f))
		}
	}
}

// TestASVS_15_4_2_TwoProcesses: programs that share a database and nothing else
// start at once, make its tables at once, and claim at once: one wins.
func TestASVS_15_4_2_TwoProcesses(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.Name, func(t *testing.T) {
			address := k.Address(t)
			var (
				wg   sync.WaitGroup
				all  [4]*sqlusers.Users
				errs [len(all)]error
			)
			for i := range all {
				wg.Go(func() {
					db, err := k.Open(t.Context(), address)
					if err != nil {
						t.Error(err)
						return
					}
					t.Cleanup(func() { db.Close() })
					if all[i], err = sqlusers.New(t.Context(), db); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if t.Failed() {
				return
			}
			now := time.Now()
			s := token(t, all[0], now)
			for i, users := range all {
				wg.Go(func() {
					_, errs[i] = users.ClaimSetup(t.Context(), s, now, sqlusers.NewUser{Name: fmt.Sprint("root", i)})
				})
			}
			wg.Wait()
			won := 0
			for _, err := range errs {
				if err == nil {
					won++
					continue
				}
				is(t, err, sqlusers.ErrSetupGone)
			}
			if list, err := all[0].List(t.Context(), "", 10); won != 1 || len(list) != 1 || err != nil {
				t.Errorf("%d claims won and %d accounts were made, %v, want one of each", won, len(list), err)
			}
		})
	}
}
