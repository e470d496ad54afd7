package storetest

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

const saysBefore = "Whatever was created before the call began is ended when it returns without an error."

func userRaceCases() []testCase {
	return []testCase{
		{"Race/EndUser_Creates", []string{saysBefore}, users, endUserBesideCreates},
		{"Race/EndUser_EndUser", []string{saysEndUser, saysOne}, users, func(p *probe) {
			for range rounds() {
				const sessions = 10
				list := p.createMany(sessions, "alice")
				var sum atomic.Int64
				why := store.Ended{Reason: store.Revoked, At: p.now}
				for _, err := range race(racers, func(int) error {
					n, err := p.users.EndUser(p.ctx, "alice", store.ID{}, why, p.now.Add(time.Hour))
					sum.Add(int64(n))
					return err
				}) {
					p.want("EndUser", err, nil)
				}
				if sum.Load() != sessions {
					p.fatalf("%d at once say that they ended %d of %d sessions", racers, sum.Load(), sessions)
				}
				for _, r := range list {
					p.ended(r.ID, why)
				}
			}
		}},
		{"Race/EndUser_End", []string{saysEndUser, saysOne}, users, func(p *probe) {
			why := store.Ended{Reason: store.Revoked, At: p.now}
			for range rounds() {
				list := p.createMany(racers, "alice")
				var sum atomic.Int64
				errs := race(racers, func(i int) error {
					if i == 0 {
						n, err := p.users.EndUser(p.ctx, "alice", store.ID{}, why, p.now.Add(time.Hour))
						sum.Add(int64(n))
						return err
					}
					err := p.End(p.ctx, list[i].ID, 0, why, p.now.Add(time.Hour))
					if err == nil {
						sum.Add(1)
					}
					return err
				})
				p.want("EndUser", errs[0], nil)
				for _, err := range errs[1:] {
					if err != nil && !is(err, store.ErrEnded) {
						p.fatalf("End beside EndUser: %v", err)
					}
				}
				if sum.Load() != racers {
					p.fatalf("End and EndUser say that they ended %d of %d sessions", sum.Load(), racers)
				}
				p.onlyOf("alice")
			}
		}},
		{"Race/A01_EndUser_UpdateTouch", []string{saysBefore, saysEndTomb}, users, func(p *probe) {
			why := store.Ended{Reason: store.Revoked, At: p.now}
			for range rounds() {
				list := p.createMany(racers-1, "alice")
				errs := race(racers, func(i int) error {
					if i == 0 {
						_, err := p.users.EndUser(p.ctx, "alice", store.ID{}, why, p.now.Add(time.Hour))
						return err
					}
					r := list[i-1]
					if i%2 == 0 {
						return p.Touch(p.ctx, r.ID, p.now.Add(time.Second), p.now.Add(time.Hour))
					}
					return p.Put(p.ctx, r)
				})
				p.want("EndUser", errs[0], nil)
				for _, err := range errs[1:] {
					if err != nil && !is(err, store.ErrEnded) {
						p.fatalf("beside EndUser: %v", err)
					}
				}
				for _, r := range list {
					p.ended(r.ID, why)
				}
				p.onlyOf("alice")
			}
		}},
		{"Race/EndUser_LeavesOthers", []string{saysEndUser}, users, func(p *probe) {
			keep := p.create("alice")
			var mu sync.Mutex
			var others []store.Record
			for range rounds() {
				theirs := []store.Record{p.record("bob"), p.record(""), p.record("bob")}
				mine := p.createMany(3, "alice")
				errs := race(len(theirs)+1, func(i int) error {
					if i < len(theirs) {
						return p.Put(p.ctx, theirs[i])
					}
					why := store.Ended{Reason: store.Revoked, At: p.now}
					_, err := p.users.EndUser(p.ctx, "alice", keep.ID, why, p.now.Add(time.Hour))
					return err
				})
				for _, err := range errs {
					p.want("Put of another user beside EndUser", err, nil)
				}
				mu.Lock()
				for _, r := range theirs {
					r.Version = 1
					others = append(others, r)
				}
				mu.Unlock()
				for _, r := range mine {
					p.dead(r.ID)
				}
			}
			for _, r := range append(others, keep) {
				p.stored(r)
			}
			p.onlyOf("alice", keep)
		}},
	}
}

// endUserBesideCreates lets goroutines create sessions of a user while another
// ends them, again and again. What an EndUser finds acknowledged when it begins
// is ended when it returns, and a list shows what lives.
func endUserBesideCreates(p *probe) {
	const each = 10
	fresh := make([][]store.Record, racers)
	for i := range fresh {
		for range each * rounds() / 5 {
			fresh[i] = append(fresh[i], p.record("alice"))
		}
	}
	var mu sync.Mutex
	var created []store.ID // acknowledged
	var creators, ender sync.WaitGroup
	var left atomic.Int64
	left.Store(racers)
	failed := make(chan error, racers+1)
	for i := range racers {
		creators.Go(func() {
			defer left.Add(-1)
			for _, r := range fresh[i] {
				if err := p.Put(p.ctx, r); err != nil {
					failed <- err
					return
				}
				mu.Lock()
				created = append(created, r.ID)
				mu.Unlock()
			}
		})
	}
	why := store.Ended{Reason: store.Revoked, At: p.now}
	ended := 0
	ender.Go(func() {
		for last := false; !last; {
			last = left.Load() == 0 // then one more, to which nothing is new
			mu.Lock()
			before := slices.Clone(created)
			mu.Unlock()
			n, err := p.users.EndUser(p.ctx, "alice", store.ID{}, why, p.now.Add(time.Hour))
			if err != nil {
				failed <- err
				return
			}
			ended += n
			for _, id := range before {
				if _, err := p.Get(p.ctx, id); !is(err, store.ErrEnded) {
					p.Errorf("Get of a session that was created before EndUser began: %v, want %v", err, store.ErrEnded)
					return
				}
			}
		}
	})
	creators.Wait()
	ender.Wait()
	close(failed)
	for err := range failed {
		p.fatalf("EndUser beside Put: %v", err)
	}
	if p.Failed() {
		p.FailNow()
	}
	p.onlyOf("alice")
	if ended != len(created) {
		p.fatalf("EndUser says that it ended %d of %d sessions", ended, len(created))
	}
}
