package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/admin"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/backend"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/web"
	"github.com/cloakroom-dev/cloakroom/internal/event"
)

func newSession(env *environment) *cobra.Command {
	cmd := &cobra.Command{Use: "session", Short: "List and end sessions"}
	cmd.AddCommand(newSessionList(env), newSessionEnd(env))
	group(cmd)
	return cmd
}

// sessionDoc is a session in a listing.
type sessionDoc struct {
	Handle   string    `json:"handle"`
	UserID   string    `json:"user_id"`
	User     string    `json:"user"`
	Device   string    `json:"device"`
	Address  string    `json:"address"`
	Created  time.Time `json:"created"`
	LastSeen time.Time `json:"last_seen"`
	Expires  time.Time `json:"expires"`
}

func newSessionList(env *environment) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the sessions", Args: exactly(0, "none")}
	user := cmd.Flags().String("user", "", "those of one user")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	settings(cmd, everywhere...)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, b, err := openSessions(cmd, env)
		if err != nil {
			return err
		}
		defer b.Close()
		if !b.Lists() {
			return wrong(cmd, "sessions in %s cannot be listed from here; end those of a user with \"cloakroom session end --user\"", cfg.Store)
		}
		manager, err := newManager(cmd.Context(), cfg, b, env)
		if err != nil {
			return err
		}
		docs, err := listSessions(cmd, b, manager, *user, cmd.Flags().Changed("user"))
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), docs)
		}
		table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
		fmt.Fprintln(table, "HANDLE\tUSER\tDEVICE\tADDRESS\tCREATED\tLAST SEEN")
		for _, d := range docs {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", d.Handle, event.Printable(d.User), d.Device, orDash(d.Address), moment(d.Created), moment(d.LastSeen))
		}
		return table.Flush()
	}
	return cmd
}

// openSessions opens what is there; it makes nothing.
func openSessions(cmd *cobra.Command, env *environment) (*config.Config, *backend.Backend, error) {
	cfg, err := load(cmd, env)
	if err != nil {
		return nil, nil, err
	}
	b, err := backend.Open(cmd.Context(), cfg, false, env.log(cfg))
	if err != nil {
		return nil, nil, err
	}
	return cfg, b, b.Guard(cmd.Context(), backend.Patience, env.log(cfg))
}

// newManager returns a Manager that can read what a session's list shows.
func newManager(ctx context.Context, cfg *config.Config, b *backend.Backend, env *environment) (*cloakroom.Manager, error) {
	keys, err := b.Keys(ctx, false)
	if err != nil {
		return nil, err
	}
	return b.Manager(keys, &cloakroom.Options{
		IdleTimeout: cfg.IdleTimeout, Lifetime: cfg.Lifetime,
		Logger: env.log(cfg), StoreTimeout: backend.Patience,
	})
}

// listSessions lists the sessions of one user, or of everybody who has any.
func listSessions(cmd *cobra.Command, b *backend.Backend, m *cloakroom.Manager, name string, ofOne bool) ([]sessionDoc, error) {
	ctx := cmd.Context()
	docs := []sessionDoc{}
	add := func(userID, name string) error {
		infos, err := m.List(ctx, userID)
		for _, i := range infos {
			docs = append(docs, sessionDoc{i.ID.Handle(), userID, name, web.Device(i.Device), i.Address, i.Created, i.Seen, i.Expires})
		}
		return err
	}
	if ofOne {
		u, err := findUser(ctx, b.Users, name)
		if err != nil {
			return nil, userError(err)
		}
		return docs, add(u.ID, u.Name)
	}
	seen := make(map[string]bool)
	for rec, err := range b.Records(false).All(ctx) {
		if err != nil {
			return nil, err
		}
		if rec.UserID == "" || seen[rec.UserID] {
			continue
		}
		seen[rec.UserID] = true
		u, err := b.Users.ByID(ctx, rec.UserID)
		if err != nil && !errors.Is(err, auth.ErrNoUser) {
			return nil, err
		}
		if err := add(rec.UserID, u.Name); err != nil {
			return nil, err
		}
	}
	return docs, nil
}

func newSessionEnd(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "end [--user U | --all | HANDLE]",
		Short: "End one session, those of a user, or all",
	}
	user := cmd.Flags().String("user", "", "end all sessions of this user")
	all := cmd.Flags().Bool("all", false, "end all sessions of everybody; if the key file has been lost, let go of its key")
	settings(cmd, everywhere...)
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		n := len(args)
		if cmd.Flags().Changed("user") {
			n++
		}
		if *all {
			n++
		}
		if n != 1 {
			return wrong(cmd, "it takes one of --user, --all and a session's handle")
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return administer(cmd, env, false, func(ctx context.Context, c *console) error {
			// Unlike accounts, sessions are all that this is about: away is failed.
			if err := c.openStore(ctx); err != nil {
				return err
			}
			var ended admin.Ended
			var err error
			switch {
			case *all:
				ended, err = c.endEveryone(ctx)
			case len(args) == 0:
				ended, err = c.endUser(ctx, *user)
			case !c.b.Lists():
				return wrong(cmd, "of the sessions in %s one alone can be ended by its visitor only; --user and --all work from here", c.cfg.Store)
			default:
				ended.Count, err = 1, c.endHandle(ctx, args[0])
			}
			if err = errors.Join(err, ended.Left); err != nil {
				return err
			}
			if !c.b.Lists() {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), "done: no session of before is let in any more")
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "ended: %d\n", ended.Count)
			return err
		})
	}
	return cmd
}

// endEveryone ends everybody's sessions, and lets go of a key that is lost.
func (c *console) endEveryone(ctx context.Context) (admin.Ended, error) {
	ended, err := c.EndEveryone(ctx, admin.Console)
	if err == nil && ended.Left == nil {
		err = c.b.ForgetKeys(ctx)
	}
	return ended, err
}

// endUser ends the sessions of a user.
func (c *console) endUser(ctx context.Context, name string) (admin.Ended, error) {
	u, err := c.find(ctx, name)
	if err != nil {
		return admin.Ended{}, err
	}
	return c.EndSessions(ctx, admin.Console, u.ID)
}

// endHandle ends the session with this handle. A handle is a hash of the ID, so
// all of them are looked through.
func (c *console) endHandle(ctx context.Context, handle string) error {
	records := c.b.Records(false)
	for rec, err := range records.All(ctx) {
		if err != nil {
			return err
		}
		if rec.ID.Handle() != handle {
			continue
		}
		if err := records.End(ctx, rec.ID); err != nil {
			return err
		}
		c.EndedOne(ctx, admin.Console, rec.UserID, handle)
		return nil
	}
	return errors.New("no such session")
}
