package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/backend"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/throttle"
)

// userDoc is a user in a listing, by the names that the service has over HTTP.
type userDoc struct {
	ID          string     `json:"id"`
	Name        string     `json:"name"`
	Roles       []string   `json:"roles"`
	Disabled    bool       `json:"disabled"`
	Locked      bool       `json:"locked"`
	MustChange  bool       `json:"must_change"`
	HasPassword bool       `json:"has_password"`
	Link        *linkDoc   `json:"link"` // that waits to be used; null for none
	Failures    int        `json:"failures"`
	Until       *time.Time `json:"throttled_until"` // null: they may try now
	Created     time.Time  `json:"created"`
	Updated     time.Time  `json:"updated"`
}

// linkDoc is a link that waits to be used. It does not say which one it is.
type linkDoc struct {
	Kind    string    `json:"kind"`
	Expires time.Time `json:"expires"`
}

func newUserDoc(a sqlusers.Account, s throttle.State) userDoc {
	d := userDoc{
		ID: a.ID, Name: a.Name, Roles: append([]string{}, a.Roles...), Disabled: a.Disabled, Locked: s.Locked,
		MustChange: a.MustChange, HasPassword: a.HasPassword, Failures: s.Failures, Created: a.Created, Updated: a.Updated,
	}
	if a.Link != "" && time.Now().Before(a.LinkUntil) {
		d.Link = &linkDoc{string(a.Link), a.LinkUntil}
	}
	if !s.Until.IsZero() {
		d.Until = &s.Until
	}
	return d
}

// state says in words how an account stands; they are those of the pages.
func (d *userDoc) state() string {
	var words []string
	if d.Disabled {
		words = append(words, "disabled")
	}
	switch {
	case d.Locked:
		words = append(words, "locked")
	case d.Until != nil:
		words = append(words, "waits until "+d.Until.UTC().Format("15:04:05Z"))
	}
	if d.MustChange {
		words = append(words, "must change password")
	}
	switch {
	case d.HasPassword:
	case d.Link != nil:
		words = append(words, "invited")
	default:
		words = append(words, "no password")
	}
	if words == nil {
		return "active"
	}
	return strings.Join(words, ", ")
}

func newUserList(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List the users", Args: exactly(0, "none"),
		Long: "List the users, and how each stands: disabled; locked, after too many wrong passwords;\n" +
			"waiting, after some; invited, with a link that works; without a password and such a\n" +
			"link; to change the password at the next login; else active.",
	}
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	part := cmd.Flags().String("search", "", "only those with this in their name")
	role := cmd.Flags().String("role", "", "only those with this role")
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
		locks, err := b.Throttle(cmd.Context())
		if err != nil {
			return err
		}
		docs, err := listUsers(cmd.Context(), b.Users, locks, sqlusers.Filter{Text: *part, Role: *role})
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), docs)
		}
		table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
		fmt.Fprintln(table, "NAME\tROLES\tSTATE\tCREATED\tID")
		for _, d := range docs {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", event.Printable(d.Name), orDash(strings.Join(d.Roles, ",")), d.state(), moment(d.Created), d.ID)
		}
		return table.Flush()
	}
	return cmd
}

// listUsers lists all users that pass the filter, in the order of their names.
func listUsers(ctx context.Context, users *sqlusers.Users, locks *throttle.Throttle, f sqlusers.Filter) ([]userDoc, error) {
	const page = 200
	docs := []userDoc{}
	for after := ""; ; {
		list, err := users.Search(ctx, f, after, page)
		if err != nil {
			return nil, err
		}
		for _, a := range list {
			state, err := locks.State(ctx, a.ID)
			if err != nil {
				return nil, err
			}
			docs = append(docs, newUserDoc(a, state))
		}
		if len(list) < page {
			return docs, nil
		}
		after = list[len(list)-1].Canonical
	}
}
