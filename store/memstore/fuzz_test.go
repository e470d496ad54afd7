package memstore_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
)

// known is what a test knows of an ID: its version, 0 once it has ended, and
// whose it is.
type known struct {
	version uint64
	userID  string
	data    []byte
}

// FuzzStore makes the calls that the bytes name, two bytes a call, and compares
// what comes back with a plain map. The IDs are few and lie close together, some
// in one bucket whatever the size of the table.
func FuzzStore(f *testing.F) {
	f.Add([]byte("\x00\x01\x01\x01\x02\x01\x03\x01\x04\x01\x05\x01"))
	grow := make([]byte, 0, 512)
	for i := range 256 { // create them all
		grow = append(grow, 0, byte(i))
	}
	f.Add(grow)
	for i := range 256 { // end them all, and by user between
		grow = append(grow, byte(3+i/100), byte(i))
	}
	f.Add(grow)
	f.Fuzz(func(t *testing.T, calls []byte) {
		st := memstore.New(nil)
		all := map[store.ID]*known{}
		for len(calls) >= 2 {
			one(t, st, all, calls[0], calls[1])
			calls = calls[2:]
		}
		compare(t, st, all)
	})
}

// one makes one call.
func one(t *testing.T, st *memstore.Store, all map[store.ID]*known, op, arg byte) {
	ctx := t.Context()
	id := store.ID{0: arg & 0xc0, 7: arg & 0x30, 20: arg, 31: 1}
	userID := []string{"", "alice", "bob", "carol"}[arg%4]
	now := time.Now().Truncate(time.Hour)
	r := store.Record{ID: id, UserID: userID, Created: now, Seen: now, Expires: now.Add(day), Deadline: now.Add(day), Data: []byte{op, arg}}
	was := all[id]
	switch op % 6 {
	case 0:
		check(t, "create", st.Put(ctx, r), was.missing(store.ErrConflict))
		if was == nil {
			all[id] = &known{1, userID, r.Data}
		}
	case 1, 2:
		r.Version = 1 + uint64(op/6)%8
		if was != nil && was.version > 0 && op%6 == 1 {
			r.Version = was.version
		}
		if was == nil || was.version != r.Version {
			if err := st.Put(ctx, r); was == nil {
				check(t, "update", err, store.ErrNotFound)
			} else {
				check(t, "update", err, was.missing(store.ErrConflict))
			}
			return
		}
		check(t, "update", st.Put(ctx, r), nil)
		was.version, was.data = was.version+1, r.Data
	case 3:
		err := st.End(ctx, id, 0, revoked, now.Add(day))
		if was == nil {
			check(t, "End", err, store.ErrNotFound)
		} else {
			check(t, "End", err, was.missing(nil))
		}
		all[id] = &known{}
	case 4:
		want := 0
		for other, k := range all {
			if k.version > 0 && k.userID == userID && userID != "" && other != id {
				*k = known{}
				want++
			}
		}
		if n, err := st.EndUser(ctx, userID, id, revoked, now.Add(day)); n != want || err != nil {
			t.Fatalf("EndUser: %d, %v, want %d", n, err, want)
		}
	case 5:
		_, err := st.Sweep(ctx, time.Now())
		check(t, "Sweep", err, nil) // everything has a day
	}
}

// missing returns what a call says that finds a tombstone, or nothing, or for a
// live session what is given.
func (k *known) missing(live error) error {
	switch {
	case k == nil:
		return nil
	case k.version == 0:
		return store.ErrEnded
	}
	return live
}

const day = 24 * time.Hour

func check(t *testing.T, call string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: %v, want %v", call, err, want)
	}
}

// compare looks at everything that is there.
func compare(t *testing.T, st *memstore.Store, all map[store.ID]*known) {
	t.Helper()
	var live []store.ID
	users := map[string]int{}
	for id, k := range all {
		r, err := st.Get(t.Context(), id)
		if k.version == 0 {
			check(t, "Get", err, store.ErrEnded)
			continue
		}
		if err != nil || r.Version != k.version || r.UserID != k.userID || !bytes.Equal(r.Data, k.data) {
			t.Fatalf("Get: %+v, %v, want %+v", r, err, k)
		}
		live = append(live, id)
		users[k.userID]++
	}
	if n := st.Len(); n != len(all) {
		t.Fatalf("the store holds %d records, want %d", n, len(all))
	}
	slices.SortFunc(live, func(a, b store.ID) int { return bytes.Compare(a[:], b[:]) })
	list, err := st.Scan(t.Context(), store.ID{}, 1000)
	if err != nil || !slices.EqualFunc(list, live, func(r store.Record, id store.ID) bool { return r.ID == id }) {
		t.Fatalf("Scan: %d records, %v, want %d", len(list), err, len(live))
	}
	delete(users, "")
	for userID := range users {
		if list, err := st.ListUser(t.Context(), userID); len(list) != users[userID] || err != nil {
			t.Fatalf("ListUser: %d, %v, want %d", len(list), err, users[userID])
		}
	}
}
