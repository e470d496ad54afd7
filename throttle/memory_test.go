package throttle_test

import (
	"crypto/sha256"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/throttle"
	"github.com/cloakroom-dev/cloakroom/throttle/throttletest"
)

func TestMemory(t *testing.T) {
	throttletest.Run(t, func(*testing.T) throttle.Store { return throttle.NewMemory() })
}

// account is the lane of an account, one of a source or the like where it does not
// lock.
func account(name any, lock int) throttle.Lane {
	l := throttle.Lane{
		Name: "account", Key: sha256.Sum256(fmt.Append(nil, name)), Free: 5, Lock: lock, Keep: 30 * 24 * time.Hour,
		Delay: 30 * time.Second, MaxDelay: time.Hour, Forget: 24 * time.Hour,
	}
	l.Owner = l.Key
	return l
}

// A million names that somebody makes up neither push a victim's counter out, nor
// take more room than the bound.
func TestAttack_A34_OtherNamesEvictNobody(t *testing.T) {
	m, now := throttle.NewMemorySize(10_000), time.Now()
	take := func(l throttle.Lane) *throttle.Refusal {
		_, refused, err := m.Take(t.Context(), []throttle.Lane{l}, now)
		if err != nil {
			t.Fatal(err)
		}
		return refused
	}
	victim := account("victim", 100)
	for range 4 {
		take(victim)
	}
	for i := range 1_000_000 {
		take(account(i, 100))
	}
	if c, _ := m.Read(t.Context(), victim.Key); c.Fails != 4 || c.Total != 4 {
		t.Errorf("the victim's counter is %+v", c)
	}
	if take(victim) != nil || take(victim) == nil {
		t.Error("want one more attempt at the victim and no second one")
	}
	// Who comes last shares a counter, and has no more attempts than alone.
	late, passed := account("late", 100), 0
	for range 10 {
		if take(late) == nil {
			passed++
		}
	}
	if passed > 5 {
		t.Errorf("%d attempts at one that came late, want at most 5", passed)
	}
	if n, err := m.Sweep(t.Context(), now.Add(1000*time.Hour)); err != nil || n > 10_000 {
		t.Errorf("%d counters were kept, %v; want at most 10000", n, err)
	}
}

// Where counters are shared, neither a success nor a lock of one is that of the
// others, and when there is room again nobody has attempts that were counted.
func TestSharedCounters(t *testing.T) {
	m, now := throttle.NewMemorySize(1), time.Now()
	take := func(l throttle.Lane) ([]throttle.Mark, *throttle.Refusal) {
		marks, refused, err := m.Take(t.Context(), []throttle.Lane{l}, now)
		if err != nil {
			t.Fatal(err)
		}
		return marks, refused
	}
	for i := range 1000 { // every part is full
		take(account(i, 100))
	}
	now = now.Add(30 * 24 * time.Hour).Add(-time.Second) // delays are forgotten, nothing is due
	late := account("late", 100)
	for range 4 {
		if _, refused := take(late); refused != nil {
			t.Fatal("refused")
		}
	}
	marks, _ := take(late)
	if _, refused := take(late); refused == nil {
		t.Fatal("a sixth one passed")
	}
	// A success gives one back and not five.
	if err := m.Settle(t.Context(), []throttle.Return{{Lane: late, Mark: marks[0], How: throttle.Clear}}); err != nil {
		t.Fatal(err)
	}
	if _, refused := take(late); refused != nil {
		t.Fatal("the success was not given back")
	}
	if _, refused := take(late); refused == nil {
		t.Fatal("a success cleared what others share")
	}
	// There is room: what was counted is taken along.
	now = now.Add(time.Second)
	if n, err := m.Sweep(t.Context(), now); n == 0 || err != nil {
		t.Fatal(n, err)
	}
	if _, refused := take(late); refused == nil {
		t.Error("the room brought new attempts")
	}
	now = now.Add(30 * time.Second)
	if _, refused := take(late); refused != nil {
		t.Error("the delay did not end")
	}
	if c, _ := m.Read(t.Context(), late.Key); c.Fails != 6 || c.Total != 1 {
		t.Errorf("it is %+v, want 6 attempts and one failure of its own", c)
	}
	// Shared counters never lock.
	m, now = throttle.NewMemorySize(1), time.Now()
	for i := range 1000 {
		take(account(i, 100))
	}
	for range 300 {
		now = now.Add(time.Hour)
		if marks, refused := take(late); refused != nil || marks[0].Locked {
			t.Fatalf("%+v, %+v", marks, refused)
		}
	}
}

func BenchmarkBegin(b *testing.B) {
	t, err := throttle.New(nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	a := throttle.Attempt{Account: "bob", Source: "192.0.2.1"}
	b.ReportAllocs()
	for b.Loop() {
		tk, err := t.Begin(b.Context(), a)
		if err != nil {
			b.Fatal(err)
		}
		if err := t.Succeed(b.Context(), tk); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRefused is what a flood costs.
func BenchmarkRefused(b *testing.B) {
	t, err := throttle.New(nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	a := throttle.Attempt{Account: "bob", Source: "192.0.2.1"}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			t.Begin(b.Context(), a)
		}
	})
}

// BenchmarkTake is the store alone, in one lane.
func BenchmarkTake(b *testing.B) {
	m, now, lanes := throttle.NewMemory(), time.Now(), []throttle.Lane{account("bob", 0)}
	lanes[0].Free = 1 << 29
	b.ReportAllocs()
	for b.Loop() {
		if _, refused, err := m.Take(b.Context(), lanes, now); err != nil || refused != nil {
			b.Fatal(refused, err)
		}
	}
}

// BenchmarkFloor is a map behind a mutex, which counts and does nothing else.
func BenchmarkFloor(b *testing.B) {
	var (
		mu sync.Mutex
		m  = make(map[throttle.Key]throttle.Counter)
		k  = throttle.Key{1}
	)
	b.ReportAllocs()
	for b.Loop() {
		mu.Lock()
		c := m[k]
		c.Fails++
		m[k] = c
		mu.Unlock()
	}
}
