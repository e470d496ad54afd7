package password

import (
	"encoding/hex"
	"math/bits"
	"strings"

	"golang.org/x/crypto/scrypt"
)

// scryptHash is a hash of scrypt (RFC 7914).
type scryptHash struct {
	n, r, p   int
	salt, key []byte
}

// newScrypt checks the parts of a hash; n is a power of two. 128·n·r bytes are
// what it needs at a time, p is how often.
func newScrypt(n, r, p uint64, salt, key []byte) (scheme, error) {
	if bits.OnesCount64(n) != 1 {
		return nil, errForm
	}
	if err := between("r of scrypt", r, 1, maxScryptR); err != nil {
		return nil, err
	}
	if err := between("p of scrypt", p, 1, maxScryptP); err != nil {
		return nil, err
	}
	if err := between("N of scrypt", n, 2, maxMemory*8/r); err != nil {
		return nil, err
	}
	h := &scryptHash{int(n), int(r), int(p), salt, key}
	if err := between("work of scrypt", uint64(h.memory())*p, 1, maxScryptWork); err != nil {
		return nil, err
	}
	return h, saltAndKey(salt, key, 0)
}

// parsePasslibScrypt reads ln=15,r=8,p=1$salt$key, where ln is the binary
// logarithm of N.
func parsePasslibScrypt(s string) (scheme, error) {
	part := strings.Split(s, "$")
	if len(part) != 3 {
		return nil, errForm
	}
	rest, ok1 := strings.CutPrefix(part[0], "ln=")
	ln, rp, ok2 := strings.Cut(rest, ",r=")
	r, p, ok3 := strings.Cut(rp, ",p=")
	salt, err1 := decode(part[1])
	key, err2 := decode(part[2])
	if !ok1 || !ok2 || !ok3 || err1 != nil || err2 != nil {
		return nil, errForm
	}
	log, err := bounded("ln of scrypt", ln, 1, 30)
	if err != nil {
		return nil, err
	}
	return scryptOf(uint64(1)<<log, r, p, salt, key)
}

// parseWerkzeugScrypt reads N:r:p$salt$key; the salt is text, the key
// hexadecimal.
func parseWerkzeugScrypt(s string) (scheme, error) {
	part := strings.Split(s, "$")
	if len(part) != 3 {
		return nil, errForm
	}
	cost := strings.Split(part[0], ":")
	key, err := hex.DecodeString(part[2])
	if len(cost) != 3 || err != nil {
		return nil, errForm
	}
	n, err := number(cost[0], 32)
	if err != nil {
		return nil, errForm
	}
	return scryptOf(n, cost[1], cost[2], []byte(part[1]), key)
}

// parseDjangoScrypt reads N$salt$r$p$key; the salt is text.
func parseDjangoScrypt(s string) (scheme, error) {
	part := strings.Split(s, "$")
	if len(part) != 5 {
		return nil, errForm
	}
	n, err1 := number(part[0], 32)
	key, err2 := decodePadded(part[4])
	if err1 != nil || err2 != nil {
		return nil, errForm
	}
	return scryptOf(n, part[2], part[3], []byte(part[1]), key)
}

func scryptOf(n uint64, r, p string, salt, key []byte) (scheme, error) {
	nr, err1 := number(r, 32)
	np, err2 := number(p, 32)
	if err1 != nil || err2 != nil {
		return nil, errForm
	}
	return newScrypt(n, nr, np, salt, key)
}

// memory is 128·n·r bytes. The p·r·128 beside them are half a MiB at most.
func (s *scryptHash) memory() uint32 { return max(uint32(s.n*s.r/8), smallMemory) }

func (s *scryptHash) matches(password string) bool {
	key, err := scrypt.Key([]byte(password), s.salt, s.n, s.r, s.p, len(s.key))
	return err == nil && equal(key, s.key)
}
