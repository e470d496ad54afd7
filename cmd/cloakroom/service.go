package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/admin"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/audit"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/auditlog"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/backend"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keys"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/metrics"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/web"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/throttle"
)

// How often what has expired is removed.
const (
	sweepEvery = 5 * time.Minute // sessions
	tidyEvery  = time.Hour       // wrong passwords, and entries of the audit log
)

// running is the service that has been put together on an open backend.
type running struct {
	cfg      *config.Config
	site     *web.Site
	throttle *throttle.Throttle
	audit    *auditlog.Log
	keeper   *keys.Keeper
	log      *slog.Logger // the log, and with it the audit log
	link     string       // for setup; "" where there is an administrator
}

// begin puts the service that listens on addr together. The caller closes its audit
// log before the backend. A value from reload makes it look at its keys.
func begin(ctx context.Context, cfg *config.Config, b *backend.Backend, log *slog.Logger, addr string, reload <-chan struct{}) (_ *running, err error) {
	ctx, cancel := context.WithTimeout(ctx, backend.Patience)
	defer cancel()
	ring, err := b.Keys(ctx, true)
	if err != nil {
		return nil, err
	}
	s := &running{cfg: cfg}
	if s.throttle, err = b.Throttle(ctx); err != nil {
		return nil, err
	}
	if s.audit, err = b.AuditWith(ctx, ring); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			if s.keeper != nil {
				s.keeper.Leave(ctx)
			}
			err = errors.Join(err, s.audit.Close())
		}
	}()
	s.log = audit.Tee(log, s.audit.Handler)
	if s.keeper, err = s.newKeeper(ctx, b, ring, addr, reload); err != nil {
		return nil, err
	}
	links := cfg.Base(addr) + cfg.Prefix
	if s.site, err = s.newSite(b, ring, links); err != nil {
		return nil, err
	}
	s.link, err = setupLink(ctx, b.Users, links)
	if err != nil && !errors.Is(err, sqlusers.ErrHasAdmin) {
		return nil, err
	}
	return s, nil
}

// newKeeper returns what keeps the ring to its source. From here on the other instances
// wait for this one before they sign with a key that it has not seen.
func (s *running) newKeeper(ctx context.Context, b *backend.Backend, ring *keyring.Ring, addr string, reload <-chan struct{}) (*keys.Keeper, error) {
	src, err := b.KeySource()
	if err != nil {
		return nil, err
	}
	instances, err := b.Fleet(ctx)
	if err != nil {
		return nil, err
	}
	k, err := keys.New(keys.Options{
		Ring: ring, Source: src, Interval: s.cfg.KeysInterval, Fleet: instances,
		Instance: fleet.Instance{Addr: s.place(addr), URL: s.cfg.Base(addr) + s.cfg.Prefix, Version: version()},
		Rotation: s.cfg.KeyRotation, Lifetime: s.cfg.Lifetime, Needed: b.KeyNeeded,
		Reload: reload, Log: s.log,
		Activated: func(ctx context.Context) error {
			if err := b.RememberKeys(ctx, ring); err != nil {
				return err
			}
			hashes, err := b.Rewrap(ctx, ring)
			if hashes.Done > 0 {
				event.Log(ctx, s.log, slog.LevelInfo, event.KeyRewrapped, slog.String("key", ring.Active().String()), slog.Int("count", hashes.Done))
			}
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	return k, k.Begin(ctx)
}

// place names an address for whoever shares the accounts: those on other machines may
// listen on the same one.
func (s *running) place(addr string) string {
	if !s.cfg.Users.Shared() {
		return addr
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		return "" // nobody can be told apart by it
	}
	return host + " " + addr
}

// newSite returns the pages, whose links begin with base.
func (s *running) newSite(b *backend.Backend, ring *keyring.Ring, base string) (*web.Site, error) {
	hasher, err := newHasher(s.cfg, ring)
	if err != nil {
		return nil, err
	}
	records := b.Records(true)
	site := web.Options{
		Prefix: s.cfg.Prefix, Accounts: b.Users, Hasher: hasher, Logger: s.log,
		Policy: policy(s.cfg), Throttle: s.throttle, ReauthAfter: s.cfg.ReauthAfter,
		Manager:   func(o *cloakroom.Options) (*cloakroom.Manager, error) { return b.Manager(ring, o) },
		PublicURL: s.cfg.Origin(), HTTPS: s.cfg.HTTPS(),
		Session: cloakroom.Options{
			IdleTimeout: s.cfg.IdleTimeout, Lifetime: s.cfg.Lifetime, MaxSessions: s.cfg.MaxSessions,
			StoreTimeout: s.cfg.StoreTimeout, ClientAddr: audit.ClientAddr,
		},
		Unlisted:     s.cfg.Store.Scheme == config.Sealed,
		UsersTimeout: s.cfg.StoreTimeout,
		Administration: &web.Administration{
			Admin: &admin.Admin{
				Users: b.Users, Sessions: records, Throttle: s.throttle, Log: s.log,
				Links: func() string { return base },
			},
			Accounts: b.Users, Throttle: s.throttle, Records: records, Audit: s.audit,
		},
	}
	if s.cfg.PlainCookie() {
		site.Session.CookieName, site.Session.Insecure = "session", true
	}
	return web.New(site)
}

// keyState is what the metrics say of the keys.
func (s *running) keyState() metrics.Keys {
	k := s.keeper.Status()
	return metrics.Keys{Ring: k.Keys, LastGood: k.LastGood, Up: k.Failing == nil}
}

// keepHouse follows the keys and removes what has expired, until the function that it returns is called.
func (s *running) keepHouse(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { s.keeper.Run(ctx) })
	wg.Go(func() { s.site.Sweep(ctx, sweepEvery) })
	wg.Go(func() {
		turn := time.NewTicker(tidyEvery)
		defer turn.Stop()
		for {
			s.tidy(ctx)
			select {
			case <-ctx.Done():
				return
			case <-turn.C:
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

// tidy takes one turn. What fails is tried again at the next.
func (s *running) tidy(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, backend.Patience)
	defer cancel()
	failed := func(op string, err error) {
		if err != nil && !errors.Is(err, context.Canceled) {
			event.Log(ctx, s.log, slog.LevelError, event.SweepFailed, slog.String("op", op), event.Err(err))
		}
	}
	_, err := s.throttle.Sweep(ctx)
	failed("throttle", err)
	if s.cfg.AuditRetention > 0 {
		_, err = s.audit.Prune(ctx, time.Now().Add(-s.cfg.AuditRetention))
		failed("audit log", err)
	}
}
