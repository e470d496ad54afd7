package main_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
)

// ledger is what the service has acknowledged.
type ledger struct {
	mu                 sync.Mutex
	live, ended, doubt []ticket
	logins, logouts    int
}

func (l *ledger) move(t ticket, from, to *[]ticket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.IndexFunc(*from, func(o ticket) bool { return o.cookie == t.cookie }); i >= 0 {
		*from = slices.Delete(*from, i, i+1)
	}
	*to = append(*to, t)
}

// others returns the live tickets of a user but one.
func (l *ledger) others(t ticket) (list []ticket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.live {
		if o.user == t.user && o.cookie != t.cookie {
			list = append(list, o)
		}
	}
	return list
}

// crash is a service that is killed again and again.
type crash struct {
	t    *testing.T
	name string
	db   *services.Server // nil for SQLite
	args []string
	dir  string
	s    *server
	c    caller
	book ledger
}

// come is one user who signs in and out until over, whoever answers.
func (k *crash) come(over context.Context, user string) error {
	for over.Err() == nil {
		if old := k.book.others(ticket{user: user}); len(old) > 2 && rand.IntN(2) == 0 {
			if err := k.logout(old[rand.IntN(len(old))]); err != nil {
				return fmt.Errorf("logout: %w", err)
			}
			continue
		}
		t, a, err := k.c.signIn(user)
		if gone, err := away(a, err); gone || err != nil {
			if err != nil {
				return fmt.Errorf("login: %w", err)
			}
			continue
		}
		k.book.mu.Lock()
		k.book.live, k.book.logins = append(k.book.live, t), k.book.logins+1
		k.book.mu.Unlock()
		a, err = k.c.look(&t)
		if gone, err := away(a, err); gone || err != nil {
			if err != nil {
				return fmt.Errorf("session after a login: %w", err)
			}
			continue
		}
		switch rand.IntN(4) {
		case 0: // stays signed in
		case 1:
			err = k.endOthers(t)
		default:
			err = k.logout(t)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// logout signs out. Until it is answered, nobody knows.
func (k *crash) logout(t ticket) error {
	if t.csrf == "" {
		a, err := k.c.look(&t)
		if gone, err := away(a, err); gone || err != nil {
			return err
		}
	}
	k.book.move(t, &k.book.live, &k.book.doubt)
	a, err := k.c.ask("POST", "/auth/logout", t.cookie, t.csrf, "{}")
	if gone, err := away(a, err); gone || err != nil {
		return err
	}
	k.book.move(t, &k.book.doubt, &k.book.ended)
	k.book.mu.Lock()
	k.book.logouts++
	k.book.mu.Unlock()
	return nil
}

// endOthers ends all other sessions of the user.
func (k *crash) endOthers(t ticket) error {
	others := k.book.others(t)
	for _, o := range others {
		k.book.move(o, &k.book.live, &k.book.doubt)
	}
	k.book.move(t, &k.book.live, &k.book.doubt) // it gets a new epoch, and may get a new cookie
	a, err := k.c.ask("POST", "/auth/sessions/end-others", t.cookie, t.csrf, "{}")
	if gone, err := away(a, err); gone || err != nil {
		return err
	}
	for _, o := range others {
		k.book.move(o, &k.book.doubt, &k.book.ended)
	}
	kept := t
	if a.cookie != "" {
		kept.cookie = a.cookie
	}
	k.book.mu.Lock()
	defer k.book.mu.Unlock()
	k.book.doubt = slices.DeleteFunc(k.book.doubt, func(o ticket) bool { return o.cookie == t.cookie })
	k.book.live = append(k.book.live, kept)
	return nil
}

// away tells whether nobody has answered, or a 503 has. Any other answer than
// yes is an error.
func away(a reply, err error) (bool, error) {
	var net net.Error
	switch {
	case err == nil && (a.status == http.StatusOK || a.status == http.StatusNoContent):
		return false, nil
	case err == nil && a.status == http.StatusServiceUnavailable:
		time.Sleep(2 * time.Millisecond)
		return true, nil
	case err == nil:
		return false, fmt.Errorf("%d %s", a.status, a.body)
	case errors.As(err, &net), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		time.Sleep(2 * time.Millisecond)
		return true, nil
	}
	return false, err
}

// run starts the service if it is not running, on the same port each time.
func (k *crash) run() {
	k.t.Helper()
	if k.c.base == "" {
		addr := freePort(k.t)
		k.c, k.args = newCaller("http://"+addr), append(k.args, "--listen="+addr)
	}
	k.s = start(k.t, k.dir, k.args...)
}

// certain asks until the answer is no 503: a store that was killed is found again
// without a restart, within seconds.
func (k *crash) certain(t ticket) int {
	k.t.Helper()
	var a reply
	var err error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if a, err = k.c.look(&t); err == nil && a.status != http.StatusServiceUnavailable {
			return a.status
		}
	}
	k.t.Fatalf("%s: no answer but %d %s, %v", k.name, a.status, a.body, err)
	return 0
}

// check holds everything that was acknowledged against what there is. Of sessions
// that ended before the last kill it looks at some, or at all.
func (k *crash) check(fresh int, all bool) {
	k.t.Helper()
	for _, t := range slices.Clone(k.book.doubt) {
		switch status := k.certain(t); status {
		case http.StatusOK:
			k.book.move(t, &k.book.doubt, &k.book.live)
		case http.StatusUnauthorized:
			k.book.move(t, &k.book.doubt, &k.book.ended)
		default:
			k.t.Fatalf("%s: status %d", k.name, status)
		}
	}
	for _, t := range k.book.live {
		if status := k.certain(t); status != http.StatusOK {
			k.t.Errorf("%s: a login that was acknowledged is lost: %d", k.name, status)
		}
	}
	for i, t := range k.book.ended {
		if all || i >= fresh || rand.IntN(len(k.book.ended)) < 30 {
			if status := k.certain(t); status != http.StatusUnauthorized {
				k.t.Errorf("%s: a logout that was acknowledged is undone: %d", k.name, status)
			}
		}
	}
	if k.t.Failed() {
		k.t.FailNow()
	}
}

// kill kills the service, its server, or both at the same moment, and starts
// them again.
func (k *crash) kill() {
	k.t.Helper()
	which := 0
	if k.db != nil {
		which = rand.IntN(3)
	}
	service, server := which != 1, which != 0
	var wg sync.WaitGroup
	if service {
		wg.Go(func() { k.s.cmd.Process.Kill(); <-k.s.exited })
	}
	if server {
		wg.Go(func() { k.db.Kill(k.t) })
	}
	wg.Wait()
	if server {
		k.db.Start(k.t)
	}
	if service {
		k.run()
	}
}

// durable are the deployments that keep what they acknowledge, each with servers
// of its own.
func durable(t *testing.T, kind string) *crash {
	k := &crash{t: t, name: kind, dir: t.TempDir(), args: []string{keyFile(t), "--log-level=error", "--store-timeout=2s"}}
	switch kind {
	case "sqlite":
	case "postgres":
		k.db = services.Start(t, services.PostgresKind, "-c", "fsync=on")
		k.args = append(k.args, "--store", k.db.URL(), "--users", k.db.URL())
	case "mariadb":
		k.db = services.Start(t, services.MariaDBKind, "--innodb-flush-log-at-trx-commit=1")
		k.args = append(k.args, "--store", k.db.URL(), "--users", k.db.URL())
	case "redis": // the accounts in SQLite, killed with the service
		k.db = services.Start(t, services.RedisKind, "--appendonly", "yes", "--appendfsync", "always")
		k.args = append(k.args, "--store", k.db.URL())
	}
	return k
}

// TestPromise01_KilledAnywhere kills service and server again and again while
// people sign in and out: what was acknowledged is so afterwards, on every store
// that can keep it, and its files are whole.
func TestPromise01_KilledAnywhere(t *testing.T) {
	kills := 4
	if *prove {
		kills = 200
	}
	users := []string{"ada", "bob", "cyd", "dan"}
	for _, kind := range []string{"sqlite", "postgres", "mariadb", "redis"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			k := durable(t, kind)
			begin := time.Now()
			for _, u := range users {
				k.addUser(u)
			}
			k.run()
			for range kills {
				k.check(0, false)
				fresh := len(k.book.ended)
				over, stop := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				for _, u := range users {
					wg.Go(func() {
						if err := k.come(over, u); err != nil {
							t.Errorf("%s: %v", kind, err)
						}
					})
				}
				time.Sleep(time.Duration(20+rand.IntN(230)) * time.Millisecond)
				k.kill()
				stop()
				wg.Wait()
				k.check(fresh, false)
			}
			k.check(0, true)
			for _, u := range users {
				if _, a, err := k.c.signIn(u); err != nil || a.status != http.StatusOK {
					t.Errorf("%s cannot sign in: %d, %v", u, a.status, err)
				}
			}
			k.intact()
			t.Logf("%s: %d kills, %d logins and %d logouts acknowledged, %d sessions ended in all, %d live, none lost or undone; %v",
				kind, kills, k.book.logins, k.book.logouts, len(k.book.ended), len(k.book.live), time.Since(begin).Round(time.Second))
		})
	}
}

// addUser adds a user before the service runs.
func (k *crash) addUser(name string) {
	k.t.Helper()
	addUser(k.t, k.dir, name, k.where()...)
}

// where returns the arguments that tell a command where things are.
func (k *crash) where() (where []string) {
	for i, a := range k.args {
		if strings.HasPrefix(a, "--keys") {
			where = append(where, a)
		} else if a == "--store" || a == "--users" {
			where = append(where, a, k.args[i+1])
		}
	}
	return where
}

// intact asks the tools of each server whether its files are whole.
func (k *crash) intact() {
	k.t.Helper()
	tool := func(env, name string, args ...string) {
		k.t.Helper()
		path, err := exec.LookPath(name)
		if places, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name); err != nil && len(places) > 0 {
			path, err = places[0], nil
		}
		if err != nil {
			k.t.Fatal(err)
		}
		cmd := exec.Command(path, args...)
		cmd.Env = append(os.Environ(), env)
		if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "orrupt") {
			k.t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	k.s.end(syscall.SIGTERM)
	switch k.name {
	case "postgres":
		at := []string{"--host=127.0.0.1", "--port=" + strconv.Itoa(k.db.Port), "--username=postgres"}
		tool("PGPASSWORD="+k.db.Password, "pg_amcheck", append(at, "--install-missing", "--heapallindexed", "--rootdescend", "--parent-check", "cloakroom")...)
		tool("PGPASSWORD="+k.db.Password, "pg_dump", append(at, "--file=/dev/null", "cloakroom")...)
	case "mariadb":
		tool("MYSQL_PWD="+k.db.Password, "mariadb-check", "--no-defaults", "--host=127.0.0.1", "--port="+strconv.Itoa(k.db.Port),
			"--user=cloakroom", "--check", "--extended", "cloakroom")
	case "redis":
		k.db.Kill(k.t)
		tool("LANG=C", "redis-check-aof", filepath.Join(k.db.Dir, "appendonlydir", "appendonly.aof.manifest"))
	}
	if k.name == "sqlite" || k.name == "redis" {
		db, err := sqlite.Open(filepath.Join(k.dir, "cloakroom-data", "cloakroom.db"), nil)
		if err != nil {
			k.t.Fatal(err)
		}
		defer db.Close()
		if err := db.IntegrityCheck(k.t.Context()); err != nil {
			k.t.Error(err)
		}
	}
}

// TestPromise01_RedisEverysec: with appendfsync everysec a Redis that is killed
// may lose what it acknowledged in the last two seconds, as its page says, and
// nothing older.
func TestPromise01_RedisEverysec(t *testing.T) {
	kills := 2
	if *prove {
		kills = 20
	}
	k := durable(t, "sqlite")
	k.name, k.db = "redis everysec", services.Start(t, services.RedisKind, "--appendonly", "yes", "--appendfsync", "everysec")
	k.args = append(k.args, "--store", k.db.URL())
	k.addUser("ada")
	k.run()
	undone := 0
	for range kills {
		old, fresh := k.in("ada"), k.in("ada")
		if err := k.logout(old); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2500 * time.Millisecond) // what the page says may be lost, and some
		if err := k.logout(fresh); err != nil {
			t.Fatal(err)
		}
		k.db.Kill(t)
		k.db.Start(t)
		if status := k.certain(old); status != http.StatusUnauthorized {
			t.Errorf("a logout of 2.5 s ago is undone: %d", status)
		}
		if k.certain(fresh) == http.StatusOK {
			undone++
		}
		if _, a, err := k.c.signIn("ada"); err != nil || a.status != http.StatusOK {
			t.Errorf("%d, %v", a.status, err)
		}
	}
	t.Logf("redis with appendfsync everysec: %d kills right after a logout, %d of them undone it; none older than 2.5 s", kills, undone)
}

// in signs in and returns the ticket, ready for changes.
func (k *crash) in(user string) ticket {
	k.t.Helper()
	t, a, err := k.c.signIn(user)
	if err == nil && a.status == http.StatusOK {
		a, err = k.c.look(&t)
	}
	if err != nil || a.status != http.StatusOK {
		k.t.Fatalf("%d %s, %v", a.status, a.body, err)
	}
	return t
}
