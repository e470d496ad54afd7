package breaker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/breaker"
)

// bulk are the calls whose work grows.
var bulk = []string{"list", "enduser", "sweep", "scan", "known", "remember", "forget"}

// A frozen server costs each call its deadline, and none once the circuit is open.
func TestASVS_13_1_3_AFrozenServer(t *testing.T) {
	for op := range newSite(t, breaker.Options{}).ops(t.Context(), 0) {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, breaker.Options{})
			s.faulty.on(hang)
			want := breaker.DefaultTimeout
			if slices.Contains(bulk, op) {
				want = breaker.DefaultBulkTimeout
			}
			for n := range 2 * breaker.DefaultFailures {
				start := time.Now()
				err := s.ops(t.Context(), n)[op]()
				open := n >= breaker.DefaultFailures && !slices.Contains(bulk, op)
				if took := time.Since(start); open && took != 0 || !open && took != want {
					t.Errorf("%s %d took %v", op, n, took)
				}
				if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, breaker.ErrOpen) != open {
					t.Errorf("%s %d: %v", op, n, err)
				}
			}
			if calls := s.faulty.take(); !slices.Contains(bulk, op) && len(calls) != breaker.DefaultFailures {
				t.Errorf("%s: the store has seen %q", op, calls)
			}
		})
	}
}

// Once it is open, every call fails at once, and none reaches the store.
func TestPromise07_AnOpenCircuit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, breaker.Options{})
		s.open(t)
		start := time.Now()
		for op, call := range s.ops(t.Context(), 1) {
			if err := call(); !errors.Is(err, breaker.ErrOpen) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", op, err)
			}
		}
		if err := s.Ready(t.Context()); !errors.Is(err, breaker.ErrOpen) {
			t.Errorf("ready: %v", err)
		}
		if calls := s.faulty.take(); len(calls) > 0 || time.Since(start) != 0 {
			t.Errorf("%q reached the store, in %v", calls, time.Since(start))
		}
	})
}

// What says something about a session says that the store answers.
func TestAnswersOpenNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, breaker.Options{})
		for _, answer := range []error{store.ErrNotFound, store.ErrEnded, store.ErrConflict, store.ErrImmutable} {
			for n := range 1000 {
				s.faulty.on(fails(fmt.Errorf("wrapped: %w", answer)))
				for _, op := range []string{"get", "put", "touch", "end"} {
					if err := s.ops(t.Context(), n)[op](); !errors.Is(err, answer) {
						t.Fatalf("%s: %v", op, err)
					}
				}
			}
			// Nor do failures between them.
			for n := range 1000 {
				s.faulty.on(fails(io.EOF))
				_ = s.get(t.Context(), n)
				s.faulty.on(fails(answer))
				_ = s.get(t.Context(), n)
			}
			s.wantState(t, answer.Error(), breaker.Closed)
		}
	})
}

// TestClientsThatGoAway: who aborts ten thousand requests opens nothing.
func TestClientsThatGoAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, breaker.Options{})
		s.faulty.on(func(ctx context.Context, op string, id store.ID) error {
			_ = hang(ctx, op, id)
			return &net.OpError{Op: "read", Err: errors.New("closed")} // as drivers tell a cancellation
		})
		var gone sync.WaitGroup
		for n := range 10_000 {
			gone.Go(func() {
				ctx, leave := context.WithTimeout(t.Context(), time.Hour)
				time.AfterFunc(time.Duration(n%200)*time.Millisecond, leave)
				_ = s.get(ctx, n)
				_ = s.st.Put(ctx, record(n))
			})
		}
		gone.Wait()
		s.wantState(t, "after 10,000 clients that have gone", breaker.Closed)
		if len(s.told) > 0 {
			t.Errorf("it was %q", s.told)
		}
	})
}

// A caller's own deadline is the store's fault only where it left it some time.
func TestDeadlineOfTheCaller(t *testing.T) {
	for _, test := range []struct {
		left time.Duration
		want breaker.State
	}{
		{0, breaker.Closed}, {time.Millisecond, breaker.Closed}, {breaker.DefaultTimeout / 3, breaker.Closed},
		{breaker.DefaultTimeout - 1, breaker.Open}, {breaker.DefaultTimeout, breaker.Open}, {time.Hour, breaker.Open},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, breaker.Options{})
			s.faulty.on(hang)
			for n := range 100 {
				ctx, cancel := context.WithTimeout(t.Context(), test.left)
				start := time.Now()
				_ = s.get(ctx, n)
				if took := time.Since(start); took > min(test.left, breaker.DefaultTimeout) {
					t.Errorf("took %v", took)
				}
				cancel()
				if s.State() == breaker.Open {
					break
				}
			}
			s.wantState(t, test.left.String(), test.want)
		})
	}
}

// TestOneVisitorsErrors: whatever one visitor can make the store say about
// a session of their own, however often, it opens the circuit for nobody.
func TestOneVisitorsErrors(t *testing.T) {
	unknown := errors.New("value too large")
	cut := &net.OpError{Op: "write", Err: syscall.EPIPE} // a server that cuts off what is too large
	for name, attack := range map[string]struct {
		op    string
		fault func(context.Context, string, store.ID) error
	}{
		"too large":     {"put", fails(unknown)},
		"cut off":       {"put", fails(cut)},
		"locked row":    {"put", hang},
		"locked touch":  {"touch", hang},
		"locked end":    {"end", hang},
		"damaged row":   {"get", fails(errors.New("malformed record"))},
		"many sessions": {"enduser", hang},
		"long list":     {"list", hang},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, breaker.Options{})
			s.faulty.on(attack.fault)
			for range 100 {
				for n := range breaker.DefaultFailures - 1 {
					_ = s.ops(t.Context(), n)[attack.op]()
				}
			}
			s.wantState(t, name, breaker.Closed)
			if slices.Contains(bulk, attack.op) { // not even together with failures that count
				for range breaker.DefaultFailures - 1 {
					s.faulty.on(hang)
					_ = s.get(t.Context(), 1)
					_ = s.ops(t.Context(), 1)[attack.op]()
				}
				s.wantState(t, name, breaker.Closed)
				return
			}
			// Many sessions without an answer between them are another matter.
			for n := range breaker.DefaultFailures {
				_ = s.ops(t.Context(), 100+n)[attack.op]()
			}
			s.wantState(t, name+", everybody", breaker.Open)
		})
	}
}

// A Get that the store does not answer counts each time, however few visitors
// there are.
func TestUnansweredReadsOpen(t *testing.T) {
	for name, fault := range map[string]func(context.Context, string, store.ID) error{
		"frozen":   hang,
		"reset":    fails(&net.OpError{Op: "read", Err: syscall.ECONNRESET}),
		"refused":  fails(fmt.Errorf("connect: %w", syscall.ECONNREFUSED)),
		"no name":  fails(&net.DNSError{Err: "no such host"}),
		"cut":      fails(fmt.Errorf("read: %w", io.ErrUnexpectedEOF)),
		"end":      fails(io.EOF),
		"closed":   fails(net.ErrClosed),
		"timeout":  fails(context.DeadlineExceeded),
		"a driver": fails(fmt.Errorf("conn closed: %w", context.Canceled)), // which counts for each session
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, breaker.Options{})
			s.faulty.on(fault)
			for n := range breaker.DefaultFailures {
				s.wantState(t, name, breaker.Closed)
				if name != "a driver" {
					n = 0
				}
				_ = s.get(t.Context(), n)
			}
			s.wantState(t, name, breaker.Open)
			// What is open is no caller who has gone away.
			if err := s.get(t.Context(), 0); !errors.Is(err, breaker.ErrOpen) || errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

// What began before a change tells nothing about the time after it.
func TestLateAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, breaker.Options{Timeout: time.Hour, BulkTimeout: time.Hour})
		release := make(chan struct{})
		s.faulty.on(func(context.Context, string, store.ID) error { <-release; return io.EOF })
		var late sync.WaitGroup
		for range 100 {
			late.Go(func() { _ = s.get(t.Context(), 1) })
		}
		synctest.Wait()
		s.faulty.on(fails(io.EOF))
		for range breaker.DefaultFailures {
			_ = s.get(t.Context(), 1)
		}
		s.wantState(t, "open", breaker.Open)
		s.faulty.on(nil)
		time.Sleep(breaker.DefaultCoolDown)
		_ = s.get(t.Context(), 1)
		s.wantState(t, "closed again", breaker.Closed)
		close(release)
		late.Wait()
		s.wantState(t, "after what had begun before", breaker.Closed)
		if len(s.told) != 2 {
			t.Errorf("told %q", s.told)
		}
	})
}

// Each change is told once, however many calls there are.
func TestASVS_16_5_2_EachChangeIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, breaker.Options{})
		for range 3 {
			s.faulty.on(hang)
			var calls sync.WaitGroup
			for n := range 100 {
				calls.Go(func() {
					for range 20 {
						_ = s.get(t.Context(), n)
						time.Sleep(100 * time.Millisecond)
					}
				})
			}
			calls.Wait()
			s.faulty.on(nil)
			time.Sleep(breaker.DefaultMaxCoolDown)
			if err := s.Ready(t.Context()); err != nil {
				t.Error(err)
			}
		}
		want := strings.Repeat("open: context deadline exceeded\nclosed: <nil>\n", 3)
		if got := strings.Join(s.told, "\n") + "\n"; got != want {
			t.Errorf("told:\n%s", got)
		}
	})
}

func TestPromise12_FaultsOfOptions(t *testing.T) {
	_, err := breaker.New(nil, &breaker.Options{
		Timeout: -1, BulkTimeout: -2, Failures: -3, CoolDown: -4, MaxCoolDown: -5, MaxAbandoned: -6,
	})
	if err == nil {
		t.Fatal("all of it is taken")
	}
	for _, want := range []string{"a store", "Timeout -1ns", "BulkTimeout -2ns", "Failures -3", "CoolDown -4ns", "MaxCoolDown -5ns", "MaxAbandoned -6"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing about %q in: %v", want, err)
		}
	}
	if _, err := breaker.New(newFaulty(), &breaker.Options{Timeout: time.Minute, BulkTimeout: time.Second}); err == nil {
		t.Error("a BulkTimeout below Timeout is taken")
	}
	if _, err := breaker.New(newFaulty(), &breaker.Options{Timeout: time.Hour, CoolDown: time.Hour}); err != nil {
		t.Errorf("the defaults do not follow: %v", err)
	}
	if breaker.Closed.String() != "closed" || breaker.Open.String() != "open" || breaker.State(7).String() != "state 7" {
		t.Error("a state has another name")
	}
}
