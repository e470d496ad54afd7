package redisstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// A record is one string, so that a read is one GET and a touch changes it in
// place. Numbers have a fixed width and are decimal: a script finds them without
// parsing what stands before them, and an operator can read them.
//
//	 0  kind     2  "R1": record, format 1
//	 2  version 20  in Lua only ever compared as text: a double ends at 2^53
//	22  seen    16  sign and milliseconds, as all times
//	38  expires 16
//	54  info     8  its length in bytes
//	62  created 16  ┐
//	78  deadline 16 │ what no update changes, in one piece
//	94  user    22  │ name of the user's index; see [userKey]
//	116 user     3  │ length of the user ID in bytes
//	119 user ID     ┘
//	    info, data
//
// A tombstone is "T1", the reason in 3 digits, and its time.
//
// Whatever begins with something else was written by another version of this
// program, or by somebody else. It counts as ended; see unreadableError.
const (
	kindRecord    = "R1"
	kindTombstone = "T1"

	offVersion, lenVersion = 2, 20
	offSeen, lenTime       = 22, 16
	offExpires             = 38
	offInfo, lenInfo       = 54, 8
	offCreated             = 62
	offDeadline            = 78
	offIndex, lenIndex     = 94, 22
	offUser, lenUser       = 116, 3
	lenHeader              = 119

	lenTombstone = 2 + 3 + lenTime

	maxInfo = 99_999_999
	maxTime = 999_999_999_999_999 // milliseconds: the year 33658
)

// nobody stands where a record without a user has the name of its index.
const nobody = "----------------------"

// errFormat says that a stored value is none of ours.
var errFormat = errors.New("not a record of a format that this version knows")

// userKey names the index of a user's sessions: 128 bits of a hash, since a key's
// name shows up where values do not, as in a log of slow commands. Two users who
// shared it would not see each other's sessions: every entry is compared with
// the whole user ID.
func userKey(userID string) string {
	if userID == "" {
		return nobody
	}
	h := sha256.New()
	h.Write([]byte("cloakroom user index"))
	h.Write([]byte(userID))
	var sum [sha256.Size]byte
	return base64.RawURLEncoding.EncodeToString(h.Sum(sum[:0])[:16])
}

// encode writes a record as it is stored, with the version that follows r.Version.
// No record reaches the last version, after which there is none: each is one write.
func encode(r *store.Record) ([]byte, error) {
	switch {
	case r.ID.IsZero():
		return nil, errors.New("no session has the zero ID")
	case len(r.UserID) > store.MaxUserID:
		return nil, fmt.Errorf("user ID of %d bytes, at most %d", len(r.UserID), store.MaxUserID)
	case len(r.Info) > maxInfo:
		return nil, fmt.Errorf("info of %d bytes, at most %d", len(r.Info), maxInfo)
	}
	expires := r.Expires
	if expires.After(r.Deadline) {
		expires = r.Deadline
	}
	b := make([]byte, 0, lenHeader+len(r.UserID)+len(r.Info)+len(r.Data))
	b = append(b, kindRecord...)
	b = appendUint(b, r.Version+1, lenVersion)
	var err error
	appendAt := func(t time.Time) {
		var e error
		if b, e = appendTime(b, t); e != nil {
			err = e
		}
	}
	appendAt(r.Seen)
	appendAt(expires)
	b = appendUint(b, uint64(len(r.Info)), lenInfo)
	appendAt(r.Created)
	appendAt(r.Deadline)
	b = append(b, userKey(r.UserID)...)
	b = appendUint(b, uint64(len(r.UserID)), lenUser)
	b = append(b, r.UserID...)
	b = append(b, r.Info...)
	return append(b, r.Data...), err
}

// decode reads what encode wrote. The slices of the record are those of b. Of a
// tombstone it returns ID and Ended beside store.ErrEnded; errFormat says that b
// is neither.
func decode(id store.ID, b []byte) (store.Record, error) {
	if bytes.HasPrefix(b, []byte(kindTombstone)) && len(b) == lenTombstone {
		return decodeTombstone(id, b)
	}
	if len(b) == 0 { // which no script can tell from a key that is not there
		return store.Record{}, store.ErrNotFound
	}
	if !bytes.HasPrefix(b, []byte(kindRecord)) || len(b) < lenHeader {
		return store.Record{}, errFormat
	}
	f := fields{ok: true}
	r := store.Record{
		ID: id, Version: f.uint(b[offVersion:][:lenVersion]),
		Created: f.time(b[offCreated:]), Seen: f.time(b[offSeen:]),
		Expires: f.time(b[offExpires:]), Deadline: f.time(b[offDeadline:]),
	}
	user, info := f.uint(b[offUser:][:lenUser]), f.uint(b[offInfo:][:lenInfo])
	if !f.ok || r.Version == 0 || uint64(len(b)-lenHeader) < user+info {
		return store.Record{}, errFormat
	}
	rest := b[lenHeader:]
	r.UserID = string(rest[:user])
	rest = rest[user:]
	r.Info, r.Data = rest[:info:info], rest[info:]
	return r, nil
}

func decodeTombstone(id store.ID, b []byte) (store.Record, error) {
	f := fields{ok: true}
	reason, at := f.uint(b[2:5]), f.time(b[5:])
	if !f.ok || reason == 0 || reason > math.MaxUint8 {
		return store.Record{}, errFormat
	}
	return store.Record{ID: id, Ended: store.Ended{Reason: store.Reason(reason), At: at}}, store.ErrEnded
}

// tombstone writes what is left of a session that has ended.
func tombstone(why store.Ended) (string, error) {
	if why.Reason == store.NotEnded {
		return "", errors.New("a session cannot end without a reason")
	}
	b := appendUint(append(make([]byte, 0, lenTombstone), kindTombstone...), uint64(why.Reason), 3)
	b, err := appendTime(b, why.At)
	return string(b), err
}

// appendUint appends n in decimal, with leading zeros.
func appendUint(b []byte, n uint64, width int) []byte {
	var digits [20]byte
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = byte('0' + n%10)
		n /= 10
	}
	return append(b, digits[len(digits)-width:]...)
}

// appendTime appends a time as sign and milliseconds since 1970, which Lua's
// tonumber reads exactly.
func appendTime(b []byte, t time.Time) ([]byte, error) {
	ms := t.UnixMilli()
	if ms > maxTime || ms < -maxTime {
		return b, fmt.Errorf("the year %d is too far away", t.Year())
	}
	if ms < 0 {
		return appendUint(append(b, '-'), uint64(-ms), lenTime-1), nil
	}
	return appendUint(append(b, '+'), uint64(ms), lenTime-1), nil
}

// text is a time as a script takes it.
func text(t time.Time) (string, error) {
	b, err := appendTime(make([]byte, 0, lenTime), t)
	return string(b), err
}

// keep is until when a key is kept whose time ends at t: as PXAT takes it, which
// refuses zero and less.
func keep(t time.Time) string {
	return strconv.FormatInt(max(1, t.Add(store.Slack).UnixMilli()), 10)
}

// fields reads fixed fields; ok falls once one of them is none.
type fields struct{ ok bool }

func (f *fields) uint(b []byte) uint64 {
	var n uint64
	for _, c := range b {
		d := uint64(c - '0')
		if c < '0' || c > '9' || n > (math.MaxUint64-d)/10 {
			f.ok = false
			return 0
		}
		n = n*10 + d
	}
	return n
}

func (f *fields) time(b []byte) time.Time {
	ms := int64(f.uint(b[1:lenTime]))
	switch b[0] {
	case '-':
		ms = -ms
	case '+':
	default:
		f.ok = false
	}
	return time.UnixMilli(ms).UTC()
}
