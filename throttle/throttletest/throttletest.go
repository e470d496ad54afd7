// Package throttletest proves that a store keeps the contract of throttle.Store.
//
// A store's test is one call:
//
//	func TestStore(t *testing.T) {
//		throttletest.Run(t, func(t *testing.T) throttle.Store {
//			return mystore.New(…) // an empty one; t.Cleanup closes it
//		})
//	}
//
// Each case prints the sentence that the store broke. Run with -race.
package throttletest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/throttle"
)

// Run holds the stores that newStore returns to the contract. It is called once for
// each case, and returns a store that is empty. With -short there are fewer
// callers at once.
func Run(t *testing.T, newStore func(t *testing.T) throttle.Store) {
	t.Helper()
	RunShared(t, func(t *testing.T) []throttle.Store { return []throttle.Store{newStore(t)} })
}

// RunShared is Run for several stores that share what they keep, as the instances
// of a program do: callers take turns among them.
func RunShared(t *testing.T, newStores func(t *testing.T) []throttle.Store) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := &probe{T: t, stores: newStores(t), now: time.Now().Truncate(time.Millisecond), crowd: 200}
			if testing.Short() {
				p.crowd = 40
			}
			defer func() {
				if t.Failed() {
					t.Logf("the contract: %s", c.says)
				}
			}()
			c.test(p)
		})
	}
}

var cases = []struct {
	name, says string
	test       func(*probe)
}{
	{"Sequence", "a lane lets Free attempts pass, and each further one when the delay behind the one before is over", sequence},
	{"AllOrNone", "an attempt that a lane refuses counts in none", allOrNone},
	{"LongestRefusal", "the Refusal is that of the lane that refuses for longest", longest},
	{"Forget", "Forget behind the last attempt the delays of a lane are as new; its failures in a row are not", forget},
	{"Lock", "Lock failures in a row lock a lane, until its owner is dropped, and a locked one counts no further", lock},
	{"CountOnly", "a lane whose Free is 0 counts failures in a row, and neither delays nor refuses", countOnly},
	{"Give", "Give takes back exactly what Take added", give},
	{"GiveElsewhere", "Give takes nothing from a count that its attempt was not added to", giveElsewhere},
	{"GiveDelay", "Give takes back the delay that its attempt brought", giveDelay},
	{"GiveNeighbour", "who signs in does not keep the failures of his neighbours alive", giveNeighbour},
	{"Clear", "Clear leaves nothing of a lane", clearLane},
	{"ClearLocked", "Clear leaves a lane locked that has been cleared and locked since", clearLocked},
	{"ClearTotal", "ClearTotal leaves the delays", clearTotal},
	{"Drop", "Drop forgets the lanes of an owner, and no others", drop},
	{"Sweep", "Sweep forgets what is due and nothing else", sweep},
	{"ClockBack", "no refusal is longer than the delay of its count, though a clock has been set back", clockBack},
	{"ManyNames", "other names, however many, do not change a counter", manyNames},
	{"Ended", "who calls with a context that has ended counts nothing", ended},
	{"Model", "a store does what the methods of Lane do", model},
	{"RaceFree", "of any number of attempts at once Free pass", raceFree},
	{"RaceDelay", "when a delay is over one attempt passes, of any number at once", raceDelay},
	{"RaceSource", "of attempts at once at many accounts Free of their source pass, and the others count nowhere", raceSource},
	{"RaceLock", "of attempts at once exactly Lock count in a row", raceLock},
	{"RaceGive", "what is taken and given back by many at once leaves nothing", raceGive},
	{"RaceClear", "when the last of many that succeed at once has, nothing is left", raceClear},
	{"RaceDrop", "what is dropped or cleared while others take and give back never counts less than what is still out", raceDrop},
}

// probe is a case under way.
type probe struct {
	*testing.T
	stores []throttle.Store
	now    time.Time
	crowd  int
}

// lane returns a lane of the usual rules.
func lane(name string, free, lock int, of ...any) throttle.Lane {
	l := throttle.Lane{
		Name: name, Key: sha256.Sum256(fmt.Append([]byte(name), of...)), Free: free, Lock: lock,
		Delay: 30 * time.Second, MaxDelay: time.Hour, Forget: 24 * time.Hour,
	}
	if lock > 0 {
		l.Owner, l.Keep = l.Key, 30*24*time.Hour
	}
	return l
}

// trio returns the lanes of an attempt on an unknown device.
func trio(account, source any) []throttle.Lane {
	a := lane("account", 5, 100, account)
	pair := lane("pair", 5, 0, account, "/", source)
	pair.Owner = a.Owner
	return []throttle.Lane{a, pair, lane("source", 100, 0, source)}
}

// one is the store where callers do not matter.
func (p *probe) one() throttle.Store { return p.stores[0] }

// take is a Take that does not fail; marks are nil where it is refused.
func (p *probe) take(lanes ...throttle.Lane) ([]throttle.Mark, *throttle.Refusal) {
	p.Helper()
	return p.takeOf(0, lanes)
}

func (p *probe) takeOf(n int, lanes []throttle.Lane) ([]throttle.Mark, *throttle.Refusal) {
	p.Helper()
	marks, refused, err := p.stores[n%len(p.stores)].Take(p.Context(), lanes, p.now)
	if err != nil {
		p.Errorf("Take: %v", err)
		return nil, &throttle.Refusal{}
	}
	if refused == nil && len(marks) != len(lanes) || refused != nil && refused.After <= 0 {
		p.Errorf("Take in %d lanes: %d marks, %+v", len(lanes), len(marks), refused)
	}
	return marks, refused
}

// pass takes n times.
func (p *probe) pass(n int, lanes ...throttle.Lane) (marks []throttle.Mark) {
	p.Helper()
	for i := range n {
		m, refused := p.take(lanes...)
		if refused != nil {
			p.Fatalf("attempt %d of %d at %v is refused for %v by the lane %q", i+1, n, p.now, refused.After, lanes[refused.Lane].Name)
		}
		marks = m
	}
	return marks
}

// refuse takes and is to be refused for that long.
func (p *probe) refuse(want time.Duration, lanes ...throttle.Lane) {
	p.Helper()
	if _, refused := p.take(lanes...); refused == nil || refused.After != want {
		p.Fatalf("an attempt at %v: %+v, want it refused for %v", p.now, refused, want)
	}
}

func (p *probe) settle(n int, how throttle.How, lanes []throttle.Lane, marks []throttle.Mark) {
	p.Helper()
	back := make([]throttle.Return, len(lanes))
	for i := range back {
		back[i] = throttle.Return{Lane: lanes[i], Mark: marks[i], How: how}
	}
	if err := p.stores[n%len(p.stores)].Settle(p.Context(), back); err != nil {
		p.Errorf("Settle: %v", err)
	}
}

// stands compares the counters of a lane.
func (p *probe) stands(l throttle.Lane, fails, total int) throttle.Counter {
	p.Helper()
	var c throttle.Counter
	for i, s := range p.stores {
		var err error
		if c, err = s.Read(p.Context(), l.Key); err != nil {
			p.Fatalf("Read: %v", err)
		}
		if c.Fails != fails || c.Total != total {
			p.Fatalf("store %d: the lane %q counts %d attempts and %d failures in a row, want %d and %d",
				i, l.Name, c.Fails, c.Total, fails, total)
		}
		if fails == 0 && total == 0 && c != (throttle.Counter{}) {
			p.Fatalf("store %d: of the lane %q stands %+v, want the zero Counter", i, l.Name, c)
		}
	}
	return c
}

// together calls f for 0 to n-1 at the same moment, and waits.
func (p *probe) together(n int, f func(i int)) {
	var (
		ready, done sync.WaitGroup
		start       = make(chan struct{})
	)
	for i := range n {
		ready.Add(1)
		done.Go(func() {
			ready.Done()
			<-start
			f(i)
		})
	}
	ready.Wait()
	close(start)
	done.Wait()
}

// later moves the time on.
func (p *probe) later(d time.Duration) { p.now = p.now.Add(d) }

// endedContext has ended.
func endedContext() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
