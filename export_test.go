package cloakroom

import (
	"context"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// What tests in package cloakroom_test reach of the inside.

// WithDeadline returns the context that bounds a call of the store, and what
// releases it.
func WithDeadline(parent context.Context, d time.Duration) (ctx context.Context, release func()) {
	c := withDeadline(parent, d)
	return c, c.release
}

// EncodeCookie returns the value of the cookie of a token.
func (m *Manager) EncodeCookie(raw [32]byte) string {
	t := token(raw)
	return m.encodeCookie(&t)
}

// Content is what lies in a record, opened.
type Content struct {
	AuthTime time.Time
	Identity Identity
	Values   map[string]string // name to JSON
}

// OpenRecord opens the Data and Info of a record.
func (m *Manager) OpenRecord(raw [32]byte, r store.Record) (Content, Info, error) {
	t := token(raw)
	c, err := m.seal.openData(&t, &r)
	if err != nil {
		return Content{}, Info{}, err
	}
	info, err := m.seal.openInfo(&r)
	return c.exported(r.UserID), info, err
}

// ParseContent parses the opened Data of a user's record.
func ParseContent(userID string, plain []byte) (Content, error) {
	c, err := parseContent(plain)
	if err != nil {
		return Content{}, err
	}
	return c.exported(userID), nil
}

func (c *content) exported(userID string) Content {
	out := Content{AuthTime: c.authTime, Identity: decodeIdentity(userID, c.identity), Values: map[string]string{}}
	for rest := c.values; len(rest) > 0; {
		var name, val []byte
		name, val, rest = next(rest)
		out.Values[string(name)] = string(val)
	}
	return out
}

// SealRecord seals plain bytes as the Data of a record, whatever they are.
func (m *Manager) SealRecord(raw [32]byte, r store.Record, plain []byte) []byte {
	return m.seal.data.SealFor(raw[:], plain, binding(nil, &r))
}

// SealInfo seals plain bytes as the Info of a record, whatever they are.
func (m *Manager) SealInfo(r store.Record, plain []byte) []byte {
	return m.seal.info.SealFor(r.ID[:], plain, binding(nil, &r))
}

// NewToken returns a token as sessions get them.
func NewToken() [32]byte { return newToken() }

// OpenSealed opens the cookie of a sealed session.
func (m *Manager) OpenSealed(value string) (store.Record, Content, bool) {
	b, ok := m.sealed.open(value)
	if !ok {
		return store.Record{}, Content{}, false
	}
	return b.carried.rec, b.carried.content.exported(b.carried.rec.UserID), true
}

// SealPlain seals any bytes as the cookie of a sealed session.
func (m *Manager) SealPlain(plain []byte) string {
	return encoding.EncodeToString(sealMessage(m.sealed.session, plain, nil))
}

// SealSeen returns the second cookie of a sealed session.
func (m *Manager) SealSeen(id store.ID, seen, expires time.Time) string {
	value, _ := m.sealed.seen(&store.Record{ID: id, Seen: seen, Expires: expires}, lineage{m.keys.Active()})
	return value
}

// DecodeCookie tells whether a value is a valid cookie's.
func (m *Manager) DecodeCookie(value string) bool {
	_, _, ok := m.decodeCookie(value)
	return ok
}
