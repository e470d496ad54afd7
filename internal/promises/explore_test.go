package promises_test

import (
	"testing"
	"time"
)

// choice is one step of a play: which of the actors who stood at a gate went on.
type choice struct{ picked, of int }

// arrival is an actor who has come to the next gate, or to the end.
type arrival struct {
	actor int
	call  *call // nil at the end
}

// explore plays a scene in every order that the steps of its actors can take. A
// step is a call of the store, which is atomic; between two calls a request does
// nothing that another one can see. Orders that differ only in steps which do
// not concern each other are the same to everybody, and one of them is played.
// build makes the scene anew for each order. It returns how many there were.
func explore(t *testing.T, build func() *scene) int {
	t.Helper()
	var prefix []int
	for orders := 0; ; {
		s := build()
		choices, known := s.playInOrder(t, prefix)
		if !known {
			orders++
			if err := s.check(t); err != nil {
				t.Fatalf("in order %v: %v", choices, err)
			}
		}
		if prefix = next(choices); prefix == nil {
			return orders
		}
	}
}

// next returns the beginning of the next order, depth first: nil after the last.
func next(choices []choice) []int {
	for i := len(choices) - 1; i >= 0; i-- {
		if choices[i].picked+1 >= choices[i].of {
			continue
		}
		prefix := make([]int, 0, i+1)
		for _, c := range choices[:i] {
			prefix = append(prefix, c.picked)
		}
		return append(prefix, choices[i].picked+1)
	}
	return nil
}

// apart reports two calls that may change places without anybody noticing.
func apart(a, b *call) bool {
	looks := func(c *call) bool { return c.op == opGet || c.op == opList || c.op == opHandler }
	many := func(c *call) bool { return c.op == opEndUser || c.op == opList }
	return looks(a) && looks(b) || a.id != b.id && !many(a) && !many(b)
}

// playInOrder plays the scene one step at a time: as prefix says, and behind it
// always the first actor that can go on. Of two neighbouring steps that are apart
// the earlier actor goes first; known reports an order that leaves no other way,
// and which has been played already in that other order.
func (s *scene) playInOrder(t *testing.T, prefix []int) (choices []choice, known bool) {
	t.Helper()
	arrivals, grants := s.start()
	standing := make([]*call, len(s.actors)) // at a gate
	hear := func() {
		select {
		case a := <-arrivals:
			standing[a.actor] = a.call
		case <-time.After(30 * time.Second):
			t.Fatalf("nobody moves after %v\n%s", choices, s)
		}
	}
	for range s.actors {
		hear()
	}
	last, did := -1, (*call)(nil)
	for {
		var ready, fine []int
		for i, c := range standing {
			if c == nil {
				continue
			}
			ready = append(ready, i)
			if i >= last || !apart(c, did) {
				fine = append(fine, i)
			}
		}
		if len(ready) == 0 {
			return choices, known
		}
		if len(fine) == 0 {
			known = true
		}
		if known {
			fine = ready[:1] // to the end, and no way branches off any more
		}
		c := choice{of: len(fine)}
		if n := len(choices); n < len(prefix) {
			c.picked = min(prefix[n], c.of-1)
		}
		choices = append(choices, c)
		last = fine[c.picked]
		did = standing[last]
		grants[last] <- struct{}{}
		hear()
	}
}

// start sends all requests; each stops at the gate before its first step.
func (s *scene) start() (<-chan arrival, []chan struct{}) {
	arrivals := make(chan arrival, len(s.actors))
	grants := make([]chan struct{}, len(s.actors))
	for i, a := range s.actors {
		grants[i] = make(chan struct{})
		a.trace.gate = func(c *call) fault {
			arrivals <- arrival{i, c}
			<-grants[i]
			return nil
		}
		go func() {
			s.play(a)
			arrivals <- arrival{actor: i}
		}()
	}
	return arrivals, grants
}
