package promises_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom"
)

// timeless runs a test on every store in a bubble of its own, whose time begins
// now: the servers' clocks go on as they are, and agree with nobody after a while.
func timeless(t *testing.T, f func(t *testing.T, st backend)) {
	for name, at := range places {
		t.Run(name, func(t *testing.T) {
			inBubble(t, at(t), time.Now(), f)
		})
	}
}

// inBubble runs f in a bubble whose time begins as told.
func inBubble(t *testing.T, here *place, begin time.Time, f func(t *testing.T, st backend)) {
	var st backend
	if here.reads {
		st, _ = here.open(t)
	}
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(begin))
		if st == nil {
			st, _ = here.open(t)
		}
		f(t, st)
	})
}

// A session whose time has run out while a slow request was at work has ended:
// the others have been told so. Neither the change nor the touch at the end of
// the slow request brings it back, and the change is not acknowledged.
func TestPromise01_ExpiredStaysExpired(t *testing.T) {
	timeless(t, func(t *testing.T, st backend) {
		w := newBubble(t, st, &cloakroom.Options{
			IdleTimeout: 30 * time.Minute, Lifetime: 2 * time.Hour, StoreTimeout: slowStore,
		})
		for _, path := range []string{"/read", "/set", "/update", "/renew", "/roles"} {
			overIdle := w.login(t, "u", "")
			time.Sleep(29 * time.Minute)
			a := w.slowly(t, path, overIdle, func() {
				time.Sleep(2 * time.Minute)
				w.isNobody(t, overIdle)
			})
			judgeLate(t, path+" over the idle timeout", a)
			w.isNobody(t, overIdle)

			overDeadline := w.login(t, "u", "")
			for range 4 {
				time.Sleep(28 * time.Minute)
				w.must(t, request{method: "GET", path: "/me", cookie: overDeadline})
			}
			a = w.slowly(t, path, overDeadline, func() {
				time.Sleep(9 * time.Minute)
				w.isNobody(t, overDeadline)
			})
			judgeLate(t, path+" over the deadline", a)
			w.isNobody(t, overDeadline)
		}
	})
}

// isNobody checks that a cookie is nobody's, whatever the store still keeps.
func (w *world) isNobody(t *testing.T, cookie string) {
	t.Helper()
	for at := range w.instances {
		a := w.do(request{at: at, method: "GET", path: "/me", cookie: cookie})
		if err := a.refusal(); err != nil || a.status != http.StatusUnauthorized {
			t.Errorf("a session lives past its end: %v", a)
		}
	}
}

// judgeLate holds the answer to a request that came to its end too late: a page
// that was only read, or a refusal.
func judgeLate(t *testing.T, what string, a answer) {
	t.Helper()
	if strings.HasPrefix(what, "/read") {
		if !a.ok() || a.touchesCookie() {
			t.Errorf("%s: %v", what, a)
		}
		return
	}
	if err := a.refusal(); err != nil || a.status != http.StatusConflict || a.detail() != "Session ended" {
		t.Errorf("%s: %v: %v", what, a, err)
	}
}
