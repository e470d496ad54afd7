package password

// KDF is the signature of argon2.IDKey.
type KDF = func(password, salt []byte, time, memory uint32, threads uint8, keyLen uint32) []byte

// Wrap puts a function around the one that computes hashes, so that a test can
// count and hold them.
func (h *Hasher) Wrap(f func(KDF) KDF) { h.kdf = f(h.kdf) }

// Reformat reads a PHC string and writes it again.
func Reformat(s string) (string, error) {
	p, err := parsePHC(s)
	return p.String(), err
}

// ParsedSize returns what a stored hash would cost: KiB, passes, lanes, and the
// sizes of salt and key in bytes.
func ParsedSize(s string) (p Params, salt, key int, err error) {
	h, err := parsePHC(s)
	return h.Params, len(h.salt), len(h.key), err
}
