package storetest

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/cloakroom-dev/cloakroom/store"
)

// A state is what is known under one ID. The zero value is nothing.
type state struct {
	kind          kind
	version       uint64
	data          int   // which write's bytes
	seen, expires int64 // milliseconds
	reason        store.Reason
}

type kind uint8

const (
	nothing kind = iota
	live
	ended
)

func (s state) String() string {
	switch s.kind {
	case live:
		return fmt.Sprintf("version %d, data %d, seen %d, expires %d", s.version, s.data, s.seen, s.expires)
	case ended:
		return fmt.Sprintf("ended: %v", s.reason)
	}
	return "nothing"
}

// A call is one call of a history, as far as it is about one ID: what was asked,
// what came back, and the moments at which it began and returned.
type call struct {
	op         op
	client     int
	begin, end int64 // in the order of all moments of the history; no two are equal
	arg        state // what a put or touch brings, the version of an end, its reason
	err        error // one of the contract's, nil, or errLost
	got        state // what a get or list has read
}

// errLost is the outcome of a call that returned an error of its own: it may have
// happened or not, and if so at any time after it began.
var errLost = fmt.Errorf("storetest: no answer")

type op uint8

const (
	opGet op = iota
	opPut
	opTouch
	opEnd
	opEndUser
	opList // found where got is not nothing
)

func (c call) String() string {
	name := [...]string{"Get", "Put", "Touch", "End", "EndUser", "List"}[c.op]
	s := fmt.Sprintf("%4d–%-4d client %-2d %-7s", c.begin, c.end, c.client, name)
	if c.end == math.MaxInt64 {
		s = fmt.Sprintf("%4d–     client %-2d %-7s", c.begin, c.client, name)
	}
	switch c.op {
	case opPut:
		s += fmt.Sprintf(" version %d, data %d, seen %d, expires %d:", c.arg.version, c.arg.data, c.arg.seen, c.arg.expires)
	case opTouch:
		s += fmt.Sprintf(" seen %d, expires %d:", c.arg.seen, c.arg.expires)
	case opEnd:
		s += fmt.Sprintf(" version %d, %v:", c.arg.version, c.arg.reason)
	case opEndUser:
		s += fmt.Sprintf(" %v", c.arg.reason)
	}
	if c.op == opGet || c.op == opList {
		s += fmt.Sprintf(" %v", c.got)
	}
	if c.err != nil {
		s += fmt.Sprintf(" %v", c.err)
	} else if c.op != opGet && c.op != opList && c.op != opEndUser {
		s += " ok"
	}
	return s
}

// apply is the contract for one ID: what a call makes of a state, and whether it
// could have returned there what it returned. A call without an answer could.
func (c call) apply(s state, deadline int64) (state, bool) {
	next, err := s, error(nil)
	switch c.op {
	case opGet:
		return s, c.got == s
	case opList:
		if s.kind != live {
			return s, c.got.kind == nothing
		}
		return s, c.got == s
	case opEndUser:
		if s.kind == live {
			next = state{kind: ended, reason: c.arg.reason}
		}
		return next, true
	case opPut:
		next, err = s.put(c.arg, deadline)
	case opTouch:
		next, err = s.touch(c.arg, deadline)
	case opEnd:
		next, err = s.end(c.arg)
	}
	return next, c.err == errLost || c.err == err
}

func (s state) put(arg state, deadline int64) (state, error) {
	switch {
	case s.kind == ended:
		return s, store.ErrEnded
	case s.kind == nothing && arg.version > 0:
		return s, store.ErrNotFound
	case s.kind == live && arg.version != s.version:
		return s, store.ErrConflict
	case s.kind == nothing:
		s.seen, s.expires = math.MinInt64, math.MinInt64
	}
	return state{
		kind:    live,
		version: arg.version + 1,
		data:    arg.data,
		seen:    max(s.seen, arg.seen),
		expires: max(s.expires, min(arg.expires, deadline)),
	}, nil
}

func (s state) touch(arg state, deadline int64) (state, error) {
	switch s.kind {
	case nothing:
		return s, store.ErrNotFound
	case ended:
		return s, store.ErrEnded
	}
	s.seen, s.expires = max(s.seen, arg.seen), max(s.expires, min(arg.expires, deadline))
	return s, nil
}

func (s state) end(arg state) (state, error) {
	tombstone := state{kind: ended, reason: arg.reason}
	switch {
	case s.kind == ended:
		return s, store.ErrEnded
	case s.kind == nothing:
		return tombstone, store.ErrNotFound
	case arg.version != 0 && arg.version != s.version:
		return s, store.ErrConflict
	}
	return tombstone, nil
}

// maxCalls is how many calls about one ID linearizable can order.
const maxCalls = 256

// linearizable tells whether the calls about one ID could have happened one after
// the other, each at some moment between its begin and its end (Herlihy and Wing
// 1990). It is the search of Wing and Gong (1993) with the memory of Lowe (2017):
// it takes for the next one any call that began before every call which is left
// has returned, and never twice the same set of calls done in the same state.
func linearizable(calls []call, deadline int64) bool {
	if len(calls) > maxCalls {
		panic(fmt.Sprintf("storetest: %d calls about one ID, at most %d can be ordered", len(calls), maxCalls))
	}
	calls = slices.Clone(calls)
	answered := 0
	for i := range calls {
		if calls[i].err == errLost {
			calls[i].end = math.MaxInt64
		} else {
			answered++
		}
	}
	slices.SortFunc(calls, func(a, b call) int { return cmp.Compare(a.begin, b.begin) })

	visited := map[place]bool{}
	var search func(at place, left int) bool
	search = func(at place, left int) bool {
		if left == 0 {
			return true
		}
		if visited[at] {
			return false
		}
		visited[at] = true
		first := int64(math.MaxInt64) // the first return of those that are left
		for i, c := range calls {
			if !at.has(i) {
				first = min(first, c.end)
			}
		}
		for i, c := range calls {
			if c.begin > first {
				break
			}
			if at.has(i) {
				continue
			}
			next, ok := c.apply(at.state, deadline)
			if !ok {
				continue
			}
			rest := left - 1
			if c.err == errLost {
				rest = left // it need not happen at all
			}
			if search(at.with(i, next), rest) {
				return true
			}
		}
		return false
	}
	return search(place{}, answered)
}

// A place is how far a search has come: which calls have been done, and what the
// state is by now.
type place struct {
	done  [maxCalls / 64]uint64
	state state
}

func (at place) has(i int) bool { return at.done[i/64]&(1<<(i%64)) != 0 }

func (at place) with(i int, s state) place {
	at.done[i/64] |= 1 << (i % 64)
	at.state = s
	return at
}

// shrink leaves out of a history that cannot be ordered whatever it takes no
// notice of: reads and failures without which it cannot be ordered either.
func shrink(calls []call, deadline int64) []call {
	for i := 0; i < len(calls); {
		c := calls[i]
		less := slices.Delete(slices.Clone(calls), i, i+1)
		if changesNothing(c) && !linearizable(less, deadline) {
			calls = less
		} else {
			i++
		}
	}
	return calls
}

// changesNothing tells of a call that returned so that it has left the state as
// it was.
func changesNothing(c call) bool {
	switch c.op {
	case opGet, opList:
		return true
	case opEnd:
		return c.err == store.ErrEnded || c.err == store.ErrConflict
	case opPut, opTouch:
		return c.err != nil && c.err != errLost
	}
	return false
}

// narrate writes a history down, for people.
func narrate(calls []call) string {
	calls = slices.Clone(calls)
	slices.SortFunc(calls, func(a, b call) int { return cmp.Compare(a.begin, b.begin) })
	var b strings.Builder
	for _, c := range calls {
		fmt.Fprintf(&b, "\n\t%v", c)
	}
	return b.String()
}
