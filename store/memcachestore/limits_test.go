package memcachestore_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/memcachestore"
)

// Memcached takes a lifetime over 30 days for a date, 0 for ever, and a negative
// number for long ago; and it counts dates in 32 bits. Whatever a session lives,
// the server keeps it so long, and store.Slack more; not much more, as it is the
// one that forgets.
func TestAttack_A52_Lifetimes(t *testing.T) {
	srv := serve(t)
	st := open(t, srv.URL(), nil)
	ctx := t.Context()
	const slack, dateMargin = int(store.Slack / time.Second), 24 * 60 * 60
	for _, c := range []struct {
		life    time.Duration
		atLeast int // seconds
		more    int // how much longer at most; -1: for ever is right
	}{
		{-400 * day, slack, 10},
		{-time.Second, slack, 10},
		{0, slack, 10},
		{time.Millisecond, slack + 1, 10},
		{time.Second, slack + 1, 10},
		{30*day - 10*time.Minute, 30*86400 - 600 + slack, 10},
		{30 * day, 30*86400 + slack, dateMargin + 10},
		{30*day + time.Second, 30*86400 + 1 + slack, dateMargin + 10},
		{31 * day, 31*86400 + slack, dateMargin + 10},
		{400 * day, 400*86400 + slack, dateMargin + 10},
		{20 * 365 * day, 0, -1},
		{math.MaxInt64, 0, -1},
	} {
		check := func(what string, id store.ID) {
			t.Helper()
			got := ttl(t, srv.Addr(), key("cloakroom", id))
			if c.more < 0 && got != -1 || c.more >= 0 && (got < c.atLeast || got > c.atLeast+c.more) {
				t.Errorf("%s of %v is kept for %d s, want %d and at most %d more", what, c.life, got, c.atLeast, c.more)
			}
		}
		r := record("")
		r.Expires = now().Add(c.life)
		r.Deadline = r.Expires
		r = put(t, st, r)
		check("a session", r.ID)
		r = put(t, st, r)
		check("an updated session", r.ID)
		want(t, "Touch", st.Touch(ctx, r.ID, r.Seen.Add(time.Minute), r.Expires), nil)
		check("a touched session", r.ID)
		want(t, "End", st.End(ctx, r.ID, 0, why(), now()), nil)
		check("a tombstone", r.ID)
		unknown := record("").ID
		want(t, "End of an unknown ID", st.End(ctx, unknown, 0, why(), now().Add(c.life)), store.ErrNotFound)
		check("a tombstone of nothing", unknown)
	}
}

// A key is at most 250 bytes long, without spaces and control characters.
func TestAttack_A08_Keys(t *testing.T) {
	srv := serve(t)
	longest := strings.Repeat("p", 204)
	st := open(t, srv.URL()+"/"+longest, nil)
	r := put(t, st, record("user"))
	if k := key(longest, r.ID); len(k) != 250 {
		t.Errorf("the key has %d bytes, want 250", len(k))
	} else if stored(t, srv.Addr(), k) == "" {
		t.Error("the record is not under its key")
	}
	if n := listed(t, st, "user"); n != 1 {
		t.Errorf("%d sessions on the list", n)
	}
	for _, prefix := range []string{
		longest + "p", "a%20b", "a%0d%0aflush_all", "a%00", "a%7f", "%c3%a4", "a%", "%09", strings.Repeat("p", 1000),
	} {
		if _, err := memcachestore.Open(t.Context(), srv.URL()+"/"+prefix, nil); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("prefix %q: %v", prefix, err)
		}
	}
	// What a user is called never gets into a key.
	for _, name := range []string{"a b", "a\r\nflush_all\r\n", "\x00", "../..", strings.Repeat("ü", 127)} {
		put(t, st, record(name))
		if n := listed(t, st, name); n != 1 {
			t.Errorf("%q: %d sessions on the list", name, n)
		}
	}
	want(t, "Get", second(st.Get(t.Context(), r.ID)), nil)
}

func second[T any](_ T, err error) error { return err }

// The prefixes of two programs never meet.
func TestAttack_A08_Prefixes(t *testing.T) {
	srv := serve(t)
	a, b := open(t, srv.URL()+"/a", nil), open(t, srv.URL()+"/a:s", nil)
	r := put(t, a, record("user"))
	want(t, "Get under another prefix", second(b.Get(t.Context(), r.ID)), store.ErrNotFound)
	want(t, "Put under another prefix", b.Put(t.Context(), store.Record{ID: r.ID, Expires: r.Expires, Deadline: r.Deadline}), nil)
	if n, err := b.EndUser(t.Context(), "user", store.ID{}, why(), r.Deadline); n != 0 || err != nil {
		t.Errorf("EndUser under another prefix: %d, %v", n, err)
	}
	want(t, "Get", second(a.Get(t.Context(), r.ID)), nil)
}

// Garbage under a key, or what a newer program wrote, is a session that has
// ended, and no outage: its visitor goes on as nobody, and signs in anew. It is told in a line of the
// log.
func TestAttack_A51_Garbage(t *testing.T) {
	var log bytes.Buffer
	srv := serve(t)
	st := open(t, srv.URL(), &memcachestore.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	sample := put(t, st, record("user"))
	good := stored(t, srv.Addr(), key("cloakroom", sample.ID))
	for name, garbage := range map[string]string{
		"nothing": "", "one byte": "\x01", "text": "<html>", "another kind": "\x01\x04" + good[2:], "a newer format": "\x02" + good[1:],
		"cut": good[:40], "a list": "\x01\x03\x00", "a long name": "\x01\x01" + strings.Repeat("\xff", 60),
		"Info too long":            good[:2+48+1+4] + "\xff\xff\xff\xff" + good[2+48+1+4+4:],
		"version 0":                good[:2] + strings.Repeat("\x00", 8) + good[10:],
		"a tombstone of no reason": "\x01\x02\x00" + strings.Repeat("\x00", 16),
		"a long tombstone":         "\x01\x02\x01" + strings.Repeat("\x00", 17),
	} {
		r := record("user")
		r.Version = 1
		k := key("cloakroom", r.ID)
		overwrite(t, srv.Addr(), k, []byte(garbage))
		log.Reset()
		want(t, name+": Get", second(st.Get(t.Context(), r.ID)), store.ErrEnded)
		if !strings.Contains(log.String(), "record_unreadable") || !strings.Contains(log.String(), r.ID.Handle()) || strings.Contains(log.String(), r.ID.String()) {
			t.Errorf("%s: the log says %q", name, log.String())
		}
		want(t, name+": Put", st.Put(t.Context(), r), store.ErrEnded)
		want(t, name+": Touch", st.Touch(t.Context(), r.ID, r.Seen, r.Expires), store.ErrEnded)
		if got := stored(t, srv.Addr(), k); got != garbage {
			t.Errorf("%s: it was overwritten with %q", name, got)
		}
		create := r
		create.Version = 0
		want(t, name+": a create", st.Put(t.Context(), create), store.ErrEnded)
		want(t, name+": End", st.End(t.Context(), r.ID, 0, why(), r.Deadline), store.ErrEnded)
		want(t, name+": Get of the tombstone", second(st.Get(t.Context(), r.ID)), store.ErrEnded)
		if got := stored(t, srv.Addr(), k); !strings.HasPrefix(got, "\x01\x02") {
			t.Errorf("%s: End left %q, want a tombstone", name, got)
		}
		put(t, st, record("user")) // signs in anew
	}
}

// EndUser ends what it cannot read as well: a newer program can.
func TestAttack_A51_EndUserOfGarbage(t *testing.T) {
	srv := serve(t)
	st := open(t, srv.URL(), nil)
	r := put(t, st, record("user"))
	overwrite(t, srv.Addr(), key("cloakroom", r.ID), []byte("\x02something new"))
	for range 100 { // enough for the list to be tidied, which leaves it on
		put(t, st, record("user"))
	}
	if n := listed(t, st, "user"); n != 100 {
		t.Errorf("%d sessions on the list", n)
	}
	if n, err := st.EndUser(t.Context(), "user", store.ID{}, why(), now()); n != 101 || err != nil {
		t.Errorf("EndUser: %d, %v, want 101", n, err)
	}
	want(t, "Get", second(st.Get(t.Context(), r.ID)), store.ErrEnded)
}

// A list that cannot be read is an error for who asks for it, as nobody knows
// whom it showed; the next sign-in begins a new one.
func TestAttack_A51_GarbageForAList(t *testing.T) {
	srv := serve(t)
	st := open(t, srv.URL(), nil)
	old := put(t, st, record("user"))
	bob := put(t, st, record("bob"))
	for name, garbage := range map[string]string{
		"nothing": "", "text": "x", "cut": "\x01\x03\x04user123", "of another format": "\x02\x03\x04user", "a record": "\x01\x01",
		"another user's": stored(t, srv.Addr(), userKey("cloakroom", "bob")),
	} {
		overwrite(t, srv.Addr(), userKey("cloakroom", "user"), []byte(garbage))
		if _, err := st.ListUser(t.Context(), "user"); err == nil {
			t.Errorf("%s: ListUser says nothing", name)
		}
		if _, err := st.EndUser(t.Context(), "user", store.ID{}, why(), now()); err == nil || errors.Is(err, store.ErrEnded) {
			t.Errorf("%s: EndUser says nothing", name)
		}
		put(t, st, record("user"))
		if n := listed(t, st, "user"); n != 1 {
			t.Errorf("%s: %d sessions on the new list", name, n)
		}
	}
	want(t, "Touch", st.Touch(t.Context(), old.ID, old.Seen.Add(time.Hour), old.Expires), nil)
	if n := listed(t, st, "user"); n != 2 {
		t.Errorf("%d sessions on the list, want the first on it again", n)
	}
	want(t, "Get", second(st.Get(t.Context(), bob.ID)), nil)
}

// An entry of somebody else's session, on a list that was tampered with, ends
// nobody.
func TestAttack_A09_AnothersSessionOnTheList(t *testing.T) {
	srv := serve(t)
	st := open(t, srv.URL(), nil)
	alice, bob := put(t, st, record("alice")), put(t, st, record("bob"))
	list := stored(t, srv.Addr(), userKey("cloakroom", "alice"))
	theirs := stored(t, srv.Addr(), userKey("cloakroom", "bob"))
	overwrite(t, srv.Addr(), userKey("cloakroom", "alice"), []byte(list+theirs[3+len("bob"):]))
	if n := listed(t, st, "alice"); n != 1 {
		t.Errorf("%d sessions on the list", n)
	}
	if n, err := st.EndUser(t.Context(), "alice", store.ID{}, why(), now()); n != 1 || err != nil {
		t.Errorf("EndUser: %d, %v", n, err)
	}
	want(t, "Get", second(st.Get(t.Context(), alice.ID)), store.ErrEnded)
	want(t, "Get of bob's", second(st.Get(t.Context(), bob.ID)), nil)
}

// A server without compare-and-swap would let every write win.
func TestPromise02_ServerWithoutCAS(t *testing.T) {
	srv := serve(t, "-C")
	_, err := memcachestore.Open(context.Background(), srv.URL(), nil)
	if err == nil || !strings.Contains(err.Error(), "-C") {
		t.Errorf("Open: %v", err)
	}
}

// The commands that calls cost, as the server counts them.
func TestCommands(t *testing.T) {
	srv := serve(t)
	st := open(t, srv.URL(), nil)
	ctx := t.Context()
	anonymous, r := record(""), record("user")
	r.Expires = r.Deadline
	for _, c := range []struct {
		name        string
		reads, sets int
		call        func() error
	}{
		{"create", 0, 1, func() error { return st.Put(ctx, anonymous) }},
		{"create with a user", 1, 2, func() error { return st.Put(ctx, r) }},
		{"read", 1, 0, func() error { return second(st.Get(ctx, r.ID)) }},
		{"update", 1, 1, func() error { r.Version = 1; return st.Put(ctx, r) }},
		{"touch", 1, 1, func() error { return st.Touch(ctx, r.ID, r.Seen.Add(time.Minute), r.Expires) }},
		{"touch that moves nothing", 1, 0, func() error { return st.Touch(ctx, r.ID, r.Seen, r.Expires) }},
		{"touch after five minutes", 2, 1, func() error { return st.Touch(ctx, r.ID, r.Seen.Add(5*time.Minute), r.Expires) }},
		{"update then", 1, 1, func() error { r.Version = 2; r.Seen = r.Seen.Add(9 * time.Minute); return st.Put(ctx, r) }},
		{"list", 2, 0, func() error { return second(st.ListUser(ctx, "user")) }},
		{"end", 1, 1, func() error { return st.End(ctx, r.ID, 0, why(), r.Deadline) }},
		{"read of a tombstone", 1, 0, func() error { st.Get(ctx, r.ID); return nil }},
	} {
		reads, sets := stats(t, srv.Addr(), "cmd_get"), stats(t, srv.Addr(), "cmd_set")
		want(t, c.name, c.call(), nil)
		reads, sets = stats(t, srv.Addr(), "cmd_get")-reads, stats(t, srv.Addr(), "cmd_set")-sets
		if reads != c.reads || sets != c.sets {
			t.Errorf("%s: %d reads and %d writes, want %d and %d", c.name, reads, sets, c.reads, c.sets)
		}
	}
}

// What package store says is returned as it is, and anything else has one head.
func TestErrorsSayOnceWhoSpeaks(t *testing.T) {
	srv := serve(t)
	st := open(t, srv.URL(), nil)
	r := put(t, st, record("user"))
	if _, err := st.Get(t.Context(), record("").ID); err != store.ErrNotFound {
		t.Errorf("Get: %q", err)
	}
	stale := r
	stale.Version = 7
	if err := st.Put(t.Context(), stale); err != store.ErrConflict {
		t.Errorf("Put: %q", err)
	}
	large := record("user")
	large.Data = make([]byte, 2<<20)
	if err := st.Put(t.Context(), large); !errors.Is(err, memcachestore.ErrTooLarge) || strings.Count(err.Error(), "memcachestore:") != 1 {
		t.Errorf("Put: %q", err)
	}
	overwrite(t, srv.Addr(), key("cloakroom", r.ID), []byte("x"))
	if _, err := st.Get(t.Context(), r.ID); !errors.Is(err, store.ErrEnded) || strings.Count(err.Error(), "memcachestore:") != 1 {
		t.Errorf("Get: %q", err)
	}
}
