package password_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/metrics"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/password"
)

// load counts the hashes that are computed at one moment, and their memory.
type load struct {
	mu                sync.Mutex
	running, most     int
	memory, mostBytes uint64
	order             []string
}

// hold replaces the computation by one that takes a fixed time and no memory.
func (l *load) hold(h *password.Hasher, d time.Duration) {
	h.Wrap(func(password.KDF) password.KDF {
		return func(pw, _ []byte, _, memory uint32, _ uint8, size uint32) []byte {
			l.mu.Lock()
			l.running++
			l.memory += uint64(memory)
			l.most, l.mostBytes = max(l.most, l.running), max(l.mostBytes, l.memory)
			l.order = append(l.order, string(pw))
			l.mu.Unlock()
			time.Sleep(d)
			l.mu.Lock()
			l.running--
			l.memory -= uint64(memory)
			l.mu.Unlock()
			return make([]byte, size)
		}
	})
}

// stored is a hash of that much memory.
func stored(kib int) string {
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA", kib)
}

func TestAttack_A21_ParallelHashesNeverExceedTheBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(t, &password.Options{Parallel: 3, Memory: 128 << 10, Queue: 500, Wait: time.Hour})
		var l load
		l.hold(h, 16*time.Millisecond)
		var wg sync.WaitGroup
		for i := range 300 {
			wg.Go(func() {
				var err error
				switch i % 3 {
				case 0:
					_, err = h.Hash(ctx, "a password")
				case 1: // one of these fills the memory but for 28 MiB
					_, err = h.Verify(ctx, stored(100<<10), "a password")
				case 2: // cheap ones take a whole place
					_, err = h.Verify(ctx, stored(8), "a password")
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if l.most != 3 || l.mostBytes > 128<<10 {
			t.Errorf("%d hashes at a time with %d KiB, want 3 with at most %d", l.most, l.mostBytes, 128<<10)
		}
		if s := h.Stats(); s != (password.Stats{Done: 300}) {
			t.Errorf("afterwards: %+v", s)
		}
	})
}

func TestDefaultsStayBelow64MiB(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(t, nil)
		var l load
		l.hold(h, time.Millisecond)
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() { _, _ = h.Hash(ctx, "x") })
		}
		wg.Wait()
		if l.mostBytes > 64<<10 || l.most < 1 {
			t.Errorf("%d hashes with %d KiB", l.most, l.mostBytes)
		}
	})
}

func TestAttack_A21_TheExcessIsRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(t, &password.Options{Parallel: 2, Queue: 10, Wait: time.Hour})
		var l load
		l.hold(h, 500*time.Millisecond)
		if _, err := h.Hash(ctx, "how long one takes"); err != nil {
			t.Fatal(err)
		}
		var done, busy atomic.Int32
		var wg sync.WaitGroup
		for range 500 {
			wg.Go(func() {
				start := time.Now()
				_, err := h.Hash(ctx, "x")
				var b *password.BusyError
				switch {
				case err == nil:
					done.Add(1)
				case errors.As(err, &b):
					busy.Add(1)
					if time.Since(start) != 0 {
						t.Errorf("refused after %v", time.Since(start))
					}
					// Eleven more on two places, half a second each.
					if b.RetryAfter != 3*time.Second {
						t.Errorf("RetryAfter is %v, want 3s", b.RetryAfter)
					}
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if done.Load() != 12 || busy.Load() != 488 {
			t.Errorf("%d done and %d refused, want 12 and 488", done.Load(), busy.Load())
		}
		if s := h.Stats(); s.Busy != 488 || s.Waiting != 0 || s.Running != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestWaitingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(t, &password.Options{Parallel: 1, Wait: 2 * time.Second})
		var l load
		l.hold(h, 10*time.Second)
		go h.Hash(ctx, "long")
		synctest.Wait()
		start := time.Now()
		_, err := h.Hash(ctx, "short")
		var b *password.BusyError
		if !errors.As(err, &b) || b.RetryAfter < time.Second || b.RetryAfter%time.Second != 0 {
			t.Errorf("error is %v", err)
		}
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("waited %v", d)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(l.order) != 1 {
			t.Errorf("computed %q", l.order)
		}
		if _, err := h.Hash(ctx, "afterwards"); err != nil {
			t.Error(err)
		}
	})
}

func TestTurnsAreTakenInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(t, &password.Options{Parallel: 3, Memory: 128 << 10, Wait: time.Hour})
		var l load
		l.hold(h, time.Second)
		verify := func(pw string, kib int) {
			go h.Verify(ctx, stored(kib), pw)
			synctest.Wait()
		}
		verify("1", 20<<10)
		verify("2", 20<<10)
		verify("3 large", 128<<10) // waits for both, and nobody takes the third place before it
		for i := range 5 {
			verify(fmt.Sprint(4+i), 8<<10)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		// Those that get their places in one moment start in any order.
		if len(l.order) == 8 {
			slices.Sort(l.order[3:6])
			slices.Sort(l.order[6:8])
		}
		if want := []string{"1", "2", "3 large", "4", "5", "6", "7", "8"}; !slices.Equal(l.order, want) {
			t.Errorf("order is %q", l.order)
		}
	})
}

func TestAttack_A21_ACancelledContextFreesThePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(t, &password.Options{Parallel: 2, Memory: 128 << 10, Queue: 3, Wait: time.Hour})
		var l load
		l.hold(h, 10*time.Second)
		go h.Hash(ctx, "running")
		synctest.Wait()

		// Three fill the queue; the first is so large that it holds back the rest.
		gone, cancel := context.WithCancel(ctx)
		errs := make(chan error, 3)
		go func() { _, err := h.Verify(gone, stored(128<<10), "gone"); errs <- err }()
		synctest.Wait()
		for range 2 {
			go func() { _, err := h.Hash(ctx, "patient"); errs <- err }()
		}
		synctest.Wait()
		if s := h.Stats(); s.Running != 1 || s.Waiting != 3 {
			t.Fatalf("%+v", s)
		}
		cancel()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
		synctest.Wait()
		if s := h.Stats(); s.Running != 2 || s.Waiting != 1 {
			t.Errorf("a waiter that went away keeps its place or holds back others: %+v", s)
		}
		for range 2 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if len(l.order) != 3 {
			t.Errorf("computed %q", l.order)
		}

		// A request that is cancelled before it comes costs nothing.
		if _, err := h.Hash(gone, "too late"); !errors.Is(err, context.Canceled) || len(l.order) != 3 {
			t.Errorf("%v, computed %q", err, l.order)
		}
		if s := h.Stats(); s != (password.Stats{Done: 3}) {
			t.Errorf("afterwards: %+v", s)
		}
	})
}

// Cancelling, timing out and being granted at the same moments must neither lose
// a place nor make one.
func TestNoPlaceIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(t, &password.Options{Parallel: 2, Memory: 128 << 10, Queue: 40, Wait: 7 * time.Millisecond})
		var l load
		l.hold(h, time.Millisecond)
		var wg sync.WaitGroup
		for i := range 2000 {
			wg.Go(func() {
				time.Sleep(time.Duration(i%100) * time.Millisecond)
				c, cancel := context.WithTimeout(ctx, time.Duration(i%9)*time.Millisecond)
				defer cancel()
				_, _ = h.Verify(c, stored(8<<(i%14)), "x")
			})
		}
		wg.Wait()
		s := h.Stats()
		if s.Running != 0 || s.Waiting != 0 || int(s.Done) != len(l.order) || s.Done == 0 || s.Busy == 0 {
			t.Errorf("%+v, computed %d", s, len(l.order))
		}
		if l.most > 2 || l.mostBytes > 128<<10 {
			t.Errorf("%d at a time with %d KiB", l.most, l.mostBytes)
		}
		for _, kib := range []int{128 << 10, 64 << 10, 64 << 10} {
			if _, err := h.Verify(ctx, stored(kib), "x"); err != nil {
				t.Error(err)
			}
		}
	})
}

// A waiter that is cancelled in the moment in which it gets its place gives it
// back.
func TestAPlaceGrantedTooLateIsGivenBack(t *testing.T) {
	h := newHasher(t, &password.Options{Parallel: 1})
	var cancel context.CancelFunc
	started, goOn := make(chan struct{}), make(chan struct{})
	h.Wrap(func(password.KDF) password.KDF {
		return func(pw, _ []byte, _, _ uint32, _ uint8, size uint32) []byte {
			if string(pw) == "first" {
				started <- struct{}{}
				<-goOn
				cancel() // the waiter wakes, while this one gives its place to it
			}
			return make([]byte, size)
		}
	})
	for range 500 {
		gone, stop := context.WithCancel(ctx)
		cancel = stop
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = h.Hash(ctx, "first") })
		<-started
		wg.Go(func() { _, _ = h.Hash(gone, "second") })
		for h.Stats().Waiting == 0 {
			time.Sleep(10 * time.Microsecond)
		}
		goOn <- struct{}{}
		wg.Wait()
		stop()
		if s := h.Stats(); s.Running != 0 || s.Waiting != 0 {
			t.Fatalf("%+v", s)
		}
	}
}

// A panic while a hash is computed must not take the place with it.
func TestAPanicFreesThePlace(t *testing.T) {
	h := newHasher(t, &password.Options{Parallel: 1})
	h.Wrap(func(password.KDF) password.KDF {
		return func([]byte, []byte, uint32, uint32, uint8, uint32) []byte { panic("boom") }
	})
	func() {
		defer func() { _ = recover() }()
		_, _ = h.Hash(ctx, "x")
	}()
	if s := h.Stats(); s.Running != 0 {
		t.Errorf("%+v", s)
	}
}

// The real thing: thirty logins at once, and what the heap holds meanwhile.
func TestAttack_A21_RealHashesStayBelow128MiB(t *testing.T) {
	h := newHasher(t, nil)
	phc, err := h.Hash(ctx, "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC() // of what other tests have left behind
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	stop, most := make(chan struct{}), make(chan uint64)
	go func() {
		var m uint64
		for {
			metrics.Read(heap)
			m = max(m, heap[0].Value.Uint64())
			select {
			case <-stop:
				most <- m
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			if ok, err := h.Verify(ctx, phc, "correct horse"); err == nil && !ok {
				t.Error("refused")
			}
		})
	}
	wg.Wait()
	close(stop)
	if m := <-most; m > 128<<20 {
		t.Errorf("the heap grew to %d MiB", m>>20)
	} else {
		t.Logf("the heap grew to %d MiB", m>>20)
	}
}
