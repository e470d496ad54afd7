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
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/admin"
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

	// Unsigned is why Audit returned a log that does not sign, where the keys are
	// away; nil else.
	Unsigned error

	cfg        *config.Config
	accounts   database            // of Users
	circuit    *breaker.Breaker    // nil before Guard, and for sessions in memory
	registries []store.KeyRegistry // where used keys are remembered; none in memory
	source     keyring.Source      // of the keys; nil before it is asked for
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

// Up tells whether calls of the store are being answered.
func (b *Backend) Up() bool { return b.circuit == nil || b.circuit.State() != breaker.Open }

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

// Records are the sessions of the store, as far as they can be listed. own says that
// this is the process which keeps those in memory.
func (b *Backend) Records(own bool) *admin.Records {
	r := &admin.Records{Users: b.Users, Keep: b.cfg.Lifetime}
	if own && b.cfg.Store.Scheme == config.Memory || b.Lists() {
		r.Store = b.Store
	}
	return r
}

// Lists tells whether the sessions can be listed from any process: those in the memory
// of the running service and those in cookies cannot.
func (b *Backend) Lists() bool {
	return b.cfg.Store.Scheme != config.Memory && b.cfg.Store.Scheme != config.Sealed
}

// ForgetKeys lets go of a key that is lost, once everybody's sessions have been ended:
// if the key file lacks the key that was used last, the next start takes the file as
// it is.
func (b *Backend) ForgetKeys(ctx context.Context) error {
	if _, err := b.Keys(ctx, false); err == nil {
		return nil // running instances, and the next, go on with it
	}
	for _, r := range b.registries {
		if err := r.ForgetKeys(ctx); err != nil {
			return err
		}
	}
	return nil
}
