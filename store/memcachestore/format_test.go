package memcachestore_test

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/memcachestore"
)

// FuzzRecord reads any bytes: it refuses them, or they are the one encoding of
// what it has read.
func FuzzRecord(f *testing.F) {
	for _, name := range []string{"live", "tombstone", "index", "registry"} {
		f.Add(golden(f, name))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		again := memcachestore.Recode("alice", b)
		if again != nil && !bytes.Equal(again, b) {
			t.Errorf("%x is written as %x", b, again)
		}
	})
}

// golden reads an item of the first format, in lines of hexadecimal digits.
func golden(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "v1-"+name+".hex"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The items of the first format are read and written for ever.
func TestGoldenItems(t *testing.T) {
	srv := serve(t)
	st := open(t, srv.URL(), nil)
	at := func(s string) time.Time {
		t.Helper()
		v, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	r := store.Record{
		ID: store.ID(bytes.Repeat([]byte{7}, 32)), UserID: "alice",
		Created: at("2026-01-02T03:04:05.006Z"), Seen: at("2026-01-02T03:04:05.006Z"),
		Expires: at("2100-01-02T03:34:05.006Z"), Deadline: at("2100-01-03T03:04:05.006Z"),
		Info: []byte("info"), Data: []byte("data"),
	}
	put(t, st, r)
	if got, want := stored(t, srv.Addr(), key("cloakroom", r.ID)), golden(t, "live"); got != string(want) {
		t.Errorf("a record is written as %x, want %x", got, want)
	}
	overwrite(t, srv.Addr(), key("cloakroom", r.ID), golden(t, "live"))
	got, err := st.Get(t.Context(), r.ID)
	if err != nil || got.Version != 1 || got.UserID != "alice" || !got.Deadline.Equal(r.Deadline) || string(got.Info) != "info" || string(got.Data) != "data" {
		t.Errorf("a record is read as %+v, %v", got, err)
	}
	overwrite(t, srv.Addr(), userKey("cloakroom", "alice"), golden(t, "index"))
	if n := listed(t, st, "alice"); n != 1 {
		t.Errorf("a list is read as one of %d sessions", n)
	}
	ended := store.Ended{Reason: store.Renewed, At: at("2026-01-02T04:04:05.006Z")}
	want(t, "End", st.End(t.Context(), r.ID, 1, ended, now()), nil)
	if got, want := stored(t, srv.Addr(), key("cloakroom", r.ID)), golden(t, "tombstone"); got != string(want) {
		t.Errorf("a tombstone is written as %x, want %x", got, want)
	}
	want(t, "RememberKey", st.RememberKey(t.Context(), "0a0b0c0d", r.Created), nil)
	if got, want := stored(t, srv.Addr(), "cloakroom:k:keys"), golden(t, "registry"); got != string(want) {
		t.Errorf("the registry is written as %x, want %x", got, want)
	}
	// Nothing shorter or longer is one of them, but for a record's Data and a
	// list's end.
	for name, fixed := range map[string]bool{"live": false, "tombstone": true, "index": true, "registry": true} {
		b := golden(t, name)
		for n := range len(b) {
			if name == "live" && n >= len(b)-4 || name == "index" && n == 8 || name == "registry" && n == 2 {
				continue
			}
			if again := memcachestore.Recode("alice", b[:n]); again != nil {
				t.Errorf("%s: %d bytes of %d are read", name, n, len(b))
			}
		}
		if again := memcachestore.Recode("alice", append(slices.Clone(b), 0)); fixed && again != nil {
			t.Errorf("%s: a byte too many is read", name)
		}
	}
}
