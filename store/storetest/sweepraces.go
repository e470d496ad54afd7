package storetest

import (
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

const saysLeast = "a store keeps what it has at least"

func sweepRaceCases() []testCase {
	why := func(p *probe) store.Ended { return store.Ended{Reason: store.Logout, At: p.now} }
	return []testCase{
		{"Race/Sweep_Touch", []string{saysSweep, saysTouch}, sweeper, func(p *probe) {
			p.besideSweep(func(r store.Record) error {
				return p.Touch(p.ctx, r.ID, p.now, p.now.Add(time.Hour))
			}, func(r store.Record) {
				r.Seen, r.Expires = p.now, p.now.Add(time.Hour)
				p.stored(r)
			})
		}},
		{"Race/Sweep_Update", []string{saysSweep, saysPut}, sweeper, func(p *probe) {
			p.besideSweep(func(r store.Record) error {
				r.Seen, r.Expires = p.now, p.now.Add(time.Hour)
				return p.Put(p.ctx, r)
			}, func(r store.Record) {
				r.Version, r.Seen, r.Expires = 2, p.now, p.now.Add(time.Hour)
				p.stored(r)
			})
		}},
		{"Race/Promise01_Sweep_End", []string{saysSweep, saysTomb, saysUnknown}, sweeper, func(p *probe) {
			p.besideSweep(func(r store.Record) error {
				err := p.End(p.ctx, r.ID, 0, why(p), p.now.Add(time.Hour))
				if is(err, store.ErrNotFound) {
					err = nil // it leaves a tombstone all the same
				}
				return err
			}, func(r store.Record) {
				p.ended(r.ID, why(p))
			})
		}},
		{"Race/Sweep_Live", []string{saysSlack, saysLeast}, sweeper, func(p *probe) {
			live := p.createMany(50, "user")
			p.besideSweep(func(r store.Record) error {
				r.ID[0] ^= 0xff // another one
				r.Version, r.Expires = 0, p.now.Add(time.Hour)
				return p.Put(p.ctx, r)
			}, func(r store.Record) {
				r.ID[0] ^= 0xff
				r.Expires = p.now.Add(time.Hour)
				p.stored(r)
			})
			for _, r := range live {
				p.stored(r)
			}
		}},
	}
}

// besideSweep calls f with records that are about to be forgotten, while sweeps
// are under way. Where f returns nil it has come first, or has nothing to do with
// the sweep, and kept then looks at the record. Else the record has gone.
func (p *probe) besideSweep(f func(r store.Record) error, kept func(r store.Record)) {
	for range rounds() {
		var list []store.Record
		for range 2 * (racers - 2) {
			r := p.expired("", store.Slack-4*time.Minute+time.Second)
			list = append(list, r)
		}
		fs := make([]error, len(list))
		for _, err := range race(racers, func(i int) error {
			if i < 2 {
				// Ahead by as much as is allowed, so that only a sweep forgets.
				_, err := p.sweeper.Sweep(p.ctx, p.now.Add(4*time.Minute))
				return err
			}
			for k := i - 2; k < len(list); k += racers - 2 {
				fs[k] = f(list[k])
			}
			return nil
		}) {
			p.want("Sweep", err, nil)
		}
		for i, r := range list {
			switch {
			case fs[i] == nil:
				kept(r)
			case is(fs[i], store.ErrNotFound):
				p.unknown(r.ID)
			default:
				p.fatalf("beside a sweep: %v, want success or %v", fs[i], store.ErrNotFound)
			}
		}
	}
}
