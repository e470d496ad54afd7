package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/admin"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/audit"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/auditlog"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/backend"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// console is what the machine's owner administers with, beside the running service:
// accounts, throttle and audit log. The store of sessions is opened when something in
// it is to be ended, as accounts must not stay as they are because sessions are away.
type console struct {
	*admin.Admin
	cfg   *config.Config
	b     *backend.Backend
	env   *environment
	audit *auditlog.Log

	base string // what links begin with: scheme, host and prefix
	note string // what there is to say of that; see locate
}

// openConsole opens what the settings name. With create it makes what is missing.
func openConsole(cmd *cobra.Command, env *environment, create bool) (_ *console, err error) {
	cfg, err := load(cmd, env)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), backend.Patience)
	defer cancel()
	made := create && cfg.Users.Scheme == config.SQLite && missing(cfg.Users.Path)
	b, err := backend.OpenAccounts(ctx, cfg, create)
	if err != nil {
		return nil, err
	}
	if made {
		// In the wrong directory one would add users to a service that nobody runs.
		fmt.Fprintf(env.stderr, "cloakroom: made a new database, %s: if the service keeps another one, name its directory with --data\n", absolute(cfg.Users.Path))
	}
	c := &console{cfg: cfg, b: b, env: env, base: cfg.Base(cfg.Listen) + cfg.Prefix}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	open := b.Audit
	if create {
		open = b.NewAudit
	}
	if c.audit, err = open(ctx); err != nil {
		return nil, err
	}
	if b.Unsigned != nil {
		fmt.Fprintf(env.stderr, "cloakroom: the audit log will have this without a signature: %v\n", b.Unsigned)
	}
	throttle, err := b.Throttle(ctx)
	if err != nil {
		return nil, err
	}
	c.Admin = &admin.Admin{
		Users: b.Users, Sessions: c, Throttle: throttle,
		Log:   audit.Tee(slog.New(slog.DiscardHandler), c.audit.Handler),
		Links: func() string { return c.base },
	}
	return c, nil
}

func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// hash returns what is stored of a password. Where it is encrypted the keys must be
// those that the running instances have, or nobody could ever sign in with it: the
// store says which.
func (c *console) hash(ctx context.Context, pw string) (string, error) {
	var keys *keyring.Ring
	if c.cfg.Pepper {
		if err := c.openStore(ctx); err != nil {
			return "", err
		}
		var err error
		if keys, err = c.b.Keys(ctx, false); err != nil {
			return "", err
		}
	}
	hasher, err := newHasher(c.cfg, keys)
	if err != nil {
		return "", err
	}
	return hasher.Hash(ctx, pw)
}

// Close writes what the audit log has not kept yet, and closes everything.
func (c *console) Close() error {
	var err error
	if c.audit != nil {
		if err = c.audit.Close(); err != nil {
			err = fmt.Errorf("the audit log does not have it: %w", err)
		}
	}
	return errors.Join(err, c.b.Close())
}

// EndRecords and EndAllRecords make the console the admin.Sessions of its Admin. They
// go through all there is, however long that takes: patience is for one step, and the
// store has its own.
func (c *console) EndRecords(ctx context.Context, userID string) (int, error) {
	if err := c.openStore(ctx); err != nil {
		return 0, err
	}
	return c.b.Records(false).EndRecords(context.WithoutCancel(ctx), userID)
}

// EndAllRecords implements admin.Sessions.
func (c *console) EndAllRecords(ctx context.Context) (int, error) {
	if err := c.openStore(ctx); err != nil {
		return 0, err
	}
	return c.b.Records(false).EndAllRecords(context.WithoutCancel(ctx))
}

func (c *console) openStore(ctx context.Context) error {
	if c.b.Store != nil {
		return nil
	}
	if err := c.b.OpenStore(ctx, false, c.env.log(c.cfg)); err != nil {
		return err
	}
	return c.b.Guard(ctx, backend.Patience, c.env.log(c.cfg))
}

// leftovers says that sessions are ended, and their records still there.
func (c *console) leftovers(e admin.Ended) {
	if e.Left != nil {
		fmt.Fprintf(c.env.stderr, "cloakroom: records of sessions are left, which nobody lets in: %v\n", e.Left)
	}
}

// find finds a user by name.
func (c *console) find(ctx context.Context, name string) (auth.User, error) {
	return findUser(ctx, c.b.Users, name)
}

func findUser(ctx context.Context, users *sqlusers.Users, name string) (auth.User, error) {
	canonical, err := auth.CanonicalName(name)
	if err != nil {
		return auth.User{}, auth.ErrNoUser // nobody can have such a name
	}
	return users.ByName(ctx, canonical)
}
