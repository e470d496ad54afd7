package keys_test

import (
	"context"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keys"
	"github.com/cloakroom-dev/cloakroom/internal/databases"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// The tests with a database wait rather than work.
func TestMain(m *testing.M) {
	flag.Parse()
	flag.Set("test.parallel", "8")
	os.Exit(m.Run())
}

// Two instances on a key file and a database as they really are: a rotation that nobody
// notices, and a key that is ended at both.
func TestASVS_13_3_4_OnRealDatabases(t *testing.T) {
	t.Parallel()
	for _, k := range databases.Kinds {
		t.Run(k.Name, func(t *testing.T) {
			t.Parallel()
			address := k.Address(t)
			open := func() *fleet.Fleet {
				f, err := fleet.Open(t.Context(), k.OpenFor(t, address))
				must(t, err)
				return f
			}
			path := filepath.Join(t.TempDir(), "keys")
			must(t, os.WriteFile(path, []byte(keyring.Generate().Text()), 0o600))
			var rings [2]*keyring.Ring
			for n := range rings {
				ring, err := keyring.Load(t.Context(), keyring.File(path))
				must(t, err)
				rings[n] = ring
				serveReal(t, ring, path, open())
			}
			end := everySign(t, rings)
			r := &keys.Rotator{Source: keyring.File(path), Fleet: open(), Lifetime: time.Hour, Log: slog.New(slog.DiscardHandler)}
			old := signed(rings[0])
			id, err := r.Rotate(t.Context())
			if err != nil || rings[0].Active() != id || rings[1].Active() != id || !old(rings[1]) {
				t.Errorf("%v and %v sign, want %v: %v", rings[0].Active(), rings[1].Active(), id, err)
			}
			end()
			leaked := signed(rings[1])
			must(t, r.Retire(t.Context(), id))
			if leaked(rings[0]) || leaked(rings[1]) || !accepts(rings[0], rings[1]) || !accepts(rings[1], rings[0]) {
				t.Error("a leaked key is accepted, or the one in its place is not")
			}
		})
	}
}

// serveReal runs an instance until the test ends.
func serveReal(t *testing.T, ring *keyring.Ring, path string, f *fleet.Fleet) {
	t.Helper()
	k, err := keys.New(keys.Options{Ring: ring, Source: keyring.File(path), Fleet: f, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	must(t, k.Begin(t.Context()))
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() { k.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		if list, err := f.Instances(context.WithoutCancel(t.Context())); err != nil || strings.Contains(names(list), k.ID()) {
			t.Errorf("it has not left: %v, %v", names(list), err)
		}
	})
}

func names(list []fleet.Instance) string {
	var b strings.Builder
	for _, i := range list {
		b.WriteString(i.Name() + " ")
	}
	return b.String()
}

// everySign has each instance accept what the other signs, all the time until end.
func everySign(t *testing.T, rings [2]*keyring.Ring) (end func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(2 * time.Millisecond):
			}
			if !accepts(rings[0], rings[1]) || !accepts(rings[1], rings[0]) {
				t.Error("an instance refuses what the other one signs")
				return
			}
		}
	})
	return func() { close(done); wg.Wait() }
}
