// Package memstore keeps sessions in the memory of one process: for a program
// that runs as a single instance, and for tests.
//
//	st := memstore.New(nil)
//
// It is the fastest store and the most forgetful one. When the process ends, so
// do all sessions, and a second instance knows nothing of them; sqlstore/sqlite
// outlives a restart. While the process runs it keeps the whole contract of
// package store: it never drops a live session to make room, and a session that
// has ended stays ended.
//
// A session takes about 240 bytes beside its Data and Info, a tombstone about 80;
// both are given back when they are forgotten, which [Store.Sweep] does in steps
// of microseconds. Sweep it from time to time, as Manager.Sweep does. A program
// that never does keeps more than it needs, but not without bound: each create
// looks at a few other records and forgets what may be forgotten.
package memstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// ErrFull says that the store holds Options.MaxRecords already. Only a create is
// ever answered so: nothing is dropped to make room, and every session can still
// be changed and ended.
var ErrFull = errors.New("memstore: store is full")

// Options of a store. Nil and the zero value are fine.
type Options struct {
	// MaxRecords bounds how many records the store holds, tombstones among
	// them. A create beyond it returns ErrFull; an End always leaves its
	// tombstone. Zero or less means no bound. Under load the bound may be
	// passed by as many creates as run at the same moment.
	MaxRecords int
}

// shardCount is a power of two and no option: each shard takes 128 bytes, and
// 64 are enough that two requests hardly ever wait for one another.
const (
	shardBits  = 6
	shardCount = 1 << shardBits
)

// Store keeps sessions in memory. Make one with New; the zero value is of no
// use. Its methods may be called by many goroutines at once.
//
// Two kinds of locks guard it. That of a shard guards the records whose IDs
// begin with its six bits; that of a user shard, in users, guards the lists of
// sessions of the users that hash there. The order is: first the shard, then the
// user shard. Nobody holds two locks of one kind, and nobody takes a shard's
// while holding a user shard's. So a record and its place in its user's list
// change together, and nothing can deadlock.
type Store struct {
	shards  [shardCount]shard
	users   users
	records atomic.Int64 // live ones and tombstones
	max     int64
	start   time.Time // of New; see horizon
}

var (
	_ store.UserStore = (*Store)(nil)
	_ store.Sweeper   = (*Store)(nil)
	_ store.Scanner   = (*Store)(nil)
)

// A shard is padded to two cache lines, so that no lock shares one with
// another's.
type shard struct {
	mu    sync.Mutex
	table table[entry, *entry]
	hand  uint64 // where the next create looks for something to forget
	_     [128 - 56]byte
}

// An entry is a record or a tombstone. It has the size of a cache line, and it
// is all that is left of a session that has ended.
type entry struct {
	next *entry
	id   store.ID
	due  int64 // Expires of a record, the end of a tombstone's time; milliseconds, as all times here
	last int64 // Seen of a record; of a tombstone the reason and time, see bury
	live *live // nil in a tombstone, and in what has been forgotten
}

// live is what only a live record has.
type live struct {
	version           uint64
	created, deadline int64
	info, data        []byte
	user              *user  // nil for nobody's
	prev, next        *entry // in the user's list; guarded by the user shard's lock
}

func (e *entry) hash() uint64   { return bits.Reverse64(e.order()) }
func (e *entry) chain() **entry { return &e.next }

// order returns the bits of the ID behind those that choose the shard. They
// place the entry in its shard's table as they are: IDs are SHA-256 values and
// spread evenly, nobody outside chooses one, and a walk through the table is one
// in the order of the IDs, which Scan needs.
func (e *entry) order() uint64 { return order(e.id) }

func order(id store.ID) uint64 { return binary.BigEndian.Uint64(id[:8]) << shardBits }

// New returns an empty store.
func New(opts *Options) *Store {
	s := &Store{start: time.Now()}
	if opts != nil && opts.MaxRecords > 0 {
		s.max = int64(opts.MaxRecords)
	}
	return s
}

// Len returns how many records the store holds, tombstones among them.
func (s *Store) Len() int { return int(s.records.Load()) }

// shard returns the shard of an ID.
func (s *Store) shard(id store.ID) *shard { return &s.shards[id[0]>>(8-shardBits)] }

// find returns what is known under an ID, or nil. The shard is locked.
func (sh *shard) find(id *store.ID) *entry {
	e := sh.table.first(bits.Reverse64(order(*id)))
	for e != nil && e.id != *id {
		e = e.next
	}
	return e
}

// Get implements [store.Store]. The slices of the record are the stored ones,
// not copies: nobody changes their bytes. It allocates nothing.
func (s *Store) Get(ctx context.Context, id store.ID) (store.Record, error) {
	if err := ctx.Err(); err != nil {
		return store.Record{}, err
	}
	sh := s.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.find(&id)
	switch {
	case e == nil:
		return store.Record{}, store.ErrNotFound
	case e.live == nil:
		return store.Record{ID: id, Ended: e.ended()}, store.ErrEnded
	}
	return e.record(), nil
}

// Put implements [store.Store]. It keeps Data and Info without copying them. An
// ID of zero and a UserID over store.MaxUserID are refused.
func (s *Store) Put(ctx context.Context, r store.Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if r.ID.IsZero() {
		return errors.New("memstore: put: no session has the zero ID")
	}
	if len(r.UserID) > store.MaxUserID {
		return fmt.Errorf("memstore: put: user ID of %d bytes, at most %d are kept", len(r.UserID), store.MaxUserID)
	}
	if r.Version == 0 {
		return s.create(&r)
	}
	return s.update(&r)
}

// create stores the first version of a session.
func (s *Store) create(r *store.Record) error {
	horizon := s.horizon()
	sh := s.shard(r.ID)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if e := sh.find(&r.ID); e != nil {
		if e.live == nil {
			return store.ErrEnded
		}
		return store.ErrConflict
	}
	s.forgetSome(sh, horizon)
	if s.max > 0 && s.records.Load() >= s.max {
		return ErrFull
	}
	deadline := r.Deadline.UnixMilli()
	e := &entry{
		id:   r.ID,
		due:  min(r.Expires.UnixMilli(), deadline),
		last: r.Seen.UnixMilli(),
		live: &live{
			version:  1,
			created:  r.Created.UnixMilli(),
			deadline: deadline,
			info:     slices.Clip(r.Info),
			data:     slices.Clip(r.Data),
		},
	}
	s.insert(sh, e)
	if r.UserID != "" {
		s.users.link(e, r.UserID)
	}
	return nil
}

// update stores the next version of a session.
func (s *Store) update(r *store.Record) error {
	sh := s.shard(r.ID)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.find(&r.ID)
	switch {
	case e == nil:
		return store.ErrNotFound
	case e.live == nil:
		return store.ErrEnded
	case e.live.version != r.Version:
		return store.ErrConflict
	}
	l := e.live
	if l.user.id() != r.UserID || l.created != r.Created.UnixMilli() || l.deadline != r.Deadline.UnixMilli() {
		return store.ErrImmutable
	}
	l.version++
	l.info, l.data = slices.Clip(r.Info), slices.Clip(r.Data)
	e.touch(r.Seen, r.Expires)
	return nil
}

// Touch implements [store.Store]. It allocates nothing.
func (s *Store) Touch(ctx context.Context, id store.ID, seen, expires time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	sh := s.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.find(&id)
	switch {
	case e == nil:
		return store.ErrNotFound
	case e.live == nil:
		return store.ErrEnded
	}
	e.touch(seen, expires)
	return nil
}

// End implements [store.Store]. An ID of zero is refused.
func (s *Store) End(ctx context.Context, id store.ID, version uint64, why store.Ended, until time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if id.IsZero() {
		return errors.New("memstore: end: no session has the zero ID")
	}
	horizon := s.horizon()
	sh := s.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.find(&id)
	switch {
	case e == nil:
		s.forgetSome(sh, horizon)
		s.insert(sh, &entry{id: id, due: until.UnixMilli(), last: bury(why)})
		return store.ErrNotFound
	case e.live == nil:
		return store.ErrEnded
	case version != 0 && version != e.live.version:
		return store.ErrConflict
	}
	s.end(e, why, until)
	return nil
}

// insert puts in an entry. The shard is locked.
func (s *Store) insert(sh *shard, e *entry) {
	sh.table.insert(e)
	s.records.Add(1)
}

// end makes a tombstone of a live entry, whose shard is locked. All that the
// session kept is given back.
func (s *Store) end(e *entry, why store.Ended, until time.Time) {
	e.due = max(until.UnixMilli(), e.live.deadline)
	e.last = bury(why)
	s.strip(e)
}

// strip takes from an entry what only a live one has.
func (s *Store) strip(e *entry) {
	if e.live.user != nil {
		s.users.unlink(e)
	}
	e.live = nil
}

// touch moves the times of a live entry forward.
func (e *entry) touch(seen, expires time.Time) {
	e.last = max(e.last, seen.UnixMilli())
	e.due = max(e.due, min(expires.UnixMilli(), e.live.deadline))
}

// record returns a live entry as the contract has it.
func (e *entry) record() store.Record {
	l := e.live
	return store.Record{
		ID:       e.id,
		Version:  l.version,
		UserID:   l.user.id(),
		Created:  date(l.created),
		Seen:     date(e.last),
		Expires:  date(e.due),
		Deadline: date(l.deadline),
		Info:     l.info,
		Data:     l.data,
	}
}

// bury packs why a session ended into the eight bytes that a tombstone has for
// it: the reason in the lowest, the milliseconds above, enough for three million
// years either way.
func bury(why store.Ended) int64 { return why.At.UnixMilli()<<8 | int64(why.Reason) }

// ended unpacks what bury packed.
func (e *entry) ended() store.Ended {
	return store.Ended{Reason: store.Reason(e.last & 0xff), At: date(e.last >> 8)}
}

// date turns milliseconds into a time. The zero time comes back as the zero time.
func date(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
