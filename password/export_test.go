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

// WrapForeign puts a function around the one that verifies the hashes of others.
func (h *Hasher) WrapForeign(wrap func(func(password string) bool) func(string) bool) {
	inner := h.foreign
	h.foreign = func(s scheme, password string) bool {
		return wrap(func(pw string) bool { return inner(s, pw) })(password)
	}
}

// Needs returns how many KiB a stored hash of another program needs.
func Needs(stored string) (uint32, error) {
	s, err := parseForeign(stored)
	if err != nil {
		return 0, err
	}
	return s.memory(), nil
}

// SourceOf returns the source that the pool sees.
var SourceOf = sourceOf

// OnList tells whether a folded password is on the embedded list.
var OnList = blocklisted

// LoadBlocklist unpacks the list as the first check does.
func LoadBlocklist() string { return unpack() }

// SealWith seals anything as a Hasher seals hashes.
func SealWith(p Pepper, msg string) string {
	return (&Hasher{pepper: p, seals: true}).seal(msg)
}

// SHA256Crypt computes the digest of SHA-crypt.
var SHA256Crypt = sha256Crypt.compute
