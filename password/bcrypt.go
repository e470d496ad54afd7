package password

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// bcryptHash is a hash of bcrypt.
type bcryptHash struct {
	text    []byte // $2b$10$ and 53 characters
	prepare func(password, salt string) string
}

// parseBcrypt reads what follows the name of the version. $2$ and $2x$ are not
// read: they are wrong for passwords beyond ASCII, which is why there are others.
func parseBcrypt(version, s string, prepare func(password, salt string) string) (scheme, error) {
	digits, text, ok := strings.Cut(s, "$")
	if !ok || len(digits) != bcryptCostDigits || len(text) != bcryptTextChars || !inAlphabet(text) {
		return nil, errForm
	}
	if _, err := bounded("cost of bcrypt", strings.TrimPrefix(digits, "0"), minBcryptCost, maxBcryptCost); err != nil {
		return nil, err
	}
	return &bcryptHash{[]byte("$" + version + "$" + digits + "$" + text), prepare}, nil
}

// inAlphabet tells whether a text consists of the characters that bcrypt and
// SHA-crypt write.
func inAlphabet(s string) bool {
	for _, c := range []byte(s) {
		if !strings.ContainsRune(cryptAlphabet, rune(c)) {
			return false
		}
	}
	return true
}

// parseDjangoBcrypt reads what Django puts its own name before.
func parseDjangoBcrypt(s string, prepare func(password, salt string) string) (scheme, error) {
	for _, version := range []string{"2a", "2b", "2y"} {
		if rest, ok := strings.CutPrefix(s, "$"+version+"$"); ok {
			return parseBcrypt(version, rest, prepare)
		}
	}
	return nil, errForm
}

// parsePasslibBcrypt reads both versions of passlib's bcrypt_sha256:
// 2b,12$salt$digest and v=2,t=2b,r=12$salt$digest.
func parsePasslibBcrypt(s string) (scheme, error) {
	part := strings.Split(s, "$")
	if len(part) != 3 || len(part[1]) != bcryptSaltChars {
		return nil, errForm
	}
	prepare := base64SHA256
	version, cost, ok := strings.Cut(part[0], ",")
	if rest, second := strings.CutPrefix(part[0], "v=2,t="); second {
		prepare = base64HMAC
		version, cost, ok = strings.Cut(rest, ",r=")
	}
	if !ok || version != "2a" && version != "2b" && version != "2y" {
		return nil, errForm
	}
	if len(cost) == 1 {
		cost = "0" + cost // bcrypt writes two digits, passlib as many as there are
	}
	return parseBcrypt(version, cost+"$"+part[1]+part[2], prepare)
}

// What bcrypt is given of a password. All but direct bring a password of any
// length into its 72 bytes.
func direct(password, _ string) string { return password }

func hexSHA256(password, _ string) string { // Django
	sum := sha256.Sum256([]byte(password))
	return hex.EncodeToString(sum[:])
}

func base64SHA256(password, _ string) string { // passlib's first version
	sum := sha256.Sum256([]byte(password))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func base64HMAC(password, salt string) string { // passlib's second version
	mac := hmac.New(sha256.New, []byte(salt))
	mac.Write([]byte(password))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func (b *bcryptHash) memory() uint32 { return smallMemory }

// matches refuses what bcrypt cannot tell apart, after the same work: it sees 72
// bytes of a password, and repeats a shorter one with a NUL between, so that
// "a\x00a" has the hash of "a".
func (b *bcryptHash) matches(password string) bool {
	const head = len("$2b$10$")
	pw := b.prepare(password, string(b.text[head:head+bcryptSaltChars]))
	whole := len(pw) <= bcryptBytes && !strings.Contains(pw, "\x00")
	pw = pw[:min(len(pw), bcryptBytes)]
	return bcrypt.CompareHashAndPassword(b.text, []byte(pw)) == nil && whole
}
