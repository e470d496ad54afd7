package keys_test

import (
	"bytes"
	"context"
	"database/sql"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keys"
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
	for name, k := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := k.address(t)
			var opened [2]sqlDatabase
			for i := range opened {
				db, err := k.open(t, address)
				must(t, err)
				t.Cleanup(func() { must(t, db.Close()) })
				opened[i] = db
			}
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
			for _, statement := range locks[name] {
				_, err := conn.ExecContext(t.Context(), statement)
				must(t, err)
			}
			defer conn.ExecContext(context.WithoutCancel(t.Context()), map[bool]string{true: "UNLOCK TABLES", false: "ROLLBACK"}[name == "mariadb"])
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
