package sqlusers_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// link makes a link of an hour or ends the test.
func link(t *testing.T, users *sqlusers.Users, id string, kind sqlusers.LinkKind, now time.Time) string {
	t.Helper()
	s, err := users.NewLink(t.Context(), id, kind, now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// gone checks that a token is worth nothing, not even a reason.
func gone(t *testing.T, users *sqlusers.Users, token string, at time.Time) {
	t.Helper()
	l, err := users.CheckLink(t.Context(), token, at)
	is(t, err, sqlusers.ErrLinkGone)
	for _, hash := range []string{phc("mallory"), "no hash", ""} {
		u, err := users.ClaimLink(t.Context(), token, at, hash)
		is(t, err, sqlusers.ErrLinkGone)
		if fmt.Sprint(l, u) != fmt.Sprint(sqlusers.Link{}, auth.User{}) {
			t.Errorf("beside the error comes %+v, %+v", l, u)
		}
	}
}

// TestInvite: from an account that nobody can enter to one that its user can.
func TestInvite(t *testing.T) { each(t, proveInvite) }

func proveInvite(t *testing.T, users *sqlusers.Users, _ database) {
	ctx, now := t.Context(), time.Now().Truncate(time.Millisecond)
	bob, err := users.Create(ctx, sqlusers.NewUser{Name: "Bob", Roles: []string{"writer"}})
	is(t, err, nil)
	s := link(t, users, bob.ID, sqlusers.LinkInvite, now)
	for range 3 { // a check claims nothing
		l, err := users.CheckLink(ctx, s, now)
		is(t, err, nil)
		if l.Kind != sqlusers.LinkInvite || fmt.Sprint(l.User) != fmt.Sprint(bob) || !l.Until.Equal(now.Add(time.Hour)) {
			t.Errorf("the link is %+v", l)
		}
	}
	a, err := users.Account(ctx, bob.ID)
	if err != nil || a.HasPassword || a.Link != sqlusers.LinkInvite || !a.LinkUntil.Equal(now.Add(time.Hour)) {
		t.Errorf("the account is %+v, %v, want one that waits", a, err)
	}
	_, err = users.ClaimLink(ctx, s, now, "") // no password is none that was chosen
	is(t, err, sqlusers.ErrNoHash)
	_, err = users.ClaimLink(ctx, s, now, "a password in plain words")
	is(t, err, sqlusers.ErrNoHash)
	got, err := users.ClaimLink(ctx, s, now, phc("chosen"))
	is(t, err, nil)
	want := bob
	want.Password, want.Epoch = phc("chosen"), bob.Epoch+1
	if fmt.Sprint(got) != fmt.Sprint(want) || fmt.Sprint(read(t, users, bob.ID)) != fmt.Sprint(want) {
		t.Errorf("claimed %+v, want %+v", got, want)
	}
	gone(t, users, s, now)
	a, err = users.Account(ctx, bob.ID)
	if err != nil || !a.HasPassword || a.Link != "" || !a.LinkUntil.IsZero() {
		t.Errorf("the account is %+v, %v, want one whose link is used", a, err)
	}
}

// TestASVS_6_4_1_LinksAreShortLivedAndSingleUse: random, of its user's own, for
// the time that it was made for, replaced by a newer one, never taken twice and
// never taken for another.
func TestASVS_6_4_1_LinksAreShortLivedAndSingleUse(t *testing.T) { each(t, proveASVS_6_4_1_Links) }

func proveASVS_6_4_1_Links(t *testing.T, users *sqlusers.Users, _ database) {
	ctx, now := t.Context(), time.Now()
	alice, bob := create(t, users, "alice"), create(t, users, "bob")
	is(t, users.RequireChange(ctx, alice.ID), nil)
	before := read(t, users, alice.ID)
	if !before.MustChange || before.Epoch != alice.Epoch+1 {
		t.Errorf("after RequireChange the user is %+v", before)
	}
	old := link(t, users, alice.ID, sqlusers.LinkInvite, now)
	s := link(t, users, alice.ID, sqlusers.LinkReset, now)
	others := link(t, users, bob.ID, sqlusers.LinkReset, now)
	if b, err := base64.RawURLEncoding.DecodeString(s); err != nil || len(b) != 32 || s == old || s == others {
		t.Errorf("token %q: want 32 bytes in base64url that come once, %v", s, err)
	}
	for _, token := range []string{old, "", s + "A", s[:42], token(t, users, now)} {
		gone(t, users, token, now)
	}
	until := time.UnixMilli(now.Add(time.Hour).UnixMilli())
	gone(t, users, s, until)
	gone(t, users, s, now.Add(100*365*24*time.Hour))
	is(t, users.CheckSetup(ctx, s, now), sqlusers.ErrSetupGone)
	if got := read(t, users, alice.ID); fmt.Sprint(got) != fmt.Sprint(before) {
		t.Errorf("tokens that are gone changed %+v", got)
	}

	got, err := users.ClaimLink(ctx, s, until.Add(-time.Millisecond), phc("chosen"))
	is(t, err, nil)
	if got.ID != alice.ID || got.MustChange || got.Epoch != before.Epoch+1 || got.Password != phc("chosen") {
		t.Errorf("claimed %+v", got)
	}
	gone(t, users, s, now)
	is(t, check(users.CheckLink(ctx, others, now)), nil) // is bob's, and stays
	if got := read(t, users, bob.ID); fmt.Sprint(got) != fmt.Sprint(bob) {
		t.Errorf("alice's link changed %+v", got)
	}

	for _, validFor := range []time.Duration{0, -time.Hour} {
		if _, err := users.NewLink(ctx, bob.ID, sqlusers.LinkReset, now, validFor); err == nil {
			t.Errorf("a link for %v was made", validFor)
		}
	}
	for _, kind := range []sqlusers.LinkKind{"", "setup", "RESET"} {
		if _, err := users.NewLink(ctx, bob.ID, kind, now, time.Hour); err == nil {
			t.Errorf("a link of the kind %q was made", kind)
		}
	}
	_, err = users.NewLink(ctx, "nobody", sqlusers.LinkReset, now, time.Hour)
	is(t, err, auth.ErrNoUser)
}

// check is the error of CheckLink.
func check(_ sqlusers.Link, err error) error { return err }

// TestASVS_6_4_3_ResetIsVoidAfter: whatever sets the password or shuts the account
// voids its link, and nothing else does.
func TestASVS_6_4_3_ResetIsVoidAfter(t *testing.T) {
	each(t, func(t *testing.T, users *sqlusers.Users, _ database) {
		for what, c := range afterwards {
			t.Run(what, func(t *testing.T) {
				now := time.Now()
				u := create(t, users, "alice")
				s := link(t, users, u.ID, sqlusers.LinkReset, now)
				is(t, c.change(t.Context(), users, u), nil)
				if c.void {
					gone(t, users, s, now)
				} else {
					got, err := users.ClaimLink(t.Context(), s, now, phc("chosen"))
					if err != nil || got.MustChange {
						t.Errorf("claimed %+v, %v", got, err)
					}
				}
				users.Remove(t.Context(), u.ID) // one case has done so
			})
		}
	})
}

// afterwards are changes of an account that has a link.
var afterwards = map[string]struct {
	change func(ctx context.Context, users *sqlusers.Users, u auth.User) error
	void   bool
}{
	"a newer link": {func(ctx context.Context, users *sqlusers.Users, u auth.User) error {
		_, err := users.NewLink(ctx, u.ID, sqlusers.LinkReset, time.Now(), time.Hour)
		return err
	}, true},
	"a change of the password": {func(ctx context.Context, users *sqlusers.Users, u auth.User) error {
		done, err := users.ChangePassword(ctx, u.ID, u.Password, phc("new"))
		if !done {
			err = errors.Join(err, errors.New("not changed"))
		}
		return err
	}, true},
	"a password that is set": {func(ctx context.Context, users *sqlusers.Users, u auth.User) error {
		return users.SetPassword(ctx, u.ID, phc("new"), true)
	}, true},
	"a password that is taken away": {func(ctx context.Context, users *sqlusers.Users, u auth.User) error {
		return users.SetPassword(ctx, u.ID, "", true)
	}, true},
	"disabling": {func(ctx context.Context, users *sqlusers.Users, u auth.User) error {
		return users.SetDisabled(ctx, u.ID, true)
	}, true},
	"disabling and enabling": {func(ctx context.Context, users *sqlusers.Users, u auth.User) error {
		return errors.Join(users.SetDisabled(ctx, u.ID, true), users.SetDisabled(ctx, u.ID, false))
	}, true},
	"removal": {func(ctx context.Context, users *sqlusers.Users, u auth.User) error {
		return users.Remove(ctx, u.ID)
	}, true},
	"the same password hashed anew": {func(ctx context.Context, users *sqlusers.Users, u auth.User) error {
		done, err := users.ReplaceHash(ctx, u.ID, u.Password, phc("anew"))
		if !done {
			err = errors.Join(err, errors.New("not replaced"))
		}
		return errors.Join(err, users.SetPassword(ctx, u.ID, phc("again"), false))
	}, false},
	"ended sessions, roles, another name, a change that is required": {
		func(ctx context.Context, users *sqlusers.Users, u auth.User) error {
			return errors.Join(users.RaiseEpoch(ctx, u.ID), users.RaiseEpochAll(ctx), users.RequireChange(ctx, u.ID),
				users.SetRoles(ctx, u.ID, []string{"r"}), users.Rename(ctx, u.ID, "somebody"))
		}, false},
}

// TestASVS_15_4_2_LinkIsCheckedAgain: what was right when the claim was looked at
// is looked at again by the statement that sets the password.
func TestASVS_15_4_2_LinkIsCheckedAgain(t *testing.T) {
	each(t, func(t *testing.T, users *sqlusers.Users, db database) {
		for what, c := range afterwards {
			if !c.void {
				continue
			}
			t.Run(what, func(t *testing.T) {
				ctx, now := t.Context(), time.Now()
				u := create(t, users, "alice")
				s := link(t, users, u.ID, sqlusers.LinkReset, now)
				var then auth.User
				late, err := sqlusers.New(ctx, slow{db, func() {
					is(t, c.change(ctx, users, u), nil)
					then, _ = users.ByID(ctx, u.ID) // nobody, where it was removed
				}})
				is(t, err, nil)
				_, err = late.ClaimLink(ctx, s, now, phc("late"))
				is(t, err, sqlusers.ErrLinkGone)
				if got, _ := users.ByID(ctx, u.ID); fmt.Sprint(got) != fmt.Sprint(then) {
					t.Errorf("a claim that is late changed %+v to %+v", then, got)
				}
				users.Remove(ctx, u.ID)
			})
		}
	})
}

// TestASVS_6_4_3_DisabledGetNoLink: a link would outlive the reason.
func TestASVS_6_4_3_DisabledGetNoLink(t *testing.T) {
	each(t, func(t *testing.T, users *sqlusers.Users, _ database) {
		u := create(t, users, "alice")
		is(t, users.SetDisabled(t.Context(), u.ID, true), nil)
		_, err := users.NewLink(t.Context(), u.ID, sqlusers.LinkReset, time.Now(), time.Hour)
		is(t, err, sqlusers.ErrDisabled)
		is(t, users.SetDisabled(t.Context(), u.ID, false), nil)
		link(t, users, u.ID, sqlusers.LinkReset, time.Now())
	})
}

// TestASVS_6_4_6_AResetIsOnlyStarted: to make a link changes nothing of the
// account: neither is its user locked out, nor is there a password that whoever
// made it knows.
func TestASVS_6_4_6_AResetIsOnlyStarted(t *testing.T) {
	each(t, func(t *testing.T, users *sqlusers.Users, _ database) {
		u := create(t, users, "alice")
		link(t, users, u.ID, sqlusers.LinkReset, time.Now())
		if got := read(t, users, u.ID); fmt.Sprint(got) != fmt.Sprint(u) {
			t.Errorf("a link changed %+v to %+v", u, got)
		}
	})
}

// TestASVS_6_5_2_LinksAreHashedAtRest: whoever reads the database has no link.
func TestASVS_6_5_2_LinksAreHashedAtRest(t *testing.T) {
	each(t, func(t *testing.T, users *sqlusers.Users, db database) {
		u := create(t, users, "alice")
		s := link(t, users, u.ID, sqlusers.LinkReset, time.Now())
		var stored []byte
		if err := db.Reader().QueryRowContext(t.Context(), "SELECT link FROM cloakroom_user").Scan(&stored); err != nil {
			t.Fatal(err)
		}
		if want := sha256.Sum256([]byte(s)); !bytes.Equal(stored, want[:]) {
			t.Errorf("stored %x, want the hash of the token", stored)
		}
		gone(t, users, string(stored), time.Now())
		gone(t, users, base64.RawURLEncoding.EncodeToString(stored), time.Now())
	})
	users, db := openAt(t, kinds[0], kinds[0].Address(t))
	s := link(t, users, create(t, users, "alice").ID, sqlusers.LinkReset, time.Now())
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

// TestASVS_6_5_3_LinksComeFromCryptoRand: the tokens of links and of the setup are
// what crypto/rand gives next, 32 bytes as they are.
func TestASVS_6_5_3_LinksComeFromCryptoRand(t *testing.T) {
	users, _ := openAt(t, kinds[0], kinds[0].Address(t))
	u := create(t, users, "alice")
	const seed = 5
	cryptotest.SetGlobalRandom(t, seed)
	var want [32]byte
	rand.Read(want[:])
	for what, make := range map[string]func() string{
		"link":  func() string { return link(t, users, u.ID, sqlusers.LinkReset, time.Now()) },
		"setup": func() string { return token(t, users, time.Now()) },
	} {
		cryptotest.SetGlobalRandom(t, seed)
		if got := make(); got != base64.RawURLEncoding.EncodeToString(want[:]) {
			t.Errorf("the token of a %s is %s, crypto/rand gave %x", what, got, want)
		}
	}
}

// failing is a database that fails at the statement of a transaction with a
// number, or at keeping it.
type failing struct {
	sqlstore.DB
	left   int
	commit bool
}

var errFailed = errors.New("failed")

func (d *failing) Write(ctx context.Context, f func(context.Context, sqlstore.Queryer) error) error {
	return d.DB.Write(ctx, func(ctx context.Context, tx sqlstore.Queryer) error {
		err := f(ctx, failingQueryer{tx, d})
		if err == nil && d.commit {
			err = errFailed
		}
		return err
	})
}

type failingQueryer struct {
	sqlstore.Queryer
	db *failing
}

func (q failingQueryer) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if q.db.left--; q.db.left == 0 {
		return nil, errFailed
	}
	return q.Queryer.ExecContext(ctx, query, args...)
}

// TestASVS_2_3_3_ClaimIsAllOrNothing: a claim that fails has set no password and
// used no link.
func TestASVS_2_3_3_ClaimIsAllOrNothing(t *testing.T) {
	each(t, func(t *testing.T, users *sqlusers.Users, db database) {
		ctx, now := t.Context(), time.Now()
		u := create(t, users, "alice")
		s := link(t, users, u.ID, sqlusers.LinkReset, now)
		for _, fault := range []*failing{{DB: db, left: 1}, {DB: db, commit: true}} {
			faulty, err := sqlusers.New(ctx, fault)
			if err != nil {
				t.Fatal(err)
			}
			_, err = faulty.ClaimLink(ctx, s, now, phc("chosen"))
			is(t, err, errFailed)
			fault.left = 1
			is(t, faulty.Rename(ctx, u.ID, "other"), errFailed)
			fault.left = 1
			is(t, faulty.Remove(ctx, u.ID), errFailed)
			if got := read(t, users, u.ID); fmt.Sprint(got) != fmt.Sprint(u) {
				t.Errorf("a change that failed changed %+v", got)
			}
			is(t, check(users.CheckLink(ctx, s, now)), nil)
		}
		_, err := users.ClaimLink(ctx, s, now, phc("chosen"))
		is(t, err, nil)
	})
}
