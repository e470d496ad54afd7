package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/cloakroom-dev/cloakroom/store"
)

// Sentences that several cases prove.
const (
	saysMaxData   = "MaxData is the size in bytes up to which a store takes Data."
	saysMaxUserID = "MaxUserID is the longest UserID in bytes."
	saysOpaque    = "it cannot read what it keeps"
	saysName      = "ID names a session: the SHA-256 of its token."
)

func valueCases() []testCase {
	return []testCase{
		{"Values/A52_Sizes", []string{saysMaxData,
			"one that takes less says so in its package comment and answers with an error"}, 0, sizes},
		{"Values/A51_AnyBytes", []string{saysOpaque}, 0, func(p *probe) {
			var all []byte
			for i := range 256 {
				all = append(all, byte(i))
			}
			for _, b := range [][]byte{
				nil, {}, {0}, {0, 0}, []byte("\x00a"), []byte("a\x00"), []byte("a\x00b"), all,
				[]byte("\xff\xfe"), []byte("\xc3\x28"), []byte("' OR 1=1 --"), []byte(`\x41`), []byte("NULL"),
				[]byte(`{"json":1}`), []byte("$1 ? :a %s"), []byte("\r\n END\r\n"), []byte(" "), []byte("0"),
			} {
				r := p.record("user")
				r.Data, r.Info = b, all
				r = p.put(r)
				p.stored(r)
				r.Data, r.Info = all, b
				p.stored(p.put(r))
			}
		}},
		{"Values/UserIDs", []string{saysMaxUserID, `"" before login; opaque, immutable, at most MaxUserID bytes`}, 0, userIDs},
		{"Values/A52_OddUserIDs", []string{`"" before login; opaque, immutable, at most MaxUserID bytes`}, 0, func(p *probe) {
			// A store that cannot keep these refuses them. It keeps none of them in
			// part, as then two users would be one.
			plain := p.create("user")
			for _, userID := range []string{"user\x00", "user\x00name", "\x00", "user\xff", "\xc3\x28",
				strings.Repeat("u", store.MaxUserID+1), strings.Repeat("ü", 1000)} {
				r := p.record(userID)
				if err := p.Put(p.ctx, r); err != nil {
					p.Logf("a UserID of %s is refused: %v", quote([]byte(userID)), err)
					p.unknown(r.ID)
					continue
				}
				r.Version = 1
				p.stored(r)
			}
			p.onlyOf("user", plain)
		}},
	}
}

func idCases() []testCase {
	return []testCase{
		{"IDs/A08_OneBit", []string{saysName}, 0, func(p *probe) {
			base := p.create("user")
			var list []store.Record
			for bit := range 256 {
				r := p.record("user")
				r.ID = base.ID
				r.ID[bit/8] ^= 1 << (bit % 8)
				list = append(list, p.put(r))
			}
			p.end(base.ID, store.Logout)
			for _, r := range list {
				p.stored(r)
			}
		}},
		{"IDs/A08_OddBytes", []string{saysName}, 0, func(p *probe) {
			var list []store.Record
			for i, text := range []string{
				"\x00\x01", "\x01\x00", "a\x00b", "a\x00c", "A\x00b", "a b", "a  b", "a%", "a_", "a*", "../../etc", "a:b", "a\r\n", "a\n",
				"\xff\xff", "\xff\xfe", "é", "e\u0301", "É", strings.Repeat("\xff", 32), strings.Repeat(" ", 32), "a' --", `a"`,
			} {
				r := p.record("user")
				r.ID = store.ID{}
				copy(r.ID[:], text)
				r.Data = fmt.Appendf(nil, "record %d", i)
				list = append(list, p.put(r))
			}
			for _, r := range list {
				p.stored(r)
			}
			for i, r := range list {
				p.end(r.ID, store.Logout)
				for _, other := range list[i+1:] {
					p.stored(other)
				}
			}
		}},
	}
}

// sizes puts small and large values, as create and as update, and reads them.
func sizes(p *probe) {
	random := rand.NewChaCha8([32]byte{1})
	limit := store.MaxData
	for _, size := range []int{0, 1, 100, 4 << 10, 8000, 16 << 10, 64 << 10, 1<<16 + 1, store.MaxData - 1, store.MaxData} {
		b := make([]byte, size)
		random.Read(b)
		small, large := p.create("user"), p.record("user")
		large.Data = b
		update := small
		update.Data = b
		if err := errors.Join(p.Put(p.ctx, large), p.Put(p.ctx, update)); err != nil {
			p.Logf("%d bytes are refused: %v", size, err)
			limit = min(limit, size)
			p.stored(small)
			p.unknown(large.ID)
			continue
		}
		if size > limit {
			p.Errorf("%d bytes are taken, but %d were refused", size, limit)
		}
		large.Version, update.Version = 1, 2
		p.stored(large)
		p.stored(update)
		update.Data, update.Info = nil, bytes.Repeat([]byte{0}, min(size, 4<<10)) // back to nothing
		p.stored(p.put(update))
	}
}

// userIDs puts the names that a program may well have.
func userIDs(p *probe) {
	names := []string{
		"a", "A", "ä", "a\u0308", "Ä", "ａ", "a ", " a", "a  ", "a\t", "a\n", "aa", "ab", "a%", "a_", "a*", "a?", "a:", "a:b",
		"a'", `a"`, `a\`, `a\'`, "a--", "a;", "a/b", "a/../b", "0", "00", "1e3", "true", "null", "NULL", "\x01", "\x7f",
		"ß", "ss", "ı", "i", "I", "K", "k", "\u212a", "😀", "日本語", "\u200b", "a\u200b", "\u202ea", "\ufeffa",
		"alice@example.com", "Alice@example.com", "550e8400-e29b-41d4-a716-446655440000",
		strings.Repeat("x", store.MaxUserID-1), strings.Repeat("x", store.MaxUserID), strings.Repeat("x", store.MaxUserID-1) + "y",
		strings.Repeat("😀", store.MaxUserID/4), strings.Repeat("日", store.MaxUserID/3),
	}
	list := map[string]store.Record{}
	for _, name := range names {
		list[name] = p.create(name)
	}
	for _, name := range names {
		p.stored(list[name])
		p.onlyOf(name, list[name])
	}
	if p.users == nil {
		return
	}
	// Ending the one ends nobody else.
	for i, name := range names {
		why := store.Ended{Reason: store.Revoked, At: p.now}
		if n, err := p.users.EndUser(p.ctx, name, store.ID{}, why, p.now); n != 1 || err != nil {
			p.fatalf("EndUser(%q): %d, %v, want 1", name, n, err)
		}
		p.ended(list[name].ID, why)
		for _, other := range names[i+1:] {
			p.stored(list[other])
		}
	}
}

// onlyOf fails the case if a user's sessions are not the ones given. It asks
// nothing of a store that cannot list them.
func (p *probe) onlyOf(userID string, want ...store.Record) {
	p.Helper()
	if p.users == nil {
		return
	}
	list, err := p.users.ListUser(p.ctx, userID)
	if err != nil {
		p.fatalf("ListUser(%s): %v", quote([]byte(userID)), err)
	}
	p.sameList(fmt.Sprintf("ListUser(%s)", quote([]byte(userID))), list, want)
}

// sameList fails the case if two lists do not hold the same records, in any
// order. Data may be missing in those that the store returned.
func (p *probe) sameList(call string, got, want []store.Record) {
	p.Helper()
	left := map[store.ID]store.Record{}
	for _, r := range want {
		left[r.ID] = r
	}
	for _, r := range got {
		w, ok := left[r.ID]
		if !ok {
			p.Errorf("%s: a record too many, or twice: user %q, version %d", call, r.UserID, r.Version)
			continue
		}
		delete(left, r.ID)
		if r.Data == nil {
			w.Data = nil
		}
		if diff := differ(r, w); diff != "" {
			p.Errorf("%s: %s", call, diff)
		}
	}
	for _, r := range left {
		p.Errorf("%s: a record is missing: user %q, version %d", call, r.UserID, r.Version)
	}
	if p.Failed() {
		p.FailNow()
	}
}
