package throttletest

import (
	"math/rand/v2"
	"time"

	"github.com/cloakroom-dev/cloakroom/throttle"
)

func sequence(p *probe) {
	l := lane("account", 5, 100)
	p.pass(5, l)
	for _, d := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute,
		16 * time.Minute, 32 * time.Minute, time.Hour, time.Hour} {
		p.refuse(d, l)
		p.later(d - time.Millisecond)
		p.refuse(time.Millisecond, l)
		p.later(time.Millisecond)
		p.pass(1, l)
	}
	p.stands(l, 14, 14)
}

func allOrNone(p *probe) {
	full := lane("source", 1, 0)
	p.pass(1, full)
	for _, order := range [][]throttle.Lane{
		{full, lane("a", 5, 100), lane("b", 5, 0)}, {lane("a", 5, 100), full, lane("b", 5, 0)}, {lane("a", 5, 100), lane("b", 5, 0), full},
	} {
		p.refuse(30*time.Second, order...)
	}
	p.stands(full, 1, 0)
	p.stands(lane("a", 5, 100), 0, 0)
	p.stands(lane("b", 5, 0), 0, 0)
	p.pass(4, lane("a", 5, 100), lane("b", 5, 0))
	p.refuse(30*time.Second, lane("a", 5, 100), full, lane("b", 5, 0))
	p.stands(lane("a", 5, 100), 4, 4)
	p.stands(lane("b", 5, 0), 4, 0)
}

func longest(p *probe) {
	short, long := lane("short", 1, 0), lane("long", 1, 0)
	p.pass(1, long)
	p.later(30 * time.Second)
	p.pass(1, long, short)
	for i, lanes := range [][]throttle.Lane{{long, short}, {short, long}} {
		if _, refused := p.take(lanes...); refused == nil || refused.Lane != i || refused.After != time.Minute {
			p.Errorf("got %+v, want lane %d for 1m", refused, i)
		}
	}
}

func forget(p *probe) {
	l := lane("account", 5, 100)
	p.pass(5, l)
	p.later(24*time.Hour - time.Millisecond)
	p.pass(1, l)
	p.stands(l, 6, 6)
	p.later(24 * time.Hour)
	p.pass(4, l)
	p.stands(l, 4, 10)
	p.pass(1, l)
	p.refuse(30*time.Second, l)
}

func lock(p *probe) {
	l, other := lane("account", 5, 100), lane("account", 5, 100, "other")
	for i := range 130 {
		marks, refused := p.take(l)
		if refused != nil {
			p.later(refused.After)
			marks, refused = p.take(l)
		}
		if refused != nil || marks[0].Locked != (i >= 100) {
			p.Fatalf("attempt %d: locked %t, refused %+v", i+1, marks[0].Locked, refused)
		}
	}
	if c := p.stands(l, 130, 100); c.Due != throttle.Never {
		p.Errorf("a locked lane is due at %d", c.Due)
	}
	p.later(365 * 24 * time.Hour)
	m := p.pass(1, l)
	if !m[0].Locked {
		p.Error("a year has opened it")
	}
	p.settle(0, throttle.Give, []throttle.Lane{l}, m)
	p.stands(l, 0, 100)
	if err := p.one().Drop(p.Context(), other.Owner); err != nil {
		p.Fatal(err)
	}
	p.stands(l, 0, 100)
	if err := p.one().Drop(p.Context(), l.Owner); err != nil {
		p.Fatal(err)
	}
	p.stands(l, 0, 0)
	if p.pass(1, l)[0].Locked {
		p.Error("Drop has not opened it")
	}
}

func countOnly(p *probe) {
	device, account := lane("device", 1000, 100), lane("account", 5, 100)
	mute := account
	mute.Free = 0
	p.pass(3, account)
	p.pass(20, device, mute)
	p.stands(account, 3, 23)
	m := p.pass(1, device, mute)
	p.settle(0, throttle.Give, []throttle.Lane{device, mute}, m)
	p.stands(account, 3, 23)
	p.stands(device, 20, 20)
	p.pass(80, device, mute)
	p.stands(account, 3, 100)
	m = p.pass(1, device, mute)
	if !m[0].Locked || !m[1].Locked || m[0].Total != 0 || m[1].Total != 0 {
		p.Errorf("marks %+v, want both locked and no failure counted", m)
	}
	p.later(time.Millisecond)
	if m := p.pass(1, account); !m[0].Locked {
		p.Error("the account is not locked")
	}
}

func give(p *probe) {
	lanes := trio("bob", "here")
	p.settle(0, throttle.Give, lanes, p.pass(1, lanes...))
	for _, l := range lanes {
		p.stands(l, 0, 0)
	}
	p.pass(3, lanes...)
	before := p.stands(lanes[0], 3, 3)
	p.later(time.Second)
	m := p.pass(1, lanes...)
	n := p.pass(1, lanes...)
	p.refuse(30*time.Second, lanes...)
	p.settle(0, throttle.Give, lanes, m)
	p.settle(0, throttle.Give, lanes, n)
	if after := p.stands(lanes[0], 3, 3); after.Until != before.Until || after.Last != before.Last || after.Gen != before.Gen || after.Run != before.Run {
		p.Errorf("before %+v, after %+v", before, after)
	}
	p.pass(2, lanes...)
	p.refuse(30*time.Second, lanes...)
}

func giveElsewhere(p *probe) {
	lanes := trio("bob", "here")
	for _, end := range []func(){
		func() { p.Must(p.one().Drop(p.Context(), lanes[0].Owner)) },
		func() { p.settle(0, throttle.Clear, lanes, p.pass(1, lanes...)) },
	} {
		old := p.pass(1, lanes...)
		end()
		p.pass(2, lanes...)
		p.settle(0, throttle.Give, lanes[:2], old[:2])
		p.stands(lanes[0], 2, 2)
		p.stands(lanes[1], 2, 0)
		p.settle(0, throttle.Clear, lanes, p.pass(1, lanes...))
	}
	old := p.pass(2, lanes...)
	p.later(24 * time.Hour) // the delays are forgotten, the row of failures goes on
	p.pass(2, lanes...)
	p.settle(0, throttle.Give, lanes, old)
	p.stands(lanes[0], 2, 3)
	p.stands(lanes[2], 2, 0)
	l := []throttle.Lane{lane("account", 5, 100, "alice")}
	old = p.pass(1, l...) // the row of failures begins anew, the delays go on
	p.settle(0, throttle.ClearTotal, l, p.pass(1, l...))
	p.pass(1, l...)
	p.settle(0, throttle.Give, l, old)
	p.stands(l[0], 2, 1)
}

func giveDelay(p *probe) {
	l := lane("source", 2, 0)
	p.pass(2, l)
	p.later(30 * time.Second)
	m := p.pass(1, l)
	p.refuse(time.Minute, l)
	p.settle(0, throttle.Give, []throttle.Lane{l}, m)
	p.stands(l, 2, 0)
	m = p.pass(1, l)
	p.later(time.Minute)
	p.pass(1, l)
	p.settle(0, throttle.Give, []throttle.Lane{l}, m)
	p.refuse(time.Minute, l) // the one behind it is the third now
}

func giveNeighbour(p *probe) {
	l := lane("source", 100, 0)
	p.pass(3, l)
	for range 10 {
		p.later(3 * time.Hour)
		p.settle(0, throttle.Give, []throttle.Lane{l}, p.pass(1, l))
	}
	p.pass(1, l)
	p.stands(l, 1, 0)
	// Nor does he make them forgotten, be he the first one.
	l = lane("source", 3, 0, "other")
	m := p.pass(1, l)
	p.later(time.Second)
	p.pass(2, l)
	p.settle(0, throttle.Give, []throttle.Lane{l}, m)
	p.later(23 * time.Hour)
	p.pass(1, l)
	p.refuse(30*time.Second, l)
}

func clearLane(p *probe) {
	lanes := trio("bob", "here")[:2]
	p.pass(4, lanes...)
	p.settle(0, throttle.Clear, lanes, p.pass(1, lanes...))
	p.stands(lanes[0], 0, 0)
	p.stands(lanes[1], 0, 0)
	p.pass(5, lanes...)
	p.refuse(30*time.Second, lanes...)
}

func clearLocked(p *probe) {
	l := lane("account", 1000, 100)
	p.pass(98, l)
	m := p.pass(1, l)
	p.pass(1, l) // the hundredth, of which one is m
	p.settle(0, throttle.Clear, []throttle.Lane{l}, m)
	p.stands(l, 0, 0)
	m = p.pass(1, l)
	p.Must(p.one().Drop(p.Context(), l.Owner))
	p.pass(100, l)
	for _, how := range []throttle.How{throttle.Clear, throttle.ClearTotal} {
		p.settle(0, how, []throttle.Lane{l}, m)
		p.stands(l, 100, 100)
	}
}

func clearTotal(p *probe) {
	device, account := lane("device", 5, 100), lane("account", 5, 100)
	mute := account
	mute.Free = 0
	p.pass(5, account)
	m := p.pass(1, device, mute)
	p.settle(0, throttle.Clear, []throttle.Lane{device}, m)
	p.settle(0, throttle.ClearTotal, []throttle.Lane{mute}, m[1:])
	p.stands(device, 0, 0)
	p.stands(account, 5, 0)
	p.refuse(30*time.Second, account)
	p.Must(p.one().Drop(p.Context(), account.Owner))
	m = p.pass(1, device, mute)
	p.settle(0, throttle.ClearTotal, []throttle.Lane{mute}, m[1:])
	p.stands(account, 0, 0)
}

func drop(p *probe) {
	bob, eve := trio("bob", "here"), trio("eve", "here")
	p.pass(3, bob...)
	p.pass(2, eve...)
	p.Must(p.one().Drop(p.Context(), bob[0].Owner))
	p.Must(p.one().Drop(p.Context(), throttle.Key{})) // nobody's
	p.stands(bob[0], 0, 0)
	p.stands(bob[1], 0, 0)
	p.stands(eve[0], 2, 2)
	p.stands(eve[1], 2, 0)
	p.stands(bob[2], 5, 0)
}

func sweep(p *probe) {
	now := p.now
	expect := func(want int) {
		p.Helper()
		if n, err := p.one().Sweep(p.Context(), time.Now()); err != nil || n != want {
			p.Fatalf("Sweep: %d, %v, want %d", n, err, want)
		}
	}
	old, fresh := trio("old", "there"), trio("fresh", "here")
	locked := lane("account", 1000, 100, "locked")
	p.now = now.Add(-400 * 24 * time.Hour)
	p.pass(100, locked)
	p.now = now.Add(-30*24*time.Hour - time.Minute)
	p.pass(2, old...)
	p.now = now.Add(-25 * time.Hour)
	p.pass(1, fresh...)
	expect(5)
	p.stands(old[0], 0, 0)
	p.stands(fresh[0], 1, 1)
	p.stands(fresh[1], 0, 0)
	p.stands(locked, 100, 100)
	for i := range 450 {
		p.pass(1, lane("many", 5, 0, i))
	}
	expect(450)
	expect(0)
}

func clockBack(p *probe) {
	l := lane("account", 5, 100)
	p.later(365 * 24 * time.Hour)
	p.pass(5, l)
	p.later(-365 * 24 * time.Hour)
	p.refuse(30*time.Second, l)
	p.later(10 * time.Second)
	p.refuse(20*time.Second, l)
	p.later(20 * time.Second)
	p.pass(1, l)
	p.refuse(time.Minute, l)
	p.later(-time.Hour)
	p.refuse(time.Minute, l)
	p.later(time.Minute)
	p.pass(1, l)
	p.stands(l, 7, 7)
}

func manyNames(p *probe) {
	victim := trio("victim", "there")
	p.pass(5, victim...)
	for i := range 2000 {
		p.pass(1, trio(i, i)[:2]...)
	}
	p.stands(victim[0], 5, 5)
	p.refuse(30*time.Second, victim...)
}

func ended(p *probe) {
	lanes := trio("bob", "here")
	if m, refused, err := p.one().Take(endedContext(), lanes, p.now); err == nil || m != nil || refused != nil {
		p.Errorf("Take: %v, %v, %v; want an error", m, refused, err)
	}
	for _, l := range lanes {
		p.stands(l, 0, 0)
	}
	if _, err := p.one().Read(endedContext(), lanes[0].Key); err == nil {
		p.Error("Read: no error")
	}
}

// Must fails the case.
func (p *probe) Must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// model does at random what the methods of Lane do, beside the store.
func model(p *probe) {
	type out struct {
		lanes        []throttle.Lane
		marks, model []throttle.Mark
	}
	var (
		outs []out
		m    = throttle.NewMemory() // is held to the other cases
		rnd  = rand.New(rand.NewPCG(1, 2))
		few  = func(n int) int { return rnd.IntN(n) }
	)
	for range 3 * p.crowd {
		switch {
		case few(3) > 0 || len(outs) == 0:
			lanes := trio(few(3), few(2))
			lanes[2].Free, lanes[0].Lock = 7, 9
			if few(3) == 0 {
				device := lane("device", 5, 9, few(2))
				lanes[0].Free = 0
				lanes = []throttle.Lane{device, lanes[0]}
			}
			marks, refused := p.take(lanes...)
			want, wantRefused, err := m.Take(p.Context(), lanes, p.now)
			p.Must(err)
			if (refused == nil) != (wantRefused == nil) || refused != nil && refused.After != wantRefused.After {
				p.Fatalf("refused: %+v, want %+v", refused, wantRefused)
			}
			if refused == nil {
				if marks[0].Locked != want[0].Locked {
					p.Fatalf("locked: %t, want %t", marks[0].Locked, want[0].Locked)
				}
				outs = append(outs, out{lanes, marks, want})
			}
		case few(4) == 0:
			p.later(time.Duration(few(1 << 38)))
		default:
			i, how := few(len(outs)), throttle.How(few(3))
			o := outs[i]
			outs[i] = outs[len(outs)-1]
			outs = outs[:len(outs)-1]
			p.settle(0, how, o.lanes, o.marks)
			beside := *p
			beside.stores = []throttle.Store{m}
			beside.settle(0, how, o.lanes, o.model)
		}
		for a := range 3 {
			for _, l := range trio(a, a%2) {
				got, err := p.one().Read(p.Context(), l.Key)
				p.Must(err)
				want, err := m.Read(p.Context(), l.Key)
				p.Must(err)
				got.Gen, got.Run, want.Gen, want.Run = 0, 0, 0, 0
				if got != want {
					p.Fatalf("the lane %q is %+v, want %+v", l.Name, got, want)
				}
			}
		}
	}
}
