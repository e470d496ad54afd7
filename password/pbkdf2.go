package password

import (
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/hex"
	"hash"
	"strings"
)

// pbkdf2Hash is a hash of PBKDF2 with HMAC (RFC 8018 §5.2).
type pbkdf2Hash struct {
	hash       func() hash.Hash
	iterations int
	salt, key  []byte
}

// newPBKDF2 checks the parts of a hash. The key must be as long as what the
// hash function returns, as all of these programs have it: a shorter one would
// be easier to meet, a longer one takes a multiple of the work.
func newPBKDF2(name, iterations string, salt, key []byte) (scheme, error) {
	p := &pbkdf2Hash{salt: salt, key: key}
	switch name {
	case "sha1":
		p.hash = sha1.New
	case "sha256":
		p.hash = sha256.New
	case "sha512":
		p.hash = sha512.New
	default:
		return nil, errForm
	}
	var err error
	if p.iterations, err = bounded("number of iterations", iterations, 1, maxIterations); err != nil {
		return nil, err
	}
	return p, saltAndKey(salt, key, p.hash().Size())
}

// parsePasslibPBKDF2 reads iterations$salt$key, in base64 with a dot for the
// plus.
func parsePasslibPBKDF2(name, s string) (scheme, error) {
	part := strings.Split(s, "$")
	if len(part) != 3 || strings.Contains(s, "+") {
		return nil, errForm
	}
	salt, err1 := decode(strings.ReplaceAll(part[1], ".", "+"))
	key, err2 := decode(strings.ReplaceAll(part[2], ".", "+"))
	if err1 != nil || err2 != nil {
		return nil, errForm
	}
	return newPBKDF2(name, part[0], salt, key)
}

// parseDjangoPBKDF2 reads iterations$salt$key; the salt is text.
func parseDjangoPBKDF2(name, s string) (scheme, error) {
	part := strings.Split(s, "$")
	if len(part) != 3 {
		return nil, errForm
	}
	key, err := decodePadded(part[2])
	if err != nil {
		return nil, errForm
	}
	return newPBKDF2(name, part[0], []byte(part[1]), key)
}

// parseWerkzeugPBKDF2 reads sha256:iterations$salt$key; the salt is text, the
// key hexadecimal.
func parseWerkzeugPBKDF2(s string) (scheme, error) {
	part := strings.Split(s, "$")
	if len(part) != 3 {
		return nil, errForm
	}
	name, iterations, ok := strings.Cut(part[0], ":")
	key, err := hex.DecodeString(part[2])
	if !ok || err != nil {
		return nil, errForm
	}
	return newPBKDF2(name, iterations, []byte(part[1]), key)
}

func (p *pbkdf2Hash) memory() uint32 { return smallMemory }

func (p *pbkdf2Hash) matches(password string) bool {
	key, err := pbkdf2.Key(p.hash, password, p.salt, p.iterations, len(p.key))
	return err == nil && equal(key, p.key) // the error: FIPS 140 forbids it here
}

// equal compares in constant time.
func equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
