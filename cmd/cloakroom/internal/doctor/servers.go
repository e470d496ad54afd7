package doctor

import (
	"context"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/finding"
	"github.com/cloakroom-dev/cloakroom/store/memcachestore"
	"github.com/cloakroom-dev/cloakroom/store/redisstore"
)

// postgres judges what is particular to PostgreSQL.
func (e *examination) postgres(ctx context.Context, l *notes, t *target, db *looking) {
	var commit, sync, pages string
	var standby bool
	err := db.reader.QueryRowContext(ctx, "SELECT current_setting('synchronous_commit'), current_setting('fsync'), current_setting('full_page_writes'), pg_is_in_recovery()").
		Scan(&commit, &sync, &pages, &standby)
	if err != nil {
		l.skip(t.name()+" does not say how it is set", "durability", "replica")
	}
	for _, s := range []struct{ name, value string }{{"synchronous_commit", commit}, {"fsync", sync}, {"full_page_writes", pages}} {
		if s.value == "off" {
			l.find("durability", finding.Warning, "ALTER SYSTEM SET "+s.name+" = on; SELECT pg_reload_conf();", "%s: %s is off", t.name(), s.name)
		}
	}
	if standby {
		l.find("replica", finding.Error, "name the primary in the URL", "%s is a standby", t.name())
	}
	var super, role, base, repl, bypass bool
	err = db.reader.QueryRowContext(ctx, "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = current_user").
		Scan(&super, &role, &base, &repl, &bypass)
	if err != nil {
		l.skip(t.name()+" does not say what the role may do", "rights")
		return
	}
	var much []string
	for _, r := range []struct {
		has  bool
		name string
	}{{super, "SUPERUSER"}, {role, "CREATEROLE"}, {base, "CREATEDB"}, {repl, "REPLICATION"}, {bypass, "BYPASSRLS"}} {
		if r.has {
			much = append(much, r.name)
		}
	}
	if len(much) > 0 {
		l.find("rights", finding.Warning, "make a role of its own for the service: CREATE ROLE cloakroom LOGIN PASSWORD '…', and name it in the URL",
			"%s: the role is %s", t.name(), strings.Join(much, ", "))
	}
	var lacks string
	err = db.reader.QueryRowContext(ctx, `SELECT coalesce(string_agg(relname, ', ' ORDER BY relname), '') FROM pg_class
		WHERE relkind = 'r' AND relname LIKE 'cloakroom\_%' AND pg_table_is_visible(oid) AND NOT CASE WHEN relname = 'cloakroom_schema'
		THEN has_table_privilege(oid, 'SELECT') ELSE has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
		AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE') END`).Scan(&lacks)
	if err != nil {
		l.skip(t.name()+" does not say what the role may do", "rights")
	}
	if lacks != "" {
		l.find("rights", finding.Error, "GRANT SELECT, INSERT, UPDATE, DELETE ON "+lacks+" TO the role of the URL", "%s: rights are missing on %s", t.name(), lacks)
	}
}

// mariadb judges what is particular to MariaDB and MySQL.
func (e *examination) mariadb(ctx context.Context, l *notes, t *target, db *looking) {
	var flush, binlog, syncs, readOnly int
	var base string
	err := db.reader.QueryRowContext(ctx, "SELECT @@innodb_flush_log_at_trx_commit, @@log_bin, @@sync_binlog, @@global.read_only, database()").
		Scan(&flush, &binlog, &syncs, &readOnly, &base)
	if err != nil {
		l.skip(t.name()+" does not say how it is set", "durability", "replica", "rights")
		return
	}
	if flush != 1 {
		l.find("durability", finding.Warning, "SET GLOBAL innodb_flush_log_at_trx_commit = 1, and in my.cnf", "%s: innodb_flush_log_at_trx_commit is %d", t.name(), flush)
	}
	if binlog != 0 && syncs != 1 {
		l.find("durability", finding.Warning, "SET GLOBAL sync_binlog = 1, and in my.cnf", "%s: sync_binlog is %d", t.name(), syncs)
	}
	var engine string
	err = db.reader.QueryRowContext(ctx, "SELECT coalesce(max(engine), 'InnoDB') FROM information_schema.tables WHERE table_schema = database() AND table_name LIKE 'cloakroom\\_%' AND engine <> 'InnoDB'").Scan(&engine)
	if err != nil {
		l.skip(t.name()+" does not say of which engine the tables are", "durability")
	} else if engine != "InnoDB" {
		l.find("durability", finding.Error, "ALTER TABLE … ENGINE=InnoDB, for each of ours", "%s: tables are of the engine %s, which has no transactions", t.name(), engine)
	}
	if readOnly != 0 {
		l.find("replica", finding.Error, "name the primary in the URL", "%s takes no writes (read_only)", t.name())
	}
	grants, err := grantsOf(ctx, db)
	if err != nil {
		l.skip(t.name()+" does not say what the user may do", "rights")
		return
	}
	judgeGrants(l, t, grants, base)
}

// grantsOf returns the lines of SHOW GRANTS. Half of them would be judged as rights
// that are missing.
func grantsOf(ctx context.Context, db *looking) ([]string, error) {
	rows, err := db.reader.QueryContext(ctx, "SHOW GRANTS")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var grants []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return nil, err
		}
		grants = append(grants, line)
	}
	return grants, rows.Err()
}

// grant is a line of SHOW GRANTS. What follows the name may be a hash, and is not
// looked at.
var grant = regexp.MustCompile("^GRANT (.+?) ON (\\S+|`(?:[^`]|``)+`\\.\\S+) TO ")

// judgeGrants judges what a user of MariaDB may.
func judgeGrants(l *notes, t *target, grants []string, base string) {
	var ours []string
	for _, line := range grants {
		m := grant.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		rights := strings.Split(m[1], ", ")
		on := strings.ReplaceAll(strings.ReplaceAll(m[2], "`", ""), `\_`, "_")
		if on == "*.*" && !slices.Equal(rights, []string{"USAGE"}) {
			l.find("rights", finding.Warning, "make a user of its own for the service, with rights on its database alone, and name it in the URL",
				"%s: the user may %s on all databases", t.name(), strings.Join(rights[:min(len(rights), 5)], ", "))
		}
		if on == "*.*" || on == base+".*" || strings.HasPrefix(on, base+".") {
			ours = append(ours, rights...)
		}
	}
	if slices.Contains(ours, "ALL PRIVILEGES") {
		return
	}
	var lacks []string
	for _, right := range []string{"SELECT", "INSERT", "UPDATE", "DELETE"} {
		if !slices.Contains(ours, right) {
			lacks = append(lacks, right)
		}
	}
	if len(lacks) > 0 {
		l.find("rights", finding.Error, "GRANT "+strings.Join(lacks, ", ")+" ON "+base+".* TO the user of the URL", "%s: the user lacks %s", t.name(), strings.Join(lacks, ", "))
	}
}

// redis judges a Redis or Valkey server.
func (e *examination) redis(ctx context.Context, l *notes, t *target) {
	st, err := redisstore.Open(ctx, t.place.URL, &redisstore.Options{AllowPlaintext: e.cfg.AllowPlaintext, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.away(l, err)
		return
	}
	defer st.Close()
	e.latency(ctx, l, t, func(ctx context.Context) error { _, err := st.Clock(ctx); return err })
	e.clock(ctx, l, t, st.Clock)
	e.registry(ctx, l, t, st)
	e.sizes(ctx, l, t, func(ctx context.Context) ([]sized, error) {
		sizes, err := st.Sample(ctx, sample)
		list := make([]sized, len(sizes))
		for i, s := range sizes {
			list[i] = sized{s.Created, s.Info, s.Data}
		}
		return list, err
	})
	set, err := st.Settings(ctx)
	if err != nil {
		l.skip(t.name()+" does not say how it is set; the user may not run INFO", "durability", "replica", "failover", "eviction", "memory-full")
		return
	}
	if !set.ConfigVisible {
		l.skip(t.name()+" does not say; the user may not run CONFIG GET", "durability", "failover")
	}
	judgeRedis(l, t, set)
}

func judgeRedis(l *notes, t *target, set redisstore.Settings) {
	const always = "CONFIG SET appendonly yes, CONFIG SET appendfsync always, and in redis.conf"
	switch {
	case set.WriteFailed:
		l.find("durability", finding.Error, "see the server's log, and whether its disk is full", "%s: the last write to the disk failed", t.name())
	case !set.ConfigVisible:
	case !set.AppendOnly && set.Save == "":
		l.find("durability", finding.Warning, always, "%s keeps nothing on a disk: a restart signs everybody out", t.name())
	case !set.AppendOnly:
		l.find("durability", finding.Warning, always, "%s keeps only snapshots (appendonly is no)", t.name())
	case set.AppendFsync == "no":
		l.find("durability", finding.Warning, always, "%s: appendfsync is no", t.name())
	case set.AppendFsync == "everysec":
		l.find("durability", finding.OK, always, "%s: appendfsync is everysec: the last second or two may be lost with the machine", t.name())
	}
	if set.Replica {
		l.find("replica", finding.Error, "name the primary in the URL", "%s is a replica", t.name())
	}
	if set.ConfigVisible && set.Replicas > 0 && set.MinReplicas == 0 {
		l.find("failover", finding.Warning, "CONFIG SET min-replicas-to-write 1, CONFIG SET min-replicas-max-lag 1, and in redis.conf",
			"%s has %s, and min-replicas-to-write is 0", t.name(), plural(int(set.Replicas), "replica"))
	}
	if set.MaxMemory > 0 {
		if set.MaxMemoryPolicy != "noeviction" {
			l.find("eviction", finding.Warning, "CONFIG SET maxmemory-policy noeviction, and in redis.conf",
				"%s: maxmemory-policy is %s", t.name(), set.MaxMemoryPolicy)
		}
		full(l, t.name(), set.UsedMemory, set.MaxMemory, "raise maxmemory")
	}
}

// full judges how much of a server's memory is used.
func full(l *notes, name string, used, most int64, do string) {
	if used > most/10*9 {
		l.find("memory-full", finding.Warning, do, "%s uses %d MiB of %d", name, used>>20, most>>20)
	}
}

// memcached judges the servers of a URL.
func (e *examination) memcached(ctx context.Context, l *notes, t *target) {
	opts := &memcachestore.Options{AllowPlaintext: e.cfg.AllowPlaintext}
	list, err := memcachestore.CheckStats(ctx, t.place.URL, opts)
	if err != nil {
		t.away(l, err)
		return
	}
	for _, s := range list {
		e.judgeLatency(l, t, []time.Duration{s.RoundTrip})
		judgeMemcached(l, t, s)
	}
	e.sizes(ctx, l, t, func(ctx context.Context) ([]sized, error) {
		sizes, err := memcachestore.CheckSizes(ctx, t.place.URL, opts, sample)
		list := make([]sized, len(sizes))
		for i, s := range sizes {
			list[i] = sized{s.Created, s.Info, s.Data}
		}
		return list, err
	})
}

func judgeMemcached(l *notes, t *target, s memcachestore.Stats) {
	name := t.name() + " " + s.Addr
	if s.Evictions > 0 {
		l.find("eviction", finding.Warning, "give it more memory (memcached -m), or let it refuse what is new (-M)", "%s has thrown out %d items", name, s.Evictions)
	}
	if s.MaxBytes > 0 {
		full(l, name, s.Bytes, s.MaxBytes, "give it more memory (memcached -m)")
	}
	// Of an item key, user and bookkeeping are a part as well.
	if s.ItemSizeMax < maxSession+maxSession/16 {
		l.find("item-size", finding.Error, "start it with -I 1m", "%s takes items of at most %d KiB, and a session may have %d", name, s.ItemSizeMax>>10, maxSession>>10)
	}
	if !s.HasCAS {
		l.find("durability", finding.Error, "start it without -C", "%s has no compare-and-swap", name)
	}
}
