package storetest

import (
	"context"
	"fmt"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// Sentences that several cases prove.
const (
	saysMillis = "All times are whole milliseconds in UTC: a store may keep less than a nanosecond, and the times are bound into the seal of Data."
	saysSlack  = "Slack is how long after Expires, and after the end of a tombstone's time, a store keeps what it has at least, and how far the clock of a sweep may be off before the sweep is refused."
)

const day = 24 * time.Hour

// lifetimes are those at which some database takes a duration for a date, or
// counts in whole seconds, or in 32 bits.
var lifetimes = []time.Duration{
	time.Millisecond, 999 * time.Millisecond, time.Second, 1001 * time.Millisecond, time.Minute, day - time.Millisecond,
	30*day - time.Second, 30 * day, 30*day + time.Second, 31 * day, 365 * day, 400 * day, 68 * 366 * day,
}

func timeCases() []testCase {
	return []testCase{
		{"Times/Milliseconds", []string{saysMillis}, 0, func(p *probe) {
			base := p.now.Truncate(time.Second)
			for _, ms := range []time.Duration{0, 1, 499, 500, 501, 999, 1000} {
				r := p.record("user")
				r.Created, r.Seen = base.Add(ms*time.Millisecond), base.Add(ms*time.Millisecond)
				r.Expires, r.Deadline = base.Add(time.Hour+ms*time.Millisecond), base.Add(day+ms*time.Millisecond)
				r = p.put(r)
				p.stored(r)
				r.Seen, r.Expires = r.Seen.Add(time.Millisecond), r.Expires.Add(time.Millisecond)
				p.touch(r.ID, r.Seen, r.Expires)
				p.stored(r)
				r.Seen, r.Expires = r.Seen.Add(time.Millisecond), r.Expires.Add(time.Millisecond)
				r = p.put(r)
				p.stored(r)
				p.touch(r.ID, r.Seen.Add(-time.Millisecond), r.Expires.Add(-time.Millisecond))
				p.stored(r)
				why := store.Ended{Reason: store.Logout, At: r.Seen}
				p.want("End", p.End(p.ctx, r.ID, 0, why, p.now), nil)
				p.ended(r.ID, why)
			}
		}},
		{"Times/FarAway", []string{saysMillis}, 0, farAway},
		{"Times/A52_Lifetimes", []string{saysSlack, saysGet}, 0, lifetimesHold},
	}
}

// ofLifetimes stores sessions and tombstones of all lifetimes: tombstones that
// have their time from the session, from until, and from until alone.
func (p *probe) ofLifetimes() (list struct {
	live []store.Record
	dead map[store.ID]string
}) {
	list.dead = map[store.ID]string{}
	why := store.Ended{Reason: store.Logout, At: p.now}
	for _, life := range lifetimes {
		end := p.now.Add(life).Truncate(time.Millisecond)
		r := p.record("user")
		r.Expires, r.Deadline = end, end
		list.live = append(list.live, p.put(r))

		r = p.record("user")
		r.Expires, r.Deadline = end, end
		r = p.put(r)
		p.want("End", p.End(p.ctx, r.ID, 0, why, p.now), nil)
		list.dead[r.ID] = fmt.Sprintf("a session of %v", life)

		r = p.record("user")
		r.Expires, r.Deadline = p.now.Add(time.Millisecond), p.now.Add(time.Millisecond)
		r = p.put(r)
		p.want("End", p.End(p.ctx, r.ID, r.Version, why, end), nil)
		list.dead[r.ID] = fmt.Sprintf("a short session, kept for %v", life)

		unknown := p.newID()
		p.want("End of an unknown ID", p.End(p.ctx, unknown, 0, why, end), store.ErrNotFound)
		list.dead[unknown] = fmt.Sprintf("nothing, kept for %v", life)
	}
	return list
}

// sleep waits, or until the test is over.
func (p *probe) sleep(d time.Duration) {
	ctx, cancel := context.WithTimeout(p.ctx, d)
	defer cancel()
	<-ctx.Done()
}

// lifetimesHold looks at sessions and tombstones of all lifetimes before and after
// the shortest are over, and after writes.
func lifetimesHold(p *probe) {
	list := p.ofLifetimes()
	look := func(when string) {
		for _, r := range list.live {
			if diff := differ(p.get(r.ID), r); diff != "" {
				p.fatalf("%s, a session of %v: %s", when, r.Deadline.Sub(r.Created), diff)
			}
		}
		for id, life := range list.dead {
			if _, err := p.Get(p.ctx, id); !is(err, store.ErrEnded) {
				p.fatalf("%s, Get of the tombstone of %v: %v, want %v", when, life, err, store.ErrEnded)
			}
		}
	}
	look("at once")
	// The shortest are over by now, but nothing may be forgotten yet.
	p.sleep(time.Until(p.now.Add(1100 * time.Millisecond)))
	look("a second later")
	for i, r := range list.live {
		list.live[i] = p.put(r)
	}
	look("after a write")
	for _, r := range list.live {
		p.touch(r.ID, r.Seen, r.Expires)
		p.end(r.ID, store.Logout)
		p.want("the late create", p.Put(p.ctx, r), store.ErrEnded)
	}
}

// farAway keeps times beyond the turns of the usual counters.
func farAway(p *probe) {
	old := []time.Time{
		time.UnixMilli(0), time.UnixMilli(1), time.UnixMilli(999), time.Date(2000, 2, 29, 23, 59, 59, 999e6, time.UTC),
		p.now.Add(-400 * day),
	}
	far := []time.Time{
		time.Date(2038, 1, 19, 3, 14, 7, 999e6, time.UTC), time.Date(2038, 1, 19, 3, 14, 8, 0, time.UTC),
		time.UnixMilli(1<<42 - 1), time.UnixMilli(1 << 42), time.Date(2106, 2, 7, 6, 28, 16, 0, time.UTC),
		time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC),
	}
	for i, deadline := range far {
		r := p.record("user")
		r.Created, r.Seen = old[i%len(old)].UTC(), old[i%len(old)].UTC()
		r.Expires, r.Deadline = deadline.Add(-time.Millisecond).UTC(), deadline.UTC()
		r = p.put(r)
		p.stored(r)
		r.Expires = r.Deadline
		p.touch(r.ID, r.Seen, r.Deadline.Add(time.Hour))
		p.stored(r)
		r = p.put(r)
		p.stored(r)
		p.ended(r.ID, p.end(r.ID, store.Logout))
	}
}
