package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keys"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
)

// keyDoc is a key in a listing. What nobody knows is nil.
type keyDoc struct {
	ID       string     `json:"id"`
	State    string     `json:"state"` // next, active, retiring, or retired: accepted no more
	Created  *time.Time `json:"created"`
	Age      *int64     `json:"age_seconds"`
	Until    *time.Time `json:"until,omitempty"`
	Sessions *int       `json:"sessions"`
	More     bool       `json:"more_sessions,omitempty"` // there are more than were looked at
	Hashes   *int       `json:"password_hashes"`
	Entries  *int       `json:"audit_entries"`

	Instances *[]string `json:"instances"` // that run and accept it
	missing   []string  // that run and do not
	running   int
}

func newKeyList(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the keys, and what each still protects",
		Long: "List the keys, never their secrets: how old each is, until when it is accepted, and what it\n" +
			"still protects: sessions, encrypted hashes of passwords, entries of the audit log. A question\n" +
			"mark is what cannot be known from here, such as sessions in memory or in cookies.",
		Args: exactly(0, "none"),
	}
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	settings(cmd, everywhere...)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		d, err := openKeys(cmd, env)
		if err != nil {
			return err
		}
		docs, err := d.list(cmd.Context())
		if err == nil && *asJSON {
			err = printJSON(cmd.OutOrStdout(), docs)
		} else if err == nil {
			err = d.printKeys(docs)
		}
		if err == nil {
			d.tellSilent(cmd.Context())
		}
		return errors.Join(err, d.Close())
	}
	return cmd
}

// list describes the keys of the source.
func (d *keyDesk) list(ctx context.Context) ([]keyDoc, error) {
	list, err := d.keys(ctx)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	p := d.protected(ctx)
	docs := make([]keyDoc, 0, len(list))
	slices.SortStableFunc(list, func(a, b keyring.Key) int { return cmp.Compare(rank(a, now), rank(b, now)) })
	for _, k := range list {
		doc := keyDoc{ID: k.ID().String(), State: k.State().String(), More: p.more}
		if k.Info().Ended(now) {
			doc.State = "retired"
		}
		if t := k.Created(); !t.IsZero() {
			age := int64(now.Sub(t).Seconds())
			doc.Created, doc.Age = &t, &age
		}
		if t := k.Until(); !t.IsZero() {
			doc.Until = &t
		}
		doc.Sessions, doc.Hashes, doc.Entries = of(p.sessions, k), of(p.hashes, k), of(p.entries, k)
		if p.known {
			names := []string{}
			for _, i := range p.instances {
				if i.Accepts(k.ID(), now) {
					names = append(names, i.Name())
				} else {
					doc.missing = append(doc.missing, i.Name())
				}
			}
			doc.Instances, doc.running = &names, len(p.instances)
		}
		docs = append(docs, doc)
	}
	return docs, nil
}

// rank is the order of keys in a listing: as they sign, one after the other.
func rank(k keyring.Key, now time.Time) int {
	switch {
	case k.State() == keyring.Next:
		return 0
	case k.State() == keyring.Active:
		return 1
	case !k.Info().Ended(now):
		return 2
	}
	return 3
}

// of returns a key's number; nil where none of the numbers is known.
func of(counts map[keyring.KeyID]int, k keyring.Key) *int {
	if counts == nil {
		return nil
	}
	n := counts[k.ID()]
	return &n
}

// protected is what depends on keys. What nobody knows is nil.
type protected struct {
	sessions, hashes, entries map[keyring.KeyID]int
	more                      bool // there are more sessions than were looked at
	instances                 []fleet.Instance
	known                     bool // the instances are
}

// protected asks what depends on the keys. What does not answer is told of, and left out.
func (d *keyDesk) protected(ctx context.Context) (p protected) {
	if d.away != nil {
		d.note("what depends on the keys is not known: %v", d.away)
	}
	if d.b == nil {
		return p
	}
	missing := func(what string, err error) {
		if err != nil {
			d.note("%s are not known: %v", what, err)
		}
	}
	var err error
	p.instances, err = inTime(ctx, d.fleet.Instances)
	p.known = err == nil
	missing("the instances that run", err)
	p.hashes, err = inTime(ctx, d.b.HashesByKey)
	missing("the hashes of passwords", err)
	log, err := d.b.AuditWith(ctx, nil)
	if err == nil {
		p.entries, err = inTime(ctx, log.CountByKey)
		err = errors.Join(err, log.Close())
	}
	missing("the entries of the audit log", err)
	p.sessions, p.more, err = d.sessions(ctx)
	missing("the sessions", err)
	return p
}

// maxCounted is how many records of sessions are looked at: some seconds' worth.
const maxCounted = 200_000

// sessions counts the live sessions whose data each key has sealed, as far as the store can
// be walked from here.
func (d *keyDesk) sessions(ctx context.Context) (counts map[keyring.KeyID]int, more bool, err error) {
	able, err := d.walks(ctx)
	if !able || err != nil {
		return nil, false, err
	}
	counts = make(map[keyring.KeyID]int)
	more, err = d.walk(ctx, func(rec store.Record) {
		if id, ok := keyring.SealedBy(rec.Data); ok {
			counts[id]++
		}
	})
	return counts, more, err
}

// walks opens the store, and tells whether its sessions can be walked from here.
func (d *keyDesk) walks(ctx context.Context) (bool, error) {
	if !d.b.Lists() {
		return false, nil
	}
	if err := d.openStore(ctx); err != nil {
		return false, err
	}
	_, ok := d.b.Store.(store.Scanner)
	return ok, nil
}

// walk goes through live sessions, and tells whether there are more.
func (d *keyDesk) walk(ctx context.Context, f func(store.Record)) (more bool, err error) {
	now, seen := time.Now(), 0
	for rec, err := range d.b.Records(false).All(ctx) {
		if err != nil {
			return false, err
		}
		if seen++; seen > maxCounted {
			return true, nil
		}
		if now.Before(rec.Expires) && now.Before(rec.Deadline) {
			f(rec)
		}
	}
	return false, nil
}

// printKeys prints the table.
func (d *keyDesk) printKeys(docs []keyDoc) error {
	table := tabwriter.NewWriter(d.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "KEY\tSTATE\tMADE\tAGE\tUNTIL\tSESSIONS\tPASSWORDS\tAUDIT\tACCEPTED BY")
	for _, k := range docs {
		made, age, until, by := "?", "?", "-", "?"
		if k.Created != nil {
			made, age = moment(*k.Created), roughly(time.Duration(*k.Age)*time.Second)
		}
		if k.Until != nil && k.State != "retired" { // that one's was set back, to be over by every clock
			until = moment(*k.Until)
		}
		if k.Instances != nil {
			by = fmt.Sprintf("%d of %d", len(*k.Instances), k.running)
			switch n := len(*k.Instances); { // whoever is not as the others are is named
			case n == 0 || n == k.running:
			case k.State == "retired":
				by += ": " + fleet.Few(*k.Instances, ", ", event.Printable)
			default:
				by += ", not by " + fleet.Few(k.missing, ", ", event.Printable)
			}
		}
		sessions := known(k.Sessions)
		if k.More && k.Sessions != nil {
			sessions += "+"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.State, made, age, until, sessions, known(k.Hashes), known(k.Entries), by)
	}
	return table.Flush()
}

// tellSilent names the instances that are not counted, and may run all the same.
func (d *keyDesk) tellSilent(ctx context.Context) {
	if d.fleet == nil {
		return
	}
	silent, err := inTime(ctx, d.fleet.Silent)
	if err != nil {
		d.note("the instances that are silent are not known: %v", err)
	}
	const most = 10
	for _, i := range silent[:min(len(silent), most)] {
		flag, ok := i.Flag()
		todo := "if not, start it again, or say so with " + flag + " at the next key rotate or key retire"
		if !ok {
			todo = keys.Strange
		}
		d.note("silent, and not counted: %s was last heard of at %s and has not ended: if it runs, see that it reaches the accounts' database; %s",
			event.Printable(i.Name()), moment(i.Seen), todo)
	}
	if more := len(silent) - most; more > 0 {
		d.note("silent, and not counted: and %d more", more)
	}
}

func known(n *int) string {
	if n == nil {
		return "?"
	}
	return strconv.Itoa(*n)
}

// roughly is a duration in its largest unit.
func roughly(d time.Duration) string {
	switch {
	case d >= 24*time.Hour:
		return strconv.Itoa(int(d/(24*time.Hour))) + "d"
	case d >= time.Hour:
		return strconv.Itoa(int(d/time.Hour)) + "h"
	}
	return strconv.Itoa(max(0, int(d/time.Minute))) + "m"
}
