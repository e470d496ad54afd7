package storetest_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/storetest"
)

// A model is the contract as the simplest code that keeps it: one lock and maps.
type model struct {
	mu    sync.Mutex
	all   map[store.ID]*entry
	users map[string]map[store.ID]*entry
}

var (
	_ store.UserStore = (*model)(nil)
	_ store.Sweeper   = (*model)(nil)
	_ store.Scanner   = (*model)(nil)
)

// entry is a live record, or a tombstone, which lives until.
type entry struct {
	rec   store.Record
	dead  bool
	until time.Time
}

func newModel() *model {
	return &model{all: map[store.ID]*entry{}, users: map[string]map[store.ID]*entry{}}
}

func (m *model) Get(ctx context.Context, id store.ID) (store.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.all[id]
	switch {
	case ctx.Err() != nil:
		return store.Record{}, ctx.Err()
	case e == nil:
		return store.Record{}, store.ErrNotFound
	case e.dead:
		return e.rec, store.ErrEnded
	}
	return e.rec, nil
}

func (m *model) Put(ctx context.Context, r store.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.all[r.ID]
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case len(r.UserID) > store.MaxUserID:
		return errors.New("user ID is too long")
	case e == nil && r.Version > 0:
		return store.ErrNotFound
	case e == nil:
		m.set(r, 1)
		return nil
	case e.dead:
		return store.ErrEnded
	case e.rec.Version != r.Version:
		return store.ErrConflict
	case e.rec.UserID != r.UserID, !e.rec.Created.Equal(r.Created), !e.rec.Deadline.Equal(r.Deadline):
		return store.ErrImmutable
	}
	r.Seen, r.Expires = later(r.Seen, e.rec.Seen), later(r.Expires, e.rec.Expires)
	m.set(r, r.Version+1)
	return nil
}

// set makes r the record under its ID, whatever was there. The lock is held.
func (m *model) set(r store.Record, version uint64) {
	r.Version = version
	r.Ended = store.Ended{}
	r.Expires = earlier(r.Expires, r.Deadline)
	e := &entry{rec: r}
	m.all[r.ID] = e
	if r.UserID == "" {
		return
	}
	if m.users[r.UserID] == nil {
		m.users[r.UserID] = map[store.ID]*entry{}
	}
	m.users[r.UserID][r.ID] = e
}

func (m *model) Touch(ctx context.Context, id store.ID, seen, expires time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.all[id]
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case e == nil:
		return store.ErrNotFound
	case e.dead:
		return store.ErrEnded
	}
	e.rec.Seen = later(e.rec.Seen, seen)
	e.rec.Expires = later(e.rec.Expires, earlier(expires, e.rec.Deadline))
	return nil
}

func (m *model) End(ctx context.Context, id store.ID, version uint64, why store.Ended, until time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.all[id]
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case e == nil:
		m.bury(id, why, until)
		return store.ErrNotFound
	case e.dead:
		return store.ErrEnded
	case version != 0 && version != e.rec.Version:
		return store.ErrConflict
	}
	m.bury(id, why, later(until, e.rec.Deadline))
	return nil
}

// bury puts a tombstone under an ID. The lock is held.
func (m *model) bury(id store.ID, why store.Ended, until time.Time) {
	m.drop(id)
	m.all[id] = &entry{rec: store.Record{ID: id, Ended: why}, dead: true, until: until}
}

// drop forgets what is under an ID. The lock is held.
func (m *model) drop(id store.ID) {
	if e := m.all[id]; e != nil {
		delete(m.users[e.rec.UserID], id)
	}
	delete(m.all, id)
}

func (m *model) ListUser(ctx context.Context, userID string) ([]store.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []store.Record
	for _, e := range m.users[userID] {
		list = append(list, e.rec)
	}
	return list, ctx.Err()
}

func (m *model) EndUser(ctx context.Context, userID string, except store.ID, why store.Ended, until time.Time) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	n := 0
	for id, e := range m.users[userID] {
		if id != except {
			m.bury(id, why, later(until, e.rec.Deadline))
			n++
		}
	}
	return n, nil
}

// due returns since when an entry is of no use.
func (e *entry) due() time.Time {
	if e.dead {
		return e.until
	}
	return e.rec.Expires
}

func (m *model) Sweep(ctx context.Context, now time.Time) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if time.Until(now).Abs() > store.Slack {
		return 0, errors.New("wrong clock")
	}
	n := 0
	for id, e := range m.all {
		if now.Sub(e.due()) > store.Slack {
			m.drop(id)
			n++
		}
	}
	return n, nil
}

func (m *model) Scan(ctx context.Context, after store.ID, n int) ([]store.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []store.Record
	for id, e := range m.all {
		if !e.dead && bytes.Compare(id[:], after[:]) > 0 {
			list = append(list, e.rec)
		}
	}
	slices.SortFunc(list, func(a, b store.Record) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return list[:min(n, len(list))], ctx.Err()
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// plain hides what a store can do besides store.Store.
type plain struct{ store.Store }

func TestCorrectStoresPass(t *testing.T) {
	t.Run("all abilities", func(t *testing.T) {
		storetest.Run(t, func(*testing.T) store.Store { return newModel() })
	})
	t.Run("none", func(t *testing.T) {
		storetest.Run(t, func(*testing.T) store.Store { return plain{newModel()} })
	})
}
