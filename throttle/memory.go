package throttle

import (
	"context"
	"encoding/binary"
	"math/bits"
	"sync"
	"time"
)

// Memory is a [Store] of one process: what it counted is forgotten when the process
// ends, and other instances do not see it. Use [NewMemory].
//
// It stays bounded without ever forgetting a counter before its time. When it is
// full, lanes that have no counter yet share a few thousand, by their key: whoever
// shares one is refused earlier, and never later, than alone. A shared counter
// does not lock, since nobody could say whom, and a success gives it back the one
// attempt. So any number of names that somebody makes up neither push the counter
// of a victim out nor take more room than the bound.
type Memory struct {
	shards [shards]shard
	room   int // of counters in each shard
}

const (
	shards  = 64      // each with a lock of its own; a set of them is a uint64
	buckets = 64      // shared counters in each
	entries = 1 << 18 // counters in all by default, which take some 50 MB
)

type shard struct {
	mu     sync.Mutex
	m      map[Key]entry
	shared [buckets]Counter
	_      [64]byte // the next lock is on another line of the cache
}

// entry holds no pointer, so that a full store costs the garbage collector
// nothing.
type entry struct {
	Counter
	owner Key
}

var _ Store = (*Memory)(nil)

// NewMemory returns an empty store of up to 262,144 counters, which take some 50 MB
// when they are all there. An attempt on an unknown device needs up to three.
func NewMemory() *Memory { return NewMemorySize(entries) }

// NewMemorySize returns an empty store of about n counters, and at least one in each
// of its 64 parts.
func NewMemorySize(n int) *Memory {
	m := &Memory{room: max(n/shards, 1)}
	for i := range m.shards {
		m.shards[i].m = make(map[Key]entry)
	}
	return m
}

// shard returns the part that a key is in, and which one it is.
func (m *Memory) shard(k *Key) (*shard, int) {
	i := int(k[0] % shards)
	return &m.shards[i], i
}

// lock locks the parts of a set, in their order.
func (m *Memory) lock(set uint64) {
	for s := set; s != 0; s &= s - 1 {
		m.shards[bits.TrailingZeros64(s)].mu.Lock()
	}
}

func (m *Memory) unlock(set uint64) {
	for s := set; s != 0; s &= s - 1 {
		m.shards[bits.TrailingZeros64(s)].mu.Unlock()
	}
}

// Take counts an attempt in every lane or in none; see [Store].
func (m *Memory) Take(ctx context.Context, lanes []Lane, now time.Time) ([]Mark, *Refusal, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	var set uint64
	for i := range lanes {
		_, n := m.shard(&lanes[i].Key)
		set |= 1 << n
	}
	type place struct {
		shared *Counter
		next   Counter
	}
	var (
		fresh   = Fresh()
		refused *Refusal
		marks   = make([]Mark, len(lanes))
		few     [4]place
		places  = few[:0]
	)
	m.lock(set)
	defer m.unlock(set)
	for i := range lanes {
		lane := lanes[i]
		s, _ := m.shard(&lane.Key)
		c, shared := s.find(&lane, m.room, now, fresh)
		if shared != nil {
			lane.Lock = 0
		}
		next, mark, wait := lane.Take(c, now, fresh)
		if wait > 0 {
			if next.Until != c.Until { // a clock was set back
				s.put(&lane, next, shared)
			}
			if refused == nil || wait > refused.After {
				refused = &Refusal{Lane: i, After: wait}
			}
		}
		marks[i], places = mark, append(places, place{shared, next})
	}
	if refused != nil {
		return nil, refused, nil
	}
	for i := range lanes {
		s, _ := m.shard(&lanes[i].Key)
		s.put(&lanes[i], places[i].next, places[i].shared)
	}
	return marks, nil, nil
}

// find returns the counter of a lane, and where it is kept if that is a shared
// one. A counter that is new begins where the shared one of its key stands: some
// of what that one counted may have been its own.
func (s *shard) find(l *Lane, room int, now time.Time, fresh int64) (c Counter, shared *Counter) {
	if e, ok := s.m[l.Key]; ok {
		return e.Counter, nil
	}
	b := s.bucket(&l.Key)
	if len(s.m) >= room && !s.reclaim(now) {
		return *b, b
	}
	if b.Fails > 0 && l.Free > 0 {
		c = *b
		c.Gen, c.Run = fresh, fresh
	}
	return c, nil
}

// bucket returns the shared counter of a key.
func (s *shard) bucket(k *Key) *Counter {
	return &s.shared[binary.LittleEndian.Uint32(k[4:])%buckets]
}

// put keeps the counter of a lane.
func (s *shard) put(l *Lane, c Counter, shared *Counter) {
	if shared != nil {
		*shared = c
		return
	}
	s.m[l.Key] = entry{c, l.Owner}
}

// reclaim looks at a few counters, others each time, takes those away that are
// due, and tells whether there were any.
func (s *shard) reclaim(now time.Time) bool {
	looked, found := 0, false
	for k, e := range s.m {
		if e.Due <= now.UnixMilli() {
			delete(s.m, k)
			found = true
		}
		if looked++; looked == 8 {
			break
		}
	}
	return found
}

// Settle does what is due to each lane; see [Store].
func (m *Memory) Settle(ctx context.Context, back []Return) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	fresh := Fresh()
	for i := range back {
		r := &back[i]
		s, _ := m.shard(&r.Lane.Key)
		s.mu.Lock()
		s.settle(r, fresh)
		s.mu.Unlock()
	}
	return nil
}

func (s *shard) settle(r *Return, fresh int64) {
	if e, ok := s.m[r.Lane.Key]; ok {
		if e.Counter = r.Apply(e.Counter, fresh); e.Counter == (Counter{}) {
			delete(s.m, r.Lane.Key)
		} else {
			s.m[r.Lane.Key] = e
		}
	}
	if b := s.bucket(&r.Lane.Key); b.Gen == r.Mark.Gen && b.Gen != 0 {
		lane := r.Lane
		lane.Lock = 0
		*b = lane.Give(*b, r.Mark)
	}
}

// Read returns the counter of a lane; see [Store].
func (m *Memory) Read(ctx context.Context, key Key) (Counter, error) {
	s, _ := m.shard(&key)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.m[key].Counter, ctx.Err()
}

// Drop forgets the lanes of an owner; see [Store]. It looks at every counter.
func (m *Memory) Drop(ctx context.Context, owner Key) error {
	if owner == (Key{}) {
		return nil
	}
	_, err := m.forget(ctx, func(e *entry) bool { return e.owner == owner })
	return err
}

// Sweep forgets what is due; see [Store].
func (m *Memory) Sweep(ctx context.Context, now time.Time) (int, error) {
	return m.forget(ctx, func(e *entry) bool { return e.Due <= now.UnixMilli() })
}

// forget takes away what gone says, part by part, so that an attempt waits for one
// part at most.
func (m *Memory) forget(ctx context.Context, gone func(*entry) bool) (n int, err error) {
	for i := range m.shards {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		s := &m.shards[i]
		s.mu.Lock()
		for k, e := range s.m {
			if gone(&e) {
				delete(s.m, k)
				n++
			}
		}
		s.mu.Unlock()
	}
	return n, nil
}
