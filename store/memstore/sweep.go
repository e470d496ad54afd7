package memstore

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// How far one call of forget or collect goes: so many steps, each one record or
// one bucket. Thirty-two take some ten microseconds, and a request that needs the
// shard waits for one call at most.
const (
	stepsOfWalk   = 32
	stepsOfCreate = 8
)

// Sweep implements [store.Sweeper]. It holds the lock of one shard at a time,
// for a few microseconds, and then goes on with the next shard: one that came
// back to the same lock at once would overtake those who wait for it. Where ctx
// ends the call, it returns how many it has forgotten until then.
//
// A wheel or heap of deadlines would spare the look at records that stay, about
// 0.3 s of one processor for a million, but every touch would have to move its
// record there, and a session would take some 30 bytes more.
func (s *Store) Sweep(ctx context.Context, now time.Time) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if off := time.Until(now); off.Abs() > store.Slack {
		return 0, fmt.Errorf("memstore: sweep: the clock is off by %v, at most %v are allowed", off, store.Slack)
	}
	horizon := now.Add(-store.Slack).UnixMilli()
	total := 0
	var at [shardCount]cursor
	var done [shardCount]bool
	for left := shardCount; left > 0; {
		for i := range s.shards {
			if done[i] {
				continue
			}
			if err := ctx.Err(); err != nil {
				return total, err
			}
			sh := &s.shards[i]
			sh.mu.Lock()
			n, end := s.forget(sh, &at[i], stepsOfWalk, horizon)
			sh.mu.Unlock()
			total += n
			if end {
				done[i] = true
				left--
			}
			// Where processors are few, those who wait are let through.
			runtime.Gosched()
		}
	}
	return total, nil
}

// A cursor is a place in a walk through a shard: first its records, then its
// tombstones. The zero value is the beginning, and the end.
type cursor struct {
	x    uint64
	dead bool
}

// forget goes on with a walk through a shard, which is locked, over so many
// steps, and forgets what was due before horizon. It returns how many that were,
// and whether the walk has come to its end; then it begins anew.
func (s *Store) forget(sh *shard, at *cursor, steps int, horizon int64) (n int, end bool) {
	for ; steps > 0 && !end; steps-- {
		if !at.dead {
			e, next := sh.live.walk(at.x)
			for e != nil {
				behind := e.next
				if e.expires < horizon {
					s.drop(sh, e)
					n++
				}
				e = behind
				steps--
			}
			at.x, at.dead = next, next == 0
			continue
		}
		e, next := sh.dead.walk(at.x)
		for e != nil {
			behind := e.next
			if e.until < horizon {
				sh.dead.remove(e)
				n++
			}
			e = behind
			steps--
		}
		at.x, at.dead, end = next, next != 0, next == 0
	}
	if n > 0 {
		s.records.Add(int64(-n))
	}
	return n, end
}

// horizon returns the milliseconds before which a create may forget what was
// due. Nobody vouches for the time here, as the caller of Sweep does. So two
// clocks must agree, the system's and the one that has run evenly since New: a
// system clock that jumps ahead forgets nothing.
func (s *Store) horizon() int64 {
	now := time.Now()
	even := s.start.UnixMilli() + now.Sub(s.start).Milliseconds()
	return min(now.UnixMilli(), even) - store.Slack.Milliseconds()
}

// Scan implements [store.Scanner]. It is no snapshot: each record is as it was
// at some moment of the call.
func (s *Store) Scan(ctx context.Context, after store.ID, n int) ([]store.Record, error) {
	var list []store.Record
	x := order(&after)
	for i := int(after[0] >> (8 - shardBits)); i < shardCount; i++ {
		for more := true; more; more = x != 0 {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if len(list) >= n {
				return list[:max(n, 0)], nil
			}
			list, x = s.shards[i].collect(list, after, x)
		}
	}
	return list[:min(n, len(list))], nil
}

// collect appends some live records with an ID behind after, in order, from x
// on, and returns where to go on.
func (sh *shard) collect(list []store.Record, after store.ID, x uint64) ([]store.Record, uint64) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for steps := stepsOfWalk; steps > 0; steps-- {
		from := len(list)
		e, next := sh.live.walk(x)
		for ; e != nil; e = e.next {
			// A bucket that was merged since the last step begins before x.
			if order(&e.id) >= x && bytes.Compare(e.id[:], after[:]) > 0 {
				list = append(list, store.Record{})
				e.read(&list[len(list)-1])
			}
			steps--
		}
		slices.SortFunc(list[from:], func(a, b store.Record) int { return bytes.Compare(a.ID[:], b.ID[:]) })
		if x = next; x == 0 {
			break
		}
	}
	return list, x
}
