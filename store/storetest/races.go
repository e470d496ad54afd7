package storetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// Sentences that several cases prove.
const saysMany = "Its methods may be called by many goroutines at once, and many instances of a program may share what is behind it."

// racers is how many goroutines run for one session.
const racers = 8

// rounds returns how often a race is run.
func rounds() int {
	if testing.Short() {
		return 5
	}
	return 25
}

// race calls f from n goroutines at the same moment, and returns what each call
// returned. Who comes first is left to chance: the scheduler alone would have a
// liking for the one that was started last.
func race(n int, f func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var ready, done sync.WaitGroup
	ready.Add(n)
	for _, i := range rand.Perm(n) {
		done.Go(func() {
			ready.Done()
			<-start
			for range rand.IntN(3) {
				runtime.Gosched()
			}
			errs[i] = f(i)
		})
	}
	ready.Wait()
	close(start)
	done.Wait()
	return errs
}

// oneOf fails the case if not exactly one call returned won, and all others
// lost. It returns which one it was.
func (p *probe) oneOf(call string, errs []error, won, lost error) int {
	p.Helper()
	winner, winners := -1, 0
	for i, err := range errs {
		switch {
		case is(err, won):
			winner = i
			winners++
		case !is(err, lost):
			p.fatalf("%s: %v, want %v or %v", call, err, won, lost)
		}
	}
	if winners != 1 {
		p.fatalf("%s: %d of %d at once got %v, want exactly one", call, winners, len(errs), won)
	}
	return winner
}

// variants returns n different versions of a record.
func variants(r store.Record, n int) []store.Record {
	list := make([]store.Record, n)
	for i := range list {
		list[i] = r
		list[i].Data = fmt.Appendf(nil, "data of racer %d", i)
		list[i].Info = fmt.Appendf(nil, "info of racer %d", i)
	}
	return list
}

func raceCases() []testCase {
	return []testCase{
		{"Race/CreateCreate", []string{saysMany, saysPut}, 0, func(p *probe) {
			for range rounds() {
				list := variants(p.record("user"), racers)
				errs := race(racers, func(i int) error { return p.Put(p.ctx, list[i]) })
				winner := list[p.oneOf("Put of a create", errs, nil, store.ErrConflict)]
				winner.Version = 1
				p.stored(winner)
				p.onlyOf("user", winner)
				p.end(winner.ID, store.Logout)
			}
		}},
		{"Race/Promise02_UpdateUpdate", []string{saysMany, saysPut}, 0, func(p *probe) {
			r := p.create("user")
			for range rounds() {
				list := variants(r, racers)
				errs := race(racers, func(i int) error { return p.Put(p.ctx, list[i]) })
				r = list[p.oneOf("Put of an update", errs, nil, store.ErrConflict)]
				r.Version++
				p.stored(r)
			}
		}},
		{"Race/A03_NoUpdateIsLost", []string{saysPut}, 0, noUpdateIsLost},
	}
}

func endRaceCases() []testCase {
	return []testCase{
		{"Race/EndEnd", []string{saysOne}, 0, func(p *probe) {
			for round := range rounds() {
				r := p.create("user")
				version := r.Version * uint64(round%2) // any, or this one
				errs := race(racers, func(i int) error {
					why := store.Ended{Reason: store.Logout, At: p.now.Add(time.Duration(i) * time.Second)}
					return p.End(p.ctx, r.ID, version, why, p.now.Add(time.Hour))
				})
				winner := p.oneOf("End", errs, nil, store.ErrEnded)
				p.ended(r.ID, store.Ended{Reason: store.Logout, At: p.now.Add(time.Duration(winner) * time.Second)})
			}
		}},
		{"Race/EndEndUnknown", []string{saysUnknown, saysOne}, 0, func(p *probe) {
			why := store.Ended{Reason: store.Logout, At: p.now}
			for range rounds() {
				id := p.newID()
				errs := race(racers, func(int) error { return p.End(p.ctx, id, 0, why, p.now.Add(time.Hour)) })
				p.oneOf("End of an unknown ID", errs, store.ErrNotFound, store.ErrEnded)
				p.ended(id, why)
			}
		}},
		{"Race/Promise01_CreateEnd", []string{saysUnknown, saysVersions}, 0, func(p *probe) {
			why := store.Ended{Reason: store.Logout, At: p.now}
			for range rounds() {
				r := p.record("user")
				errs := race(2, func(i int) error {
					if i == 0 {
						return p.Put(p.ctx, r)
					}
					return p.End(p.ctx, r.ID, 0, why, p.now.Add(time.Hour))
				})
				// Either the create came first, or the tombstone did.
				if !(errs[0] == nil && errs[1] == nil) &&
					!(is(errs[0], store.ErrEnded) && is(errs[1], store.ErrNotFound)) {
					p.fatalf("Put: %v beside End: %v", errs[0], errs[1])
				}
				p.ended(r.ID, why)
				p.onlyOf("user")
			}
		}},
	}
}

func updateRaceCases() []testCase {
	return []testCase{
		{"Race/A01_UpdateTouchEnd", []string{saysEnd, saysMany}, 0, updateTouchEnd},
		{"Race/A02_UpdateEndOfThisVersion", []string{saysOther, saysPut}, 0, func(p *probe) {
			why := store.Ended{Reason: store.Renewed, At: p.now}
			for range rounds() {
				r := p.create("user")
				next := variants(r, 1)[0]
				errs := race(2, func(i int) error {
					if i == 0 {
						return p.Put(p.ctx, next)
					}
					return p.End(p.ctx, r.ID, r.Version, why, p.now.Add(time.Hour))
				})
				switch {
				case errs[0] == nil && is(errs[1], store.ErrConflict):
					next.Version++
					p.stored(next)
				case is(errs[0], store.ErrEnded) && errs[1] == nil:
					p.ended(r.ID, why)
				default:
					p.fatalf("Put: %v beside End of the same version: %v", errs[0], errs[1])
				}
			}
		}},
		{"Race/Promise02_UpdateTouch", []string{saysTouchOnly, saysForward}, 0, func(p *probe) {
			for range rounds() {
				r := p.create("user")
				next := variants(r, 1)[0]
				errs := race(racers, func(i int) error {
					if i == 0 {
						return p.Put(p.ctx, next)
					}
					ahead := time.Duration(i) * time.Second
					return p.Touch(p.ctx, r.ID, r.Seen.Add(ahead), r.Expires.Add(ahead))
				})
				for _, err := range errs {
					p.want("Put beside Touch", err, nil)
				}
				next.Version++
				next.Seen, next.Expires = r.Seen.Add((racers-1)*time.Second), r.Expires.Add((racers-1)*time.Second)
				p.stored(next)
			}
		}},
		{"Race/ReadersSeeWholeRecords", []string{saysMany, saysBytes}, 0, readersSeeWholeRecords},
	}
}

// noUpdateIsLost lets every racer add bytes of its own by compare-and-set, again
// after each conflict. All must be there in the end.
func noUpdateIsLost(p *probe) {
	r := p.record("user")
	r.Data = make([]byte, racers)
	p.put(r)
	each := rounds()
	for _, err := range race(racers, func(i int) error {
		for range each {
			for {
				r, err := p.Get(p.ctx, r.ID)
				if err != nil {
					return err
				}
				r.Data = bytes.Clone(r.Data)
				r.Data[i]++
				runtime.Gosched() // so that others write in between
				if err = p.Put(p.ctx, r); err == nil {
					break
				}
				if !is(err, store.ErrConflict) {
					return err
				}
			}
		}
		return nil
	}) {
		p.want("compare-and-set", err, nil)
	}
	got := p.get(r.ID)
	if want := bytes.Repeat([]byte{byte(each)}, racers); !bytes.Equal(got.Data, want) {
		p.fatalf("of %d acknowledged writes each, %v are left", each, got.Data)
	}
	if want := uint64(1 + racers*each); got.Version != want {
		p.fatalf("the version is %d after %d writes", got.Version, want)
	}
}

// readersSeeWholeRecords reads for as long as a writer changes Data and Info
// together.
func readersSeeWholeRecords(p *probe) {
	const size = 4 << 10
	r := p.record("user")
	r.Data, r.Info = make([]byte, size), make([]byte, size)
	r = p.put(r)
	id := r.ID
	var written atomic.Bool
	for _, err := range race(racers, func(i int) error {
		if i == 0 {
			defer written.Store(true)
			for n := range 4 * rounds() {
				r.Data = bytes.Repeat([]byte{byte(n)}, size)
				r.Info = r.Data
				if err := p.Put(p.ctx, r); err != nil {
					return err
				}
				r.Version++
			}
			return nil
		}
		for last := false; !last; {
			last = written.Load()
			got, err := p.Get(p.ctx, id)
			if err != nil {
				return err
			}
			if !bytes.Equal(got.Data, bytes.Repeat(got.Data[:1], size)) || !bytes.Equal(got.Info, got.Data) {
				return fmt.Errorf("version %d holds parts of several writes", got.Version)
			}
		}
		return nil
	}) {
		p.want("a reader beside a writer", err, nil)
	}
}

// updateTouchEnd ends a session while others write and touch it.
func updateTouchEnd(p *probe) {
	why := store.Ended{Reason: store.Logout, At: p.now}
	for range rounds() {
		r := p.create("user")
		errs := race(racers, func(i int) error {
			switch i {
			case 0:
				return p.End(p.ctx, r.ID, 0, why, p.now.Add(time.Hour))
			case 1, 2, 3:
				return p.Touch(p.ctx, r.ID, p.now.Add(time.Second), p.now.Add(time.Hour))
			}
			return p.Put(p.ctx, r)
		})
		p.want("End beside Put and Touch", errs[0], nil)
		for _, err := range errs[1:] {
			if err != nil && !is(err, store.ErrEnded) && !is(err, store.ErrConflict) {
				p.fatalf("beside End: %v", err)
			}
		}
		p.ended(r.ID, why)
		p.onlyOf("user")
	}
}
