package auth

import (
	"container/list"
	"context"
	"sync"
	"time"

	"github.com/cloakroom-dev/cloakroom/password"
	"github.com/cloakroom-dev/cloakroom/throttle"
)

// Bounds of waiting for attempts that are under way.
const (
	maxWaiting = 256             // attempts, in all lanes together
	maxWait    = 5 * time.Second // each
)

// turns lets attempts wait that the throttle refuses for no other reason than others
// which are under way, and count as failed until they are verified. Twenty right
// passwords of one account at the same moment then come in five at a time, where the
// sixth would be told to come back in half a minute.
//
// It knows of this process alone: what is under way in others refuses at once.
type turns struct {
	mu      sync.Mutex
	lanes   map[string]*turn
	waiting int
	settled uint64 // attempts that were let through and are no longer under way
}

// turn is a lane with attempts under way. One that waits is not under way.
type turn struct {
	running int
	queue   list.List // of chan struct{}, the first is next
}

// lanesOf returns the lanes that an attempt goes through, by the names that a
// throttle.RefusedError gives them.
func lanesOf(a throttle.Attempt) map[string]string {
	if a.Device != "" {
		return map[string]string{"device": "device " + a.Account + " " + a.Device}
	}
	return map[string]string{
		"account": "account " + a.Account, "pair": "pair " + a.Account + " " + a.Source, "source": "source " + a.Source,
	}
}

// begin counts an attempt as under way. It comes before the throttle is asked: who is
// refused on its account must see it. It returns how many had been settled by then.
func (t *turns) begin(lanes map[string]string) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, key := range lanes {
		at := t.lanes[key]
		if at == nil {
			if t.lanes == nil {
				t.lanes = make(map[string]*turn)
			}
			at = new(turn)
			t.lanes[key] = at
		}
		at.running++
	}
	return t.settled
}

// end ends what begin began, and lets the next in each lane try. settled says that the
// attempt was let through.
func (t *turns) end(lanes map[string]string, settled bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if settled {
		t.settled++
	}
	t.leave(lanes)
	for _, key := range lanes {
		if at := t.lanes[key]; at != nil {
			t.next(at)
		}
	}
}

// leave takes an attempt out of its lanes. mu is held.
func (t *turns) leave(lanes map[string]string) {
	for _, key := range lanes {
		t.lanes[key].running--
		t.forget(key)
	}
}

// forget drops a lane in which nothing happens any more. mu is held.
func (t *turns) forget(key string) {
	if at := t.lanes[key]; at != nil && at.running == 0 && at.queue.Len() == 0 {
		delete(t.lanes, key)
	}
}

// next wakes who waits first. mu is held.
func (t *turns) next(at *turn) {
	if first := at.queue.Front(); first != nil {
		at.queue.Remove(first)
		t.waiting--
		close(first.Value.(chan struct{}))
	}
}

// wait is for an attempt that begin has counted and the lane of this key refuses. It
// ends the attempt, and returns true once it is worth to begin again: at once where one
// was settled since begin returned since, and otherwise when one in that lane ends. If
// none is under way there it returns false.
func (t *turns) wait(ctx context.Context, lanes map[string]string, key string, since uint64) (again bool, err error) {
	t.mu.Lock()
	at := t.lanes[key]
	others, settled, full := at.running > 1, t.settled != since, t.waiting >= maxWaiting
	if !others || full {
		t.mu.Unlock()
		t.end(lanes, false)
		if others {
			return false, &password.BusyError{RetryAfter: time.Second}
		}
		return settled, nil
	}
	ready := make(chan struct{})
	place := at.queue.PushBack(ready)
	t.waiting++
	t.leave(lanes)
	for _, other := range lanes {
		if beside := t.lanes[other]; beside != nil && beside != at {
			t.next(beside)
		}
	}
	t.mu.Unlock()

	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	select {
	case <-ready:
		return true, nil
	case <-ctx.Done():
		err = unavailable("wait for other attempts", ctx.Err())
	case <-timer.C:
		err = &password.BusyError{RetryAfter: time.Second}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-ready:
		t.next(at) // it was its turn: on to who is behind
	default:
		at.queue.Remove(place)
		t.waiting--
	}
	if t.lanes[key] == at {
		t.forget(key)
	}
	return false, err
}
