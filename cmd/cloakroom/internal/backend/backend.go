// Package backend opens what the configuration names: the store of sessions, the
// accounts, the keys.
package backend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
)

// ErrNoData says that there is nothing at the place of the data, where a command
// that only looks must not make anything.
var ErrNoData = errors.New("no database")

// A ConfigError is a fault that another configuration mends, or the restoring of
// a file that it names: the command ends with 2.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }

// Unwrap returns the fault.
func (e *ConfigError) Unwrap() error { return e.Err }

// Store is what the service needs of a store of sessions.
type Store interface {
	store.UserStore
	store.Scanner
}

// Backend is what has been opened. Close it.
type Backend struct {
	Store Store
	Users *sqlusers.Users

	cfg     *config.Config
	known   *sqlstore.Store // where used keys are remembered; nil in memory
	closers []io.Closer
}

// Open opens store and accounts. With create it makes what is missing, the data
// directory included; without, it returns ErrNoData.
func Open(ctx context.Context, cfg *config.Config, create bool) (_ *Backend, err error) {
	b := &Backend{cfg: cfg}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	if create {
		if err := makeData(cfg.Data); err != nil {
			return nil, &ConfigError{err}
		}
	}
	users, err := openSQLite(cfg.Users.Path, create)
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, users)
	if b.Users, err = sqlusers.New(ctx, users); err != nil {
		return nil, fmt.Errorf("open %s: %w", cfg.Users.Path, err)
	}
	if cfg.Store.Scheme == "memory" {
		b.Store = memstore.New(nil)
		return b, nil
	}
	sessions := users // one file is opened once: it has one writer
	if !sameFile(cfg.Store.Path, cfg.Users.Path) {
		if sessions, err = openSQLite(cfg.Store.Path, create); err != nil {
			return nil, err
		}
		b.closers = append(b.closers, sessions)
	}
	b.known = sessions.Store()
	b.Store = b.known
	return b, nil
}

// Close closes the databases, which writes their journals back.
func (b *Backend) Close() error {
	var errs []error
	for _, c := range slices.Backward(b.closers) {
		errs = append(errs, c.Close())
	}
	b.closers = nil
	return errors.Join(errs...)
}

// Keys reads the key ring. With create it makes the key file where there is none,
// but only for a database that has not seen a key yet: to go on with another key
// than yesterday's would sign everybody out, in silence.
func (b *Backend) Keys(ctx context.Context, create bool) (*keyring.Ring, error) {
	var last string // the id of the key that was used last
	if b.known != nil {
		known, err := b.known.KnownKeys(ctx)
		if err != nil {
			return nil, err
		}
		if len(known) > 0 {
			last = known[0].ID
		}
	}
	read := keyring.ReadFile
	if create && last == "" {
		read = keyring.OpenFile
	}
	ring, err := read(b.cfg.Keys)
	if last != "" && (errors.Is(err, fs.ErrNotExist) || err == nil && !has(ring, last)) {
		return nil, &ConfigError{fmt.Errorf("keys: %s lacks the key %s that the sessions were signed with: restore the key file, or end all sessions with \"cloakroom session end --all\"", b.cfg.Keys, last)}
	}
	if err != nil {
		return nil, &ConfigError{err}
	}
	if create && b.known != nil {
		if err := b.known.RememberKey(ctx, ring.Active().String(), time.Now()); err != nil {
			return nil, err
		}
	}
	return ring, nil
}

func has(ring *keyring.Ring, id string) bool {
	parsed, err := keyring.ParseKeyID(id)
	return err == nil && ring.Has(parsed)
}

// EndAll ends every session there is and forgets the keys, so that the next start
// takes the ones it is given. The accounts' epoch goes first: from then on no
// guard lets an old session pass, whatever becomes of the records.
func (b *Backend) EndAll(ctx context.Context) (int, error) {
	if err := b.Users.RaiseEpochAll(ctx); err != nil {
		return 0, err
	}
	ended, until := b.Tombstone()
	total := 0
	for rec, err := range b.All(ctx) {
		if err != nil {
			return total, err
		}
		switch err := b.Store.End(ctx, rec.ID, 0, ended, until); {
		case err == nil:
			total++
		case !errors.Is(err, store.ErrEnded) && !errors.Is(err, store.ErrNotFound):
			return total, err
		}
	}
	if b.known == nil {
		return total, nil
	}
	return total, b.known.ForgetKeys(ctx)
}

// Tombstone returns what the store keeps of a session that an operator ends, and
// until when at least.
func (b *Backend) Tombstone() (store.Ended, time.Time) {
	now := time.Now().UTC().Truncate(time.Millisecond)
	return store.Ended{Reason: store.Revoked, At: now}, now.Add(b.cfg.Lifetime)
}

// All goes through the live records of the store.
func (b *Backend) All(ctx context.Context) func(yield func(store.Record, error) bool) {
	const page = 500
	return func(yield func(store.Record, error) bool) {
		for after := (store.ID{}); ; {
			recs, err := b.Store.Scan(ctx, after, page)
			if err != nil {
				yield(store.Record{}, err)
				return
			}
			for _, rec := range recs {
				if !yield(rec, nil) {
					return
				}
			}
			if len(recs) < page {
				return
			}
			after = recs[len(recs)-1].ID
		}
	}
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
			return nil, &ConfigError{fmt.Errorf("%w at %s: name the directory of the service with --data, or start it once with \"cloakroom serve\"", ErrNoData, path)}
		}
	}
	return sqlite.Open(path, nil) // its errors name the path
}

// sameFile tells whether two paths lead to one place, as far as their texts say.
func sameFile(a, b string) bool {
	a1, errA := filepath.Abs(a)
	b1, errB := filepath.Abs(b)
	return errA == nil && errB == nil && a1 == b1
}

// cause is a file error without operation and path, which the message names.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
