package password

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
)

// Pepper is a key that is kept apart from the hashes, so that whoever has only
// those cannot even try passwords (NIST SP 800-63B-4 §3.1.1.2). A *keyring.Purpose
// of a label of its own is one.
//
// Seal encrypts msg and binds ad to it, Open undoes that or fails. What was
// sealed begins with five bytes that name the key (keyring: a version and the
// key's ID): by them a Hasher sees what was sealed with another key than that of
// today. Both are called by many goroutines at once.
//
// A key that is gone takes with it every hash that is still sealed with it. So a
// former key stays until all are sealed anew: at login, see [Hasher.Renew], and
// those of people who do not come by a program, see [Hasher.Rewrap]. The same holds
// for a pepper that is not wanted any more: see Options.Unsealed.
//
// A Pepper may have a method
//
//	Fresh(sealed []byte) bool
//
// which tells of what another key sealed that it need not be sealed anew: as that key is
// the one of tomorrow. Else of programs that learn of it one after the other those that
// have not would undo what the others do.
type Pepper interface {
	Seal(msg, ad []byte) []byte
	Open(sealed, ad []byte) ([]byte, error)
}

const (
	// sealedPrefix begins what is stored where there is a pepper; base64 without
	// padding follows. It is bound to the ciphertext as well. There is nothing
	// else to bind it to: a Hasher does not know whose hash it is, and the salt
	// within keeps two of one password apart.
	sealedPrefix = "$sealed$v=1$"

	keyName   = 5   // bytes of a sealed hash that name its key
	nameText  = 7   // characters of base64 that hold them
	maxSealed = 384 // bytes; 256 of a hash, and what sealing adds
)

var (
	errSealed   = errors.New("password: stored hash is sealed with a pepper's key that is not at hand")
	errNoPepper = errors.New("password: stored hash is sealed and there is no pepper")
)

// PepperKey names the key that a hash is sealed with: the first five bytes of what the
// Pepper made, for a keyring a version and the key's ID. It is no secret.
type PepperKey [keyName]byte

// SealedWith returns the name of the key that a stored hash is sealed with, and false for
// one that is not sealed. The first 19 bytes of it are enough.
func SealedWith(stored string) (PepperKey, bool) {
	text, ok := strings.CutPrefix(stored, sealedPrefix)
	if !ok || len(text) < nameText {
		return PepperKey{}, false
	}
	// The last character holds two bits of what follows: they are nobody's fault.
	name, err := base64.RawStdEncoding.DecodeString(text[:nameText])
	if err != nil || len(name) != keyName {
		return PepperKey{}, false
	}
	return PepperKey(name), true
}

// PepperKey returns the name of the key that new hashes are sealed with; false if they
// are not sealed.
func (h *Hasher) PepperKey() (PepperKey, bool) {
	if !h.seals {
		return PepperKey{}, false
	}
	// Which key is the current one a Pepper tells by using it.
	now := h.pepper.Seal(nil, []byte(sealedPrefix))
	if len(now) < keyName {
		return PepperKey{}, false
	}
	return PepperKey(now[:keyName]), true
}

// seal returns what is stored of a hash.
func (h *Hasher) seal(hash string) string {
	if !h.seals {
		return hash
	}
	return sealedPrefix + encoding.EncodeToString(h.pepper.Seal([]byte(hash), []byte(sealedPrefix)))
}

// unwrap returns the ciphertext of a sealed hash.
func unwrap(stored string) ([]byte, error) {
	text, ok := strings.CutPrefix(stored, sealedPrefix)
	if !ok || len(text) > encoding.EncodedLen(maxSealed) {
		return nil, errForm
	}
	sealed, err := decode(text)
	if err != nil || len(sealed) <= keyName {
		return nil, errForm
	}
	return sealed, nil
}

// open returns the hash within what is stored. Hashes from before there was a
// pepper stay good: whoever may write the database, may also replace hashes.
func (h *Hasher) open(stored string) (string, error) {
	if !strings.HasPrefix(stored, sealedPrefix) {
		return stored, nil
	}
	if h.pepper == nil {
		return "", errNoPepper
	}
	sealed, err := unwrap(stored)
	if err != nil {
		return "", err
	}
	hash, err := h.pepper.Open(sealed, []byte(sealedPrefix))
	if err != nil {
		return "", errSealed
	}
	return string(hash), nil
}

// sealedNow tells whether a hash is sealed as seal does it now, or is not where seal
// does not.
func (h *Hasher) sealedNow(stored string) bool {
	if !h.seals {
		return !strings.HasPrefix(stored, sealedPrefix)
	}
	sealed, err := unwrap(stored)
	if err != nil {
		return false
	}
	if p, ok := h.pepper.(interface{ Fresh(sealed []byte) bool }); ok && p.Fresh(sealed) {
		return true
	}
	by, ok := SealedWith(stored)
	now, seals := h.PepperKey()
	return ok && seals && by == now
}

// Rewrap seals a stored hash with the pepper's current key, or opens it for good
// where Options.Unsealed is set; no password is needed and no hash computed. So a
// program may go through its accounts after a key was replaced, or where a pepper was
// added or turned off. A hash that is sealed with the current key, and one that is not
// sealed where none is to be, comes back as it was. The errors are those of [Hasher.Check]; an unusable hash cannot be
// sealed anew.
func (h *Hasher) Rewrap(stored string) (string, error) {
	hash, err := h.open(stored)
	if err != nil {
		return "", err
	}
	if _, _, err := parse(hash); err != nil {
		return "", err
	}
	if h.sealedNow(stored) {
		return stored, nil
	}
	return h.seal(hash), nil
}

// Renew returns what to store instead of a hash that needs it, see
// [Hasher.NeedsRehash], of a password that was just verified against it: the
// same hash, sealed with the pepper's current key or not sealed any more, where that
// is all that is missing, and a new one otherwise. The errors are those of Hash.
func (h *Hasher) Renew(ctx context.Context, stored, password string) (string, error) {
	if h.current(stored) {
		return h.Rewrap(stored)
	}
	return h.Hash(ctx, password)
}
