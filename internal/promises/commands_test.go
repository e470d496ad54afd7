package promises_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/internal/services"
)

// A meter counts what a server was asked, by name, since it was made.
type meter func(t *testing.T) map[string]int

// metered are the servers that count what they are asked, and by what each of
// the things that a visitor does costs there: a read, a touch, a write. Redis
// counts the commands within a script as well.
var metered = map[string]struct {
	begin              func(t *testing.T) (*place, meter)
	read, touch, write map[string]int
}{
	"redis": {
		begin: meteredRedis,
		read:  map[string]int{"get": 1},
		touch: map[string]int{"get": 1, "evalsha": 1},
		write: map[string]int{"get": 1, "evalsha": 1},
	},
	"postgres": {
		begin: meteredPostgres,
		read:  map[string]int{"SELECT": 1},
		touch: map[string]int{"SELECT": 1, "UPDATE": 1},
		write: map[string]int{"SELECT": 1, "UPDATE": 1},
	},
	"mariadb": {
		begin: meteredMariaDB,
		read:  map[string]int{"SELECT": 1},
		touch: map[string]int{"SELECT": 1, "UPDATE": 1},
		write: map[string]int{"SELECT": 1, "UPDATE": 1},
	},
	"memcached": {
		begin: meteredMemcached,
		read:  map[string]int{"get": 1},
		touch: map[string]int{"get": 2, "set": 1},
		write: map[string]int{"get": 2, "set": 1},
	},
}

func meteredRedis(t *testing.T) (*place, meter) {
	srv := services.Start(t, services.RedisKind)
	here := redisPlace(srv.URL(), "")
	keys := &redisKeys{url: srv.URL()}
	stat := regexp.MustCompile(`cmdstat_([a-z]+).*:calls=(\d+)`)
	count := func(t *testing.T) map[string]int {
		n := map[string]int{}
		keys.with(t, func(ctx context.Context, c rueidis.Client) {
			text, err := c.Do(ctx, c.B().Info().Section("commandstats").Build()).ToString()
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range strings.Split(text, "\n") {
				if m := stat.FindStringSubmatch(line); m != nil && (m[1] == "get" || strings.HasPrefix(m[1], "eval")) {
					n[m[1]], _ = strconv.Atoi(m[2])
				}
			}
		})
		return n
	}
	return here, count
}

func meteredPostgres(t *testing.T) (*place, meter) {
	srv := services.Start(t, services.PostgresKind, "-c", "log_statement=all", "-c", "log_min_duration_statement=-1")
	return postgresPlace(srv.URL()), func(t *testing.T) map[string]int {
		return statements(t, filepath.Join(srv.Dir, "log"), regexp.MustCompile(`(?m)(?:execute [^:]*|statement): +(\w+)`))
	}
}

func meteredMariaDB(t *testing.T) (*place, meter) {
	srv := services.Start(t, services.MariaDBKind, "--general-log=1", "--general-log-file=queries")
	return mariadbPlace(srv.URL()), func(t *testing.T) map[string]int {
		return statements(t, filepath.Join(srv.Dir, "data", "queries"), regexp.MustCompile(`(?m)(?:Execute|Query)\t(\w+)`))
	}
}

// statements counts the lines of a log that match, by their first word.
func statements(t *testing.T, file string, line *regexp.Regexp) map[string]int {
	t.Helper()
	log, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for _, m := range line.FindAllSubmatch(log, -1) {
		n[strings.ToUpper(string(m[1]))]++
	}
	return n
}

func meteredMemcached(t *testing.T) (*place, meter) {
	srv := services.Start(t, services.MemcachedKind)
	items := &memcachedItems{url: srv.URL()}
	return memcachedPlace(srv.URL(), "count"), func(t *testing.T) map[string]int {
		n := map[string]int{}
		for name, value := range items.stats(t) {
			if name == "cmd_get" || name == "cmd_set" {
				n[strings.TrimPrefix(name, "cmd_")], _ = strconv.Atoi(value)
			}
		}
		return n
	}
}

// What visitors cost the server, counted by the server itself. A forged cookie and
// a visitor without one cost nothing; a read is one command, a write one more, and
// a touch is one in a tenth of the idle timeout. A store of compare-and-swap reads
// before it writes.
func TestPromise08_WhatTheServerIsAsked(t *testing.T) {
	t.Parallel()
	for name, on := range metered {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			here, count := on.begin(t)
			st, _ := here.open(t)
			w := newWorld(t, st, nil)
			cookie := w.signIn(t, "u")
			// What is prepared is prepared.
			w.must(t, request{method: "POST", path: "/update", cookie: cookie})
			w.touch(t, cookie)
			w.read(t, 0, cookie)
			costs := func(what string, want map[string]int, times int, f func()) {
				t.Helper()
				before := count(t)
				for range times {
					f()
				}
				after := count(t)
				for cmd := range after {
					if after[cmd] -= before[cmd]; after[cmd] == 0 {
						delete(after, cmd)
					}
				}
				asked := map[string]int{}
				for cmd, n := range want {
					asked[cmd] = n * times
				}
				if !maps.Equal(after, asked) {
					t.Errorf("%d times %s: the server was asked %v, want %v", times, what, after, asked)
				}
			}
			forged := cookie[:60] + "AAAAAAAAAAA"
			costs("a forged cookie", nil, 10, func() { w.do(request{method: "GET", path: "/read", cookie: forged}) })
			costs("no cookie", nil, 10, func() { w.do(request{method: "GET", path: "/read"}) })
			costs("a logout of nobody", nil, 10, func() { w.do(request{method: "POST", path: "/logout", cookie: forged}) })
			costs("a read", on.read, 10, func() { w.read(t, 1, cookie) })
			costs("a write", on.write, 10, func() { w.must(t, request{method: "POST", path: "/update", cookie: cookie}) })
			costs("a read that touches", on.touch, 3, func() { w.touch(t, cookie) })
			coalesces(t, st, count, on.read, on.touch)
		})
	}
}

// coalesces lets thirty readers in at once while a touch is due: it is one, and
// then one in a tenth of the idle timeout.
func coalesces(t *testing.T, st backend, count meter, read, touch map[string]int) {
	t.Helper()
	const readers, idle = 30, 20 * time.Second
	w := newWorld(t, st, &cloakroom.Options{StoreTimeout: slowStore, IdleTimeout: idle})
	cookie := w.signIn(t, "u")
	time.Sleep(idle/10 + 50*time.Millisecond)
	before, begin := count(t), time.Now()
	for range readers {
		w.read(t, 0, cookie)
	}
	due := 1 + int(time.Since(begin)/(idle/10)) // a machine may be slow
	after := count(t)
	asked := 0
	for cmd, n := range after {
		asked += n - before[cmd]
	}
	least, one := 0, 0
	for cmd, n := range touch {
		least += readers * read[cmd]
		one += n - read[cmd]
	}
	if asked < least+one || asked > least+due*one {
		t.Errorf("%d reads asked the server %d times, want %d and %d touches of %d at most: %v, %v", readers, asked, least, due, one, before, after)
	}
}

// touch sends a reader whose touch is due, as far as the Manager can see.
func (w *world) touch(t *testing.T, cookie string) {
	t.Helper()
	tr := w.trace()
	tr.idle = time.Hour
	time.Sleep(3 * time.Millisecond) // by a later moment, so that there is something to move
	w.must(t, request{method: "GET", path: "/read", cookie: cookie, trace: tr})
	if n := tr.count(opTouch); n != 1 {
		t.Errorf("%d touches", n)
	}
}
