package memstore_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
)

// The proof takes a minute and wants a quiet machine, so it is asked for:
//
//	go test ./store/memstore -run TestProve -v -prove
var prove = flag.Bool("prove", false, "measure the longest waits beside a sweep of a million sessions")

// pause is what the workers sleep between two calls.
const pause = 20 * time.Microsecond

// stall is what no request may wait for the store.
const stall = time.Millisecond

// runs is how often it is measured.
const runs = 4

// TestProveNoStall sweeps a million expired sessions while readers and writers
// work with others, and measures how long each of their calls takes.
//
// What takes long may also be the garbage collector, the scheduler, or the
// machine. So the same work is measured without a sweep; and beside both there
// are controls, which do the same in stores of their own, whose locks nobody else
// takes. Such noise only ever adds: a stall that the sweep makes is there in
// every run. So a call has stalled if in every run some took longer than a
// millisecond, and longer than the controls.
func TestProveNoStall(t *testing.T) {
	if !*prove {
		t.Log("asked for with -prove")
		return
	}
	innocent := map[string]bool{}
	for run := range runs {
		st := memstore.New(nil)
		expire(t, st, million)
		alone := load(t, st, 0, func() { time.Sleep(time.Second) })
		swept := 0
		var took time.Duration
		beside := load(t, st, 1, func() {
			var err error
			begin := time.Now()
			swept, err = st.Sweep(t.Context(), time.Now().Add(4*time.Minute))
			took = time.Since(begin)
			if err != nil {
				t.Error(err)
			}
		})
		if swept < million {
			t.Fatalf("only %d sessions were swept", swept)
		}
		t.Logf("run %d: a sweep of %d sessions in %v\nwithout a sweep:%s\nbeside the sweep:%s",
			run+1, swept, took.Round(time.Millisecond), alone, beside)
		noise := max(beside.longest("own Get"), beside.longest("own create"))
		for _, name := range names {
			if beside.longest(name) <= max(stall, noise) {
				innocent[name] = true
			}
		}
	}
	for _, name := range names {
		if !innocent[name] {
			t.Errorf("beside a sweep, some %s took longer than %v, and than the controls, in each of %d runs", name, stall, runs)
		}
	}
}

// expire fills a store with sessions that a sweep of the next minutes forgets.
func expire(t *testing.T, st store.Store, n int) {
	r := record(0, "")
	r.Expires = time.Now().Add(-2 * time.Minute)
	for i := range n {
		r.ID, r.UserID = id(i), oneEach(i)
		if err := st.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
}

// names are the kinds of calls, the controls first.
var names = []string{"own Get", "own create", "Get", "Touch", "Put", "create", "EndUser", "End"}

// waits are the times that the calls of each kind took, sorted.
type waits map[string][]time.Duration

func (w waits) longest(name string) time.Duration { return w[name][len(w[name])-1] }

func (w waits) String() string {
	s := ""
	for _, name := range names {
		list := w[name]
		over := len(list) - upTo(list, stall)
		s += fmt.Sprintf("\n  %-10s %7d calls, median %8v, 99.9 %% %8v, longest %8v, %d over %v",
			name, len(list), list[len(list)/2], list[len(list)*999/1000], w.longest(name), over, stall)
	}
	return s
}

// upTo counts the times in a sorted list that are at most d.
func upTo(list []time.Duration, d time.Duration) int {
	n, _ := slices.BinarySearch(list, d+1)
	return n
}

// load works with sessions of its own until during returns, and returns what each
// call took, sorted. It sleeps between two calls: the sweep needs one processor
// for itself, and who competes for the other one waits for it and not for a lock.
func load(t *testing.T, st *memstore.Store, run int, during func()) waits {
	const sessions = 10_000
	base := 2*million + run*million
	fill(t, st, base, base+sessions, fourEach)
	var over atomic.Bool
	var mu sync.Mutex
	all := waits{}
	work := func(kinds ...kind) {
		took := make([][]time.Duration, len(kinds))
		r := rand.New(rand.NewPCG(1, uint64(base)))
		for n := 0; !over.Load(); n++ {
			k := n % len(kinds)
			arg := kinds[k].arg(n, base+r.IntN(sessions))
			begin := time.Now()
			kinds[k].call(arg)
			took[k] = append(took[k], time.Since(begin))
			time.Sleep(pause)
		}
		mu.Lock()
		defer mu.Unlock()
		for k, list := range took {
			all[kinds[k].name] = append(all[kinds[k].name], list...)
		}
	}
	var running sync.WaitGroup
	running.Go(func() { work(control()...) })
	running.Go(func() { work(reads(st)...) })
	running.Go(func() { work(writes(st, base+sessions)...) })
	during()
	over.Store(true)
	running.Wait()
	for _, list := range all {
		slices.Sort(list)
	}
	return all
}

// A kind is a kind of calls. What a call needs is made before the clock runs.
type kind struct {
	name string
	arg  func(n, session int) store.Record
	call func(r store.Record)
}

// existing returns what names a session that is there.
func existing(_, session int) store.Record { return store.Record{ID: id(session)} }

// control does what the others do, in a store that nobody else knows.
func control() []kind {
	own := memstore.New(nil)
	list := []kind{writes(own, 0)[1], reads(own)[0]}
	list[0].name, list[1].name = "own create", "own Get"
	return list
}

func reads(st *memstore.Store) []kind {
	ctx := context.Background()
	return []kind{
		{"Get", existing, func(r store.Record) { st.Get(ctx, r.ID) }},
		{"Touch", existing, func(r store.Record) { st.Touch(ctx, r.ID, time.Now(), time.Now()) }},
	}
}

// writes are an update, and what a login, a logout and the end of all sessions of
// a user do. The new sessions are numbered from first.
func writes(st *memstore.Store, first int) []kind {
	ctx := context.Background()
	why := store.Ended{Reason: store.Logout, At: time.Now()}
	until := time.Now().Add(time.Hour)
	newest := func(n, _ int) store.Record { return record(first+n/5, oneEach(first+n/5)) }
	another := func(n, _ int) store.Record { return record(first+million/2+n/5, "") }
	return []kind{
		{"Put", func(_, session int) store.Record {
			r, _ := st.Get(ctx, id(session))
			return r
		}, func(r store.Record) { st.Put(ctx, r) }},
		{"create", newest, func(r store.Record) { st.Put(ctx, r) }},
		{"EndUser", newest, func(r store.Record) { st.EndUser(ctx, r.UserID, store.ID{}, why, until) }},
		{"create", another, func(r store.Record) { st.Put(ctx, r) }},
		{"End", another, func(r store.Record) { st.End(ctx, r.ID, 0, why, until) }},
	}
}
