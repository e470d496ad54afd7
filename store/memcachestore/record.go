package memcachestore

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// The items. Each begins with the version of its format and with what it is; all
// numbers are big endian, all times milliseconds since 1970. There is one
// encoding of each value, and nothing else is read.
//
//	live       1 ‖ 1 ‖ version 8 ‖ created 8 ‖ seen 8 ‖ expires 8 ‖ deadline 8 ‖ listed 8
//	           ‖ length 1 ‖ user ‖ length 4 ‖ info ‖ data
//	tombstone  1 ‖ 2 ‖ reason 1 ‖ at 8 ‖ until 8
//	index      1 ‖ 3 ‖ length 1 ‖ user ‖ (id 32 ‖ added 8 ‖ deadline 8)…
//	registry   1 ‖ 4 ‖ (length 1 ‖ id ‖ last used 8)…
const (
	format = 1

	kindLive      = 1
	kindTombstone = 2
	kindIndex     = 3
	kindRegistry  = 4
)

// errUnreadable says that an item is none of ours, or of another version.
var errUnreadable = errors.New("the item has an unknown format")

// A session is what stands under the ID of one.
type session struct {
	store.Record
	listed time.Time // when the entry in the user's list was seen last, by Record.Seen; zero of nobody's
	until  time.Time // of a tombstone
}

// ended tells a tombstone.
func (e *session) ended() bool { return e.Ended.Reason != store.NotEnded }

// encode writes a live record.
func (e *session) encode() []byte {
	b := make([]byte, 0, 2+6*8+1+len(e.UserID)+4+len(e.Info)+len(e.Data))
	b = append(b, format, kindLive)
	b = binary.BigEndian.AppendUint64(b, e.Version)
	for _, t := range []time.Time{e.Created, e.Seen, e.Expires, e.Deadline, e.listed} {
		b = appendTime(b, t)
	}
	b = append(b, byte(len(e.UserID)))
	b = append(b, e.UserID...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(e.Info)))
	b = append(b, e.Info...)
	return append(b, e.Data...)
}

// encodeTombstone writes a tombstone.
func encodeTombstone(why store.Ended, until time.Time) []byte {
	b := []byte{format, kindTombstone, byte(why.Reason)}
	b = appendTime(b, why.At)
	return appendTime(b, until)
}

// decodeSession reads what stands under id: a live record, whose Info and Data
// are parts of b, or a tombstone.
func decodeSession(id store.ID, b []byte) (session, error) {
	e := session{Record: store.Record{ID: id}}
	d := decoder{b: b}
	switch kind := d.begin(); kind {
	case kindLive:
		e.Version = d.uint64()
		e.Created, e.Seen, e.Expires, e.Deadline, e.listed = d.time(), d.time(), d.time(), d.time(), d.time()
		e.UserID = string(d.bytes(int(d.byte())))
		e.Info = d.bytes(int(d.uint32()))
		e.Data = d.bytes(len(d.b))
		if e.Version == 0 || e.Expires.After(e.Deadline) {
			d.bad = true
		}
	case kindTombstone:
		e.Ended.Reason = store.Reason(d.byte())
		e.Ended.At, e.until = d.time(), d.time()
		if !e.ended() || len(d.b) > 0 {
			d.bad = true
		}
	default:
		d.bad = true
	}
	if d.bad {
		return session{}, errUnreadable
	}
	return e, nil
}

// An entry of the list of a user's sessions.
type entry struct {
	id              store.ID
	added, deadline int64 // milliseconds
}

const entrySize = 32 + 8 + 8

// encodeIndex writes the list of a user's sessions.
func encodeIndex(userID string, list []entry) []byte {
	b := make([]byte, 0, 3+len(userID)+len(list)*entrySize)
	b = append(b, format, kindIndex, byte(len(userID)))
	b = append(b, userID...)
	for _, e := range list {
		b = append(b, e.id[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(e.added))
		b = binary.BigEndian.AppendUint64(b, uint64(e.deadline))
	}
	return b
}

// decodeIndex reads the list of a user's sessions.
func decodeIndex(userID string, b []byte) ([]entry, error) {
	d := decoder{b: b}
	kind := d.begin()
	name := string(d.bytes(int(d.byte())))
	if kind != kindIndex || d.bad || name != userID || len(d.b)%entrySize != 0 {
		return nil, errUnreadable
	}
	list := make([]entry, 0, len(d.b)/entrySize+1) // one is mostly added
	for len(d.b) > 0 {
		var e entry
		copy(e.id[:], d.bytes(len(e.id)))
		e.added, e.deadline = int64(d.uint64()), int64(d.uint64())
		list = append(list, e)
	}
	return list, nil
}

// encodeRegistry writes the ids of keys.
func encodeRegistry(keys []store.KnownKey) []byte {
	b := []byte{format, kindRegistry}
	for _, k := range keys {
		b = append(b, byte(len(k.ID)))
		b = append(b, k.ID...)
		b = appendTime(b, k.LastUsed)
	}
	return b
}

// decodeRegistry reads the ids of keys.
func decodeRegistry(b []byte) ([]store.KnownKey, error) {
	d := decoder{b: b}
	if d.begin() != kindRegistry {
		return nil, errUnreadable
	}
	var keys []store.KnownKey
	for len(d.b) > 0 && !d.bad {
		id := string(d.bytes(int(d.byte())))
		keys = append(keys, store.KnownKey{ID: id, LastUsed: d.time()})
		if id == "" || len(id) > maxKeyID {
			d.bad = true
		}
	}
	if d.bad {
		return nil, errUnreadable
	}
	return keys, nil
}

// appendTime writes a time in milliseconds.
func appendTime(b []byte, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(t.UnixMilli()))
}

// A decoder reads from the front of b. Behind the end it reads zeros, and is bad.
type decoder struct {
	b   []byte
	bad bool
}

// bytes returns the next n bytes, which are a part of b.
func (d *decoder) bytes(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.bad, d.b = true, nil
		return nil
	}
	head := d.b[:n:n]
	d.b = d.b[n:]
	return head
}

func (d *decoder) byte() byte {
	if b := d.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uint32() uint32 {
	if b := d.bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if b := d.bytes(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) time() time.Time { return time.UnixMilli(int64(d.uint64())).UTC() }

// begin reads the version of the format and returns what the item is, 0 for an
// unknown version.
func (d *decoder) begin() byte {
	version, kind := d.byte(), d.byte()
	if version != format {
		d.bad = true
		return 0
	}
	return kind
}
