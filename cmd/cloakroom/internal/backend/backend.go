// Package backend opens what the configuration names: the store of sessions, the
// accounts, the keys.
package backend

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/breaker"
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

// Backend is what has been opened. Close it.
type Backend struct {
	// Store keeps the sessions; sealed ones' tombstones. It is nil where only the
	// accounts have been opened.
	Store store.Store

	// Users keeps the accounts.
	Users *sqlusers.Users

	cfg        *config.Config
	accounts   database            // of Users
	circuit    *breaker.Breaker    // nil before Guard, and for sessions in memory
	registries []store.KeyRegistry // where used keys are remembered; none in memory
	closers    []io.Closer
}

// Patience is how long whoever waits for no page gives a store: a start, and a
// command for each of its steps.
const Patience = 30 * time.Second

// Open opens accounts and store, which write into the log what they find
// unreadable. With create it makes what is missing, the data directory included;
// without, it returns ErrNoData. It takes at most [Patience] for each.
func Open(ctx context.Context, cfg *config.Config, create bool, log *slog.Logger) (*Backend, error) {
	b, err := OpenAccounts(ctx, cfg, create)
	if err != nil {
		return nil, err
	}
	if err := b.OpenStore(ctx, create, log); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// OpenStore opens the store of sessions beside accounts that are open.
func (b *Backend) OpenStore(ctx context.Context, create bool, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	return b.openStore(ctx, b.accounts, create, log)
}

// OpenAccounts is Open for the accounts alone: what is done to these must not fail
// because the sessions are away.
func OpenAccounts(ctx context.Context, cfg *config.Config, create bool) (_ *Backend, err error) {
	b := &Backend{cfg: cfg}
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	if create && cfg.UsesData() {
		if err := makeData(cfg.Data); err != nil {
			return nil, &ConfigError{err}
		}
	}
	if b.accounts, err = b.openSQL(ctx, "users", cfg.Users, create); err != nil {
		return nil, err
	}
	if b.Users, err = sqlusers.New(ctx, b.accounts); err != nil {
		return nil, inPlace("users", cfg.Users, err)
	}
	return b, nil
}

// Close closes what was opened, in the reverse order.
func (b *Backend) Close() error {
	var errs []error
	for _, c := range slices.Backward(b.closers) {
		errs = append(errs, c.Close())
	}
	b.closers = nil
	return errors.Join(errs...)
}

// Guard gives every call of the store a deadline, and lets nobody wait for a store
// that has stopped answering.
func (b *Backend) Guard(ctx context.Context, timeout time.Duration, log *slog.Logger) error {
	if b.cfg.Store.Scheme == config.Memory {
		return nil
	}
	circuit, err := breaker.New(b.Store, &breaker.Options{
		Timeout: timeout,
		Changed: func(s breaker.State, why error) {
			if s == breaker.Open {
				event.Log(ctx, log, slog.LevelError, event.StoreDown, event.Err(why))
			} else {
				event.Log(ctx, log, slog.LevelInfo, event.StoreUp)
			}
		},
	})
	if err != nil {
		return err
	}
	b.circuit, b.Store = circuit, circuit.Store()
	return nil
}

// Ready returns nil if sessions and accounts answer.
func (b *Backend) Ready(ctx context.Context) error {
	var err error
	if b.circuit != nil {
		err = b.circuit.Ready(ctx)
	}
	// The user does not exist: that they say so is enough.
	if _, userErr := b.Users.ByID(ctx, ""); !errors.Is(userErr, auth.ErrNoUser) {
		err = errors.Join(err, userErr)
	}
	return err
}

// Manager returns a Manager of the sessions.
func (b *Backend) Manager(keys *keyring.Ring, opts *cloakroom.Options) (*cloakroom.Manager, error) {
	if b.cfg.Store.Scheme == config.Sealed {
		return cloakroom.NewSealed(keys, b.Store, opts)
	}
	return cloakroom.New(b.Store, keys, opts)
}

// EndAll ends every session there is, where a store cannot be walked that of every
// account. If the key file lacks the key that was used last, it forgets that key, so
// that the next start takes the file as it is. The accounts' epoch goes first: from then on no guard lets an old session pass,
// whatever becomes of the records.
func (b *Backend) EndAll(ctx context.Context) (int, error) {
	if err := b.raiseEpochAll(ctx); err != nil {
		return 0, err
	}
	total := 0
	if b.Lists() {
		ended, until := b.Tombstone()
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
	}
	if _, err := b.Keys(ctx, false); err == nil {
		return total, nil // running instances, and the next, go on with it
	}
	for _, r := range b.registries {
		if err := r.ForgetKeys(ctx); err != nil {
			return total, err
		}
	}
	return total, nil
}

func (b *Backend) raiseEpochAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	return b.Users.RaiseEpochAll(ctx)
}

// EndUser ends the sessions of a user, and returns how many records that were.
// The epoch goes first: it stops a login that is under way, and every guard,
// whatever becomes of the records.
func (b *Backend) EndUser(ctx context.Context, userID string) (int, error) {
	if err := b.Users.RaiseEpoch(ctx, userID); err != nil {
		return 0, err
	}
	return b.EndRecords(ctx, userID)
}

// EndRecords ends what the store has of a user whose epoch has been raised: it
// tidies up. It returns how many records that were.
func (b *Backend) EndRecords(ctx context.Context, userID string) (int, error) {
	users, ok := b.Store.(store.UserStore)
	if !ok || !b.Lists() {
		return 0, nil
	}
	ended, until := b.Tombstone()
	return users.EndUser(ctx, userID, store.ID{}, ended, until)
}

// Tombstone returns what the store keeps of a session that an operator ends, and
// until when at least.
func (b *Backend) Tombstone() (store.Ended, time.Time) {
	now := time.Now().UTC().Truncate(time.Millisecond)
	return store.Ended{Reason: store.Revoked, At: now}, now.Add(b.cfg.Lifetime)
}

// Lists tells whether the sessions can be listed from here: those in the memory of
// the running service and those in cookies cannot.
func (b *Backend) Lists() bool {
	return b.cfg.Store.Scheme != config.Memory && b.cfg.Store.Scheme != config.Sealed
}

// All goes through the live records of the store; where a store cannot be walked,
// through those of every account.
func (b *Backend) All(ctx context.Context) func(yield func(store.Record, error) bool) {
	if s, ok := b.Store.(store.Scanner); ok {
		return walk(ctx, s)
	}
	if s, ok := b.Store.(store.UserStore); ok {
		return b.ofUsers(ctx, s)
	}
	return func(yield func(store.Record, error) bool) { yield(store.Record{}, cloakroom.ErrNoUserStore) }
}

// page is how many records or accounts are read at a time.
const page = 500

func walk(ctx context.Context, s store.Scanner) func(yield func(store.Record, error) bool) {
	return func(yield func(store.Record, error) bool) {
		for after := (store.ID{}); ; {
			recs, err := s.Scan(ctx, after, page)
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

func (b *Backend) ofUsers(ctx context.Context, s store.UserStore) func(yield func(store.Record, error) bool) {
	return func(yield func(store.Record, error) bool) {
		for after := ""; ; {
			accounts, err := b.Users.List(ctx, after, page)
			if err != nil {
				yield(store.Record{}, err)
				return
			}
			for _, a := range accounts {
				recs, err := s.ListUser(ctx, a.ID)
				if err != nil {
					yield(store.Record{}, err)
					return
				}
				for _, rec := range recs {
					if !yield(rec, nil) {
						return
					}
				}
			}
			if len(accounts) < page {
				return
			}
			after = accounts[len(accounts)-1].Canonical
		}
	}
}
