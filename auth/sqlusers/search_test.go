package sqlusers_test

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// found returns the canonical names that a search finds, by pages of a size.
func found(t *testing.T, users *sqlusers.Users, f sqlusers.Filter, size int) []string {
	t.Helper()
	var names []string
	for after := ""; ; {
		page, err := users.Search(t.Context(), f, after, size)
		if err != nil {
			t.Fatalf("%+v after %q: %v", f, after, err)
		}
		for _, a := range page {
			names = append(names, a.Canonical)
			after = a.Canonical
		}
		if len(page) < size {
			return names
		}
	}
}

func TestSearch(t *testing.T) { each(t, proveSearch) }

func proveSearch(t *testing.T, users *sqlusers.Users, _ database) {
	ctx := t.Context()
	for _, name := range []string{
		"Bob", "bobby", "abob", "alice", "a_b", "a%b", "axb", `a\b`, "o'brien", `say"x"`, "Éva", "straße",
		"王小明", "bob@example.com", "zz", "אבג",
	} {
		create(t, users, name)
	}
	for text, want := range map[string]string{
		"bob":                        "abob bob bob@example.com bobby",
		"BOB":                        "abob bob bob@example.com bobby",
		"ＢＯＢ":                        "abob bob bob@example.com bobby",
		"  bob\t":                    "abob bob bob@example.com bobby",
		"BOB@":                       "bob@example.com",
		"＠Example":                   "bob@example.com",
		"a_b":                        "a_b",
		"a%b":                        "a%b",
		"%":                          "a%b",
		"_":                          "a_b",
		`\`:                          `a\b`,
		`a\b`:                        `a\b`,
		"'":                          "o'brien",
		"''":                         "",
		`"`:                          `say"x"`,
		"' OR 1=1":                   "",
		"?":                          "",
		"{int}":                      "",
		"E\u0301V":                   "éva",
		"ÉV":                         "éva",
		"STRAẞE":                     "straße",
		"小":                          "王小明",
		"ב":                          "אבג", // no name by itself, perhaps, but a part
		"b\x00":                      "",
		"\x00":                       "",
		"bob\x00":                    "",
		"\xff":                       "",
		"\xe7":                       "", // the first byte of 王 is no part of it
		"z":                          "zz",
		"zzz":                        "",
		strings.Repeat("b", 100_000): "",
	} {
		if got := strings.Join(found(t, users, sqlusers.Filter{Text: text}, 3), " "); got != want {
			t.Errorf("%.40q finds %s, want %s", text, got, want)
		}
		var starts []string
		for _, name := range strings.Fields(want) {
			if list := found(t, users, sqlusers.Filter{Text: text, Prefix: true}, 3); slices.Contains(list, name) {
				starts = append(starts, name)
			}
		}
		if got := found(t, users, sqlusers.Filter{Text: text, Prefix: true}, 2); !slices.Equal(got, starts) {
			t.Errorf("beginning with %.40q are %q, want some of %s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"Bo": "bob bob@example.com bobby", "ob": "", "a": "a%b a\\b a_b abob alice axb", "": "16 names", "z": "zz", "王": "王小明",
		"zz": "zz", "\xff": "",
	} {
		got := strings.Join(found(t, users, sqlusers.Filter{Text: text, Prefix: true}, 2), " ")
		if text == "" {
			got = fmt.Sprint(len(found(t, users, sqlusers.Filter{Prefix: true}, 5)), " names")
		}
		if got != want {
			t.Errorf("beginning with %q are %s, want %s", text, got, want)
		}
	}
	for _, after := range []string{"\x00", "\xff", "zz", strings.Repeat("z", 5000), "'"} {
		if _, err := users.Search(ctx, sqlusers.Filter{}, after, 10); err != nil {
			t.Errorf("after %.20q: %v", after, err)
		}
	}
	if list, err := users.Search(ctx, sqlusers.Filter{}, "", 0); list != nil || err != nil {
		t.Errorf("no users asked for: %v, %v", list, err)
	}
	if list, err := users.Search(ctx, sqlusers.Filter{}, "", -1); list != nil || err != nil {
		t.Errorf("no users asked for: %v, %v", list, err)
	}
}

// TestSearchFilters: each filter by itself and all pairs, against what is told of
// everybody.
func TestSearchFilters(t *testing.T) { each(t, proveSearchFilters) }

func proveSearchFilters(t *testing.T, users *sqlusers.Users, _ database) {
	ctx := t.Context()
	for i := range 64 {
		n := sqlusers.NewUser{Name: fmt.Sprintf("User%02d", i), MustChange: i&1 != 0}
		if i&2 != 0 {
			n.Password = phc("x")
		}
		if i&4 != 0 {
			n.Roles = append(n.Roles, "admin")
		}
		if i&8 != 0 {
			n.Roles = append(n.Roles, "writer")
		}
		if i&16 != 0 {
			n.Roles = append(n.Roles, "sub-writer", "write")
		}
		u, err := users.Create(ctx, n)
		is(t, err, nil)
		if i&32 != 0 {
			is(t, users.SetDisabled(ctx, u.ID, true), nil)
		}
	}
	everybody, err := users.List(ctx, "", 100)
	if err != nil || len(everybody) != 64 {
		t.Fatalf("%d accounts, %v", len(everybody), err)
	}
	filters := []sqlusers.Filter{
		{}, {Text: "USER1"}, {Text: "3"}, {Text: "user2", Prefix: true}, {Role: "admin"}, {Role: "writer"}, {Role: "write"},
		{Role: "Writer"}, {Role: "rite"}, {Role: `sub-writer","write`}, {Role: `r`}, {Role: `"`},
		{Enabled: true}, {Disabled: true}, {MustChange: true}, {NoPassword: true}, {Enabled: true, Disabled: true},
	}
	some := 0
	for i, f := range filters {
		for _, g := range filters[i:] {
			both := f
			if both.Text == "" {
				both.Text, both.Prefix = g.Text, g.Prefix
			}
			if both.Role == "" {
				both.Role = g.Role
			}
			both.Enabled, both.Disabled = f.Enabled || g.Enabled, f.Disabled || g.Disabled
			both.MustChange, both.NoPassword = f.MustChange || g.MustChange, f.NoPassword || g.NoPassword
			var want []string
			for _, a := range everybody {
				if meets(a, both) {
					want = append(want, a.Canonical)
				}
			}
			some += min(len(want), 1)
			if got := found(t, users, both, 7); !slices.Equal(got, want) {
				t.Errorf("%+v finds %q, want %q", both, got, want)
			}
		}
	}
	if some < 60 {
		t.Errorf("only %d of the filters find anybody", some)
	}
}

// meets is what a Filter says, in other words.
func meets(a sqlusers.Account, f sqlusers.Filter) bool {
	text := strings.ToLower(f.Text)
	switch {
	case f.Prefix && !strings.HasPrefix(a.Canonical, text), !strings.Contains(a.Canonical, text):
	case f.Role != "" && !slices.Contains(a.Roles, f.Role):
	case f.Enabled && a.Disabled, f.Disabled && !a.Disabled:
	case f.MustChange && !a.MustChange, f.NoPassword && a.HasPassword:
	default:
		return true
	}
	return false
}

// asked is a database that remembers what its Reader was asked last.
type asked struct {
	database
	query string
	args  []any
}

func (a *asked) Reader() sqlstore.Queryer { return askedQueryer{a.database.Reader(), a} }

type askedQueryer struct {
	sqlstore.Queryer
	to *asked
}

func (q askedQueryer) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	q.to.query, q.to.args = query, args
	return q.Queryer.QueryContext(ctx, query, args...)
}

// fill makes n accounts more, many at once, and returns the names of some. One in a
// hundred is disabled, one in a hundred must change the password, one in a
// thousand is an administrator, and one in ten has no password.
func fill(t *testing.T, db database, n int) {
	t.Helper()
	const columns, size = 13, 500
	one := ", (" + strings.Repeat("?, ", columns-1) + "?)"
	head := `INSERT INTO cloakroom_user (id, name, canonical, roles, admin, password, epoch, disabled, created, updated,
		must_change, link_kind, link_until) VALUES `
	at := time.Now().UnixMilli()
	for from := 0; from < n; from += size {
		var args []any
		count := min(size, n-from)
		for i := from; i < from+count; i++ {
			name := fmt.Sprintf("%c%c%06d@example.com", 'a'+i%26, 'a'+i/26%26, i)
			roles, admin, hash := `["reader"]`, 0, phc(name)
			if i%1000 == 7 {
				roles, admin = `["admin","reader"]`, 1
			}
			if i%10 == 3 {
				hash = ""
			}
			args = append(args, []byte(fmt.Sprintf("ID%020d", i)), []byte(name), []byte(name), []byte(roles), admin,
				[]byte(hash), 1, number(i%100 == 50), at, at, number(i%100 == 60), 0, 0)
		}
		query := head + strings.TrimPrefix(strings.Repeat(one, count), ", ")
		if _, err := db.Exec(t.Context(), db.Dialect().SQL(query), args...); err != nil {
			t.Fatal(err)
		}
	}
	// What a server does by itself after a while.
	if analyze := map[string]string{"postgres": "ANALYZE cloakroom_user", "mariadb": "ANALYZE TABLE cloakroom_user"}[db.Dialect().Name]; analyze != "" {
		rows, err := db.Reader().QueryContext(t.Context(), analyze)
		if err != nil {
			t.Fatal(err)
		}
		rows.Close()
	}
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}
