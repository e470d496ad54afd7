package password

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// scheme is a stored hash that was read and is within the bounds.
type scheme interface {
	// memory is how many KiB the computation needs.
	memory() uint32

	// matches computes the hash of a password, which is neither empty nor over
	// MaxLength bytes, and compares.
	matches(password string) bool
}

// Bounds of what other programs wrote; those of argon2 stand with its own form.
// None lets a stored hash hold a place for much more than two seconds. All of
// these programs write salts of eight characters or more.
const (
	maxStored        = 256 // characters
	minBcryptCost    = 4   // 2^cost rounds
	maxBcryptCost    = 14
	maxIterations    = 2_500_000 // of PBKDF2
	maxScryptWork    = 256 << 10 // KiB times p
	maxScryptR       = 64
	maxScryptP       = 64
	minRounds        = 1000 // of SHA-crypt, by its specification
	maxRounds        = 1_000_000
	bcryptBytes      = 72  // of a password, what is beyond them bcrypt does not see
	smallMemory      = 8   // KiB, of what needs next to none
	shaCryptSalt     = 16  // characters at most
	shaCryptBytes    = 256 // of a password: every round hashes all of it, most of them twice
	bcryptSaltChars  = 22
	bcryptTextChars  = 53 // salt and digest
	bcryptCostDigits = 2
)

// Errors of stored hashes. They must not repeat the hash, as they may end in a
// log.
var (
	errForm = errors.New("password: stored hash has no form that this package verifies")
	errWeak = errors.New("password: stored hash is of a kind too weak to let anybody in (no salt, MD5 or one round of SHA-1)")
)

// forms are the beginnings of all hashes that are verified, but for this
// package's own.
var forms = []struct {
	prefix string
	parse  func(rest string) (scheme, error)
}{
	{"$argon2i$", func(s string) (scheme, error) { return parseArgon2("$argon2i$" + s) }},
	{"argon2$", func(s string) (scheme, error) { return parseArgon2("$" + s) }}, // Django's own name before the PHC string
	{"$2a$", func(s string) (scheme, error) { return parseBcrypt("2a", s, direct) }},
	{"$2b$", func(s string) (scheme, error) { return parseBcrypt("2b", s, direct) }},
	{"$2y$", func(s string) (scheme, error) { return parseBcrypt("2y", s, direct) }},
	{"bcrypt$", func(s string) (scheme, error) { return parseDjangoBcrypt(s, direct) }},
	{"bcrypt_sha256$", func(s string) (scheme, error) { return parseDjangoBcrypt(s, hexSHA256) }},
	{"$bcrypt-sha256$", parsePasslibBcrypt},
	{"$scrypt$", parsePasslibScrypt},
	{"scrypt:", parseWerkzeugScrypt},
	{"scrypt$", parseDjangoScrypt},
	{"$pbkdf2$", func(s string) (scheme, error) { return parsePasslibPBKDF2("sha1", s) }},
	{"$pbkdf2-sha256$", func(s string) (scheme, error) { return parsePasslibPBKDF2("sha256", s) }},
	{"$pbkdf2-sha512$", func(s string) (scheme, error) { return parsePasslibPBKDF2("sha512", s) }},
	{"pbkdf2_sha1$", func(s string) (scheme, error) { return parseDjangoPBKDF2("sha1", s) }},
	{"pbkdf2_sha256$", func(s string) (scheme, error) { return parseDjangoPBKDF2("sha256", s) }},
	{"pbkdf2:", parseWerkzeugPBKDF2},
	{"$5$", func(s string) (scheme, error) { return parseSHACrypt(sha256Crypt, s) }},
	{"$6$", func(s string) (scheme, error) { return parseSHACrypt(sha512Crypt, s) }},
}

// weak are the beginnings of what is known and refused.
var weak = []string{"{SHA}", "{SSHA}", "$apr1$", "$1$", "md5$", "sha1$", "unsalted_md5$", "crypt$"}

// parseForeign reads a hash that another program wrote.
func parseForeign(stored string) (scheme, error) {
	if len(stored) > maxStored {
		return nil, errForm
	}
	for _, f := range forms {
		if rest, ok := strings.CutPrefix(stored, f.prefix); ok {
			s, err := f.parse(rest)
			if err != nil { // and s may be a nil pointer in a scheme
				return nil, err
			}
			return s, nil
		}
	}
	for _, prefix := range weak {
		if strings.HasPrefix(stored, prefix) {
			return nil, errWeak
		}
	}
	return nil, errForm
}

// outside says which number of a stored hash is beyond its bounds.
func outside(what string, got, least, most uint64) error {
	return fmt.Errorf("password: stored hash: %s is %d, want %d to %d", what, got, least, most)
}

// between checks a number of a stored hash.
func between(what string, got, least, most uint64) error {
	if got < least || got > most {
		return outside(what, got, least, most)
	}
	return nil
}

// bounded reads a number of a stored hash.
func bounded(what, s string, least, most uint64) (int, error) {
	n, err := number(s, 32)
	if err != nil {
		return 0, errForm
	}
	return int(n), between(what, n, least, most)
}

// saltAndKey checks the sizes of both; size is that of the key, or 0 for any
// within the bounds.
func saltAndKey(salt, key []byte, size int) error {
	if err := between("size of the salt", uint64(len(salt)), minSalt, maxSalt); err != nil {
		return err
	}
	if size != 0 {
		return between("size of the key", uint64(len(key)), uint64(size), uint64(size))
	}
	return between("size of the key", uint64(len(key)), minKey, maxKey)
}

// padded is the base64 of Django.
var padded = base64.StdEncoding.Strict()

// decodePadded is decode for Django's base64.
func decodePadded(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, errForm
	}
	return padded.DecodeString(s)
}

// foreignArgon2 is a hash of argon2 that is not in this package's own form: of
// the variant i, or with Django's name before it. Its password is hashed as it
// was received.
type foreignArgon2 struct {
	phc
	i bool
}

func parseArgon2(s string) (scheme, error) {
	if rest, ok := strings.CutPrefix(s, "$argon2i$"); ok {
		p, err := parsePHC(ownPrefix + rest)
		return &foreignArgon2{p, true}, err
	}
	p, err := parsePHC(s)
	return &foreignArgon2{p, false}, err
}

func (f *foreignArgon2) memory() uint32 { return f.Memory }

func (f *foreignArgon2) matches(password string) bool {
	derive := argon2.IDKey
	if f.i {
		derive = argon2.Key
	}
	return equal(derive([]byte(password), f.salt, f.Time, f.Memory, f.Threads, uint32(len(f.key))), f.key)
}
