package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/admin"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/auditlog"
	"github.com/cloakroom-dev/cloakroom/internal/event"
)

func newAuditList(env *environment) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List entries, the newest first", Args: exactly(0, "none")}
	var filter auditFilter
	filter.flags(cmd, 100)
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	settings(cmd, everywhere...)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return selectAudit(cmd, env, &filter, func(users *sqlusers.Users, _ *auditlog.Log, _ *slog.Logger, entries iter.Seq2[auditlog.Entry, error]) error {
			list := []auditlog.Entry{}
			for e, err := range entries {
				if err != nil {
					return err
				}
				list = append(list, e)
			}
			if *asJSON {
				return printJSON(cmd.OutOrStdout(), list)
			}
			if len(list) == 0 {
				_, err := fmt.Fprintln(env.stderr, "cloakroom: no entries: the audit log has none that these flags select")
				return err
			}
			return printEntries(cmd, newNames(cmd.Context(), users, list), list)
		})
	}
	return cmd
}

func printEntries(cmd *cobra.Command, n *names, list []auditlog.Entry) error {
	table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "ENTRY\tTIME\t \tKIND\tUSER\tACTOR\tADDRESS\tDETAILS")
	for _, e := range list {
		user, err := n.of(cmp.Or(e.Account, e.User))
		if err != nil {
			return err
		}
		actor, err := n.of(e.Actor)
		if err != nil {
			return err
		}
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.Seq, e.Time.Format(time.DateTime+"Z"), sign(e), event.Printable(e.Kind),
			orDash(user), orDash(actor), orDash(event.Printable(e.Addr)), orDash(event.Printable(e.More())))
	}
	return table.Flush()
}

// sign makes suspicious entries stand out.
func sign(e auditlog.Entry) string {
	if e.Suspicious {
		return "!"
	}
	return " "
}

// names puts names beside the IDs of entries, and looks each account up once.
type names struct {
	ctx   context.Context
	users *sqlusers.Users
	known map[string]string
}

// tellNames are the kinds of entries whose name is that of the user.
var tellNames = []string{event.UserAdded, event.UserRenamed, event.UserRemoved}

func newNames(ctx context.Context, users *sqlusers.Users, list []auditlog.Entry) *names {
	n := &names{ctx, users, map[string]string{"": "", admin.Console.ID: admin.Console.ID}}
	for _, e := range list {
		// The name of an account that is gone stands in the entry that says so.
		if e.Kind == event.UserRemoved {
			n.known[e.User] = beside(e.Name, e.User)
		}
	}
	return n
}

// of returns who stands in an entry: an ID with the account's name, else as it is.
func (n *names) of(who string) (string, error) {
	if known, ok := n.known[who]; ok {
		return known, nil
	}
	u, err := n.users.ByID(n.ctx, who)
	switch {
	case errors.Is(err, auth.ErrNoUser):
		n.known[who] = event.Printable(who)
	case err != nil:
		return "", err
	default:
		n.known[who] = beside(u.Name, u.ID)
	}
	return n.known[who], nil
}

func beside(name, id string) string { return event.Printable(name) + " (" + event.Printable(id) + ")" }

// former returns the IDs of those who had a name once, as entries tell it.
func former(ctx context.Context, l *auditlog.Log, name string) ([]string, error) {
	var ids []string
	for _, kind := range tellNames {
		for e, err := range l.Each(ctx, auditlog.Query{Kind: kind}) {
			if err != nil {
				return nil, err
			}
			if strings.EqualFold(e.Name, auditlog.Who(name)) && !slices.Contains(ids, e.User) {
				ids = append(ids, e.User)
			}
		}
	}
	return ids, nil
}
