package promises_test

import (
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// Whatever two or three requests write, in whatever order their steps fall, each
// that was told so has its change in the session, beside those of the others.
func TestPromise02_EveryOrderOfWriters(t *testing.T) {
	t.Parallel()
	casts := [][]kind{
		{sets, sets}, {sets, updates}, {updates, updates}, {sets, reads}, {updates, reads},
		{sets, sets, updates}, {updates, renews, sets},
	}
	onEach(t, func(t *testing.T, st backend) {
		w := newWorld(t, st, nil)
		for i, cast := range casts {
			if !*prove && !mine(t, i) {
				continue
			}
			user := w.fresh("u")
			explore(t, func() *scene {
				return newScene(t, w, w.signIn(t, user), 0, cast...)
			})
		}
	})
}

// Two hundred requests of one page at the same time, on two instances, each with
// a name of its own and the one counter: none fails, and nothing is lost.
func TestAttack_A03_TwoHundredRequestsAtOnce(t *testing.T) {
	t.Parallel()
	const requests = 200
	onEachPair(t, func(t *testing.T, here *place) {
		w := newWorldAt(t, here, nil)
		cookie := w.login(t, "u", "")
		var wg sync.WaitGroup
		for i := range requests {
			wg.Go(func() {
				q := request{at: i % 2, method: "POST", path: "/update", cookie: cookie}
				if i%4 < 2 {
					q.path, q.form = "/set", url.Values{"name": {fmt.Sprint("n", i)}, "value": {fmt.Sprint("v", i)}}
				}
				if a := w.do(q); !a.ok() || a.touchesCookie() {
					t.Errorf("request %d: %v", i, a)
				}
			})
		}
		wg.Wait()
		c := w.read(t, 0, cookie)
		if c.Count != requests/2 {
			t.Errorf("%d of %d updates are there", c.Count, requests/2)
		}
		for i := range requests {
			if want := fmt.Sprint("v", i); i%4 < 2 && c.Values[fmt.Sprint("n", i)] != want {
				t.Errorf("n%d is %q", i, c.Values[fmt.Sprint("n", i)])
			}
		}
		if len(c.Values) != requests/2 {
			t.Errorf("%d names, want %d", len(c.Values), requests/2)
		}
	})
}

// Writers go on while the token is renewed under them again and again. What was
// acknowledged under any of the tokens is in the session at the end, and what was
// refused is not.
func TestPromise02_WritersAcrossRenewals(t *testing.T) {
	t.Parallel()
	const writers, writes, renewals = 6, 20, 12
	onEachPair(t, func(t *testing.T, here *place) {
		w := newWorldAt(t, here, nil)
		user := w.fresh("u")
		var current atomic.Value
		current.Store(w.login(t, user, ""))
		var acknowledged, refusals atomic.Int64
		var wg sync.WaitGroup
		for i := range writers {
			wg.Go(func() {
				for done := 0; done < writes; {
					a := w.do(request{at: i % 2, method: "POST", path: "/update", cookie: current.Load().(string)})
					switch {
					case a.ok():
						acknowledged.Add(1)
						done++
					case a.status == http.StatusConflict && a.refusal() == nil:
						refusals.Add(1) // a late token; the browser has the new one
					default:
						t.Errorf("writer %d: %v", i, a)
						return
					}
				}
			})
		}
		for i := range renewals {
			path := []string{"/renew", "/login", "/roles"}[i%3]
			a := w.must(t, request{at: i % 2, method: "POST", path: path, cookie: current.Load().(string), form: url.Values{"user": {user}, "role": {"r"}}})
			current.Store(a.cookie)
		}
		wg.Wait()
		c := w.read(t, 0, current.Load().(string))
		if c.Count != int(acknowledged.Load()) || c.Count != writers*writes {
			t.Errorf("%d updates were acknowledged, %d are there", acknowledged.Load(), c.Count)
		}
		if got := w.sessions(t, user); len(got) != 1 {
			t.Errorf("%d sessions", len(got))
		}
		t.Logf("%d refusals", refusals.Load())
	})
}
