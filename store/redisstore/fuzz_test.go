package redisstore_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/redisstore"
)

// FuzzRecord: whatever stands in the server is a record, a tombstone or neither,
// and a record that was read is written as it was.
func FuzzRecord(f *testing.F) {
	for _, user := range []string{"", "user", "\x00\xff"} {
		r := record(user)
		b, err := redisstore.Encode(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)-1])
		f.Add(b[:119])
	}
	f.Add([]byte("T1001+001795000000000"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := redisstore.Decode(store.ID{1}, b)
		switch {
		case errors.Is(err, store.ErrEnded):
			if r.Ended.Reason == store.NotEnded {
				t.Error("a tombstone without a reason")
			}
			return
		case err != nil || len(r.UserID) > store.MaxUserID || r.Expires.After(r.Deadline):
			return // which no Put has written
		case r.Version == 0:
			t.Fatal("a record of version 0")
		}
		r.Version--
		again, err := redisstore.Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		// The name of the index and the sign of zero are not kept in a Record.
		same := func(b []byte) []byte {
			return bytes.ReplaceAll(append(bytes.Clone(b[:94]), b[116:]...), []byte("-000000000000000"), []byte("+000000000000000"))
		}
		if !bytes.Equal(same(again), same(b)) {
			t.Errorf("read from %q, written as %q", b, again)
		}
	})
}

// FuzzURL: no URL makes an error of several lines, or one with the password.
func FuzzURL(f *testing.F) {
	const password = "Xq7secretZ"
	for _, rest := range []string{"@localhost/0", "@h?x=1", "/@h", "?@h", "#@h", "%zz@h", ":@[::1]:x", "@/p?db=1", "?=&@h", " @h\n"} {
		f.Add("redis://:", rest)
		f.Add("unix://", rest)
	}
	f.Fuzz(func(t *testing.T, before, rest string) {
		err := redisstore.Parse(before + password + rest)
		if err == nil || strings.ContainsAny(before, "?/#") && !strings.HasSuffix(before, "://:") || strings.Contains(rest, "ca=") {
			return // it did not stand where a password stands
		}
		if text := err.Error(); strings.Contains(text, "\n") || strings.Contains(text, password) {
			t.Errorf("%q: %s", before+password+rest, text)
		}
	})
}
