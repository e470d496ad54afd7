package doctor

import (
	"context"
	"errors"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/finding"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
	"github.com/cloakroom-dev/cloakroom/throttle/sqlthrottle"
)

// database judges a SQL database, and then what is kept there.
func (e *examination) database(ctx context.Context, l *notes, t *target) {
	if t.place.Scheme == config.SQLite {
		// One machine, one clock, no server.
		l.skip("", "latency", "clock", "durability", "replica", "rights")
		if t.missingFile(l) {
			return
		}
	}
	db, err := e.look(ctx, t.place)
	if err == nil {
		err = db.reader.QueryRowContext(ctx, "SELECT 1").Scan(new(int))
		defer db.close()
	}
	if errors.Is(err, errLog) {
		l.skip(t.name()+": "+err.Error(), t.checks...)
		return
	}
	if err != nil {
		t.away(l, err)
		return
	}
	switch t.place.Scheme {
	case config.Postgres:
		e.postgres(ctx, l, t, db)
	case config.MySQL:
		e.mariadb(ctx, l, t, db)
	}
	if t.place.Scheme != config.SQLite {
		e.latency(ctx, l, t, func(ctx context.Context) error { return db.reader.QueryRowContext(ctx, "SELECT 1").Scan(new(int)) })
		e.clock(ctx, l, t, func(ctx context.Context) (time.Time, error) {
			var ms int64
			err := db.reader.QueryRowContext(ctx, db.dialect.SQL("SELECT {clock}")).Scan(&ms)
			return time.UnixMilli(ms), err
		})
	}
	e.tables(ctx, l, t, db)
}

// tables judges the versions of the tables, and goes on with those that are right.
func (e *examination) tables(ctx context.Context, l *notes, t *target, db *looking) {
	have, err := versions(ctx, db)
	if err != nil {
		l.skip(t.name()+" has no tables", t.checks...)
		l.find("schema", finding.Warning, "start the service once with \"cloakroom serve\", or see whether the settings name another database than the service's",
			"%s has no tables of ours, or lets us read none", t.name())
		return
	}
	var st *sqlstore.Store
	if e.table(l, t, have, "session", func() (err error) { st, err = sqlstore.New(ctx, db); return err }) {
		if t.sessions {
			e.sessions(ctx, l, t, st)
		}
		e.registry(ctx, l, t, st)
	} else {
		l.skip("the tables of sessions are of another version", append([]string{"key-registry"}, sessionChecks...)...)
	}
	if !t.accounts {
		return
	}
	var users *sqlusers.Users
	if e.table(l, t, have, "user", func() (err error) { users, err = sqlusers.New(ctx, db); return err }) {
		e.accounts(ctx, l, t, users)
	} else {
		l.skip("the tables of accounts are of another version", accountChecks[:4]...)
	}
	e.table(l, t, have, "throttle", func() error { _, err := sqlthrottle.Open(ctx, db); return err })
	var f *fleet.Fleet
	if _, ok := have["fleet"]; !ok {
		l.skip("", accountChecks[4:]...) // no instance has reported here yet
	} else if e.table(l, t, have, "fleet", func() (err error) { f, err = fleet.Open(ctx, db); return err }) {
		e.fleet(ctx, l, f)
	} else {
		l.skip("the tables of instances are of another version", accountChecks[4:]...)
	}
}

// versions reads which tables there are.
func versions(ctx context.Context, db *looking) (map[string]int, error) {
	rows, err := db.reader.QueryContext(ctx, "SELECT component, version FROM cloakroom_schema")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	have := make(map[string]int)
	for rows.Next() {
		var name []byte
		var n int
		if err := rows.Scan(&name, &n); err != nil {
			return nil, err
		}
		have[string(name)] = n
	}
	if len(have) == 0 && rows.Err() == nil {
		return nil, errors.New("no tables")
	}
	return have, rows.Err()
}

// table tells whether the tables of a component are those of this program, and
// judges those that are not.
func (e *examination) table(l *notes, t *target, have map[string]int, component string, open func() error) bool {
	n, there := have[component]
	err := open()
	newer, isNewer := errors.AsType[*sqlstore.SchemaError](err)
	switch {
	case err == nil:
		return true
	case isNewer:
		l.find("schema", finding.Error, "start the newer program, or restore the backup from before its first start",
			"%s: the %s tables have version %d, and this program knows %d", t.name(), component, newer.Have, newer.Known)
	case errors.Is(err, errReadOnly) && !there:
		l.find("schema", finding.Warning, "make a backup, and start this version of the service once", "%s has no %s tables", t.name(), component)
	case errors.Is(err, errReadOnly):
		l.find("schema", finding.Warning, "make a backup, and start this version of the service once",
			"%s: the %s tables have the old version %d", t.name(), component, n)
	default:
		l.find("schema", finding.Error, "see whether the database is damaged, and restore a backup", "%s: the %s tables cannot be read", t.name(), component)
	}
	return false
}

// backlog is how many expired sessions may wait for their removal.
const backlog = 1000

// sessions judges the sizes of sessions, and whether expired ones are removed.
func (e *examination) sessions(ctx context.Context, l *notes, t *target, st *sqlstore.Store) {
	e.sizes(ctx, l, t, func(ctx context.Context) ([]sized, error) {
		// IDs are random, so that the first ones are as good as any.
		records, err := st.Scan(ctx, store.ID{}, sample)
		list := make([]sized, len(records))
		for i, r := range records {
			list[i] = sized{r.Created, len(r.Info), len(r.Data)}
		}
		return list, err
	})
	if n, err := st.Overdue(ctx, e.World.Now().Add(-day), backlog+1); err != nil {
		l.skip(t.name()+" does not count sessions", "sweep")
	} else if n > backlog {
		l.find("sweep", finding.Warning, "start the service, which removes them every five minutes; if it runs, see its log for sweep_failed",
			"%s: over %d sessions expired more than a day ago", t.name(), backlog)
	}
}
