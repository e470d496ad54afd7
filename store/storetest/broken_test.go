package storetest_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/storetest"
)

// A broken store is a model of which some methods were replaced.
type broken struct {
	*model
	get      func(m *model, ctx context.Context, id store.ID) (store.Record, error)
	put      func(m *model, ctx context.Context, r store.Record) error
	touch    func(m *model, ctx context.Context, id store.ID, seen, expires time.Time) error
	end      func(m *model, ctx context.Context, id store.ID, version uint64, why store.Ended, until time.Time) error
	listUser func(m *model, ctx context.Context, userID string) ([]store.Record, error)
	endUser  func(m *model, ctx context.Context, userID string, except store.ID, why store.Ended, until time.Time) (int, error)
	sweep    func(m *model, ctx context.Context, now time.Time) (int, error)
	scan     func(m *model, ctx context.Context, after store.ID, n int) ([]store.Record, error)
}

func (b *broken) Get(ctx context.Context, id store.ID) (store.Record, error) {
	if b.get != nil {
		return b.get(b.model, ctx, id)
	}
	return b.model.Get(ctx, id)
}

func (b *broken) Put(ctx context.Context, r store.Record) error {
	if b.put != nil {
		return b.put(b.model, ctx, r)
	}
	return b.model.Put(ctx, r)
}

func (b *broken) Touch(ctx context.Context, id store.ID, seen, expires time.Time) error {
	if b.touch != nil {
		return b.touch(b.model, ctx, id, seen, expires)
	}
	return b.model.Touch(ctx, id, seen, expires)
}

func (b *broken) End(ctx context.Context, id store.ID, version uint64, why store.Ended, until time.Time) error {
	if b.end != nil {
		return b.end(b.model, ctx, id, version, why, until)
	}
	return b.model.End(ctx, id, version, why, until)
}

func (b *broken) ListUser(ctx context.Context, userID string) ([]store.Record, error) {
	if b.listUser != nil {
		return b.listUser(b.model, ctx, userID)
	}
	return b.model.ListUser(ctx, userID)
}

func (b *broken) EndUser(ctx context.Context, userID string, except store.ID, why store.Ended, until time.Time) (int, error) {
	if b.endUser != nil {
		return b.endUser(b.model, ctx, userID, except, why, until)
	}
	return b.model.EndUser(ctx, userID, except, why, until)
}

func (b *broken) Sweep(ctx context.Context, now time.Time) (int, error) {
	if b.sweep != nil {
		return b.sweep(b.model, ctx, now)
	}
	return b.model.Sweep(ctx, now)
}

func (b *broken) Scan(ctx context.Context, after store.ID, n int) ([]store.Record, error) {
	if b.scan != nil {
		return b.scan(b.model, ctx, after, n)
	}
	return b.model.Scan(ctx, after, n)
}

// A recorder takes the place of a *testing.T for a case that should fail.
type recorder struct {
	ctx    context.Context
	mu     sync.Mutex
	failed bool
	lines  []string
}

func (r *recorder) Helper()                  {}
func (r *recorder) Context() context.Context { return r.ctx }
func (r *recorder) Logf(string, ...any)      {}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

func (r *recorder) FailNow() {
	r.mu.Lock()
	r.failed = true
	r.mu.Unlock()
	runtime.Goexit()
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

// prove runs a case, and returns what it printed; nothing if it passed.
func prove(t *testing.T, name string, st store.Store) []string {
	t.Helper()
	r := &recorder{ctx: t.Context()}
	found := false
	var done sync.WaitGroup
	done.Go(func() { // which FailNow ends
		found = true
		found = storetest.Prove(name, r, st)
	})
	done.Wait()
	if !found {
		t.Fatalf("there is no case %q", name)
	}
	if r.failed && len(r.lines) == 0 {
		return []string{"failed without a word"}
	}
	return r.lines
}

// TestBrokenStoresFail takes the defences out of a correct store, one by one, and
// looks that the suite notices: that each of the cases named fails, and says what
// the contract says.
func TestBrokenStoresFail(t *testing.T) {
	for _, m := range mutants() {
		t.Run(m.name, func(t *testing.T) {
			for _, name := range m.fails {
				b := m.broken
				b.model = newModel()
				lines := prove(t, name, &b)
				if len(lines) == 0 {
					t.Errorf("%s passes", name)
					continue
				}
				if last := lines[len(lines)-1]; !strings.HasPrefix(last, "the contract says: ") {
					t.Errorf("%s does not say what the contract says, but %q", name, last)
				}
			}
		})
	}
}
