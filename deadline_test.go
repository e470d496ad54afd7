package cloakroom_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom"
)

// isDone tells whether a context's Done is closed, without waiting.
func isDone(ctx context.Context) bool {
	synctest.Wait()
	select {
	case <-ctx.Done():
		return true
	default:
		return false
	}
}

// makers are what the context of a store call is compared with, and itself.
var makers = map[string]func(context.Context, time.Duration) (context.Context, func()){
	"ours": cloakroom.WithDeadline,
	"context.WithTimeout": func(parent context.Context, d time.Duration) (context.Context, func()) {
		ctx, cancel := context.WithTimeout(parent, d)
		return ctx, cancel
	},
}

// eachMaker runs a test on both, and once more with Done asked for before
// anything happens, as ours starts its timer only then.
func eachMaker(t *testing.T, f func(t *testing.T, make func(context.Context, time.Duration) (context.Context, func()))) {
	for name, maker := range makers {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { f(t, maker) }) })
		t.Run(name+" asked early", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f(t, func(parent context.Context, d time.Duration) (context.Context, func()) {
					ctx, release := maker(parent, d)
					ctx.Done()
					return ctx, release
				})
			})
		})
	}
}

func TestDeadlinePasses(t *testing.T) {
	eachMaker(t, func(t *testing.T, make func(context.Context, time.Duration) (context.Context, func())) {
		type key struct{}
		parent := context.WithValue(t.Context(), key{}, "value")
		ctx, release := make(parent, time.Second)
		defer release()
		if at, ok := ctx.Deadline(); !ok || !at.Equal(time.Now().Add(time.Second)) {
			t.Errorf("deadline is %v, %t", at, ok)
		}
		if ctx.Value(key{}) != "value" {
			t.Error("the parent's values are gone")
		}
		time.Sleep(time.Second - 1)
		if ctx.Err() != nil || isDone(ctx) {
			t.Errorf("done before the deadline: %v", ctx.Err())
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) || !isDone(ctx) || ctx.Err() != context.DeadlineExceeded {
			t.Errorf("at the deadline: %v", ctx.Err())
		}
		if context.Cause(ctx) != context.DeadlineExceeded {
			t.Errorf("cause is %v", context.Cause(ctx))
		}
	})
}

func TestDeadlineFollowsItsParent(t *testing.T) {
	eachMaker(t, func(t *testing.T, make func(context.Context, time.Duration) (context.Context, func())) {
		parent, cancel := context.WithCancel(t.Context())
		ctx, release := make(parent, time.Second)
		defer release()
		if ctx.Err() != nil {
			t.Error(ctx.Err())
		}
		cancel()
		if ctx.Err() != context.Canceled || !isDone(ctx) {
			t.Errorf("after the parent's end: %v", ctx.Err())
		}
		// What a context has said once it says for ever.
		time.Sleep(time.Minute)
		if ctx.Err() != context.Canceled {
			t.Errorf("later: %v", ctx.Err())
		}
		// A parent that has ended before.
		ended, release := make(parent, time.Second)
		defer release()
		if ended.Err() != context.Canceled || !isDone(ended) {
			t.Errorf("of an ended parent: %v", ended.Err())
		}
	})
}

func TestDeadlineOfTheParentIsNotPassed(t *testing.T) {
	eachMaker(t, func(t *testing.T, make func(context.Context, time.Duration) (context.Context, func())) {
		parent, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		ctx, release := make(parent, time.Minute)
		defer release()
		if at, _ := ctx.Deadline(); !at.Equal(time.Now().Add(time.Second)) {
			t.Errorf("deadline is %v", at)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if ctx.Err() != context.DeadlineExceeded || !isDone(ctx) {
			t.Errorf("at the parent's deadline: %v", ctx.Err())
		}
	})
}

// An error that was given stays the same, whatever happens to the parent later.
func TestDeadlineSaysTheSameForEver(t *testing.T) {
	eachMaker(t, func(t *testing.T, make func(context.Context, time.Duration) (context.Context, func())) {
		parent, cancel := context.WithCancel(t.Context())
		ctx, release := make(parent, time.Second)
		time.Sleep(time.Second)
		synctest.Wait()
		first := ctx.Err()
		cancel()
		synctest.Wait()
		second := ctx.Err()
		release()
		if third := ctx.Err(); first != context.DeadlineExceeded || second != first || third != first {
			t.Errorf("it says %v, then %v, then %v", first, second, third)
		}
		if !isDone(ctx) {
			t.Error("it has an error and is not done")
		}
	})
}

func TestReleaseEndsTheContext(t *testing.T) {
	eachMaker(t, func(t *testing.T, make func(context.Context, time.Duration) (context.Context, func())) {
		ctx, release := make(t.Context(), time.Hour)
		release()
		release()
		if ctx.Err() != context.Canceled || !isDone(ctx) {
			t.Errorf("released: %v", ctx.Err())
		}
		time.Sleep(2 * time.Hour)
		if ctx.Err() != context.Canceled {
			t.Errorf("released, and its deadline passed: %v", ctx.Err())
		}
	})
}

// What libraries do with a context: derive from it, wait for it, and be told.
func TestDeadlineAsAParent(t *testing.T) {
	eachMaker(t, func(t *testing.T, make func(context.Context, time.Duration) (context.Context, func())) {
		ctx, release := make(t.Context(), time.Second)
		defer release()
		child, cancel := context.WithCancel(ctx) // as database/sql does
		defer cancel()
		later, cancelLater := context.WithTimeout(ctx, time.Hour)
		defer cancelLater()
		told := false
		stop := context.AfterFunc(ctx, func() { told = true })
		defer stop()
		nested, releaseNested := make(ctx, time.Hour)
		defer releaseNested()
		waited := false
		go func() {
			<-child.Done()
			waited = true
		}()
		time.Sleep(time.Second)
		synctest.Wait()
		for name, c := range map[string]context.Context{"child": child, "later": later, "nested": nested} {
			if !isDone(c) || c.Err() != context.DeadlineExceeded {
				t.Errorf("%s: %v", name, c.Err())
			}
		}
		if !told || !waited {
			t.Errorf("told %t, waited %t", told, waited)
		}
	})
}

// Neither a goroutine nor a timer outlives a release: at its end synctest would
// find them.
func TestReleaseLeavesNothingBehind(t *testing.T) {
	eachMaker(t, func(t *testing.T, make func(context.Context, time.Duration) (context.Context, func())) {
		parent, cancel := context.WithCancel(context.Background())
		start := time.Now()
		for range 100 {
			ctx, release := make(parent, 1000*time.Hour)
			child, cancelChild := context.WithCancel(ctx)
			context.AfterFunc(child, func() {})
			release()
			if !isDone(child) {
				t.Error("a child outlives the release")
			}
			cancelChild()
		}
		synctest.Wait()
		if time.Since(start) != 0 {
			t.Error("time has passed")
		}
		cancel()
	})
}

// counting is a parent that counts who waits for its end.
type counting struct {
	context.Context
	waiting *int
}

func (c counting) Done() <-chan struct{} { return make(chan struct{}) }

func (c counting) AfterFunc(func()) (stop func() bool) {
	*c.waiting++
	return func() bool { *c.waiting--; return true }
}

// A parent that lives on, as that of a server, does not remember every call.
func TestReleaseLeavesTheParent(t *testing.T) {
	waiting := 0
	parent := counting{t.Context(), &waiting}
	for range 10 {
		ctx, release := cloakroom.WithDeadline(parent, time.Hour)
		_ = ctx.Err()
		if waiting != 0 {
			t.Error("a call that nobody waits for has a timer")
		}
		ctx.Done()
		if waiting != 1 {
			t.Errorf("%d wait for the parent, want 1", waiting)
		}
		release()
		if waiting != 0 {
			t.Error("after the release the parent still has it")
		}
	}
}

// Many goroutines on one context.
func TestDeadlineInParallel(t *testing.T) {
	for range 200 {
		parent, cancel := context.WithCancel(t.Context())
		defer cancel()
		ctx, release := cloakroom.WithDeadline(parent, time.Millisecond)
		done := make(chan struct{})
		for i := range 8 {
			go func() {
				switch i % 4 {
				case 0:
					<-ctx.Done()
				case 1:
					_ = ctx.Err()
					release()
				case 2:
					cancel()
				case 3:
					c, stop := context.WithTimeout(ctx, time.Microsecond)
					<-c.Done()
					stop()
				}
				done <- struct{}{}
			}()
		}
		for range 8 {
			<-done
		}
		if ctx.Err() == nil {
			t.Fatal("nothing has ended it")
		}
	}
}
