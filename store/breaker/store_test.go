package breaker_test

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/breaker"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
	"github.com/cloakroom-dev/cloakroom/store/storetest"
)

// patient are options under which no case of the suite is too slow.
func patient(hard bool) *breaker.Options {
	return &breaker.Options{Timeout: time.Minute, BulkTimeout: time.Minute, Hard: hard}
}

// A guarded store keeps the contract, with all that the store behind it can do.
func TestStore(t *testing.T) {
	for name, hard := range map[string]bool{"plain": false, "hard": true} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) store.Store {
				b, err := breaker.New(memstore.New(nil), patient(hard))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if b.State() != breaker.Closed {
						t.Error("the circuit is open")
					}
				})
				return b.Store()
			})
		})
	}
}

// has lists what a store can do.
func has(st store.Store) []string {
	var all []string
	add := func(name string, ok bool) {
		if ok {
			all = append(all, name)
		}
	}
	_, ok := st.(store.UserStore)
	add("UserStore", ok)
	_, ok = st.(store.Sweeper)
	add("Sweeper", ok)
	_, ok = st.(store.Scanner)
	add("Scanner", ok)
	_, ok = st.(store.KeyRegistry)
	add("KeyRegistry", ok)
	return all
}

// only are stores that can do exactly some of it.
func only() []store.Store {
	f := newFaulty()
	type (
		u interface {
			ListUser(context.Context, string) ([]store.Record, error)
			EndUser(context.Context, string, store.ID, store.Ended, time.Time) (int, error)
		}
		w = store.Sweeper
		s = store.Scanner
		k = store.KeyRegistry
		b = store.Store
	)
	return []store.Store{
		struct{ b }{f}, struct {
			b
			k
		}{f, f}, struct {
			b
			s
		}{f, f}, struct {
			b
			s
			k
		}{f, f, f}, struct {
			b
			w
		}{f, f}, struct {
			b
			w
			k
		}{f, f, f}, struct {
			b
			w
			s
		}{f, f, f}, struct {
			b
			w
			s
			k
		}{f, f, f, f}, struct {
			b
			u
		}{f, f}, struct {
			b
			u
			k
		}{f, f, f}, struct {
			b
			u
			s
		}{f, f, f}, struct {
			b
			u
			s
			k
		}{f, f, f, f}, struct {
			b
			u
			w
		}{f, f, f}, struct {
			b
			u
			w
			k
		}{f, f, f, f}, struct {
			b
			u
			w
			s
		}{f, f, f, f}, f,
	}
}

// A guarded store can do what the store behind it can, and nothing else.
func TestAbilities(t *testing.T) {
	sets := map[string]bool{}
	for _, st := range only() {
		want := has(st)
		for _, hard := range []bool{false, true} {
			b, err := breaker.New(st, patient(hard))
			if err != nil {
				t.Fatal(err)
			}
			if got := has(b.Store()); !slices.Equal(got, want) {
				t.Errorf("hard %t: it can %q, want %q", hard, got, want)
			}
		}
		var set string
		for _, name := range want {
			set += name + " "
		}
		sets[set] = true
	}
	if len(sets) != 16 {
		t.Errorf("%d sets were tried, want 16", len(sets))
	}
}

// An ability that package store gets one day is not forgotten here.
func TestAbilitiesAreAllThereAre(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../store.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.TypeSpec); ok {
			if _, ok := spec.Type.(*ast.InterfaceType); ok && spec.Name.Name != "Store" {
				found = append(found, spec.Name.Name)
			}
		}
		return true
	})
	if all := has(newFaulty()); !slices.Equal(found, all) {
		t.Errorf("package store has %q, this test knows %q", found, all)
	}
}

// Every call arrives, and its answer comes back.
func TestCallsGetThrough(t *testing.T) {
	for _, hard := range []bool{false, true} {
		s := newSite(t, *patient(hard))
		for op := range s.ops(t.Context(), 0) {
			_ = s.ops(t.Context(), 0)[op]()
			if calls := s.faulty.take(); !slices.Equal(calls, []string{op}) {
				t.Errorf("%s: the store has seen %q", op, calls)
			}
			want := errors.New("of the store")
			s.faulty.on(fails(want))
			if err := s.ops(t.Context(), 0)[op](); !errors.Is(err, want) {
				t.Errorf("%s: %v", op, err)
			}
			s.faulty.on(nil)
			s.faulty.take()
		}
	}
}

// deaf is a store that hangs whatever its context says, until it is released.
func deaf(release <-chan struct{}) func(context.Context, string, store.ID) error {
	return func(context.Context, string, store.ID) error { <-release; return nil }
}

// A store that does not heed its context costs the deadline all the same, and no
// more goroutines than are allowed; they end when it returns.
func TestASVS_15_4_3_AStoreThatIsStuck(t *testing.T) {
	for op := range newSite(t, breaker.Options{}).ops(t.Context(), 0) {
		synctest.Test(t, func(t *testing.T) {
			const most = 3
			s := newSite(t, breaker.Options{Hard: true, MaxAbandoned: most, Failures: 1000})
			release := make(chan struct{})
			s.faulty.on(deaf(release))
			base := runtime.NumGoroutine()
			want := breaker.DefaultTimeout
			if slices.Contains(bulk, op) {
				want = breaker.DefaultBulkTimeout
			}
			for n := range 20 {
				start := time.Now()
				err := s.ops(t.Context(), n)[op]()
				if took := time.Since(start); err == nil || n < most && took != want || n >= most && took != 0 {
					t.Errorf("%s %d: %v after %v", op, n, err, took)
				}
			}
			synctest.Wait() // for those that are just ending
			if n := runtime.NumGoroutine() - base; n > most {
				t.Errorf("%s: %d goroutines are left", op, n)
			}
			close(release)
			synctest.Wait()
			s.faulty.on(nil)
			s.faulty.take()
			_ = s.ops(t.Context(), 0)[op]()
			if calls := s.faulty.take(); len(calls) != 1 {
				t.Errorf("%s: not even when the store is back", op)
			}
			synctest.Wait()
			if n := runtime.NumGoroutine() - base; n > 0 {
				t.Errorf("%s: %d goroutines are left", op, n)
			}
		})
	}
}

// A stuck store opens the circuit as any silent one, and closes it again.
func TestAStuckStoreOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, breaker.Options{Hard: true, MaxAbandoned: 2})
		release := make(chan struct{})
		s.faulty.on(deaf(release))
		for range breaker.DefaultFailures {
			_ = s.get(t.Context(), 1)
		}
		s.wantState(t, "stuck", breaker.Open)
		time.Sleep(breaker.DefaultCoolDown)
		if err := s.Ready(t.Context()); err == nil {
			t.Error("ready")
		}
		close(release)
		time.Sleep(breaker.DefaultMaxCoolDown)
		if err := s.Ready(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A panic of the store is its caller's, as it would be without a goroutine.
func TestHardPanics(t *testing.T) {
	s := newSite(t, *patient(true))
	s.faulty.on(func(context.Context, string, store.ID) error { panic("of the store") })
	defer func() {
		if got := recover(); got != "of the store" {
			t.Errorf("%v", got)
		}
	}()
	_ = s.get(t.Context(), 1)
}

// Many at once, with a store that comes and goes: for the race detector.
func TestInParallel(t *testing.T) {
	for _, hard := range []bool{false, true} {
		s := newSite(t, breaker.Options{Timeout: 2 * time.Millisecond, CoolDown: time.Millisecond, Hard: hard})
		var all sync.WaitGroup
		for n := range 16 {
			all.Go(func() {
				for i := range 200 {
					ops := s.ops(t.Context(), n)
					for _, op := range []string{"get", "put", "touch", "end"} {
						_ = ops[op]()
					}
					if n == 0 && i%20 == 0 {
						s.faulty.on(hang)
					} else if n == 0 && i%20 == 10 {
						s.faulty.on(nil)
					}
				}
			})
		}
		all.Wait()
		s.faulty.on(nil)
		for end := time.Now().Add(20 * time.Second); s.Ready(t.Context()) != nil; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("it does not recover")
			}
		}
	}
}

// The way of a call that goes well: no timer, and one allocation at most.
func TestAllocations(t *testing.T) {
	st := memstore.New(nil)
	b, err := breaker.New(st, nil)
	if err != nil {
		t.Fatal(err)
	}
	guarded := b.Store()
	if err := st.Put(t.Context(), record(1)); err != nil {
		t.Fatal(err)
	}
	which := id(1)
	bounded, cancel := context.WithTimeout(context.Background(), breaker.DefaultTimeout)
	defer cancel()
	for name, test := range map[string]struct {
		ctx  context.Context
		most float64
	}{"no deadline": {context.Background(), 1}, "a deadline": {bounded, 0}} {
		behind := testing.AllocsPerRun(1000, func() { _, _ = st.Get(test.ctx, which) })
		if got := testing.AllocsPerRun(1000, func() { _, _ = guarded.Get(test.ctx, which) }); got > behind+test.most {
			t.Errorf("%s: a Get allocates %v times, %v without the breaker", name, got, behind)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	for name, hard := range map[string]bool{"soft": false, "hard": true} {
		br, err := breaker.New(memstore.New(nil), patient(hard))
		if err != nil {
			b.Fatal(err)
		}
		bench(b, name, br.Store())
	}
	bench(b, "without", memstore.New(nil))
}

func bench(b *testing.B, name string, st store.Store) {
	if err := st.Put(b.Context(), record(1)); err != nil {
		b.Fatal(err)
	}
	which := id(1)
	within, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for way, ctx := range map[string]context.Context{"": context.Background(), " with a deadline": within} {
		b.Run(name+way, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = st.Get(ctx, which)
			}
		})
	}
}
