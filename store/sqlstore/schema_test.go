package sqlstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// version returns the version of a component's tables.
func version(t *testing.T, db sqlstore.DB, component string) int {
	t.Helper()
	var n int
	err := db.Reader().QueryRowContext(t.Context(),
		db.Dialect().SQL("SELECT version FROM cloakroom_schema WHERE component = ?"), []byte(component)).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSchemaSteps(t *testing.T) { each(t, proveSchemaSteps) }

func proveSchemaSteps(t *testing.T, db database) {
	s := sqlstore.Schema{Component: "things", Versions: [][]string{
		{"CREATE TABLE things (id {int} NOT NULL PRIMARY KEY)", "INSERT INTO things VALUES (1)"},
		{"ALTER TABLE things ADD COLUMN n {int} NOT NULL DEFAULT 7"},
		{"UPDATE things SET n = n + 1"},
	}}
	old := sqlstore.Schema{Component: s.Component, Versions: s.Versions[:1]}
	if err := old.Apply(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	if got := version(t, db, "things"); got != 1 {
		t.Fatalf("version %d, want 1", got)
	}
	for range 2 { // the second time there is nothing to do
		if err := s.Apply(t.Context(), db); err != nil {
			t.Fatal(err)
		}
	}
	var n int
	if err := db.Reader().QueryRowContext(t.Context(), "SELECT n FROM things").Scan(&n); err != nil || n != 8 {
		t.Errorf("n is %d, %v, want 8: each step once", n, err)
	}
	if got := version(t, db, "things"); got != 3 {
		t.Errorf("version %d, want 3", got)
	}
	if got := version(t, db, "session"); got != 1 {
		t.Errorf("the other component has version %d, want 1", got)
	}

	err := old.Apply(t.Context(), db)
	newer, ok := errors.AsType[*sqlstore.SchemaError](err)
	if !ok || newer.Component != "things" || newer.Have != 3 || newer.Known != 1 {
		t.Fatalf("got %v, want a SchemaError", err)
	}
	if s := err.Error(); !strings.Contains(s, "start the newer program") || strings.Contains(s, "\n") {
		t.Errorf("the error does not say in one line what to do: %q", s)
	}
}

// TestSchemaStepIsWhole: a step that fails leaves the version before it or, where
// no transaction can, its first statements, and these once.
func TestSchemaStepIsWhole(t *testing.T) { each(t, proveSchemaStepIsWhole) }

func proveSchemaStepIsWhole(t *testing.T, db database) {
	s := sqlstore.Schema{Component: "things", Versions: [][]string{
		{"CREATE TABLE things (id {int})"},
		{"INSERT INTO things VALUES (1)", "INSERT INTO nowhere VALUES (1)"},
	}}
	kept := 0
	if db.Dialect().Steps {
		kept = 1
	}
	for range 2 {
		if err := s.Apply(t.Context(), db); err == nil || !strings.Contains(err.Error(), "things") {
			t.Fatalf("got %v, want an error that names the component", err)
		}
		var n int
		if err := db.Reader().QueryRowContext(t.Context(), "SELECT count(*) FROM things").Scan(&n); err != nil || n != kept {
			t.Errorf("%d rows, %v, want %d", n, err, kept)
		}
		if got := version(t, db, "things"); got != 1 {
			t.Errorf("version %d, want 1", got)
		}
	}
}

// TestSchemaInParallel: programs that start at once apply each step once.
func TestSchemaInParallel(t *testing.T) { each(t, proveSchemaInParallel) }

func proveSchemaInParallel(t *testing.T, db database) {
	s := sqlstore.Schema{Component: "things", Versions: [][]string{{"CREATE TABLE things (id {int})"}}}
	for i := range 5 {
		s.Versions = append(s.Versions, []string{fmt.Sprintf("INSERT INTO things VALUES (%d)", i)})
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := s.Apply(t.Context(), db); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var n int
	if err := db.Reader().QueryRowContext(t.Context(), "SELECT count(*) FROM things").Scan(&n); err != nil || n != 5 {
		t.Errorf("%d rows, %v, want 5", n, err)
	}
}

// TestNewerSessionTablesAreRefused: a program never writes into tables that it
// does not know.
func TestNewerSessionTablesAreRefused(t *testing.T) { each(t, proveNewerSessionTablesAreRefused) }

func proveNewerSessionTablesAreRefused(t *testing.T, db database) {
	_, err := db.Exec(t.Context(), db.Dialect().SQL("UPDATE cloakroom_schema SET version = 2 WHERE component = ?"), []byte("session"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sqlstore.New(t.Context(), db); err == nil {
		t.Error("newer tables were taken")
	} else if _, ok := errors.AsType[*sqlstore.SchemaError](err); !ok {
		t.Errorf("got %v, want a SchemaError", err)
	}
}

// TestDialect: what another database writes differently comes from its Dialect.
func TestDialect(t *testing.T) {
	d := &sqlstore.Dialect{
		Numbered: true, Int: "BIGINT", Bytes: "BYTEA", Key: func(int) string { return "BYTEA" },
		Greatest: "greatest", Least: "least", Clock: "now()",
	}
	const query = "SELECT {greatest}(a, ?), {least}(b, ?) FROM t WHERE c = {clock} AND d = ?"
	if got, want := d.SQL(query), "SELECT greatest(a, $1), least(b, $2) FROM t WHERE c = now() AND d = $3"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := d.SQL("CREATE TABLE t (a {int}, b {bytes}, c {key:32})"), "CREATE TABLE t (a BIGINT, b BYTEA, c BYTEA)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if d.Where("x = 1") != "" || sqlstore.SQLite.Where("x = 1") != " WHERE x = 1" {
		t.Error("a partial index where there is none, or none where there is one")
	}
	for _, bad := range []string{"{nonsense}", "{key:x}", "{int"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q was taken", bad)
				}
			}()
			d.SQL(bad)
		}()
	}
}

// killed is a database on which a migration meets its end before the statement
// with a number.
type killed struct {
	sqlstore.DB
	left int
}

var errKilled = errors.New("killed")

func (k *killed) Migrate(ctx context.Context, f func(context.Context, sqlstore.Queryer) error) error {
	return k.DB.Migrate(ctx, func(ctx context.Context, tx sqlstore.Queryer) error {
		return f(ctx, mortal{tx, k})
	})
}

type mortal struct {
	sqlstore.Queryer
	db *killed
}

func (m mortal) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if m.db.left--; m.db.left < 0 {
		return nil, errKilled
	}
	return m.Queryer.ExecContext(ctx, query, args...)
}

// TestSchemaKilled: a program that ends between any two statements of a migration
// leaves what the next one finishes, each statement once.
func TestSchemaKilled(t *testing.T) { each(t, proveSchemaKilled) }

func proveSchemaKilled(t *testing.T, db database) {
	for at := 0; ; at++ {
		table := fmt.Sprint("things", at)
		s := sqlstore.Schema{Component: table, Versions: [][]string{
			{"CREATE TABLE " + table + " (id {int} NOT NULL PRIMARY KEY, n {int} NOT NULL){table}", "INSERT INTO " + table + " VALUES (1, 0)",
				"CREATE INDEX " + table + "_n ON " + table + " (n)"},
			{"UPDATE " + table + " SET n = n + 1", "ALTER TABLE " + table + " ADD COLUMN m {int} NOT NULL DEFAULT 7", "UPDATE " + table + " SET n = n + 10, m = m + 1"},
		}}
		err := s.Apply(t.Context(), &killed{db, at})
		if err != nil && !errors.Is(err, errKilled) {
			t.Fatalf("killed before statement %d: %v", at, err)
		}
		if err := s.Apply(t.Context(), db); err != nil {
			t.Fatalf("after it was killed before statement %d: %v", at, err)
		}
		var n, m int
		if err := db.Reader().QueryRowContext(t.Context(), "SELECT n, m FROM "+table).Scan(&n, &m); err != nil || n != 11 || m != 8 {
			t.Errorf("killed before statement %d: n is %d and m is %d, %v, want 11 and 8", at, n, m, err)
		}
		if got := version(t, db, table); got != 2 {
			t.Errorf("killed before statement %d: version %d, want 2", at, got)
		}
		if err == nil {
			return // it lived to its end
		}
	}
}
