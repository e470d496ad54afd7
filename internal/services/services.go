// Package services gives tests the servers that users run: PostgreSQL, MariaDB,
// Redis and Memcached, the real ones, on loopback ports and in a temporary
// directory of their own. It is imported by tests only.
//
// Most tests share one server of each kind, which `scripts/services run` has
// started for the whole run, and keep to a database or a prefix of their own:
//
//	url := services.Postgres(t)
//
// A test that freezes, kills or restarts a server starts its own:
//
//	srv := services.Start(t, services.RedisKind, "--appendonly", "yes")
//	srv.Freeze()
//
// A missing server fails the test with one line that says how to get it; nothing
// is skipped.
package services

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Env is the environment variable that names the directory of the shared servers.
const Env = "TEST_SERVICES"

// Postgres returns the URL of a new database on the shared PostgreSQL. Its owner
// is the role in the URL. It is dropped at the end of the test.
func Postgres(t testing.TB) string { t.Helper(); return shared(t, PostgresKind).Database(t) }

// MariaDB returns the URL of a new database on the shared MariaDB. It is dropped
// at the end of the test.
func MariaDB(t testing.TB) string { t.Helper(); return shared(t, MariaDBKind).Database(t) }

// Redis returns the URL of the shared Redis: use a key prefix of your own.
func Redis(t testing.TB) string { t.Helper(); return shared(t, RedisKind).URL() }

// Memcached returns the URL of the shared Memcached: use a key prefix of your own.
func Memcached(t testing.TB) string { t.Helper(); return shared(t, MemcachedKind).URL() }

// Prefix returns a prefix that no other test has: 12 characters of a to z and 2 to 7.
func Prefix(testing.TB) string { return "t" + strings.ToLower(rand.Text()[:11]) }

// shared returns a server that `scripts/services run` has started.
func shared(t testing.TB, kind Kind) *Server {
	t.Helper()
	s, err := Find(kind)
	if err != nil {
		t.Fatalf("no %s: run the tests with `make test`, or with `scripts/services run go test ./...`: %v", kind, err)
	}
	return s
}

// Find returns the shared server of a kind, for a program that is no test.
func Find(kind Kind) (*Server, error) {
	dir := os.Getenv(Env)
	if dir == "" {
		return nil, errors.New("services: not started")
	}
	return readServer(filepath.Join(dir, string(kind)+".json"))
}

// Shared starts one server of every kind in dir, for Postgres, MariaDB, Redis and
// Memcached of the programs that find dir in their environment. The function that
// it returns ends them, also after an error.
func Shared(dir string) (stop func(), err error) {
	var running []*Server
	stop = func() {
		for _, s := range running {
			s.kill()
		}
	}
	type result struct {
		s   *Server
		err error
	}
	results := make(chan result)
	for _, kind := range Kinds {
		go func() {
			s, err := newServer(kind, dir, "")
			if err == nil {
				err = s.start()
			}
			results <- result{s, err}
		}()
	}
	for range Kinds {
		r := <-results
		if r.s != nil {
			running = append(running, r.s)
		}
		if r.err == nil {
			r.err = r.s.write(filepath.Join(dir, string(r.s.Kind)+".json"))
		}
		err = errors.Join(err, r.err)
	}
	return stop, err
}

// write makes the server known to other processes.
func (s *Server) write(path string) error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("services: %w", err)
	}
	return os.WriteFile(path, b, 0o600)
}

func readServer(path string) (*Server, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("services: %w", err)
	}
	s := &Server{}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("services: %s: %w", path, err)
	}
	return s, nil
}
