package promises_test

import (
	"context"
	"encoding/base64"
	"flag"
	"path"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/memcachestore"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
	"github.com/cloakroom-dev/cloakroom/store/redisstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/mariadb"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/postgres"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
)

var prove = flag.Bool("prove", false, "on every store, all that by default is shared out among them, and more of it")

// A place is where sessions are kept: a server, or a file. Nobody else uses it.
type place struct {
	// open returns a store on it: each is an instance's own, with connections of
	// its own. It is closed at the end of the test, or before by calling shut.
	open func(tb testing.TB) (st backend, shut func())

	// dump returns everything that is kept there, as whoever has stolen it sees it.
	dump func(tb testing.TB) []byte

	// raw reads what is kept under the ID of a session, and writes it, behind the
	// store's back.
	raw rawAccess

	// reads tells of stores whose connections are read all the time: in a bubble of
	// testing/synctest no time would pass.
	reads bool
}

// rawAccess is what somebody does who has the server: the parts of a record, be
// they one value or the columns of a row.
type rawAccess interface {
	read(tb testing.TB, id store.ID) map[string][]byte
	write(tb testing.TB, id store.ID, part string, value []byte)
}

// places are the stores under test. A place in memory has neither a dump nor
// raw access: whoever reads the memory of a program has its keys too.
var places = map[string]func(testing.TB) *place{
	"memory":    memoryPlace,
	"sqlite":    sqlitePlace,
	"postgres":  func(tb testing.TB) *place { return postgresPlace(services.Postgres(tb)) },
	"mariadb":   func(tb testing.TB) *place { return mariadbPlace(services.MariaDB(tb)) },
	"redis":     func(tb testing.TB) *place { return redisPlace(services.Redis(tb), services.Prefix(tb)+":") },
	"memcached": func(tb testing.TB) *place { return memcachedPlace(services.Memcached(tb), services.Prefix(tb)) },
}

// openers open one store on each place.
var openers = map[string]func(testing.TB) backend{}

func init() {
	for name, at := range places {
		openers[name] = func(tb testing.TB) backend {
			st, _ := at(tb).open(tb)
			return st
		}
	}
}

// mine reports whether the store that a test runs on, which its name ends with,
// plays the i-th of many cases. Memory plays all; the others, which are slower,
// share them out among them, unless -prove makes each play all: the caller asks
// for that, since scripts/prove looks for it in the files of the tests.
func mine(t *testing.T, i int) bool {
	others := []string{"sqlite", "redis", "postgres", "memcached", "mariadb", "sealed", "breaker"}
	at := slices.Index(others, path.Base(t.Name()))
	return at < 0 || i%len(others) == at
}

// once returns shut so that it runs once, at the end of the test at the latest.
func once(tb testing.TB, shut func() error) func() {
	done := false
	f := func() {
		if done {
			return
		}
		done = true
		if err := shut(); err != nil {
			tb.Error(err)
		}
	}
	tb.Cleanup(f)
	return f
}

// opening is the context in which a store is opened.
func opening(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), time.Minute)
	tb.Cleanup(cancel)
	return ctx
}

func memoryPlace(testing.TB) *place {
	st := memstore.New(nil)
	return &place{open: func(testing.TB) (backend, func()) { return st, func() {} }}
}

func sqlitePlace(tb testing.TB) *place {
	dir := tb.TempDir()
	at := &place{
		open: func(tb testing.TB) (backend, func()) { return openSQLite(tb, dir) },
		dump: func(tb testing.TB) []byte { return filesOf(tb, dir) },
	}
	at.raw = &rows{open: func(tb testing.TB) sqlstore.DB {
		db, err := sqlite.Open(filepath.Join(dir, "sessions.db"), &sqlite.Options{Sync: sqlite.Normal})
		if err != nil {
			tb.Fatal(err)
		}
		once(tb, db.Close)
		return db
	}}
	return at
}

// openSQLite opens the store in a folder.
func openSQLite(tb testing.TB, dir string) (st backend, shut func()) {
	tb.Helper()
	// Nobody pulls the plug here: what Sync decides is not under test.
	db, err := sqlite.Open(filepath.Join(dir, "sessions.db"), &sqlite.Options{Sync: sqlite.Normal})
	if err != nil {
		tb.Fatal(err)
	}
	return db.Store(), once(tb, db.Close)
}

func postgresPlace(url string) *place {
	open := func(tb testing.TB) *postgres.DB {
		db, err := postgres.Open(opening(tb), url, nil)
		if err != nil {
			tb.Fatal(err)
		}
		return db
	}
	table := &rows{
		open: func(tb testing.TB) sqlstore.DB { db := open(tb); once(tb, db.Close); return db },
		list: "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'",
	}
	return &place{raw: table, dump: table.dump, open: func(tb testing.TB) (backend, func()) {
		db := open(tb)
		return db.Store(), once(tb, db.Close)
	}}
}

func mariadbPlace(url string) *place {
	open := func(tb testing.TB) *mariadb.DB {
		db, err := mariadb.Open(opening(tb), url, nil)
		if err != nil {
			tb.Fatal(err)
		}
		return db
	}
	table := &rows{
		open: func(tb testing.TB) sqlstore.DB { db := open(tb); once(tb, db.Close); return db },
		list: "SELECT table_name FROM information_schema.tables WHERE table_schema = database()",
	}
	return &place{raw: table, dump: table.dump, open: func(tb testing.TB) (backend, func()) {
		db := open(tb)
		return db.Store(), once(tb, db.Close)
	}}
}

func redisPlace(url, prefix string) *place {
	keys := &redisKeys{url: url, prefix: prefix}
	return &place{raw: keys, dump: keys.dump, reads: true, open: func(tb testing.TB) (backend, func()) {
		st, err := redisstore.Open(opening(tb), url, &redisstore.Options{Prefix: prefix})
		if err != nil {
			tb.Fatal(err)
		}
		return st, once(tb, func() error { st.Close(); return nil })
	}}
}

func memcachedPlace(url, prefix string) *place {
	items := &memcachedItems{url: url, prefix: prefix}
	return &place{raw: items, dump: items.dump, open: func(tb testing.TB) (backend, func()) {
		st, err := memcachestore.Open(opening(tb), url+"/"+prefix, nil)
		if err != nil {
			tb.Fatal(err)
		}
		return st, once(tb, st.Close)
	}}
}

// keyOf is how the name of a session ends in stores of keys and values.
func keyOf(id store.ID) string { return "s:" + base64.RawURLEncoding.EncodeToString(id[:]) }
