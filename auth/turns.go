package auth

import (
	"container/list"
	"context"
	"hash/maphash"
	"sync"
	"time"

	"github.com/cloakroom-dev/cloakroom/password"
	"github.com/cloakroom-dev/cloakroom/throttle"
)

// Bounds of waiting for attempts that are under way.
const (
	maxWaiting = 256             // attempts, in all lanes together
	maxWait    = 5 * time.Second // each, however often it has to wait
)

// turns lets attempts wait that the throttle refuses for no other reason than others
// which are under way, and count as failed until they are verified. Twenty right
// passwords of one account at the same moment then come in five at a time, where the
// sixth would be told to come back in half a minute.
//
// It knows of this process alone: what is under way in others refuses at once.
type turns struct {
	mu      sync.Mutex
	lanes   map[laneKey]*lane // those in which something happens
	asked   uint64            // how often the throttle was asked
	waiting int
}

// lane is one of the throttle's in which attempts are on their way. One that waits
// is in the queue of the lane that has refused it, and nowhere else.
type lane struct {
	key     laneKey
	asking  list.List // of uint64: those that the throttle has not answered, the oldest first
	running int       // those that it has let through and that are not settled
	settled uint64    // those that are
	refused uint64    // the lane has refused when so many were settled
	queue   list.List // of *waiter: those that it has refused, the first is next
}

// waiter is an attempt that waits until ready is closed.
type waiter struct {
	ready chan struct{}
	again bool // it is worth to ask once more; set before ready is closed

	upTo  uint64 // who was asking then may have been let through
	since uint64 // how many were settled when it asked
}

// laneKey stands for a lane. Names are as long as clients like; two that share a key
// would wait for each other, no more.
type laneKey uint64

var laneSeed = maphash.MakeSeed()

// attempt is one attempt on its way through its lanes.
type attempt struct {
	throttle.Attempt
	turns *turns
	names []string // of the lanes, as throttle.RefusedError has them
	keys  []laneKey

	// Where it asks or runs: empty where it does neither.
	lanes []*lane
	asks  []*list.Element // in the lanes
	since []uint64        // how many each had settled

	until time.Time // the end of waiting; zero before it has begun
}

// attempt returns an attempt that is in no lane.
func (t *turns) attempt(of throttle.Attempt) *attempt {
	a := &attempt{Attempt: of, turns: t, names: []string{"account", "pair", "source"}}
	network := throttle.Network(of.Source)
	if of.Device != "" {
		a.names, network = []string{"device"}, of.Device
	}
	for _, name := range a.names {
		key := [3]string{name, of.Account, network}
		switch name {
		case "account":
			key[2] = ""
		case "source":
			key[1] = ""
		}
		a.keys = append(a.keys, laneKey(maphash.Comparable(laneSeed, key)))
	}
	return a
}

// ask says that the throttle is about to be asked. It comes before, as who is refused
// on this attempt's account must see it.
func (a *attempt) ask() {
	t := a.turns
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked++
	for _, key := range a.keys {
		l := t.lanes[key]
		if l == nil {
			if t.lanes == nil {
				t.lanes = make(map[laneKey]*lane)
			}
			l = &lane{key: key}
			t.lanes[key] = l
		}
		a.lanes, a.asks, a.since = append(a.lanes, l), append(a.asks, l.asking.PushBack(t.asked)), append(a.since, l.settled)
	}
}

// run says that the throttle has let it through.
func (a *attempt) run() {
	a.turns.mu.Lock()
	defer a.turns.mu.Unlock()
	for i, l := range a.lanes {
		l.asking.Remove(a.asks[i])
		l.running++
	}
	a.asks = a.asks[:0]
}

// settled says that it is known what came of an attempt that ran. In each lane the
// next one may try.
func (a *attempt) settled() {
	t := a.turns
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range a.lanes {
		l.running--
		l.settled++
		t.next(l)
		t.forget(l)
	}
	a.lanes, a.since = a.lanes[:0], a.since[:0]
}

// leave takes an attempt that asks out of its lanes. It does nothing to one that is
// in none.
func (a *attempt) leave() {
	a.turns.mu.Lock()
	defer a.turns.mu.Unlock()
	a.leaveLocked()
}

func (a *attempt) leaveLocked() {
	for i, e := range a.asks {
		l := a.lanes[i]
		l.asking.Remove(e)
		a.turns.release(l)
		a.turns.forget(l)
	}
	if len(a.asks) > 0 {
		a.lanes, a.asks, a.since = a.lanes[:0], a.asks[:0], a.since[:0]
	}
}

// wait is for an attempt that asked and that a lane has refused, and takes it out of
// its lanes. It tells whether it is worth to ask once more: at once where others have
// been settled meanwhile, and otherwise when one is that runs in that lane. Where
// nobody does, the lane is full of failures.
func (a *attempt) wait(ctx context.Context, refusedBy string) (again bool, err error) {
	first := a.until.IsZero()
	if first {
		a.until = time.Now().Add(maxWait)
	}
	l, w, again, err := a.queue(refusedBy, first)
	if w == nil {
		return again, err
	}
	timer := time.NewTimer(time.Until(a.until))
	defer timer.Stop()
	select {
	case <-w.ready:
		return w.again, nil
	case <-ctx.Done():
		err = unavailable("wait for other attempts", ctx.Err())
	case <-timer.C:
		err = &password.BusyError{RetryAfter: time.Second}
	}
	a.turns.abandon(l, w)
	return false, err
}

// queue puts a refused attempt into the queue of its lane, or says why it does not
// have to wait. One that has waited before keeps its place in front.
func (a *attempt) queue(refusedBy string, first bool) (l *lane, w *waiter, again bool, err error) {
	t := a.turns
	t.mu.Lock()
	defer t.mu.Unlock()
	defer a.leaveLocked()
	for i, name := range a.names {
		if name != refusedBy {
			continue
		}
		l := a.lanes[i]
		l.refused = max(l.refused, a.since[i])
		idle, news := l.running == 0, l.settled > a.since[i]
		switch {
		case idle && !news && l.asking.Len() == 1:
			return nil, nil, false, nil // it asks alone
		case t.waiting >= maxWaiting, !time.Now().Before(a.until):
			return nil, nil, false, &password.BusyError{RetryAfter: time.Second}
		case idle && news:
			return nil, nil, true, nil
		}
		w = &waiter{ready: make(chan struct{}), upTo: t.asked, since: a.since[i]}
		if first {
			l.queue.PushBack(w)
		} else {
			l.queue.PushFront(w)
		}
		t.waiting++
		return l, w, false, nil
	}
	return nil, nil, false, nil // no lane that waits for anybody
}

// next lets who waits first ask once more. mu is held.
func (t *turns) next(l *lane) {
	if first := l.queue.Front(); first != nil {
		t.wake(l, first, true)
	}
}

// release ends the waiting in a lane in which nobody runs: of those who know by now
// that nobody they waited for was let through. mu is held.
func (t *turns) release(l *lane) {
	if l.running > 0 {
		return
	}
	var after *list.Element
	for e := l.queue.Front(); e != nil; e = after {
		after = e.Next()
		w := e.Value.(*waiter)
		if oldest := l.asking.Front(); oldest != nil && oldest.Value.(uint64) <= w.upTo {
			continue
		}
		again := l.settled > max(w.since, l.refused)
		t.wake(l, e, again)
		if again {
			return // what it learns holds for those behind it
		}
	}
}

// wake takes a waiter out of its queue. mu is held.
func (t *turns) wake(l *lane, e *list.Element, again bool) {
	w := l.queue.Remove(e).(*waiter)
	t.waiting--
	w.again = again
	close(w.ready)
}

// abandon is for a waiter who goes without having been woken, or without looking at
// it: then it was the turn of who is behind.
func (t *turns) abandon(l *lane, w *waiter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-w.ready:
		if w.again {
			t.next(l)
		}
	default:
		for e := l.queue.Front(); e != nil; e = e.Next() {
			if e.Value == w {
				l.queue.Remove(e)
				t.waiting--
				break
			}
		}
	}
	t.forget(l)
}

// forget drops a lane in which nothing happens any more. mu is held.
func (t *turns) forget(l *lane) {
	if l.running == 0 && l.asking.Len() == 0 && l.queue.Len() == 0 && t.lanes[l.key] == l {
		delete(t.lanes, l.key)
	}
}
