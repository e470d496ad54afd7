package storetest

import (
	"bytes"
	"math"
	"slices"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// Sentences that several cases prove.
const (
	saysGet      = "Get returns the record under id, whatever its times say."
	saysGetNone  = "It returns ErrNotFound where nothing is known, and for a tombstone a Record with ID and Ended beside ErrEnded."
	saysPut      = "Put stores r if the stored version is r.Version; then the stored version is r.Version+1."
	saysVersions = "Version 0 creates, and finds nothing there; every other updates, and finds its record."
	saysNoUpsert = "It never creates where it should update:"
	saysNothing  = "nothing created ErrNotFound"
	saysLive     = "live ErrConflict updated, or ErrConflict if the versions differ"
	saysDead     = "a tombstone ErrEnded ErrEnded"
	saysFixed    = "An update with another UserID, Created or Deadline returns ErrImmutable."
	saysForward  = "Seen and Expires of an update move forward only: an earlier time than the stored one leaves the stored one."
	saysIgnored  = "Ended of r is ignored."
	saysBytes    = "The slices belong to the store as soon as Put has been called, and to everybody once Get has returned them: nobody changes their bytes."
	saysDeadline = "end of the idle time; moves forward only, never past Deadline"
)

func getCases() []testCase {
	return []testCase{
		{"Get/ReturnsWhatWasPut", []string{saysGet, saysPut}, 0, func(p *probe) {
			for _, userID := range []string{"", "user"} {
				r := p.create(userID)
				p.stored(r)
				p.stored(r) // reading changes nothing
			}
		}},
		{"Get/Unknown", []string{saysGetNone}, 0, func(p *probe) {
			p.create("user")
			p.unknown(p.newID())
		}},
		{"Get/Promise01_Tombstone", []string{saysGetNone}, 0, func(p *probe) {
			live, r := p.create("user"), p.create("user")
			p.ended(r.ID, p.end(r.ID, store.Logout))
			unknown := p.newID()
			why := store.Ended{Reason: store.Revoked, At: p.now}
			p.want("End of an unknown ID", p.End(p.ctx, unknown, 0, why, p.now.Add(time.Hour)), store.ErrNotFound)
			p.ended(unknown, why)
			p.stored(live)
		}},
		{"Get/Promise04_JudgesNoTime", []string{saysGet,
			"It does not judge whether a session has expired"}, 0, func(p *probe) {
			past := p.record("user") // idle for too long, but within Slack
			past.Created, past.Seen = p.now.Add(-40*time.Minute), p.now.Add(-31*time.Minute)
			past.Expires = p.now.Add(-time.Minute)
			over := p.record("user") // at its absolute end
			over.Created, over.Seen = p.now.Add(-25*time.Hour), p.now.Add(-2*time.Minute)
			over.Expires, over.Deadline = p.now.Add(-time.Minute), p.now.Add(-time.Minute)
			future := p.record("user") // made under a clock that was ahead
			future.Created, future.Seen = p.now.Add(time.Hour), p.now.Add(time.Hour)
			future.Expires, future.Deadline = p.now.Add(2*time.Hour), p.now.Add(3*time.Hour)
			for _, r := range []store.Record{past, over, future} {
				p.stored(p.put(r))
			}
		}},
		{"Get/BytesStayAsTheyWere", []string{saysBytes}, 0, func(p *probe) {
			r := p.create("user")
			first := p.get(r.ID)
			info, data := slices.Clone(first.Info), slices.Clone(first.Data)
			r.Info, r.Data = bytes.ToUpper(r.Info), bytes.ToUpper(r.Data)
			r = p.put(r)
			second := p.get(r.ID)
			p.touch(r.ID, p.now.Add(time.Minute), p.now.Add(time.Hour))
			p.end(r.ID, store.Logout)
			for range 20 {
				p.create("user") // which may use memory that was given back
			}
			if !bytes.Equal(first.Info, info) || !bytes.Equal(first.Data, data) {
				p.Errorf("the bytes of an earlier Get have changed to %s and %s", quote(first.Info), quote(first.Data))
			}
			if !bytes.Equal(second.Info, r.Info) || !bytes.Equal(second.Data, r.Data) {
				p.Errorf("the bytes of the second Get have changed to %s and %s", quote(second.Info), quote(second.Data))
			}
		}},
	}
}

func putCases() []testCase {
	return []testCase{
		{"Put/CountsVersions", []string{saysPut}, 0, func(p *probe) {
			r := p.create("user")
			for i := range 20 {
				r.Data = bytes.Repeat([]byte{byte(i)}, i)
				r.Info = bytes.Repeat([]byte{byte(i)}, 20-i)
				r = p.put(r)
				p.stored(r)
			}
			if r.Version != 21 {
				p.Errorf("the version is %d after 21 writes", r.Version)
			}
		}},
		{"Put/UpdatesOneRecordOnly", []string{saysPut}, 0, func(p *probe) {
			list := p.createMany(5, "user")
			changed := list[2]
			changed.Data = []byte("changed")
			list[2] = p.put(changed)
			for _, r := range list {
				p.stored(r)
			}
		}},
		{"Put/Immutable", []string{saysFixed}, 0, func(p *probe) {
			anonymous, r := p.create(""), p.create("user")
			for _, c := range []struct {
				name   string
				change func(r *store.Record)
			}{
				{"another UserID", func(r *store.Record) { r.UserID += "2" }},
				{"a UserID in capitals", func(r *store.Record) { r.UserID = "USER" }},
				{"a UserID that has gone", func(r *store.Record) { r.UserID = "" }},
				{"Created a millisecond later", func(r *store.Record) { r.Created = r.Created.Add(time.Millisecond) }},
				{"an earlier Created", func(r *store.Record) { r.Created = r.Created.Add(-time.Hour) }},
				{"Deadline a millisecond later", func(r *store.Record) { r.Deadline = r.Deadline.Add(time.Millisecond) }},
				{"an earlier Deadline", func(r *store.Record) { r.Deadline = r.Deadline.Add(-time.Hour) }},
			} {
				other := r
				other.Data, other.Info = []byte("changed"), []byte("changed")
				other.Seen, other.Expires = p.now.Add(time.Second), p.now.Add(31*time.Minute)
				c.change(&other)
				p.want("Put with "+c.name, p.Put(p.ctx, other), store.ErrImmutable)
				p.stored(r)
			}
			login := anonymous
			login.UserID = "user"
			p.want("Put of a user into an anonymous session", p.Put(p.ctx, login), store.ErrImmutable)
			p.stored(anonymous)
		}},
	}
}

func putTimeCases() []testCase {
	return []testCase{
		{"Put/TimesMoveForward", []string{saysForward}, 0, func(p *probe) {
			r := p.create("user")
			r.Seen, r.Expires = p.now.Add(10*time.Minute), p.now.Add(40*time.Minute)
			r = p.put(r)
			p.stored(r)

			for _, back := range []time.Duration{time.Millisecond, 5 * time.Minute, 9 * time.Hour} {
				earlier := r
				earlier.Seen, earlier.Expires = r.Seen.Add(-back), r.Expires.Add(-back)
				r.Version = p.put(earlier).Version
				p.stored(r) // the bytes have moved on, the times have not moved back
			}
			one := r // each for itself
			one.Seen, one.Expires = r.Seen.Add(-time.Minute), r.Expires.Add(time.Millisecond)
			r.Version, r.Expires = p.put(one).Version, one.Expires
			p.stored(r)
			one = r
			one.Seen, one.Expires = r.Seen.Add(time.Millisecond), r.Expires.Add(-time.Minute)
			r.Version, r.Seen = p.put(one).Version, one.Seen
			p.stored(r)
		}},
		{"Put/Promise04_NothingPassesDeadline", []string{saysDeadline}, 0, func(p *probe) {
			r := p.record("user")
			r.Expires = r.Deadline.Add(time.Hour)
			created := p.put(r)
			created.Expires = r.Deadline
			p.stored(created)

			r = p.create("user")
			r.Expires = r.Deadline.Add(time.Millisecond)
			updated := p.put(r)
			updated.Expires = r.Deadline
			p.stored(updated)
		}},
		{"Put/IgnoresEnded", []string{saysIgnored}, 0, func(p *probe) {
			r := p.record("user")
			r.Ended = store.Ended{Reason: store.Logout, At: p.now}
			want := p.put(r)
			want.Ended = store.Ended{}
			p.stored(want)
			r = want
			r.Ended = store.Ended{Reason: store.Revoked, At: p.now}
			want = p.put(r)
			want.Ended = store.Ended{}
			p.stored(want)
			p.touch(want.ID, want.Seen, want.Expires)
			p.ended(want.ID, p.end(want.ID, store.Renewed))
		}},
	}
}

// tableCases are the cells of Put's table: what is stored, and r.Version.
func tableCases() []testCase {
	return []testCase{
		{"Put/Nothing_0_Creates", []string{saysNothing, saysVersions}, 0, func(p *probe) {
			p.stored(p.create("user"))
		}},
		{"Put/Promise01_Nothing_N_NeverCreates", []string{saysNothing, saysNoUpsert}, 0, func(p *probe) {
			for _, version := range []uint64{1, 2, math.MaxInt64, math.MaxUint64} {
				r := p.record("user")
				r.Version = version
				p.want("Put of an update of nothing", p.Put(p.ctx, r), store.ErrNotFound)
				p.unknown(r.ID)
				r.Version = 0 // nothing was left that would be in the way
				p.stored(p.put(r))
			}
		}},
		{"Put/Live_0_Conflicts", []string{saysLive, saysVersions}, 0, func(p *probe) {
			r := p.create("user")
			for range 2 {
				again := p.record("user")
				again.ID = r.ID
				p.want("Put of a second create", p.Put(p.ctx, again), store.ErrConflict)
				p.stored(r)
				r = p.put(r)
			}
		}},
		{"Put/A03_Live_OtherVersion_Conflicts", []string{saysLive, saysPut}, 0, func(p *probe) {
			r := p.create("user")
			for range 4 {
				r = p.put(r)
			}
			for _, version := range []uint64{1, 4, 6, 1 << 32, 1<<32 + 5, math.MaxInt64, 1 << 63, math.MaxUint64} {
				other := r
				other.Version = version
				other.Data, other.Info = []byte("changed"), []byte("changed")
				other.Seen, other.Expires = p.now.Add(time.Second), p.now.Add(31*time.Minute)
				p.want("Put of another version", p.Put(p.ctx, other), store.ErrConflict)
				p.stored(r)
			}
			p.stored(p.put(r))
		}},
		{"Put/A01_Tombstone_0_Ended", []string{saysDead}, 0, func(p *probe) {
			r := p.create("user")
			why := p.end(r.ID, store.Logout)
			r.Version = 0
			p.want("Put of a create", p.Put(p.ctx, r), store.ErrEnded)
			p.ended(r.ID, why)
		}},
		{"Put/A01_Tombstone_N_Ended", []string{saysDead}, 0, func(p *probe) {
			r := p.put(p.create("user"))
			why := p.end(r.ID, store.Logout)
			for _, version := range []uint64{1, 2, 3, math.MaxInt64, math.MaxUint64} {
				r.Version = version
				p.want("Put of an update", p.Put(p.ctx, r), store.ErrEnded)
				p.ended(r.ID, why)
			}
		}},
	}
}
