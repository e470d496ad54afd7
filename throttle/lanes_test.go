package throttle_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/throttle"
)

// The table of the documentation has the numbers of the code.
func TestASVS_6_1_1_DocumentedNumbersAreTheDefaults(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Join(strings.Fields(string(doc)), " ")
	for _, want := range []string{
		fmt.Sprintf("account the account, from everywhere, %d %d s, doubling to %d h %d in a row", throttle.DefaultFree,
			throttle.DefaultDelay/time.Second, throttle.DefaultMaxDelay/time.Hour, throttle.DefaultLock),
		fmt.Sprintf("pair the account from one source %d the same never", throttle.DefaultFree),
		fmt.Sprintf("source one source, whatever the %d the same never", throttle.DefaultSourceFree),
		fmt.Sprintf("device one known device of the account, %d the same %d in a row", throttle.DefaultFree, throttle.DefaultLock),
		fmt.Sprintf("forgotten %d hours after", throttle.DefaultForget/time.Hour),
	} {
		if !strings.Contains(strings.ReplaceAll(words, "// ", ""), want) {
			t.Errorf("the package comment does not say %q", want)
		}
	}
}

// Five attempts go wrong at once, the sixth waits: from everywhere together.
func TestASVS_6_3_1_OneAccountFromManySources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle(t)
		for i := range 5 {
			begin(t, th, throttle.Attempt{Account: "bob", Source: fmt.Sprintf("192.0.2.%d", i)})
		}
		if got := refused(t, th, throttle.Attempt{Account: "bob", Source: "198.51.100.1"}, "account"); got != throttle.DefaultDelay {
			t.Errorf("wait %v", got)
		}
	})
}

// One source tries one password at many accounts.
func TestASVS_6_3_1_ManyAccountsFromOneSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th, passed := newThrottle(t), 0
		for i := range 1000 {
			if _, err := th.Begin(t.Context(), throttle.Attempt{Account: fmt.Sprint(i), Source: "192.0.2.7"}); err == nil {
				passed++
			}
		}
		if passed != throttle.DefaultSourceFree {
			t.Errorf("%d passed, want %d", passed, throttle.DefaultSourceFree)
		}
		begin(t, th, throttle.Attempt{Account: "999", Source: "192.0.2.8"})
		time.Sleep(throttle.DefaultDelay)
		begin(t, th, throttle.Attempt{Account: "1", Source: "192.0.2.7"})
		refused(t, th, throttle.Attempt{Account: "2", Source: "192.0.2.7"}, "source")
	})
}

// A refused attempt counts nowhere: an account that was tried by a source that is
// refused has all its attempts left.
func TestASVS_6_3_1_RefusedCountsNowhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle(t)
		for i := range throttle.DefaultSourceFree {
			begin(t, th, throttle.Attempt{Account: fmt.Sprint(i), Source: "192.0.2.7"})
		}
		for range 50 {
			refused(t, th, bob, "source")
		}
		if s, err := th.State(t.Context(), "bob"); err != nil || s != (throttle.State{}) {
			t.Errorf("%+v, %v", s, err)
		}
		fail(t, th, throttle.Attempt{Account: "bob", Source: "192.0.2.8"}, 5)
	})
}

// A hundred failures in a row lock the account, exactly; no time opens it, and the
// right password does not; an unlock does.
func TestNIST_3_2_2_a_LocksAtAHundred(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle(t)
		state := func(failures int, locked bool) {
			t.Helper()
			if s, err := th.State(t.Context(), "bob"); err != nil || s.Failures != failures || s.Locked != locked {
				t.Fatalf("%+v, %v; want %d failures, locked: %t", s, err, failures, locked)
			}
		}
		fail(t, th, bob, 99)
		state(99, false)
		time.Sleep(throttle.DefaultForget)
		if begin(t, th, bob).Locked {
			t.Fatal("the hundredth is not verified")
		}
		state(100, true)
		for range 3 {
			time.Sleep(365 * 24 * time.Hour)
			if _, err := th.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			tk := begin(t, th, bob)
			if !tk.Locked {
				t.Fatal("a year has opened it")
			}
			succeed(t, th, tk)
			state(100, true)
		}
		if err := th.Unlock(t.Context(), "bob"); err != nil {
			t.Fatal(err)
		}
		state(0, false)
		tk := begin(t, th, bob)
		if tk.Locked {
			t.Fatal("Unlock has not opened it")
		}
		succeed(t, th, tk)
	})
}

// Account and device are attacked: each is locked by its own failures, and waiting
// opens neither.
func TestNIST_3_2_2_b_EachLocksByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th, phone := newThrottle(t), bob
		phone.Device = "phone"
		fail(t, th, bob, 100)
		time.Sleep(throttle.DefaultForget)
		if begin(t, th, phone).Locked || !begin(t, th, bob).Locked {
			t.Fatal("want the account locked and the device not")
		}
		fail(t, th, phone, 99)
		time.Sleep(throttle.DefaultForget)
		tk := begin(t, th, phone)
		if !tk.Locked {
			t.Fatal("want the device locked after a hundred of its own")
		}
		if err := th.Unlock(t.Context(), "bob"); err != nil {
			t.Fatal(err)
		}
		if begin(t, th, bob).Locked || begin(t, th, phone).Locked {
			t.Error("Unlock has not opened both")
		}
	})
}

// A success ends the row of failures.
func TestNIST_3_2_2_d_SuccessEndsTheRow(t *testing.T) {
	for _, right := range []throttle.Attempt{bob, {Account: "bob", Source: "198.51.100.1"}, {Account: "bob", Source: "198.51.100.1", Device: "phone"}} {
		synctest.Test(t, func(t *testing.T) {
			th := newThrottle(t)
			fail(t, th, bob, 99)
			time.Sleep(throttle.DefaultMaxDelay)
			succeed(t, th, begin(t, th, right))
			fail(t, th, bob, 99)
			if s, _ := th.State(t.Context(), "bob"); s.Failures != 99 || s.Locked {
				t.Errorf("%+v behind 99 failures, a success, 99 failures", s)
			}
		})
	}
}

// Delays are forgotten a day after the last failure, the row of failures is not.
func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle(t)
		fail(t, th, bob, 10)
		time.Sleep(throttle.DefaultForget)
		for range 5 {
			begin(t, th, bob)
		}
		if got := refused(t, th, bob, "account"); got != throttle.DefaultDelay {
			t.Errorf("wait %v", got)
		}
		if s, _ := th.State(t.Context(), "bob"); s.Failures != 15 || !s.Until.Equal(time.Now().Add(throttle.DefaultDelay)) {
			t.Errorf("%+v", s)
		}
		time.Sleep(30 * 24 * time.Hour)
		if n, err := th.Sweep(t.Context()); n != 3 || err != nil {
			t.Errorf("swept %d, %v", n, err)
		}
	})
}

// The text of the address does not make a source: its network does. What is no
// address is one source.
func TestAttack_A31_SourcesAreNetworks(t *testing.T) {
	many := func(f func(i int) string) (texts []string) {
		for i := range 1000 {
			texts = append(texts, f(i))
		}
		return texts
	}
	for name, texts := range map[string][]string{
		"one /64":            many(func(i int) string { return fmt.Sprintf("2001:db8:0:7:%x::%x", i, i*7) }),
		"one with ports":     many(func(i int) string { return fmt.Sprintf("192.0.2.1:%d", i+1) }),
		"one with zones":     many(func(i int) string { return fmt.Sprintf("fe80::1%%eth%d", i) }),
		"IPv4 within IPv6":   many(func(i int) string { return []string{"192.0.2.1", "::ffff:192.0.2.1", "[::ffff:c000:201]:8"}[i%3] }),
		"garbage":            many(func(i int) string { return fmt.Sprintf("%d\x00, 192.0.2.%d", i, i) }),
		"nothing and a path": many(func(i int) string { return strings.Repeat("/run/x", i) }),
	} {
		th, passed := newThrottle(t), 0
		for i, text := range texts {
			if _, err := th.Begin(t.Context(), throttle.Attempt{Account: fmt.Sprint(i), Source: text}); err == nil {
				passed++
			}
		}
		if passed != throttle.DefaultSourceFree {
			t.Errorf("%s: %d passed, want %d", name, passed, throttle.DefaultSourceFree)
		}
	}
	// Others are others.
	th := newThrottle(t)
	for _, text := range []string{"192.0.2.1", "192.0.2.2", "2001:db8:0:1::", "2001:db8:0:2::", ""} {
		for i := range throttle.DefaultSourceFree {
			begin(t, th, throttle.Attempt{Account: text + "!" + fmt.Sprint(i), Source: text})
		}
	}
}

// No two attempts share a lane because their texts read alike when put together.
func TestAttack_A32_LanesAreNotMixedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle(t)
		for _, a := range []throttle.Attempt{
			{Account: "ab", Device: "c"}, {Account: "a", Device: "bc"}, {Account: "", Device: "abc"}, {Account: "abc\x00", Device: "\x00"},
			{Account: "ab", Source: "192.0.2.1"}, {Account: "a", Source: "192.0.2.2"}, {Account: "", Source: "192.0.2.3"},
			{Account: strings.Repeat("long", 1<<18), Source: "192.0.2.4"},
		} {
			for range 5 {
				begin(t, th, a)
			}
			if _, err := th.Begin(t.Context(), a); err == nil {
				t.Errorf("%.20q, %q: a sixth one passed", a.Account, a.Device)
			}
		}
	})
}

// Of 200 guesses at the same moment five are verified.
func TestAttack_A33_ParallelGuesses(t *testing.T) {
	th := newThrottle(t)
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		passed int
		start  = make(chan struct{})
	)
	for i := range 200 {
		wg.Go(func() {
			<-start
			_, err := th.Begin(t.Context(), throttle.Attempt{Account: "bob", Source: fmt.Sprintf("192.0.2.%d", i)})
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				passed++
			}
		})
	}
	close(start)
	wg.Wait()
	if passed != throttle.DefaultFree {
		t.Errorf("%d passed, want %d", passed, throttle.DefaultFree)
	}
}

// Who keeps the account's lane full keeps nobody waiting who has a known device,
// be it from the same network and behind a lock.
func TestAttack_A34_OwnerOnAKnownDeviceIsNotLockedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th, owner := newThrottle(t), bob
		owner.Device = "phone"
		for range 100 {
			fail(t, th, bob, 1)
			for i := range 3 { // and the source's lane
				th.Begin(t.Context(), throttle.Attempt{Account: fmt.Sprint(i), Source: bob.Source})
			}
			tk := begin(t, th, owner)
			if tk.Locked {
				t.Fatal("the owner is locked out")
			}
			if err := th.Cancel(t.Context(), tk); err != nil {
				t.Fatal(err)
			}
		}
		if s, _ := th.State(t.Context(), "bob"); !s.Locked {
			t.Fatalf("%+v, want it locked", s)
		}
		succeed(t, th, begin(t, th, owner))
		if s, _ := th.State(t.Context(), "bob"); !s.Locked {
			t.Error("a success on a known device has opened the account")
		}
		// The device is no way around: five attempts, then the delays.
		fail(t, th, owner, 5)
		if got := refused(t, th, owner, "device"); got != throttle.DefaultDelay {
			t.Errorf("wait %v", got)
		}
	})
}

// A failure on a known device is one of the account's hundred.
func TestFailuresOfADeviceCountForTheAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle(t)
		for i := range 10 {
			fail(t, th, throttle.Attempt{Account: "bob", Source: bob.Source, Device: fmt.Sprint(i)}, 10)
		}
		if s, _ := th.State(t.Context(), "bob"); !s.Locked || !s.Until.IsZero() {
			t.Errorf("%+v, want it locked and without a delay", s)
		}
		if !begin(t, th, bob).Locked {
			t.Error("the account is not locked")
		}
	})
}

// The owner's login elsewhere gives the attacker's network no new attempts.
func TestSuccessElsewhereLeavesThePair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle(t)
		fail(t, th, bob, 5)
		time.Sleep(throttle.DefaultDelay)
		succeed(t, th, begin(t, th, throttle.Attempt{Account: "bob", Source: "198.51.100.1"}))
		begin(t, th, bob) // the delay is over
		if got := refused(t, th, bob, "pair"); got != 2*throttle.DefaultDelay {
			t.Errorf("wait %v", got)
		}
		begin(t, th, throttle.Attempt{Account: "bob", Source: "198.51.100.1"})
	})
}

// A success on an unknown device clears the account's delays and those of its pair;
// one on a known device clears neither; an unlock clears both.
func TestWhatIsCleared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th, elsewhere, phone := newThrottle(t), bob, bob
		elsewhere.Source, phone.Device = "198.51.100.1", "phone"
		fail(t, th, bob, 5)
		succeed(t, th, begin(t, th, phone))
		if got := refused(t, th, bob, "account"); got != throttle.DefaultDelay {
			t.Errorf("wait %v behind a success on a known device", got)
		}
		time.Sleep(throttle.DefaultDelay)
		succeed(t, th, begin(t, th, bob))
		for range 5 {
			begin(t, th, bob)
		}
		refused(t, th, bob, "account")
		if err := th.Unlock(t.Context(), "bob"); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			begin(t, th, bob)
		}
		refused(t, th, elsewhere, "account")
	})
}

// Whoever has an account of his own does not buy guesses at others with it.
func TestSuccessGivesTheSourceOneBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle(t)
		for i := range throttle.DefaultSourceFree - 1 {
			begin(t, th, throttle.Attempt{Account: fmt.Sprint(i), Source: bob.Source})
			succeed(t, th, begin(t, th, throttle.Attempt{Account: "eve", Source: bob.Source}))
		}
		begin(t, th, bob)
		refused(t, th, throttle.Attempt{Account: "eve", Source: bob.Source}, "source")
	})
}

// Right passwords at the same moment: the sixth waits, until one has succeeded;
// in the end nothing is left.
func TestRightPasswordsAtTheSameMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle(t)
		for _, a := range []throttle.Attempt{bob, {Account: "bob", Device: "phone"}} {
			var out []*throttle.Ticket
			for range 5 {
				out = append(out, begin(t, th, a))
			}
			lane := "account"
			if a.Device != "" {
				lane = "device"
			}
			if got := refused(t, th, a, lane); got != throttle.DefaultDelay {
				t.Errorf("wait %v", got)
			}
			succeed(t, th, out[0])
			out = append(out[1:], begin(t, th, a))
			for _, tk := range out {
				succeed(t, th, tk)
			}
			if s, err := th.State(t.Context(), "bob"); err != nil || s != (throttle.State{}) {
				t.Errorf("%+v, %v behind successes alone", s, err)
			}
		}
		if n, _ := th.Sweep(t.Context()); n != 0 {
			t.Errorf("%d counters are left", n)
		}
		time.Sleep(365 * 24 * time.Hour)
		if n, _ := th.Sweep(t.Context()); n != 0 {
			t.Errorf("%d counters are left", n)
		}
	})
}

// Cancel gives back what was taken, and nothing that others took since.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle(t)
		ctx, end := context.WithCancel(t.Context())
		for range 20 {
			tk, err := th.Begin(ctx, bob)
			if err != nil {
				t.Fatal(err)
			}
			if err := th.Cancel(ctx, tk); err != nil {
				t.Fatal(err)
			}
		}
		tk := begin(t, th, bob)
		end() // the client has gone
		if err := th.Cancel(ctx, tk); err != nil {
			t.Errorf("Cancel of a client that has gone: %v", err)
		}
		if err := th.Cancel(t.Context(), tk); err == nil {
			t.Error("it can be cancelled twice")
		}
		old := begin(t, th, bob)
		if err := th.Unlock(t.Context(), "bob"); err != nil {
			t.Fatal(err)
		}
		fail(t, th, bob, 2)
		if err := th.Cancel(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		if s, _ := th.State(t.Context(), "bob"); s.Failures != 2 {
			t.Errorf("%+v behind two failures", s)
		}
	})
}

// failing is a store that is away.
type failing struct{ throttle.Store }

var errAway = errors.New("away")

func (failing) Take(context.Context, []throttle.Lane, time.Time) ([]throttle.Mark, *throttle.Refusal, error) {
	return nil, nil, errAway
}
func (failing) Settle(context.Context, []throttle.Return) error { return errAway }
func (failing) Read(context.Context, throttle.Key) (throttle.Counter, error) {
	return throttle.Counter{}, errAway
}
func (failing) Drop(context.Context, throttle.Key) error      { return errAway }
func (failing) Sweep(context.Context, time.Time) (int, error) { return 0, errAway }

// A store that is away lets nobody through, and refuses nobody: it is an error.
func TestStoreAway(t *testing.T) {
	good := newThrottle(t)
	th, err := throttle.New(failing{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	tk, err := th.Begin(t.Context(), bob)
	if r, ok := errors.AsType[*throttle.RefusedError](err); tk != nil || !errors.Is(err, errAway) || ok {
		t.Errorf("Begin: %v, %v, %v", tk, err, r)
	}
	errs := []error{th.Succeed(t.Context(), begin(t, good, bob)), th.Cancel(t.Context(), begin(t, good, bob)), th.Unlock(t.Context(), "bob")}
	_, err = th.State(t.Context(), "bob")
	errs = append(errs, err)
	_, err = th.Sweep(t.Context())
	for i, err := range append(errs, err) {
		if !errors.Is(err, errAway) || !strings.HasPrefix(err.Error(), "throttle: ") {
			t.Errorf("call %d: %v", i, err)
		}
	}
}

// What New has not made lets nobody through.
func TestZeroValues(t *testing.T) {
	for _, th := range []*throttle.Throttle{nil, {}} {
		tk, err := th.Begin(t.Context(), bob)
		_, err2 := th.State(t.Context(), "bob")
		_, err3 := th.Sweep(t.Context())
		if tk != nil || err == nil || err2 == nil || err3 == nil || th.Unlock(t.Context(), "bob") == nil ||
			th.Succeed(t.Context(), &throttle.Ticket{}) == nil || th.Cancel(t.Context(), nil) == nil {
			t.Errorf("a zero Throttle works: %v, %v", tk, err)
		}
	}
	th := newThrottle(t)
	for _, tk := range []*throttle.Ticket{nil, {}} {
		if th.Succeed(t.Context(), tk) == nil || th.Cancel(t.Context(), tk) == nil {
			t.Error("a zero Ticket is settled")
		}
	}
}

// All faults of the options come at once; the limits themselves are fine.
func TestOptions(t *testing.T) {
	bad := throttle.Options{Free: -1, SourceFree: -1, Delay: -1, MaxDelay: 48 * time.Hour, Forget: time.Hour, Lock: 101}
	_, err := throttle.New(nil, &bad)
	for _, name := range []string{"Free", "SourceFree", "Delay", "MaxDelay", "Forget", "Lock"} {
		if err == nil || !strings.Contains(err.Error(), "throttle: "+name+" is ") {
			t.Errorf("%s is not named in: %v", name, err)
		}
	}
	for _, o := range []throttle.Options{
		{}, {Free: 1, Lock: 1}, {Free: 100}, {SourceFree: 1e6}, {Delay: time.Second, MaxDelay: time.Second, Forget: 2 * time.Second},
		{Delay: 24 * time.Hour, MaxDelay: 24 * time.Hour, Forget: 30 * 24 * time.Hour},
	} {
		if _, err := throttle.New(nil, &o); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
	for _, o := range []throttle.Options{
		{Free: 6, Lock: 5}, {Delay: time.Hour + 1}, {Delay: 999 * time.Millisecond}, {Forget: 2*time.Hour - 1}, {Forget: 31 * 24 * time.Hour}, {SourceFree: 1e6 + 1},
	} {
		if _, err := throttle.New(nil, &o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}
