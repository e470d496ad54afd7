package doctor_test

import (
	"context"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/cloakroom-dev/cloakroom/internal/faultproxy"
	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/store/redisstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/mariadb"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/postgres"
)

// The servers of these tests, set so that they keep what they acknowledge.
type servers struct {
	t                             *testing.T
	postgres, maria, redis, cache *services.Server

	postgresURL, mariaURL string // databases with all tables, which no fault changes
}

func startServers(t *testing.T) *servers {
	t.Helper()
	w := &servers{t: t}
	w.postgres = services.Start(t, services.PostgresKind, "-c", "fsync=on")
	w.maria = services.Start(t, services.MariaDBKind, "--innodb-flush-log-at-trx-commit=1")
	w.redis = services.Start(t, services.RedisKind, "--appendonly", "yes", "--appendfsync", "always")
	w.cache = services.Start(t, services.MemcachedKind)
	w.postgresURL = w.newPostgres()
	w.mariaURL = w.maria.Database(t)
	db, err := mariadb.Open(t.Context(), w.mariaURL, nil)
	w.tables(db, err)
	return w
}

// in is the same for one of its subtests.
func (w *servers) in(t *testing.T) *servers {
	v := *w
	v.t = t
	return &v
}

// newPostgres makes a database with all tables, for a fault that changes it.
func (w *servers) newPostgres() string {
	w.t.Helper()
	url := w.postgres.Database(w.t)
	db, err := postgres.Open(w.t.Context(), url, nil)
	w.tables(db, err)
	return url
}

func (w *servers) tables(db interface {
	sqlstore.DB
	Close() error
}, err error) {
	w.t.Helper()
	if err == nil {
		err = makeTables(db)
	}
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// on is a site whose sessions and accounts are on servers. It has no data directory.
func (w *servers) on(t *testing.T, store, users string) *site {
	t.Helper()
	s := newSite(t)
	s.must(os.Remove(s.at("cloakroom.db")))
	s.flags["store"], s.flags["users"] = store, users
	// Slow machines are not the fault that is looked for.
	s.flags["store-timeout"] = "5s"
	return s
}

// redisCommand runs a command as the server's administrator, also at the end of a test.
func redisCommand(t *testing.T, srv *services.Server, args ...string) {
	t.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{srv.Addr()}, Password: srv.Password, DisableCache: true, ForceSingleClient: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Do(context.Background(), c.B().Arbitrary(args...).Build()).Error(); err != nil {
		t.Fatal(args, err)
	}
}

// A serverFault is planted while nothing else runs on the servers, and undone.
type serverFault struct {
	name  string
	want  []string
	plant func(t *testing.T, w *servers) *site
}

func prefix(t *testing.T) string { return "?prefix=" + services.Prefix(t) }

// sql runs a statement as the administrator now, and another at the end.
func sql(t *testing.T, srv *services.Server, url, now, after string) {
	t.Helper()
	srv.Admin(t, url, now)
	if after != "" {
		t.Cleanup(func() { srv.Admin(t, url, after) })
	}
}

// through is a URL by way of a proxy that adds latency.
func through(t *testing.T, srv *services.Server, url string, latency time.Duration) string {
	t.Helper()
	p := faultproxy.New(t, srv.Addr())
	p.Set(faultproxy.Fault{Latency: latency, Direction: faultproxy.Down})
	return strings.Replace(url, srv.Addr(), p.Addr(), 1)
}

var serverFaults = []serverFault{
	{"healthy on PostgreSQL and Redis", nil, func(t *testing.T, w *servers) *site {
		return w.on(t, w.redis.URL()+prefix(t), w.postgresURL)
	}},
	{"healthy on MariaDB", nil, func(t *testing.T, w *servers) *site {
		url := w.mariaURL
		return w.on(t, url, url)
	}},
	{"healthy on Memcached and PostgreSQL", nil, func(t *testing.T, w *servers) *site {
		return w.on(t, w.cache.URL(), w.postgresURL)
	}},
	{"healthy in cookies and MariaDB", nil, func(t *testing.T, w *servers) *site { return w.on(t, "sealed:", w.mariaURL) }},

	{"PostgreSQL is not durable", []string{"warning durability"}, func(t *testing.T, w *servers) *site {
		url := w.postgresURL
		sql(t, w.postgres, url, "ALTER ROLE cloakroom SET synchronous_commit = off", "ALTER ROLE cloakroom RESET synchronous_commit")
		return w.on(t, url, url)
	}},
	{"role of PostgreSQL may too much", []string{"warning rights"}, func(t *testing.T, w *servers) *site {
		url := w.postgresURL
		sql(t, w.postgres, url, "ALTER ROLE cloakroom CREATEROLE CREATEDB", "ALTER ROLE cloakroom NOCREATEROLE NOCREATEDB")
		return w.on(t, url, url)
	}},
	{"role of PostgreSQL may too little", []string{"error rights"}, func(t *testing.T, w *servers) *site {
		url := w.newPostgres()
		sql(t, w.postgres, url, "REVOKE DELETE ON cloakroom_session FROM cloakroom", "")
		return w.on(t, url, url)
	}},
	{"PostgreSQL does not say who may what", nil, func(t *testing.T, w *servers) *site {
		url := w.newPostgres()
		sql(t, w.postgres, url, "REVOKE SELECT ON pg_class FROM PUBLIC", "")
		s := w.on(t, url, url)
		s.unchecked = []string{"rights"}
		return s
	}},
	{"PostgreSQL without tables", []string{"warning schema"}, func(t *testing.T, w *servers) *site {
		url := w.postgres.Database(t)
		return w.on(t, url, url)
	}},
	{"wrong password for PostgreSQL", []string{"error database-reachable"}, func(t *testing.T, w *servers) *site {
		url := strings.Replace(w.postgres.Database(t), w.postgres.Password, "c4nary-of-a-password", 1)
		return w.on(t, url, url)
	}},
	{"PostgreSQL is slow", []string{"warning latency", "warning store-volatile"}, func(t *testing.T, w *servers) *site {
		url := w.postgresURL
		s := w.on(t, url, url)
		s.flags["users"], s.flags["store"] = through(t, w.postgres, url, 40*time.Millisecond), "memory:"
		s.flags["store-timeout"] = "130ms"
		return s
	}},
	{"clocks differ by seconds", []string{"warning clock"}, func(t *testing.T, w *servers) *site {
		s := w.on(t, w.redis.URL()+prefix(t), w.postgresURL)
		s.world.Now = func() time.Time { return time.Now().Add(5 * time.Second) }
		return s
	}},
	{"clocks differ by a minute", []string{"error clock"}, func(t *testing.T, w *servers) *site {
		url := w.mariaURL
		s := w.on(t, url, url)
		s.world.Now = func() time.Time { return time.Now().Add(-time.Minute) }
		return s
	}},
	{"MariaDB is not durable", []string{"warning durability"}, func(t *testing.T, w *servers) *site {
		url := w.mariaURL
		sql(t, w.maria, url, "SET GLOBAL innodb_flush_log_at_trx_commit = 2", "SET GLOBAL innodb_flush_log_at_trx_commit = 1")
		return w.on(t, url, url)
	}},
	{"MariaDB is a replica", []string{"error replica"}, func(t *testing.T, w *servers) *site {
		url := w.mariaURL
		sql(t, w.maria, url, "SET GLOBAL read_only = 1", "SET GLOBAL read_only = 0")
		return w.on(t, url, url)
	}},
	{"user of MariaDB may too much", []string{"warning rights"}, func(t *testing.T, w *servers) *site {
		url := w.mariaURL
		sql(t, w.maria, url, "GRANT PROCESS, FILE ON *.* TO cloakroom@'127.0.0.1'", "REVOKE PROCESS, FILE ON *.* FROM cloakroom@'127.0.0.1'")
		return w.on(t, url, url)
	}},
	{"MariaDB without tables", []string{"warning schema"}, func(t *testing.T, w *servers) *site {
		url := w.maria.Database(t)
		return w.on(t, url, url)
	}},
	{"Redis keeps snapshots alone", []string{"warning durability"}, func(t *testing.T, w *servers) *site {
		redisCommand(t, w.redis, "CONFIG", "SET", "appendonly", "no", "save", "3600 1")
		t.Cleanup(func() { redisCommand(t, w.redis, "CONFIG", "SET", "appendonly", "yes") })
		return w.on(t, w.redis.URL()+prefix(t), w.postgresURL)
	}},
	{"Redis keeps nothing", []string{"warning durability"}, func(t *testing.T, w *servers) *site {
		redisCommand(t, w.redis, "CONFIG", "SET", "appendonly", "no", "save", "")
		t.Cleanup(func() { redisCommand(t, w.redis, "CONFIG", "SET", "appendonly", "yes") })
		return w.on(t, w.redis.URL()+prefix(t), w.postgresURL)
	}},
	{"Redis writes every second", []string{"ok durability"}, func(t *testing.T, w *servers) *site {
		redisCommand(t, w.redis, "CONFIG", "SET", "appendfsync", "everysec")
		t.Cleanup(func() { redisCommand(t, w.redis, "CONFIG", "SET", "appendfsync", "always") })
		return w.on(t, w.redis.URL()+prefix(t), w.postgresURL)
	}},
	{"Redis throws out", []string{"warning eviction"}, func(t *testing.T, w *servers) *site {
		redisCommand(t, w.redis, "CONFIG", "SET", "maxmemory", "100mb", "maxmemory-policy", "allkeys-lru")
		t.Cleanup(func() {
			redisCommand(t, w.redis, "CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", "noeviction")
		})
		return w.on(t, w.redis.URL()+prefix(t), w.postgresURL)
	}},
	{"Redis is full", []string{"warning memory-full"}, func(t *testing.T, w *servers) *site {
		st, err := redisstore.Open(t.Context(), w.redis.URL(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		set, err := st.Settings(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		redisCommand(t, w.redis, "CONFIG", "SET", "maxmemory", strconv.FormatInt(set.UsedMemory, 10))
		t.Cleanup(func() { redisCommand(t, w.redis, "CONFIG", "SET", "maxmemory", "0") })
		return w.on(t, w.redis.URL()+prefix(t), w.postgresURL)
	}},
	{"Redis is a replica, and has one", []string{"error replica", "warning failover"}, func(t *testing.T, w *servers) *site {
		host, port, err := net.SplitHostPort(w.redis.Addr())
		if err != nil {
			t.Fatal(err)
		}
		copied := services.Start(t, services.RedisKind, "--appendonly", "yes", "--appendfsync", "always", "--replicaof", host, port, "--masterauth", w.redis.Password)
		for end := time.Now().Add(10 * time.Second); replicas(t, w.redis) == 0 && time.Now().Before(end); {
			time.Sleep(20 * time.Millisecond)
		}
		// The one is the store; what the other says belongs to the same installation.
		s := w.on(t, copied.URL()+prefix(t), w.postgresURL)
		s.second = w.redis.URL() + prefix(t)
		return s
	}},
	{"Redis says nothing", nil, func(t *testing.T, w *servers) *site {
		redisCommand(t, w.redis, append([]string{"ACL", "SETUSER", "narrow", "on", ">narrow-password"}, strings.Fields(redisstore.ACL(""))...)...)
		t.Cleanup(func() { redisCommand(t, w.redis, "ACL", "DELUSER", "narrow") })
		s := w.on(t, "redis://narrow:narrow-password@"+w.redis.Addr()+"/0", w.postgresURL)
		s.unchecked = []string{"durability", "eviction", "failover", "memory-full", "replica", "session-growth", "session-size"}
		return s
	}},
	{"Memcached takes no large sessions", []string{"error item-size"}, func(t *testing.T, w *servers) *site {
		small := services.Start(t, services.MemcachedKind, "-o", "slab_chunk_max=16", "-I", "32k")
		return w.on(t, small.URL(), w.postgresURL)
	}},
	{"well sessions in Redis", nil, func(t *testing.T, w *servers) *site { return w.withSessions(t, redisSessions, 500, 900, 20<<10) }},
	{"large sessions in Redis", []string{"warning session-size"}, func(t *testing.T, w *servers) *site { return w.withSessions(t, redisSessions, 500, 900, 40<<10) }},
	{"growing sessions in Redis", []string{"warning session-growth"}, func(t *testing.T, w *servers) *site { return w.withSessions(t, redisSessions, 500, 9000, 0) }},
	{"well sessions in Memcached", nil, func(t *testing.T, w *servers) *site { return w.withSessions(t, cacheSessions, 500, 900, 20<<10) }},
	{"large sessions in Memcached", []string{"warning session-size"}, func(t *testing.T, w *servers) *site { return w.withSessions(t, cacheSessions, 500, 900, 40<<10) }},
	{"growing sessions in Memcached", []string{"warning session-growth"}, func(t *testing.T, w *servers) *site { return w.withSessions(t, cacheSessions, 500, 9000, 0) }},
	{"Memcached lists nothing", nil, func(t *testing.T, w *servers) *site {
		s := w.on(t, services.Start(t, services.MemcachedKind, "-o", "no_lru_crawler").URL(), w.postgresURL)
		s.unchecked = []string{"session-growth", "session-size"}
		return s
	}},
	{"key of another store", []string{"error key-registry"}, func(t *testing.T, w *servers) *site {
		url := w.redis.URL() + prefix(t)
		st, err := redisstore.Open(t.Context(), url, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		if err := st.RememberKey(t.Context(), "0badcafe", time.Now()); err != nil {
			t.Fatal(err)
		}
		return w.on(t, url, w.postgresURL)
	}},
	{"Redis does not answer", []string{"error database-reachable"}, func(t *testing.T, w *servers) *site {
		s := w.on(t, w.redis.URL()+prefix(t), w.postgresURL)
		w.redis.Freeze(t)
		t.Cleanup(func() { w.redis.Thaw(t) })
		return s
	}},
	{"Memcached is away", []string{"error database-reachable"}, func(t *testing.T, w *servers) *site {
		return w.on(t, "memcache://127.0.0.1:1", w.postgresURL)
	}},
}

// replicas is how many follow a server.
func replicas(t *testing.T, srv *services.Server) int64 {
	st, err := redisstore.Open(t.Context(), srv.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	set, err := st.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return set.Replicas
}

// The same with real servers: well ones give no findings, and each fault its own.
func TestDoctorFindsWhatIsPlantedOnServers(t *testing.T) {
	t.Parallel()
	w := startServers(t)
	var g golden
	for _, f := range serverFaults {
		t.Run(f.name, func(t *testing.T) {
			s := f.plant(t, w.in(t))
			start := time.Now()
			r := s.run()
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("took %v", took)
			}
			if s.second != "" {
				s.flags["store"] = s.second
				more := s.run()
				r.Findings = append(r.Findings, more.Findings...)
			}
			if got, want := found(r), slices.Sorted(slices.Values(f.want)); !slices.Equal(got, want) {
				t.Errorf("found %q, want %q: %+v", got, want, r.Findings)
			}
			if s.unchecked != nil || len(f.want) == 0 {
				var not []string
				for _, n := range r.NotChecked {
					not = append(not, n.Check)
				}
				if !slices.Equal(not, s.unchecked) {
					t.Errorf("not checked: %v, want %q", r.NotChecked, s.unchecked)
				}
			}
			s.noSecrets(r, w.postgres.Password, w.maria.Password, w.redis.Password, "c4nary-of-a-password", "narrow-password")
			g.add(s, f.name, r)
		})
	}
	g.compare(t, "servers.txt")
	t.Run("connections are read-only", func(t *testing.T) { w.in(t).readOnly(t) })
}
