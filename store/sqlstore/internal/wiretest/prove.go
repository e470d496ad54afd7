package wiretest

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// DB is an open database of either kind.
type DB interface {
	sqlstore.DB
	Store() *sqlstore.Store
}

// Record returns a session that may be created.
func Record(user string) store.Record {
	now := time.Now().UTC().Truncate(time.Millisecond)
	r := store.Record{
		UserID: user, Created: now, Seen: now, Expires: now.Add(30 * time.Minute), Deadline: now.Add(24 * time.Hour),
		Info: []byte("info"), Data: []byte("data"),
	}
	rand.Read(r.ID[:])
	return r
}

// Why is a reason to end a session.
func Why() store.Ended {
	return store.Ended{Reason: store.Logout, At: time.Now().UTC().Truncate(time.Millisecond)}
}

// op is one call of a store.
type op struct {
	name string
	do   func() error
}

// calls are the calls on one session, in this order.
func calls(ctx context.Context, s store.Store, r store.Record) []op {
	return []op{
		{"create", func() error { return s.Put(ctx, r) }},
		{"get", func() error { _, err := s.Get(ctx, r.ID); return err }},
		{"update", func() error { r.Version = 1; return s.Put(ctx, r) }},
		{"touch", func() error { return s.Touch(ctx, r.ID, r.Seen, r.Expires) }},
		{"touch with earlier times", func() error { return s.Touch(ctx, r.ID, r.Created, r.Created) }},
		{"end", func() error { return s.End(ctx, r.ID, 2, Why(), r.Deadline) }},
	}
}

// OneRoundTrip proves that a read, and a write that succeeds, is one round trip.
// The database is on the other side of the proxy, with one connection, and warm
// runs before.
func OneRoundTrip(t *testing.T, p *Proxy, db DB) {
	t.Helper()
	ctx, s := t.Context(), db.Store()
	for _, warm := range []bool{true, false} {
		for _, c := range calls(ctx, s, Record("alice")) {
			var err error
			trips, opened := p.Trips(func() { err = c.do() })
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			if !warm && (trips != 1 || opened != 0) {
				t.Errorf("%s: %d round trips, %d new connections, want 1 and 0", c.name, trips, opened)
			}
		}
	}
}

// NeverResent proves that a write whose answer is lost is an error, reached the
// server once, and is not sent again. Direct goes to the same database without
// the proxy.
func NeverResent(t *testing.T, p *Proxy, db, direct DB) {
	t.Helper()
	ctx := t.Context()
	r := Record("alice")
	for i, c := range calls(ctx, db.Store(), r) {
		if c.name == "get" {
			continue
		}
		for _, warm := range calls(ctx, db.Store(), Record("bob")) { // on a new connection, where statements may be prepared
			if err := warm.do(); err != nil {
				t.Fatalf("before %s: %s: %v", c.name, warm.name, err)
			}
		}
		var err error
		p.Swallow(true)
		trips, opened := p.Trips(func() { err = c.do() })
		p.Swallow(false)
		switch {
		case err == nil, errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrEnded), errors.Is(err, store.ErrNotFound):
			t.Errorf("%s: %v, want an error that says nothing of the session", c.name, err)
		case strings.Contains(err.Error(), "\n"):
			t.Errorf("%s: an error of several lines: %q", c.name, err)
		}
		if trips != 1 || opened != 0 {
			t.Errorf("%s: %d round trips, %d new connections, want 1 and 0: it was sent again", c.name, trips, opened)
		}
		got, err := direct.Store().Get(ctx, r.ID)
		want := map[string]uint64{"create": 1, "update": 2, "touch": 2, "touch with earlier times": 2}[c.name]
		if c.name == "end" != errors.Is(err, store.ErrEnded) || got.Version != want {
			t.Fatalf("%s (%d): stored is version %d, %v, want %d", c.name, i, got.Version, err, want)
		}
	}
	ran := 0
	p.Swallow(false)
	err := db.Write(ctx, func(ctx context.Context, tx sqlstore.Queryer) error {
		ran++
		_, err := tx.ExecContext(ctx, "DELETE FROM cloakroom_session")
		p.Swallow(true) // the COMMIT is done, and nobody is told
		return err
	})
	p.Swallow(false)
	if err == nil || ran != 1 {
		t.Errorf("a commit that was not answered: %v after %d runs, want an error after one", err, ran)
	}
}

// StaleConnections proves that connections which the server closed while they lay
// idle are noticed before anything is sent.
func StaleConnections(t *testing.T, p *Proxy, db DB) {
	t.Helper()
	ctx, s := t.Context(), db.Store()
	for range 3 {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if err := s.Put(ctx, Record("")); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		p.CloseAll()
		time.Sleep(1100 * time.Millisecond) // a driver trusts a younger connection
		r := Record("")
		if err := s.Put(ctx, r); err != nil {
			t.Errorf("a write on a connection that was closed while idle: %v", err)
		}
		if _, err := s.Get(ctx, r.ID); err != nil {
			t.Errorf("a read after it: %v", err)
		}
	}
}

// Deadlock proves that a transaction which the server undoes is run again: two
// change two rows in opposite order, and wait for each other before the second.
func Deadlock(t *testing.T, db DB) {
	t.Helper()
	ctx := t.Context()
	a, b := Record("a"), Record("b")
	for _, r := range []store.Record{a, b} {
		if err := db.Store().Put(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	var (
		wg    sync.WaitGroup
		met   sync.WaitGroup
		mu    sync.Mutex
		runs  int
		query = db.Dialect().SQL("UPDATE cloakroom_session SET version = version + 1 WHERE id = ?")
	)
	met.Add(2)
	for _, order := range [][2]store.Record{{a, b}, {b, a}} {
		first := true
		wg.Go(func() {
			err := db.Write(ctx, func(ctx context.Context, tx sqlstore.Queryer) error {
				mu.Lock()
				runs++
				mu.Unlock()
				if _, err := tx.ExecContext(ctx, query, order[0].ID[:]); err != nil {
					return err
				}
				if first {
					first = false
					met.Done()
					met.Wait()
				}
				_, err := tx.ExecContext(ctx, query, order[1].ID[:])
				return err
			})
			if err != nil {
				t.Errorf("a transaction that the server undid was not run again: %v", err)
			}
		})
	}
	wg.Wait()
	if runs < 3 {
		t.Errorf("%d runs, want at least 3: there was no deadlock", runs)
	}
	for _, r := range []store.Record{a, b} {
		if got, err := db.Store().Get(ctx, r.ID); err != nil || got.Version != 3 {
			t.Errorf("version %d, %v, want 3: each transaction once", got.Version, err)
		}
	}
}

// PoolLimit proves that MaxConns, which is 2, is used, that waiting for a
// connection ends with the context, and that all is well afterwards.
func PoolLimit(t *testing.T, db DB) {
	t.Helper()
	ctx, s := t.Context(), db.Store()
	r := Record("alice")
	if err := s.Put(ctx, r); err != nil {
		t.Fatal(err)
	}
	var begun, done sync.WaitGroup
	release := make(chan struct{})
	for range 2 {
		begun.Add(1)
		done.Go(func() {
			err := db.Write(ctx, func(context.Context, sqlstore.Queryer) error {
				begun.Done()
				<-release
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	begun.Wait()
	for name, call := range map[string]func(context.Context) error{
		"get":   func(ctx context.Context) error { _, err := s.Get(ctx, r.ID); return err },
		"touch": func(ctx context.Context) error { return s.Touch(ctx, r.ID, r.Seen, r.Expires) },
		"write": func(ctx context.Context) error {
			return db.Write(ctx, func(context.Context, sqlstore.Queryer) error { return nil })
		},
	} {
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		if err := call(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s beyond the limit: %v, want the end of its context", name, err)
		}
		cancel()
	}
	waiting := make(chan error)
	go func() { _, err := s.Get(ctx, r.ID); waiting <- err }()
	close(release)
	if err := <-waiting; err != nil {
		t.Errorf("who waited: %v, want an answer once there is a connection", err)
	}
	done.Wait()
	if _, err := s.Get(ctx, r.ID); err != nil {
		t.Error(err)
	}
}

// Bytes proves that every pair of bytes comes back as it was, as data, as a user
// and in the condition of a statement.
func Bytes(t *testing.T, db DB) {
	t.Helper()
	ctx, s := t.Context(), db.Store()
	r := Record("")
	for i := range 1 << 16 {
		r.Data = append(r.Data, byte(i>>8), byte(i))
	}
	var every []byte
	for i := range 256 {
		every = append(every, byte(i))
	}
	r.Info = every
	users := []string{string(every[:128]), string(every[128:]), "\xbf'", "\xbf\\' OR 1=1 -- ", `\`, `'`, `''`, `"`, "\x00", "\xe5\\", "?", "$1"}
	for _, user := range users {
		one := r
		one.UserID = user
		rand.Read(one.ID[:])
		if err := s.Put(ctx, one); err != nil {
			t.Fatal(err)
		}
		one.Version = 1
		if err := s.Put(ctx, one); err != nil {
			t.Fatal(err)
		}
		got, err := s.Get(ctx, one.ID)
		if err != nil || got.UserID != user || string(got.Data) != string(one.Data) || string(got.Info) != string(one.Info) {
			t.Errorf("user %q: other bytes came back, or %v", user, err)
		}
		if list, err := s.ListUser(ctx, user); len(list) != 1 || err != nil {
			t.Errorf("user %q has %d sessions, %v, want 1", user, len(list), err)
		}
	}
}
