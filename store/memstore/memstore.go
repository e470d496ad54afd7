// Package memstore keeps sessions in the memory of one process.
package memstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// Options of a store. Nil and the zero value are fine.
type Options struct{}

// Store keeps sessions in memory. Make one with New.
type Store struct {
	mu    sync.Mutex
	all   map[store.ID]*entry
	users map[string]map[store.ID]struct{}
}

var (
	_ store.UserStore = (*Store)(nil)
	_ store.Sweeper   = (*Store)(nil)
	_ store.Scanner   = (*Store)(nil)
)

// entry is a live record, or a tombstone: then until says how long it lives.
type entry struct {
	rec   store.Record
	dead  bool
	until time.Time
}

// New returns an empty store.
func New(opts *Options) *Store {
	return &Store{all: make(map[store.ID]*entry), users: make(map[string]map[store.ID]struct{})}
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, id store.ID) (store.Record, error) {
	if err := ctx.Err(); err != nil {
		return store.Record{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.all[id]
	switch {
	case e == nil:
		return store.Record{}, store.ErrNotFound
	case e.dead:
		return e.rec, store.ErrEnded
	}
	return e.rec, nil
}

// Put implements [store.Store].
func (s *Store) Put(ctx context.Context, r store.Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if r.ID.IsZero() || len(r.UserID) > store.MaxUserID {
		return errors.New("memstore: put: zero ID or too long user ID")
	}
	r.Ended = store.Ended{}
	r.Created, r.Seen, r.Expires, r.Deadline = whole(r.Created), whole(r.Seen), whole(r.Expires), whole(r.Deadline)
	r.Expires = earlier(r.Expires, r.Deadline)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.all[r.ID]
	switch {
	case e == nil && r.Version > 0:
		return store.ErrNotFound
	case e == nil:
		r.Version = 1
		r.UserID = strings.Clone(r.UserID)
		s.all[r.ID] = &entry{rec: r}
		if r.UserID != "" {
			if s.users[r.UserID] == nil {
				s.users[r.UserID] = make(map[store.ID]struct{})
			}
			s.users[r.UserID][r.ID] = struct{}{}
		}
		return nil
	case e.dead:
		return store.ErrEnded
	case e.rec.Version != r.Version:
		return store.ErrConflict
	case e.rec.UserID != r.UserID, !e.rec.Created.Equal(r.Created), !e.rec.Deadline.Equal(r.Deadline):
		return store.ErrImmutable
	}
	r.Version++
	r.UserID = e.rec.UserID
	r.Seen, r.Expires = later(r.Seen, e.rec.Seen), later(r.Expires, e.rec.Expires)
	e.rec = r
	return nil
}

// Touch implements [store.Store].
func (s *Store) Touch(ctx context.Context, id store.ID, seen, expires time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.all[id]
	switch {
	case e == nil:
		return store.ErrNotFound
	case e.dead:
		return store.ErrEnded
	}
	e.rec.Seen = later(e.rec.Seen, whole(seen))
	e.rec.Expires = later(e.rec.Expires, earlier(whole(expires), e.rec.Deadline))
	return nil
}

// End implements [store.Store].
func (s *Store) End(ctx context.Context, id store.ID, version uint64, why store.Ended, until time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.all[id]
	switch {
	case e == nil:
		why.At = whole(why.At)
		s.all[id] = &entry{rec: store.Record{ID: id, Ended: why}, dead: true, until: whole(until)}
		return store.ErrNotFound
	case e.dead:
		return store.ErrEnded
	case version != 0 && version != e.rec.Version:
		return store.ErrConflict
	}
	s.end(e, why, until)
	return nil
}

// end makes a tombstone of a live entry.
func (s *Store) end(e *entry, why store.Ended, until time.Time) {
	s.unlink(e)
	why.At = whole(why.At)
	*e = entry{
		rec:   store.Record{ID: e.rec.ID, Ended: why},
		dead:  true,
		until: later(whole(until), e.rec.Deadline),
	}
}

// unlink takes a live entry out of its user's sessions.
func (s *Store) unlink(e *entry) {
	delete(s.users[e.rec.UserID], e.rec.ID)
	if len(s.users[e.rec.UserID]) == 0 {
		delete(s.users, e.rec.UserID)
	}
}

// ListUser implements [store.UserStore].
func (s *Store) ListUser(ctx context.Context, userID string) ([]store.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []store.Record
	for id := range s.users[userID] {
		list = append(list, s.all[id].rec)
	}
	return list, nil
}

// EndUser implements [store.UserStore].
func (s *Store) EndUser(ctx context.Context, userID string, except store.ID, why store.Ended, until time.Time) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, id := range slices.Collect(maps.Keys(s.users[userID])) {
		if id != except {
			s.end(s.all[id], why, until)
			n++
		}
	}
	return n, nil
}

// Sweep implements [store.Sweeper].
func (s *Store) Sweep(ctx context.Context, now time.Time) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if off := time.Until(now).Abs(); off > store.Slack {
		return 0, fmt.Errorf("memstore: sweep: the clock is off by %v", off)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for id, e := range s.all {
		due := e.rec.Expires
		if e.dead {
			due = e.until
		}
		if now.Sub(due) <= store.Slack {
			continue
		}
		if !e.dead {
			s.unlink(e)
		}
		delete(s.all, id)
		n++
	}
	return n, nil
}

// Scan implements [store.Scanner].
func (s *Store) Scan(ctx context.Context, after store.ID, n int) ([]store.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []store.Record
	for id, e := range s.all {
		if !e.dead && bytes.Compare(id[:], after[:]) > 0 {
			list = append(list, e.rec)
		}
	}
	slices.SortFunc(list, func(a, b store.Record) int { return cmp.Compare(string(a.ID[:]), string(b.ID[:])) })
	return list[:min(n, len(list))], nil
}

func whole(t time.Time) time.Time { return time.UnixMilli(t.UnixMilli()).UTC() }

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
