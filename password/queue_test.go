package password_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/password"
)

// crowd sends hashes of one second each to a Hasher, one after the other.
type crowd struct {
	h                *password.Hasher
	load             load
	done, busy, gone atomic.Int32
}

func newCrowd(t *testing.T, opts password.Options) *crowd {
	opts.Wait = time.Hour
	c := &crowd{h: newHasher(t, &opts)}
	c.load.hold(c.h, time.Second)
	return c
}

// send lets n calls of a source wait.
func (c *crowd) send(ctx context.Context, source string, n int) {
	for i := range n {
		go func() {
			_, err := c.h.Hash(password.WithSource(ctx, source), fmt.Sprintf("%s %d", source, i))
			var busy *password.BusyError
			switch {
			case err == nil:
				c.done.Add(1)
			case errors.As(err, &busy):
				c.busy.Add(1)
			default:
				c.gone.Add(1)
			}
		}()
		synctest.Wait()
	}
}

// order is what was computed, by source.
func (c *crowd) order() []string {
	synctest.Wait()
	c.load.mu.Lock()
	defer c.load.mu.Unlock()
	var names []string
	for _, pw := range c.load.order {
		name, _, _ := strings.Cut(pw, " ")
		names = append(names, name)
	}
	return names
}

func TestASVS_15_4_4_SourcesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, password.Options{Parallel: 1})
		c.send(ctx, "a", 7) // the first has its place
		c.send(ctx, "b", 2)
		c.send(ctx, "c", 1)
		time.Sleep(time.Minute)
		want := []string{"a", "a", "b", "c", "a", "b", "a", "a", "a", "a"}
		if got := c.order(); !slices.Equal(got, want) {
			t.Errorf("order is %q, want %q", got, want)
		}
		if !slices.IsSorted(slices.DeleteFunc(slices.Clone(c.load.order), func(s string) bool { return s[0] != 'a' })) {
			t.Errorf("one source's own order is %q", c.load.order)
		}
	})
}

// Whoever fills the queue, others get in: at the cost of the one who fills it.
func TestASVS_15_4_4_OneSourceCannotFillTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, password.Options{Parallel: 1, Queue: 10})
		c.send(ctx, "a", 500)
		if c.busy.Load() != 489 {
			t.Fatalf("%d refused", c.busy.Load())
		}
		c.send(ctx, "b", 3)
		c.send(ctx, "c", 1)
		if c.busy.Load() != 493 || c.h.Stats().Waiting != 10 {
			t.Errorf("%d refused and %d wait, want 493 and 10", c.busy.Load(), c.h.Stats().Waiting)
		}
		c.send(ctx, "b", 500) // up to as many as the other has, and not more
		time.Sleep(time.Hour)
		count := map[string]int{}
		for _, name := range c.order() {
			count[name]++
		}
		if count["a"] != 1+5 || count["b"] != 4 || count["c"] != 1 {
			t.Errorf("computed %v, want 6 of a, 4 of b, 1 of c", count)
		}
		if s := c.h.Stats(); s.Waiting != 0 || s.Running != 0 || s.Done != 11 || s.Busy != 500+3+1+500-11 {
			t.Errorf("%+v", s)
		}
	})
}

// A queue of many sources with one each is nobody's fault.
func TestNoSourceIsDisplacedForOneThatWaitsAsLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, password.Options{Parallel: 1, Queue: 10})
		for i := range 30 {
			c.send(ctx, fmt.Sprint(i), 1)
		}
		time.Sleep(time.Minute)
		var want []string
		for i := range 11 {
			want = append(want, fmt.Sprint(i))
		}
		if got := c.order(); !slices.Equal(got, want) {
			t.Errorf("order is %q", got)
		}
	})
}

// Who goes away frees the place in the queue, that of the whole source as well.
func TestAttack_A21_ASourceThatWentAwayFreesItsPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, password.Options{Parallel: 1, Queue: 10})
		c.send(ctx, "first", 1)
		gone, cancel := context.WithCancel(ctx)
		c.send(gone, "a", 8)
		c.send(ctx, "b", 2)
		cancel()
		synctest.Wait()
		if s := c.h.Stats(); s.Waiting != 2 || c.gone.Load() != 8 {
			t.Errorf("%d wait, %d are gone", s.Waiting, c.gone.Load())
		}
		c.send(ctx, "c", 8)
		if c.busy.Load() != 0 {
			t.Errorf("%d refused", c.busy.Load())
		}
		time.Sleep(time.Minute)
		if got := c.order(); len(got) != 11 || slices.Contains(got, "a") {
			t.Errorf("order is %q", got)
		}
	})
}

// Customers have one IPv4 address, or 2⁶⁴ of IPv6.
func TestSourcesAreNetworks(t *testing.T) {
	for _, same := range [][]string{
		{"192.0.2.1", "::ffff:192.0.2.1"},
		{"2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:DB8:1:2::", "2001:db8:1:2::1%eth0"},
		{"anything", "anything"},
	} {
		for _, s := range same {
			if got, want := password.SourceOf(password.WithSource(ctx, s)), password.SourceOf(password.WithSource(ctx, same[0])); got != want {
				t.Errorf("%s is %s, %s is %s", s, got, same[0], want)
			}
		}
	}
	names := map[string]bool{}
	for _, s := range []string{"192.0.2.1", "192.0.2.2", "2001:db8:1:2::1", "2001:db8:1:3::1", "unix", ""} {
		names[password.SourceOf(password.WithSource(ctx, s))] = true
	}
	if len(names) != 6 || password.SourceOf(ctx) != "" {
		t.Errorf("%v", names)
	}
}
