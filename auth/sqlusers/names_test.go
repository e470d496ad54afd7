package sqlusers_test

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

func TestRename(t *testing.T) { each(t, proveRename) }

func proveRename(t *testing.T, users *sqlusers.Users, _ database) {
	ctx := t.Context()
	alice, bob := create(t, users, "alice", "writer"), create(t, users, "bob")
	is(t, users.Rename(ctx, alice.ID, "Alice.Liddell"), nil)
	want := alice
	want.Name = "Alice.Liddell"
	if got := read(t, users, alice.ID); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("renamed %+v, want %+v: ID, roles, password and epoch stay", got, want)
	}
	got, err := users.ByName(ctx, "alice.liddell")
	if err != nil || got.ID != alice.ID {
		t.Errorf("by its new name: %+v, %v", got, err)
	}
	_, err = users.ByName(ctx, "alice")
	is(t, err, auth.ErrNoUser)

	is(t, users.Rename(ctx, alice.ID, "ALICE.LIDDELL"), nil) // its own, in another spelling
	is(t, users.Rename(ctx, bob.ID, "alice.liddell"), sqlusers.ErrNameTaken)
	is(t, users.Rename(ctx, bob.ID, "a b"), sqlusers.ErrNameInvalid)
	is(t, users.Rename(ctx, bob.ID, ""), sqlusers.ErrNameInvalid)
	is(t, users.Rename(ctx, "nobody", "carol"), auth.ErrNoUser)
	if got := read(t, users, bob.ID); got.Name != "bob" {
		t.Errorf("a refused change changed %+v", got)
	}

	// The name before is free, and whoever takes it is somebody else.
	second := create(t, users, "Alice")
	if second.ID == alice.ID || read(t, users, alice.ID).Name != "ALICE.LIDDELL" {
		t.Errorf("the name came with the account: %+v", second)
	}
	is(t, users.Rename(ctx, alice.ID, "alice"), sqlusers.ErrNameTaken)
}

// TestAttack_A58_RenamesInParallel: of those who take one name at the same moment,
// by renaming or as a new account, one gets it, on every instance.
func TestAttack_A58_RenamesInParallel(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.Name, func(t *testing.T) {
			address := k.Address(t)
			one, _ := openAt(t, k, address)
			two, _ := openAt(t, k, address)
			instances := []*sqlusers.Users{one, two}
			var ids []string
			for i := range 6 {
				ids = append(ids, create(t, one, fmt.Sprint("user", i)).ID)
			}
			for round := range 10 {
				name := fmt.Sprint("prize", round)
				errs := make([]error, len(ids)+2)
				var wg sync.WaitGroup
				for i := range errs {
					wg.Go(func() {
						users := instances[i%2]
						if i < len(ids) {
							errs[i] = users.Rename(t.Context(), ids[i], strings.ToUpper(name))
						} else {
							_, errs[i] = users.Create(t.Context(), sqlusers.NewUser{Name: name})
						}
					})
				}
				wg.Wait()
				won := 0
				for _, err := range errs {
					if err == nil {
						won++
						continue
					}
					is(t, err, sqlusers.ErrNameTaken)
				}
				if won != 1 {
					t.Fatalf("round %d: %d got the name, want 1", round, won)
				}
				owner, err := one.ByName(t.Context(), name)
				is(t, err, nil)
				if i := slices.Index(ids, owner.ID); i >= 0 && errs[i] != nil {
					t.Errorf("round %d: user %d has the name and was told %v", round, i, errs[i])
				}
			}
		})
	}
}

// blind is a database on which a transaction sees no name as taken.
type blind struct{ sqlstore.DB }

func (d blind) Write(ctx context.Context, f func(context.Context, sqlstore.Queryer) error) error {
	return d.DB.Write(ctx, func(ctx context.Context, tx sqlstore.Queryer) error { return f(ctx, blindQueryer{tx}) })
}

type blindQueryer struct{ sqlstore.Queryer }

func (q blindQueryer) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if strings.Contains(query, "WHERE canonical =") {
		args = []any{[]byte("a name that nobody has")}
	}
	return q.Queryer.QueryRowContext(ctx, query, args...)
}

// TestRenameMeetsTheIndex: where only the index of the database notices that a name
// is taken, as it can be by somebody else's transaction, that is the answer too.
func TestRenameMeetsTheIndex(t *testing.T) {
	each(t, func(t *testing.T, users *sqlusers.Users, db database) {
		alice, bob := create(t, users, "alice"), create(t, users, "bob")
		blinded, err := sqlusers.New(t.Context(), blind{db})
		is(t, err, nil)
		is(t, blinded.Rename(t.Context(), bob.ID, "ALICE"), sqlusers.ErrNameTaken)
		for _, u := range []auth.User{alice, bob} {
			if got := read(t, users, u.ID); fmt.Sprint(got) != fmt.Sprint(u) {
				t.Errorf("a refused change changed %+v", got)
			}
		}
		is(t, blinded.Rename(t.Context(), bob.ID, "BOB"), nil)
	})
}

// spellings are pairs of names that some program somewhere takes for one, by what
// becomes of the second beside an account of the first.
var spellings = map[string][][2]string{
	"same": {
		{"alice", "ALICE"}, {"alice", "aLiCe"}, {"alice", "Ａlice"}, {"alice", "ａｌｉｃｅ"},
		{"ann@example.com", "Ann@Example.COM"}, {"ann@example.com", "ann＠example.com"},
		{"ren\u00e9", "rene\u0301"}, {"ren\u00e9", "REN\u00c9"}, {"ren\u00e9", "RENE\u0301"},
		{"\u00e5ngstr\u00f6m", "A\u030angstro\u0308m"}, {"stra\u00dfe", "STRA\u1e9eE"},
		{"\u0436\u0443\u043a", "\u0416\u0423\u041a"}, {"\u0390\u03b1", "\u03b9\u0308\u0301\u03b1"},
		{"\uac00", "\u1100\u1161"}, {"\u30a2\u30d1", "\uff71\uff8a\uff9f"}, {"user1", "user１"},
		{"q\u0323\u0307", "q\u0307\u0323"}, {"\u1ed5", "o\u0302\u0309"}, {"\u00f1ino", "N\u0303INO"},
		{"\u03b1\u03b2", "\u0391\u0392"}, {"zo\u00eb", "ZOE\u0308"}, {"x.y-z", "Ｘ.Ｙ-Ｚ"},
	},
	"refused": {
		{"kelvin", "\u212aelvin"}, {"mike", "mi\u212ae"}, {"\u00e5sa", "\u212bsa"}, {"\u03c9", "\u2126"},
		{"sam", "\u017fam"}, {"admin", "\u1d43dmin"}, {"admin", "\u2090dmin"}, {"admin", "\u24d0dmin"},
		{"file", "\ufb01le"}, {"1st", "\u00b9st"}, {"no", "\u2116"}, {"lj", "\u01c9"}, {"a...", "a\u2026"},
		{"a-b", "a\u2011b"}, {"tel", "\u2121"}, {"al", "al\u200b"}, {"al", "\ufeffal"}, {"al", "al\u00ad"},
		{"al", "\u202eal"}, {"al", "\u2066al\u2069"}, {"al", "al\u200f"}, {"al", "al\x00"}, {"al", "al\n"},
		{"al", "al "}, {"al", " al"}, {"al", "a\u00a0l"}, {"al", "a\u3000l"}, {"al", "al\u3164"},
		{"al", "al\u034f"}, {"al", "al\xff"},
	},
	"two": {
		{"strasse", "stra\u00dfe"}, {"istanbul", "\u0130stanbul"}, {"istanbul", "\u0131stanbul"},
		{"\u03c3\u03b1\u03c2", "\u03c3\u03b1\u03c3"}, {"paypal", "p\u0430ypal"}, {"rene", "ren\u00e9"},
		{"alice", "alice."}, {"ann@example.com", "ann@ex\u0430mple.com"}, {"o", "\u00f8"}, {"a_b", "a%b"},
	},
}

// TestAttack_A36_NamesInTheDatabase: what becomes of a name beside another one is
// the same for a new account and for one that is renamed, and never somebody
// else's account.
func TestAttack_A36_NamesInTheDatabase(t *testing.T) {
	if n := len(spellings["same"]) + len(spellings["refused"]) + len(spellings["two"]); n < 60 {
		t.Fatalf("%d pairs, want 60", n)
	}
	each(t, func(t *testing.T, users *sqlusers.Users, _ database) {
		ctx := t.Context()
		wants := map[string]error{"same": sqlusers.ErrNameTaken, "refused": sqlusers.ErrNameInvalid, "two": nil}
		other := create(t, users, "somebody.else")
		for verdict, pairs := range spellings {
			for _, p := range pairs {
				first := create(t, users, p[0])
				second, err := users.Create(ctx, sqlusers.NewUser{Name: p[1]})
				is(t, err, wants[verdict])
				if err == nil {
					is(t, users.Remove(ctx, second.ID), nil)
				}
				err = users.Rename(ctx, other.ID, p[1])
				is(t, err, wants[verdict])
				if canonical, bad := auth.CanonicalName(p[1]); bad == nil {
					found, err := users.ByName(ctx, canonical)
					is(t, err, nil)
					if want := map[string]string{"same": first.ID, "two": other.ID}[verdict]; found.ID != want {
						t.Errorf("%+q beside %+q leads to the account %+v", p[1], p[0], found)
					}
				}
				is(t, users.Rename(ctx, other.ID, "somebody.else"), nil)
				is(t, users.Remove(ctx, first.ID), nil)
				if t.Failed() {
					t.Fatalf("%+q beside %+q, want %s", p[1], p[0], verdict)
				}
			}
		}
	})
}

// TestASVS_7_4_2_RemovedNamesStartAnew: a removed account takes its sessions, its
// link and its roles with it; who comes under its name later has none of them.
func TestASVS_7_4_2_RemovedNamesStartAnew(t *testing.T) {
	each(t, func(t *testing.T, users *sqlusers.Users, _ database) {
		ctx, now := t.Context(), time.Now()
		bob := create(t, users, "bob", "writer")
		link, err := users.NewLink(ctx, bob.ID, sqlusers.LinkReset, now, time.Hour)
		is(t, err, nil)
		is(t, users.Remove(ctx, bob.ID), nil)
		is(t, users.Remove(ctx, bob.ID), auth.ErrNoUser)
		_, err = users.ByID(ctx, bob.ID) // what a guard asks with the session's user
		is(t, err, auth.ErrNoUser)
		_, err = users.ByName(ctx, "bob")
		is(t, err, auth.ErrNoUser)

		ids := map[string]bool{bob.ID: true}
		for range 20 {
			again := create(t, users, "bob")
			if ids[again.ID] || again.Roles != nil {
				t.Fatalf("somebody else's ID or roles: %+v", again)
			}
			ids[again.ID] = true
			_, err = users.ByID(ctx, bob.ID)
			is(t, err, auth.ErrNoUser)
			_, err = users.CheckLink(ctx, link, now)
			is(t, err, sqlusers.ErrLinkGone)
			_, err = users.ClaimLink(ctx, link, now, phc("mallory"))
			is(t, err, sqlusers.ErrLinkGone)
			is(t, users.Remove(ctx, again.ID), nil)
		}
		for _, change := range []error{
			users.SetPassword(ctx, bob.ID, phc("x"), true), users.RequireChange(ctx, bob.ID), users.RaiseEpoch(ctx, bob.ID),
			users.SetRoles(ctx, bob.ID, nil), users.SetDisabled(ctx, bob.ID, false), users.Rename(ctx, bob.ID, "bobby"),
		} {
			is(t, change, auth.ErrNoUser)
		}
	})
}

func TestLastAdminIsNotRemoved(t *testing.T) { each(t, proveLastAdminIsNotRemoved) }

func proveLastAdminIsNotRemoved(t *testing.T, users *sqlusers.Users, _ database) {
	ctx := t.Context()
	alice, bob := create(t, users, "alice", "admin"), create(t, users, "bob", "admin")
	is(t, users.Remove(ctx, "nobody"), auth.ErrNoUser)
	is(t, users.SetDisabled(ctx, bob.ID, true), nil)
	is(t, users.Remove(ctx, alice.ID), sqlusers.ErrLastAdmin)
	if got := read(t, users, alice.ID); fmt.Sprint(got) != fmt.Sprint(alice) {
		t.Errorf("a refused change changed %+v", got)
	}
	is(t, users.Remove(ctx, bob.ID), nil) // a disabled one does not count
	is(t, users.Remove(ctx, alice.ID), sqlusers.ErrLastAdmin)
	carol := create(t, users, "carol", "admin")
	is(t, users.Remove(ctx, alice.ID), nil)
	is(t, users.Remove(ctx, carol.ID), sqlusers.ErrLastAdmin)
	is(t, users.SetRoles(ctx, carol.ID, nil), sqlusers.ErrLastAdmin)
	is(t, users.SetDisabled(ctx, carol.ID, true), sqlusers.ErrLastAdmin)
}

// TestLastAdminsRemoveEachOther: of administrators who take away each other at the
// same moment, by removing, disabling or roles, on two instances, one stays.
func TestLastAdminsRemoveEachOther(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.Name, func(t *testing.T) {
			address := k.Address(t)
			one, _ := openAt(t, k, address)
			two, _ := openAt(t, k, address)
			instances := []*sqlusers.Users{one, two}
			ctx := t.Context()
			last := create(t, one, "last", "admin")
			for round := range 15 {
				admins := []auth.User{
					last, create(t, one, fmt.Sprint("a", round), "admin"), create(t, one, fmt.Sprint("b", round), "admin"),
				}
				var wg sync.WaitGroup
				for i, u := range admins {
					wg.Go(func() {
						var err error
						switch users := instances[i%2]; (round + i) % 5 {
						case 0:
							err = users.SetDisabled(ctx, u.ID, true)
						case 1:
							err = users.SetRoles(ctx, u.ID, nil)
						default:
							err = users.Remove(ctx, u.ID)
						}
						if err != nil {
							is(t, err, sqlusers.ErrLastAdmin)
						}
					})
				}
				wg.Wait()
				left, err := one.Search(ctx, sqlusers.Filter{Role: sqlusers.Admin, Enabled: true}, "", 10)
				if err != nil || len(left) != 1 {
					t.Fatalf("round %d: %d administrators left, %v, want 1", round, len(left), err)
				}
				last = left[0].User
			}
		})
	}
}
