package doctor

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/mariadb"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/postgres"
	_ "github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite" // its driver
)

// errReadOnly says that something was to be changed: tables that are missing, or old.
var errReadOnly = errors.New("doctor: nothing is changed here")

// errLog says that a database cannot be read without making the index of its log.
var errLog = errors.New("a log lies beside it, and nobody has it open: start the service once")

// looking is a database of which nothing changes. What opens tables makes or alters
// those that are not as they should be; here it finds that it may not. The connection
// itself refuses to write as well.
type looking struct {
	dialect *sqlstore.Dialect
	reader  sqlstore.Queryer
	close   func() error
}

var _ sqlstore.DB = (*looking)(nil)

func (d *looking) Dialect() *sqlstore.Dialect { return d.dialect }
func (d *looking) Reader() sqlstore.Queryer   { return d.reader }

func (d *looking) Exec(context.Context, string, ...any) (int, error) { return 0, errReadOnly }

func (d *looking) Write(context.Context, func(context.Context, sqlstore.Queryer) error) error {
	return errReadOnly
}

// Migrate runs f, which finds out which version the tables have, and may not change
// that.
func (d *looking) Migrate(ctx context.Context, f func(context.Context, sqlstore.Queryer) error) error {
	return f(ctx, still{d.reader})
}

// still is a database in which f of Migrate finds the table of versions, and changes
// nothing.
type still struct{ sqlstore.Queryer }

func (still) ExecContext(_ context.Context, query string, _ ...any) (sql.Result, error) {
	if strings.HasPrefix(query, "CREATE TABLE IF NOT EXISTS cloakroom_schema ") {
		return driver.RowsAffected(0), nil // it is there: versions has read it
	}
	return nil, errReadOnly
}

// look opens a database to look at it.
func (e *examination) look(ctx context.Context, p config.Place) (*looking, error) {
	switch p.Scheme {
	case config.Postgres:
		db, err := postgres.OpenReadOnly(ctx, p.URL, &postgres.Options{MaxConns: 2, AllowPlaintext: e.cfg.AllowPlaintext})
		if err != nil {
			return nil, err
		}
		return &looking{db.Dialect(), db.Reader(), db.Close}, nil
	case config.MySQL:
		db, err := mariadb.OpenReadOnly(ctx, p.URL, &mariadb.Options{MaxConns: 2, AllowPlaintext: e.cfg.AllowPlaintext})
		if err != nil {
			return nil, err
		}
		return &looking{db.Dialect(), db.Reader(), db.Close}, nil
	}
	if size(p.Path+"-wal") > 0 && !exists(p.Path+"-shm") {
		return nil, errLog
	}
	db, err := sql.Open("sqlite", sqliteDSN(p.Path))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if err := db.PingContext(ctx); err != nil {
		db.Close()
		return nil, err
	}
	return &looking{sqlstore.SQLite, db, db.Close}, nil
}

// sqliteDSN names a database file for looking at it without leaving a trace. Without
// a log beside it nobody has it open, and SQLite is told that it does not change, so
// that it makes no log either. With one, the log is read, and its index as it is.
// See https://www.sqlite.org/uri.html and https://www.sqlite.org/wal.html#readonly.
func sqliteDSN(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		abs = path
	}
	v := url.Values{"mode": {"ro"}, "_pragma": {"query_only(1)", "trusted_schema(0)", "busy_timeout(2000)"}}
	if size(abs+"-wal") > 0 {
		v.Set("readonly_shm", "1")
	} else {
		v.Set("immutable", "1")
	}
	p := filepath.ToSlash(abs)
	if !strings.HasPrefix(p, "/") { // C:/…
		p = "/" + p
	}
	return (&url.URL{Scheme: "file", Path: p}).String() + "?" + v.Encode()
}
