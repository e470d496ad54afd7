package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/admin"
	"github.com/cloakroom-dev/cloakroom/internal/event"
)

// links are the settings of a command that prints a link: where things are, and where
// browsers find the service.
var links = append(slices.Clone(everywhere), "listen", "prefix", "public-url", "tls-cert", "tls-key")

// linkable returns a fault where nobody knows here what a link begins with.
func linkable(cmd *cobra.Command, env *environment) error {
	cfg, err := load(cmd, env)
	if err != nil {
		return err
	}
	if _, port, _ := net.SplitHostPort(cfg.Listen); port == "0" && cfg.PublicURL == nil {
		return wrong(cmd, "listen has port 0, so where the service listens is not known here: give --listen or --public-url")
	}
	return nil
}

func (c *console) printLink(cmd *cobra.Command, link admin.Link) error {
	c.tell()
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s (works once, until %s)\n", link.URL, moment(link.Until))
	return err
}

// tell says on standard error what there is to say of the link that follows.
func (c *console) tell() {
	if c.note != "" {
		fmt.Fprintf(c.env.stderr, "cloakroom: %s\n", c.note)
	}
}

// change is what a command does to a user. It returns what it has done, in words.
type change func(ctx context.Context, c *console, u auth.User, args []string) (string, error)

// userChanges are the commands that change one user.
func userChanges(env *environment) []*cobra.Command {
	signedOut := func(done string, f func(*console, context.Context, string) (admin.Ended, error)) change {
		return func(ctx context.Context, c *console, u auth.User, _ []string) (string, error) {
			ended, err := f(c, ctx, u.ID)
			c.leftovers(ended)
			return done, err
		}
	}
	return []*cobra.Command{
		newUserChange(env, "disable", "Sign a user out everywhere and let them in no more",
			signedOut("disabled, and signed out everywhere", func(c *console, ctx context.Context, id string) (admin.Ended, error) {
				return c.Disable(ctx, admin.Console, id)
			})),
		newUserChange(env, "enable", "Let a disabled user in again",
			func(ctx context.Context, c *console, u auth.User, _ []string) (string, error) {
				return "enabled", c.Enable(ctx, admin.Console, u.ID)
			}),
		newUserChange(env, "unlock", "Forget a user's wrong passwords: end a wait or a lock, so that they may sign in at once",
			func(ctx context.Context, c *console, u auth.User, _ []string) (string, error) {
				return "unlocked", c.Unlock(ctx, admin.Console, u.ID)
			}),
		newUserChange(env, "require-change", "Sign a user out everywhere and have them change the password",
			signedOut("signed out everywhere, and must change the password", func(c *console, ctx context.Context, id string) (admin.Ended, error) {
				return c.RequireChange(ctx, admin.Console, id)
			})),
		newUserRename(env),
		newUserRemove(env),
		newUserRoles(env),
		newUserLink(env, "invite", "Print a link, for 24 hours, by which a user without a password chooses one", (*console).invite),
		newUserLink(env, "reset", "Print a link, for an hour, by which a user chooses a new password", (*console).reset),
	}
}

func (c *console) invite(ctx context.Context, id string) (admin.Link, error) {
	return c.Invite(ctx, admin.Console, id)
}

func (c *console) reset(ctx context.Context, id string) (admin.Link, error) {
	return c.Reset(ctx, admin.Console, id)
}

// newUserChange makes a command that takes a user's name and no more.
func newUserChange(env *environment, use, short string, do change) *cobra.Command {
	cmd := &cobra.Command{Use: use + " NAME", Short: short, Args: exactly(1, "the user's name")}
	settings(cmd, everywhere...)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return changeUser(cmd, env, args, do) }
	return cmd
}

func newUserRename(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use: "rename NAME NEW", Short: "Give a user another name; the user stays signed in",
		Args: exactly(2, "the user's name and the new one"),
	}
	settings(cmd, everywhere...)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return changeUser(cmd, env, args, func(ctx context.Context, c *console, u auth.User, args []string) (string, error) {
			return "is now " + event.Printable(args[1]), c.Rename(ctx, admin.Console, u.ID, args[1])
		})
	}
	return cmd
}

func newUserRemove(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use: "remove NAME", Short: "Remove a user for good",
		Long: "Remove a user for good, and sign them out everywhere. A user of the same name that is\nadded later is another one. To keep somebody out for a while, disable them.",
		Args: exactly(1, "the user's name"),
	}
	yes := cmd.Flags().Bool("yes", false, "say that it is meant: there is no way back")
	settings(cmd, everywhere...)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !*yes {
			return wrong(cmd, "there is no way back: say --yes, or disable the user")
		}
		return changeUser(cmd, env, args, func(ctx context.Context, c *console, u auth.User, _ []string) (string, error) {
			ended, err := c.Remove(ctx, admin.Console, u.ID)
			c.leftovers(ended)
			return "removed, and signed out everywhere", err
		})
	}
	return cmd
}

func newUserRoles(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "roles NAME [ROLE]...",
		Short: "Show a user's roles, or give them these and no others",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return wrong(cmd, "no arguments: it takes the user's name and their roles")
			}
			return nil
		},
	}
	none := cmd.Flags().Bool("none", false, "take all roles away")
	settings(cmd, everywhere...)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *none && len(args) > 1 {
			return wrong(cmd, "--none and roles contradict each other")
		}
		return changeUser(cmd, env, args, func(ctx context.Context, c *console, u auth.User, args []string) (string, error) {
			roles := u.Roles
			if *none || len(args) > 1 {
				roles = args[1:]
				if err := c.SetRoles(ctx, admin.Console, u.ID, roles); err != nil {
					return "", err
				}
			}
			return "roles: " + orDash(strings.Join(roles, ", ")), nil
		})
	}
	return cmd
}

// newUserLink makes a command that prints a link for a user.
func newUserLink(env *environment, use, short string, make func(*console, context.Context, string) (admin.Link, error)) *cobra.Command {
	cmd := &cobra.Command{
		Use: use + " NAME", Short: short,
		Long: short + ".\nIt takes the place of any link before it. Whoever has it can set the password: hand it over in person.",
		Args: exactly(1, "the user's name"),
	}
	settings(cmd, links...)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := linkable(cmd, env); err != nil {
			return err
		}
		return administer(cmd, env, false, func(ctx context.Context, c *console) error {
			u, err := c.find(ctx, args[0])
			if err != nil {
				return err
			}
			c.locate(ctx, cmd)
			link, err := make(c, ctx, u.ID)
			if err != nil {
				return err
			}
			if use == "reset" && u.Password == "" {
				fmt.Fprintf(env.stderr, "cloakroom: %s has no password yet, and any invite of before is void: a link that works for a day is made with \"cloakroom user invite\"\n", event.Printable(u.Name))
			}
			return c.printLink(cmd, link)
		})
	}
	return cmd
}

// changeUser finds the user that the first argument names, and changes it.
func changeUser(cmd *cobra.Command, env *environment, args []string, do change) error {
	return administer(cmd, env, false, func(ctx context.Context, c *console) error {
		u, err := c.find(ctx, args[0])
		if err != nil {
			return err
		}
		done, err := do(ctx, c, u, args)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", event.Printable(u.Name), done)
		return err
	})
}
