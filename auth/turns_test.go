package auth_test

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/password"
	"github.com/cloakroom-dev/cloakroom/throttle"
)

// gate is a throttle's store that sees how many attempts are under way, and the pepper
// of their hashes: verifying one waits at it. A test opens it.
type gate struct {
	throttle.Store
	open chan struct{}    // closed when hashes may be verified
	asks func() error     // runs before the store is asked; nil: nothing
	took func(bool) error // runs when the store has answered, whether it let one through; nil: nothing
	hold chan struct{}    // who has succeeded waits until it is closed; nil: nobody

	mu            sync.Mutex
	running, most int
	asked, seals  int
	opened        sync.Map // of what was sealed: true
}

func (g *gate) Take(ctx context.Context, lanes []throttle.Lane, now time.Time) ([]throttle.Mark, *throttle.Refusal, error) {
	if g.asks != nil {
		if err := g.asks(); err != nil {
			return nil, nil, err
		}
	}
	marks, refused, err := g.Store.Take(ctx, lanes, now)
	g.mu.Lock()
	g.asked++
	if marks != nil {
		g.running++
		g.most = max(g.most, g.running)
	}
	g.mu.Unlock()
	if g.took != nil && err == nil {
		err = g.took(marks != nil)
	}
	return marks, refused, err
}

func (g *gate) Settle(ctx context.Context, back []throttle.Return) error {
	if g.hold != nil {
		<-g.hold
	}
	g.mu.Lock()
	g.running--
	g.mu.Unlock()
	return g.Store.Settle(ctx, back)
}

// Whatever is sealed is, at first, a cheap hash of rightPassword, so that hundreds take
// no time; opened once more to see whether it is one of today, it is.
func (g *gate) Seal([]byte, []byte) []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seals++
	return fmt.Appendf(nil, "gate:%d", g.seals)
}

func (g *gate) Open(sealed, _ []byte) ([]byte, error) {
	if string(sealed) == "gate:panic" {
		panic("the pepper")
	}
	<-g.open
	if _, again := g.opened.LoadOrStore(string(sealed), true); again {
		return []byte(rightHash()), nil
	}
	return []byte(cheapHash()), nil
}

var cheapHash = sync.OnceValue(func() string {
	salt := []byte("saltsalt")
	key, err := pbkdf2.Key(sha256.New, rightPassword, salt, 1, 32)
	if err != nil {
		panic(err)
	}
	return "$pbkdf2-sha256$1$" + base64.RawStdEncoding.EncodeToString(salt) + "$" + base64.RawStdEncoding.EncodeToString(key)
})

// sealing are accounts whose hashes are sealed anew each time that they are read, for
// the gate to know each login by.
type sealing struct {
	*accounts
	gate *gate
}

func (s sealing) ByName(ctx context.Context, name string) (auth.User, error) {
	u, err := s.accounts.ByName(ctx, name)
	if u.Password == rightHash() {
		u.Password = "$sealed$v=1$" + base64.RawStdEncoding.EncodeToString(s.gate.Seal(nil, nil))
	}
	return u, err
}

// gated makes an app whose passwords are verified when the gate lets them.
func gated(t *testing.T, opts *throttle.Options) (*app, *gate) {
	t.Helper()
	g := &gate{Store: throttle.NewMemory(), open: make(chan struct{})}
	th, err := throttle.New(g, opts)
	if err != nil {
		t.Fatal(err)
	}
	return newHandler(t, &setup{
		auth: auth.Options{Throttle: th}, hasher: password.Options{Pepper: g, Queue: 1000},
		wrap: func(a *accounts) auth.Users { return sealing{a, g} },
	}), g
}

// crowd is logins that are under way at the same moment.
type crowd struct {
	a      *app
	wg     sync.WaitGroup
	mu     sync.Mutex
	status map[string]int // by status and Retry-After
}

// add begins a login.
func (c *crowd) add(ctx context.Context, user, pw, addr string) {
	g := c.a.guest(addr)
	c.wg.Go(func() {
		w := httptest.NewRecorder()
		r := g.request("POST", "/login", url.Values{"username": {user}, "password": {pw}})
		g.h.ServeHTTP(w, r.WithContext(ctx))
		c.mu.Lock()
		defer c.mu.Unlock()
		c.status[fmt.Sprint(w.Code, " ", w.Header().Get("Retry-After"))]++
	})
}

// want waits for all logins, compares what came of them, and looks for what they left
// behind: that they did not have to wait for long says that none was forgotten.
func (c *crowd) want(t *testing.T, took time.Duration, status map[string]int) {
	t.Helper()
	start := time.Now()
	c.wg.Wait()
	if fmt.Sprint(c.status) != fmt.Sprint(status) {
		t.Errorf("answers %v, want %v", c.status, status)
	}
	if d := time.Since(start); d != took {
		t.Errorf("it took %v, want %v", d, took)
	}
	if lanes, waiting := c.a.auth.Turns(); lanes != 0 || waiting != 0 {
		t.Errorf("%d lanes and %d waiting are left", lanes, waiting)
	}
	c.status = map[string]int{}
}

// waiting waits until all logins are held up and compares how many wait for others.
func (c *crowd) waiting(t *testing.T, want int) {
	t.Helper()
	synctest.Wait()
	if _, n := c.a.auth.Turns(); n != want {
		t.Errorf("%d wait, want %d", n, want)
	}
}

// failures compares how many of an account's attempts count as failed.
func (a *app) failures(t *testing.T, account string, want int) {
	t.Helper()
	st, err := a.throttle.State(t.Context(), account)
	if err != nil || st.Failures != want || want == 0 && st != (throttle.State{}) {
		t.Errorf("state %+v, %v; want %d failures", st, err, want)
	}
}

// Two hundred right passwords of one user at the same moment come in five at a time:
// nobody is told that there were too many, and nothing is left behind.
func TestManyRightLoginsOfOneUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, g := gated(t, nil)
		c := &crowd{a: a, status: map[string]int{}}
		for range 200 {
			c.add(t.Context(), "alice", rightPassword, "192.0.2.1")
		}
		c.waiting(t, 195)
		close(g.open)
		c.want(t, 0, map[string]int{"303 ": 200})
		if g.most != 5 {
			t.Errorf("%d were verified at a time, want 5", g.most)
		}
		a.failures(t, "u1", 0)
	})
}

// Of two hundred wrong ones five are verified, and then all others are refused at once:
// they ask the throttle again no more than twice for each that was verified.
func TestAttack_A33_ManyWrongLoginsOfOneUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, g := gated(t, nil)
		c := &crowd{a: a, status: map[string]int{}}
		for i := range 200 {
			c.add(t.Context(), "alice", "wrong", fmt.Sprintf("192.0.2.%d", i))
		}
		c.waiting(t, 195)
		close(g.open)
		c.want(t, 0, map[string]int{"401 ": 5, "429 30": 195})
		if n := a.hashes(); n != 5 || g.asked > 210 {
			t.Errorf("%d hashes were computed and the throttle asked %d times, want 5 and 210 at most", n, g.asked)
		}
		a.failures(t, "u1", 5)
	})
}

// Where the account is full of failures, those who are refused at the same moment do
// not wait for each other, and ask once.
func TestAttack_A33_AFloodOfRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, g := gated(t, nil)
		close(g.open)
		a.fail(t, "u1", "192.0.2.1", 5)
		hold := make(chan struct{})
		g.took, g.asked = func(bool) error { <-hold; return nil }, 0
		c := &crowd{a: a, status: map[string]int{}}
		for range 100 {
			c.add(t.Context(), "alice", rightPassword, "192.0.2.1")
		}
		synctest.Wait()
		close(hold)
		c.want(t, 0, map[string]int{"429 30": 100})
		if g.asked != 100 {
			t.Errorf("the throttle was asked %d times, want 100", g.asked)
		}
		// One answer after the other, in their order, and somebody new always asks.
		answers := make(chan chan struct{}, 100)
		g.took = func(bool) error {
			answer := make(chan struct{})
			answers <- answer
			<-answer
			return nil
		}
		c.add(t.Context(), "alice", rightPassword, "192.0.2.1")
		for i := range 50 {
			c.add(t.Context(), "alice", rightPassword, "192.0.2.1")
			synctest.Wait()
			close(<-answers)
			c.waiting(t, 1)
			if n := c.status["429 30"]; n != i {
				t.Errorf("%d are answered, want %d", n, i)
			}
		}
		close(<-answers)
		c.want(t, 0, map[string]int{"429 30": 51})
	})
}

// Who is refused waits for those that the throttle has let through and not told so yet.
func TestWhoIsRefusedWaitsForAnswersUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, g := gated(t, nil)
		close(g.open)
		hold := make(chan struct{})
		g.took = func(passed bool) error {
			if passed {
				<-hold
			}
			return nil
		}
		c := &crowd{a: a, status: map[string]int{}}
		for range 8 {
			c.add(t.Context(), "alice", rightPassword, "192.0.2.1")
		}
		c.waiting(t, 3)
		close(hold)
		c.want(t, 0, map[string]int{"303 ": 8})
		a.failures(t, "u1", 0)

		// Their answers get lost: they have no turn to pass on.
		g.took = func(passed bool) error {
			if passed {
				<-hold
				return errBoom
			}
			return nil
		}
		hold = make(chan struct{})
		for range 8 {
			c.add(t.Context(), "alice", rightPassword, "192.0.2.1")
		}
		c.waiting(t, 3)
		close(hold)
		c.want(t, 0, map[string]int{"503 1": 5, "429 30": 3})
	})
}

// Who hears of a refusal when those that it was for have been settled asks once more.
func TestARefusalThatIsOutOfDate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, g := gated(t, nil)
		hold := make(chan struct{})
		g.took = func(passed bool) error {
			if !passed {
				<-hold
			}
			return nil
		}
		c := &crowd{a: a, status: map[string]int{}}
		for range 6 {
			c.add(t.Context(), "alice", rightPassword, "192.0.2.1")
		}
		synctest.Wait()
		close(g.open)
		synctest.Wait()
		close(hold)
		c.want(t, 0, map[string]int{"303 ": 6})
	})
}

// Who cannot use their turn passes it on: the store does not answer them, or they go
// away at the very moment.
func TestATurnIsPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, g := gated(t, &throttle.Options{Free: 1})
		c := &crowd{a: a, status: map[string]int{}}
		for range 3 {
			c.add(t.Context(), "alice", rightPassword, "192.0.2.1")
			synctest.Wait()
		}
		g.asks = func() error {
			g.asks = nil
			return errBoom
		}
		close(g.open)
		c.want(t, 0, map[string]int{"303 ": 2, "503 1": 1})

		for range 300 {
			gone, cancel := context.WithCancel(t.Context())
			g.hold = make(chan struct{})
			for _, ctx := range []context.Context{t.Context(), gone, t.Context()} {
				c.add(ctx, "alice", rightPassword, "192.0.2.1")
				synctest.Wait()
			}
			go cancel()
			close(g.hold)
			start := time.Now()
			c.wg.Wait()
			if c.status["303 "] < 2 || time.Since(start) > 0 {
				t.Fatalf("answers %v after %v", c.status, time.Since(start))
			}
			c.want(t, 0, c.status)
		}
	})
}

// At most 256 wait, the others are told to come back in a second; and who goes away
// leaves the place to those behind.
func TestWaitingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, g := gated(t, nil)
		c := &crowd{a: a, status: map[string]int{}}
		gone, cancel := context.WithCancel(t.Context())
		for range 5 {
			c.add(t.Context(), "alice", rightPassword, "192.0.2.1")
		}
		synctest.Wait()
		for range 226 {
			c.add(gone, "alice", rightPassword, "192.0.2.1")
		}
		synctest.Wait()
		for range 30 {
			c.add(t.Context(), "alice", rightPassword, "192.0.2.1")
		}
		c.waiting(t, 256)
		for range 40 {
			c.add(t.Context(), "alice", rightPassword, "192.0.2.1")
		}
		c.waiting(t, 256)
		if c.status["503 1"] != 40 {
			t.Errorf("answers %v", c.status)
		}
		cancel()
		c.waiting(t, 30)
		close(g.open)
		c.want(t, 0, map[string]int{"303 ": 35, "503 1": 266})
		a.failures(t, "u1", 0)
	})
}

// Nobody waits for more than five seconds, however often it was their turn.
func TestNobodyWaitsForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, g := gated(t, nil)
		c := &crowd{a: a, status: map[string]int{}}
		for i, pw := range []string{"wrong", "wrong", rightPassword, rightPassword, rightPassword, rightPassword, rightPassword} {
			c.add(t.Context(), "alice", pw, "192.0.2.1")
			c.waiting(t, max(0, i-4))
		}
		time.Sleep(3 * time.Second)
		g.hold = make(chan struct{})
		close(g.open) // the wrong ones are at their end
		c.waiting(t, 2)
		if fmt.Sprint(c.status) != "map[401 :2]" {
			t.Errorf("answers %v", c.status)
		}
		time.Sleep(2*time.Second - time.Millisecond)
		c.waiting(t, 2)
		time.Sleep(time.Millisecond)
		c.waiting(t, 0)
		close(g.hold)
		c.want(t, 0, map[string]int{"401 ": 2, "303 ": 3, "503 1": 2})
		a.failures(t, "u1", 0)
	})
}

// An office of 300 behind one network, which the throttle lets in by the hundred. What a
// network is the throttle says.
func TestManyUsersFromOneNetwork(t *testing.T) {
	for _, v := range []struct {
		format      string
		users, free int
	}{
		{"192.0.2.1", 300, throttle.DefaultSourceFree},
		{"[2001:db8:0:1::%x]", 15, 10},
	} {
		synctest.Test(t, func(t *testing.T) {
			a, g := gated(t, &throttle.Options{SourceFree: v.free})
			c := &crowd{a: a, status: map[string]int{}}
			for i := range v.users {
				name, addr := "user"+strconv.Itoa(i), v.format
				a.users.set(func(u *accounts) {
					u.users[name] = &account{User: auth.User{ID: name, Name: name, Password: rightHash()}, canonical: name}
				})
				if strings.Contains(addr, "%") {
					addr = fmt.Sprintf(addr, i+1)
				}
				c.add(t.Context(), name, rightPassword, addr)
			}
			c.waiting(t, v.users-v.free)
			if g.most != v.free {
				t.Errorf("%d were let through, want %d", g.most, v.free)
			}
			close(g.open)
			c.want(t, 0, map[string]int{"303 ": v.users})
			a.failures(t, "user7", 0)
		})
	}
}

// Right and wrong ones of several users, at several addresses: the right ones come in
// where fewer are wrong than an account has free, and nobody is forgotten.
func TestRightAndWrongLoginsTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, g := gated(t, nil)
		c := &crowd{a: a, status: map[string]int{}}
		for i := range 20 {
			for _, user := range []string{"alice", "bob", "must"} {
				pw := rightPassword
				if i%5 == 3 {
					pw = "wrong"
				}
				c.add(t.Context(), user, pw, fmt.Sprintf("192.0.2.%d", i%7))
			}
		}
		c.waiting(t, 3*15)
		close(g.open)
		c.want(t, 0, map[string]int{"303 ": 3 * 16, "401 ": 3 * 4})
		for _, id := range []string{"u1", "u2", "u7"} {
			if st, err := a.throttle.State(t.Context(), id); err != nil || st.Failures > 4 || !st.Until.IsZero() {
				t.Errorf("%s: state %+v, %v", id, st, err)
			}
		}
	})
}

// A panic on the way, of the store or while a password is verified, leaves nobody in a
// turn that never ends.
func TestAPanicEndsTheTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, g := gated(t, nil)
		try := func() (died any) {
			defer func() { died = recover() }()
			a.guest("192.0.2.1").login("alice", rightPassword)
			return nil
		}
		g.took = func(bool) error { panic("the store") }
		if died := try(); died != "the store" {
			t.Errorf("died of %v", died)
		}
		g.took = nil
		a.users.change("u1", func(u *account) {
			u.Password = "$sealed$v=1$" + base64.RawStdEncoding.EncodeToString([]byte("gate:panic"))
		})
		close(g.open)
		if try() == nil {
			t.Error("no panic while a password was verified")
		}
		if lanes, waiting := a.auth.Turns(); lanes != 0 || waiting != 0 {
			t.Errorf("%d lanes and %d waiting are left", lanes, waiting)
		}
	})
}
