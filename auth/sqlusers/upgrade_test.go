package sqlusers_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// version1 is the schema of users as the first program made it. It never changes,
// whatever the package becomes.
func version1(d *sqlstore.Dialect) sqlstore.Schema {
	return sqlstore.Schema{Component: "user", Versions: [][]string{{
		`CREATE TABLE cloakroom_user (
			id {key:32} NOT NULL PRIMARY KEY,
			name {bytes} NOT NULL,
			canonical {key:1024} NOT NULL UNIQUE,
			roles {bytes} NOT NULL,
			admin {int} NOT NULL,
			password {bytes} NOT NULL,
			epoch {int} NOT NULL,
			disabled {int} NOT NULL,
			created {int} NOT NULL,
			updated {int} NOT NULL){table}`,
		`CREATE INDEX cloakroom_user_admin ON cloakroom_user (admin)` + d.Where("admin = 1"),
		`CREATE TABLE cloakroom_epoch (
			id {int} NOT NULL PRIMARY KEY,
			epoch {int} NOT NULL){table}`,
		`INSERT INTO cloakroom_epoch (id, epoch) VALUES (1, 0)`,
		`CREATE TABLE cloakroom_setup (
			id {int} NOT NULL PRIMARY KEY,
			hash {key:32} NOT NULL,
			until {int} NOT NULL){table}`,
	}}}
}

// The users of a database of version 1, as its statements wrote them.
var version1Users = []struct {
	id, name, canonical, roles string
	admin, epoch, disabled     int
}{
	{"AAAAAAAAAAAAAAAAAAAAAA", "Alice", "alice", `["writer"]`, 0, 7, 0},
	{"BBBBBBBBBBBBBBBBBBBBBB", "bob", "bob", `[]`, 0, 2, 1},
}

// makeVersion1 makes the tables of version 1 with users and a setup token, and
// returns the token.
func makeVersion1(t *testing.T, db sqlstore.DB, now time.Time) string {
	t.Helper()
	ctx, d := t.Context(), db.Dialect()
	if err := version1(d).Apply(ctx, db); err != nil {
		t.Fatal(err)
	}
	run := func(query string, args ...any) {
		t.Helper()
		if _, err := db.Exec(ctx, d.SQL(query), args...); err != nil {
			t.Fatal(err)
		}
	}
	for _, u := range version1Users {
		run(`INSERT INTO cloakroom_user
			(id, name, canonical, roles, admin, password, epoch, disabled, created, updated)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, {clock}, {clock})`, []byte(u.id), []byte(u.name), []byte(u.canonical),
			[]byte(u.roles), u.admin, []byte(phc(u.name)), u.epoch, u.disabled)
	}
	run(`UPDATE cloakroom_epoch SET epoch = epoch + 3 WHERE id = 1`)
	const token = "c2V0dXAtdG9rZW4tb2YtdGhlLXByb2dyYW0tYmVmb3Jl"
	sum := sha256.Sum256([]byte(token))
	run(`INSERT INTO cloakroom_setup (id, hash, until) VALUES (1, ?, ?)`, sum[:], now.Add(time.Hour).UnixMilli())
	return token
}

// worksOn checks that what version 1 left is there and works.
func worksOn(t *testing.T, users *sqlusers.Users, token string, now time.Time) {
	t.Helper()
	ctx := t.Context()
	for _, u := range version1Users {
		want := auth.User{
			ID: u.id, Name: u.name, Password: phc(u.name), Epoch: uint64(u.epoch + 3), Disabled: u.disabled == 1,
		}
		if err := json.Unmarshal([]byte(u.roles), &want.Roles); err != nil {
			t.Fatal(err)
		}
		got, err := users.ByName(ctx, u.canonical)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s is %+v, %v, want %+v", u.name, got, err, want)
		}
		a, err := users.Account(ctx, u.id)
		if err != nil || a.MustChange || a.Link != "" || !a.LinkUntil.IsZero() || !a.HasPassword {
			t.Errorf("%s is %+v, %v, want a password that stays, and no link", u.name, a, err)
		}
	}
	is(t, users.CheckSetup(ctx, token, now), nil)
	admin, err := users.ClaimSetup(ctx, token, now, sqlusers.NewUser{Name: "root"})
	is(t, err, nil)
	if admin.Epoch != 4 {
		t.Errorf("a new user has epoch %d, want 1 and everybody's 3", admin.Epoch)
	}

	// What is new works on what is old.
	alice := version1Users[0].id
	link, err := users.NewLink(ctx, alice, sqlusers.LinkReset, now, time.Hour)
	is(t, err, nil)
	is(t, users.RequireChange(ctx, alice), nil)
	got, err := users.ClaimLink(ctx, link, now, phc("new"))
	if err != nil || got.Epoch != 7+3+2 || got.Password != phc("new") || got.MustChange {
		t.Errorf("claimed %+v, %v", got, err)
	}
	is(t, users.Rename(ctx, alice, "bob"), sqlusers.ErrNameTaken)
	is(t, users.Rename(ctx, alice, "carol"), nil)
	is(t, users.Remove(ctx, version1Users[1].id), nil)
}

// TestUpgrade: a database that the first program made goes on with this one.
func TestUpgrade(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.Name, func(t *testing.T) {
			db := k.OpenFor(t, k.Address(t))
			now := time.Now()
			token := makeVersion1(t, db, now)
			users, err := sqlusers.New(t.Context(), db)
			if err != nil {
				t.Fatal(err)
			}
			worksOn(t, users, token, now)

			// The program before says why it does not start.
			err = version1(db.Dialect()).Apply(t.Context(), db)
			if newer, ok := errors.AsType[*sqlstore.SchemaError](err); !ok || newer.Have != 2 {
				t.Errorf("the program of version 1 got %v, want a SchemaError", err)
			}
		})
	}
}

// dying is a database on which a migration meets its end: before the statement
// with a number, or right after it, before anything could be noted.
type dying struct {
	sqlstore.DB
	left  int
	after bool
}

var errDied = errors.New("died")

func (d *dying) Migrate(ctx context.Context, f func(context.Context, sqlstore.Queryer) error) error {
	return d.DB.Migrate(ctx, func(ctx context.Context, tx sqlstore.Queryer) error {
		return f(ctx, dyingQueryer{tx, d})
	})
}

type dyingQueryer struct {
	sqlstore.Queryer
	db *dying
}

func (q dyingQueryer) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	q.db.left--
	if q.db.left == 0 && q.db.after {
		_, err := q.Queryer.ExecContext(ctx, query, args...)
		return nil, errors.Join(errDied, err)
	}
	if q.db.left <= 0 {
		return nil, errDied
	}
	return q.Queryer.ExecContext(ctx, query, args...)
}

// TestUpgradeInterrupted: a program that ends in the middle of the upgrade, before
// any of its statements or behind it, leaves what the next one finishes. Where a
// statement that alters a table keeps itself at once, as MariaDB's do, that is a
// table that has some of the columns.
func TestUpgradeInterrupted(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.Name, func(t *testing.T) {
			var steps, lived bool
			for n := 1; !lived; n++ {
				for _, after := range []bool{false, true} {
					if after && !steps {
						continue // a transaction that is not committed leaves nothing
					}
					db := k.OpenFor(t, k.Address(t))
					steps = db.Dialect().Steps
					now := time.Now()
					token := makeVersion1(t, db, now)
					_, err := sqlusers.New(t.Context(), &dying{DB: db, left: n, after: after})
					if lived = err == nil; !lived && !errors.Is(err, errDied) {
						t.Fatalf("interrupted at statement %d: %v", n, err)
					}
					users, err := sqlusers.New(t.Context(), db)
					if err != nil {
						t.Fatalf("after it was interrupted at statement %d: %v", n, err)
					}
					worksOn(t, users, token, now)
				}
				if lived && n < 9 {
					t.Errorf("the upgrade was over after %d statements", n)
				}
			}
		})
	}
}

// TestUpgradeByTwo: instances that start at once upgrade once.
func TestUpgradeByTwo(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.Name, func(t *testing.T) {
			address := k.Address(t)
			now := time.Now()
			dbs := []database{k.OpenFor(t, address), k.OpenFor(t, address), k.OpenFor(t, address)}
			token := makeVersion1(t, dbs[0], now)
			var wg sync.WaitGroup
			all := make([]*sqlusers.Users, len(dbs))
			for i, db := range dbs {
				wg.Go(func() {
					var err error
					if all[i], err = sqlusers.New(t.Context(), db); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if !t.Failed() {
				worksOn(t, all[1], token, now)
			}
		})
	}
}
