package storetest

import (
	"github.com/cloakroom-dev/cloakroom/store"
)

// What the suite's own tests need to see it fail.

type TB = tb

// Sentences returns the sentences that each case quotes, by its name.
func Sentences() map[string][]string {
	m := map[string][]string{}
	for _, c := range cases() {
		m[c.name] = c.says
	}
	return m
}

// Prove runs the case of a name, and tells whether there is one that the store
// has the abilities for.
func Prove(name string, t TB, st store.Store) bool {
	for _, c := range cases() {
		if c.name == name && c.needs&^abilitiesOf(st) == 0 {
			c.prove(t, st)
			return true
		}
	}
	return false
}

// The checker of histories.

type (
	Call  = call
	State = state
)

const (
	OpGet, OpPut, OpTouch, OpEnd, OpEndUser, OpList = opGet, opPut, opTouch, opEnd, opEndUser, opList
)

var ErrLost = errLost

func NewCall(op op, begin, end int64, arg State, err error, got State) Call {
	return call{op: op, begin: begin, end: end, arg: arg, err: err, got: got}
}

func LiveState(version uint64, data int, seen, expires int64) State {
	return state{kind: live, version: version, data: data, seen: seen, expires: expires}
}

func EndedState(reason store.Reason) State { return state{kind: ended, reason: reason} }

// With returns a state with these values, whatever its kind.
func (s State) With(version uint64, data int, seen, expires int64) State {
	s.version, s.data, s.seen, s.expires = version, data, seen, expires
	return s
}

// Wrote returns the data of a successful Put.
func (c Call) Wrote() (data int, ok bool) { return c.arg.data, c.op == opPut && c.err == nil }

var (
	Linearizable = linearizable
	Shrink       = shrink
	Narrate      = narrate
)
