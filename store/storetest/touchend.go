package storetest

import (
	"errors"
	"math"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// Sentences that several cases prove.
const (
	saysTouch     = "Touch moves Seen and Expires of a live record forward, Expires at most to Deadline."
	saysTouchBack = "An earlier time than the stored one leaves the stored one."
	saysTouchOnly = "It changes neither version nor bytes."
	saysTouchErr  = "It returns ErrNotFound or ErrEnded."
	saysEnd       = "End makes a tombstone of the session: of the one with this version, or with version 0 of any."
	saysTomb      = "The tombstone keeps why, and lives until the later of until and the record's Deadline."
	saysOne       = "Exactly one caller gets nil; others get ErrEnded."
	saysOther     = "Another version returns ErrConflict and changes nothing."
	saysUnknown   = "An unknown id returns ErrNotFound, and leaves a tombstone all the same, so that a create which is still on its way finds it."
)

func touchCases() []testCase {
	return []testCase{
		{"Touch/MovesForward", []string{saysTouch, saysTouchOnly}, 0, func(p *probe) {
			r := p.create("user")
			for _, step := range []time.Duration{time.Millisecond, time.Second, time.Hour} {
				r.Seen, r.Expires = r.Seen.Add(step), r.Expires.Add(step)
				p.touch(r.ID, r.Seen, r.Expires)
				p.stored(r)
			}
		}},
		{"Touch/NeverBack", []string{saysTouchBack}, 0, func(p *probe) {
			r := p.create("user")
			for _, back := range []time.Duration{0, time.Millisecond, time.Hour} {
				p.touch(r.ID, r.Seen.Add(-back), r.Expires.Add(-back))
				p.stored(r)
			}
			// Each time for itself.
			r.Seen = r.Seen.Add(time.Second)
			p.touch(r.ID, r.Seen, r.Expires.Add(-time.Minute))
			p.stored(r)
			r.Expires = r.Expires.Add(time.Second)
			p.touch(r.ID, r.Seen.Add(-time.Minute), r.Expires)
			p.stored(r)
		}},
		{"Touch/Promise04_NothingPassesDeadline", []string{saysTouch, saysDeadline}, 0, func(p *probe) {
			r := p.create("user")
			p.touch(r.ID, r.Seen, r.Deadline.Add(time.Millisecond))
			r.Expires = r.Deadline
			p.stored(r)
			p.touch(r.ID, r.Deadline, r.Deadline.Add(400*24*time.Hour))
			r.Seen = r.Deadline
			p.stored(r)
		}},
	}
}

func touchOnlyCases() []testCase {
	return []testCase{
		{"Touch/LeavesVersionAndBytes", []string{saysTouchOnly}, 0, func(p *probe) {
			r := p.put(p.create("user"))
			before := r
			r.Seen, r.Expires = p.now.Add(time.Minute), p.now.Add(31*time.Minute)
			p.touch(r.ID, r.Seen, r.Expires)
			p.stored(r)
			// A Put that read before the touch does not fail, nor undo it.
			before.Data = []byte("changed")
			after := p.put(before)
			after.Seen, after.Expires = r.Seen, r.Expires
			p.stored(after)
		}},
		{"Touch/OneRecordOnly", []string{saysTouch}, 0, func(p *probe) {
			list := p.createMany(5, "user")
			list[3].Seen, list[3].Expires = p.now.Add(time.Minute), p.now.Add(31*time.Minute)
			p.touch(list[3].ID, list[3].Seen, list[3].Expires)
			for _, r := range list {
				p.stored(r)
			}
		}},
		{"Touch/Promise01_NothingIsCreated", []string{saysTouchErr}, 0, func(p *probe) {
			id := p.newID()
			p.want("Touch of nothing", p.Touch(p.ctx, id, p.now, p.now.Add(time.Hour)), store.ErrNotFound)
			p.unknown(id)
		}},
		{"Touch/A01_NobodyIsRevived", []string{saysTouchErr}, 0, func(p *probe) {
			r := p.create("user")
			why := p.end(r.ID, store.Logout)
			for _, d := range []time.Duration{0, time.Hour, 48 * time.Hour} {
				err := p.Touch(p.ctx, r.ID, p.now.Add(d), p.now.Add(d))
				p.want("Touch of a tombstone", err, store.ErrEnded)
				p.ended(r.ID, why)
			}
			p.want("Put", p.Put(p.ctx, r), store.ErrEnded)
		}},
	}
}

func endCases() []testCase {
	return []testCase{
		{"End/KeepsWhy", []string{saysTomb}, 0, func(p *probe) {
			for _, reason := range []store.Reason{store.Logout, store.Renewed, store.Revoked, store.Excess, 127, 255} {
				for _, at := range []time.Time{p.now, p.now.Add(-time.Hour), time.UnixMilli(1_700_000_000_999).UTC()} {
					r := p.create("user")
					why := store.Ended{Reason: reason, At: at}
					p.want("End", p.End(p.ctx, r.ID, 0, why, p.now), nil)
					p.ended(r.ID, why)
				}
			}
		}},
		{"End/FirstReasonStays", []string{saysOne, saysTomb}, 0, func(p *probe) {
			r := p.create("user")
			why := p.end(r.ID, store.Renewed)
			for _, version := range []uint64{0, 1, 2, math.MaxUint64} {
				later := store.Ended{Reason: store.Revoked, At: p.now.Add(time.Minute)}
				p.want("a second End", p.End(p.ctx, r.ID, version, later, p.now.Add(time.Hour)), store.ErrEnded)
				p.ended(r.ID, why)
			}
		}},
		{"End/Promise01_EndedForGood", []string{saysEnd,
			"a session that has ended stays ended"}, 0, func(p *probe) {
			r := p.put(p.create("user"))
			why := p.end(r.ID, store.Logout)
			for range 2 {
				for _, version := range []uint64{0, 1, 2, 3} {
					late := r
					late.Version = version
					late.Seen, late.Expires = p.now.Add(time.Second), p.now.Add(time.Hour)
					p.want("Put", p.Put(p.ctx, late), store.ErrEnded)
				}
				p.want("Touch", p.Touch(p.ctx, r.ID, p.now.Add(time.Second), p.now.Add(time.Hour)), store.ErrEnded)
				p.want("End", p.End(p.ctx, r.ID, 0, why, p.now), store.ErrEnded)
				p.ended(r.ID, why)
			}
		}},
	}
}

func endUnknownCases() []testCase {
	return []testCase{
		{"End/OneSessionOnly", []string{saysEnd}, 0, func(p *probe) {
			list := p.createMany(5, "user")
			p.end(list[1].ID, store.Logout)
			for i, r := range list {
				if i != 1 {
					p.stored(r)
				}
			}
		}},
		{"End/Promise01_LateCreateFindsTombstone", []string{saysUnknown}, 0, func(p *probe) {
			for _, version := range []uint64{0, 1, 7, math.MaxUint64} {
				r := p.record("user") // its create is on its way
				why := store.Ended{Reason: store.Logout, At: p.now}
				p.want("End of an unknown ID", p.End(p.ctx, r.ID, version, why, p.now.Add(time.Hour)), store.ErrNotFound)
				p.want("the late create", p.Put(p.ctx, r), store.ErrEnded)
				p.ended(r.ID, why)
				p.want("Touch", p.Touch(p.ctx, r.ID, p.now, p.now.Add(time.Hour)), store.ErrEnded)
				p.want("a second End", p.End(p.ctx, r.ID, version, why, p.now.Add(time.Hour)), store.ErrEnded)
				r.Version = 1
				p.want("an update", p.Put(p.ctx, r), store.ErrEnded)
				p.ended(r.ID, why)
			}
		}},
		{"End/A07_FailuresLeaveNothing", []string{saysGetNone, saysNoUpsert, saysTouchErr}, 0, func(p *probe) {
			r := p.record("user")
			r.Version = 3
			p.want("Put", p.Put(p.ctx, r), store.ErrNotFound)
			p.want("Touch", p.Touch(p.ctx, r.ID, p.now, p.now.Add(time.Hour)), store.ErrNotFound)
			p.unknown(r.ID)
			if p.users != nil {
				if list, err := p.users.ListUser(p.ctx, "user"); err != nil || len(list) > 0 {
					p.Errorf("ListUser: %d records, %v, want none", len(list), err)
				}
			}
			if p.scanner != nil {
				if list, err := p.scanner.Scan(p.ctx, store.ID{}, 10); err != nil || len(list) > 0 {
					p.Errorf("Scan: %d records, %v, want none", len(list), err)
				}
			}
		}},
		{"Errors/AreTold", []string{"callers compare with errors.Is"}, 0, func(p *probe) {
			_, err := p.Get(p.ctx, p.newID())
			for _, other := range []error{store.ErrEnded, store.ErrConflict, store.ErrImmutable} {
				if !errors.Is(err, store.ErrNotFound) || errors.Is(err, other) {
					p.Errorf("Get of an unknown ID: %v, want %v and nothing else", err, store.ErrNotFound)
				}
			}
		}},
	}
}

// versionCases are about the version that End asks for.
func versionCases() []testCase {
	return []testCase{
		{"End/Version0_Any", []string{saysEnd}, 0, func(p *probe) {
			r := p.create("user")
			for range 3 {
				r = p.put(r)
			}
			p.ended(r.ID, p.end(r.ID, store.Revoked))
		}},
		{"End/ThisVersion", []string{saysEnd}, 0, func(p *probe) {
			r := p.create("user")
			for range 3 {
				r = p.put(r)
			}
			why := store.Ended{Reason: store.Renewed, At: p.now}
			p.want("End", p.End(p.ctx, r.ID, r.Version, why, p.now.Add(time.Hour)), nil)
			p.ended(r.ID, why)
		}},
		{"End/A02_OtherVersion", []string{saysOther}, 0, func(p *probe) {
			r := p.create("user")
			for range 3 {
				r = p.put(r)
			}
			why := store.Ended{Reason: store.Renewed, At: p.now}
			for _, version := range []uint64{1, 3, 5, 1<<32 + 4, math.MaxInt64, math.MaxUint64} {
				p.want("End of another version", p.End(p.ctx, r.ID, version, why, p.now.Add(time.Hour)), store.ErrConflict)
				p.stored(r)
			}
			r = p.put(r) // it can be written as before
			p.touch(r.ID, r.Seen, r.Expires)
			p.want("End", p.End(p.ctx, r.ID, r.Version, why, p.now.Add(time.Hour)), nil)
			p.ended(r.ID, why)
		}},
		{"End/TouchIsNoVersion", []string{saysEnd, saysTouchOnly}, 0, func(p *probe) {
			r := p.create("user")
			p.touch(r.ID, p.now.Add(time.Minute), p.now.Add(time.Hour))
			why := store.Ended{Reason: store.Renewed, At: p.now}
			p.want("End", p.End(p.ctx, r.ID, r.Version, why, p.now.Add(time.Hour)), nil)
			p.ended(r.ID, why)
		}},
	}
}
