package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/cloakroom-dev/cloakroom/store"
)

// input is an operation on one session, output its answer; seen counts seconds.
type input struct {
	op      string
	id      byte
	version uint64
	data    byte
	seen    int
}

type output struct {
	err     error // a sentinel or nil
	version uint64
	data    byte
	seen    int
}

// state is what one ID stands for.
type state struct {
	live, ended bool
	version     uint64
	data        byte
	seen        int
}

// step is the contract of a store for one ID, in a dozen lines.
func step(s state, in input, out output) (bool, state) {
	var want error
	switch {
	case s.ended:
		want = store.ErrEnded
	case !s.live && (in.op != "put" || in.version > 0):
		want = store.ErrNotFound
	case s.live && in.op == "put" && in.version != s.version,
		in.op == "end" && in.version != 0 && in.version != s.version:
		want = store.ErrConflict
	}
	next := s
	switch {
	case in.op == "end" && (want == nil || want == store.ErrNotFound):
		next = state{ended: true}
	case want != nil:
	case in.op == "put":
		next = state{live: true, version: s.version + 1, data: in.data, seen: max(s.seen, in.seen)}
	case in.op == "touch":
		next.seen = max(s.seen, in.seen)
	case in.op == "get":
		return out == output{version: s.version, data: s.data, seen: s.seen}, s
	}
	return out.err == want, next
}

// model partitions a history by ID: sessions are independent of each other.
var model = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		parts := map[byte][]porcupine.Operation{}
		for _, o := range history {
			id := o.Input.(input).id
			parts[id] = append(parts[id], o)
		}
		var list [][]porcupine.Operation
		for _, p := range parts {
			list = append(list, p)
		}
		return list
	},
	Init: func() any { return state{} },
	Step: func(s, in, out any) (bool, any) { return step(s.(state), in.(input), out.(output)) },
	DescribeOperation: func(in, out any) string {
		return fmt.Sprintf("%+v → %+v", in, out)
	},
}

// apply runs an operation on a real store.
func apply(ctx context.Context, s store.Store, start time.Time, in input) output {
	id := store.ID{1, in.id}
	at := func(sec int) time.Time { return start.Add(time.Duration(sec) * time.Second) }
	var (
		out output
		err error
	)
	switch in.op {
	case "get":
		var r store.Record
		if r, err = s.Get(ctx, id); err == nil {
			out = output{version: r.Version, data: r.Data[0], seen: int(r.Seen.Sub(start) / time.Second)}
		}
	case "put":
		err = s.Put(ctx, store.Record{
			ID: id, Version: in.version, UserID: "user", Created: start, Seen: at(in.seen),
			Expires: at(in.seen + 1), Deadline: at(1000), Data: []byte{in.data},
		})
	case "touch":
		err = s.Touch(ctx, id, at(in.seen), at(in.seen+1))
	case "end":
		err = s.End(ctx, id, in.version, why(), at(1000))
	}
	for _, sentinel := range []error{store.ErrNotFound, store.ErrEnded, store.ErrConflict} {
		if errors.Is(err, sentinel) {
			return output{err: sentinel}
		}
	}
	out.err = err
	return out
}

// TestPromise01_Linearizable: random histories of eight clients are those of a
// store that does one thing after the other.
func TestPromise01_Linearizable(t *testing.T) {
	const (
		histories = 20
		clients   = 8
		each      = 12
	)
	ctx := t.Context()
	s := open(t)
	start := time.Now().UTC().Truncate(time.Millisecond)
	for round := range histories {
		var (
			mu      sync.Mutex
			history []porcupine.Operation
			wg      sync.WaitGroup
			barrier = make(chan struct{})
		)
		for client := range clients {
			rnd := rand.New(rand.NewPCG(uint64(round), uint64(client)))
			wg.Go(func() {
				<-barrier
				known := map[byte]uint64{} // what this client read last: its next Put may succeed
				for range each {
					in := input{
						op: []string{"get", "get", "put", "put", "put", "touch", "touch", "end"}[rnd.IntN(8)],
						id: byte(2*round + rnd.IntN(2)), data: byte(rnd.IntN(256)), seen: rnd.IntN(100),
					}
					if in.version = known[in.id]; in.op == "end" && rnd.IntN(3) > 0 {
						in.op = "touch" // ends are rare, or nothing would live
					}
					call := time.Since(start)
					out := apply(ctx, s, start, in)
					o := porcupine.Operation{
						ClientId: client, Input: in, Output: out, Call: call.Nanoseconds(), Return: time.Since(start).Nanoseconds(),
					}
					switch {
					case in.op == "get" && out.err == nil:
						known[in.id] = out.version
					case in.op == "put" && out.err == nil:
						known[in.id]++
					}
					mu.Lock()
					history = append(history, o)
					mu.Unlock()
				}
			})
		}
		close(barrier)
		wg.Wait()
		if result := porcupine.CheckOperationsTimeout(model, history, 10*time.Second); result != porcupine.Ok {
			t.Fatalf("round %d: the history is %s", round, result)
		}
	}
}
