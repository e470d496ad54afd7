package throttle

import (
	"math"
	"math/rand/v2"
	"time"
)

// Key names a lane in a store: a SHA-256, so that no name, no address and no
// device stands in the store.
type Key [32]byte

// Lane is one counter that an attempt goes through, and the rules by which it
// counts. Times and durations are kept in milliseconds.
type Lane struct {
	Name  string // for people: "account", "pair", "source" or "device"
	Key   Key
	Owner Key // the account it goes with Drop; the zero Key is nobody's

	// Free attempts pass at once; each further one passes when the delay behind
	// the one before is over: Delay, twice Delay, … MaxDelay. Forget after the
	// last one, the lane is as new. Free 0 neither delays nor refuses nor
	// remembers a delay: it is for a lane that only counts failures in a row.
	Free                    int
	Delay, MaxDelay, Forget time.Duration

	// Lock failures in a row lock the lane until it is unlocked; Keep after the
	// last one the count is swept, unless the lane is locked. 0 counts none.
	Lock int
	Keep time.Duration
}

// Counter is what a store keeps of a lane. The zero Counter is that of a lane
// that nobody went through. Times are in milliseconds since 1970.
//
// It holds two counts, each with a number of its own that is drawn anew when the
// count starts again. So what is given back is taken from the count that it was
// added to, or from none.
type Counter struct {
	Gen   int64 // the number of the count of attempts
	Fails int   // attempts that count towards delays
	Until int64 // no attempt passes before
	Last  int64 // when the last one was counted
	Run   int64 // the number of the count of failures in a row
	Total int   // failures in a row, at most Lane.Lock
	Due   int64 // when the whole may be forgotten
}

// Never is the Due of a lane that is locked.
const Never = math.MaxInt64

// Mark is what one attempt added to one lane.
type Mark struct {
	Gen, Run    int64 // the counts it was added to
	Fails       int   // 1, or 0 if it does not count there
	Total       int   // likewise
	At          int64 // when
	Until       int64 // the end of the delay it brought
	UntilBefore int64 // what that was before
	LastBefore  int64
	Row         int  // failures in a row, with it
	Locked      bool // the lane was locked before
}

// Fresh draws a number for a count that starts.
func Fresh() int64 { return rand.Int64N(math.MaxInt64) + 1 }

// most keeps a count from overflowing, whatever the rules.
const most = 1 << 30

// slip is by how much the clocks of two instances may differ without that the one
// takes the times of the other for those of a clock that was wrong.
const slip = int64(time.Second / time.Millisecond)

// Take counts an attempt at now and returns the Counter behind it; fresh is a
// [Fresh] number. If wait is positive the attempt is refused, and the Counter is to
// stay as it was, but for the time of a clock that has been set back since: there
// the Counter that is returned differs from c, and a store that keeps it heals.
func (l *Lane) Take(c Counter, now time.Time, fresh int64) (next Counter, m Mark, wait time.Duration) {
	at := now.UnixMilli()
	if c.Gen == 0 || l.Free > 0 && at-c.Last >= l.Forget.Milliseconds() {
		c.Gen, c.Fails, c.Until, c.Last = fresh, 0, 0, 0
	}
	if c.Run == 0 {
		c.Run = fresh
	}
	if healed, wait := l.wait(c, at); wait > 0 {
		return healed, Mark{}, wait
	}
	m = Mark{Gen: c.Gen, Run: c.Run, At: at, UntilBefore: c.Until, LastBefore: c.Last}
	if l.Free > 0 {
		if c.Fails == 0 {
			m.LastBefore = at
		}
		if c.Fails < most {
			c.Fails++
			m.Fails = 1
		}
		if d := l.delay(c.Fails); d > 0 {
			c.Until = at + d
		}
		c.Last, m.Until = at, c.Until
	}
	if l.Lock > 0 {
		if m.Locked = c.Total >= l.Lock; !m.Locked {
			c.Total++
			m.Total = 1
		}
		m.Row = c.Total
	}
	c.Due = l.due(c, at)
	return c, m, 0
}

// delay is how long, in milliseconds, nobody passes behind the nth attempt.
func (l *Lane) delay(n int) int64 {
	if n < l.Free {
		return 0
	}
	shift := n - l.Free
	if shift > 40 || l.Delay > l.MaxDelay>>shift {
		return l.MaxDelay.Milliseconds()
	}
	return (l.Delay << shift).Milliseconds()
}

// wait is how long the lane refuses. That is never longer than the delay that the
// count stands for: a later end was written by a clock that was ahead.
func (l *Lane) wait(c Counter, at int64) (Counter, time.Duration) {
	if l.Free == 0 || c.Until <= at {
		return c, 0
	}
	left, bound := c.Until-at, l.delay(max(c.Fails, l.Free))
	if left > bound+slip {
		c.Until = at + bound
	}
	return c, time.Duration(min(left, bound)) * time.Millisecond
}

// due is when the Counter may be forgotten if nothing else happens.
func (l *Lane) due(c Counter, at int64) int64 {
	if l.Lock > 0 && c.Total >= l.Lock {
		return Never
	}
	return at + max(l.Keep, l.Forget).Milliseconds()
}

// Give takes back what a Take added, as far as the counts it was added to are
// still the same. A count of which nothing is left is as new.
//
// The time of the last attempt goes back to that of the one before: somebody who
// signs in does not keep the failures of his neighbours alive. An attempt that
// fails at the same moment is then remembered from that time on.
func (l *Lane) Give(c Counter, m Mark) Counter {
	if l.Free > 0 && c.Gen == m.Gen && c.Gen != 0 {
		c.Fails = max(c.Fails-m.Fails, 0)
		switch {
		case c.Fails < l.Free:
			c.Until = 0
		case c.Until == m.Until:
			c.Until = m.UntilBefore
		}
		c.Last = min(c.Last, m.LastBefore)
	}
	if c.Run == m.Run && c.Run != 0 {
		locked := l.Lock > 0 && c.Total >= l.Lock
		c.Total = max(c.Total-m.Total, 0)
		if locked && c.Total < l.Lock {
			c.Due = m.At + max(l.Keep, l.Forget).Milliseconds()
		}
	}
	return c.clean()
}

// Clear is what is left behind an attempt that succeeded: nothing, unless the lane
// has been cleared and locked since.
func (l *Lane) Clear(c Counter, m Mark) Counter {
	if !l.mayClear(c, m) {
		return c
	}
	return Counter{}
}

// ClearTotal is Clear for the failures in a row alone.
func (l *Lane) ClearTotal(c Counter, m Mark, fresh int64) Counter {
	if c.Gen == 0 || !l.mayClear(c, m) {
		return c
	}
	c.Total, c.Run = 0, fresh
	if c.Due == Never {
		c.Due = m.At + max(l.Keep, l.Forget).Milliseconds()
	}
	return c.clean()
}

// mayClear keeps locked what is locked. The attempt itself was counted as a
// failure and was none: where it is part of the count, there were fewer than
// Lock.
func (l *Lane) mayClear(c Counter, m Mark) bool {
	return l.Lock == 0 || c.Total < l.Lock || c.Run == m.Run && m.Total > 0
}

// clean makes a Counter that counts nothing the zero Counter.
func (c Counter) clean() Counter {
	if c.Fails == 0 && c.Total == 0 {
		return Counter{}
	}
	return c
}
