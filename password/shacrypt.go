package password

import (
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"strings"
)

// cryptAlphabet is that of crypt(3), in the order of SHA-crypt's digits. The
// order of bcrypt is another; the characters are the same.
const cryptAlphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// shaCryptKind is one of the two hash functions that SHA-crypt is specified for.
type shaCryptKind struct {
	hash  func() hash.Hash
	order []uint8 // of the digest's bytes: three for four characters
}

// The specification takes the bytes of the digest from three thirds, in turns.
var (
	sha256Crypt = shaCryptKind{sha256.New, []uint8{
		0, 10, 20, 21, 1, 11, 12, 22, 2, 3, 13, 23, 24, 4, 14, 15, 25, 5, 6, 16, 26, 27, 7, 17, 18, 28, 8, 9, 19, 29,
		31, 30,
	}}
	sha512Crypt = shaCryptKind{sha512.New, []uint8{
		0, 21, 42, 22, 43, 1, 44, 2, 23, 3, 24, 45, 25, 46, 4, 47, 5, 26, 6, 27, 48, 28, 49, 7, 50, 8, 29, 9, 30, 51,
		31, 52, 10, 53, 11, 32, 12, 33, 54, 34, 55, 13, 56, 14, 35, 15, 36, 57, 37, 58, 16, 59, 17, 38, 18, 39, 60,
		40, 61, 19, 62, 20, 41,
		63,
	}}
)

// shaCrypt is a hash of SHA-crypt, the $5$ and $6$ of crypt(3), after Ulrich
// Drepper's "Unix crypt using SHA-256 and SHA-512".
type shaCrypt struct {
	kind   shaCryptKind
	rounds int
	salt   string
	digest string
}

// parseSHACrypt reads [rounds=n$]salt$digest.
func parseSHACrypt(kind shaCryptKind, s string) (scheme, error) {
	h := &shaCrypt{kind: kind, rounds: 5000}
	if rest, ok := strings.CutPrefix(s, "rounds="); ok {
		n, after, ok := strings.Cut(rest, "$")
		if !ok {
			return nil, errForm
		}
		var err error
		if h.rounds, err = bounded("number of rounds", n, minRounds, maxRounds); err != nil {
			return nil, err
		}
		s = after
	}
	var ok bool
	if h.salt, h.digest, ok = strings.Cut(s, "$"); !ok {
		return nil, errForm
	}
	if err := between("size of the salt", uint64(len(h.salt)), minSalt, shaCryptSalt); err != nil {
		return nil, err
	}
	if len(h.digest) != (kind.hash().Size()*8+5)/6 || !inAlphabet(h.digest) {
		return nil, errForm
	}
	return h, nil
}

func (h *shaCrypt) memory() uint32 { return smallMemory }

func (h *shaCrypt) matches(password string) bool {
	whole := len(password) <= shaCryptBytes
	password = password[:min(len(password), shaCryptBytes)]
	return equal([]byte(h.kind.compute(password, h.salt, h.rounds)), []byte(h.digest)) && whole
}

// compute returns the digest as it is written. The letters are those of the
// specification.
func (k shaCryptKind) compute(password, salt string, rounds int) string {
	h, pw := k.hash(), []byte(password)
	sum := func(parts ...[]byte) []byte {
		h.Reset()
		for _, p := range parts {
			h.Write(p)
		}
		return h.Sum(nil)
	}
	b := sum(pw, []byte(salt), pw)

	h.Reset()
	h.Write(pw)
	h.Write([]byte(salt))
	h.Write(stretch(b, len(pw)))
	for n := len(pw); n > 0; n >>= 1 {
		if n&1 != 0 {
			h.Write(b)
		} else {
			h.Write(pw)
		}
	}
	a := h.Sum(nil)

	h.Reset()
	for range pw {
		h.Write(pw)
	}
	p := stretch(h.Sum(nil), len(pw))

	h.Reset()
	for range 16 + int(a[0]) {
		h.Write([]byte(salt))
	}
	s := stretch(h.Sum(nil), len(salt))

	for i := range rounds {
		h.Reset()
		first, last := a, p
		if i%2 == 1 {
			first, last = p, a
		}
		h.Write(first)
		if i%3 != 0 {
			h.Write(s)
		}
		if i%7 != 0 {
			h.Write(p)
		}
		h.Write(last)
		a = h.Sum(a[:0])
	}
	return k.encode(a)
}

// stretch repeats b to n bytes.
func stretch(b []byte, n int) []byte {
	out := make([]byte, 0, n+len(b))
	for len(out) < n {
		out = append(out, b...)
	}
	return out[:n]
}

// encode writes a digest in crypt(3)'s base64: three bytes make four characters,
// the lowest six bits first.
func (k shaCryptKind) encode(digest []byte) string {
	var out strings.Builder
	for order := k.order; len(order) > 0; {
		group := order[:min(3, len(order))]
		order = order[len(group):]
		var w uint
		for _, i := range group {
			w = w<<8 | uint(digest[i])
		}
		for range len(group) + 1 {
			out.WriteByte(cryptAlphabet[w&0x3f])
			w >>= 6
		}
	}
	return out.String()
}
