package storetest

import (
	"fmt"
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
	}
}

func userWriteRaceCases() []testCase {
	return []testCase{
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
		{"Race/EndUser_LeavesOthers", []string{saysEndUser}, users, endUserLeavesOthers},
	}
}

// endUserBesideCreates lets goroutines create sessions of a user while another
// ends them, again and again. What an EndUser finds acknowledged when it begins
// is ended when it returns, and a list shows what lives.
func endUserBesideCreates(p *probe) {
	fresh := make([][]store.Record, racers)
	for i := range fresh {
		for range 2 * rounds() {
			fresh[i] = append(fresh[i], p.record("alice"))
		}
	}
	var mu sync.Mutex
	var created []store.ID // acknowledged
	var creating atomic.Int64
	creating.Store(racers)
	create := func(list []store.Record) error {
		defer creating.Add(-1)
		for _, r := range list {
			if err := p.Put(p.ctx, r); err != nil {
				return err
			}
			mu.Lock()
			created = append(created, r.ID)
			mu.Unlock()
		}
		return nil
	}
	ended := 0
	end := func() error {
		mu.Lock()
		before := slices.Clone(created)
		mu.Unlock()
		why := store.Ended{Reason: store.Revoked, At: p.now}
		n, err := p.users.EndUser(p.ctx, "alice", store.ID{}, why, p.now.Add(time.Hour))
		ended += n
		for _, id := range before {
			if _, err := p.Get(p.ctx, id); !is(err, store.ErrEnded) {
				return fmt.Errorf("a session that was created before EndUser began: Get returns %v, want %w", err, store.ErrEnded)
			}
		}
		return err
	}
	for _, err := range race(racers+1, func(i int) error {
		if i < racers {
			return create(fresh[i])
		}
		for last := false; !last; {
			last = creating.Load() == 0 // then once more, when no more come
			if err := end(); err != nil {
				return err
			}
		}
		return nil
	}) {
		p.want("EndUser beside Put", err, nil)
	}
	p.onlyOf("alice")
	if ended != len(created) {
		p.fatalf("EndUser says that it ended %d of %d sessions", ended, len(created))
	}
}

// endUserLeavesOthers ends a user's sessions but one while others log in.
func endUserLeavesOthers(p *probe) {
	keep := p.create("alice")
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
		for _, r := range theirs {
			r.Version = 1
			others = append(others, r)
		}
		for _, r := range mine {
			p.dead(r.ID)
		}
	}
	for _, r := range append(others, keep) {
		p.stored(r)
	}
	p.onlyOf("alice", keep)
}
