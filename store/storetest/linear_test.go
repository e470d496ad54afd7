package storetest_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/storetest"
)

const deadline = 1000

// The calls of the histories below. They last from begin to end.
func put(begin, end int64, version uint64, data int, err error) storetest.Call {
	return storetest.NewCall(storetest.OpPut, begin, end, storetest.State{}.With(version, data, 10, 100), err, storetest.State{})
}

func get(begin, end int64, got storetest.State) storetest.Call {
	return storetest.NewCall(storetest.OpGet, begin, end, storetest.State{}, nil, got)
}

func touch(begin, end, seen, expires int64, err error) storetest.Call {
	return storetest.NewCall(storetest.OpTouch, begin, end, storetest.State{}.With(0, 0, seen, expires), err, storetest.State{})
}

func end(begin, end int64, version uint64, why store.Reason, err error) storetest.Call {
	return storetest.NewCall(storetest.OpEnd, begin, end, storetest.EndedState(why).With(version, 0, 0, 0), err, storetest.State{})
}

func endUser(begin, end int64, why store.Reason, err error) storetest.Call {
	return storetest.NewCall(storetest.OpEndUser, begin, end, storetest.EndedState(why), err, storetest.State{})
}

func list(begin, end int64, got storetest.State) storetest.Call {
	return storetest.NewCall(storetest.OpList, begin, end, storetest.State{}, nil, got)
}

func live(version uint64, data int) storetest.State {
	return storetest.LiveState(version, data, 10, 100)
}

var dead = storetest.EndedState(store.Logout)

// histories of one session, and whether they can be put in order.
var histories = []struct {
	name  string
	want  bool
	calls []storetest.Call
}{
	{"nothing has happened", true, nil},
	{"one after the other", true, []storetest.Call{
		put(1, 2, 0, 1, nil), get(3, 4, live(1, 1)), put(5, 6, 1, 2, nil), get(7, 8, live(2, 2)),
		touch(9, 10, 20, 200, nil), get(11, 12, storetest.LiveState(2, 2, 20, 200)),
		end(13, 14, 2, store.Logout, nil), get(15, 16, dead), put(17, 18, 2, 3, store.ErrEnded),
	}},
	{"lost update", false, []storetest.Call{
		put(1, 2, 0, 1, nil), put(3, 6, 1, 2, nil), put(4, 5, 1, 3, nil),
	}},
	{"two writers at once, one in conflict", true, []storetest.Call{
		put(1, 2, 0, 1, nil), put(3, 6, 1, 2, nil), put(4, 5, 1, 3, store.ErrConflict),
	}},
	{"conflict without a reason", false, []storetest.Call{
		put(1, 2, 0, 1, nil), put(3, 4, 1, 2, store.ErrConflict), get(5, 6, live(1, 1)),
	}},
	{"revived session", false, []storetest.Call{
		put(1, 2, 0, 1, nil), end(3, 4, 0, store.Logout, nil), put(5, 6, 1, 2, nil),
	}},
	{"revived by a touch, seen by a read", false, []storetest.Call{
		put(1, 2, 0, 1, nil), end(3, 4, 0, store.Logout, nil), touch(5, 6, 20, 200, store.ErrEnded), get(7, 8, live(1, 1)),
	}},
	{"a write that was under way when the session ended", true, []storetest.Call{
		put(1, 2, 0, 1, nil), end(3, 6, 0, store.Logout, nil), put(4, 7, 1, 2, nil), get(8, 9, dead),
	}},
	{"that write, but it outlives the end", false, []storetest.Call{
		put(1, 2, 0, 1, nil), end(3, 6, 0, store.Logout, nil), put(4, 7, 1, 2, nil), get(8, 9, live(2, 2)),
	}},
	{"two ends win", false, []storetest.Call{
		put(1, 2, 0, 1, nil), end(3, 6, 0, store.Logout, nil), end(4, 5, 0, store.Logout, nil),
	}},
	{"End and EndUser", true, []storetest.Call{
		put(1, 2, 0, 1, nil), end(3, 6, 0, store.Logout, nil), endUser(4, 5, store.Revoked, nil), get(7, 8, dead),
	}},
	{"the wrong reason", false, []storetest.Call{
		put(1, 2, 0, 1, nil), end(3, 4, 0, store.Logout, nil), get(5, 6, storetest.EndedState(store.Revoked)),
	}},
	{"EndUser forgets one that was created before", false, []storetest.Call{
		put(1, 2, 0, 1, nil), endUser(3, 4, store.Revoked, nil), get(5, 6, live(1, 1)),
	}},
	{"EndUser beside the create", true, []storetest.Call{
		put(1, 4, 0, 1, nil), endUser(2, 3, store.Revoked, nil), get(5, 6, live(1, 1)),
	}},
	{"the late create after an end of nothing", false, []storetest.Call{
		end(1, 2, 0, store.Logout, store.ErrNotFound), put(3, 4, 0, 1, nil),
	}},
	{"End of nothing beside the create", true, []storetest.Call{
		put(1, 4, 0, 1, store.ErrEnded), end(2, 3, 0, store.Logout, store.ErrNotFound), get(5, 6, dead),
	}},
	{"an update that creates", false, []storetest.Call{put(1, 2, 1, 1, nil)}},
	{"two creates", false, []storetest.Call{put(1, 4, 0, 1, nil), put(2, 3, 0, 2, nil)}},
	{"a touch moves back", false, []storetest.Call{
		put(1, 2, 0, 1, nil), touch(3, 4, 5, 50, nil), get(5, 6, storetest.LiveState(1, 1, 5, 50)),
	}},
	{"a touch that a write undoes", false, []storetest.Call{
		put(1, 2, 0, 1, nil), touch(3, 4, 20, 200, nil), put(5, 6, 1, 2, nil), get(7, 8, live(2, 2)),
	}},
	{"a touch passes the deadline", false, []storetest.Call{
		put(1, 2, 0, 1, nil), touch(3, 4, 20, 2000, nil), get(5, 6, storetest.LiveState(1, 1, 20, 2000)),
	}},
	{"a touch up to the deadline", true, []storetest.Call{
		put(1, 2, 0, 1, nil), touch(3, 4, 20, 2000, nil), get(5, 6, storetest.LiveState(1, 1, 20, deadline)),
	}},
	{"an old read after a new one", false, []storetest.Call{
		put(1, 2, 0, 1, nil), put(3, 10, 1, 2, nil), get(4, 5, live(2, 2)), get(6, 7, live(1, 1)),
	}},
	{"an old read beside a new one", true, []storetest.Call{
		put(1, 2, 0, 1, nil), put(3, 10, 1, 2, nil), get(4, 7, live(2, 2)), get(5, 6, live(1, 1)),
	}},
	{"a list without one that lives", false, []storetest.Call{put(1, 2, 0, 1, nil), list(3, 4, storetest.State{})}},
	{"a list with one that has ended", false, []storetest.Call{
		put(1, 2, 0, 1, nil), end(3, 4, 0, store.Logout, nil), list(5, 6, live(1, 1)),
	}},
	{"lists", true, []storetest.Call{
		list(1, 2, storetest.State{}), put(3, 6, 0, 1, nil), list(4, 5, storetest.State{}), list(7, 8, live(1, 1)),
		end(9, 10, 0, store.Logout, nil), list(11, 12, storetest.State{}),
	}},
	{"a write without an answer, applied", true, []storetest.Call{
		put(1, 2, 0, 1, nil), put(3, 4, 1, 2, storetest.ErrLost), get(5, 6, live(1, 1)), get(7, 8, live(2, 2)),
	}},
	{"a write without an answer, not applied", true, []storetest.Call{
		put(1, 2, 0, 1, nil), put(3, 4, 1, 2, storetest.ErrLost), put(5, 6, 1, 3, nil), get(7, 8, live(2, 3)),
	}},
	{"a write without an answer, applied twice", false, []storetest.Call{
		put(1, 2, 0, 1, nil), put(3, 4, 1, 2, storetest.ErrLost), get(5, 6, live(3, 2)),
	}},
	{"a write without an answer, seen before it began", false, []storetest.Call{
		put(1, 2, 0, 1, nil), get(3, 4, live(2, 2)), put(5, 6, 1, 2, storetest.ErrLost),
	}},
	{"an end without an answer", true, []storetest.Call{
		put(1, 2, 0, 1, nil), end(3, 4, 0, store.Logout, storetest.ErrLost), end(5, 6, 0, store.Renewed, store.ErrEnded), get(7, 8, dead),
	}},
}

func TestLinearizable(t *testing.T) {
	for _, c := range histories {
		t.Run(c.name, func(t *testing.T) {
			if got := storetest.Linearizable(c.calls, deadline); got != c.want {
				t.Errorf("linearizable: %v, want %v:%s", got, c.want, storetest.Narrate(c.calls))
			}
			rand.Shuffle(len(c.calls), func(i, k int) { c.calls[i], c.calls[k] = c.calls[k], c.calls[i] })
			if got := storetest.Linearizable(c.calls, deadline); got != c.want {
				t.Errorf("linearizable in another order: %v, want %v", got, c.want)
			}
		})
	}
}

// TestLinearizableWide stretches histories that were made one after the other
// until many calls overlap. They stay linearizable, and one wrong answer among
// them does not.
func TestLinearizableWide(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		var calls []storetest.Call
		version := uint64(0)
		for i := range int64(80) {
			moment := 100 * (i + 1)
			begin, end := moment-r.Int64N(250), moment+r.Int64N(250)
			switch {
			case version == 0 || r.IntN(3) == 0:
				calls = append(calls, put(begin, end, version, int(i), nil))
				version++
			case r.IntN(3) == 0:
				calls = append(calls, put(begin, end, version-1, int(i), store.ErrConflict))
			default:
				calls = append(calls, get(begin, end, live(version, lastData(calls))))
			}
		}
		if !storetest.Linearizable(calls, deadline) {
			t.Fatalf("seed %d: not linearizable, but it was made so", seed)
		}
		wrong := append(calls, get(50_000, 50_001, live(version, lastData(calls)+1)))
		if storetest.Linearizable(wrong, deadline) {
			t.Fatalf("seed %d: linearizable with a read of what nobody wrote", seed)
		}
		// What is left to be shown are the writes, and the read.
		if less := storetest.Shrink(wrong, deadline); len(less) != int(version)+1 {
			t.Errorf("seed %d: shrunk to %d calls, want %d", seed, len(less), version+1)
		}
	}
}

// lastData returns what the last successful write brought.
func lastData(calls []storetest.Call) int {
	data := 0
	for _, c := range calls {
		if d, ok := c.Wrote(); ok {
			data = d
		}
	}
	return data
}

func TestNarrate(t *testing.T) {
	text := storetest.Narrate([]storetest.Call{
		end(3, 4, 1, store.Logout, nil), put(1, 2, 0, 7, nil), get(5, 6, storetest.EndedState(store.Logout)),
		put(7, 8, 1, 8, store.ErrEnded), touch(9, 10, 20, 200, storetest.ErrLost), endUser(11, 12, store.Revoked, nil),
	})
	for _, want := range []string{
		"1–2    client 0  Put     version 0, data 7, seen 10, expires 100: ok",
		"3–4    client 0  End     version 1, logout: ok",
		"5–6    client 0  Get     ended: logout",
		"Put     version 1, data 8, seen 10, expires 100: store: session has ended",
		"Touch   seen 20, expires 200: storetest: no answer",
		"EndUser revoked",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in:%s", want, text)
		}
	}
}
