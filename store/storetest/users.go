package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// Sentences that several cases prove.
const (
	saysList     = "ListUser returns the live records of a user in no particular order, expired ones that are still kept among them."
	saysListData = "Data may be nil."
	saysListNone = `A userID of "" is no user: it has no records.`
	saysEndUser  = "EndUser ends the live sessions of a user, but not the one with the ID except, and returns how many it ended."
	saysEndTomb  = "The tombstones are those of End."
	saysEndNone  = `A userID of "" is no user: it returns 0.`
	saysGrows    = "UserStore is a Store that finds a user's sessions, in time that grows with their number and not with the store's."
)

// endUser ends a user's sessions, and fails the case if they are not so many.
func (p *probe) endUser(userID string, except store.ID, want int) store.Ended {
	p.Helper()
	why := store.Ended{Reason: store.Revoked, At: p.now}
	if n, err := p.users.EndUser(p.ctx, userID, except, why, p.now.Add(time.Hour)); n != want || err != nil {
		p.fatalf("EndUser(%q): %d, %v, want %d", userID, n, err, want)
	}
	return why
}

func userCases() []testCase {
	return []testCase{
		{"EndUser/Promise09_EndsAll", []string{saysEndUser, saysEndTomb}, users, func(p *probe) {
			mine, theirs, nobodys := p.createMany(7, "alice"), p.createMany(3, "bob"), p.createMany(3, "")
			mine[2] = p.put(mine[2])
			p.touch(mine[3].ID, p.now.Add(time.Second), p.now.Add(time.Hour))
			why := p.endUser("alice", store.ID{}, 7)
			for _, r := range mine {
				p.ended(r.ID, why)
			}
			for _, r := range slices.Concat(theirs, nobodys) {
				p.stored(r)
			}
			p.onlyOf("alice")
			p.onlyOf("bob", theirs...)
			p.endUser("alice", store.ID{}, 0) // nothing is ended twice
		}},
		{"EndUser/But", []string{saysEndUser}, users, func(p *probe) {
			mine, other := p.createMany(5, "alice"), p.create("bob")
			why := p.endUser("alice", mine[3].ID, 4)
			for i, r := range mine {
				if i == 3 {
					p.stored(r)
				} else {
					p.ended(r.ID, why)
				}
			}
			p.onlyOf("alice", mine[3])
			// Another's session, or none at all, is no exception.
			p.endUser("alice", other.ID, 1)
			p.stored(other)
			p.endUser("bob", p.newID(), 1)
		}},
		{"EndUser/A01_EndedForGood", []string{saysEndTomb}, users, func(p *probe) {
			r := p.create("alice")
			why := p.endUser("alice", store.ID{}, 1)
			p.want("Put", p.Put(p.ctx, r), store.ErrEnded)
			p.want("Touch", p.Touch(p.ctx, r.ID, p.now, p.now.Add(time.Hour)), store.ErrEnded)
			p.want("End", p.End(p.ctx, r.ID, 0, why, p.now), store.ErrEnded)
			create := r
			create.Version = 0
			p.want("the create again", p.Put(p.ctx, create), store.ErrEnded)
			p.ended(r.ID, why)
			p.onlyOf("alice")
		}},
		{"EndUser/EndedOnesAreNotCounted", []string{saysEndUser}, users, func(p *probe) {
			list := p.createMany(4, "alice")
			why := p.end(list[0].ID, store.Logout)
			p.endUser("alice", store.ID{}, 3)
			p.ended(list[0].ID, why) // its reason stays
		}},
		{"EndUser/ExpiredOnesToo", []string{saysEndUser}, users, func(p *probe) {
			r := p.record("alice")
			r.Seen, r.Expires = p.now.Add(-31*time.Minute), p.now.Add(-time.Minute)
			r = p.put(r)
			p.ended(r.ID, p.endUser("alice", store.ID{}, 1))
		}},
	}
}

func endUserNameCases() []testCase {
	return []testCase{
		{"EndUser/Nobody", []string{saysEndNone}, users, func(p *probe) {
			list := p.createMany(3, "")
			p.endUser("", store.ID{}, 0)
			for _, r := range list {
				p.stored(r)
			}
		}},
		{"EndUser/Unknown", []string{saysEndUser}, users, func(p *probe) {
			r := p.create("alice")
			for _, userID := range []string{"ali", "alice2", "Alice", "alic_", "%", "*", "alice ", "alice\t"} {
				p.endUser(userID, store.ID{}, 0)
			}
			p.stored(r)
		}},
		{"EndUser/NewOnesLive", []string{saysEndUser}, users, func(p *probe) {
			for range 3 {
				r := p.create("alice")
				p.onlyOf("alice", r)
				p.endUser("alice", store.ID{}, 1)
			}
			r := p.create("alice")
			p.stored(r)
			p.onlyOf("alice", r)
		}},
		{"EndUser/Many", []string{saysEndUser}, users, func(p *probe) {
			list := p.createMany(300, "alice")
			other := p.create("bob")
			p.onlyOf("alice", list...)
			why := p.endUser("alice", list[150].ID, 299)
			p.onlyOf("alice", list[150])
			p.ended(list[0].ID, why)
			p.ended(list[299].ID, why)
			p.stored(other)
		}},
		{"Users/Promise09_TimeGrowsWithTheUser", []string{saysGrows}, users, timeGrows},
	}
}

func listCases() []testCase {
	return []testCase{
		{"ListUser/Promise09_TheUsersOnly", []string{saysList, saysListData}, users, func(p *probe) {
			alice, bob := p.createMany(6, "alice"), p.createMany(2, "bob")
			p.createMany(2, "")
			p.onlyOf("alice", alice...)
			p.onlyOf("bob", bob...)
			p.onlyOf("carol")
			p.onlyOf("alic")
			p.onlyOf("alice2")
		}},
		{"ListUser/Nobody", []string{saysListNone}, users, func(p *probe) {
			p.createMany(3, "")
			p.onlyOf("")
		}},
		{"ListUser/AsTheyAreNow", []string{saysList}, users, func(p *probe) {
			list := p.createMany(3, "alice")
			list[0].Data, list[0].Info = []byte("changed"), []byte("changed")
			list[0] = p.put(list[0])
			list[1].Seen, list[1].Expires = p.now.Add(time.Minute), p.now.Add(time.Hour)
			p.touch(list[1].ID, list[1].Seen, list[1].Expires)
			p.onlyOf("alice", list...)
		}},
		{"ListUser/LiveOnesOnly", []string{saysList}, users, func(p *probe) {
			list := p.createMany(4, "alice")
			p.end(list[1].ID, store.Logout)
			p.end(list[3].ID, store.Renewed)
			why := store.Ended{Reason: store.Logout, At: p.now}
			p.want("End of an unknown ID", p.End(p.ctx, p.newID(), 0, why, p.now), store.ErrNotFound)
			p.onlyOf("alice", list[0], list[2])
		}},
		{"ListUser/ExpiredOnesToo", []string{saysList}, users, func(p *probe) {
			idle, over := p.record("alice"), p.record("alice")
			idle.Expires = p.now.Add(-time.Minute)
			over.Expires, over.Deadline = p.now.Add(-2*time.Minute), p.now.Add(-time.Minute)
			p.onlyOf("alice", p.put(idle), p.put(over), p.create("alice"))
		}},
	}
}

// timeGrows measures how long it takes to list and to end a user's two sessions,
// among few others and among many. Only a store that looks at all of them takes
// many times as long; medians leave out what the machine does besides.
func timeGrows(p *probe) {
	few, many := 50, 6*rounds()*40
	among := func(n int) (list, end time.Duration) {
		if err := p.crowd(n); err != nil {
			p.fatalf("Put: %v", err)
		}
		var lists, ends []time.Duration
		for range 31 {
			p.createMany(2, "alice")
			begin := time.Now()
			found, err := p.users.ListUser(p.ctx, "alice")
			lists = append(lists, time.Since(begin))
			if len(found) != 2 || err != nil {
				p.fatalf("ListUser: %d, %v, want 2", len(found), err)
			}
			begin = time.Now()
			p.endUser("alice", store.ID{}, 2)
			ends = append(ends, time.Since(begin))
		}
		slices.Sort(lists)
		slices.Sort(ends)
		return lists[len(lists)/2], ends[len(ends)/2]
	}
	fewList, fewEnd := among(few)
	manyList, manyEnd := among(many)
	const slack = 50 * time.Microsecond
	if manyList > 8*fewList+slack {
		p.Errorf("ListUser of 2 sessions takes %v among %d others and %v among %d more", fewList, few, manyList, many)
	}
	if manyEnd > 8*fewEnd+slack {
		p.Errorf("EndUser of 2 sessions takes %v among %d others and %v among %d more", fewEnd, few, manyEnd, many)
	}
}

// crowd creates n sessions of others.
func (p *probe) crowd(n int) error {
	list := make([]store.Record, n)
	for i := range list {
		list[i] = p.record(fmt.Sprintf("other-%d", i/3))
	}
	for _, err := range race(racers, func(racer int) error {
		for i := racer; i < n; i += racers {
			if err := p.Put(p.ctx, list[i]); err != nil {
				return err
			}
		}
		return nil
	}) {
		if err != nil {
			return err
		}
	}
	return nil
}
