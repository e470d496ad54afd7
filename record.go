package cloakroom

import (
	"encoding/binary"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
)

// The labels under which keys are derived. They are part of the formats: another
// label is another key.
const (
	labelCookie = "cloakroom session cookie v1"
	labelData   = "cloakroom session data v1"
	labelInfo   = "cloakroom session info v1"
)

// recordVersion is the first byte of what is sealed into Data and Info.
const recordVersion = 1

// sealer turns what a session is into the bytes of a record and back.
//
// Data is sealed under a key that follows from the key ring and the token, so
// neither the store nor the key ring alone opens it. Info must open without the
// token, for lists: its key follows from the key ring and the ID. Both are bound
// to the record's ID, user, creation and deadline: a record that somebody has
// copied, given to another user or prolonged does not open.
//
// In a Manager of sealed sessions Data is what goes into the cookie, and there is
// no Info, as nobody could list it.
type sealer struct {
	data, info *keyring.Purpose
	sealed     *carrier // nil: sessions are stored
}

func newSealer(keys *keyring.Ring, audience string) sealer {
	return sealer{data: keys.Purpose(labelData, audience), info: keys.Purpose(labelInfo, audience)}
}

// binding appends the additional data of a record's seals.
func binding(dst []byte, r *store.Record) []byte {
	dst = append(dst, r.ID[:]...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.Created.UnixMilli()))
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.Deadline.UnixMilli()))
	return append(dst, r.UserID...)
}

// bindingSize is enough for a binding with a user ID of usual length.
const bindingSize = len(store.ID{}) + 16 + 64

// content is the opened Data of a record.
type content struct {
	authTime time.Time // of the proof of identity; zero before login
	identity []byte    // encoded Identity without UserID
	values   values
	lineage  lineage // of a sealed session: with the key that it is under
}

func (s sealer) sealData(t *token, r *store.Record, c *content) []byte {
	if s.sealed != nil {
		return s.sealed.seal(t, r, c)
	}
	plain := appendContent(make([]byte, 0, 9+len(c.identity)+2+len(c.values)), c)
	var ad [bindingSize]byte
	return s.data.SealFor(t[:], plain, binding(ad[:0], r))
}

func appendContent(dst []byte, c *content) []byte {
	dst = append(dst, recordVersion)
	dst = binary.BigEndian.AppendUint64(dst, uint64(unixMilli(c.authTime)))
	dst = appendBytes(dst, c.identity)
	return append(dst, c.values...)
}

// sealedBy returns the key under which a record's Data is sealed.
func (s sealer) sealedBy(r *store.Record) (keyring.KeyID, bool) {
	if s.sealed != nil {
		return s.sealed.sealedBy(r.Data)
	}
	return keyring.SealedBy(r.Data)
}

func (s sealer) openData(t *token, r *store.Record) (content, error) {
	if s.sealed != nil {
		return content{}, keyring.ErrOpen // a cookie is opened once, when it comes
	}
	var ad [bindingSize]byte
	plain, err := s.data.OpenFor(t[:], r.Data, binding(ad[:0], r))
	if err != nil {
		return content{}, err
	}
	return parseContent(plain)
}

func parseContent(plain []byte) (content, error) {
	if len(plain) < 9 || plain[0] != recordVersion {
		return content{}, errMalformed
	}
	c := content{authTime: milliTime(int64(binary.BigEndian.Uint64(plain[1:])))}
	var err error
	if c.identity, plain, err = takeBytes(plain[9:]); err != nil {
		return content{}, err
	}
	c.values = plain
	return c, errors.Join(checkIdentity(c.identity), c.values.check())
}

// Identity is who a proof of identity was given for.
type Identity struct {
	UserID string   // opaque and immutable, 1 to 255 bytes
	Epoch  uint64   // the user's epoch, as read before the proof was checked
	Method string   // how it was proven, such as "password"; lists show it
	Roles  []string // what the user held then; a guard renews the token when it changes
}

func (u *Identity) encode() []byte {
	if u.UserID == "" {
		return nil
	}
	b := binary.AppendUvarint(nil, u.Epoch)
	b = appendBytes(b, u.Method)
	for _, role := range u.Roles {
		b = appendBytes(b, role)
	}
	return b
}

// checkIdentity steps over what encode wrote.
func checkIdentity(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	_, size := binary.Uvarint(b)
	if size <= 0 || size == len(b) {
		return errMalformed
	}
	for rest := b[size:]; len(rest) > 0; {
		var err error
		if _, rest, err = takeBytes(rest); err != nil {
			return err
		}
	}
	return nil
}

// decodeIdentity reads what encode wrote and checkIdentity has found whole.
func decodeIdentity(userID string, b []byte) Identity {
	u := Identity{UserID: userID}
	if len(b) == 0 {
		return u
	}
	epoch, size := binary.Uvarint(b)
	u.Epoch = epoch
	method, rest, _ := takeBytes(b[size:])
	u.Method = string(method)
	for len(rest) > 0 {
		var role []byte
		role, rest, _ = takeBytes(rest)
		u.Roles = append(u.Roles, string(role))
	}
	return u
}

// Info is a session as a list shows it. A person knows it by its handle,
// [store.ID.Handle].
type Info struct {
	ID       store.ID
	Device   string // the User-Agent header at login, at most 256 bytes
	Address  string // where the login came from
	Method   string // how identity was proven; "" before login
	Created  time.Time
	Seen     time.Time // last activity, up to a tenth of the idle timeout late
	Expires  time.Time // the end of the idle time
	Deadline time.Time // the end of the session, whatever its visitor does
}

func (s sealer) sealInfo(r *store.Record, i *Info) []byte {
	if s.sealed != nil {
		return nil
	}
	plain := append(make([]byte, 0, 8+len(i.Device)+len(i.Address)+len(i.Method)), recordVersion)
	plain = appendBytes(plain, i.Device)
	plain = appendBytes(plain, i.Address)
	plain = appendBytes(plain, i.Method)
	return s.info.SealFor(r.ID[:], plain, binding(nil, r))
}

// openInfo returns what a list shows of a record. An Info that does not open
// leaves the texts empty: the session is still there, and must be seen to be ended.
func (s sealer) openInfo(r *store.Record) (Info, error) {
	i := Info{ID: r.ID, Created: r.Created, Seen: r.Seen, Expires: r.Expires, Deadline: r.Deadline}
	plain, err := s.info.OpenFor(r.ID[:], r.Info, binding(nil, r))
	if err != nil {
		return i, err
	}
	if len(plain) == 0 || plain[0] != recordVersion {
		return i, errMalformed
	}
	var fields [3][]byte
	rest := plain[1:]
	for n := range fields {
		if fields[n], rest, err = takeBytes(rest); err != nil {
			return i, err
		}
	}
	i.Device, i.Address, i.Method = string(fields[0]), string(fields[1]), string(fields[2])
	return i, nil
}

// clip cuts outside text to n bytes of valid UTF-8.
func clip(s string, n int) string {
	s = s[:min(len(s), n)]
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "")
}

// milli is the precision of all times: what is bound into a seal must come back
// from every store as it went in.
func milli(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

func unixMilli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func milliTime(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
