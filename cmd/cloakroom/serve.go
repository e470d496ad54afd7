package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/audit"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/backend"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/web"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/password"
)

// sweepEvery is how often expired sessions are removed.
const sweepEvery = 5 * time.Minute

func newServe(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the service",
		Args:  exactly(0, "none"),
	}
	settings(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := load(cmd, env)
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		return serve(ctx, stop, cfg, env)
	}
	return cmd
}

// serve runs the service until ctx ends. It listens before it makes or opens
// anything: where another service has the port already, that one's data is most
// likely in the same place.
func serve(ctx context.Context, stop func(), cfg *config.Config, env *environment) (err error) {
	log := audit.NewLogger(env.stderr, cfg.LogFormat, cfg.LogLevel)
	cert, err := certificate(cfg)
	if err != nil {
		return err
	}
	ln, err := listen("listen", cfg.Listen)
	if err != nil {
		return err
	}
	defer ln.Close()
	var admin net.Listener
	if cfg.AdminListen != "" {
		if admin, err = listen("admin-listen", cfg.AdminListen); err != nil {
			return err
		}
		defer admin.Close()
	}
	b, err := backend.Open(ctx, cfg, true, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if err := b.Guard(context.WithoutCancel(ctx), cfg.StoreTimeout, log); err != nil {
		return err
	}
	site, link, err := begin(ctx, cfg, b, log, ln.Addr().String())
	if err != nil {
		return err
	}

	swept := make(chan struct{})
	sweepCtx, endSweep := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer close(swept)
		site.Sweep(sweepCtx, sweepEvery)
	}()
	defer func() { endSweep(); <-swept }()

	fmt.Fprintf(env.stdout, "cloakroom is ready on %s\n", where(cfg, ln.Addr().String()))
	if link != "" {
		fmt.Fprintf(env.stdout, "no administrator yet; within 30 minutes, make one at %s\n", link)
		event.Log(ctx, log, slog.LevelInfo, event.Setup, event.Outcome("link issued"))
	}
	event.Log(ctx, log, slog.LevelInfo, event.Start, event.Addr(ln.Addr().String()), slog.String("version", version()),
		event.Text("data", absolute(cfg.Data)), event.Text("store", cfg.Store.String()), event.Text("users", cfg.Users.String()))
	for _, reason := range b.Risks(ctx) {
		event.Log(ctx, log, slog.LevelWarn, event.RiskySetting, event.Reason(reason))
	}
	defer event.Log(context.WithoutCancel(ctx), log, slog.LevelInfo, event.Stop, event.Addr(ln.Addr().String()))

	handler := audit.Middleware(log, cfg.TrustedProxies, site.Fail, site)
	servers := []listening{{newServer(handler, cert, log), ln}}
	if admin != nil {
		servers = append(servers, listening{newServer(health(b, log), nil, log), admin})
		event.Log(ctx, log, slog.LevelInfo, event.Start, event.Addr(admin.Addr().String()), slog.String("serves", "health"))
	}
	return serveAll(ctx, stop, servers)
}

// begin makes the service that listens on addr, and a setup link where there is no
// administrator.
func begin(ctx context.Context, cfg *config.Config, b *backend.Backend, log *slog.Logger, addr string) (*web.Site, string, error) {
	ctx, cancel := context.WithTimeout(ctx, backend.Patience)
	defer cancel()
	site, err := service(ctx, cfg, b, log)
	if err != nil {
		return nil, "", err
	}
	link, err := setupLink(ctx, b.Users, cfg, addr)
	if err != nil && !errors.Is(err, sqlusers.ErrHasAdmin) {
		return nil, "", err
	}
	return site, link, nil
}

// absolute is for people who start the service in one folder and look for its data
// in another.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// where names the address the service listens on, and behind it where browsers
// find it if that is elsewhere.
func where(cfg *config.Config, addr string) string {
	scheme := "http://"
	if cfg.TLS() {
		scheme = "https://"
	}
	if cfg.PublicURL != nil {
		return scheme + addr + " for " + cfg.Origin()
	}
	return scheme + addr
}

// service puts the service together on an open backend.
func service(ctx context.Context, cfg *config.Config, b *backend.Backend, log *slog.Logger) (*web.Site, error) {
	keys, err := b.Keys(ctx, true)
	if err != nil {
		return nil, err
	}
	hasher, err := password.New(nil)
	if err != nil {
		return nil, err
	}
	opts := web.Options{
		Prefix: cfg.Prefix, Accounts: b.Users, Hasher: hasher, Logger: log,
		Manager:   func(o *cloakroom.Options) (*cloakroom.Manager, error) { return b.Manager(keys, o) },
		PublicURL: cfg.Origin(), HTTPS: cfg.HTTPS(),
		Session: cloakroom.Options{
			IdleTimeout: cfg.IdleTimeout, Lifetime: cfg.Lifetime, StoreTimeout: cfg.StoreTimeout, ClientAddr: audit.ClientAddr,
		},
		Unlisted:     cfg.Store.Scheme == config.Sealed,
		UsersTimeout: cfg.StoreTimeout,
	}
	if cfg.PlainCookie() {
		opts.Session.CookieName, opts.Session.Insecure = "session", true
	}
	return web.New(opts)
}
