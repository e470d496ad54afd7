package cloakroom

import (
	"crypto/rand"
	"encoding/binary"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
)

// The values of the two cookies of a sealed session are the strict base64url
// without padding of
//
//	version 1 ‖ salt 16 ‖ sealed message
//
// The salt is random for each message, and the message is sealed under a key that
// follows from it and from the key ring, for this purpose, cookie name and
// audience: one key a message, so that random nonces never run out (ASVS 11.3.4).
// What is sealed into the session's cookie is
//
//	token 32 ‖ created 8 ‖ deadline 8 ‖ seen 8 ‖ expires 8 ‖ lineage ‖ user ‖ content
//
// with the lineage behind the number of its keys, which is a byte, the user behind its
// length and the content as in a record's Data; into the one with the times
//
//	seen 8 ‖ expires 8
//
// bound to the session's ID and lineage. There is one spelling of each value only.
const (
	labelSealed = "cloakroom sealed session v1"
	labelSeen   = "cloakroom sealed session seen v1"

	sealedVersion  = 1
	saltSize       = 16
	sealedHeader   = 1 + saltSize
	sealedOverhead = sealedHeader + 33 // and that of a sealed message

	// plainSize is that of a session without user, identity and values.
	plainSize = tokenSize + 4*8 + 1 + 1 + 10

	// identityRoom is kept free of values, for the user's ID, method, epoch and roles:
	// whoever has filled a session can still sign in, and be given a role.
	identityRoom = 512

	// deadlineSlack is how far clocks may differ. Tombstones last as much longer.
	deadlineSlack = time.Hour

	seenSize     = 2 * 8
	seenCharsLen = ((sealedOverhead+seenSize)*8 + 5) / 6
)

// carrier makes and reads the cookies of sealed sessions.
type carrier struct {
	keys          *keyring.Ring
	session, idle *keyring.Purpose
	seenName      string
	room          int // characters of a value
}

// carried is the session that a cookie has brought.
type carried struct {
	rec     store.Record // Data is the cookie's value, decoded
	content content
	keys    [4]keyring.KeyID // where the lineage has room, of few keys
}

// seal returns what goes into the cookie of a session, and adds the key to the lineage
// in what.
func (c *carrier) seal(t *token, r *store.Record, what *content) []byte {
	by := c.keys.Active()
	for {
		plain := make([]byte, 0, plainSize+len(r.UserID)+len(what.identity)+2+len(what.values)+len(what.lineage)*len(by))
		plain = append(plain, t[:]...)
		for _, at := range []time.Time{r.Created, r.Deadline, r.Seen, r.Expires} {
			plain = appendTime(plain, at)
		}
		plain = appendBytes(what.lineage.appendTo(plain, by), r.UserID)
		data := sealMessage(c.session, appendContent(plain, what), nil)
		used, _ := c.sealedBy(data)
		if used == by {
			what.lineage = what.lineage.with(by)
			return data
		}
		by = used // the ring was replaced in between
	}
}

// size returns how many characters seal makes of a session, encoded, with room for its
// lineage to grow.
func (c *carrier) size(user string, what *content, v values) int {
	var length [binary.MaxVarintLen64]byte
	n := plainSize + len(user) + len(what.identity) + len(v) - 2 + what.lineage.size(c.keys.Active())
	n += binary.PutUvarint(length[:], uint64(len(user))) + binary.PutUvarint(length[:], uint64(len(what.identity)))
	return encoding.EncodedLen(sealedOverhead + n)
}

// open refuses by shape first, then by key and seal, then what no tombstone would
// outlast, and then what a key has been at that is accepted no more.
func (c *carrier) open(value string) (b bearer, ok bool) {
	if len(value) > maxCookie {
		return b, false
	}
	data, plain, ok := openMessage(c.session, value, nil)
	b.key, _ = c.sealedBy(data)
	if !ok || len(plain) < plainSize {
		return b, false
	}
	b.carried = &carried{}
	r := &b.carried.rec
	rest := plain[copy(b.token[:], plain):]
	for _, at := range []*time.Time{&r.Created, &r.Deadline, &r.Seen, &r.Expires} {
		*at, rest = takeTime(rest)
	}
	if r.Deadline.After(time.Now().Add(maxLifetime+deadlineSlack)) || r.Expires.After(r.Deadline) {
		return b, false // we never made it: whoever did has, or had, our keys
	}
	keys, rest, err := takeLineage(b.carried.keys[:0], rest, b.key)
	if err != nil {
		return b, false
	}
	for _, id := range keys {
		if !c.keys.Accepts(id) {
			b.key = id
			return b, false
		}
	}
	user, rest, err := takeBytes(rest)
	if err != nil {
		return b, false
	}
	if b.carried.content, err = parseContent(rest); err != nil {
		return b, false
	}
	b.carried.content.lineage = keys
	r.ID, r.Version, r.UserID, r.Data = b.token.id(), 1, string(user), data
	return b, true
}

// sealedBy returns the key that a decoded value names.
func (c *carrier) sealedBy(data []byte) (keyring.KeyID, bool) {
	return keyring.SealedBy(data[min(len(data), sealedHeader):])
}

// seen returns the value of the second cookie, the times of a session, and whether it is
// one that readSeen takes.
func (c *carrier) seen(r *store.Record, keys lineage) (value string, ok bool) {
	var ad [seenBindingSize]byte
	plain := appendTime(appendTime(make([]byte, 0, seenSize), r.Seen), r.Expires)
	data := sealMessage(c.idle, plain, seenBinding(ad[:0], r, keys))
	by, _ := c.sealedBy(data)
	return encoding.EncodeToString(data), keys.has(by)
}

// seenBinding appends the additional data of the second cookie's seal. With the lineage
// in it, what a key has said of a session is worth nothing for a state of it that the
// key never was at.
func seenBinding(dst []byte, r *store.Record, keys lineage) []byte {
	dst = append(dst, r.ID[:]...)
	for _, id := range keys {
		dst = append(dst, id[:]...)
	}
	return dst
}

// seenBindingSize is enough for a binding with a lineage of usual length.
const seenBindingSize = len(store.ID{}) + 4*len(keyring.KeyID{})

// readSeen moves the times of a session forward to those that a second cookie says,
// as a store's Touch does. One of another session, an old one and a forged one say
// nothing; nor does one under a key that is not of the session's lineage, which else
// would be used beyond the end of the key.
func (c *carrier) readSeen(lines []string, r *store.Record, keys lineage) {
	var ad [seenBindingSize]byte
	binding := seenBinding(ad[:0], r, keys)
	seen := 0
	for _, line := range lines {
		for line != "" {
			var value string
			var ok bool
			if value, line, ok = nextCookie(line, c.seenName); !ok {
				continue
			}
			if seen++; seen > maxCandidates {
				return
			}
			if len(value) != seenCharsLen {
				continue
			}
			data, plain, ok := openMessage(c.idle, value, binding)
			if by, _ := c.sealedBy(data); !ok || len(plain) != seenSize || !keys.has(by) {
				continue
			}
			at, rest := takeTime(plain)
			expires, _ := takeTime(rest)
			if at.After(r.Seen) {
				r.Seen = at
			}
			if expires.After(r.Deadline) {
				expires = r.Deadline
			}
			if expires.After(r.Expires) {
				r.Expires = expires
			}
		}
	}
}

// sealMessage seals under a key of this message's own.
func sealMessage(p *keyring.Purpose, plain, ad []byte) []byte {
	var header [sealedHeader]byte
	header[0] = sealedVersion
	rand.Read(header[1:])
	sealed := p.SealFor(header[1:], plain, append(header[:1:1], ad...))
	return append(header[:], sealed...)
}

// openMessage returns the decoded value and the message in it.
func openMessage(p *keyring.Purpose, value string, ad []byte) (data, plain []byte, ok bool) {
	data, err := encoding.DecodeString(value)
	// The decoder steps over line ends: these are another spelling.
	if err != nil || encoding.EncodedLen(len(data)) != len(value) || len(data) < sealedOverhead || data[0] != sealedVersion {
		return nil, nil, false
	}
	plain, err = p.OpenFor(data[1:sealedHeader], data[sealedHeader:], append(data[:1:1], ad...))
	return data, plain, err == nil
}

func appendTime(dst []byte, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(unixMilli(t)))
}

func takeTime(src []byte) (time.Time, []byte) {
	return milliTime(int64(binary.BigEndian.Uint64(src))), src[8:]
}
