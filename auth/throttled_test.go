package auth_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/throttle"
)

// hashes returns how many were computed since the last call.
func (a *app) hashes() uint64 {
	n := a.hasher.Stats().Done
	defer func() { a.counted = n }()
	return n - a.counted
}

// The numbers that the package names are those that hold where a program gives no
// Throttle (ASVS 6.1.1): five wrong passwords, then 30 seconds, doubling up to an
// hour (NIST SP 800-63B-4 §3.2.2).
func TestASVS_6_1_1_TheDocumentedThresholdsAreTheDefaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newHandler(t, nil)
		g := a.guest("192.0.2.1")
		for n := range 5 {
			if r := g.login("alice", "wrong"); r.StatusCode != 401 {
				t.Fatalf("attempt %d: %d", n+1, r.StatusCode)
			}
		}
		var waits []int
		for range 9 {
			r := g.login("alice", "wrong")
			wait, err := strconv.Atoi(r.Header.Get("Retry-After"))
			if r.StatusCode != 429 || err != nil {
				t.Fatalf("%d %v", r.StatusCode, r.Header)
			}
			waits = append(waits, wait)
			time.Sleep(time.Duration(wait)*time.Second - time.Millisecond)
			if r := g.login("alice", "wrong"); r.StatusCode != 429 || r.Header.Get("Retry-After") != "1" {
				t.Errorf("a moment early: %d %v", r.StatusCode, r.Header)
			}
			time.Sleep(time.Millisecond)
			if r := g.login("alice", "wrong"); r.StatusCode != 401 {
				t.Errorf("after %d seconds: %d", wait, r.StatusCode)
			}
		}
		if got := fmt.Sprint(waits); got != "[30 60 120 240 480 960 1920 3600 3600]" {
			t.Errorf("waits of %s seconds", got)
		}
	})
}

// A throttled attempt computes nothing, counts nothing, and its answer is the same
// for the right password, a wrong one, and an account that does not exist (ASVS
// 6.3.1, 6.3.8).
func TestASVS_6_3_1_AThrottledLoginComputesAndCountsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newHandler(t, nil)
		for _, name := range []string{"alice", "zoe", "dora", "nopw", "al ice"} {
			for range 5 {
				a.guest("192.0.2.1").login(name, "wrong")
			}
		}
		a.hashes()
		want := ""
		for _, name := range []string{"alice", "zoe", "dora", "nopw", "al ice"} {
			for _, pw := range []string{rightPassword, "wrong"} {
				for range 20 {
					r := a.guest("192.0.2.1").login(name, pw)
					got := fmt.Sprint(r.StatusCode, r.Header, r.body)
					if want == "" {
						want = got
						if r.StatusCode != 429 || r.detail() != "Too many attempts" || r.Header.Get("Retry-After") != "30" || len(r.Cookies()) != 0 {
							t.Errorf("answer is %s", got)
						}
					}
					var throttled *auth.ThrottledError
					if got != want || !errors.As(a.result, &throttled) || throttled.RetryAfter != 30*time.Second {
						t.Errorf("%s with %s: %v: %s", name, pw, a.result, got)
					}
				}
			}
		}
		if n := a.hashes(); n != 0 {
			t.Errorf("%d hashes were computed", n)
		}
		r := a.guest("192.0.2.1").do("POST", "/login", map[string][]string{"username": {"alice"}, "password": {"x"}}, "Accept", "text/html")
		if want := "<p>Too many attempts. Try again in 30 seconds.</p>"; !containsLine(r.body, want) {
			t.Errorf("the page is %s", r.body)
		}
		time.Sleep(30 * time.Second)
		a.guest("192.0.2.1").mustLogin(t, "alice")
	})
}

// One address tries one password on many accounts (password spraying): after a
// hundred it waits, whatever the names, and others do not.
func TestASVS_6_3_1_ASourceThatTriesManyNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newHandler(t, nil)
		for n := range throttle.DefaultSourceFree - 3 {
			a.fail(t, fmt.Sprintf("?user%d", n), "192.0.2.1", 1)
		}
		for n := range 3 {
			if r := a.guest("192.0.2.1").login(fmt.Sprintf("user%d", n), "wrong"); r.StatusCode != 401 {
				t.Fatalf("name %d: %d", n+1, r.StatusCode)
			}
		}
		if r := a.guest("192.0.2.1").login("alice", rightPassword); r.StatusCode != 429 {
			t.Errorf("one more name: %d", r.StatusCode)
		}
		if l := a.log.lines(t, "throttled"); len(l) != 1 || l[0]["reason"] != "network" || l[0]["account"] != "u1" {
			t.Errorf("log: %v", l)
		}
		a.guest("192.0.2.2").mustLogin(t, "alice")
	})
}

// What was counted stays counted where the store of the throttle does: over a restart,
// and on every instance.
func TestASVS_6_3_1_ARestartForgetsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := throttle.NewMemory()
		instance := func() *guest {
			th, err := throttle.New(st, nil)
			if err != nil {
				t.Fatal(err)
			}
			return newHandler(t, &setup{auth: auth.Options{Throttle: th}}).guest("192.0.2.1")
		}
		for range 5 {
			if r := instance().login("alice", "wrong"); r.StatusCode != 401 {
				t.Fatalf("%d", r.StatusCode)
			}
		}
		if r := instance().login("alice", rightPassword); r.StatusCode != 429 {
			t.Errorf("after a restart: %d", r.StatusCode)
		}
	})
}

// All spellings that reach one account are counted as one, and so is whichever of
// several accounts would be one if it existed: what is counted is what signs in (ASVS
// 6.3.1, 15.3.7).
func TestAttack_A32_SpellingsOfANameShareACount(t *testing.T) {
	for _, spellings := range [][]string{
		{"bob", "BOB", "Bob", "ｂｏｂ", "ＢＯＢ", "bOb"},
		{"zoe", "ZOE", "Zoe", "ｚｏｅ", "ＺＯＥ", "zOe"},
		{"zoë@example.com", "ZOË@example.com", "zoe\u0308@example.com", "Zoë@Example.COM", "ｚoë@example.com", "zoE\u0308@example.com"},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := newHandler(t, nil)
			for i, name := range spellings {
				want := 401
				if i == 5 {
					want = 429
				}
				if r := a.guest("192.0.2."+strconv.Itoa(i)).login(name, "wrong"); r.StatusCode != want {
					t.Errorf("attempt %d, as %q: %d, want %d", i+1, name, r.StatusCode, want)
				}
			}
			a.guest("192.0.2.1").mustLogin(t, "alice")
		})
	}
}

// Two hundred guesses at once at four instances: no more are verified than would be
// one after the other, and the owner signs in meanwhile on a browser that is known.
func TestAttack_A33_ParallelGuessesAtFourInstances(t *testing.T) {
	st := throttle.NewMemory()
	keys, err := keyring.New(keyring.Generate())
	if err != nil {
		t.Fatal(err)
	}
	var apps []*app
	for range 4 {
		th, err := throttle.New(st, nil)
		if err != nil {
			t.Fatal(err)
		}
		apps = append(apps, newHandler(t, &setup{auth: auth.Options{Throttle: th}, keys: keys, know: true}))
	}
	owner := apps[0].guest("198.51.100.7")
	owner.mustLogin(t, "alice")
	for _, a := range apps {
		a.hashes()
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	status := map[int]int{}
	start := make(chan struct{})
	for i := range 200 {
		g := apps[i%4].guest(fmt.Sprintf("192.0.2.%d", i))
		wg.Go(func() {
			<-start
			r := g.login("alice", "wrong")
			mu.Lock()
			defer mu.Unlock()
			status[r.StatusCode]++
		})
	}
	var signedIn []int
	wg.Go(func() {
		<-start
		for i := range apps {
			g := owner.copy()
			g.h = apps[i].handler
			signedIn = append(signedIn, g.login("alice", rightPassword).StatusCode)
		}
	})
	close(start)
	wg.Wait()
	if status[401] != 5 || status[429] != 195 {
		t.Errorf("statuses %v", status)
	}
	if fmt.Sprint(signedIn) != "[303 303 303 303]" {
		t.Errorf("the owner: %v", signedIn)
	}
	verified := -uint64(len(signedIn))
	for _, a := range apps {
		verified += a.hashes()
	}
	if verified > 5 {
		t.Errorf("%d guesses were verified", verified)
	}
}

// Somebody who guesses for days keeps nobody out but themselves and browsers that are
// not known: neither by delays nor by a lock (ASVS 6.1.1).
func TestAttack_A34_AnAttackerDoesNotLockTheOwnerOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newHandler(t, &setup{know: true})
		owner := a.guest("198.51.100.7")
		owner.mustLogin(t, "bob")
		for n := range throttle.DefaultLock + 20 {
			a.fail(t, "u2", fmt.Sprintf("192.0.2.%d", n), 1)
			if n%20 == 0 {
				if r := owner.login("bob", "a slip"); r.StatusCode != 401 {
					t.Fatalf("the owner mistypes after %d: %d", n, r.StatusCode)
				}
				if r := owner.login("bob", rightPassword); r.StatusCode != 303 {
					t.Fatalf("the owner, after %d: %d %s", n, r.StatusCode, r.body)
				}
			}
		}
		a.fail(t, "u2", "192.0.2.1", throttle.DefaultLock)
		if st, err := a.throttle.State(t.Context(), "u2"); err != nil || !st.Locked {
			t.Fatalf("state %+v, %v", st, err)
		}
		owner.mustLogin(t, "bob")
	})
}

// A hundred failures in a row, however slow, and no password is taken any more until
// somebody unlocks the account: the right one looks like a wrong one and takes the
// same work (NIST SP 800-63B-4 §3.2.2).
func TestNIST_3_2_2_a_AHundredFailuresLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newHandler(t, nil)
		a.fail(t, "u1", "192.0.2.1", throttle.DefaultLock-3)
		wrong := slowly(t, a.guest("192.0.2.1"), 3)
		if l := a.log.lines(t, "locked"); len(l) != 1 || l[0]["user"] != "Alice" || l[0]["account"] != "u1" || l[0]["addr"] != "192.0.2.1" || l[0]["level"] != "WARN" {
			t.Errorf("log: %v", l)
		}
		time.Sleep(365 * 24 * time.Hour) // waiting unlocks nothing
		a.hashes()
		r := a.guest("192.0.2.9").login("alice", rightPassword)
		if got := fmt.Sprint(r.StatusCode, r.Header, r.body); got != wrong || len(r.Cookies()) != 0 {
			t.Errorf("locked, right password: %s\nwant as for a wrong one: %s", got, wrong)
		}
		if n := a.hashes(); n != 1 {
			t.Errorf("%d hashes were computed", n)
		}
		if l := a.log.lines(t, "login_refused"); len(l) != 1 || l[0]["reason"] != "locked" || l[0]["account"] != "u1" {
			t.Errorf("log: %v", l)
		}
		if err := a.throttle.Unlock(t.Context(), "u1"); err != nil {
			t.Fatal(err)
		}
		a.guest("192.0.2.9").mustLogin(t, "alice")
	})
}

// fail makes n failures in a row as logins would, each when it is let through, without
// the work of a hash.
func (a *app) fail(t *testing.T, account, source string, n int) {
	t.Helper()
	for range n {
		try := throttle.Attempt{Account: account, Source: source}
		_, err := a.throttle.Begin(t.Context(), try)
		var refused *throttle.RefusedError
		if errors.As(err, &refused) {
			time.Sleep(refused.RetryAfter)
			_, err = a.throttle.Begin(t.Context(), try)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// slowly makes failures in a row, each when it is let through, and returns the answer
// to the last.
func slowly(t *testing.T, g *guest, n int) (last string) {
	t.Helper()
	for range n {
		r := g.login("Alice", "wrong")
		if r.StatusCode == 429 {
			wait, err := strconv.Atoi(r.Header.Get("Retry-After"))
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(wait) * time.Second)
			r = g.login("Alice", "wrong")
		}
		if r.StatusCode != 401 {
			t.Fatalf("%d %s", r.StatusCode, r.body)
		}
		last = fmt.Sprint(r.StatusCode, r.Header, r.body)
	}
	return last
}

// The right password forgets the failures before it (NIST SP 800-63B-4 §3.2.2).
func TestNIST_3_2_2_d_SuccessClearsTheFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newHandler(t, nil)
		for range 2 {
			a.fail(t, "u1", "192.0.2.1", throttle.DefaultLock-2)
			slowly(t, a.guest("192.0.2.1"), 1)
			time.Sleep(time.Hour)
			a.guest("192.0.2.1").mustLogin(t, "alice")
			if st, err := a.throttle.State(t.Context(), "u1"); err != nil || st.Failures != 0 || st.Locked {
				t.Errorf("state %+v, %v", st, err)
			}
		}
	})
}

// What was not verified is not counted: neither what is refused for its length, nor
// what found too many hashes waiting, nor who went away.
func TestOnlyWhatIsVerifiedCounts(t *testing.T) {
	st := &spy{Store: throttle.NewMemory()}
	th, err := throttle.New(st, nil)
	if err != nil {
		t.Fatal(err)
	}
	a := newHandler(t, &setup{auth: auth.Options{Throttle: th}})
	for range 20 {
		a.guest("192.0.2.1").login("alice", "")
		a.guest("192.0.2.1").login("alice", string(make([]byte, 1025)))
		for _, early := range []bool{true, false} {
			gone, cancel := context.WithCancel(t.Context())
			if st.after = cancel; early {
				cancel()
			}
			r := a.guest("192.0.2.1").request("POST", "/login", map[string][]string{"username": {"alice"}, "password": {"wrong"}})
			serveQuietly(a.handler, r.WithContext(gone))
			cancel()
		}
		st.after = nil
	}
	if n := a.hashes(); n != 0 {
		t.Errorf("%d hashes were computed", n)
	}
	if state, err := a.throttle.State(t.Context(), "u1"); err != nil || state.Failures != 0 {
		t.Errorf("state %+v, %v", state, err)
	}
	a.guest("192.0.2.1").mustLogin(t, "alice")
}

// Without the store of the throttle nothing is verified, and nobody signs in.
func TestPromise07_LoginWithoutThrottleIsUnavailable(t *testing.T) {
	st := &spy{Store: throttle.NewMemory()}
	th, err := throttle.New(st, nil)
	if err != nil {
		t.Fatal(err)
	}
	a := newHandler(t, &setup{auth: auth.Options{Throttle: th, UsersTimeout: 50 * time.Millisecond}})
	for name, f := range map[string]func(){
		"error": func() { st.fail = 1 },
		"hang":  func() { st.hang = true },
	} {
		for _, user := range []string{"alice", "zoe"} {
			f()
			st.calls = 0
			r := a.guest("192.0.2.1").login(user, rightPassword)
			if r.StatusCode != 503 || r.detail() != "Unavailable" || r.Header.Get("Retry-After") != "1" || len(r.Cookies()) != 0 || !errors.Is(a.result, auth.ErrUnavailable) {
				t.Errorf("%s: %s: %d %v %s: %v", name, user, r.StatusCode, r.Header, r.body, a.result)
			}
			if l := a.log.lines(t, "login_refused"); len(l) != 1 || l[0]["reason"] != "unavailable" || l[0]["level"] != "ERROR" {
				t.Errorf("%s: %s: log %v", name, user, l)
			}
			st.fail, st.hang = 0, false
		}
	}
	if n := a.hashes(); n != 0 {
		t.Errorf("%d hashes were computed", n)
	}
	a.guest("192.0.2.1").mustLogin(t, "alice")
}
