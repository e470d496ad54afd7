package memcachestore_test

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/memcachestore"
)

// listOf is a list of sessions as the server keeps it.
func listOf(userID string, added time.Time, deadline time.Time, ids ...store.ID) []byte {
	b := append([]byte{1, 3, byte(len(userID))}, userID...)
	for _, id := range ids {
		b = append(b, id[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(added.UnixMilli()))
		b = binary.BigEndian.AppendUint64(b, uint64(deadline.UnixMilli()))
	}
	return b
}

// entries returns how many sessions stand on a user's list, living or not.
func entries(t *testing.T, addr, userID string) int {
	t.Helper()
	list := stored(t, addr, userKey("cloakroom", userID))
	return (len(list) - 3 - len(userID)) / 48
}

// The entry comes before the record: a program that crashes in between leaves an
// entry too many, and no session that no list shows.
func TestPromise09_ListedBeforeCreated(t *testing.T) {
	srv := serve(t, "-I", "1m")
	st := open(t, srv.URL(), nil)
	r := record("user")
	r.Data = make([]byte, store.MaxData) // the record is refused: as if it had never been sent
	want(t, "create", st.Put(t.Context(), r), memcachestore.ErrTooLarge)
	if n := entries(t, srv.Addr(), "user"); n != 1 {
		t.Errorf("%d entries, want 1", n)
	}
	if n := listed(t, st, "user"); n != 0 {
		t.Errorf("%d sessions", n)
	}
	// The entry of a create on its way stays, whoever looks at the list.
	if n, err := st.EndUser(t.Context(), "user", store.ID{}, why(), now()); n != 0 || err != nil {
		t.Errorf("EndUser: %d, %v", n, err)
	}
	if n := entries(t, srv.Addr(), "user"); n != 1 {
		t.Errorf("%d entries, want 1", n)
	}
	r.Data = nil
	put(t, st, r) // it arrives
	if n := listed(t, st, "user"); n != 1 {
		t.Errorf("%d sessions, want 1", n)
	}
}

// A user who signs in and out all day long has a short list all the same.
func TestListIsTidied(t *testing.T) {
	srv := serve(t)
	st := open(t, srv.URL(), nil)
	keep := put(t, st, record("user"))
	for range 300 {
		r := put(t, st, record("user"))
		want(t, "End", st.End(t.Context(), r.ID, 0, why(), r.Deadline), nil)
	}
	if n := entries(t, srv.Addr(), "user"); n > 64 {
		t.Errorf("%d entries of 1 session", n)
	}
	want(t, "Get", second(st.Get(t.Context(), keep.ID)), nil)
	if n := listed(t, st, "user"); n != 1 {
		t.Errorf("%d sessions, want 1", n)
	}
}

// What EndUser has ended is on no list any more; what is over is not, either.
func TestListForgets(t *testing.T) {
	srv := serve(t)
	st := open(t, srv.URL(), nil)
	for range 5 {
		put(t, st, record("user"))
	}
	if n, err := st.EndUser(t.Context(), "user", store.ID{}, why(), now()); n != 5 || err != nil {
		t.Fatalf("EndUser: %d, %v", n, err)
	}
	if n := entries(t, srv.Addr(), "user"); n != 0 {
		t.Errorf("%d entries of no sessions", n)
	}
	over, almost := record("user").ID, record("user").ID
	overwrite(t, srv.Addr(), userKey("cloakroom", "user"),
		append(listOf("user", now().Add(-day), now().Add(-2*store.Slack-time.Second), over),
			listOf("user", now().Add(-day), now().Add(-store.Slack), almost)[3+len("user"):]...))
	put(t, st, record("user"))
	if n := entries(t, srv.Addr(), "user"); n != 2 {
		t.Errorf("%d entries, want the one that may not be over and the new one", n)
	}
}

// An entry without a record leaves a long list only when it is old, and a
// tombstone is there before: whatever create is still on its way finds it.
func TestPromise09_NoCreateBecomesUnfindable(t *testing.T) {
	srv := serve(t)
	st := open(t, srv.URL(), nil)
	old, young := make([]store.ID, 63), record("user").ID
	for i := range old {
		old[i] = record("user").ID
	}
	list := listOf("user", now().Add(-2*time.Hour), now().Add(day), old...)
	list = append(list, listOf("user", now().Add(-time.Minute), now().Add(day), young)[3+len("user"):]...)
	overwrite(t, srv.Addr(), userKey("cloakroom", "user"), list)
	put(t, st, record("user")) // the 65th
	if n := entries(t, srv.Addr(), "user"); n != 2 {
		t.Errorf("%d entries, want the young one and the new one", n)
	}
	late := record("user")
	late.ID = old[7]
	want(t, "the late create of an old entry", st.Put(t.Context(), late), store.ErrEnded)
	late.ID = young
	put(t, st, late)
	if n := listed(t, st, "user"); n != 2 {
		t.Errorf("%d sessions, want 2", n)
	}
}

// A list that is full refuses one more, in a way that a program can tell. All
// others can be used and ended, and then there is room again.
func TestTooManySessions(t *testing.T) {
	srv := serve(t)
	st := open(t, srv.URL(), nil)
	r := put(t, st, record("user"))
	ids := make([]store.ID, 16<<10)
	for i := range ids {
		ids[i] = record("").ID
	}
	ids[len(ids)-1] = r.ID
	full := listOf("user", now(), now().Add(day), ids...)
	overwrite(t, srv.Addr(), userKey("cloakroom", "user"), full)
	more := record("user")
	want(t, "create", st.Put(t.Context(), more), memcachestore.ErrTooManySessions)
	want(t, "Get", second(st.Get(t.Context(), more.ID)), store.ErrNotFound)
	r.Seen = r.Seen.Add(time.Hour)
	r = put(t, st, r)
	if n, err := st.EndUser(t.Context(), "user", store.ID{}, why(), now()); n != 1 || err != nil {
		t.Errorf("EndUser: %d, %v", n, err)
	}
	// A session that is not on a full list can be used nevertheless.
	overwrite(t, srv.Addr(), userKey("cloakroom", "user"), full[:len(full)-48])
	more = put(t, st, more)
	overwrite(t, srv.Addr(), userKey("cloakroom", "user"), append(full[:len(full)-48:len(full)-48], listOf("", now(), now(), record("").ID)[3:]...))
	more.Seen = more.Seen.Add(time.Hour)
	put(t, st, more)
}

// A server of small items has room for fewer.
func TestTooManySessionsForTheServer(t *testing.T) {
	srv := serve(t, "-I", "512k")
	st := open(t, srv.URL(), nil)
	r := put(t, st, record("user"))
	ids := make([]store.ID, 512<<10/48)
	for i := range ids {
		ids[i] = record("").ID
	}
	ids[0] = r.ID
	for answer := ""; answer != "STORED"; ids = ids[:len(ids)-1] { // as many as there is room for
		list := listOf("user", now(), now().Add(day), ids...)
		answer = say(t, srv.Addr(), fmt.Sprintf("set %s 0 0 %d\r\n%s", userKey("cloakroom", "user"), len(list), list))[0]
	}
	want(t, "create", st.Put(t.Context(), record("user")), memcachestore.ErrTooManySessions)
	if ended, err := st.EndUser(t.Context(), "user", store.ID{}, why(), now()); ended != 1 || err != nil {
		t.Errorf("EndUser: %d, %v, want 1", ended, err)
	}
	put(t, st, record("user"))
}
