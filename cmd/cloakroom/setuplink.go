package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/admin"
	"github.com/cloakroom-dev/cloakroom/internal/event"
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
	settings(cmd, links...)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := linkable(cmd, env); err != nil {
			return err
		}
		return administer(cmd, env, false, func(ctx context.Context, c *console) error {
			c.locate(ctx, cmd)
			link, err := setupLink(ctx, c.b.Users, c.Links())
			if errors.Is(err, sqlusers.ErrHasAdmin) {
				return errors.New("there is an administrator already: add another one with \"cloakroom user add NAME --role admin\"")
			}
			if err != nil {
				return err
			}
			event.Log(ctx, c.Log, slog.LevelInfo, event.Setup, event.Outcome("link issued"), slog.String("actor", admin.Console.ID))
			c.tell()
			_, err = fmt.Fprintln(cmd.OutOrStdout(), link)
			return err
		})
	}
	return cmd
}

// setupLink makes a setup link to the service whose links begin with base.
func setupLink(ctx context.Context, users *sqlusers.Users, base string) (string, error) {
	token, err := users.NewSetupToken(ctx, time.Now(), setupLinkAge)
	if err != nil {
		return "", err
	}
	return base + "/setup?token=" + url.QueryEscape(token), nil
}
