package throttle_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/throttle"
)

// A ticket tells how many attempts have failed before it, and which one locks, on
// unknown devices and on known ones; of those that are under way one does.
func TestATicketTellsWhatCameBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle(t)
		for _, a := range []throttle.Attempt{
			{Account: "alice", Source: "192.0.2.1"},
			{Account: "bob", Source: "192.0.2.1", Device: "phone"},
		} {
			for n := range throttle.DefaultLock {
				if tk := afterDelay(t, th, a); tk.Failures != n || tk.Locked || tk.Locks != (n == throttle.DefaultLock-1) {
					t.Fatalf("%s, attempt %d: %d failures before, locked %t, locks %t", a.Account, n+1, tk.Failures, tk.Locked, tk.Locks)
				}
			}
			if tk := afterDelay(t, th, a); !tk.Locked || tk.Locks || tk.Failures != throttle.DefaultLock {
				t.Errorf("%s, locked: %d failures before, locked %t, locks %t", a.Account, tk.Failures, tk.Locked, tk.Locks)
			}
		}
		// A device that is known counts the failures of others at its account.
		fail(t, th, throttle.Attempt{Account: "carol", Source: "192.0.2.1"}, 3)
		if tk := begin(t, th, throttle.Attempt{Account: "carol", Source: "192.0.2.1", Device: "phone"}); tk.Failures != 3 {
			t.Errorf("%d failures before", tk.Failures)
		}
	})
}

// afterDelay is begin once a delay is over.
func afterDelay(t *testing.T, th *throttle.Throttle, a throttle.Attempt) *throttle.Ticket {
	t.Helper()
	tk, err := th.Begin(t.Context(), a)
	if r, ok := errors.AsType[*throttle.RefusedError](err); ok {
		time.Sleep(r.RetryAfter)
		tk, err = th.Begin(t.Context(), a)
	}
	if err != nil {
		t.Fatal(err)
	}
	return tk
}
