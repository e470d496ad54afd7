package postgres_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/postgres"
	"github.com/cloakroom-dev/cloakroom/store/storetest"
)

// open opens a database.
func open(tb testing.TB, url string, opts *postgres.Options) *postgres.DB {
	tb.Helper()
	db, err := postgres.Open(tb.Context(), url, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	return db
}

// rawOpen opens a database as any program would.
func rawOpen(tb testing.TB, url string) *sql.DB {
	tb.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { db.Close() })
	return db
}

// run runs statements.
func run(tb testing.TB, db *sql.DB, statements ...string) {
	tb.Helper()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			tb.Fatalf("%s: %v", s, err)
		}
	}
}

// with adds parameters to a URL.
func with(tb testing.TB, s string, params ...string) string {
	tb.Helper()
	u, err := url.Parse(s)
	if err != nil {
		tb.Fatal(err)
	}
	q := u.Query()
	for i := 0; i < len(params); i += 2 {
		q.Set(params[i], params[i+1])
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// prove holds stores to the contract, each in a schema of its own of one database:
// that is made faster than a database.
func prove(t *testing.T, url string, params ...string) {
	raw, made := rawOpen(t, url), 0
	storetest.Run(t, func(t *testing.T) store.Store {
		made++
		schema := fmt.Sprintf("s%d", made)
		run(t, raw, "CREATE SCHEMA "+schema)
		return open(t, with(t, url, append(params, "search_path", schema)...), nil).Store()
	})
}

// TestStore holds the store to the contract.
func TestStore(t *testing.T) { prove(t, services.Postgres(t)) }

// TestStoreThroughAPooler: nothing is prepared, as PgBouncer wants it that pools
// by transaction.
func TestStoreThroughAPooler(t *testing.T) {
	prove(t, services.Postgres(t), "default_query_exec_mode", "exec")
}

// TestStoreSerializable: a server whose transactions are serializable by default
// undoes single statements as well.
func TestStoreSerializable(t *testing.T) {
	prove(t, services.Postgres(t), "default_transaction_isolation", "serializable")
}

// TestPoolerNeedsNothingPrepared: with exec mode, no statement stays on a
// connection.
func TestPoolerNeedsNothingPrepared(t *testing.T) {
	url := services.Postgres(t)
	for mode, want := range map[string]bool{"exec": false, "cache_statement": true} {
		db := open(t, with(t, url, "default_query_exec_mode", mode), &postgres.Options{MaxConns: 1})
		if _, err := db.Store().Get(t.Context(), store.ID{}); err == nil {
			t.Fatal("found nobody")
		}
		var n int
		query := "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%cloakroom_session%'"
		if err := db.Reader().QueryRowContext(t.Context(), query).Scan(&n); err != nil || n > 0 != want {
			t.Errorf("%s: %d prepared statements, %v, want some: %t", mode, n, err, want)
		}
	}
}

// TestASVS_13_2_2_LeastPrivilege: a user that owns nothing, and may read and write
// our rows and nothing else, is enough once the tables are there.
func TestASVS_13_2_2_LeastPrivilege(t *testing.T) {
	s := services.Start(t, services.PostgresKind)
	owner := rawOpen(t, s.URL())
	first := open(t, s.URL(), nil)
	asRoot := strings.Replace(s.URL(), "//cloakroom:", "//postgres:", 1)
	run(t, rawOpen(t, asRoot), "CREATE ROLE app LOGIN PASSWORD '"+s.Password+"'")
	run(t, owner, "CREATE TABLE theirs (n int)",
		"GRANT SELECT, INSERT, UPDATE, DELETE ON cloakroom_session, cloakroom_key TO app",
		"GRANT SELECT ON cloakroom_schema TO app")
	asApp := strings.Replace(s.URL(), "//cloakroom:", "//app:", 1)
	storetest.Run(t, func(t *testing.T) store.Store {
		run(t, owner, "DELETE FROM cloakroom_session", "DELETE FROM cloakroom_key")
		return open(t, asApp, nil).Store()
	})
	app := rawOpen(t, asApp)
	for _, denied := range []string{
		"DROP TABLE cloakroom_session", "TRUNCATE cloakroom_session", "ALTER TABLE cloakroom_session ADD COLUMN n int",
		"SELECT * FROM theirs", "DELETE FROM theirs", "UPDATE cloakroom_schema SET version = 9", "CREATE TABLE mine (n int)",
		"SELECT * FROM pg_authid", "COPY cloakroom_session TO PROGRAM 'cat'",
	} {
		if _, err := app.Exec(denied); err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("%s: %v, want it denied", denied, err)
		}
	}
	// It may not make tables, and says so.
	run(t, owner, "UPDATE cloakroom_schema SET version = 0")
	if _, err := postgres.Open(t.Context(), asApp, nil); err == nil || !strings.Contains(err.Error(), "lacks a right") {
		t.Errorf("got %v, want an error that says what is missing", err)
	}
	_ = first
}

// TestInstancesStartAtOnce: eight programs make the tables of a new database
// together.
func TestInstancesStartAtOnce(t *testing.T) {
	for range 3 {
		url := services.Postgres(t)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				db, err := postgres.Open(t.Context(), url, nil)
				if err != nil {
					t.Error(err)
					return
				}
				defer db.Close()
				if _, err := db.Store().Get(t.Context(), store.ID{}); err != store.ErrNotFound {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
}

// TestNoStatementWalksTheTable: among many sessions of others, each statement
// finds its rows by an index.
func TestPromise09_NoStatementWalksTheTable(t *testing.T) {
	url := services.Postgres(t)
	db, raw := open(t, url, nil), rawOpen(t, url)
	run(t, raw, `INSERT INTO cloakroom_session
		SELECT sha256(int8send(i)), 1, 0, 0, 9e12, 9e12, 9e12, i % 2, 0,
			CASE i % 3 WHEN 0 THEN ''::bytea ELSE int8send(i / 10) END, '\x00', '\x00' FROM generate_series(1, 50000::int8) i`,
		"ANALYZE cloakroom_session")
	spy := &spy{DB: db}
	s, err := sqlstore.New(t.Context(), spy)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range spy.calls(t, s) {
		rows, err := raw.Query("EXPLAIN "+c.query, c.args...)
		if err != nil {
			t.Fatalf("%s: %v", c.query, err)
		}
		var plan strings.Builder
		for rows.Next() {
			var line string
			if err := rows.Scan(&line); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(&plan, line)
		}
		if strings.Contains(plan.String(), "Seq Scan on cloakroom_session") {
			t.Errorf("walks through the table: %s\n%s", c.query, &plan)
		}
	}
}

// TestReadOnlyServer: a server that takes no writes is an error that says so.
func TestReadOnlyServer(t *testing.T) {
	url := services.Postgres(t)
	r := record("alice")
	if err := open(t, url, nil).Store().Put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	db := open(t, with(t, url, "default_transaction_read_only", "on"), nil)
	if _, err := db.Store().Get(t.Context(), r.ID); err != nil {
		t.Errorf("a read: %v", err)
	}
	for name, err := range map[string]error{
		"end":   db.Store().End(t.Context(), r.ID, 0, why(), r.Deadline),
		"touch": db.Store().Touch(t.Context(), r.ID, r.Seen, r.Expires),
		"write": db.Write(t.Context(), func(ctx context.Context, tx sqlstore.Queryer) error {
			_, err := tx.ExecContext(ctx, "DELETE FROM cloakroom_session")
			return err
		}),
	} {
		if err == nil || !strings.Contains(err.Error(), "takes no writes") {
			t.Errorf("%s: %v, want an error that says what to do", name, err)
		}
	}
}

// TestDurable: settings with which a crash loses what was acknowledged are named.
func TestDurable(t *testing.T) {
	risky := services.Start(t, services.PostgresKind, "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off")
	err := open(t, risky.URL(), nil).Durable(t.Context())
	if err == nil || !strings.HasSuffix(err.Error(), ": synchronous_commit is off, fsync is off, full_page_writes is off: set it to on") {
		t.Errorf("got %v, want all settings in their order", err)
	}
	s := services.Start(t, services.PostgresKind, "-c", "fsync=on")
	if err := open(t, s.URL(), nil).Durable(t.Context()); err != nil {
		t.Errorf("a durable server: %v", err)
	}
	err = open(t, with(t, s.URL(), "synchronous_commit", "off"), nil).Durable(t.Context())
	if err == nil || !strings.Contains(err.Error(), "synchronous_commit is off") {
		t.Errorf("got %v, want the setting named", err)
	}
	// What was acknowledged is there after the server was killed.
	db := open(t, s.URL(), nil)
	r := record("alice")
	if err := db.Store().Put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	s.Kill(t)
	if _, err := db.Store().Get(t.Context(), r.ID); err == nil || strings.Contains(err.Error(), s.Password) {
		t.Errorf("a server that is gone: %v", err)
	}
	s.Start(t)
	if _, err := db.Store().Get(t.Context(), r.ID); err != nil {
		t.Errorf("an acknowledged session is gone: %v", err)
	}
}
