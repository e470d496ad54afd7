package password

import (
	"context"
	"sync"
	"time"
)

// pool lets a bounded number of hashes with bounded memory run at a time. Who
// does not fit waits, sources by turns and those of one source in the order of
// coming: a large one whose turn it is holds back small ones behind it, else it
// would wait for ever.
//
// It bounds two things, since stored hashes have parameters of their own: a few
// large ones may fill the memory while places are free, and many small ones the
// places while memory is.
type pool struct {
	maxQueue int           // calls that may wait
	wait     time.Duration // for so long
	parallel int           // places in all

	mu     sync.Mutex
	free   int    // places
	memory uint32 // KiB that are free
	queue  queue
	done   uint64
	busy   uint64
	took   time.Duration // how long a hash takes: a moving average
}

func newPool(parallel int, memory uint32, queue int, wait time.Duration) *pool {
	return &pool{maxQueue: queue, wait: wait, parallel: parallel, free: parallel, memory: memory}
}

// acquire takes a place with so much memory, which must not be more than all, for
// the source of ctx. Without an error the caller must release it.
func (p *pool) acquire(ctx context.Context, memory uint32) error {
	if err := ctx.Err(); err != nil {
		return err // a client that went away costs no hash, even where there is room
	}
	p.mu.Lock()
	if p.queue.n == 0 && p.take(memory) {
		p.mu.Unlock()
		return nil
	}
	w := &waiter{memory: memory, ready: make(chan struct{})}
	err := p.enqueue(sourceOf(ctx), w)
	p.mu.Unlock()
	if err != nil {
		return err
	}

	timer := time.NewTimer(p.wait)
	defer timer.Stop()
	select {
	case <-w.ready:
		return w.err
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-w.ready:
		// Over at the same moment. If it has a place, whose time is up takes it
		// all the same; whose client went away gives it back.
		if w.err != nil {
			return w.err
		}
		if err != nil {
			p.give(memory)
		}
		return err
	default:
	}
	p.queue.remove(w)
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
	return Stats{Running: p.parallel - p.free, Waiting: p.queue.n, Done: p.done, Busy: p.busy}
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
	for w := p.queue.next(); w != nil && p.take(w.memory); w = p.queue.next() {
		p.queue.pop()
		close(w.ready)
	}
}

// enqueue lets a call wait. A request that would wait for longer than anybody
// does is told so at once: it has cost nothing yet (ASVS 15.2.2). That is the
// newcomer, or one of the source that has most waiting, so that no source can
// fill the queue for others (ASVS 15.4.4).
func (p *pool) enqueue(source string, w *waiter) error {
	if p.queue.n >= p.maxQueue {
		out := p.queue.displaced(source)
		if out == nil {
			return p.refuse()
		}
		out.err = p.refuse()
		p.queue.remove(out)
		close(out.ready)
	}
	p.queue.push(source, w)
	return nil
}

// refuse counts a refusal and guesses when the queue of this moment is done.
func (p *pool) refuse() error {
	p.busy++
	left := p.took * time.Duration(p.queue.n+1) / time.Duration(p.parallel)
	return &BusyError{RetryAfter: wholeSeconds(left)}
}
