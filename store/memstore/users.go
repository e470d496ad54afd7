package memstore

import (
	"context"
	"hash/maphash"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// batch is how many sessions of a user are taken from the list under one lock.
const batch = 64

// seed hashes user IDs. Unlike session IDs they come from outside, so where they
// fall must not be foreseeable.
var seed = maphash.MakeSeed()

// users finds a user's sessions: a list for each user who has any.
type users struct {
	shards [shardCount]userShard
}

// A userShard is padded like a shard.
type userShard struct {
	mu    sync.Mutex
	table table[user, *user]
	_     [128 - 48]byte
}

// A user heads the list of the sessions that are theirs. Name never changes.
type user struct {
	next  *user
	name  string
	first *session
}

func (u *user) hash() uint64  { return maphash.String(seed, u.name) }
func (u *user) chain() **user { return &u.next }

// id returns the user's ID, "" for nobody.
func (u *user) id() string {
	if u == nil {
		return ""
	}
	return u.name
}

// shard returns the shard of a user, and the hash of the name.
func (us *users) shard(name string) (*userShard, uint64) {
	h := maphash.String(seed, name)
	return &us.shards[h>>(64-shardBits)], h
}

// find returns the user of that name, or nil. The shard is locked.
func (sh *userShard) find(name string, h uint64) *user {
	u := sh.table.first(h)
	for u != nil && u.name != name {
		u = u.next
	}
	return u
}

// link puts a live record, whose shard is locked, into its user's list.
func (us *users) link(e *session, name string) {
	sh, h := us.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	u := sh.find(name, h)
	if u == nil {
		// The name may be part of something large, like a request's body, which
		// it would keep alive; and all sessions of the user share the one copy.
		u = &user{name: strings.Clone(name)}
		sh.table.insert(u)
	}
	e.user = u
	u.put(e, nil)
}

// unlink takes a live record, whose shard is locked, out of its user's list.
func (us *users) unlink(e *session) {
	sh, _ := us.shard(e.user.name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.cut(e)
}

// put sets a session behind prev, or first where prev is nil.
func (u *user) put(e, prev *session) {
	next := u.first
	if prev != nil {
		next = prev.older
		prev.older = e
	} else {
		u.first = e
	}
	if next != nil {
		next.newer = e
	}
	e.newer, e.older = prev, next
}

// drop takes a session out of the list.
func (u *user) drop(e *session) {
	prev, next := e.newer, e.older
	if prev != nil {
		prev.older = next
	} else {
		u.first = next
	}
	if next != nil {
		next.newer = prev
	}
}

// cut takes a session out of its user's list, and a user who has none left out
// of the table.
func (sh *userShard) cut(e *session) {
	u := e.user
	u.drop(e)
	if u.first == nil {
		sh.table.remove(u)
	}
}

// sessions yields the sessions that are in a user's list when it begins, some at
// a time and without a lock, so that a user with a hundred thousand sessions
// holds nobody up. What a yielded session is by now, only the lock of its shard
// can tell: one with the version 0 is none any more.
//
// Its place in the list is kept by a mark, a session of version 0 that stands in
// no shard: others come and go on both sides of it. New ones are put in front,
// where it has been already, so it comes to an end.
func (us *users) sessions(name string) iter.Seq[[]*session] {
	return func(yield func([]*session) bool) {
		sh, h := us.shard(name)
		sh.mu.Lock()
		u := sh.find(name, h)
		if u == nil {
			sh.mu.Unlock()
			return
		}
		mark := &session{user: u}
		u.put(mark, nil)
		sh.mu.Unlock()
		defer func() {
			sh.mu.Lock()
			sh.cut(mark)
			sh.mu.Unlock()
		}()
		for more := true; more; {
			var some []*session
			sh.mu.Lock()
			some, more = u.behind(mark)
			sh.mu.Unlock()
			if !yield(some) {
				return
			}
		}
	}
}

// behind moves a mark over the next sessions and returns them, and whether there
// are more.
func (u *user) behind(mark *session) (some []*session, more bool) {
	last := mark
	for steps := 0; last.older != nil && steps < batch; steps++ {
		last = last.older
		some = append(some, last)
	}
	if last != mark {
		u.drop(mark)
		u.put(mark, last)
	}
	return some, mark.older != nil
}

// ListUser implements [store.UserStore]. It is no snapshot: each record is as it
// was at some moment of the call.
func (s *Store) ListUser(ctx context.Context, userID string) ([]store.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var list []store.Record
	for some := range s.users.sessions(userID) {
		for _, e := range some {
			sh := s.shard(&e.id)
			sh.mu.Lock()
			if e.version != 0 {
				list = append(list, store.Record{})
				e.read(&list[len(list)-1])
			}
			sh.mu.Unlock()
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// EndUser implements [store.UserStore]. A create puts the session into its
// user's list before it returns, so the list has every session that was created
// before. Where ctx ends the call, what it has ended stays ended, and is counted.
func (s *Store) EndUser(ctx context.Context, userID string, except store.ID, why store.Ended, until time.Time) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	n := 0
	for some := range s.users.sessions(userID) {
		for _, e := range some {
			if e.id == except {
				continue
			}
			sh := s.shard(&e.id)
			sh.mu.Lock()
			// Another call may have ended it, or a sweep forgotten it; or it is
			// the mark of another call.
			if e.version != 0 {
				s.end(sh, e, why, until)
				n++
			}
			sh.mu.Unlock()
		}
		if err := ctx.Err(); err != nil {
			return n, err
		}
	}
	return n, nil
}
