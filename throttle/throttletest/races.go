package throttletest

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloakroom-dev/cloakroom/throttle"
)

// crowdTakes lets a crowd take at once, each its lanes, and returns the marks of
// those that passed under the number of who did.
func (p *probe) crowdTakes(lanes func(i int) []throttle.Lane) map[int][]throttle.Mark {
	var mu sync.Mutex
	passed := make(map[int][]throttle.Mark)
	p.together(p.crowd, func(i int) {
		if marks, refused := p.takeOf(i, lanes(i)); refused == nil {
			mu.Lock()
			defer mu.Unlock()
			passed[i] = marks
		}
	})
	return passed
}

func raceFree(p *probe) {
	lanes := trio("bob", "here")
	if passed := p.crowdTakes(func(int) []throttle.Lane { return lanes }); len(passed) != 5 {
		p.Errorf("%d of %d passed, want 5", len(passed), p.crowd)
	}
	p.stands(lanes[0], 5, 5)
	p.stands(lanes[1], 5, 0)
	p.stands(lanes[2], 5, 0)
}

func raceDelay(p *probe) {
	lanes := trio("bob", "here")
	p.pass(5, lanes...)
	for i, d := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute} {
		p.later(d - time.Millisecond)
		if passed := p.crowdTakes(func(int) []throttle.Lane { return lanes }); len(passed) != 0 {
			p.Errorf("%d passed before the delay of %v was over", len(passed), d)
		}
		p.later(time.Millisecond)
		if passed := p.crowdTakes(func(int) []throttle.Lane { return lanes }); len(passed) != 1 {
			p.Errorf("%d passed when the delay of %v was over, want 1", len(passed), d)
		}
		p.stands(lanes[0], 6+i, 6+i)
		p.stands(lanes[2], 6+i, 0)
	}
}

func raceSource(p *probe) {
	const free = 7
	lanes := func(i int) []throttle.Lane {
		l := trio(i, "here")
		l[2].Free = free
		return l
	}
	passed := p.crowdTakes(lanes)
	if len(passed) != free {
		p.Errorf("%d of %d passed, want %d", len(passed), p.crowd, free)
	}
	for i := range p.crowd {
		n := 0
		if passed[i] != nil {
			n = 1
		}
		p.stands(lanes(i)[0], n, n)
		p.stands(lanes(i)[1], n, 0)
	}
	p.stands(lanes(0)[2], free, 0)
}

func raceLock(p *probe) {
	limit := p.crowd / 2
	account, device := lane("account", 10*p.crowd, limit), lane("device", 10*p.crowd, 0)
	var open atomic.Int32
	p.together(p.crowd, func(i int) {
		l := account
		if i%2 == 0 { // as one of a known device counts
			l.Free = 0
		}
		if marks, refused := p.takeOf(i, []throttle.Lane{l, device}); refused == nil && !marks[0].Locked {
			open.Add(1)
		}
	})
	if int(open.Load()) != limit {
		p.Errorf("%d attempts before the lock, want %d", open.Load(), limit)
	}
	c, err := p.one().Read(p.Context(), account.Key)
	p.Must(err)
	if c.Total != limit || c.Due != throttle.Never {
		p.Errorf("the lane stands at %+v, want %d in a row and never due", c, limit)
	}
	p.stands(device, p.crowd, 0)
}

func raceGive(p *probe) {
	lanes := func(i int) []throttle.Lane { return trio(i%7, i%3) }
	p.together(p.crowd, func(i int) {
		for range 3 {
			if marks, refused := p.takeOf(i, lanes(i)); refused == nil {
				p.settle(i+1, throttle.Give, lanes(i), marks)
			}
		}
	})
	for i := range 21 {
		for _, l := range lanes(i) {
			p.stands(l, 0, 0)
		}
	}
}

func raceClear(p *probe) {
	lanes := trio("bob", "here")
	passed := p.crowdTakes(func(int) []throttle.Lane { return lanes })
	if len(passed) != 5 {
		p.Errorf("%d passed, want 5", len(passed))
	}
	p.together(p.crowd, func(i int) {
		if marks := passed[i]; marks != nil {
			back := make([]throttle.Return, len(lanes))
			for n, how := range []throttle.How{throttle.Clear, throttle.Clear, throttle.Give} {
				back[n] = throttle.Return{Lane: lanes[n], Mark: marks[n], How: how}
			}
			if err := p.stores[i%len(p.stores)].Settle(p.Context(), back); err != nil {
				p.Error(err)
			}
		}
	})
	for _, l := range lanes {
		p.stands(l, 0, 0)
	}
}

func raceDrop(p *probe) {
	lanes := trio("bob", "here")
	lanes[0].Free, lanes[1].Free, lanes[2].Free = 10*p.crowd, 10*p.crowd, 10*p.crowd
	lanes[0].Lock = 0
	var mu sync.Mutex
	var kept [][]throttle.Mark
	p.together(p.crowd, func(i int) {
		if i%20 == 0 {
			if err := p.stores[i%len(p.stores)].Drop(p.Context(), lanes[0].Owner); err != nil {
				p.Error(err)
			}
			return
		}
		marks, refused := p.takeOf(i, lanes)
		switch {
		case refused != nil:
		case i%2 == 0:
			p.settle(i+1, throttle.Give, lanes, marks)
		default:
			mu.Lock()
			defer mu.Unlock()
			kept = append(kept, marks)
		}
	})
	for n, l := range lanes {
		c, err := p.one().Read(p.Context(), l.Key)
		p.Must(err)
		still := 0 // attempts that are out and part of the count that stands
		for _, marks := range kept {
			if marks[n].Gen == c.Gen {
				still++
			}
		}
		if c.Fails != still {
			p.Errorf("the lane %q counts %d, and %d attempts are out that it counted", l.Name, c.Fails, still)
		}
	}
}
