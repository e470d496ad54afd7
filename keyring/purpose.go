package keyring

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"hash"
	"sync"
	"sync/atomic"
	"time"
)

// ErrOpen is the error of [Purpose.Open] and [Purpose.OpenFor], whatever the
// reason: who tries forgeries learns nothing from it.
var ErrOpen = errors.New("keyring: sealed message cannot be opened")

const (
	// minTag is the shortest tag that Verify takes: 128 bits (ASVS 11.2.3).
	minTag = 16

	// minSecret is the shortest secret of SealFor: 128 bits (ASVS 11.2.3).
	minSecret = 16

	// A sealed message is version ‖ key id ‖ nonce ‖ ciphertext ‖ tag.
	sealVersion = 1
	headerSize  = 1 + len(KeyID{})
	nonceSize   = 12
	overhead    = headerSize + nonceSize + 16

	// maxScratch bounds the buffer that a pooled worker keeps for the next one.
	maxScratch = 4 << 10
)

// A Purpose signs and seals for one purpose in one context. It follows the ring
// it comes from, and is safe for concurrent use. Make it once and keep it: keys
// are derived at the first use after each change of the ring, which takes some
// tens of microseconds, and not again. It comes from [Ring.Purpose]; the zero
// Purpose has no ring, and using it panics. It must not be copied.
type Purpose struct {
	ring *Ring
	info string // label and context, each behind its length

	mu      sync.Mutex // one derives, the others wait
	derived atomic.Pointer[derivedSet]
}

// A derivedSet holds the keys of a purpose for one state of the ring.
type derivedSet struct {
	from *state
	keys []*derivedKey // the active one first
}

// A derivedKey is what one key of the ring is to one purpose. Three keys, so
// that the same bytes never go into two constructions.
type derivedKey struct {
	key  Key
	sign sync.Pool   // of *worker keyed for Sign
	data sync.Pool   // of *worker keyed for SealFor
	seal cipher.AEAD // for Seal
}

// A worker is a keyed HMAC with room to work in. What callers hand over is
// copied into buf before it goes through an interface, so that it does not
// escape and need not be allocated.
type worker struct {
	mac     hash.Hash
	buf     [128]byte
	sum     [sha256.Size]byte
	scratch []byte
}

// Purpose returns the handle for one purpose. The label says what for, such as
// "session cookie", and is fixed in the program; it must not be empty. The
// context says where: cookie name, audience and the like. Two purposes share
// keys only if label and all of context are equal, in number and order.
func (r *Ring) Purpose(label string, context ...string) *Purpose {
	if label == "" {
		panic("keyring: a purpose needs a label")
	}
	info := appendPrefixed(nil, label)
	for _, c := range context {
		info = appendPrefixed(info, c)
	}
	return &Purpose{ring: r, info: string(info)}
}

// appendPrefixed appends the length of s and s, so that ("ab", "c") and ("a",
// "bc") differ.
func appendPrefixed(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint64(b, uint64(len(s))), s...)
}

// current returns the keys for the present state of the ring.
func (p *Purpose) current() *derivedSet {
	st := p.ring.load()
	if d := p.derived.Load(); d != nil && d.from == st {
		return d
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	// The state may have moved on meanwhile: derive for the newest.
	st = p.ring.load()
	if d := p.derived.Load(); d != nil && d.from == st {
		return d
	}
	d := &derivedSet{from: st}
	for _, k := range st.keys {
		d.keys = append(d.keys, derive(k, p.info))
	}
	p.derived.Store(d)
	return d
}

// derive computes the keys that a key of the ring is to a purpose: HKDF-SHA-256
// (RFC 5869) with a fixed salt; info is the use and the purpose, all prefixed
// with their lengths.
func derive(k Key, info string) *derivedKey {
	expand := func(use string) []byte {
		info := string(appendPrefixed(nil, use)) + info
		// A secret of 32 bytes and an output of 32: hkdf has no error for these.
		out, err := hkdf.Key(sha256.New, k.secret[:], []byte("cloakroom keyring v1"), info, secretSize)
		if err != nil {
			panic("keyring: derive key: " + err.Error())
		}
		return out
	}
	d := &derivedKey{key: k}
	sign, data := expand("sign"), expand("data")
	d.sign.New = func() any { return &worker{mac: hmac.New(sha256.New, sign)} }
	d.data.New = func() any { return &worker{mac: hmac.New(sha256.New, data)} }
	d.seal = newAEAD(expand("seal"))
	return d
}

// newAEAD returns AES-256-GCM that draws its nonce from crypto/rand and writes
// it before the ciphertext.
func newAEAD(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("keyring: " + err.Error())
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("keyring: " + err.Error())
	}
	return aead
}

// find returns the key that may be accepted now under the ID, or nil.
func (d *derivedSet) find(id KeyID) *derivedKey {
	for _, k := range d.keys {
		if k.key.id != id {
			continue
		}
		// Of the others none ends: they need no clock.
		if k.key.state == Retiring && k.key.Info().Ended(time.Now()) {
			return nil
		}
		return k
	}
	return nil
}

// hmac computes the HMAC of msg into w.sum.
func (w *worker) hmac(msg []byte) {
	w.mac.Reset()
	for len(msg) > 0 {
		n := copy(w.buf[:], msg)
		w.mac.Write(w.buf[:n])
		msg = msg[n:]
	}
	w.mac.Sum(w.sum[:0])
}

// additional returns header ‖ ad in the worker's scratch.
func (w *worker) additional(header, ad []byte) []byte {
	b := append(append(w.scratch[:0], header...), ad...)
	if cap(b) <= maxScratch {
		w.scratch = b
	}
	return b
}

// Sign returns the HMAC-SHA-256 of msg under the active key, and which key that
// is. A tag may be cut to its first 16 bytes at least.
func (p *Purpose) Sign(msg []byte) (KeyID, [32]byte) {
	k := p.current().keys[0]
	w := k.sign.Get().(*worker)
	w.hmac(msg)
	sum := w.sum
	k.sign.Put(w)
	return k.key.id, sum
}

// Verify tells whether tag is what [Purpose.Sign] returned for msg under the
// key with the ID, or its first 16 bytes or more. Next keys are accepted like
// the active one, so that instances may learn of a key one after the other. It
// is false for a key that the ring does not hold, and for a retiring key whose
// time has passed. The comparison takes the same time for every tag of one
// length.
func (p *Purpose) Verify(id KeyID, msg, tag []byte) bool {
	if len(tag) < minTag || len(tag) > sha256.Size {
		return false
	}
	k := p.current().find(id)
	if k == nil {
		return false
	}
	w := k.sign.Get().(*worker)
	w.hmac(msg)
	ok := subtle.ConstantTimeCompare(w.sum[:len(tag)], tag) == 1
	k.sign.Put(w)
	return ok
}

// Seal encrypts msg with AES-256-GCM under the active key, and binds ad to it,
// which has to be given to [Purpose.Open] again. The result is 33 bytes longer
// than msg and differs each time.
//
// The nonce is random: seal no more than 2³² messages with one key (NIST SP
// 800-38D §8.3). Where there may be more, use [Purpose.SealFor].
func (p *Purpose) Seal(msg, ad []byte) []byte {
	k := p.current().keys[0]
	w := k.data.Get().(*worker)
	out := w.seal(k.seal, k.key.id, msg, ad)
	k.data.Put(w)
	return out
}

// Open returns the message that [Purpose.Seal] sealed with the same ad, or
// [ErrOpen].
func (p *Purpose) Open(sealed, ad []byte) ([]byte, error) {
	k := p.sealer(sealed)
	if k == nil {
		return nil, ErrOpen
	}
	w := k.data.Get().(*worker)
	msg, err := w.open(k.seal, sealed, ad)
	k.data.Put(w)
	return msg, err
}

// SealFor is [Purpose.Seal] under a key that is derived from the active key and
// the secret: both are needed to open it. With a secret for each session random
// nonces never run out. A secret of fewer than 16 bytes is a programmer's
// mistake and panics.
func (p *Purpose) SealFor(secret, msg, ad []byte) []byte {
	if len(secret) < minSecret {
		panic("keyring: SealFor needs a secret of at least 16 bytes")
	}
	k := p.current().keys[0]
	w := k.data.Get().(*worker)
	w.hmac(secret)
	out := w.seal(newAEAD(w.sum[:]), k.key.id, msg, ad)
	k.data.Put(w)
	return out
}

// OpenFor returns the message that [Purpose.SealFor] sealed with the same
// secret and ad, or [ErrOpen].
func (p *Purpose) OpenFor(secret, sealed, ad []byte) ([]byte, error) {
	k := p.sealer(sealed)
	if k == nil {
		return nil, ErrOpen
	}
	w := k.data.Get().(*worker)
	w.hmac(secret)
	msg, err := w.open(newAEAD(w.sum[:]), sealed, ad)
	k.data.Put(w)
	return msg, err
}

func (w *worker) seal(aead cipher.AEAD, id KeyID, msg, ad []byte) []byte {
	out := make([]byte, headerSize, overhead+len(msg))
	out[0] = sealVersion
	copy(out[1:], id[:])
	return aead.Seal(out, nil, msg, w.additional(out, ad))
}

func (w *worker) open(aead cipher.AEAD, sealed, ad []byte) ([]byte, error) {
	msg, err := aead.Open(nil, nil, sealed[headerSize:], w.additional(sealed[:headerSize], ad))
	if err != nil {
		return nil, ErrOpen
	}
	return msg, nil
}

// sealer returns the key that sealed names, if it may be accepted now.
func (p *Purpose) sealer(sealed []byte) *derivedKey {
	id, ok := SealedBy(sealed)
	if !ok {
		return nil
	}
	return p.current().find(id)
}

// SealedBy returns the ID of the key that a sealed message names. The first five bytes of
// the message are enough, as an index has them. It judges their shape alone: whether the
// message is genuine, or whole, only opening it can tell.
func SealedBy(sealed []byte) (KeyID, bool) {
	if len(sealed) < headerSize || sealed[0] != sealVersion {
		return KeyID{}, false
	}
	return KeyID(sealed[1:headerSize]), true
}
