// Package fleet lets the instances of the service know of each other: which ones
// run, which keys each accepts, and which one acts for all of them. It is kept in
// three tables beside the accounts, which every instance and every command reaches.
//
// An instance reports itself every [ReportEvery] and is live for [LiveFor] after it
// was last seen, by the clock of the database: however wrong the clock of an instance
// is, it counts as live while it reports. One that has not for longer, and has not
// left, is silent: it has died, or it runs unseen.
//
// [Fleet.Call] makes every instance look at the source of the keys: each asks for
// the number that it raises once a second. [Fleet.Lead] gives one of them a lease on
// a task.
//
// The database user needs SELECT, INSERT, UPDATE and DELETE on cloakroom_instances,
// cloakroom_leases and cloakroom_signals. They hold no secret.
package fleet

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

const (
	// ReportEvery is how often an instance reports itself.
	ReportEvery = 10 * time.Second

	// LiveFor is how long an instance counts as running after it was last seen.
	LiveFor = 30 * time.Second

	// silentFor is how long an instance that was last seen may be running yet.
	silentFor = time.Hour

	// keep is how long an instance that has ended without a word can be found.
	keep = 24 * time.Hour

	// ahead is by how much the database's clock may be set back: a row that was seen
	// later than so much from now is nobody's report.
	ahead = 10 * time.Second
)

// The most bytes that are kept of each text, and read: whoever writes to the table keeps to
// no bounds.
const (
	maxID   = 64
	maxText = 255
	maxKeys = 4096 // keyring.MaxKeys of them take less than 3,000
)

// Fleet is the instances that share a database. Use [Open].
type Fleet struct {
	db  sqlstore.DB
	sql statements
}

// Open returns the Fleet that is kept in db, and brings its tables to the version
// this program knows. It returns a [*sqlstore.SchemaError] if they are newer.
func Open(ctx context.Context, db sqlstore.DB) (*Fleet, error) {
	if err := schema().Apply(ctx, db); err != nil {
		return nil, err
	}
	return &Fleet{db: db, sql: newStatements(db.Dialect())}, nil
}

// Instance is a running service.
type Instance struct {
	ID      string    // made anew at each start, 1 to 64 bytes
	Started time.Time // in milliseconds
	Seen    time.Time // when it last reported, by the database's clock; Report needs none
	Version string
	Addr    string // where it listens
	URL     string // what the addresses of its pages begin with, as browsers find them
	Keys    string // what it signs with and accepts, as Describe says; "" before it has any
	Failing string // why its last look at the source of the keys failed, "" if it did not
	Look    int64  // the generation at which it last looked with success
}

// Describe says what a ring holds: "ab12cd34 active, 99ffee00 next, 01020304
// retiring until 2026-01-02T15:04:05Z". Rings of the same keys in the same states
// have the same description, in whatever order they stand.
func Describe(keys []keyring.KeyInfo) string {
	order := func(k keyring.KeyInfo) int {
		switch k.State {
		case keyring.Active:
			return 0
		case keyring.Next:
			return 1
		}
		return 2
	}
	keys = slices.SortedFunc(slices.Values(keys), func(a, b keyring.KeyInfo) int {
		return cmp.Or(order(a)-order(b), slices.Compare(a.ID[:], b.ID[:]))
	})
	texts := make([]string, len(keys))
	for i, k := range keys {
		texts[i] = k.ID.String() + " " + k.State.String()
		if k.State == keyring.Retiring {
			texts[i] += " until " + k.Until.UTC().Format(time.RFC3339)
		}
	}
	return strings.Join(texts, ", ")
}

// Accepts tells whether the instance accepts a key at the time now, as its Keys say:
// whatever Describe writes, it reads.
func (i Instance) Accepts(id keyring.KeyID, now time.Time) bool {
	return slices.ContainsFunc(strings.Split(i.Keys, ", "), func(text string) bool {
		name, state, _ := strings.Cut(text, " ")
		if name != id.String() {
			return false
		}
		until, retiring := strings.CutPrefix(state, "retiring until ")
		end, err := time.Parse(time.RFC3339, until)
		return !retiring || err != nil || now.Before(end)
	})
}

// Report says that the instance runs, and how it stands.
func (f *Fleet) Report(ctx context.Context, i Instance) error {
	if i.ID == "" || len(i.ID) > maxID {
		return fmt.Errorf("fleet: report: an id of %d bytes, want 1 to %d", len(i.ID), maxID)
	}
	_, err := f.db.Exec(ctx, f.sql.report, []byte(i.ID), i.Started.UnixMilli(),
		cut(i.Version, maxText), cut(i.Addr, maxText), cut(i.URL, maxText), cut(i.Keys, maxKeys), cut(i.Failing, maxText), i.Look)
	return wrap("report", err)
}

// Leave says that the instance has ended. That it never reported is no error.
func (f *Fleet) Leave(ctx context.Context, id string) error {
	_, err := f.db.Exec(ctx, f.sql.leave, []byte(id))
	return wrap("leave", err)
}

// Instances returns those that are live, the longest running first.
func (f *Fleet) Instances(ctx context.Context) ([]Instance, error) {
	list, err := f.seen(ctx, f.sql.instances, LiveFor, ahead)
	return list, wrap("list instances", err)
}

// Silent returns those that were live within the last hour, are not any more, and have
// not left. They have died; or they run, and cannot reach the database. One that was seen
// in the future is among them: nobody knows what it is.
func (f *Fleet) Silent(ctx context.Context) ([]Instance, error) {
	list, err := f.seen(ctx, f.sql.silent, silentFor, LiveFor, ahead)
	return list, wrap("list silent instances", err)
}

// seen returns the instances that a statement finds by when they were last seen.
func (f *Fleet) seen(ctx context.Context, statement string, ages ...time.Duration) ([]Instance, error) {
	args := make([]any, len(ages))
	for i, age := range ages {
		args[i] = age.Milliseconds()
	}
	rows, err := f.db.Reader().QueryContext(ctx, statement, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Instance
	for rows.Next() {
		var (
			i                   Instance
			started, seen, look number
		)
		if err := rows.Scan(&i.ID, &started, &seen, &i.Version, &i.Addr, &i.URL, &i.Keys, &i.Failing, &look); err != nil {
			return nil, err
		}
		for _, c := range []struct {
			text *string
			most int
		}{{&i.ID, maxID}, {&i.Version, maxText}, {&i.Addr, maxText}, {&i.URL, maxText}, {&i.Keys, maxKeys}, {&i.Failing, maxText}} {
			*c.text = string(cut(*c.text, c.most))
		}
		i.Started, i.Seen, i.Look = time.UnixMilli(int64(started)).UTC(), time.UnixMilli(int64(seen)).UTC(), int64(look)
		list = append(list, i)
	}
	return list, rows.Err()
}

// Sweep removes what has not been seen for a day, or was seen a day from now, and returns
// how many that were.
func (f *Fleet) Sweep(ctx context.Context) (int, error) {
	n, err := f.db.Exec(ctx, f.sql.sweep, keep.Milliseconds(), keep.Milliseconds())
	return n, wrap("sweep", err)
}

// Clock returns the database's own time.
func (f *Fleet) Clock(ctx context.Context) (time.Time, error) {
	var ms int64
	err := f.db.Reader().QueryRowContext(ctx, f.sql.clock).Scan(&ms)
	return time.UnixMilli(ms).UTC(), wrap("read the database's clock", err)
}

// number is a number of a row. SQLite keeps anything in a column of numbers: what is no
// whole number was written there by somebody else and counts as 0, as it must not keep an
// instance from starting.
type number int64

// Scan implements sql.Scanner.
func (n *number) Scan(value any) error {
	*n = 0
	text := ""
	switch v := value.(type) {
	case int64:
		*n = number(v)
		return nil
	case []byte:
		text = string(v)
	case string:
		text = v
	}
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		*n = number(i)
	}
	return nil
}

// wrap says what was being done when err happened.
func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("fleet: %s: %w", what, err)
}

// cut keeps the first n bytes of a text, to the end of a character.
func cut(s string, n int) []byte {
	if len(s) > n {
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	// Not nil, which a driver would take for NULL.
	return append([]byte{}, s...)
}

// none tells whether there is no row.
func none(err error) bool { return errors.Is(err, sql.ErrNoRows) }
