package keys_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keys"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// chaos is three instances to which anything may happen.
type chaos struct {
	*testing.T
	rand *rand.Rand
	m    *memory
	s    *state

	mu      sync.Mutex
	all     [3]*instance // that serve
	retires bool         // somebody ends a key: who signs with it is refused, and is meant to be
	ended   map[keyring.KeyID]bool
	seen    int // how often the invariant was looked at
	did     map[string]int
}

// starts starts an instance: it serves from the moment that Begin has returned.
func (c *chaos) starts(n int) {
	i := run(c, c.m, c.s, func(o *keys.Options) {
		o.Instance.ID = fmt.Sprintf("web-%d at %d", n, time.Now().UnixMilli())
		o.Rotation, o.Lifetime = 20*time.Minute, 15*time.Minute
		o.Interval = time.Duration(1+c.rand.IntN(60)) * time.Second
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all[n] = i
}

// watch looks at every moment whether each instance accepts what any other signs, and
// no key that was ended.
func (c *chaos) watch(end <-chan struct{}) {
	for {
		select {
		case <-end:
			return
		case <-time.After(330 * time.Millisecond):
		}
		c.mu.Lock()
		for _, a := range c.all {
			for _, b := range c.all {
				if a == nil || b == nil || a == b || c.retires {
					continue
				}
				c.seen++
				if id, tag := a.sign.Sign(nil); !b.sign.Verify(id, nil, tag[:]) {
					c.Errorf("at %v: what %v signs is refused by one that has %v", time.Now().UTC(), a.ring.Keys()[0], b.ring.Keys())
				}
			}
			if a != nil && !c.retires && c.ended[a.ring.Active()] {
				c.Errorf("%v signs, which was ended", a.ring.Active())
			}
		}
		c.mu.Unlock()
		if c.Failed() {
			return
		}
	}
}

// rotator returns that of a command.
func (c *chaos) rotator() *keys.Rotator {
	r := rotator(c.m, c.s)
	r.Lifetime, r.Interval = 15*time.Minute, time.Minute
	return r
}

// step lets one thing happen.
func (c *chaos) step() {
	n := c.rand.IntN(3)
	i := c.all[n]
	ops := map[string]func(){
		"restart": func() { c.gone(n); i.stop(); time.Sleep(c.upTo(3 * time.Second)); c.starts(n) },
		"crash":   func() { c.gone(n); i.die(); time.Sleep(c.upTo(time.Minute)); c.starts(n) },
		"source":  func() { c.m.set(errAway); time.Sleep(c.upTo(2 * time.Minute)); c.m.set(nil) },
		"view":    func() { i.src.set(errAway); c.meanwhile(); i.src.set(nil) },
		"fleet":   func() { i.link.set(errAway); c.meanwhile(); i.link.set(nil) },
		"rotate":  func() { c.rotator().Rotate(c.Context()) },
		"halfway": func() { c.rotator().Announce(c.Context()) },
		"back":    func() { c.rotator().Rollback(c.Context()) },
		"prune":   func() { c.rotator().Prune(c.Context()) },
		"retire":  c.retire,
		"pass":    func() { time.Sleep(c.upTo(5 * time.Minute)) },
	}
	names := []string{"restart", "crash", "source", "view", "fleet", "rotate", "rotate", "halfway", "back", "prune", "retire", "pass", "pass"}
	name := names[c.rand.IntN(len(names))]
	c.did[name]++
	ops[name]()
	time.Sleep(c.upTo(5 * time.Second))
}

func (c *chaos) upTo(d time.Duration) time.Duration { return time.Duration(c.rand.Int64N(int64(d))) }

// meanwhile is a fault of one instance, while somebody rotates or takes it back.
func (c *chaos) meanwhile() {
	switch c.rand.IntN(3) {
	case 0:
		c.rotator().Rotate(c.Context())
	case 1:
		c.rotator().Rollback(c.Context())
	}
	time.Sleep(c.upTo(2 * time.Minute))
}

// gone takes an instance out of those that serve.
func (c *chaos) gone(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all[n] = nil
}

// retire ends a key. What it signed, on every instance, is refused when that returns.
func (c *chaos) retire() {
	list := c.m.keys(c)
	k := list[c.rand.IntN(len(list))]
	if k.State() == keyring.Next {
		return
	}
	c.mu.Lock()
	c.retires = true
	c.mu.Unlock()
	err := c.rotator().Retire(c.Context(), k.ID())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retires = false
	if silent, ok := errors.AsType[*keys.SilentError](err); ok {
		for _, s := range silent.Silent { // they have crashed
			if slices.ContainsFunc(c.all[:], func(i *instance) bool { return i.ID() == s.ID }) {
				c.Errorf("retire: %s runs: %v", s.ID, err)
			}
		}
		err = nil
	}
	if err != nil {
		c.Errorf("retire: %v", err)
	}
	c.ended[k.ID()] = true
	for _, i := range c.all {
		for _, info := range i.ring.Keys() {
			if info.ID == k.ID() && (info.State != keyring.Retiring || time.Now().Before(info.Until)) {
				c.Errorf("it is accepted still: %v", info)
			}
		}
	}
}

// Whatever happens to three instances, and to what they depend on, while keys are
// rotated by schedule and by hand, taken back and ended: at every moment each accepts
// what any other signs, and none a key that was ended.
func TestAttack_A15_EveryInstanceAcceptsWhatOthersSign(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &chaos{T: t, rand: rand.New(rand.NewPCG(seed, 0)), m: source(t, keyring.Generate()), s: database(),
					ended: map[keyring.KeyID]bool{}, did: map[string]int{}}
				for n := range c.all {
					c.starts(n)
				}
				end := make(chan struct{})
				var wg sync.WaitGroup
				wg.Go(func() { c.watch(end) })
				for range 30 {
					if !t.Failed() {
						c.step()
					}
				}
				close(end)
				wg.Wait()
				must(t, c.rotator().Await(t.Context()))
				if c.seen < 3000 || len(c.did) < 6 {
					t.Errorf("looked %d times, %v: nothing was shown", c.seen, c.did)
				}
			})
		})
	}
}
