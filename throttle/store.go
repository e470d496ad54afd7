package throttle

import (
	"context"
	"time"
)

// Store keeps the counters. It has no clock: what the time is, it is told. It is
// used by many goroutines, and one that is shared by many processes is used by all
// of them at once. [throttletest.Run] proves one.
//
// What a Store does to a Counter is written in the methods of [Lane]; its own
// affair is that nothing comes in between.
//
// [throttletest.Run]: https://pkg.go.dev/github.com/cloakroom-dev/cloakroom/throttle/throttletest
type Store interface {
	// Take counts an attempt in each lane, as [Lane.Take] does, and returns a Mark
	// for each; or, if any lane refuses, it returns a Refusal and has counted in
	// none. Of any number of calls at once, in this and other processes, a lane
	// lets no more pass than it would one after the other. With an error, less
	// than the whole may be counted, and never for longer than the lane forgets.
	Take(ctx context.Context, lanes []Lane, now time.Time) ([]Mark, *Refusal, error)

	// Settle does what is due to each lane that an attempt was counted in, in the
	// order given. Each is done at once or not at all.
	Settle(ctx context.Context, back []Return) error

	// Read returns the counter of a lane.
	Read(ctx context.Context, key Key) (Counter, error)

	// Drop forgets every lane with this owner.
	Drop(ctx context.Context, owner Key) error

	// Sweep forgets counters whose Due has passed and returns how many.
	Sweep(ctx context.Context, now time.Time) (int, error)
}

// Refusal says which of the lanes refused an attempt: the one that does for
// longest.
type Refusal struct {
	Lane  int // its place among the lanes
	After time.Duration
}

// Return is what is to be done to a lane that an attempt was counted in.
type Return struct {
	Lane Lane
	Mark Mark
	How  How
}

// How says which method of Lane a Return asks for.
type How uint8

const (
	Give       How = iota // [Lane.Give]
	Clear                 // [Lane.Clear]
	ClearTotal            // [Lane.ClearTotal]
)

// Apply returns the Counter that is left of c.
func (r *Return) Apply(c Counter, fresh int64) Counter {
	switch r.How {
	case Clear:
		return r.Lane.Clear(c, r.Mark)
	case ClearTotal:
		return r.Lane.ClearTotal(c, r.Mark, fresh)
	}
	return r.Lane.Give(c, r.Mark)
}
