package deadline_test

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/deadline"
)

// TestAfterFunc: what was asked for comes once, at the end and in no other case.
func TestAfterFunc(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithCancel(t.Context())
		defer cancel()
		for name, end := range map[string]func(*deadline.Context){
			"deadline": func(*deadline.Context) { time.Sleep(time.Second) },
			"release":  (*deadline.Context).Release,
		} {
			c, calls := deadline.With(parent, time.Second), 0
			c.AfterFunc(func() { calls++ })
			stop := c.AfterFunc(func() { t.Error(name, "called after stop") })
			if synctest.Wait(); calls != 0 || !stop() || stop() {
				t.Error(name, "called before the end, or not stopped once")
			}
			if end(c); c.Err() == nil {
				t.Error(name, "goes on")
			}
			if synctest.Wait(); calls != 1 {
				t.Errorf("%s: %d calls", name, calls)
			}
			late := make(chan bool)
			if c.AfterFunc(func() { close(late) })() {
				t.Error(name, "stopped what had to come at once")
			}
			<-late
		}
		c, calls := deadline.With(parent, time.Hour), 0
		c.AfterFunc(func() { calls++ })
		cancel()
		if synctest.Wait(); calls != 1 || c.Err() != context.Canceled {
			t.Errorf("parent: %d calls, %v", calls, c.Err())
		}
	})
}

// TestNoGoroutineForADriver: a context that a driver derives costs none.
func TestNoGoroutineForADriver(t *testing.T) {
	c := deadline.With(t.Context(), time.Hour)
	defer c.Release()
	before := runtime.NumGoroutine()
	for range 100 {
		_, cancel := context.WithCancel(c)
		defer cancel()
	}
	if n := runtime.NumGoroutine() - before; n > 0 {
		t.Errorf("%d goroutines for 100 contexts", n)
	}
}
