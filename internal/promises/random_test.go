package promises_test

import (
	"flag"
	"math/rand/v2"
	"net/url"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	rounds = flag.Int("rounds", 2_000, "random rounds of all stores together; -prove plays ten times as many")
	seed   = flag.Uint64("seed", 0, "seed of the random rounds; 0 takes one from the clock")
)

// shares is how the rounds are dealt out, in tenths: other stores are slower, and
// what they have in common with memory is shown there.
var shares = map[string]int{"memory": 5, "sqlite": 1, "postgres": 1, "mariadb": 1, "redis": 1, "memcached": 1}

// weights says how often a random request is what.
var weights = map[kind]int{
	reads: 3, sets: 5, updates: 5, renews: 3, setsRoles: 1, logsIn: 1, logsInSet: 1, logsInElse: 1,
	logsOut: 1, ends: 1, endsUser: 1,
}

// Requests of one visitor at the same time, without any barrier, at two instances
// with connections of their own, round after round on whatever session the last
// one has left. After each round the sessions,
// the answers and the store are held to the same rules as in the orders that are
// enumerated.
func TestPromise01_RandomRounds(t *testing.T) {
	t.Parallel()
	n, from := *rounds, *seed
	if testing.Short() {
		n /= 20
	}
	if *prove {
		n *= 10
	}
	if from == 0 {
		from = uint64(time.Now().UnixNano())
	}
	for name, at := range places {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorldAt(t, at(t), nil)
			w.random(t, n*shares[name]/10, from)
		})
	}
}

// random plays rounds with several visitors at once.
func (w *world) random(t *testing.T, rounds int, seed uint64) {
	const visitors = 8
	var played atomic.Int64
	var wg sync.WaitGroup
	for v := range visitors {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(v)))
			cookie := ""
			for played.Add(1) <= int64(rounds) && !t.Failed() {
				if cookie == "" || rng.IntN(10) == 0 {
					cookie = w.visitor(t, rng)
				}
				s := newScene(t, w, cookie, rng.IntN(2), cast(rng)...)
				s.brief = true
				s.rush(rng, func(*call) fault { return nil })
				if err := s.check(t); err != nil {
					t.Errorf("-seed %d, visitor %d: %v", seed, v, err)
					return
				}
				cookie = s.survivor(t, rng)
			}
		})
	}
	wg.Wait()
}

// visitor begins a session: of somebody who has signed in or, now and then, of a
// stranger who has a value.
func (w *world) visitor(t *testing.T, rng *rand.Rand) string {
	if rng.IntN(4) > 0 {
		return w.signIn(t, w.fresh("u"))
	}
	return w.must(t, request{method: "POST", path: "/set", form: url.Values{"open": {""}, "name": {"first"}, "value": {"f"}}}).cookie
}

// cast returns two to six kinds.
func cast(rng *rand.Rand) []kind {
	kinds := make([]kind, 2+rng.IntN(5))
	sum := 0
	for _, n := range weights {
		sum += n
	}
	for i := range kinds {
		at := rng.IntN(sum)
		for _, k := range allKinds {
			if at -= weights[k]; at < 0 {
				kinds[i] = k
				break
			}
		}
	}
	return kinds
}

// allKinds gives the weights an order, so that a seed always casts the same.
var allKinds = []kind{reads, sets, updates, renews, setsRoles, logsIn, logsInSet, logsInElse, logsOut, ends, endsUser}

// rush sends all requests at once. Each hesitates now and then before a call of
// the store, so that they meet in other places than the scheduler likes; then
// fate, which is asked by one request at a time, decides what becomes of the call.
func (s *scene) rush(rng *rand.Rand, fate func(*call) fault) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, a := range s.actors {
		if s.user == "" { // a stranger signs in as somebody
			switch a.kind {
			case logsIn, logsInSet:
				a.kind = logsInElse
			case setsRoles, endsUser:
				a.kind = renews
			}
		}
		hesitation := rand.New(rand.NewPCG(rng.Uint64(), 0))
		a.trace.gate = func(c *call) fault {
			for range hesitation.IntN(20) {
				runtime.Gosched()
			}
			if hesitation.IntN(8) == 0 {
				time.Sleep(time.Duration(hesitation.IntN(200)) * time.Microsecond)
			}
			mu.Lock()
			defer mu.Unlock()
			return fate(c)
		}
		wg.Go(func() { s.play(a) })
	}
	wg.Wait()
}

// survivor returns the cookie of one of the sessions that live, or "".
func (s *scene) survivor(t *testing.T, rng *rand.Rand) string {
	var alive []string
	if _, ok := s.w.live(s.id); ok {
		alive = append(alive, s.cookie)
	}
	for _, a := range s.actors {
		if made := a.creation(); made != nil {
			if _, ok := s.w.live(made.id); ok {
				alive = append(alive, a.answer.cookie)
			}
		}
	}
	if len(alive) == 0 {
		return ""
	}
	return alive[rng.IntN(len(alive))]
}
