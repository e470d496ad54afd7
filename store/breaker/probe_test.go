package breaker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/breaker"
)

// Every call recovers by itself, by a probe that is a Get.
func TestPromise07_RecoversWithoutARestart(t *testing.T) {
	for op := range newSite(t, breaker.Options{}).ops(t.Context(), 0) {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, breaker.Options{})
			s.open(t)
			s.faulty.on(nil)
			time.Sleep(breaker.DefaultCoolDown)
			if err := s.ops(t.Context(), 7)[op](); errors.Is(err, breaker.ErrOpen) {
				t.Errorf("%s: %v", op, err)
			}
			s.wantState(t, op, breaker.Closed)
			if calls := s.faulty.take(); !slices.Equal(calls, []string{"get", op}) {
				t.Errorf("%s: the store has seen %q", op, calls)
			}
		})
	}
}

// While the store is away there is one probe at a time, which is never a write,
// the less often the longer it lasts; its caller pays one deadline.
func TestASVS_13_1_3_ProbesBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, breaker.Options{})
		s.open(t)
		var mu sync.Mutex
		var probes []time.Time // when each began
		running := 0
		s.faulty.on(func(ctx context.Context, op string, id store.ID) error {
			mu.Lock()
			probes = append(probes, time.Now())
			if running++; op != "get" || running > 1 {
				t.Errorf("%s, with %d running", op, running)
			}
			mu.Unlock()
			err := hang(ctx, op, id)
			mu.Lock()
			running--
			mu.Unlock()
			return err
		})
		var visitors sync.WaitGroup
		opened, end := time.Now(), time.Now().Add(time.Minute)
		for n := range 20 {
			visitors.Go(func() {
				ops := s.ops(t.Context(), n)
				for i := 0; time.Now().Before(end); i++ {
					start := time.Now()
					_ = ops[[]string{"get", "put", "touch", "end", "sweep"}[i%5]]()
					if took := time.Since(start); took > breaker.DefaultTimeout {
						t.Errorf("a call took %v", took)
					}
					time.Sleep(time.Millisecond)
				}
			})
		}
		visitors.Wait()
		coolDown, from := breaker.DefaultCoolDown, opened
		for i, at := range probes {
			if wait := at.Sub(from); wait < coolDown/2 || wait > coolDown+2*time.Millisecond {
				t.Errorf("probe %d came after %v, want %v to %v", i, wait, coolDown/2, coolDown)
			}
			coolDown, from = min(2*coolDown, breaker.DefaultMaxCoolDown), at.Add(breaker.DefaultTimeout)
		}
		if len(probes) < 60/3 {
			t.Errorf("only %d probes in a minute", len(probes))
		}
	})
}

// TestProbesThatGoAway: the circuit cannot be kept open by leaving.
func TestProbesThatGoAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, breaker.Options{})
		s.open(t)
		s.faulty.on(func(ctx context.Context, op string, id store.ID) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(100 * time.Millisecond): // slow, but it answers
				return nil
			}
		})
		time.Sleep(breaker.DefaultCoolDown)
		gone, leave := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, leave)
		_ = s.get(gone, 1)
		s.wantState(t, "after a probe whose client went away", breaker.Closed)

		// One that has gone before is none.
		s.open(t)
		time.Sleep(breaker.DefaultCoolDown)
		s.faulty.on(nil)
		if err := s.get(gone, 1); !errors.Is(err, context.Canceled) || len(s.faulty.take()) > 0 {
			t.Errorf("%v", err)
		}
		s.wantState(t, "after a client that had gone before", breaker.Open)
	})
}

// TestADamagedRecordAsAProbe: a row that cannot be read keeps nobody out.
func TestADamagedRecordAsAProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, breaker.Options{})
		s.open(t)
		damaged := errors.New("malformed record")
		s.faulty.on(func(_ context.Context, _ string, which store.ID) error {
			if which == id(1) {
				return damaged
			}
			return nil
		})
		time.Sleep(breaker.DefaultCoolDown)
		if err := s.get(t.Context(), 1); !errors.Is(err, damaged) || errors.Is(err, breaker.ErrOpen) {
			t.Errorf("%v", err)
		}
		s.wantState(t, "a damaged row", breaker.Closed)
		// If the other session that is asked for fails too, it is the store.
		s.open(t)
		s.faulty.on(fails(damaged))
		time.Sleep(breaker.DefaultCoolDown)
		if err := s.get(t.Context(), 1); !errors.Is(err, damaged) || !errors.Is(err, breaker.ErrOpen) {
			t.Errorf("%v", err)
		}
		s.wantState(t, "all damaged", breaker.Open)
	})
}

// A write is not sent before the store has answered a read.
func TestWritesAreNoProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, breaker.Options{})
		s.open(t)
		time.Sleep(breaker.DefaultCoolDown)
		start := time.Now()
		err := s.st.Put(t.Context(), record(1))
		if took := time.Since(start); !errors.Is(err, breaker.ErrOpen) || took != breaker.DefaultTimeout {
			t.Errorf("%v after %v", err, took)
		}
		if calls := s.faulty.take(); !slices.Equal(calls, []string{"get"}) {
			t.Errorf("the store has seen %q", calls)
		}
	})
}

// A probe that panics is a probe that failed.
func TestAProbeThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, breaker.Options{})
		s.open(t)
		s.faulty.on(func(context.Context, string, store.ID) error { panic("store") })
		time.Sleep(breaker.DefaultCoolDown)
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			_ = s.get(t.Context(), 1)
		}()
		s.wantState(t, "after the panic", breaker.Open)
		s.faulty.on(nil)
		time.Sleep(breaker.DefaultMaxCoolDown)
		if err := s.Ready(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// An instance that gets no requests since it is not ready becomes ready again,
// and one that has had none yet tells when its store is away.
func TestASVS_16_5_2_Readiness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, breaker.Options{})
		if err := s.Ready(t.Context()); err != nil {
			t.Errorf("at first: %v", err)
		}
		s.faulty.on(hang)
		for i := range 30 {
			start := time.Now()
			if err := s.Ready(t.Context()); err == nil {
				t.Errorf("%d: ready", i)
			}
			if took := time.Since(start); took > breaker.DefaultTimeout {
				t.Errorf("%d: took %v", i, took)
			}
			time.Sleep(time.Second)
		}
		s.wantState(t, "while it is away", breaker.Open)
		s.faulty.on(nil)
		time.Sleep(breaker.DefaultMaxCoolDown)
		if err := s.Ready(t.Context()); err != nil {
			t.Errorf("when it is back: %v", err)
		}
		s.wantState(t, "when it is back", breaker.Closed)
	})
}

// A call that probes has no more time than any other.
func TestTheProbeTakesOfTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, breaker.Options{})
		s.open(t)
		n := 0
		s.faulty.on(func(ctx context.Context, op string, id store.ID) error {
			if n++; n == 1 {
				time.Sleep(200 * time.Millisecond)
				return nil
			}
			return hang(ctx, op, id)
		})
		time.Sleep(breaker.DefaultCoolDown)
		start := time.Now()
		err := s.st.Put(t.Context(), record(1))
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took != breaker.DefaultTimeout {
			t.Errorf("%v after %v", err, took)
		}
	})
}

func ExampleNew() {
	b, err := breaker.New(newFaulty(), &breaker.Options{
		Changed: func(s breaker.State, why error) { fmt.Println("session store:", s, why) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	st := b.Store() // for cloakroom.New
	_, users := st.(store.UserStore)
	fmt.Println(users, b.State(), b.Ready(context.Background()))
	// Output: true closed <nil>
}
