package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/backend"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
)

// setupLinkAge is how long a setup link works.
const setupLinkAge = 30 * time.Minute

func newSetupLink(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "setup-link",
		Short: "Print a new link for making the first administrator",
		Long: "Print a new link for making the first administrator. It works once, for 30 minutes,\n" +
			"and takes the place of the link before it.",
		Args: exactly(0, "none"),
	}
	settings(cmd, append(everywhere, "listen", "prefix", "public-url", "tls-cert", "tls-key")...)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := load(cmd, env)
		if err != nil {
			return err
		}
		if _, port, _ := net.SplitHostPort(cfg.Listen); port == "0" && cfg.PublicURL == nil {
			return wrong(cmd, "listen has port 0, so where the service listens is not known here: give --listen or --public-url")
		}
		b, err := backend.OpenAccounts(cmd.Context(), cfg, false)
		if err != nil {
			return err
		}
		defer b.Close()
		ctx, cancel := context.WithTimeout(cmd.Context(), backend.Patience)
		defer cancel()
		link, err := setupLink(ctx, b.Users, cfg, cfg.Listen)
		if errors.Is(err, sqlusers.ErrHasAdmin) {
			return errors.New("there is an administrator already: add another one with \"cloakroom user add NAME --role admin\"")
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), link)
		return err
	}
	return cmd
}

// setupLink makes a setup link to the service that listens on addr.
func setupLink(ctx context.Context, users *sqlusers.Users, cfg *config.Config, addr string) (string, error) {
	token, err := users.NewSetupToken(ctx, time.Now(), setupLinkAge)
	if err != nil {
		return "", err
	}
	return cfg.Base(addr) + cfg.Prefix + "/setup?token=" + url.QueryEscape(token), nil
}
