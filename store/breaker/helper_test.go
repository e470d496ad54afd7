package breaker_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/breaker"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
)

// faulty is a store that can do all there is, counts its calls, and fails as a
// test wants.
type faulty struct {
	*memstore.Store

	mu    sync.Mutex
	fault func(ctx context.Context, op string, id store.ID) error // nil, and nil from it: none
	calls []string
}

func newFaulty() *faulty { return &faulty{Store: memstore.New(nil)} }

// on sets the fault.
func (f *faulty) on(fault func(ctx context.Context, op string, id store.ID) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

// take returns the calls since it was asked last.
func (f *faulty) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := f.calls
	f.calls = nil
	return calls
}

func (f *faulty) call(ctx context.Context, op string, id store.ID) error {
	f.mu.Lock()
	f.calls = append(f.calls, op)
	fault := f.fault
	f.mu.Unlock()
	if fault == nil {
		return nil
	}
	return fault(ctx, op, id)
}

func (f *faulty) Get(ctx context.Context, id store.ID) (store.Record, error) {
	if err := f.call(ctx, "get", id); err != nil {
		return store.Record{}, err
	}
	return f.Store.Get(ctx, id)
}

func (f *faulty) Put(ctx context.Context, r store.Record) error {
	if err := f.call(ctx, "put", r.ID); err != nil {
		return err
	}
	return f.Store.Put(ctx, r)
}

func (f *faulty) Touch(ctx context.Context, id store.ID, seen, expires time.Time) error {
	if err := f.call(ctx, "touch", id); err != nil {
		return err
	}
	return f.Store.Touch(ctx, id, seen, expires)
}

func (f *faulty) End(ctx context.Context, id store.ID, version uint64, why store.Ended, until time.Time) error {
	if err := f.call(ctx, "end", id); err != nil {
		return err
	}
	return f.Store.End(ctx, id, version, why, until)
}

func (f *faulty) ListUser(ctx context.Context, userID string) ([]store.Record, error) {
	if err := f.call(ctx, "list", store.ID{}); err != nil {
		return nil, err
	}
	return f.Store.ListUser(ctx, userID)
}

func (f *faulty) EndUser(ctx context.Context, userID string, except store.ID, why store.Ended, until time.Time) (int, error) {
	if err := f.call(ctx, "enduser", store.ID{}); err != nil {
		return 0, err
	}
	return f.Store.EndUser(ctx, userID, except, why, until)
}

func (f *faulty) Sweep(ctx context.Context, now time.Time) (int, error) {
	if err := f.call(ctx, "sweep", store.ID{}); err != nil {
		return 0, err
	}
	return f.Store.Sweep(ctx, now)
}

func (f *faulty) Scan(ctx context.Context, after store.ID, n int) ([]store.Record, error) {
	if err := f.call(ctx, "scan", store.ID{}); err != nil {
		return nil, err
	}
	return f.Store.Scan(ctx, after, n)
}

func (f *faulty) KnownKeys(ctx context.Context) ([]store.KnownKey, error) {
	return nil, f.call(ctx, "known", store.ID{})
}

func (f *faulty) RememberKey(ctx context.Context, _ string, _ time.Time) error {
	return f.call(ctx, "remember", store.ID{})
}

func (f *faulty) ForgetKeys(ctx context.Context) error { return f.call(ctx, "forget", store.ID{}) }

// The faults.

// hang is a frozen server.
func hang(ctx context.Context, _ string, _ store.ID) error {
	<-ctx.Done()
	return ctx.Err()
}

// fails returns the same error always.
func fails(err error) func(context.Context, string, store.ID) error {
	return func(context.Context, string, store.ID) error { return err }
}

func id(n int) store.ID { return sha256.Sum256(fmt.Append(nil, n)) }

func record(n int) store.Record {
	now := time.Now().Truncate(time.Millisecond).UTC()
	return store.Record{ID: id(n), UserID: "user", Created: now, Seen: now, Expires: now.Add(time.Hour), Deadline: now.Add(time.Hour)}
}

// a site is a Breaker before a faulty store.
type site struct {
	*breaker.Breaker
	st     store.Store
	faulty *faulty
	told   []string // by Changed
}

func newSite(t testing.TB, opts breaker.Options) *site {
	t.Helper()
	s := &site{faulty: newFaulty()}
	opts.Changed = func(state breaker.State, why error) {
		s.told = append(s.told, fmt.Sprintf("%v: %v", state, why))
	}
	var err error
	if s.Breaker, err = breaker.New(s.faulty, &opts); err != nil {
		t.Fatal(err)
	}
	s.st = s.Store()
	return s
}

// ops are all calls, by name, for the session with a number.
func (s *site) ops(ctx context.Context, n int) map[string]func() error {
	why, until := store.Ended{Reason: store.Logout}, time.Now().Add(time.Hour)
	user, registry := s.st.(store.UserStore), s.st.(store.KeyRegistry)
	return map[string]func() error{
		"get":      func() error { return s.get(ctx, n) },
		"put":      func() error { return s.st.Put(ctx, record(n)) },
		"touch":    func() error { return s.st.Touch(ctx, id(n), time.Now(), until) },
		"end":      func() error { return s.st.End(ctx, id(n), 0, why, until) },
		"list":     func() error { _, err := user.ListUser(ctx, "user"); return err },
		"enduser":  func() error { _, err := user.EndUser(ctx, "user", store.ID{}, why, until); return err },
		"sweep":    func() error { _, err := s.st.(store.Sweeper).Sweep(ctx, time.Now()); return err },
		"scan":     func() error { _, err := s.st.(store.Scanner).Scan(ctx, store.ID{}, 10); return err },
		"known":    func() error { _, err := registry.KnownKeys(ctx); return err },
		"remember": func() error { return registry.RememberKey(ctx, "key", time.Now()) },
		"forget":   func() error { return registry.ForgetKeys(ctx) },
	}
}

func (s *site) get(ctx context.Context, n int) error {
	_, err := s.st.Get(ctx, id(n))
	return err
}

// open makes the store hang until the circuit is open.
func (s *site) open(t testing.TB) {
	t.Helper()
	s.faulty.on(hang)
	for range breaker.DefaultFailures {
		_ = s.get(t.Context(), 1)
	}
	if s.State() != breaker.Open {
		t.Fatal("the circuit is not open")
	}
	s.faulty.take()
}

func (s *site) wantState(t testing.TB, what string, want breaker.State) {
	t.Helper()
	if got := s.State(); got != want {
		t.Errorf("%s: the circuit is %v, want %v", what, got, want)
	}
}
