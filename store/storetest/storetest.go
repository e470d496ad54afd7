// Package storetest proves that a session store keeps the contract of package
// store.
//
// A store's test is one call:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) store.Store {
//			return mystore.New(…) // an empty one; t.Cleanup closes it
//		})
//	}
//
// Every sentence of the contract has a case, which prints it where it fails.
// What a store can do besides [store.Store] is asked of the store itself: one
// that has the methods of [store.UserStore], [store.Sweeper] or [store.Scanner]
// is held to them, and no case is left out by a store's name. Run with -race; the
// histories of many clients find more with -count=20.
package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// Run holds the stores that newStore returns to the contract. It is called once
// for each case, and returns a store that is empty and that nobody else uses.
// With -short, races and histories are repeated less often.
func Run(t *testing.T, newStore func(t *testing.T) store.Store) {
	t.Helper()
	has := abilitiesOf(newStore(t))
	t.Logf("storetest: the store is a %v", has)
	for _, c := range cases() {
		if c.needs&^has != 0 {
			continue // it does not have the method that the case is about
		}
		t.Run(c.name, func(t *testing.T) {
			c.prove(t, newStore(t))
		})
	}
}

// tb is what a case needs of a *testing.T. The suite's own tests put in something
// else, to see it fail.
type tb interface {
	Helper()
	Context() context.Context
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	FailNow()
	Failed() bool
}

// A testCase proves one or more sentences of the contract.
type testCase struct {
	name  string
	says  []string // the sentences, as package store has them
	needs ability
	test  func(p *probe)
}

// cases returns the whole suite.
func cases() []testCase {
	return slices.Concat(
		getCases(), tableCases(), putCases(), putTimeCases(), touchCases(), touchOnlyCases(),
		endCases(), endUnknownCases(), versionCases(),
		valueCases(), idCases(), timeCases(), contextCases(),
		raceCases(), endRaceCases(), updateRaceCases(),
		listCases(), userCases(), endUserNameCases(), userRaceCases(), userWriteRaceCases(),
		sweepCases(), clockCases(), forgottenCases(), sweepRaceCases(),
		scanCases(), historyCases(),
	)
}

// prove runs the case. Where it fails, it prints what the contract says.
func (c testCase) prove(t tb, st store.Store) {
	t.Helper()
	p := &probe{tb: t, ctx: t.Context(), Store: st, now: time.Now().Truncate(time.Millisecond).UTC()}
	p.users, _ = st.(store.UserStore)
	p.sweeper, _ = st.(store.Sweeper)
	p.scanner, _ = st.(store.Scanner)
	defer func() {
		t.Helper()
		if t.Failed() {
			t.Errorf("the contract says: %s", strings.Join(c.says, "\n\t"))
		}
	}()
	c.test(p)
}

// ability is a set of the interfaces of package store.
type ability uint8

const (
	users ability = 1 << iota
	sweeper
	scanner
)

// abilitiesOf asks a store what it can do.
func abilitiesOf(st store.Store) ability {
	var a ability
	if _, ok := st.(store.UserStore); ok {
		a |= users
	}
	if _, ok := st.(store.Sweeper); ok {
		a |= sweeper
	}
	if _, ok := st.(store.Scanner); ok {
		a |= scanner
	}
	return a
}

// String names the interfaces.
func (a ability) String() string {
	names := []string{"Store"}
	for i, name := range []string{"UserStore", "Sweeper", "Scanner"} {
		if a&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// A probe is what a case holds in its hands: the store, and a time at which the
// case began. Its methods end the case where the store fails.
type probe struct {
	tb
	store.Store
	ctx     context.Context
	users   store.UserStore // nil where the store is none, as the next two
	sweeper store.Sweeper
	scanner store.Scanner
	now     time.Time
	made    uint64 // records so far
}

// fatalf fails the case and ends it.
func (p *probe) fatalf(format string, args ...any) {
	p.Helper()
	p.Errorf(format, args...)
	p.FailNow()
}

// newID returns an ID that the case has not used, spread like a SHA-256.
func (p *probe) newID() store.ID {
	p.made++
	return sha256.Sum256(binary.BigEndian.AppendUint64([]byte("storetest"), p.made))
}

// record returns a session of a user that may be created: it is active now, idle
// for half an hour, and lives a day.
func (p *probe) record(userID string) store.Record {
	id := p.newID()
	return store.Record{
		ID:       id,
		UserID:   userID,
		Created:  p.now,
		Seen:     p.now,
		Expires:  p.now.Add(30 * time.Minute),
		Deadline: p.now.Add(24 * time.Hour),
		Info:     fmt.Appendf(nil, "info of session %d", p.made),
		Data:     fmt.Appendf(nil, "data of session %d", p.made),
	}
}

// create stores a new session of a user and returns it as it is stored.
func (p *probe) create(userID string) store.Record {
	p.Helper()
	return p.put(p.record(userID))
}

// createMany stores n new sessions of a user.
func (p *probe) createMany(n int, userID string) []store.Record {
	p.Helper()
	var list []store.Record
	for range n {
		list = append(list, p.create(userID))
	}
	return list
}

// Put hands a copy of the bytes to the store, to which they belong from then on:
// what a case compares with are its own.
func (p *probe) Put(ctx context.Context, r store.Record) error {
	r.Info, r.Data = bytes.Clone(r.Info), bytes.Clone(r.Data)
	return p.Store.Put(ctx, r)
}

// put stores a record, which must succeed, and returns it with the version that
// is stored now.
func (p *probe) put(r store.Record) store.Record {
	p.Helper()
	if err := p.Put(p.ctx, r); err != nil {
		p.fatalf("Put of version %d: %v, want it stored", r.Version, err)
	}
	r.Version++
	return r
}

// get reads a live record, which must be there.
func (p *probe) get(id store.ID) store.Record {
	p.Helper()
	r, err := p.Get(p.ctx, id)
	if err != nil {
		p.fatalf("Get: %v, want the record", err)
	}
	return r
}

// touch moves the times of a session, which must succeed.
func (p *probe) touch(id store.ID, seen, expires time.Time) {
	p.Helper()
	if err := p.Touch(p.ctx, id, seen, expires); err != nil {
		p.fatalf("Touch: %v, want success", err)
	}
}

// end ends a session, which must succeed, and returns what the tombstone keeps.
func (p *probe) end(id store.ID, reason store.Reason) store.Ended {
	p.Helper()
	why := store.Ended{Reason: reason, At: p.now}
	if err := p.End(p.ctx, id, 0, why, p.now.Add(time.Hour)); err != nil {
		p.fatalf("End of a live session: %v, want success", err)
	}
	return why
}

// contract lists the errors that mean something.
var contract = []error{store.ErrNotFound, store.ErrEnded, store.ErrConflict, store.ErrImmutable}

// is tells whether err is what the contract asks for: want, or a wrapping of it,
// and none of the other errors of the contract.
func is(err, want error) bool {
	if want == nil {
		return err == nil
	}
	for _, other := range contract {
		if other != want && errors.Is(err, other) {
			return false
		}
	}
	return errors.Is(err, want)
}

// want fails the case if err is not what a call should have returned.
func (p *probe) want(call string, err, want error) {
	p.Helper()
	if !is(err, want) {
		p.fatalf("%s: %v, want %v", call, err, want)
	}
}

// stored fails the case if the record under want.ID is another.
func (p *probe) stored(want store.Record) {
	p.Helper()
	if diff := differ(p.get(want.ID), want); diff != "" {
		p.fatalf("Get returned another record: %s", diff)
	}
}

// unknown fails the case if something is known under an ID.
func (p *probe) unknown(id store.ID) {
	p.Helper()
	if r, err := p.Get(p.ctx, id); !is(err, store.ErrNotFound) {
		p.fatalf("Get: version %d, %v, want %v", r.Version, err, store.ErrNotFound)
	}
}

// dead fails the case if there is no tombstone under an ID.
func (p *probe) dead(id store.ID) store.Record {
	p.Helper()
	r, err := p.Get(p.ctx, id)
	if !is(err, store.ErrEnded) {
		p.fatalf("Get: version %d, %v, want %v", r.Version, err, store.ErrEnded)
	}
	return r
}

// ended fails the case if there is no tombstone under an ID that keeps this.
func (p *probe) ended(id store.ID, why store.Ended) {
	p.Helper()
	r := p.dead(id)
	if r.ID != id {
		p.Errorf("the tombstone has the ID %v, want %v", r.ID, id)
	}
	if r.Ended.Reason != why.Reason || !sameTime(r.Ended.At, why.At) {
		p.fatalf("the tombstone keeps %v at %v, want %v at %v", r.Ended.Reason, r.Ended.At, why.Reason, why.At)
	}
}

// sameTime tells whether a stored time is what was put in, and in UTC.
func sameTime(got, want time.Time) bool {
	return got.Equal(want) && got.Location() == time.UTC
}
