package main

import (
	"cmp"
	"runtime"
	"slices"
	"time"
)

// slicesOfTurn is how often the contestants take turns in each round.
const slicesOfTurn = 10

// A contestant does one piece of work again and again.
type contestant struct {
	name string
	op   func()
}

// A result is what one contestant took, round by round.
type result struct {
	name   string
	ns     []float64 // an operation
	allocs []float64 // an operation
}

// measure lets the contestants run by turns: in each round each has so much time,
// in slices between which the others have theirs, and a garbage collection before
// each slice. The first round is a warm-up and not counted.
func measure(c config, contestants []contestant) []result {
	return measureBy(threadTime, c, contestants)
}

// measureBy is measure by another clock: for work that waits.
func measureBy(clock func() time.Duration, c config, contestants []contestant) []result {
	results := make([]result, len(contestants))
	for round := range c.rounds + 1 {
		spent := make([]cost, len(contestants))
		for range slicesOfTurn {
			for i, who := range contestants {
				spent[i].add(slice(clock, who.op, c.turn/slicesOfTurn))
			}
		}
		if round == 0 {
			continue
		}
		for i, s := range spent {
			r := &results[i]
			r.name = contestants[i].name
			r.ns = append(r.ns, float64(s.time)/float64(s.ops))
			r.allocs = append(r.allocs, float64(s.allocs)/float64(s.ops))
		}
	}
	return results
}

// cost is what some operations took.
type cost struct {
	time   time.Duration
	allocs uint64
	ops    int
}

func (c *cost) add(d cost) {
	c.time += d.time
	c.allocs += d.allocs
	c.ops += d.ops
}

// slice runs op for about so long.
func slice(clock func() time.Duration, op func(), long time.Duration) cost {
	const batch = 32 // between two looks at the clock
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start, n, took := clock(), 0, time.Duration(0)
	for took < long {
		for range batch {
			op()
		}
		n += batch
		took = clock() - start
	}
	runtime.ReadMemStats(&after)
	return cost{took, after.Mallocs - before.Mallocs, n}
}

// time and allocations of the median round.
func (r result) time() float64        { return median(r.ns) }
func (r result) allocations() float64 { return median(r.allocs) }

// over returns the median of the rounds' ratios of time.
func (r result) over(other result) float64 { return ratio(r.ns, other.ns) }

// ratio returns the median of the ratios of a to b, round by round.
func ratio(a, b []float64) float64 {
	all := make([]float64, min(len(a), len(b)))
	for i := range all {
		all[i] = a[i] / b[i]
	}
	return median(all)
}

// median returns the middle one, of an even number the greater of the middle two.
func median[T cmp.Ordered](all []T) T {
	s := slices.Sorted(slices.Values(all))
	return s[len(s)/2]
}
