package keys_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keys"
	"github.com/cloakroom-dev/cloakroom/internal/databases"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// stuck is a fleet whose database answers nobody, as long as they wait.
type stuck struct{ *link }

func (stuck) Instances(ctx context.Context) ([]fleet.Instance, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (stuck) Silent(ctx context.Context) ([]fleet.Instance, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (stuck) Call(ctx context.Context) (int64, error) { <-ctx.Done(); return 0, ctx.Err() }

func (stuck) Clock(ctx context.Context) (time.Time, error) {
	<-ctx.Done()
	return time.Time{}, ctx.Err()
}

// However the database hangs, a leaked key ends after five seconds, and the command too.
func TestAttack_A15_AStuckDatabaseKeepsNoKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, before := range []time.Duration{0, time.Second} {
			leaked := keyring.Generate()
			m := source(t, leaked)
			r := &keys.Rotator{Source: m, Fleet: stuck{database().link()}, Wait: 7 * time.Second, Before: before, Log: (&journal{}).logger()}
			begun := time.Now()
			var ended time.Duration
			m.after = func() {
				if list, err := keyring.ReadKeys(bytes.NewReader(m.text)); err == nil && slices.ContainsFunc(list, func(k keyring.Key) bool { return k.ID() == leaked.ID() && k.State() == keyring.Retiring }) {
					ended = time.Since(begun)
				}
			}
			err := r.Retire(t.Context(), leaked.ID())
			if ended == 0 || ended > 5*time.Second || before > 0 && ended > before {
				t.Errorf("the key has ended after %v", ended)
			}
			if took := time.Since(begun); err == nil || took > 20*time.Second {
				t.Errorf("the command has ended after %v: %v", took, err)
			}
		}
	})
}

// Where a new key has no room a leaked one ends all the same.
func TestAttack_A15_AFullRingKeepsNoKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leaked := keyring.Generate()
		list := []keyring.Key{leaked}
		for range keyring.MaxKeys - 1 {
			list = append(list, keyring.Generate().AsRetiring(time.Now().Add(time.Hour)))
		}
		m, s := source(t, list...), database()
		i := run(t, m, s, nil)
		cookie := signed(i.ring)
		must(t, rotator(m, s).Retire(t.Context(), leaked.ID()))
		if cookie(i.ring) || i.ring.Active() == leaked.ID() || len(m.keys(t)) != keyring.MaxKeys {
			t.Errorf("%v signs, %d keys", i.ring.Active(), len(m.keys(t)))
		}
	})
}

// locks hold what the service needs, as anybody can who may write to its tables.
var locks = map[string][]string{
	"sqlite":   {"BEGIN IMMEDIATE"},
	"postgres": {"BEGIN", "LOCK TABLE cloakroom_instances, cloakroom_signals"},
	"mariadb":  {"LOCK TABLES cloakroom_instances WRITE, cloakroom_signals WRITE"},
}

// Somebody who may write to the database holds a lock: a leaked key ends.
func TestAttack_A15_ALockKeepsNoKey(t *testing.T) {
	t.Parallel()
	for _, k := range databases.Kinds {
		t.Run(k.Name, func(t *testing.T) {
			t.Parallel()
			address := k.Address(t)
			opened := [2]databases.Database{k.OpenFor(t, address), k.OpenFor(t, address)}
			f, err := fleet.Open(t.Context(), opened[0])
			must(t, err)
			_, err = f.Call(t.Context())
			must(t, err)
			raw, ok := opened[1].Reader().(*sql.DB)
			if !ok { // SQLite's reads only
				raw, err = sql.Open("sqlite", address)
				must(t, err)
				defer raw.Close()
			}
			conn, err := raw.Conn(t.Context())
			must(t, err)
			defer conn.Close()
			for _, statement := range locks[k.Name] {
				_, err := conn.ExecContext(t.Context(), statement)
				must(t, err)
			}
			defer conn.ExecContext(context.WithoutCancel(t.Context()), map[bool]string{true: "UNLOCK TABLES", false: "ROLLBACK"}[k.Name == "mariadb"])
			leaked := keyring.Generate()
			path := filepath.Join(t.TempDir(), "keys")
			must(t, os.WriteFile(path, []byte(leaked.Text()), 0o600))
			r := &keys.Rotator{Source: keyring.File(path), Fleet: f, Wait: time.Millisecond, Before: time.Second, Log: slog.New(slog.DiscardHandler)}
			begun := time.Now()
			err = r.Retire(t.Context(), leaked.ID())
			ring, loaded := keyring.Load(t.Context(), r.Source)
			must(t, loaded)
			if ring.Active() == leaked.ID() || err == nil || time.Since(begun) > 8*time.Second {
				t.Errorf("%v signs after %v: %v", ring.Active(), time.Since(begun), err)
			}
		})
	}
}

// web2 is an ID as instances have it.
const web2 = "WEB2AAAAAAAAAAAAAAAAAAAAAA"

// An instance that is frozen is in no list for long, and goes on when it thaws: it is
// named until somebody says that it has stopped. One that had followed before is not.
func TestAttack_A15_TheSilentAreNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		a := run(t, m, s, nil)
		b := run(t, m, s, func(o *keys.Options) { o.Instance.ID, o.Instance.Addr = web2, "10.0.0.2:8080" })
		leaked, id := signed(b.ring), b.ring.Active()
		b.link.set(errAway)
		b.src.set(errAway)
		time.Sleep(33 * time.Second)
		err := rotator(m, s).Retire(t.Context(), id)
		silent, ok := errors.AsType[*keys.SilentError](err)
		if !ok || len(silent.Silent) != 1 || leaked(a.ring) || !leaked(b.ring) {
			t.Fatalf("%v", err)
		}
		for _, want := range []string{web2 + " (10.0.0.2:8080) since 20", "key " + id.String(), "with --stopped " + web2} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q lacks %q", err, want)
			}
		}
		b.src.set(nil)
		b.link.set(nil)
		time.Sleep(2 * time.Second)
		must(t, rotator(m, s).Ended(t.Context(), id))
		b.link.set(errAway) // and it has followed
		time.Sleep(time.Minute)
		must(t, rotator(m, s).Ended(t.Context(), id))
		if err := rotator(m, s).Retire(t.Context(), a.ring.Active()); err == nil {
			t.Error("it may accept the next one")
		}
		must(t, s.link().Leave(t.Context(), web2))
		must(t, rotator(m, s).Ended(t.Context(), id))
	})
}

// Who listens where another did has taken its place: that one is not waited for, nor named.
func TestWhoTakesAnAddressSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		at := func(id, addr string) func(o *keys.Options) {
			return func(o *keys.Options) { o.Instance.ID, o.Instance.Addr = id, addr }
		}
		for _, i := range []*instance{run(t, m, s, at("killed", "10.0.0.1:8080")), run(t, m, s, at("other", "10.0.0.2:8080"))} {
			i.link.set(errAway) // it reports no more
			i.src.set(errAway)
		}
		time.Sleep(time.Minute)
		b := run(t, m, s, at("next", "10.0.0.1:8080"))
		err := rotator(m, s).Retire(t.Context(), b.ring.Active())
		silent, ok := errors.AsType[*keys.SilentError](err)
		if !ok || len(silent.Silent) != 1 || silent.Silent[0].ID != "other" {
			t.Errorf("%v", err)
		}
	})
}

// strike has somebody who may write to the database strike out all instances, and all
// calls, as fast as they can.
func (s *state) strike(ctx context.Context) {
	for ctx.Err() == nil {
		s.mu.Lock()
		clear(s.instances)
		s.gen = 0
		s.mu.Unlock()
		time.Sleep(10 * time.Millisecond)
	}
}

// Instances that are struck out of the list are waited for as long as it takes them to
// look by themselves.
func TestAttack_A43_TheStruckOutAreGivenTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		i := run(t, m, s, func(o *keys.Options) { o.Interval = 10 * time.Second })
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		wg.Go(func() { s.strike(ctx) })
		var why []string
		r := rotator(m, s)
		r.Interval, r.Waits = 10*time.Second, func(_ time.Duration, text string) { why = append(why, text) }
		next, err := r.Announce(t.Context())
		must(t, err)
		must(t, r.Activate(t.Context(), next))
		if !i.ring.Has(next) {
			t.Error("a key signs that an instance refuses")
		}
		time.Sleep(20 * time.Second)
		leaked := signed(i.ring)
		if i.ring.Active() != next {
			t.Fatalf("%v signs", i.ring.Active())
		}
		must(t, r.Retire(t.Context(), next))
		if leaked(i.ring) || len(why) < 2 {
			t.Errorf("accepted %t, and it says %q", leaked(i.ring), why)
		}
	})
}

// One that is struck out of a list in which others stay is missed.
func TestAttack_A43_TheStruckOutAreMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		run(t, m, s, nil)
		b := run(t, m, s, func(o *keys.Options) { o.Interval = 10 * time.Second })
		r := rotator(m, s)
		r.Interval = 10 * time.Second
		must(t, r.Await(t.Context()))
		leaked, id := signed(b.ring), b.ring.Active()
		b.link.set(errAway) // it cannot report itself again
		must(t, s.link().Leave(t.Context(), b.ID()))
		must(t, r.Retire(t.Context(), id))
		if leaked(b.ring) {
			t.Error("it accepts the key")
		}
	})
}
