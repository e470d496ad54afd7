package mariadb_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/mariadb"
	"github.com/cloakroom-dev/cloakroom/store/storetest"
)

// open opens a database.
func open(tb testing.TB, url string, opts *mariadb.Options) *mariadb.DB {
	tb.Helper()
	db, err := mariadb.Open(tb.Context(), url, opts)
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
func rawOpen(tb testing.TB, s string) *sql.DB {
	tb.Helper()
	u, err := url.Parse(s)
	if err != nil {
		tb.Fatal(err)
	}
	password, _ := u.User.Password()
	db, err := sql.Open("mysql", u.User.Username()+":"+password+"@tcp("+u.Host+")"+u.Path)
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

// TestStore holds the store to the contract.
func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, services.MariaDB(t), nil).Store() })
}

// TestStoreOnAnOddServer: no setting of the server changes what a statement means:
// neither a lax mode that would cut what is too long, nor one in which a quote or
// a backslash is another, nor a character set in which a byte hides a quote, nor
// another engine, time zone or isolation, nor transactions that do not commit.
func TestStoreOnAnOddServer(t *testing.T) {
	s := services.Start(t, services.MariaDBKind, "--sql-mode=ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT",
		"--autocommit=0", "--completion-type=CHAIN", "--default-time-zone=+05:30", "--transaction-isolation=SERIALIZABLE",
		"--character-set-server=gbk", "--collation-server=gbk_chinese_ci", "--default-storage-engine=Aria", "--sql-safe-updates=1")
	n := 0
	storetest.Run(t, func(t *testing.T) store.Store {
		n++
		return open(t, s.Database(t), nil).Store()
	})
	url := s.Database(t)
	db := open(t, url, nil)
	provenBytes(t, db)
	var engine string
	query := "SELECT engine FROM information_schema.tables WHERE table_schema = database() AND table_name = 'cloakroom_session'"
	if err := db.Reader().QueryRowContext(t.Context(), query).Scan(&engine); err != nil || engine != "InnoDB" {
		t.Errorf("engine %q, %v, want InnoDB", engine, err)
	}
	// Too long for its column: an error, and nothing is stored.
	_, err := db.Exec(t.Context(), "INSERT INTO cloakroom_key (id, last_used) VALUES (?, 1) "+sqlstore.OrNothing, make([]byte, 33))
	if err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("a key of 33 bytes: %v, want an error", err)
	}
	if known, err := db.Store().KnownKeys(t.Context()); len(known) != 0 || err != nil {
		t.Errorf("it was cut: %v, %v", known, err)
	}
}

// TestASVS_13_2_2_LeastPrivilege: a user that may read and write our rows and
// nothing else is enough once the tables are there.
func TestASVS_13_2_2_LeastPrivilege(t *testing.T) {
	s := services.Start(t, services.MariaDBKind)
	open(t, s.URL(), nil)
	owner := rawOpen(t, s.URL())
	run(t, owner, "CREATE TABLE theirs (n int)")
	s.Admin(t, s.URL(), `CREATE USER app@'127.0.0.1' IDENTIFIED BY '`+s.Password+`';
		GRANT SELECT, INSERT, UPDATE, DELETE ON cloakroom.cloakroom_session TO app@'127.0.0.1';
		GRANT SELECT, INSERT, UPDATE, DELETE ON cloakroom.cloakroom_key TO app@'127.0.0.1';
		GRANT SELECT ON cloakroom.cloakroom_schema TO app@'127.0.0.1';`)
	asApp := strings.Replace(s.URL(), "//cloakroom:", "//app:", 1)
	storetest.Run(t, func(t *testing.T) store.Store {
		run(t, owner, "DELETE FROM cloakroom_session", "DELETE FROM cloakroom_key")
		return open(t, asApp, nil).Store()
	})
	app := rawOpen(t, asApp)
	for _, denied := range []string{
		"DROP TABLE cloakroom_session", "TRUNCATE TABLE cloakroom_session", "ALTER TABLE cloakroom_session ADD COLUMN n int",
		"SELECT * FROM theirs", "DELETE FROM theirs", "UPDATE cloakroom_schema SET version = 9", "CREATE TABLE mine (n int)",
		"SELECT * FROM mysql.user", "SELECT * FROM cloakroom_session INTO OUTFILE '/tmp/cloakroom-denied'",
	} {
		if _, err := app.Exec(denied); err == nil || !strings.Contains(err.Error(), "denied") {
			t.Errorf("%s: %v, want it denied", denied, err)
		}
	}
	// It may not make tables, and says so.
	run(t, owner, "UPDATE cloakroom_schema SET version = 0")
	if _, err := mariadb.Open(t.Context(), asApp, nil); err == nil || !strings.Contains(err.Error(), "lacks a right") {
		t.Errorf("got %v, want an error that says what is missing", err)
	}
}

// TestInstancesStartAtOnce: eight programs make the tables of a new database
// together.
func TestInstancesStartAtOnce(t *testing.T) {
	for range 3 {
		url := services.MariaDB(t)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				db, err := mariadb.Open(t.Context(), url, nil)
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

// TestPromise09_NoStatementWalksTheTable: among many sessions of others, each
// statement reads a few rows.
func TestPromise09_NoStatementWalksTheTable(t *testing.T) {
	url := services.MariaDB(t)
	db := open(t, url, &mariadb.Options{MaxConns: 1}) // the counters are the connection's
	run(t, rawOpen(t, url), `INSERT INTO cloakroom_session
		SELECT unhex(sha2(seq, 256)), 1, 0, 0, 9e12, 9e12, 9e12, seq % 2, 0,
			IF(seq % 3 = 0, '', concat('user', seq DIV 10)), '', '' FROM seq_1_to_20000`, "ANALYZE TABLE cloakroom_session")
	ctx, st := t.Context(), db.Store()
	read := func() (n int) { // which adds some rows itself, of a temporary table
		query := "SELECT sum(variable_value) FROM information_schema.session_status WHERE variable_name LIKE 'Handler_read%'"
		if err := db.Reader().QueryRowContext(ctx, query).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for name, call := range wireCalls(ctx, st) {
		before := read()
		if err := call(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if n := read() - before; n > 1000 {
			t.Errorf("%s read %d rows of 20,000", name, n)
		}
	}
}

// TestReadOnlyServer: a server that takes no writes is an error that says so, and
// once it takes them again, so does the store.
func TestReadOnlyServer(t *testing.T) {
	s := services.Start(t, services.MariaDBKind)
	db := open(t, s.URL(), nil)
	r := record("alice")
	if err := db.Store().Put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	s.Admin(t, s.URL(), "SET GLOBAL read_only = 1")
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
	s.Admin(t, s.URL(), "SET GLOBAL read_only = 0")
	if err := db.Store().End(t.Context(), r.ID, 0, why(), r.Deadline); err != nil {
		t.Error(err)
	}
}

// TestDurable: settings with which a crash loses what was acknowledged are named,
// and what was acknowledged is there after the server was killed.
func TestDurable(t *testing.T) {
	s := services.Start(t, services.MariaDBKind, "--innodb-flush-log-at-trx-commit=1")
	db := open(t, s.URL(), nil)
	if err := db.Durable(t.Context()); err != nil {
		t.Errorf("a durable server: %v", err)
	}
	s.Admin(t, s.URL(), "SET GLOBAL innodb_flush_log_at_trx_commit = 2")
	if err := db.Durable(t.Context()); err == nil || !strings.Contains(err.Error(), "innodb_flush_log_at_trx_commit is 2") {
		t.Errorf("got %v, want the setting named", err)
	}
	s.Admin(t, s.URL(), "SET GLOBAL innodb_flush_log_at_trx_commit = 1")
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

// TestAttack_A52_SmallPackets: a server that could not take the largest session is
// refused when the program starts, and not when somebody has one.
func TestAttack_A52_SmallPackets(t *testing.T) {
	s := services.Start(t, services.MariaDBKind, "--max-allowed-packet=1M")
	if _, err := mariadb.Open(t.Context(), s.URL(), nil); err == nil || !strings.Contains(err.Error(), fmt.Sprint(4<<20)) {
		t.Errorf("got %v, want an error that says what to set", err)
	}
	s.Admin(t, s.URL(), "SET GLOBAL max_allowed_packet = 4194304")
	st := open(t, s.URL(), nil).Store()
	r := record("alice")
	r.Data = make([]byte, store.MaxData) // each byte is written as two
	if err := st.Put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if got, err := st.Get(t.Context(), r.ID); err != nil || len(got.Data) != store.MaxData {
		t.Errorf("got %d bytes, %v", len(got.Data), err)
	}
}
