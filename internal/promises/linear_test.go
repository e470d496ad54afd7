package promises_test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/cloakroom-dev/cloakroom/store"
)

// asked is an operation on one session of a store, and told its answer. Times
// count seconds.
type asked struct {
	op      op
	id      store.ID
	version uint64
	data    byte
	seen    int
}

type told struct {
	err     error // one of the contract's, or nil
	version uint64
	data    byte
	seen    int
}

// standing is what one ID stands for.
type standing struct {
	live, ended bool
	told
}

// contract says what an operation makes of what stands, and whether it could have
// been told there what it was told.
func contract(s standing, a asked, t told) (bool, standing) {
	var want error
	creates := a.op == opUpdate && a.version == 0
	switch {
	case s.ended:
		want = store.ErrEnded
	case !s.live && !creates:
		want = store.ErrNotFound
	case s.live && a.op == opUpdate && a.version != s.version, s.live && a.op == opEnd && a.version != 0 && a.version != s.version:
		want = store.ErrConflict
	}
	if a.op == opEnd && (want == nil || want == store.ErrNotFound) {
		return t.err == want, standing{ended: true}
	}
	if want != nil || a.op == opGet {
		if want == nil {
			return t == s.told, s
		}
		return t.err == want, s
	}
	if a.op == opUpdate {
		s.live, s.version, s.data = true, s.version+1, a.data
	}
	s.seen = max(s.seen, a.seen)
	return t.err == nil, s
}

// byID takes a history apart: sessions have nothing to do with each other.
func byID(history []porcupine.Operation) (parts [][]porcupine.Operation) {
	of := map[store.ID][]porcupine.Operation{}
	for _, o := range history {
		id := o.Input.(asked).id
		of[id] = append(of[id], o)
	}
	for _, p := range of {
		parts = append(parts, p)
	}
	return parts
}

var contractModel = porcupine.Model{
	Partition:         byID,
	Init:              func() any { return standing{} },
	Step:              func(s, a, t any) (bool, any) { return contract(s.(standing), a.(asked), t.(told)) },
	DescribeOperation: func(a, t any) string { return fmt.Sprintf("%+v: %+v", a, t) },
}

// ask runs an operation on a store.
func ask(ctx context.Context, st backend, begin time.Time, a asked) (t told) {
	at := func(sec int) time.Time { return begin.Add(time.Duration(sec) * time.Second) }
	var err error
	switch a.op {
	case opGet:
		var r store.Record
		if r, err = st.Get(ctx, a.id); err == nil {
			t = told{version: r.Version, data: r.Data[0], seen: int(r.Seen.Sub(begin) / time.Second)}
		}
	case opUpdate:
		err = st.Put(ctx, store.Record{ID: a.id, Version: a.version, UserID: "u", Created: begin, Seen: at(a.seen),
			Expires: at(a.seen + 600), Deadline: at(2000), Data: []byte{a.data}})
	case opTouch:
		err = st.Touch(ctx, a.id, at(a.seen), at(a.seen+600))
	case opEnd:
		err = st.End(ctx, a.id, a.version, store.Ended{Reason: store.Logout, At: begin}, at(2000))
	}
	for _, known := range []error{store.ErrNotFound, store.ErrEnded, store.ErrConflict} {
		if errors.Is(err, known) {
			return told{err: known}
		}
	}
	t.err = err
	return t
}

// Random calls of twelve clients through two stores on the same place, with sweeps
// in between where there are any: what they were told is what a store would tell
// that does one thing after the other.
func TestPromise01_HistoriesOfTwoStores(t *testing.T) {
	t.Parallel()
	histories := 20
	if *prove {
		histories = 200
	}
	onEachPair(t, func(t *testing.T, here *place) {
		first, _ := here.open(t)
		second, _ := here.open(t)
		for round := range histories {
			seed := cmp.Or(*seed, rand.Uint64())
			history := play(t, []backend{first, second}, seed, round)
			if result := porcupine.CheckOperationsTimeout(contractModel, history, time.Minute); result != porcupine.Ok {
				t.Fatalf("-seed %d: the history is %s", seed, result)
			}
		}
	})
}

// play lets twelve clients make calls about two sessions, and returns what they
// were told.
func play(t *testing.T, stores []backend, seed uint64, round int) (history []porcupine.Operation) {
	const clients, calls = 12, 12
	begin := time.Now().UTC().Truncate(time.Millisecond)
	ids := []store.ID{sha256.Sum256(fmt.Append(nil, seed, round, "a")), sha256.Sum256(fmt.Append(nil, seed, round, "b"))}
	var mu sync.Mutex
	var wg sync.WaitGroup
	start := make(chan struct{})
	for client := range clients {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(client)))
			st := stores[client%len(stores)]
			known := map[store.ID]uint64{} // the version of its next Put that may succeed
			<-start
			for range calls {
				a := asked{op: []op{opGet, opGet, opUpdate, opUpdate, opUpdate, opTouch, opTouch, opEnd}[rng.IntN(8)],
					id: ids[rng.IntN(2)], data: byte(rng.IntN(256)), seen: rng.IntN(100)}
				if a.version = known[a.id]; a.op == opEnd && rng.IntN(3) > 0 {
					a.op = opTouch // or soon nothing lives
				}
				if sweeper, ok := st.(store.Sweeper); ok && rng.IntN(8) == 0 {
					if n, err := sweeper.Sweep(t.Context(), time.Now()); n > 0 || err != nil {
						t.Errorf("a sweep of nothing: %d, %v", n, err)
					}
				}
				call := time.Since(begin)
				answer := ask(t.Context(), st, begin, a)
				done := porcupine.Operation{ClientId: client, Input: a, Output: answer, Call: call.Nanoseconds(), Return: time.Since(begin).Nanoseconds()}
				if answer.err == nil {
					known[a.id] = map[op]uint64{opGet: answer.version, opUpdate: a.version + 1, opTouch: known[a.id]}[a.op]
				}
				mu.Lock()
				history = append(history, done)
				mu.Unlock()
			}
		})
	}
	close(start)
	wg.Wait()
	return history
}
