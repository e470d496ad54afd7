package cloakroom

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
)

// A cookie's value is the strict base64url without padding of
//
//	version 1 ‖ key id 4 ‖ token 32 ‖ tag 16
//
// where the tag is HMAC-SHA-256 over all before it, cut to 16 bytes, under a key
// that is derived for this purpose, cookie name and audience. It is 71
// characters, and there is one spelling only.
const (
	cookieVersion = 1
	tokenSize     = 32
	tagSize       = 16
	signedSize    = 1 + len(keyring.KeyID{}) + tokenSize
	rawSize       = signedSize + tagSize
	cookieSize    = (rawSize*8 + 5) / 6
)

// maxCandidates is how many cookies of the session's name a request may carry. A
// browser sends one, or two when another host has planted one; beyond the bound no
// cookie is a session.
const maxCandidates = 8

// token is the secret in a browser's cookie: 256 bits from crypto/rand, which
// ends the program rather than return without randomness (ASVS 7.2.3).
type token [tokenSize]byte

func newToken() token {
	var t token
	rand.Read(t[:])
	return t
}

// id is the name under which the store knows the session.
func (t *token) id() store.ID { return sha256.Sum256(t[:]) }

var encoding = base64.RawURLEncoding.Strict()

// encodeCookie signs a token with the active key.
func (m *Manager) encodeCookie(t *token) string {
	var raw [rawSize]byte
	signed := append(raw[:0], cookieVersion)
	key := m.keys.Active()
	for {
		signed = append(append(signed[:1], key[:]...), t[:]...)
		by, tag := m.cookie.Sign(signed)
		if by == key {
			return encoding.EncodeToString(append(signed, tag[:tagSize]...))
		}
		key = by // the ring was replaced in between
	}
}

// decodeCookie refuses by shape first and by signature then.
func (m *Manager) decodeCookie(value string) (t token, key keyring.KeyID, ok bool) {
	if len(value) != cookieSize {
		return t, key, false
	}
	var text [cookieSize]byte
	var raw [rawSize]byte
	copy(text[:], value)
	if n, err := encoding.Decode(raw[:], text[:]); err != nil || n != rawSize || raw[0] != cookieVersion {
		return t, key, false
	}
	copy(key[:], raw[1:])
	if !m.cookie.Verify(key, raw[:signedSize], raw[signedSize:]) {
		return t, key, false
	}
	copy(t[:], raw[1+len(key):])
	return t, key, true
}

// bearer is what a valid cookie says.
type bearer struct {
	token   token
	key     keyring.KeyID
	carried *carried // the session itself, if the cookie carries it
}

// decode opens a cookie of either kind. A Manager takes one kind alone: there is no
// other decoder for what the first has refused.
func (m *Manager) decode(value string) (b bearer, ok bool) {
	if m.sealed != nil {
		return m.sealed.open(value)
	}
	b.token, b.key, ok = m.decodeCookie(value)
	return b, ok
}

// newer reports whether b is the state of a sealed session that was written after o.
func (b *bearer) newer(o *bearer) bool {
	return b.carried != nil && b.carried.rec.Seen.After(o.carried.rec.Seen)
}

// presented is what a request's Cookie header holds under our name.
type presented struct {
	bearer
	valid   int // sessions that valid cookies name; exactly one is a session
	seen    int
	retired bool     // one that is not valid names a key of ours that is accepted no more
	ends    []ending // of the valid ones, if there are several
}

// ending is what is known of a session that a valid cookie named, and that made none.
type ending struct {
	id       store.ID
	deadline time.Time // zero if nobody here knows
	by       endedBy
}

// endedBy says what ends such a session. Whatever comes later ends it as well.
type endedBy uint8

const (
	byNewCookie endedBy = iota // any that takes the cookie's place: nobody could end it any more
	byLogin
	byEnd // nothing else: perhaps the next request can use it
)

// ending returns that of the session which a valid cookie names.
func (b *bearer) ending(by endedBy) ending {
	if b.carried != nil {
		return ending{b.carried.rec.ID, b.carried.rec.Deadline, by}
	}
	return ending{id: b.token.id(), by: by}
}

// readCookie looks at every cookie of our name. A valid one beside others that
// are not is taken, so that a planted one locks nobody out; of two valid ones
// none is, since the order says nothing about who set them, unless they are two
// states of one sealed session: there it is the one written last. It reads the header
// by itself: net/http would take other spellings of the name for ours and
// allocates (RFC 6265bis §5.7 says what a browser sends).
func (m *Manager) readCookie(lines []string) (p presented) {
	for _, line := range lines {
		for line != "" {
			var value string
			var ok bool
			if value, line, ok = nextCookie(line, m.opts.CookieName); !ok {
				continue
			}
			if p.seen++; p.seen > maxCandidates {
				if p.valid == 1 {
					p.ends = append(p.ends, p.ending(byLogin))
				}
				p.valid = 2 // whoever sent so many wanted one of them not to be seen
				return p
			}
			b, ok := m.decode(value)
			if !ok {
				p.retired = p.retired || m.keys.Has(b.key) && !m.accepts(b.key)
				continue
			}
			if p.valid > 0 && b.token == p.token {
				if b.newer(&p.bearer) {
					p.bearer = b
				}
				continue
			}
			if p.valid++; p.valid == 2 {
				p.ends = append(p.ends, p.ending(byLogin))
			}
			if p.valid > 1 {
				p.ends = append(p.ends, b.ending(byLogin))
			}
			p.bearer = b
		}
	}
	return p
}

// nextCookie takes the first pair off a Cookie line, and reports whether it has
// the name.
func nextCookie(line, name string) (value, rest string, ok bool) {
	pair, rest, _ := strings.Cut(line, ";")
	got, value, ok := strings.Cut(strings.Trim(pair, " \t"), "=")
	return value, rest, ok && got == name
}

// setCookie writes a cookie of a session that ends at the deadline.
func (m *Manager) setCookie(h http.Header, name, value string, deadline time.Time) {
	c := name + "=" + value + m.attributes
	if m.opts.Persistent {
		c += maxAge + strconv.FormatInt(max(1, int64(time.Until(deadline)/time.Second)), 10)
	}
	// In front of what handlers set: there are clients that look at the first cookie.
	set := h["Set-Cookie"]
	at := 0
	for at < len(set) && strings.HasPrefix(set[at], m.opts.CookieName) {
		at++
	}
	h["Set-Cookie"] = slices.Insert(set, at, c)
}

// expireCookie takes a cookie back.
func (m *Manager) expireCookie(h http.Header, name string) {
	h.Add("Set-Cookie", name+"="+m.attributes+maxAge+"0")
}

const maxAge = "; Max-Age="

// attributes returns the text behind every value of the session's cookie.
func (o *Options) attributes() string {
	c := o.cookie("x", "")
	return strings.TrimPrefix(c.String(), "x=")
}

func (o *Options) cookie(name, value string) *http.Cookie {
	return &http.Cookie{
		Name: name, Value: value, Path: o.Path, Domain: o.Domain, HttpOnly: true,
		Secure: !o.Insecure, SameSite: o.SameSite, Partitioned: o.Partitioned,
	}
}

// Cookie returns a cookie with the Path, Domain and other attributes of the
// session's, for packages that need one of their own. Where the session's name
// has the prefix __Host- or __Secure-, so has this.
func (m *Manager) Cookie(name, value string) *http.Cookie {
	for _, prefix := range []string{"__Host-", "__Secure-"} {
		if strings.HasPrefix(m.opts.CookieName, prefix) {
			name = prefix + name
		}
	}
	return m.opts.cookie(name, value)
}
