package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

const saysAtomic = "Each method is atomic, heeds ctx, and does not resend by itself what may have been applied."

// contextCases call every method under a context that has ended.
func contextCases() []testCase {
	cancelled := func(parent context.Context) (context.Context, context.CancelFunc, error) {
		ctx, cancel := context.WithCancel(parent)
		cancel()
		return ctx, cancel, context.Canceled
	}
	late := func(parent context.Context) (context.Context, context.CancelFunc, error) {
		ctx, cancel := context.WithTimeout(parent, -1)
		return ctx, cancel, context.DeadlineExceeded
	}
	return []testCase{
		{"Context/Cancelled", []string{saysAtomic}, 0, func(p *probe) { p.underEnded(cancelled(p.ctx)) }},
		{"Context/TooLate", []string{saysAtomic}, 0, func(p *probe) { p.underEnded(late(p.ctx)) }},
		{"Context/CancelledInFlight", []string{saysAtomic}, 0, cancelledInFlight},
	}
}

// underEnded calls every method under a context that has ended, and looks that
// nothing has happened.
func (p *probe) underEnded(ctx context.Context, cancel context.CancelFunc, want error) {
	defer cancel()
	r, dead, fresh, unknown := p.create("user"), p.create("user"), p.record("user"), p.newID()
	why := p.end(dead.ID, store.Logout)
	changed := r
	changed.Data, changed.Seen = []byte("changed"), p.now.Add(time.Second)
	until := p.now.Add(time.Hour)
	calls := map[string]func() error{
		"Get":                  func() error { _, err := p.Get(ctx, r.ID); return err },
		"Get of nothing":       func() error { _, err := p.Get(ctx, unknown); return err },
		"Put of a create":      func() error { return p.Put(ctx, fresh) },
		"Put of an update":     func() error { return p.Put(ctx, changed) },
		"Touch":                func() error { return p.Touch(ctx, r.ID, p.now.Add(time.Second), until) },
		"End":                  func() error { return p.End(ctx, r.ID, 0, why, until) },
		"End of an unknown ID": func() error { return p.End(ctx, unknown, 0, why, until) },
		"Get of a tombstone":   func() error { _, err := p.Get(ctx, dead.ID); return err },
		"Put upon a tombstone": func() error { return p.Put(ctx, dead) },
	}
	if p.users != nil {
		calls["ListUser"] = func() error { _, err := p.users.ListUser(ctx, "user"); return err }
		calls["EndUser"] = func() error { _, err := p.users.EndUser(ctx, "user", store.ID{}, why, until); return err }
	}
	if p.sweeper != nil {
		calls["Sweep"] = func() error { _, err := p.sweeper.Sweep(ctx, time.Now()); return err }
	}
	if p.scanner != nil {
		calls["Scan"] = func() error { _, err := p.scanner.Scan(ctx, store.ID{}, 10); return err }
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, want) {
			p.Errorf("%s under a context that has ended: %v, want %v", name, err, want)
		}
	}
	p.stored(r)
	p.unknown(fresh.ID)
	p.unknown(unknown)
	p.ended(dead.ID, why)
	p.onlyOf("user", r)
}

// cancelledInFlight takes the context away while a call may be under way. What
// was not acknowledged may have happened or not, but it is whole, and happens
// once.
func cancelledInFlight(p *probe) {
	r := p.create("user")
	until := p.now.Add(time.Hour)
	for i := range 100 {
		ctx, cancel := context.WithCancel(p.ctx)
		go func() {
			time.Sleep(time.Duration(i) * 5 * time.Microsecond)
			cancel()
		}()
		next := r
		next.Data, next.Info = fmt.Appendf(nil, "data %d", i), fmt.Appendf(nil, "info %d", i)
		err := p.Put(ctx, next)
		next.Version++
		stored := p.get(r.ID)
		switch {
		case differ(stored, next) == "":
		case err == nil || differ(stored, r) != "":
			p.fatalf("Put returned %v; after it: %s", err, differ(stored, next))
		}
		r = stored
		cancel()
	}
	for i := range 100 {
		ctx, cancel := context.WithCancel(p.ctx)
		go func() {
			time.Sleep(time.Duration(i) * 5 * time.Microsecond)
			cancel()
		}()
		create := p.record("user")
		create.Data = bytes.Repeat([]byte{byte(i)}, 1000)
		putErr := p.Put(ctx, create)
		endErr := p.End(ctx, create.ID, 0, store.Ended{Reason: store.Logout, At: p.now}, until)
		stored, err := p.Get(p.ctx, create.ID)
		switch {
		case is(err, store.ErrEnded):
		case endErr == nil || is(endErr, store.ErrNotFound):
			p.fatalf("Get: %v after an End that returned %v", err, endErr)
		case is(err, store.ErrNotFound) && putErr != nil:
		default:
			create.Version = 1
			if diff := differ(stored, create); err != nil || diff != "" {
				p.fatalf("Get: %v after a Put that returned %v: %s", err, putErr, diff)
			}
		}
		cancel()
	}
}
