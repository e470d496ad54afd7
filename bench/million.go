package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"

	scsmem "github.com/alexedwards/scs/v2/memstore"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
)

const (
	maxBytesEach = 250.0
	maxStall     = time.Millisecond
)

// sessionData are the bytes that every session of the million shares, so that
// what is measured is what a store needs beside them.
var sessionData = make([]byte, 200)

// sessionID returns the ID of the session with a number.
func sessionID(n int) store.ID {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	return sha256.Sum256(b[:])
}

// sessionToken returns a token as scs makes them, 43 bytes.
func sessionToken(n int) string {
	id := sessionID(n)
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// sessionUser is whose session it is. Each user has two.
func sessionUser(n int) string { return fmt.Sprintf("user-%019d", n/2) }

// ourMillion fills a store of ours. Every second session expires with expires,
// the others tomorrow.
func ourMillion(count int, expires time.Time) (*memstore.Store, error) {
	st := memstore.New(nil)
	now := time.Now().Truncate(time.Millisecond).UTC()
	for i := range count {
		r := store.Record{
			ID: sessionID(i), UserID: sessionUser(i), Data: sessionData, Info: sessionData[:100],
			Created: now, Seen: now, Expires: now.Add(24 * time.Hour), Deadline: now.Add(24 * time.Hour),
		}
		if i%2 == 0 {
			r.Expires = expires
		}
		if err := st.Put(context.Background(), r); err != nil {
			return nil, err
		}
	}
	return st, nil
}

// scsMillion fills a store of scs in the same way.
func scsMillion(st *scsmem.MemStore, count int, expires time.Time) {
	tomorrow := time.Now().Add(24 * time.Hour)
	for i := range count {
		at := tomorrow
		if i%2 == 0 {
			at = expires
		}
		st.Commit(sessionToken(i), sessionData, at)
	}
}

// heap returns the bytes of all live objects.
func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// million measures what a session takes in memory beside its data, and how long a
// read may take while expired sessions are forgotten.
//
// A read may be long because of the store, or because the machine had something
// else to do. That only ever adds, so what counts is the round in which the longest
// read was shortest; and beside each sweep somebody reads a map of their own, whom
// no store can hold up.
func million(c config) ([]line, error) {
	var size, stall [3][]float64 // the floor, ours, scs
	for range c.rounds {
		size[0] = append(size[0], mapSize(c.count)/float64(c.count))
		for i, f := range []func(config) (bytes float64, own, longest time.Duration, err error){sweepOurs, sweepSCS} {
			bytes, own, longest, err := f(c)
			if err != nil {
				return nil, err
			}
			size[i+1] = append(size[i+1], bytes/float64(c.count))
			stall[i+1] = append(stall[i+1], float64(longest))
			if i == 0 {
				stall[0] = append(stall[0], float64(own))
			}
		}
	}
	bytes := func(i int) string { return fmt.Sprintf("%.0f B each", median(size[i])) }
	least := [3]float64{slices.Min(stall[0]), slices.Min(stall[1]), slices.Min(stall[2])}
	return []line{
		{
			what: "memory, a million sessions", floor: bytes(0), ours: bytes(1), peer: "scs " + bytes(2),
			overFloor: times(ratio(size[1], size[0])), overPeer: times(ratio(size[1], size[2])),
			goal: fmt.Sprintf("≤ %.0f B each beside the data", maxBytesEach), holds: yes(median(size[1]) <= maxBytesEach),
			name: "scs", counts: fmt.Sprintf("%.0f B each; %.0f; %.0f", median(size[1]), median(size[0]), median(size[2])),
		},
		{
			what:  fmt.Sprintf("longest read during a sweep, least of %d", c.rounds),
			floor: took(least[0]), ours: took(least[1]), peer: "scs " + took(least[2]),
			overFloor: times(least[1] / least[0]), overPeer: times(least[1] / least[2]),
			goal: fmt.Sprintf("≤ %v", maxStall), holds: yes(least[1] <= float64(maxStall)), name: "scs",
		},
	}, nil
}

// mapSize returns what a map of IDs to data takes.
func mapSize(count int) float64 {
	before := heap()
	all := map[store.ID][]byte{}
	for i := range count {
		all[sessionID(i)] = sessionData
	}
	bytes := heap() - before
	runtime.KeepAlive(all)
	return bytes
}

// A reading reads, with short pauses, until it is ended, and keeps the longest
// time that one read took: those of the sessions that stay, and those of a small
// map that is nobody else's.
type reading struct {
	stop         chan struct{}
	wg           sync.WaitGroup
	longest, own time.Duration
	err          error
}

// readPause leaves the processors to the sweep between two reads.
const readPause = 20 * time.Microsecond

// newReading starts to read. What prepare returns is made before the clock runs.
func newReading[K any](count int, prepare func(n int) K, get func(K) error) *reading {
	r := &reading{stop: make(chan struct{})}
	var mu sync.Mutex
	own := map[int]int{}
	r.wg.Go(func() {
		for r.goesOn() {
			n := rand.IntN(1000)
			start := time.Now()
			mu.Lock()
			own[n]++
			mu.Unlock()
			r.own = max(r.own, time.Since(start))
		}
	})
	r.wg.Go(func() {
		for r.goesOn() {
			k := prepare(rand.IntN(count/2)*2 + 1)
			start := time.Now()
			err := get(k)
			r.longest = max(r.longest, time.Since(start))
			if err != nil && r.err == nil {
				r.err = err
			}
		}
	})
	return r
}

func (r *reading) goesOn() bool {
	select {
	case <-r.stop:
		return false
	case <-time.After(readPause):
		return true
	}
}

func (r *reading) end() (own, longest time.Duration, err error) {
	close(r.stop)
	r.wg.Wait()
	return r.own, r.longest, r.err
}

// sweepOurs sweeps half a million sessions away.
func sweepOurs(c config) (bytes float64, own, longest time.Duration, err error) {
	before := heap()
	// What has expired is forgotten when store.Slack has passed as well. The clock
	// of a sweep may be ahead by nearly that much.
	st, err := ourMillion(c.count, time.Now())
	if err != nil {
		return 0, 0, 0, err
	}
	bytes = heap() - before
	time.Sleep(2 * time.Second)
	r := newReading(c.count, sessionID, func(id store.ID) error { _, err := st.Get(context.Background(), id); return err })
	swept, err := st.Sweep(context.Background(), time.Now().Add(store.Slack-time.Second))
	own, longest, readErr := r.end()
	if err == nil && swept < c.count/2 {
		err = fmt.Errorf("%d sessions swept, want %d", swept, c.count/2)
	}
	return bytes, own, longest, errors.Join(err, readErr)
}

// sweepSCS lets scs do the same. Its store sweeps by itself, at an interval from
// its making on.
func sweepSCS(c config) (bytes float64, own, longest time.Duration, err error) {
	for interval := 4 * time.Second; ; interval *= 2 {
		before := heap()
		start := time.Now()
		st := scsmem.NewWithCleanupInterval(interval)
		scsMillion(st, c.count, time.Now())
		bytes = heap() - before
		if time.Since(start) > interval*3/4 {
			st.StopCleanup()
			continue // the sweep might begin before the reading
		}
		// From shortly before the sweep until it is over for certain.
		time.Sleep(time.Until(start.Add(interval - 100*time.Millisecond)))
		r := newReading(c.count, sessionToken, func(token string) error {
			if _, ok, err := st.Find(token); !ok || err != nil {
				return errors.New("a session is lost")
			}
			return nil
		})
		time.Sleep(time.Until(start.Add(interval * 3 / 2)))
		own, longest, err = r.end()
		st.StopCleanup()
		return bytes, own, longest, err
	}
}
