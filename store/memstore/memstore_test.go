package memstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
	"github.com/cloakroom-dev/cloakroom/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return memstore.New(nil) })
}

// TestStoreBounded runs the suite on a store that counts what it holds.
func TestStoreBounded(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store {
		return memstore.New(&memstore.Options{MaxRecords: million})
	})
}

func Example() {
	st := memstore.New(nil) // for cloakroom.New
	now := time.Now()
	r := store.Record{
		ID:       store.ID{1}, // the hash of a token
		UserID:   "alice",
		Created:  now,
		Seen:     now,
		Expires:  now.Add(30 * time.Minute),
		Deadline: now.Add(24 * time.Hour),
		Data:     []byte("sealed"),
	}
	ctx := context.Background()
	if err := st.Put(ctx, r); err != nil {
		panic(err)
	}
	r, err := st.Get(ctx, r.ID)
	fmt.Println(r.Version, r.UserID, err)
	fmt.Println(st.End(ctx, r.ID, r.Version, store.Ended{Reason: store.Logout, At: now}, r.Deadline))
	fmt.Println(st.Put(ctx, r)) // a slow request writes at its end
	// Output:
	// 1 alice <nil>
	// <nil>
	// store: session has ended
}

func TestAllocs(t *testing.T) {
	ctx := t.Context()
	st := memstore.New(nil)
	fill(t, st, 0, 1000, fourEach)
	unknown, dead := id(5000), id(999)
	if err := st.End(ctx, dead, 0, store.Ended{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	n := 0
	for _, c := range []struct {
		name string
		want float64
		call func() error
	}{
		{"Get", 0, func() error { _, err := st.Get(ctx, id(1)); return err }},
		{"Get of nothing", 0, func() error { st.Get(ctx, unknown); return nil }},
		{"Get of a tombstone", 0, func() error { st.Get(ctx, dead); return nil }},
		{"Touch", 0, func() error { return st.Touch(ctx, id(1), now, now) }},
		{"Get and Put", 0, func() error {
			r, err := st.Get(ctx, id(1))
			return errors.Join(err, st.Put(ctx, r))
		}},
		{"End of a tombstone", 0, func() error {
			st.End(ctx, dead, 0, store.Ended{}, now)
			return nil
		}},
		// The session, and what the table grows by.
		{"create", 1, func() error {
			n++
			r := store.Record{ID: id(10_000 + n), UserID: "alice", Expires: now, Deadline: now.Add(time.Hour)}
			return st.Put(ctx, r)
		}},
	} {
		if got := testing.AllocsPerRun(1000, func() {
			if err := c.call(); err != nil {
				t.Fatal(c.name, err)
			}
		}); got > c.want {
			t.Errorf("%s: %v allocations, want at most %v", c.name, got, c.want)
		}
	}
}

func TestPutRefuses(t *testing.T) {
	st := memstore.New(nil)
	zero := record(1, "user")
	zero.ID = store.ID{}
	long := record(2, strings.Repeat("u", store.MaxUserID+1))
	for _, r := range []store.Record{zero, long} {
		if err := st.Put(t.Context(), r); err == nil {
			t.Errorf("Put of the ID %v and a user ID of %d bytes succeeds", r.ID, len(r.UserID))
		}
	}
	if err := st.End(t.Context(), store.ID{}, 0, store.Ended{}, time.Now()); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("End of the zero ID: %v", err)
	}
	if n := st.Len(); n != 0 {
		t.Errorf("the store holds %d records", n)
	}
}

// TestKeptBytes looks that no caller's append reaches what others read.
func TestKeptBytes(t *testing.T) {
	st := memstore.New(nil)
	r := record(1, "user")
	whole := []byte("datainfo")
	r.Data, r.Info = whole[:4], whole[4:]
	if err := st.Put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got, err := st.Get(t.Context(), r.ID)
		if err != nil {
			t.Fatal(err)
		}
		_ = append(got.Data, "more"...)
		if !bytes.Equal(whole, []byte("datainfo")) {
			t.Fatalf("an append to Data has changed what is behind it: %q", whole)
		}
		got.Data, got.Info = whole[:4], whole[4:]
		if err := st.Put(t.Context(), got); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMaxRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		st := memstore.New(&memstore.Options{MaxRecords: 10})
		fill(t, st, 0, 10, nobody)
		if err := st.Put(ctx, record(10, "")); !errors.Is(err, memstore.ErrFull) {
			t.Fatalf("Put of an eleventh: %v, want %v", err, memstore.ErrFull)
		}
		// What is there can be changed, touched and ended.
		r, err := st.Get(ctx, id(3))
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Put(ctx, r); err != nil {
			t.Errorf("Put of an update: %v", err)
		}
		if err := st.Touch(ctx, r.ID, time.Now(), time.Now()); err != nil {
			t.Errorf("Touch: %v", err)
		}
		if err := st.End(ctx, r.ID, 0, store.Ended{}, time.Now()); err != nil {
			t.Errorf("End: %v", err)
		}
		// A tombstone is left even where there is no room, and takes none away.
		if err := st.End(ctx, id(99), 0, store.Ended{}, time.Now()); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("End of an unknown ID: %v", err)
		}
		if err := st.Put(ctx, record(99, "")); !errors.Is(err, store.ErrEnded) {
			t.Errorf("the late create: %v", err)
		}
		if n := st.Len(); n != 11 {
			t.Errorf("the store holds %d records, want 11", n)
		}
		time.Sleep(25 * time.Hour)
		if n, err := st.Sweep(ctx, time.Now()); n != 11 || err != nil {
			t.Errorf("Sweep: %d, %v, want 11", n, err)
		}
		fill(t, st, 20, 30, nobody)
		if n := st.Len(); n != 10 {
			t.Errorf("the store holds %d records, want 10", n)
		}
	})
}

// TestMaxRecordsMakesRoom fills a store that nobody sweeps, again and again.
func TestMaxRecordsMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(&memstore.Options{MaxRecords: 1000})
		for round := range 5 {
			fill(t, st, 500*round, 500*(round+1), nobody)
			time.Sleep(time.Hour)
		}
	})
}
