package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/admin"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/backend"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/password"
)

func newUser(env *environment) *cobra.Command {
	cmd := &cobra.Command{Use: "user", Short: "Add, list and change users"}
	cmd.AddCommand(newUserAdd(env), newUserList(env))
	cmd.AddCommand(userChanges(env)...)
	group(cmd)
	return cmd
}

func newUserAdd(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a user, with a password or with a link to choose one",
		Long: "Add a user, with a password that is asked for, or with a link by which they choose one.\n" +
			"A password that somebody else has chosen is changed at the first login.",
		Args: exactly(1, "the user's name"),
	}
	roles := cmd.Flags().StringArray("role", nil, "a role to give; may be repeated (admin: administrator)")
	fromStdin := cmd.Flags().Bool("password-stdin", false, "read the password from standard input, one line")
	keep := cmd.Flags().Bool("keep-password", false, "do not ask for another password at the first login: it is the user's own")
	invite := cmd.Flags().Bool("invite", false, "no password: print a link, for 24 hours, by which the user chooses one")
	settings(cmd, slices.Concat(links, []string{"banned-words", "pepper"})...)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *invite && (*fromStdin || *keep) {
			return wrong(cmd, "--invite lets the user choose the password, so there is none to give")
		}
		n := sqlusers.NewUser{Name: args[0], Roles: *roles, MustChange: !*keep && !*invite}
		var pw string
		var err error
		if *invite {
			err = linkable(cmd, env)
		} else {
			pw, err = newPassword(cmd, env, *fromStdin, args[0])
		}
		if err != nil {
			return err
		}
		return administer(cmd, env, true, func(ctx context.Context, c *console) error {
			if !*invite {
				if n.Password, err = c.hash(ctx, pw); err != nil {
					return err
				}
			}
			u, err := c.Add(ctx, admin.Console, n)
			if err != nil {
				return err
			}
			done := "added " + event.Printable(u.Name)
			if n.MustChange {
				done += ", who must change the password at the first login"
			}
			if _, err = fmt.Fprintln(cmd.OutOrStdout(), done); err != nil || !*invite {
				return err
			}
			c.locate(ctx, cmd)
			link, err := c.Invite(ctx, admin.Console, u.ID)
			if err != nil {
				return err
			}
			return c.printLink(cmd, link)
		})
	}
	return cmd
}

// newPassword reads a password for the user of this name.
func newPassword(cmd *cobra.Command, env *environment, fromStdin bool, name string) (string, error) {
	cfg, err := load(cmd, env)
	if err != nil {
		return "", err
	}
	return readPassword(cmd, env, fromStdin, func(pw string) error {
		err := policy(cfg).Check(pw, name)
		if refused, ok := errors.AsType[*password.PolicyError](err); ok {
			return errors.New(policyWords(refused))
		}
		return err
	})
}

// policyWords words why a password may not be set as our messages are worded.
func policyWords(e *password.PolicyError) string {
	if e.Reason == password.InContext {
		return "the password is easy to guess here: it is made of the user's name, the service's, its host's or a banned word"
	}
	first, rest := e.Error()[:1], e.Error()[1:]
	return strings.ToLower(first) + rest
}

// administer runs f on a console of the command's settings. With create it makes what
// is missing.
func administer(cmd *cobra.Command, env *environment, create bool, f func(context.Context, *console) error) error {
	c, err := openConsole(cmd, env, create)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), backend.Patience)
	defer cancel()
	err = f(ctx, c)
	if err != nil {
		err = userError(err)
	}
	return errors.Join(err, c.Close())
}

// userError words what the accounts refuse, for people.
func userError(err error) error {
	if e, ok := errors.AsType[*auth.NameError](err); ok {
		return errors.New("the user name " + e.Reason)
	}
	switch {
	case errors.Is(err, sqlusers.ErrNameTaken):
		return errors.New("the user name is taken: choose another one, or make a link for that user, with \"cloakroom user invite\" or \"reset\"")
	case errors.Is(err, sqlusers.ErrNameInvalid):
		return errors.New("not a user name: use 1 to 256 bytes without blanks and control characters")
	case errors.Is(err, sqlusers.ErrRoleInvalid):
		_, which, _ := strings.Cut(err.Error(), sqlusers.ErrRoleInvalid.Error()+": ") // quoted and cut
		return fmt.Errorf("not a role: %s: use 1 to 64 letters, digits and . _ - : /, and one --role for each", which)
	case errors.Is(err, sqlusers.ErrLastAdmin):
		return errors.New("this is the last enabled administrator: make another one first")
	case errors.Is(err, sqlusers.ErrDisabled):
		return errors.New("the user is disabled: enable them first, with \"cloakroom user enable\"")
	case errors.Is(err, admin.ErrHasPassword):
		return errors.New("the user has a password already: make a link with \"cloakroom user reset\"")
	case errors.Is(err, auth.ErrNoUser):
		return errors.New("no such user: \"cloakroom user list\" lists them")
	}
	return err
}

// printJSON prints an indented document.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04Z") }

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
