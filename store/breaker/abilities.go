package breaker

import (
	"context"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// abilities are what a store can do besides store.Store; nil for what it cannot.
type abilities struct {
	users   store.UserStore
	sweeper store.Sweeper
	scanner store.Scanner
	keys    store.KeyRegistry
}

func abilitiesOf(st store.Store) abilities {
	var a abilities
	a.users, _ = st.(store.UserStore)
	a.sweeper, _ = st.(store.Sweeper)
	a.scanner, _ = st.(store.Scanner)
	a.keys, _ = st.(store.KeyRegistry)
	return a
}

// Each of these adds the methods of one ability.
type (
	users struct {
		b  *Breaker
		st store.UserStore
	}
	sweeper struct {
		b  *Breaker
		st store.Sweeper
	}
	scanner struct {
		b  *Breaker
		st store.Scanner
	}
	keys struct {
		b  *Breaker
		st store.KeyRegistry
	}
)

// offer returns a store that has these abilities and no others. Go asks a value
// for its methods and not for its word, so that there is a type for each set.
func (b *Breaker) offer(can abilities) store.Store {
	g, u, w, s, k := guarded{b}, users{b, can.users}, sweeper{b, can.sweeper}, scanner{b, can.scanner}, keys{b, can.keys}
	type set struct{ users, sweeper, scanner, keys bool }
	switch (set{can.users != nil, can.sweeper != nil, can.scanner != nil, can.keys != nil}) {
	case set{true, true, true, true}:
		return struct {
			guarded
			users
			sweeper
			scanner
			keys
		}{g, u, w, s, k}
	case set{true, true, true, false}:
		return struct {
			guarded
			users
			sweeper
			scanner
		}{g, u, w, s}
	case set{true, true, false, true}:
		return struct {
			guarded
			users
			sweeper
			keys
		}{g, u, w, k}
	case set{true, true, false, false}:
		return struct {
			guarded
			users
			sweeper
		}{g, u, w}
	case set{true, false, true, true}:
		return struct {
			guarded
			users
			scanner
			keys
		}{g, u, s, k}
	case set{true, false, true, false}:
		return struct {
			guarded
			users
			scanner
		}{g, u, s}
	case set{true, false, false, true}:
		return struct {
			guarded
			users
			keys
		}{g, u, k}
	case set{true, false, false, false}:
		return struct {
			guarded
			users
		}{g, u}
	}
	return b.offerWithoutUsers(can)
}

// offerWithoutUsers is offer for a store that finds nobody's sessions.
func (b *Breaker) offerWithoutUsers(can abilities) store.Store {
	g, w, s, k := guarded{b}, sweeper{b, can.sweeper}, scanner{b, can.scanner}, keys{b, can.keys}
	type set struct{ sweeper, scanner, keys bool }
	switch (set{can.sweeper != nil, can.scanner != nil, can.keys != nil}) {
	case set{true, true, true}:
		return struct {
			guarded
			sweeper
			scanner
			keys
		}{g, w, s, k}
	case set{true, true, false}:
		return struct {
			guarded
			sweeper
			scanner
		}{g, w, s}
	case set{true, false, true}:
		return struct {
			guarded
			sweeper
			keys
		}{g, w, k}
	case set{true, false, false}:
		return struct {
			guarded
			sweeper
		}{g, w}
	case set{false, true, true}:
		return struct {
			guarded
			scanner
			keys
		}{g, s, k}
	case set{false, true, false}:
		return struct {
			guarded
			scanner
		}{g, s}
	case set{false, false, true}:
		return struct {
			guarded
			keys
		}{g, k}
	}
	return g
}

// bulk makes a call whose work grows.
func bulk[T any](b *Breaker, ctx context.Context, f func(context.Context) (T, error)) (T, error) {
	c, err := b.begin(ctx, b.opts.BulkTimeout, store.ID{})
	if err != nil {
		var none T
		return none, err
	}
	got, err := f(c.ctx)
	return got, b.end(&c, grows, store.ID{}, err)
}

func (u users) ListUser(ctx context.Context, userID string) ([]store.Record, error) {
	return bulk(u.b, ctx, func(ctx context.Context) ([]store.Record, error) { return u.st.ListUser(ctx, userID) })
}

func (u users) EndUser(ctx context.Context, userID string, except store.ID, why store.Ended, until time.Time) (int, error) {
	return bulk(u.b, ctx, func(ctx context.Context) (int, error) {
		return u.st.EndUser(ctx, userID, except, why, until)
	})
}

func (s sweeper) Sweep(ctx context.Context, now time.Time) (int, error) {
	return bulk(s.b, ctx, func(ctx context.Context) (int, error) { return s.st.Sweep(ctx, now) })
}

func (s scanner) Scan(ctx context.Context, after store.ID, n int) ([]store.Record, error) {
	return bulk(s.b, ctx, func(ctx context.Context) ([]store.Record, error) { return s.st.Scan(ctx, after, n) })
}

func (k keys) KnownKeys(ctx context.Context) ([]store.KnownKey, error) {
	return bulk(k.b, ctx, k.st.KnownKeys)
}

func (k keys) RememberKey(ctx context.Context, id string, now time.Time) error {
	_, err := bulk(k.b, ctx, func(ctx context.Context) (nothing, error) {
		return nothing{}, k.st.RememberKey(ctx, id, now)
	})
	return err
}

func (k keys) ForgetKeys(ctx context.Context) error {
	_, err := bulk(k.b, ctx, func(ctx context.Context) (nothing, error) {
		return nothing{}, k.st.ForgetKeys(ctx)
	})
	return err
}
