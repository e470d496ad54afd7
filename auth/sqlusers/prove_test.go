package sqlusers_test

import (
	"database/sql"
	"encoding/json"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
)

var prove = flag.Bool("prove", false, "search in 100,000 users, and claim 1000 links 100 times at once")

// TestASVS_15_4_2_ParallelLinks: of 100 who claim one link at once, on two
// instances, one sets the password; the link is used up, and the epoch is raised
// once. Nobody writes before everybody has seen the link to be good.
func TestASVS_15_4_2_ParallelLinks(t *testing.T) {
	rounds, callers := 5, 100
	if *prove {
		rounds = 1000
	}
	for _, k := range kinds {
		t.Run(k.Name, func(t *testing.T) {
			ctx, address := t.Context(), k.Address(t)
			one, db1 := openAt(t, k, address)
			two, db2 := openAt(t, k, address)
			var all sync.WaitGroup
			meet := func() { all.Done(); all.Wait() }
			var instances []*sqlusers.Users
			for _, db := range []database{db1, db2} {
				users, err := sqlusers.New(ctx, slow{db, meet})
				is(t, err, nil)
				instances = append(instances, users)
			}
			u := create(t, one, "alice")
			start := time.Now()
			for round := range rounds {
				now := time.Now()
				before := read(t, one, u.ID)
				s := link(t, one, u.ID, sqlusers.LinkReset, now)
				errs, made := make([]error, callers), make([]auth.User, callers)
				all.Add(callers)
				var wg sync.WaitGroup
				for i := range callers {
					wg.Go(func() {
						made[i], errs[i] = instances[i%2].ClaimLink(ctx, s, now, phc(fmt.Sprint(round, i)))
					})
				}
				wg.Wait()
				winner, won := -1, 0
				for i, err := range errs {
					if err == nil {
						winner = i
						won++
						continue
					}
					is(t, err, sqlusers.ErrLinkGone)
				}
				if won != 1 {
					t.Fatalf("round %d: %d claims of one link won, want 1", round, won)
				}
				got := read(t, one, u.ID)
				if fmt.Sprint(got) != fmt.Sprint(made[winner]) || got.Password != phc(fmt.Sprint(round, winner)) || got.Epoch != before.Epoch+1 {
					t.Fatalf("round %d: told %+v, stored %+v", round, made[winner], got)
				}
				gone(t, two, s, now)
			}
			if *prove {
				t.Logf("%s: %d links, each claimed by %d at once on two instances, one of them each time: %v",
					k.Name, rounds, callers, time.Since(start).Round(time.Second))
			}
		})
	}
}

// TestAttack_A58_LinksInParallel: links of several users that are made, replaced
// and claimed at once: each claim sets the password of the account that its link
// was made for, and of two links of one account the older one is void.
func TestAttack_A58_LinksInParallel(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.Name, func(t *testing.T) {
			ctx, address := t.Context(), k.Address(t)
			one, _ := openAt(t, k, address)
			two, _ := openAt(t, k, address)
			instances := []*sqlusers.Users{one, two}
			people := []auth.User{create(t, one, "alice"), create(t, one, "bob"), create(t, one, "carol")}
			for range 8 {
				now := time.Now()
				type made struct{ token, owner, hash string }
				links := make([]made, 4*len(people))
				var wg sync.WaitGroup
				for i := range links {
					wg.Go(func() {
						owner := people[i%len(people)].ID
						token, err := instances[i%2].NewLink(ctx, owner, sqlusers.LinkReset, now, time.Hour)
						is(t, err, nil)
						links[i] = made{token, owner, phc(token)}
					})
				}
				wg.Wait()
				errs := make([]error, len(links))
				for i, l := range links {
					wg.Go(func() {
						var u auth.User
						u, errs[i] = instances[(i+1)%2].ClaimLink(ctx, l.token, now, l.hash)
						if errs[i] == nil && (u.ID != l.owner || u.Password != l.hash) {
							t.Errorf("a link of %s set the password of %+v", l.owner, u)
						}
					})
				}
				wg.Wait()
				won := make(map[string]string)
				for i, l := range links {
					if errs[i] != nil {
						is(t, errs[i], sqlusers.ErrLinkGone)
						continue
					}
					if won[l.owner] != "" {
						t.Errorf("two links of %s were taken", l.owner)
					}
					won[l.owner] = l.hash
				}
				for _, u := range people {
					if got := read(t, one, u.ID); won[u.ID] == "" || got.Password != won[u.ID] {
						t.Errorf("%s has not the password of the link that was taken: %+v", u.Name, got)
					}
				}
			}
		})
	}
}

// TestSearchReadsAPage: with the table a page does not grow: what the database
// reads for it is the page and little more, be the users thousands or a hundred
// thousand. Only a part within the names, a role that few have and the lack of a
// password are looked for one by one.
func TestSearchReadsAPage(t *testing.T) {
	const page = 50
	n := 4_000
	if *prove {
		n = 100_000
	}
	middle := "mm" // about the middle of the names
	for _, k := range kinds {
		t.Run(k.Name, func(t *testing.T) {
			plain := k.OpenFor(t, k.Address(t))
			db := &asked{database: plain}
			users, err := sqlusers.New(t.Context(), db)
			if err != nil {
				t.Fatal(err)
			}
			fill(t, plain, n)
			var figures []string
			for _, c := range []struct {
				what   string
				filter sqlusers.Filter
				after  string
				most   int // rows that may be read; 0 is for those that look one by one
			}{
				{"first page", sqlusers.Filter{}, "", page},
				{"a page in the middle", sqlusers.Filter{}, middle, page},
				{"the last page", sqlusers.Filter{}, "zz", 4 * page}, // few enough to be sorted
				{"names that begin with mm", sqlusers.Filter{Text: "MM", Prefix: true}, "", page},
				{"names that begin with m, on", sqlusers.Filter{Text: "m", Prefix: true}, middle, 2 * page},
				{"the enabled", sqlusers.Filter{Enabled: true}, middle, 2 * page},
				{"the disabled", sqlusers.Filter{Disabled: true}, "", page},
				{"the disabled, on", sqlusers.Filter{Disabled: true}, middle, page},
				{"who must change", sqlusers.Filter{MustChange: true}, "", page},
				{"administrators", sqlusers.Filter{Role: sqlusers.Admin}, "", max(page, n/1000)},
				{"a role that all have", sqlusers.Filter{Role: "reader"}, middle, page},
				{"one by one: no password", sqlusers.Filter{NoPassword: true}, "", 0},
				{"one by one: a part that one name has", sqlusers.Filter{Text: fmt.Sprintf("%06d", n-1)}, "", 0},
				{"one by one: a part that no name has", sqlusers.Filter{Text: "nobody"}, "", 0},
				{"one by one: a role that nobody has", sqlusers.Filter{Role: "nobody"}, "", 0},
			} {
				start := time.Now()
				list, err := users.Search(t.Context(), c.filter, c.after, page)
				took := time.Since(start)
				if err != nil || len(list) == 0 && !strings.Contains(c.what, "no") && c.after != "zz" {
					t.Fatalf("%s: %d accounts, %v", c.what, len(list), err)
				}
				figures = append(figures, fmt.Sprintf("%s %.1f ms", c.what, float64(took)/1e6))
				if c.most == 0 {
					continue
				}
				// A server reads a row beyond each bound, or one to see that there
				// are no more.
				rows, plan := readRows(t, db)
				if rows > c.most+5 {
					t.Errorf("%s: %d rows of %d were read, want %d at most: %s", c.what, rows, n, c.most, plan)
				}
				if c.filter.Disabled && !strings.Contains(plan, "cloakroom_user_disabled") ||
					c.filter.MustChange && !strings.Contains(plan, "cloakroom_user_must_change") {
					t.Errorf("%s: not by the index that is there for it: %s", c.what, plan)
				}
			}
			if *prove {
				t.Logf("%s, %d users, pages of %d: %s", k.Name, n, page, strings.Join(figures, ", "))
			}
		})
	}
}

// readRows returns how many rows of users the database reads for what it was asked
// last, and how. SQLite tells no number: there it is 0 if it seeks in an index in
// the order of the page, and very many otherwise.
func readRows(t *testing.T, db *asked) (int, string) {
	t.Helper()
	switch db.Dialect().Name {
	case "sqlite":
		plan := explain(t, db, "EXPLAIN QUERY PLAN ")
		// Administrators are few, and sorted.
		if text := fmt.Sprint(plan); strings.Contains(text, "SEARCH cloakroom_user USING INDEX") &&
			(!strings.Contains(text, "TEMP B-TREE") || strings.Contains(text, "cloakroom_user_admin")) {
			return 0, text
		}
		return 1 << 30, fmt.Sprint(plan)
	case "mariadb":
		plan := explain(t, db, "ANALYZE ")
		for _, step := range plan {
			if step["table"] == "cloakroom_user" {
				read, err := strconv.ParseFloat(step["r_rows"], 64)
				is(t, err, nil)
				return int(read), fmt.Sprint(plan)
			}
		}
		t.Fatalf("no users in %v", plan)
	}
	text := explain(t, db, "EXPLAIN (ANALYZE, FORMAT JSON) ")[0]["QUERY PLAN"]
	var tree any
	if err := json.Unmarshal([]byte(text), &tree); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return countRows(tree), text
}

// explain runs what the database was asked last behind the word that explains it,
// and returns the rows of the answer by their columns.
func explain(t *testing.T, db *asked, word string) (answer []map[string]string) {
	t.Helper()
	rows, err := db.database.Reader().QueryContext(t.Context(), word+db.query, db.args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	is(t, err, nil)
	for rows.Next() {
		values, to := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range values {
			to[i] = &values[i]
		}
		is(t, rows.Scan(to...), nil)
		row := make(map[string]string)
		for i, c := range columns {
			row[c] = values[i].String
		}
		answer = append(answer, row)
	}
	if err := rows.Err(); err != nil || len(answer) == 0 {
		t.Fatalf("%d rows explain it, %v", len(answer), err)
	}
	return answer
}

// countRows adds up what a plan of PostgreSQL says of the rows of users.
func countRows(tree any) (n int) {
	switch tree := tree.(type) {
	case []any:
		for _, child := range tree {
			n += countRows(child)
		}
	case map[string]any:
		for _, child := range tree {
			n += countRows(child)
		}
		number := func(name string) float64 { f, _ := tree[name].(float64); return f }
		if tree["Relation Name"] == "cloakroom_user" {
			n += int(number("Actual Loops") * (number("Actual Rows") +
				number("Rows Removed by Filter") + number("Rows Removed by Index Recheck")))
		}
	}
	return n
}
