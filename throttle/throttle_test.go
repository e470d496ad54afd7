package throttle_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/throttle"
)

// begin is Begin that lets an attempt through.
func begin(t *testing.T, th *throttle.Throttle, a throttle.Attempt) *throttle.Ticket {
	t.Helper()
	tk, err := th.Begin(t.Context(), a)
	if err != nil {
		t.Fatalf("Begin(%+v): %v", a, err)
	}
	return tk
}

// refused is Begin that refuses, and returns the wait.
func refused(t *testing.T, th *throttle.Throttle, a throttle.Attempt, lane string) time.Duration {
	t.Helper()
	tk, err := th.Begin(t.Context(), a)
	r, ok := errors.AsType[*throttle.RefusedError](err)
	if !ok || tk != nil || r.Lane != lane || r.RetryAfter <= 0 {
		t.Fatalf("Begin(%+v): %v, %v; want it refused by the lane %q", a, tk, err, lane)
	}
	return r.RetryAfter
}

// fail makes n failures, as fast as the delays let them.
func fail(t *testing.T, th *throttle.Throttle, a throttle.Attempt, n int) {
	t.Helper()
	for range n {
		_, err := th.Begin(t.Context(), a)
		if r, ok := errors.AsType[*throttle.RefusedError](err); ok {
			time.Sleep(r.RetryAfter)
			_, err = th.Begin(t.Context(), a)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func succeed(t *testing.T, th *throttle.Throttle, tk *throttle.Ticket) {
	t.Helper()
	if err := th.Succeed(t.Context(), tk); err != nil {
		t.Fatal(err)
	}
}

func newThrottle(t *testing.T) *throttle.Throttle {
	t.Helper()
	th, err := throttle.New(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return th
}

var bob = throttle.Attempt{Account: "bob", Source: "192.0.2.7"}

// The delays grow from half a minute to an hour, and no further.
func TestNIST_3_2_2_c_DelaysGrowFromHalfAMinuteToAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle(t)
		fail(t, th, bob, 5)
		for _, want := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute,
			8 * time.Minute, 16 * time.Minute, 32 * time.Minute, time.Hour, time.Hour, time.Hour} {
			if got := refused(t, th, bob, "account"); got != want {
				t.Fatalf("wait %v, want %v", got, want)
			}
			time.Sleep(want - time.Millisecond)
			if got := refused(t, th, bob, "account"); got != time.Millisecond {
				t.Fatalf("wait %v at the end of %v, want 1ms", got, want)
			}
			time.Sleep(time.Millisecond)
			begin(t, th, bob)
		}
	})
}
