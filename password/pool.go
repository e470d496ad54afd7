package password

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// pool lets a bounded number of hashes with bounded memory run at a time. Who
// does not fit waits in the order of coming: a large one at the head holds back
// small ones behind it, else it would wait for ever.
//
// It bounds two things, since stored hashes have parameters of their own: a few
// large ones may fill the memory while places are free, and many small ones the
// places while memory is.
type pool struct {
	maxQueue int           // calls that may wait
	wait     time.Duration // for so long
	parallel int           // places in all

	mu     sync.Mutex
	free   int       // places
	memory uint32    // KiB that are free
	queue  list.List // of *waiter, the first is next
	done   uint64
	busy   uint64
	took   time.Duration // how long a hash takes: a moving average
}

// waiter is a call that waits; ready is closed when it has its place.
type waiter struct {
	memory uint32
	ready  chan struct{}
}

func newPool(parallel int, memory uint32, queue int, wait time.Duration) *pool {
	return &pool{maxQueue: queue, wait: wait, parallel: parallel, free: parallel, memory: memory}
}

// acquire takes a place with so much memory, which must not be more than all.
// Without an error the caller must release it.
func (p *pool) acquire(ctx context.Context, memory uint32) error {
	if err := ctx.Err(); err != nil {
		return err // a client that went away costs no hash, even where there is room
	}
	p.mu.Lock()
	if p.queue.Len() == 0 && p.take(memory) {
		p.mu.Unlock()
		return nil
	}
	// A request that would wait for longer than anybody does is told so at once:
	// it has cost nothing yet (ASVS 15.2.2).
	if p.queue.Len() >= p.maxQueue {
		err := p.refuse()
		p.mu.Unlock()
		return err
	}
	w := &waiter{memory: memory, ready: make(chan struct{})}
	place := p.queue.PushBack(w)
	p.mu.Unlock()

	timer := time.NewTimer(p.wait)
	defer timer.Stop()
	var err error
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-w.ready:
		// Granted at the same moment. Whose time is up takes the place all the
		// same; whose client went away gives it back.
		if err != nil {
			p.give(memory)
		}
		return err
	default:
	}
	p.queue.Remove(place)
	p.grant() // those behind may be smaller
	if err == nil {
		err = p.refuse()
	}
	return err
}

// release gives a place back after a hash that took so long.
func (p *pool) release(memory uint32, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	// An eighth of each new time is enough for a guess that follows the load and
	// not the noise.
	if p.took == 0 {
		p.took = took
	} else {
		p.took += (took - p.took) / 8
	}
	p.give(memory)
}

func (p *pool) stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{Running: p.parallel - p.free, Waiting: p.queue.Len(), Done: p.done, Busy: p.busy}
}

// The following are called with mu held.

// take takes a place if there is one with so much memory.
func (p *pool) take(memory uint32) bool {
	if p.free == 0 || p.memory < memory {
		return false
	}
	p.free--
	p.memory -= memory
	return true
}

// give frees a place and hands it on.
func (p *pool) give(memory uint32) {
	p.free++
	p.memory += memory
	p.grant()
}

// grant lets in whoever is next, as many as fit.
func (p *pool) grant() {
	for e := p.queue.Front(); e != nil; e = p.queue.Front() {
		w := e.Value.(*waiter)
		if !p.take(w.memory) {
			return
		}
		p.queue.Remove(e)
		close(w.ready)
	}
}

// refuse counts a refusal and guesses when the queue of this moment is done.
func (p *pool) refuse() error {
	p.busy++
	left := p.took * time.Duration(p.queue.Len()+1) / time.Duration(p.parallel)
	return &BusyError{RetryAfter: wholeSeconds(left)}
}
