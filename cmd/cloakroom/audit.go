package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/auditlog"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/backend"
	"github.com/cloakroom-dev/cloakroom/internal/event"
)

func newAudit(env *environment) *cobra.Command {
	cmd := &cobra.Command{Use: "audit", Short: "List, export and verify the audit log"}
	cmd.AddCommand(newAuditList(env), newAuditExport(env), newAuditVerify(env))
	group(cmd)
	return cmd
}

// auditFilter are the flags that select entries.
type auditFilter struct {
	user, kind, addr, from, to string
	suspicious                 bool
	limit                      int
}

func (f *auditFilter) flags(cmd *cobra.Command, limit int) {
	cmd.Flags().StringVar(&f.user, "user", "", "those about this user or done by them: a name, one that nobody has any more, or an ID")
	cmd.Flags().StringVar(&f.kind, "kind", "", "those of this kind, such as login_refused")
	cmd.Flags().StringVar(&f.from, "from", "", "those from this time on: a date, or a time as in 2006-01-02T15:04:05Z")
	cmd.Flags().StringVar(&f.to, "to", "", "those before this time")
	cmd.Flags().StringVar(&f.addr, "addr", "", "those from this address")
	cmd.Flags().BoolVar(&f.suspicious, "suspicious", false, "those that stand out")
	cmd.Flags().IntVar(&f.limit, "limit", limit, "at most so many; 0 for all")
}

// query makes a query of the flags.
func (f *auditFilter) query(cmd *cobra.Command) (q auditlog.Query, err error) {
	q = auditlog.Query{Kind: f.kind, Addr: f.addr, Suspicious: f.suspicious, Limit: f.limit}
	if f.kind != "" && !auditlog.Kept(f.kind) {
		return q, wrong(cmd, "--kind: no entries are of the kind %.40q", f.kind)
	}
	if f.limit < 0 {
		return q, wrong(cmd, "--limit: out of bounds")
	}
	for flag, t := range map[string]struct {
		text string
		to   *time.Time
	}{"from": {f.from, &q.From}, "to": {f.to, &q.To}} {
		if t.text == "" {
			continue
		}
		if *t.to, err = time.Parse(time.DateOnly, t.text); err != nil {
			*t.to, err = time.Parse(time.RFC3339, t.text)
		}
		if err != nil {
			return q, wrong(cmd, "--%s: neither a date as 2006-01-02 nor a time as 2006-01-02T15:04:05Z", flag)
		}
	}
	return q, nil
}

// person adds to a query all that a user stands under: their ID, their name, and the
// spelling that was asked for.
func (f *auditFilter) person(ctx context.Context, b *backend.Backend, l *auditlog.Log, q *auditlog.Query) error {
	if f.user == "" {
		return nil
	}
	q.User = auditlog.Who(f.user)
	u, err := findUser(ctx, b.Users, f.user)
	if errors.Is(err, auth.ErrNoUser) {
		u, err = b.Users.ByID(ctx, f.user)
	}
	if errors.Is(err, auth.ErrNoUser) {
		q.Also, err = former(ctx, l, f.user) // and there are entries of names that nobody ever had
		return err
	}
	if err == nil {
		q.Also = []string{u.ID, auditlog.Who(u.Name)}
	}
	return err
}

// openAudit opens the audit log that there is.
func openAudit(cmd *cobra.Command, env *environment) (*backend.Backend, *auditlog.Log, *slog.Logger, error) {
	cfg, err := load(cmd, env)
	if err != nil {
		return nil, nil, nil, err
	}
	b, err := backend.OpenAccounts(cmd.Context(), cfg, false)
	if err != nil {
		return nil, nil, nil, err
	}
	l, err := b.Audit(cmd.Context())
	if err != nil {
		return nil, nil, nil, errors.Join(err, b.Close())
	}
	return b, l, slog.New(l.Handler(env.log(cfg).Handler())), nil
}

// selectAudit opens the log and calls f with the entries that the flags select.
func selectAudit(cmd *cobra.Command, env *environment, filter *auditFilter, f func(*sqlusers.Users, *auditlog.Log, *slog.Logger, iter.Seq2[auditlog.Entry, error]) error) error {
	q, err := filter.query(cmd)
	if err != nil {
		return err
	}
	b, l, log, err := openAudit(cmd, env)
	if err != nil {
		return err
	}
	defer b.Close()
	if err := filter.person(cmd.Context(), b, l, &q); err != nil {
		return errors.Join(err, l.Close())
	}
	err = f(b.Users, l, log, l.Each(cmd.Context(), q))
	return errors.Join(err, l.Close())
}

func newAuditExport(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use: "export", Short: "Print entries as JSON lines or CSV, the newest first", Args: exactly(0, "none"),
	}
	var filter auditFilter
	format := cmd.Flags().String("format", "jsonl", "jsonl or csv")
	filter.flags(cmd, 0)
	settings(cmd, everywhere...)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		write := auditlog.WriteJSONL
		switch *format {
		case "jsonl":
		case "csv":
			write = auditlog.WriteCSV
		default:
			return wrong(cmd, "--format: neither jsonl nor csv")
		}
		return selectAudit(cmd, env, &filter, func(_ *sqlusers.Users, l *auditlog.Log, log *slog.Logger, entries iter.Seq2[auditlog.Entry, error]) error {
			out := bufio.NewWriter(cmd.OutOrStdout())
			n, err := write(out, entries)
			err = errors.Join(err, out.Flush())
			if l.Signs() { // an entry without a tag would be taken for a stranger's
				event.Log(cmd.Context(), log, slog.LevelInfo, event.AuditExported, slog.String("actor", "console"), slog.Int("count", n))
			}
			return err
		})
	}
	return cmd
}

func newAuditVerify(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Tell whether entries were changed, inserted, removed or reordered",
		Long: "Tell whether entries were changed, inserted, removed or reordered: 0 if not, else 1 and a\n" +
			"line that says where.\n\n" +
			"That the newest entries were removed cannot be seen in what is left. Note the head that\n" +
			"this command prints in a place that nobody who can write to the database can write to,\n" +
			"and give it to --head the next time.",
		Args: exactly(0, "none"),
	}
	marks := cmd.Flags().StringArray("head", nil, "a `NUMBER:HASH` noted earlier, which has to be in the log; may be repeated")
	allow := cmd.Flags().Bool("allow-unsigned", false, "put up with entries that nothing vouches for: not signed, or with keys that are not at hand")
	settings(cmd, everywhere...)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var heads []auditlog.Head
		for _, text := range *marks {
			h, err := auditlog.ParseHead(text)
			if err != nil {
				return wrong(cmd, "--head: %v", err)
			}
			heads = append(heads, h)
		}
		b, l, _, err := openAudit(cmd, env)
		if err != nil {
			return err
		}
		defer b.Close()
		defer l.Close()
		r, err := l.Verify(cmd.Context(), heads...)
		if err != nil {
			return err
		}
		return verdict(cmd, r, *allow)
	}
	return cmd
}

// verdict prints what was found.
func verdict(cmd *cobra.Command, r auditlog.Report, allow bool) error {
	if r.Broken != nil {
		return fmt.Errorf("the audit log is broken: %w", r.Broken)
	}
	if !r.Vouched() && !allow {
		return unvouched(r)
	}
	gone := "not verifiable: signed with a key that is not at hand"
	if r.Vouched() {
		gone = "signed with a key that is gone, and bound by those that follow"
	}
	fmt.Fprintf(cmd.OutOrStdout(), "verified: %d entries\n", r.Entries)
	for _, n := range []struct {
		n    int64
		what string
	}{
		{r.First - 1, "pruned"},
		{r.Unknown, gone},
		{r.Unsigned, "not verifiable: not signed"},
		{r.Strange, "written behind an entry that no key at hand had signed"},
		{r.Retired, "signed with a key that had been retired before"},
	} {
		if n.n > 0 {
			fmt.Fprintf(cmd.OutOrStdout(), "%d %s\n", n.n, n.what)
		}
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "head: %s\n", r.Head)
	return err
}

// unvouched says why a log that is whole may yet hold what somebody else has written.
func unvouched(r auditlog.Report) error {
	if r.Retired > 0 {
		return fmt.Errorf("the audit log is whole, but not verifiable: %d entries, entry %d the first, are signed with a key that had been retired before: "+
			"whoever wrote them has the key that leaked and can write to the database, or was an instance cut off from all others: put up with it by --allow-unsigned", r.Retired, r.RetiredAt)
	}
	if r.Unsigned == 0 && r.Uncovered == 0 {
		return fmt.Errorf("the audit log is whole, but not verifiable: %d times an entry was written behind one that no key at hand had signed, "+
			"added from outside or of a key that was not kept as retiring: look for them with audit list --kind audit_failed; "+
			"if the key was taken away by hand, finish that with \"cloakroom key retire --now --vouch\" and its ID; or put up with it by --allow-unsigned", r.Strange)
	}
	return fmt.Errorf("the audit log is whole, but not verifiable: of %d entries %d were signed with a key that is not at hand, and %d with none: "+
		"name the key file with --keys, or put up with it by --allow-unsigned", r.Entries, r.Unknown, r.Unsigned)
}
