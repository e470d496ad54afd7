package csrf

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

// A token is the strict base64url without padding of
//
//	version 1 ‖ key id 4 ‖ pad 32 ‖ tag 32, masked with the pad
//
// where the tag is HMAC-SHA-256 over the ID of the session, or over that of the
// pre-login cookie, under a key of its own for each of the two. It is 92
// characters, and there is one spelling only.
//
// The pad is new in every response. Without it a page that is compressed and
// repeats something of its request would tell the token byte by byte (BREACH).
const (
	tokenVersion = 1
	padAt        = 1 + len(keyring.KeyID{})
	tagAt        = padAt + 32
	rawSize      = tagAt + 32
	tokenSize    = (rawSize*8 + 5) / 6
)

var encoding = base64.RawURLEncoding.Strict()

// makeToken makes a token for what id names.
func makeToken(p *keyring.Purpose, id []byte) string {
	key, tag := p.Sign(id)
	var raw [rawSize]byte
	raw[0] = tokenVersion
	copy(raw[1:], key[:])
	rand.Read(raw[padAt:tagAt])
	subtle.XORBytes(raw[tagAt:], raw[padAt:tagAt], tag[:])
	return encoding.EncodeToString(raw[:])
}

// isToken reports a token that makeToken made for what id names. The tags are
// compared in constant time.
func isToken(p *keyring.Purpose, id []byte, token string) bool {
	if len(token) != tokenSize {
		return false
	}
	var raw [rawSize]byte
	if n, err := encoding.Decode(raw[:], []byte(token)); err != nil || n != rawSize || raw[0] != tokenVersion {
		return false
	}
	subtle.XORBytes(raw[tagAt:], raw[padAt:tagAt], raw[tagAt:])
	return p.Verify(keyring.KeyID(raw[1:padAt]), id, raw[tagAt:])
}

// The pre-login cookie is the strict base64url without padding of
//
//	salt 16 ‖ sealed: id 16 ‖ expiry in milliseconds since 1970, 8, big-endian
//
// where the seal is keyring's, with AES-256-GCM and a version of its own, under a
// key that is derived with the salt: anybody may ask for any number of these
// cookies, and random nonces are good for 2³² messages a key. The ID is random
// too; nothing is stored under it.
const (
	saltSize     = 16
	cookieIDSize = 16
	plainSize    = cookieIDSize + 8
	boxSize      = saltSize + plainSize + 33 // keyring.Purpose.Seal
	cookieSize   = (boxSize*8 + 5) / 6
)

// cookieLifetime is how long a pre-login cookie is good for. In its last hour a
// page gets a new one, so that every form can be sent for an hour at least.
const (
	cookieLifetime = 24 * time.Hour
	cookieRest     = time.Hour
)

// maxCookies is how many pre-login cookies a request may carry. A browser sends one,
// or two where another host has planted one; beyond the bound none counts.
const maxCookies = 4

// cookieID names a pre-login cookie; the zero cookieID names none.
type cookieID [cookieIDSize]byte

// sealCookie makes a pre-login cookie.
func (p *Protection) sealCookie(id cookieID, expires time.Time) string {
	plain := binary.BigEndian.AppendUint64(id[:], uint64(expires.UnixMilli()))
	salt := make([]byte, saltSize, boxSize)
	rand.Read(salt)
	return encoding.EncodeToString(append(salt, p.cookies.SealFor(salt, plain, nil)...))
}

// openCookie is false for whatever sealCookie has not made.
func (p *Protection) openCookie(value string) (id cookieID, expires time.Time, ok bool) {
	if len(value) != cookieSize {
		return id, expires, false
	}
	box, err := encoding.DecodeString(value)
	if err != nil || len(box) != boxSize {
		return id, expires, false
	}
	plain, err := p.cookies.OpenFor(box[:saltSize], box[saltSize:], nil)
	if err != nil || len(plain) != plainSize {
		return id, expires, false
	}
	copy(id[:], plain)
	return id, time.UnixMilli(int64(binary.BigEndian.Uint64(plain[cookieIDSize:]))), true
}

// readCookie returns what the request's pre-login cookie names. As with sessions,
// a valid one beside others that are not is taken, and of two different valid ones
// none.
func (p *Protection) readCookie(r *http.Request) (id cookieID, expires time.Time) {
	now, found := time.Now(), false
	for i, c := range r.CookiesNamed(p.cookieName) {
		if i == maxCookies {
			return cookieID{}, time.Time{}
		}
		got, until, ok := p.openCookie(c.Value)
		if !ok || c.Quoted || !now.Before(until) {
			continue
		}
		if found && got != id {
			return cookieID{}, time.Time{}
		}
		id, expires, found = got, until, true
	}
	return id, expires
}

// issueCookie sets a new pre-login cookie, which ends with the browser.
func (p *Protection) issueCookie(h http.Header) cookieID {
	var id cookieID
	rand.Read(id[:])
	c := p.m.Cookie(p.name, p.sealCookie(id, time.Now().Add(cookieLifetime)))
	if c.SameSite != http.SameSiteNoneMode {
		// No other site has business with it. A program that asked for None lives
		// in frames of other sites, where a Strict cookie would never be sent.
		c.SameSite = http.SameSiteStrictMode
	}
	h.Add("Set-Cookie", c.String())
	return id
}
