package storetest

import (
	"bytes"
	"slices"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// Sentences that several cases prove.
const (
	saysSweep = "Sweep forgets what may be forgotten at the time now: live records more than Slack after Expires, tombstones more than Slack after the end of their time."
	saysCount = "It returns how many."
	saysClock = "If now differs from the store's own clock by more than Slack, it forgets nothing and returns an error: a wrong clock would end every session at once."
	saysScan  = "Scan returns up to n live records with an ID behind after, in the order of their IDs; fewer than n say that there are no more."
	saysZero  = "The zero ID starts."
)

// sweep forgets, and fails the case if it does not do it for exactly those under
// the IDs given. A store may have forgotten some of them by itself already; the
// count is that of the sweep.
func (p *probe) sweep(now time.Time, forgotten ...store.ID) {
	p.Helper()
	there := 0
	for _, id := range forgotten {
		if _, err := p.Get(p.ctx, id); !is(err, store.ErrNotFound) {
			there++
		}
	}
	n, err := p.sweeper.Sweep(p.ctx, now)
	if err != nil {
		p.fatalf("Sweep: %v, want success", err)
	}
	if n != there {
		p.Errorf("Sweep says that it forgot %d, want %d", n, there)
	}
	for _, id := range forgotten {
		p.unknown(id)
	}
}

// expired stores a session that went idle so long ago.
func (p *probe) expired(userID string, ago time.Duration) store.Record {
	p.Helper()
	r := p.record(userID)
	r.Created, r.Seen, r.Expires = p.now.Add(-ago-time.Hour), p.now.Add(-ago-time.Minute), p.now.Add(-ago)
	return p.put(r)
}

// tombstone ends a session with a Deadline, and keeps the tombstone until.
func (p *probe) tombstone(deadline, until time.Time) store.ID {
	p.Helper()
	r := p.record("user")
	r.Created, r.Seen, r.Expires, r.Deadline = p.now.Add(-day), p.now.Add(-day), deadline, deadline
	r = p.put(r)
	why := store.Ended{Reason: store.Logout, At: p.now}
	// A store may have forgotten a session that is over for long by now; then
	// this leaves the tombstone of an unknown one.
	if err := p.End(p.ctx, r.ID, 0, why, until); err != nil && !is(err, store.ErrNotFound) {
		p.fatalf("End: %v", err)
	}
	return r.ID
}

func sweepCases() []testCase {
	return []testCase{
		{"Sweep/Expired", []string{saysSweep, saysCount}, sweeper, func(p *probe) {
			var keep []store.Record
			var over []store.ID
			for range 3 {
				keep = append(keep, p.create("user"), p.create(""), p.expired("user", time.Minute), p.expired("", 4*time.Minute))
				over = append(over, p.expired("user", store.Slack+time.Minute).ID, p.expired("", day).ID)
			}
			p.sweep(time.Now(), over...)
			for _, r := range keep {
				p.stored(r)
			}
			p.sweep(time.Now()) // there is nothing left to forget
		}},
		{"Sweep/ToTheMillisecond", []string{saysSweep, saysSlack}, sweeper, func(p *probe) {
			// The sweep's clock is ahead, so that a store which forgets by itself
			// has no reason to.
			now := p.now.Add(4 * time.Minute)
			ago := store.Slack - 4*time.Minute
			kept, over := p.expired("user", ago), p.expired("user", ago+time.Millisecond)
			keptTomb := p.tombstone(p.now.Add(-day), p.now.Add(-ago))
			overTomb := p.tombstone(p.now.Add(-day), p.now.Add(-ago-time.Millisecond))
			p.sweep(now, over.ID, overTomb)
			p.stored(kept)
			p.dead(keptTomb)
		}},
		{"Sweep/Promise01_Tombstones", []string{saysTomb, saysSweep}, sweeper, func(p *probe) {
			past, future := p.now.Add(-store.Slack-time.Minute), p.now.Add(time.Minute)
			keep := []store.ID{
				p.tombstone(past, future), p.tombstone(future, past), p.tombstone(future, future),
				p.tombstone(p.now.Add(-time.Minute), past), p.tombstone(past, p.now.Add(-time.Minute)),
			}
			unknown := p.newID()
			why := store.Ended{Reason: store.Logout, At: p.now}
			p.want("End of an unknown ID", p.End(p.ctx, unknown, 0, why, future), store.ErrNotFound)
			over := p.tombstone(past, past)
			p.sweep(time.Now(), over)
			for _, id := range append(keep, unknown) {
				p.dead(id)
			}
		}},
	}
}

func clockCases() []testCase {
	return []testCase{
		{"Sweep/A43_WrongClock", []string{saysClock}, sweeper, func(p *probe) {
			live, idle, over := p.create("user"), p.expired("user", 4*time.Minute), p.expired("user", 10*time.Minute)
			tomb := p.tombstone(p.now.Add(time.Minute), p.now)
			_, before := p.Get(p.ctx, over.ID)
			for _, off := range []time.Duration{store.Slack + 5*time.Second, time.Hour, day, 400 * day} {
				for _, now := range []time.Time{time.Now().Add(off), time.Now().Add(-off)} {
					if n, err := p.sweeper.Sweep(p.ctx, now); n != 0 || err == nil {
						p.Errorf("Sweep at %v, but the time is %v: %d, %v, want an error", now, time.Now(), n, err)
					}
				}
			}
			for _, now := range []time.Time{{}, time.Unix(0, 0), time.Date(2038, 1, 20, 0, 0, 0, 0, time.UTC)} {
				if n, err := p.sweeper.Sweep(p.ctx, now); n != 0 || err == nil {
					p.Errorf("Sweep at %v: %d, %v, want an error", now, n, err)
				}
			}
			p.stored(live)
			p.stored(idle)
			p.dead(tomb)
			if _, after := p.Get(p.ctx, over.ID); !is(after, before) {
				p.Errorf("Get after sweeps that were refused: %v, before them: %v", after, before)
			}
		}},
		{"Sweep/A43_ClockWithinSlack", []string{saysClock, saysSweep}, sweeper, func(p *probe) {
			live, idle := p.create("user"), p.expired("user", 2*time.Minute)
			before := p.now.Add(-4 * time.Minute)
			p.sweep(before)
			p.stored(idle)
			p.sweep(p.now.Add(4*time.Minute), idle.ID)
			p.stored(live)
		}},
	}
}

func forgottenCases() []testCase {
	return []testCase{
		{"Sweep/Forgotten", []string{saysSweep, saysNothing}, sweeper, func(p *probe) {
			kept, over := p.expired("user", time.Minute), p.expired("user", 10*time.Minute)
			tomb := p.tombstone(p.now.Add(-day), p.now.Add(-10*time.Minute))
			p.sweep(time.Now(), over.ID, tomb)
			p.onlyOf("user", kept)
			p.want("Put of an update", p.Put(p.ctx, over), store.ErrNotFound)
			p.want("Touch", p.Touch(p.ctx, over.ID, p.now, p.now.Add(time.Hour)), store.ErrNotFound)
			p.unknown(over.ID)
			for _, id := range []store.ID{over.ID, tomb} { // as if it had never been
				r := p.record("user")
				r.ID = id
				p.stored(p.put(r))
				p.end(id, store.Logout)
			}
			if p.users != nil {
				p.endUser("user", store.ID{}, 1)
			}
		}},
		{"Sweep/TouchedInTime", []string{saysSweep, saysTouch}, sweeper, func(p *probe) {
			r := p.expired("user", 4*time.Minute)
			r.Seen, r.Expires = p.now, p.now.Add(30*time.Minute)
			p.touch(r.ID, r.Seen, r.Expires)
			p.sweep(p.now.Add(4 * time.Minute))
			p.stored(r)
		}},
		{"Sweep/Many", []string{saysSweep, saysCount}, sweeper, func(p *probe) {
			var keep []store.Record
			var over []store.ID
			for i := range 400 {
				if i%2 == 0 {
					keep = append(keep, p.create("user"))
				}
				over = append(over, p.expired("user", 10*time.Minute).ID)
			}
			p.sweep(time.Now(), over...)
			for _, r := range keep {
				p.stored(r)
			}
			p.onlyOf("user", keep...)
		}},
	}
}

func scanCases() []testCase {
	return []testCase{
		{"Scan/InOrder", []string{saysScan, saysZero}, scanner, func(p *probe) {
			list := slices.Concat(p.createMany(20, "user"), p.createMany(17, ""))
			list = append(list, p.put(p.withID(0x00, 1)), p.put(p.withID(0xff, 0xff)))
			list = append(list, p.expired("user", time.Minute))
			slices.SortFunc(list, func(a, b store.Record) int { return bytes.Compare(a.ID[:], b.ID[:]) })
			for _, n := range []int{1, 2, 7, len(list) - 1, len(list), len(list) + 1, 1000} {
				p.scanned(list, n)
			}
		}},
		{"Scan/Empty", []string{saysScan}, scanner, func(p *probe) { p.scanned(nil, 10) }},
		{"Scan/LiveOnesOnly", []string{saysScan}, scanner, func(p *probe) {
			list := p.createMany(9, "user")
			for _, r := range list[3:] {
				p.end(r.ID, store.Logout)
			}
			why := store.Ended{Reason: store.Logout, At: p.now}
			p.want("End of an unknown ID", p.End(p.ctx, p.newID(), 0, why, p.now), store.ErrNotFound)
			list = list[:3]
			slices.SortFunc(list, func(a, b store.Record) int { return bytes.Compare(a.ID[:], b.ID[:]) })
			p.scanned(list, 2)
			p.scanned(list, 100)
		}},
		{"Scan/Neighbours", []string{saysScan, saysName}, scanner, func(p *probe) {
			var list []store.Record
			for i := range 100 { // which agree in all bytes but the last
				list = append(list, p.put(p.withID(0x42, byte(i+100))))
			}
			p.scanned(list, 9)
		}},
	}
}

// withID returns a record whose ID has these bytes first and last.
func (p *probe) withID(first, last byte) store.Record {
	r := p.record("user")
	r.ID = store.ID{0: first, 31: last}
	return r
}

// scanned fails the case if a walk by n does not meet exactly these, in order.
func (p *probe) scanned(want []store.Record, n int) {
	p.Helper()
	var after store.ID
	for {
		page, err := p.scanner.Scan(p.ctx, after, n)
		if err != nil {
			p.fatalf("Scan: %v", err)
		}
		if size := min(n, len(want)); len(page) != size {
			p.fatalf("Scan returned %d records, want %d of %d", len(page), size, len(want))
		}
		for i, r := range page {
			if diff := differ(r, want[i]); diff != "" {
				p.fatalf("Scan by %d: %s", n, diff)
			}
		}
		if len(page) < n {
			return
		}
		after, want = page[n-1].ID, want[n:]
	}
}
