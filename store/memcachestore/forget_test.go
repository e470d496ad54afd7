package memcachestore_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/memcachestore"
)

// crowd creates anonymous sessions until a server has thrown out what stood under
// a key, and fails the test if it never does.
func crowd(t *testing.T, st store.Store, addr, key string) {
	t.Helper()
	r := record("")
	r.Data = bytes.Repeat([]byte("x"), 2000)
	for i := range 20_000 {
		r.ID = record("").ID
		if err := st.Put(t.Context(), r); err != nil {
			t.Fatalf("Put %d: %v", i, err)
		}
		// Not too often: to look is to use.
		if i%2000 == 1999 && say(t, addr, "mg "+key)[0] == "EN" {
			return
		}
	}
	t.Fatalf("%s is still there, evictions: %d", key, stats(t, addr, "evictions"))
}

// A server without memory throws out what was used longest ago. A session that is
// gone is a visitor who is signed out, and nothing brings it back.
func TestAttack_A52_EvictedSessionIsSignedOut(t *testing.T) {
	srv := serve(t, "-m", "1", "-I", "512k")
	st := open(t, srv.URL(), nil)
	r := record("user")
	r.Data = bytes.Repeat([]byte("x"), 2000) // of a size that others need
	r = put(t, st, r)
	crowd(t, st, srv.Addr(), key("cloakroom", r.ID))
	_, err := st.Get(t.Context(), r.ID)
	want(t, "Get", err, store.ErrNotFound)
	want(t, "a late update", st.Put(t.Context(), r), store.ErrNotFound)
	want(t, "a late touch", st.Touch(t.Context(), r.ID, r.Seen.Add(time.Hour), r.Expires.Add(time.Hour)), store.ErrNotFound)
	_, err = st.Get(t.Context(), r.ID)
	want(t, "Get after them", err, store.ErrNotFound)
	put(t, st, record("user")) // the visitor signs in anew
}

// A tombstone that is gone leaves nothing, and nothing comes of nothing: neither a
// late update nor a late touch makes a session.
func TestPromise01_LostTombstoneRevivesNobody(t *testing.T) {
	srv := serve(t)
	st := open(t, srv.URL(), nil)
	r := put(t, st, record("user"))
	late := put(t, st, r)
	want(t, "End", st.End(t.Context(), r.ID, 0, why(), r.Deadline), nil)
	for _, lose := range []func(){
		func() { say(t, srv.Addr(), "delete "+key("cloakroom", r.ID)) }, // as an eviction does
		func() { srv.Kill(t); srv.Start(t) },
	} {
		lose()
		want(t, "a late update", st.Put(t.Context(), late), store.ErrNotFound)
		want(t, "a late touch", st.Touch(t.Context(), r.ID, r.Seen.Add(time.Hour), r.Deadline), store.ErrNotFound)
		_, err := st.Get(t.Context(), r.ID)
		want(t, "Get", err, store.ErrNotFound)
		if n := listed(t, st, "user"); n != 0 {
			t.Errorf("%d sessions on the list", n)
		}
	}
}

// A list that is gone: its sessions work, and neither a list shows them nor does
// EndUser end them, until a write five minutes after the last one mends it.
func TestLostListIsMended(t *testing.T) {
	srv := serve(t)
	st := open(t, srv.URL(), nil)
	a, b := put(t, st, record("user")), put(t, st, record("user"))
	say(t, srv.Addr(), "delete "+userKey("cloakroom", "user"))
	if n := listed(t, st, "user"); n != 0 {
		t.Fatalf("%d sessions on a list that is gone", n)
	}
	n, err := st.EndUser(t.Context(), "user", store.ID{}, why(), a.Deadline)
	if n != 0 || err != nil {
		t.Fatalf("EndUser: %d, %v", n, err)
	}
	// Too early: these writes do not look.
	want(t, "Touch", st.Touch(t.Context(), a.ID, a.Seen.Add(4*time.Minute), a.Expires), nil)
	b.Seen = b.Seen.Add(4 * time.Minute)
	b = put(t, st, b)
	if n := listed(t, st, "user"); n != 0 {
		t.Fatalf("%d sessions on the list, want it not mended yet", n)
	}
	want(t, "Touch", st.Touch(t.Context(), a.ID, a.Seen.Add(5*time.Minute), a.Expires), nil)
	if n := listed(t, st, "user"); n != 1 {
		t.Fatalf("%d sessions on the list after a touch, want 1", n)
	}
	b.Seen = b.Seen.Add(time.Minute)
	put(t, st, b)
	if n := listed(t, st, "user"); n != 2 {
		t.Fatalf("%d sessions on the list after an update, want 2", n)
	}
	if n, err := st.EndUser(t.Context(), "user", store.ID{}, why(), a.Deadline); n != 2 || err != nil {
		t.Fatalf("EndUser: %d, %v", n, err)
	}
}

// With -M a full server forgets nothing, and what is new is refused.
func TestServerThatMayNotEvict(t *testing.T) {
	srv := serve(t, "-m", "1", "-I", "512k", "-M")
	st := open(t, srv.URL(), nil)
	small := put(t, st, record("user"))
	first := record("")
	first.Data = bytes.Repeat([]byte("x"), 2000)
	first = put(t, st, first)
	var err error
	n := 0
	for ; err == nil && n < 20_000; n++ {
		r := record("")
		r.Data = first.Data
		err = st.Put(t.Context(), r)
	}
	want(t, fmt.Sprintf("Put %d", n), err, memcachestore.ErrFull)
	for _, r := range []store.Record{small, first} {
		if got, err := st.Get(t.Context(), r.ID); err != nil || !bytes.Equal(got.Data, r.Data) {
			t.Errorf("Get: %v", err)
		}
	}
	if n := stats(t, srv.Addr(), "evictions"); n != 0 {
		t.Errorf("%d evictions", n)
	}
}

// A record that is larger than an item is refused in a way that a program can
// tell, and what was there before stays.
func TestAttack_A52_TooLarge(t *testing.T) {
	srv := serve(t, "-I", "1m")
	st := open(t, srv.URL(), nil)
	r := put(t, st, record("user"))
	large := r
	for size, wantErr := range map[int]error{
		0: nil, 1: nil, store.MaxData - 512: nil, store.MaxData: memcachestore.ErrTooLarge, store.MaxData + 1: memcachestore.ErrTooLarge,
		3 * store.MaxData: memcachestore.ErrTooLarge,
	} {
		before, err := st.Get(t.Context(), r.ID)
		if err != nil {
			t.Fatal(err)
		}
		large.Version, large.Data = before.Version, bytes.Repeat([]byte("x"), size)
		err = st.Put(t.Context(), large)
		want(t, fmt.Sprintf("an update of %d bytes", size), err, wantErr)
		after, err := st.Get(t.Context(), r.ID)
		want(t, "Get", err, nil)
		if wantErr == nil && !bytes.Equal(after.Data, large.Data) || wantErr != nil && !bytes.Equal(after.Data, before.Data) {
			t.Errorf("%d bytes: %d are stored, %d were there before", size, len(after.Data), len(before.Data))
		}
		fresh := record("user")
		fresh.Data = large.Data
		want(t, fmt.Sprintf("a create of %d bytes", size), st.Put(t.Context(), fresh), wantErr)
	}
}

// A server of several that is away is an outage of its sessions alone. Nobody
// takes its place, so it has them when it is back, but for what it forgot.
func TestPromise07_OneServerOfTwo(t *testing.T) {
	a, b := serve(t), serve(t)
	st := open(t, "memcache://"+a.Addr()+","+b.Addr(), nil)
	onA, onB := onEach(t, st, a.Addr(), b.Addr())
	freeze(t, b)
	if _, err := st.Get(t.Context(), onA.ID); err != nil {
		t.Errorf("Get from the one that is there: %v", err)
	}
	_, err := st.Get(within(t, 50*time.Millisecond), onB.ID)
	if err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get from the one that is not: %v", err)
	}
	err = st.End(within(t, 50*time.Millisecond), onB.ID, 0, why(), onB.Deadline)
	if err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("End on the one that is not there: %v", err)
	}
	b.Thaw(t)
	if _, err := st.Get(t.Context(), onB.ID); err != nil && !errors.Is(err, store.ErrEnded) {
		t.Errorf("Get from the one that is back: %v", err)
	}
	b.Kill(t)
	if _, err := st.Get(t.Context(), onB.ID); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get from the one that was killed: %v", err)
	}
	b.Start(t)
	_, err = st.Get(t.Context(), onB.ID)
	want(t, "Get from the one that was restarted", err, store.ErrNotFound)
}

// onEach makes one anonymous session on each of two servers.
func onEach(t *testing.T, st store.Store, a, b string) (onA, onB store.Record) {
	t.Helper()
	for onA.Version == 0 || onB.Version == 0 {
		r := put(t, st, record(""))
		if say(t, a, "mg "+key("cloakroom", r.ID))[0] == "HD" {
			onA = r
		} else if say(t, b, "mg "+key("cloakroom", r.ID))[0] == "HD" {
			onB = r
		}
	}
	return onA, onB
}

// Which server has a key does not depend on the order of the list, and one that is
// taken from it moves no key between the others.
func TestServersOfKeys(t *testing.T) {
	var addrs []string
	for range 3 {
		addrs = append(addrs, serve(t).Addr())
	}
	st := open(t, "memcache://"+strings.Join(addrs, ","), nil)
	var list []store.Record
	for range 60 {
		list = append(list, put(t, st, record("")))
	}
	slices.Reverse(addrs)
	turned := open(t, "memcache://"+strings.Join(addrs, ","), nil)
	for _, r := range list {
		if _, err := turned.Get(t.Context(), r.ID); err != nil {
			t.Errorf("the servers in another order: %v", err)
		}
	}
	less := open(t, "memcache://"+strings.Join(addrs[:2], ","), nil)
	lost := 0
	for _, r := range list {
		has := say(t, addrs[2], "mg "+key("cloakroom", r.ID))[0] == "HD"
		_, err := less.Get(t.Context(), r.ID)
		if has {
			lost++
			want(t, "Get of a session on the server that was taken away", err, store.ErrNotFound)
		} else if err != nil {
			t.Errorf("Get of a session on another server: %v", err)
		}
	}
	if lost < 5 || lost > 40 {
		t.Errorf("one server of three has %d of %d sessions", lost, len(list))
	}
}

// Why a server is restarted before its name is put on the list again: with what it
// had, a session lives that was ended meanwhile.
func TestPromise01_RestartAServerBeforeItIsPutOnTheList(t *testing.T) {
	for _, restart := range []bool{false, true} {
		a, b := serve(t), serve(t)
		st := open(t, "memcache://"+a.Addr()+","+b.Addr(), nil)
		_, r := onEach(t, st, a.Addr(), b.Addr())

		without := open(t, "memcache://"+a.Addr(), nil)
		_, err := without.Get(t.Context(), r.ID)
		want(t, "Get without the server", err, store.ErrNotFound)
		want(t, "End without the server", without.End(t.Context(), r.ID, 0, why(), r.Deadline), store.ErrNotFound)

		if restart {
			b.Kill(t)
			b.Start(t)
		}
		again := open(t, "memcache://"+a.Addr()+","+b.Addr(), nil)
		_, err = again.Get(t.Context(), r.ID)
		if restart {
			want(t, "Get with a server that was restarted", err, store.ErrNotFound)
		} else if err != nil { // what the package comment warns of
			t.Errorf("Get with a server that has old data: %v", err)
		}
	}
}
