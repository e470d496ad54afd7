package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/audit"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/backend"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/metrics"
	"github.com/cloakroom-dev/cloakroom/internal/event"
)

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
	counts := metrics.New(version())
	log := audit.Tee(audit.NewLogger(env.stderr, cfg.LogFormat, cfg.LogLevel), counts.Log)
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
	svc, err := begin(ctx, cfg, b, log, ln.Addr().String(), hangups(ctx))
	if err != nil {
		return err
	}
	log = svc.log
	defer func() { err = errors.Join(err, svc.audit.Close()) }()
	defer svc.keepHouse(context.WithoutCancel(ctx))()

	fmt.Fprintf(env.stdout, "cloakroom is ready on %s\n", where(cfg, ln.Addr().String()))
	if svc.link != "" {
		fmt.Fprintf(env.stdout, "no administrator yet; within 30 minutes, make one by this link, which replaces any earlier one: %s\n", svc.link)
		event.Log(ctx, log, slog.LevelInfo, event.Setup, event.Outcome("link issued"))
	}
	event.Log(ctx, log, slog.LevelInfo, event.Start, event.Addr(ln.Addr().String()), slog.String("version", version()),
		event.Text("data", absolute(cfg.Data)), event.Text("store", cfg.Store.String()), event.Text("users", cfg.Users.String()))
	for _, reason := range b.Risks(ctx) {
		event.Log(ctx, log, slog.LevelWarn, event.RiskySetting, event.Reason(reason))
	}
	defer event.Log(context.WithoutCancel(ctx), log, slog.LevelInfo, event.Stop, event.Addr(ln.Addr().String()))

	handler := audit.Middleware(log, cfg.TrustedProxies, svc.site.Fail, svc.site)
	servers := []listening{{newServer(counts.Requests(handler), cert, log), ln}}
	if admin != nil {
		counts.Keys(svc.keyState)
		counts.Up("cloakroom_store_up", "Whether the store of the sessions answers, as far as requests have asked it.", b.Up)
		servers = append(servers, listening{newServer(health(b, counts, log), nil, log), admin})
		event.Log(ctx, log, slog.LevelInfo, event.Start, event.Addr(admin.Addr().String()), slog.String("serves", "health"))
	}
	return serveAll(ctx, stop, servers)
}

// hangups returns what receives a value at each SIGHUP, which makes daemons look at their
// files again. Without it the signal would end the program.
func hangups(ctx context.Context) <-chan struct{} {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	c := make(chan struct{}, 1)
	go func() {
		defer signal.Stop(signals)
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
			}
			select {
			case c <- struct{}{}:
			default: // it will look in any case
			}
		}
	}()
	return c
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
