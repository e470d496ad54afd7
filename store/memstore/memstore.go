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

// A shard keeps records and tombstones apart: a tombstone needs little room, and
// a read that finds its record looks no further. An ID is in at most one of the
// two. It is padded to two cache lines, so that no lock shares one with another.
type shard struct {
	mu   sync.Mutex
	live table[session, *session]
	dead table[tombstone, *tombstone]
	hand cursor // where the next create looks for something to forget
	_    [128 - 104]byte
}

// A session is a live record. Times are milliseconds.
type session struct {
	next              *session // of the chain in the table
	id                store.ID
	version           uint64 // 0 once the session has ended or has been forgotten, and of a mark
	seen, expires     int64
	created, deadline int64
	info, data        []byte
	user              *user    // nil for nobody's
	newer, older      *session // in the user's list; guarded by the user shard's lock
}

// A tombstone is what is left of a session that has ended.
type tombstone struct {
	next   *tombstone
	id     store.ID
	until  int64
	at     int64
	reason store.Reason
}

func (e *session) hash() uint64         { return hash(&e.id) }
func (e *session) chain() **session     { return &e.next }
func (e *tombstone) hash() uint64       { return hash(&e.id) }
func (e *tombstone) chain() **tombstone { return &e.next }

// order returns the bits of an ID behind those that choose the shard. They place
// it in the shard's tables as they are: IDs are SHA-256 values and spread evenly,
// nobody outside chooses one, and so a walk through a table is one in the order
// of the IDs, which Scan needs.
func order(id *store.ID) uint64 { return binary.BigEndian.Uint64(id[:8]) << shardBits }

func hash(id *store.ID) uint64 { return bits.Reverse64(order(id)) }

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
func (s *Store) shard(id *store.ID) *shard { return &s.shards[id[0]>>(8-shardBits)] }

// session returns the live record under an ID, or nil. The shard is locked.
func (sh *shard) session(id *store.ID) *session {
	e := sh.live.first(hash(id))
	for e != nil && e.id != *id {
		e = e.next
	}
	return e
}

// tombstone returns the tombstone under an ID, or nil. The shard is locked.
func (sh *shard) tombstone(id *store.ID) *tombstone {
	e := sh.dead.first(hash(id))
	for e != nil && e.id != *id {
		e = e.next
	}
	return e
}

// missing says why there is no live record under an ID. The shard is locked.
func (sh *shard) missing(id *store.ID) error {
	if sh.tombstone(id) != nil {
		return store.ErrEnded
	}
	return store.ErrNotFound
}

// Get implements [store.Store]. The slices of the record are the stored ones,
// not copies: nobody changes their bytes. It allocates nothing.
func (s *Store) Get(ctx context.Context, id store.ID) (r store.Record, err error) {
	if err := ctx.Err(); err != nil {
		return r, err
	}
	sh := s.shard(&id)
	sh.mu.Lock()
	if e := sh.session(&id); e != nil {
		e.read(&r)
	} else if t := sh.tombstone(&id); t != nil {
		r.ID, r.Ended = id, store.Ended{Reason: t.reason, At: date(t.at)}
		err = store.ErrEnded
	} else {
		err = store.ErrNotFound
	}
	sh.mu.Unlock()
	return r, err
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
	sh := s.shard(&r.ID)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.session(&r.ID) != nil {
		return store.ErrConflict
	}
	if sh.tombstone(&r.ID) != nil {
		return store.ErrEnded
	}
	s.forget(sh, &sh.hand, stepsOfCreate, horizon)
	if s.max > 0 && s.records.Load() >= s.max {
		return ErrFull
	}
	deadline := r.Deadline.UnixMilli()
	e := &session{
		id:       r.ID,
		version:  1,
		seen:     r.Seen.UnixMilli(),
		expires:  min(r.Expires.UnixMilli(), deadline),
		created:  r.Created.UnixMilli(),
		deadline: deadline,
		info:     slices.Clip(r.Info),
		data:     slices.Clip(r.Data),
	}
	sh.live.insert(e)
	s.records.Add(1)
	if r.UserID != "" {
		s.users.link(e, r.UserID)
	}
	return nil
}

// update stores the next version of a session.
func (s *Store) update(r *store.Record) error {
	sh := s.shard(&r.ID)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.session(&r.ID)
	switch {
	case e == nil:
		return sh.missing(&r.ID)
	case e.version != r.Version:
		return store.ErrConflict
	case e.user.id() != r.UserID, e.created != r.Created.UnixMilli(), e.deadline != r.Deadline.UnixMilli():
		return store.ErrImmutable
	}
	e.version++
	e.info, e.data = slices.Clip(r.Info), slices.Clip(r.Data)
	e.touch(r.Seen, r.Expires)
	return nil
}

// Touch implements [store.Store]. It allocates nothing.
func (s *Store) Touch(ctx context.Context, id store.ID, seen, expires time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	sh := s.shard(&id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.session(&id)
	if e == nil {
		return sh.missing(&id)
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
	sh := s.shard(&id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.session(&id)
	switch {
	case e == nil && sh.tombstone(&id) != nil:
		return store.ErrEnded
	case e == nil:
		s.forget(sh, &sh.hand, stepsOfCreate, s.horizon())
		sh.bury(&id, why, until.UnixMilli())
		s.records.Add(1)
		return store.ErrNotFound
	case version != 0 && version != e.version:
		return store.ErrConflict
	}
	s.end(sh, e, why, until)
	return nil
}

// end puts a tombstone in the place of a live record, whose shard is locked.
func (s *Store) end(sh *shard, e *session, why store.Ended, until time.Time) {
	s.drop(sh, e)
	sh.bury(&e.id, why, max(until.UnixMilli(), e.deadline))
}

// drop takes a live record out of its shard, which is locked, and out of its
// user's list. The version tells a caller of users.sessions that it is gone.
func (s *Store) drop(sh *shard, e *session) {
	if e.user != nil {
		s.users.unlink(e)
	}
	sh.live.remove(e)
	e.version = 0
}

// bury leaves a tombstone. The shard is locked.
func (sh *shard) bury(id *store.ID, why store.Ended, until int64) {
	sh.dead.insert(&tombstone{id: *id, until: until, at: why.At.UnixMilli(), reason: why.Reason})
}

// touch moves the times of a live record forward.
func (e *session) touch(seen, expires time.Time) {
	e.seen = max(e.seen, seen.UnixMilli())
	e.expires = max(e.expires, min(expires.UnixMilli(), e.deadline))
}

// read puts a live record into r as the contract has it. It fills what the caller
// has, as a Record of 250 bytes is dear to copy where a read takes 100 ns.
func (e *session) read(r *store.Record) {
	r.ID = e.id
	r.Version = e.version
	r.UserID = e.user.id()
	r.Created, r.Seen, r.Expires, r.Deadline = date(e.created), date(e.seen), date(e.expires), date(e.deadline)
	r.Info, r.Data = e.info, e.data
}

// date turns milliseconds into a time. The zero time comes back as the zero time.
func date(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
