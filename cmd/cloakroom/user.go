package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/backend"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/web"
	"github.com/cloakroom-dev/cloakroom/password"
)

func newUser(env *environment) *cobra.Command {
	cmd := &cobra.Command{Use: "user", Short: "Add, list and change users"}
	cmd.AddCommand(newUserAdd(env), newUserList(env),
		newUserSwitch(env, "disable", "Sign a user out everywhere and let them in no more", true),
		newUserSwitch(env, "enable", "Let a disabled user in again", false),
		newUserRoles(env))
	group(cmd)
	return cmd
}

func newUserAdd(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a user",
		Args:  exactly(1, "the user's name"),
	}
	roles := cmd.Flags().StringArray("role", nil, "a role to give; may be repeated (admin: administrator)")
	fromStdin := cmd.Flags().Bool("password-stdin", false, "read the password from standard input, one line")
	settings(cmd, everywhere...)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := load(cmd, env)
		if err != nil {
			return err
		}
		pw, err := readPassword(cmd, env, *fromStdin)
		if err != nil {
			return err
		}
		if err := web.CheckPassword(pw); err != nil {
			return err
		}
		b, err := backend.OpenAccounts(cmd.Context(), cfg, true)
		if err != nil {
			return err
		}
		defer b.Close()
		hasher, err := password.New(nil)
		if err != nil {
			return err
		}
		phc, err := hasher.Hash(cmd.Context(), pw)
		if err != nil {
			return err
		}
		u, err := b.Users.Create(cmd.Context(), sqlusers.NewUser{Name: args[0], Roles: *roles, Password: phc})
		if err != nil {
			return userError(err)
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "added %s\n", u.Name)
		return err
	}
	return cmd
}

// userError words what the accounts refuse, for people.
func userError(err error) error {
	if e, ok := errors.AsType[*auth.NameError](err); ok {
		return errors.New("the user name " + e.Reason)
	}
	switch {
	case errors.Is(err, sqlusers.ErrNameTaken):
		return errors.New("the user name is taken: choose another one")
	case errors.Is(err, sqlusers.ErrNameInvalid):
		return errors.New("not a user name: use 1 to 256 bytes without blanks and control characters")
	case errors.Is(err, sqlusers.ErrRoleInvalid):
		return errors.New("not a role: use 1 to 64 letters, digits and . _ - : /")
	case errors.Is(err, sqlusers.ErrLastAdmin):
		return errors.New("this is the last enabled administrator: make another one first")
	case errors.Is(err, auth.ErrNoUser):
		return errors.New("no such user: \"cloakroom user list\" lists them")
	}
	return err
}

// userDoc is a user in a listing.
type userDoc struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Roles    []string  `json:"roles"`
	Disabled bool      `json:"disabled"`
	Created  time.Time `json:"created"`
}

func newUserList(env *environment) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the users", Args: exactly(0, "none")}
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	settings(cmd, everywhere...)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := load(cmd, env)
		if err != nil {
			return err
		}
		b, err := backend.OpenAccounts(cmd.Context(), cfg, false)
		if err != nil {
			return err
		}
		defer b.Close()
		docs := []userDoc{}
		for a, err := range allUsers(cmd.Context(), b.Users) {
			if err != nil {
				return err
			}
			docs = append(docs, userDoc{a.ID, a.Name, append([]string{}, a.Roles...), a.Disabled, a.Created})
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), docs)
		}
		table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
		fmt.Fprintln(table, "NAME\tROLES\tSTATE\tCREATED\tID")
		for _, d := range docs {
			state := "enabled"
			if d.Disabled {
				state = "disabled"
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", printable(d.Name), orDash(strings.Join(d.Roles, ",")), state, moment(d.Created), d.ID)
		}
		return table.Flush()
	}
	return cmd
}

// allUsers goes through all users in the order of their names.
func allUsers(ctx context.Context, users *sqlusers.Users) func(yield func(sqlusers.Account, error) bool) {
	const page = 200
	return func(yield func(sqlusers.Account, error) bool) {
		for after := ""; ; {
			list, err := users.List(ctx, after, page)
			if err != nil {
				yield(sqlusers.Account{}, err)
				return
			}
			for _, a := range list {
				if !yield(a, nil) {
					return
				}
			}
			if len(list) < page {
				return
			}
			after = list[len(list)-1].Canonical
		}
	}
}

// findUser finds a user by name.
func findUser(ctx context.Context, users *sqlusers.Users, name string) (auth.User, error) {
	canonical, err := auth.CanonicalName(name)
	if err != nil {
		return auth.User{}, auth.ErrNoUser // nobody can have such a name
	}
	return users.ByName(ctx, canonical)
}

// newUserSwitch makes the commands that disable and enable.
func newUserSwitch(env *environment, use, short string, disabled bool) *cobra.Command {
	cmd := &cobra.Command{Use: use + " NAME", Short: short, Args: exactly(1, "the user's name")}
	settings(cmd, everywhere...)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return changeUser(cmd, env, args[0], func(ctx context.Context, b *backend.Backend, u auth.User) (string, error) {
			if err := b.Users.SetDisabled(ctx, u.ID, disabled); err != nil || !disabled {
				return "enabled", err
			}
			// No guard lets their sessions pass any more; the rest tidies up.
			err := b.OpenStore(ctx, false, slog.New(slog.DiscardHandler))
			if err == nil {
				_, err = b.EndRecords(ctx, u.ID)
			}
			if err != nil {
				fmt.Fprintf(env.stderr, "cloakroom: records of sessions are left, which nobody lets in: %v\n", err)
			}
			return "disabled, and signed out everywhere", nil
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
		return changeUser(cmd, env, args[0], func(ctx context.Context, b *backend.Backend, u auth.User) (string, error) {
			roles := u.Roles
			if *none || len(args) > 1 {
				roles = args[1:]
				if err := b.Users.SetRoles(ctx, u.ID, roles); err != nil {
					return "", err
				}
			}
			return "roles: " + orDash(strings.Join(roles, ", ")), nil
		})
	}
	return cmd
}

// changeUser finds a user and changes it. change returns what it has done.
func changeUser(cmd *cobra.Command, env *environment, name string, change func(context.Context, *backend.Backend, auth.User) (string, error)) error {
	cfg, err := load(cmd, env)
	if err != nil {
		return err
	}
	b, err := backend.OpenAccounts(cmd.Context(), cfg, false)
	if err != nil {
		return err
	}
	defer b.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), backend.Patience)
	defer cancel()
	u, err := findUser(ctx, b.Users, name)
	if err != nil {
		return userError(err)
	}
	done, err := change(ctx, b, u)
	if err != nil {
		return userError(err)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", printable(u.Name), done)
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

// printable takes out of a text what a terminal would act on.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
}
