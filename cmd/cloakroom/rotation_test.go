package main_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/postgres"
)

// rotation is two instances that share a store and a key file, and the people who use
// both through a load balancer while the keys change.
type rotation struct {
	t       *testing.T
	flags   []string
	keys    keyring.Writer
	servers [2]*server
	callers [2]atomic.Pointer[caller]

	mu     sync.Mutex
	signs  map[string]bool // the keys that may sign just now
	issued map[string]int  // new cookies, by key
	faults []string

	requests, moved atomic.Int64
}

func newRotation(t *testing.T) *rotation {
	pg := services.Postgres(t)
	key := keyFile(t)
	r := &rotation{
		t: t, flags: []string{key, "--store", pg, "--users", pg},
		keys: keyring.File(strings.TrimPrefix(key, "--keys=file:")), issued: map[string]int{},
	}
	for i := range r.servers {
		r.start(i)
	}
	r.signs = map[string]bool{r.active(): true}
	return r
}

// start starts an instance, and sends people there.
func (r *rotation) start(i int) {
	r.t.Helper()
	r.servers[i] = start(r.t, r.t.TempDir(), append(r.flags, "--log-level=info", "--trusted-proxies=127.0.0.1")...)
	c := newCaller(r.servers[i].URL)
	r.callers[i].Store(&c)
}

// restart ends an instance as a deployment does, and starts it again.
func (r *rotation) restart(i int) {
	r.t.Helper()
	if code := r.servers[i].end(syscall.SIGTERM); code != 0 {
		r.t.Fatalf("exit code %d", code)
	}
	r.start(i)
}

// active is the key that signs, as the file says.
func (r *rotation) active() string {
	r.t.Helper()
	ring, err := keyring.Load(r.t.Context(), r.keys)
	if err != nil {
		r.t.Fatal(err)
	}
	return ring.Active().String()
}

// run runs "cloakroom key …", while the keys of before and of afterwards may sign, and
// afterwards only the latter. It returns the key that signs.
func (r *rotation) run(args ...string) string {
	r.t.Helper()
	r.mu.Lock()
	r.signs = nil // any
	r.mu.Unlock()
	out, msg, code := runCommand(r.t, append(append([]string{"key"}, args...), r.flags...)...)
	if code != 0 {
		r.t.Fatalf("key %v: exit code %d, %s%s", args, code, out, msg)
	}
	// What was sent before the command returned may still be on its way.
	time.Sleep(100 * time.Millisecond)
	key := r.active()
	r.mu.Lock()
	r.signs = map[string]bool{key: true}
	r.mu.Unlock()
	return key
}

func (r *rotation) fault(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.faults) < 10 {
		r.faults = append(r.faults, fmt.Sprintf(format, args...))
	}
}

// signer is the key that a cookie names.
func signer(cookie string) string {
	_, value, _ := strings.Cut(cookie, "=")
	raw, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil || len(raw) < 5 {
		return "none"
	}
	return fmt.Sprintf("%x", raw[1:5])
}

// ask asks an instance, and where it is just being restarted the other one.
func (r *rotation) ask(method, path, cookie, body string, header ...string) (reply, error) {
	i := rand.IntN(2)
	for end := time.Now().Add(20 * time.Second); ; i = 1 - i {
		r.mu.Lock()
		signs := r.signs
		r.mu.Unlock()
		a, err := r.callers[i].Load().ask(method, path, cookie, "", body, header...)
		if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) {
			if time.Now().Before(end) {
				r.moved.Add(1)
				continue
			}
		}
		r.requests.Add(1)
		if err == nil && a.cookie != "" {
			key := signer(a.cookie)
			r.mu.Lock()
			r.issued[key]++
			r.mu.Unlock()
			if signs != nil && !signs[key] {
				r.fault("%s %s: a new cookie under %s, while %v signs", method, path, key, signs)
			}
		}
		return a, err
	}
}

// visit keeps somebody signed in and asks for their session again and again, so that of
// all of them rate requests a second are sent. It returns the last cookie.
func (r *rotation) visit(n int, every time.Duration, stop <-chan struct{}) string {
	user := fmt.Sprintf("user%02d", n)
	a, err := r.ask("POST", "/auth/login", "", credentials(user, goodPassword), "X-Forwarded-For", strangerNumber(n))
	// All come at once, and hash more passwords than the machine may have time for.
	for end := time.Now().Add(20 * time.Second); err == nil && a.status == http.StatusServiceUnavailable && time.Now().Before(end); time.Sleep(time.Second) {
		a, err = r.ask("POST", "/auth/login", "", credentials(user, goodPassword), "X-Forwarded-For", strangerNumber(n))
	}
	if err != nil || a.status != http.StatusOK {
		r.fault("%s signs in: %d %s, %v", user, a.status, a.body, err)
		return ""
	}
	cookie := a.cookie
	turn := time.NewTicker(every)
	defer turn.Stop()
	for {
		select {
		case <-stop:
			return cookie
		case <-turn.C:
		}
		a, err := r.ask("GET", "/auth/session", cookie, "")
		if err != nil || a.status != http.StatusOK || !strings.Contains(a.body, user) {
			r.fault("%s, with a cookie under %s: %d %s, %v", user, signer(cookie), a.status, a.body, err)
			return cookie
		}
		if a.cookie != "" {
			cookie = a.cookie
		}
	}
}

// users adds accounts to the database that the instances share.
func (r *rotation) users(place string, n int) {
	r.t.Helper()
	hash := hashOf(r.t, goodPassword)
	db, err := postgres.Open(r.t.Context(), place, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	defer db.Close()
	users, err := sqlusers.New(r.t.Context(), db)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := range n {
		if _, err := users.Create(r.t.Context(), sqlusers.NewUser{Name: fmt.Sprintf("user%02d", i), Password: hash}); err != nil {
			r.t.Fatal(err)
		}
	}
}

// endOf lets a retiring key end in a moment, in place of a lifetime from now.
func (r *rotation) endOf(key string) {
	r.t.Helper()
	at := time.Now().Add(2 * time.Second)
	_, err := keyring.Edit(r.t.Context(), r.keys, func(keys []keyring.Key) ([]keyring.Key, error) {
		for i, k := range keys {
			if k.ID().String() == key {
				keys[i] = k.AsRetiring(at)
			}
		}
		return keys, nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	time.Sleep(time.Until(at.Add(1500 * time.Millisecond)))
}

// TestASVS_13_3_4_RotationUnderLoad, and with it promise 10 and A15: two instances go
// through a whole rotation, a rollback in its middle, and the end of the old key, one of
// them restarted in each phase, while people use both. Nobody is signed out, nothing
// fails, new cookies are under the active key alone, and the old key's are refused after
// its end. Then a key leaks and is retired.
func TestASVS_13_3_4_RotationUnderLoad(t *testing.T) {
	rate, visitors := 60, 12
	if *prove {
		rate, visitors = 500, 50
	}
	r := newRotation(t)
	r.users(r.flags[len(r.flags)-1], visitors+1)
	first := r.active()
	// Somebody signs in and goes away.
	away, err := r.ask("POST", "/auth/login", "", credentials(fmt.Sprintf("user%02d", visitors), goodPassword))
	if err != nil || signer(away.cookie) != first {
		t.Fatalf("%+v, %v", away, err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	cookies := make([]string, visitors)
	for n := range visitors {
		wg.Go(func() { cookies[n] = r.visit(n, time.Duration(visitors)*time.Second/time.Duration(rate), stop) })
	}
	begun := time.Now()
	steady := func() { t.Helper(); time.Sleep(500 * time.Millisecond) }

	steady()
	if key := r.run("rotate", "--next"); key != first {
		t.Errorf("%s signs once another key is next", key)
	}
	r.restart(0)
	second := r.run("rotate")
	if second == first {
		t.Error("the same key signs")
	}
	r.restart(1)
	steady()
	if key := r.run("rotate", "--rollback"); key != first {
		t.Errorf("%s signs behind a rollback, want %s", key, first)
	}
	r.restart(0)
	steady()
	if key := r.run("rotate"); key != second {
		t.Errorf("%s signs, want %s, which was next", key, second)
	}
	r.restart(1)
	steady() // everybody has been here since
	r.endOf(first)
	r.restart(0)
	steady()
	for i := range r.callers {
		if a, err := r.callers[i].Load().ask("GET", "/auth/session", away.cookie, "", ""); err != nil || a.status != http.StatusUnauthorized {
			t.Errorf("instance %d takes a cookie under a key that is gone: %d, %v", i, a.status, err)
		}
	}
	close(stop)
	wg.Wait()
	took := time.Since(begun)
	for _, f := range r.faults {
		t.Error(f)
	}
	t.Logf("%d requests in %v (%d a second), %d moved to the other instance; new cookies by key: %v",
		r.requests.Load(), took.Round(time.Second), r.requests.Load()*int64(time.Second)/int64(took), r.moved.Load(), r.issued)
	if r.requests.Load() < int64(rate)*3 {
		t.Errorf("%d requests are no load", r.requests.Load())
	}
	r.leak(second, cookies)
}

// leak retires the key that signs, and looks at what is left.
func (r *rotation) leak(key string, cookies []string) {
	r.t.Helper()
	third := r.run("retire", "--now", key)
	if third == key {
		r.t.Error("a leaked key signs")
	}
	for n, cookie := range cookies {
		if signer(cookie) != key {
			r.t.Errorf("visitor %d has a cookie under %s, want %s", n, signer(cookie), key)
		}
		if a, err := r.callers[n%2].Load().ask("GET", "/auth/session", cookie, "", ""); err != nil || a.status != http.StatusUnauthorized {
			r.t.Errorf("instance %d takes a cookie under a leaked key: %d, %v", n%2, a.status, err)
		}
	}
	a, err := r.ask("POST", "/auth/login", "", credentials("user00", goodPassword))
	if err != nil || a.status != http.StatusOK || signer(a.cookie) != third {
		r.t.Errorf("signing in again: %d %s, under %s, want %s: %v", a.status, a.body, signer(a.cookie), third, err)
	}
	for _, s := range r.servers {
		if log := s.stderr.String(); strings.Contains(log, `"level":"ERROR"`) {
			r.t.Errorf("errors in the log:\n%s", log)
		}
	}
	if out, msg, code := runCommand(r.t, append([]string{"audit", "verify"}, r.flags...)...); code != 0 {
		r.t.Errorf("audit verify: exit code %d, %s%s", code, out, msg)
	}
}
