package backend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/internal/secretfile"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/memcachestore"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
	"github.com/cloakroom-dev/cloakroom/store/redisstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/mariadb"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/postgres"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
)

// database is an open SQL database: accounts and sessions can share it.
type database interface {
	sqlstore.DB
	io.Closer
	Store() *sqlstore.Store
}

// openSQL opens a database for the setting that names it.
func (b *Backend) openSQL(ctx context.Context, setting string, p config.Place, create bool) (database, error) {
	var db database
	var err error
	switch p.Scheme {
	case config.SQLite:
		db, err = openSQLite(p.Path, create)
		if err != nil {
			return nil, err // it names the path
		}
	case config.Postgres:
		db, err = open(postgres.Open(ctx, p.URL, &postgres.Options{MaxConns: b.cfg.MaxConnections, AllowPlaintext: b.cfg.AllowPlaintext}))
	case config.MySQL:
		db, err = open(mariadb.Open(ctx, p.URL, &mariadb.Options{MaxConns: b.cfg.MaxConnections, AllowPlaintext: b.cfg.AllowPlaintext}))
	default:
		return nil, fmt.Errorf("%s: %s is not a database", setting, p)
	}
	if err != nil {
		return nil, inPlace(setting, p, err)
	}
	b.closers = append(b.closers, db)
	return db, nil
}

// open keeps a nil pointer from becoming an interface that is not nil.
func open[DB database](db DB, err error) (database, error) {
	if err != nil {
		return nil, err
	}
	return db, nil
}

// openStore opens the store of sessions, which may be in the database of the
// accounts: that is opened once, as SQLite has one writer and a server's
// connections are counted.
func (b *Backend) openStore(ctx context.Context, users database, create bool, log *slog.Logger) error {
	p := b.cfg.Store
	switch p.Scheme {
	case config.Memory:
		b.Store = memstore.New(nil)
		return nil
	case config.Sealed:
		b.Store = users.Store()
		b.registries = append(b.registries, users.Store())
		return nil
	case config.Redis:
		s, err := redisstore.Open(ctx, p.URL, &redisstore.Options{AllowPlaintext: b.cfg.AllowPlaintext, Logger: log})
		if err != nil {
			return inPlace("store", p, err)
		}
		b.Store, b.closers = s, append(b.closers, s)
	case config.Memcache:
		s, err := memcachestore.Open(ctx, p.URL, &memcachestore.Options{MaxConns: b.cfg.MaxConnections, AllowPlaintext: b.cfg.AllowPlaintext, Logger: log})
		if err != nil {
			return inPlace("store", p, err)
		}
		b.Store, b.closers = s, append(b.closers, s)
		// Memcached may forget the keys with everything else.
		b.registries = append(b.registries, users.Store())
	default:
		db := users
		if !p.Same(b.cfg.Users) {
			var err error
			if db, err = b.openSQL(ctx, "store", p, create); err != nil {
				return err
			}
		}
		b.Store = db.Store()
	}
	if r, ok := b.Store.(store.KeyRegistry); ok {
		b.registries = append(b.registries, r)
	}
	return nil
}

// inPlace says where an error comes from.
func inPlace(setting string, p config.Place, err error) error {
	return fmt.Errorf("%s: %s: %w", setting, p, err)
}

// makeData makes the data directory for its owner alone. A directory that is new
// or empty gets a .gitignore that keeps all of it out of a repository: database
// and keys are made for being lost that way.
func makeData(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data: %s cannot be made: %w: choose another directory with --data", dir, cause(err))
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("data: %s cannot be read: %w: choose another directory with --data", dir, cause(err))
	}
	if len(entries) > 0 {
		return nil
	}
	if err := os.WriteFile(filepath.Join(dir, ".gitignore"), []byte("*\n"), 0o600); err != nil {
		return fmt.Errorf("data: %s cannot be written to: %w: choose another directory with --data", dir, cause(err))
	}
	return nil
}

// openSQLite opens a database file.
func openSQLite(path string, create bool) (*sqlite.DB, error) {
	if !create {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, &ConfigError{fmt.Errorf("%w at %s: name the directory of the service with --data, or start it once with \"cloakroom serve\"", ErrNoData, secretfile.Shown(path))}
		}
	}
	return sqlite.Open(path, nil) // its errors name the path
}

// cause is a file error without operation and path, which the message names.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
