package promises_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// Two renewals in the same millisecond, and the store answers one of them with
// nothing: it finds the tombstone of the other, and must not take it for its own.
// Otherwise the session would go on twice, once without the last write.
func TestPromise02_TwoRenewalsAndALostAnswer(t *testing.T) {
	timeless(t, func(t *testing.T, st backend) { // time stands still
		w := newBubble(t, st, nil)
		s := newScene(t, w, w.signIn(t, "u"), 0, renews, updates, setsRoles)
		lost, write, other := s.actors[0], s.actors[1], s.actors[2]
		other.at = lost.at
		lost.trace.gate = func(c *call) fault {
			if c.op != opEnd || c.id != s.id {
				return nil
			}
			s.play(write)
			s.play(other)
			return refused
		}
		s.play(lost)
		if !write.answer.ok() || !other.answer.ok() {
			t.Fatal(s)
		}
		if err := s.check(t); err != nil {
			t.Error(err)
		}
	})
}

// Random rounds while the store fails now and then: it refuses, or its answer gets
// lost. What was acknowledged holds, what was ended stays so, and nothing lives
// that nobody knows.
func TestPromise07_RandomRoundsOfAFailingStore(t *testing.T) {
	t.Parallel()
	n, from := *rounds/4, *seed
	if *prove {
		n *= 10
	}
	if from == 0 {
		from = uint64(time.Now().UnixNano())
	}
	for name, open := range openers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, open(t), nil)
			var played atomic.Int64
			var wg sync.WaitGroup
			for v := range 8 {
				wg.Go(func() {
					rng := rand.New(rand.NewPCG(from, uint64(v)))
					for played.Add(1) <= int64(n*shares[name]/10) && !t.Failed() {
						s := newScene(t, w, w.visitor(t, rng), 0, cast(rng)...)
						s.storm(rng)
						if err := s.checkStorm(); err != nil {
							t.Errorf("-seed %d, visitor %d: %v\n%s", from, v, err, s)
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// storm sends all requests at once, to one instance: of two, the renewals of one
// millisecond cannot be told apart by what their tombstones say.
func (s *scene) storm(rng *rand.Rand) {
	s.brief = true
	for _, a := range s.actors {
		a.at = 0
	}
	luck := rand.New(rand.NewPCG(rng.Uint64(), 1))
	s.rush(rng, func(*call) fault {
		switch luck.IntN(12) {
		case 0:
			return refused
		case 1:
			return unheard
		}
		return nil
	})
}

// checkStorm is check with a store that fails: what was refused with a 503 may
// have been done.
func (s *scene) checkStorm() error {
	rec, lives := s.w.live(s.id)
	least, most := s.before.Count, s.before.Count
	for _, a := range s.actors {
		ok := a.answer.ok()
		if err := a.answer.refusal(); !ok && err != nil {
			return fmt.Errorf("%s: %w", a.kind, err)
		}
		switch a.answer.status {
		case http.StatusOK, http.StatusNoContent, http.StatusUnauthorized, http.StatusConflict, http.StatusServiceUnavailable:
		default:
			return fmt.Errorf("%s: %v", a.kind, a.answer)
		}
		if a.kind == updates {
			most++
			if ok {
				least++
			}
		}
		if ok && lives && (a.kind == logsOut || a.kind == ends || a.kind == endsUser) {
			return fmt.Errorf("%s was acknowledged, and the session lives", a.kind)
		}
		if err := s.checkMade(a, rec.Ended.Reason); err != nil {
			return fmt.Errorf("%s: %w", a.kind, err)
		}
	}
	if lives {
		return s.atLeast(s.cookie, least, most)
	}
	if won := s.winner(); won != nil && won.answer.ok() && (won.kind != logsInElse || s.user == "") {
		if _, live := s.w.live(idOf(won.answer.cookie)); live {
			if err := s.atLeast(won.answer.cookie, least, most); err != nil {
				return fmt.Errorf("%s: %w", won.kind, err)
			}
		}
	}
	return s.w.nobodyAt(s.cookie, true, 0)
}

// checkMade judges the session that an actor has made, if any.
func (s *scene) checkMade(a *actor, why store.Reason) error {
	lostEnd := map[store.ID]bool{}
	for _, c := range a.trace.seen() {
		if c.op == opEnd && !c.answered() {
			lostEnd[c.id] = true
		}
	}
	for _, id := range a.trace.created() {
		made, live := s.w.live(id)
		known := a.answer.cookie != "" && idOf(a.answer.cookie) == id
		switch {
		case live && !known && !lostEnd[id]:
			return errors.New("left a session that nobody knows")
		case live && known && a.isRenewal() && (why != store.Renewed || s.winner() != a):
			return fmt.Errorf("goes on from a session that was ended (%v)", why)
		case live && known && a.isRenewal() && !made.Deadline.Equal(s.record.Deadline):
			return errors.New("a renewal moved the deadline")
		case !live && known && !s.has(endsUser):
			return errors.New("acknowledged, and its session is dead")
		}
	}
	return nil
}

// atLeast compares a session with what was acknowledged: all of it must be there,
// and of the rest no more than was asked for.
func (s *scene) atLeast(cookie string, least, most int) error {
	got, err := s.w.do(request{method: "GET", path: "/read", cookie: cookie, direct: true}).contents()
	if err != nil {
		return err
	}
	if got.Count < least || got.Count > most {
		return fmt.Errorf("the session counts %d, not %d to %d", got.Count, least, most)
	}
	for _, a := range s.actors {
		if a.kind == sets && a.answer.ok() && got.Values[a.name] != a.name {
			return fmt.Errorf("lost %s: the session holds %v", a.name, got.Values)
		}
	}
	return nil
}
