package password

import "container/list"

// queue is who waits for a place, by source: sources take turns, and each lets
// those of its own go in the order in which they came.
type queue struct {
	turns  list.List                // of *source, the first is next
	places map[string]*list.Element // in turns, by name
	n      int                      // waiters in all
}

// source is where calls come from, while one of them waits.
type source struct {
	name    string
	waiters list.List // of *waiter, never empty
}

// waiter is a call that waits. ready is closed when that is over: it has a place,
// or err says why not.
type waiter struct {
	memory uint32
	ready  chan struct{}
	err    error
	source *source
	place  *list.Element // in the waiters of its source
}

// push adds a waiter behind those of its source; a new source is the last to
// have its turn.
func (q *queue) push(name string, w *waiter) {
	e := q.places[name]
	if e == nil {
		if q.places == nil {
			q.places = make(map[string]*list.Element)
		}
		e = q.turns.PushBack(&source{name: name})
		q.places[name] = e
	}
	w.source = e.Value.(*source)
	w.place = w.source.waiters.PushBack(w)
	q.n++
}

// next returns whose turn it is, nil for nobody.
func (q *queue) next() *waiter {
	e := q.turns.Front()
	if e == nil {
		return nil
	}
	return e.Value.(*source).waiters.Front().Value.(*waiter)
}

// pop removes whose turn it was; then it is that of the next source.
func (q *queue) pop() {
	e := q.turns.Front()
	q.remove(q.next())
	if e.Value.(*source).waiters.Len() > 0 {
		q.turns.MoveToBack(e)
	}
}

// remove takes a waiter out, whatever the reason. The turns stay as they are.
func (q *queue) remove(w *waiter) {
	s := w.source
	s.waiters.Remove(w.place)
	q.n--
	if s.waiters.Len() == 0 {
		q.turns.Remove(q.places[s.name])
		delete(q.places, s.name)
	}
}

// displaced returns who has to go for one more of the source with this name: the
// last that came of the source with most waiters, or nil where that would not
// make it fairer. It looks at every source that waits, of which there are no more
// than waiters.
func (q *queue) displaced(name string) *waiter {
	least := 2 // waiters that the other source must have: one more than this one will
	if e := q.places[name]; e != nil {
		least = e.Value.(*source).waiters.Len() + 2
	}
	var most *source
	for e := q.turns.Front(); e != nil; e = e.Next() {
		if s := e.Value.(*source); s.waiters.Len() >= least {
			most, least = s, s.waiters.Len()+1
		}
	}
	if most == nil {
		return nil
	}
	return most.waiters.Back().Value.(*waiter)
}
