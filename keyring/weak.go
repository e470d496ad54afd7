package keyring

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// judge says why a ring refuses a key, or nil.
func judge(k Key) error {
	switch {
	case k.material == nil:
		return errors.New("there is no key; make one with cloakroom key new")
	case k.id == KeyID{}:
		return errors.New("key has the id that means no key; make another with cloakroom key new")
	case k.state == Retiring && k.until.IsZero():
		return errors.New("key retires without a time; say until when it is accepted")
	case k.until.Year() > 9999 || k.until.Year() < 0:
		// Such a time could not be written down and read again.
		return errors.New("time has to lie between the years 0 and 9999")
	}
	return weak(*k.secret)
}

// advice ends what is said of a secret that is refused.
const advice = "; make a key with cloakroom key new"

// weak says why a secret is not one that nobody can guess (ASVS 11.2.3), or
// nil. Randomness cannot be proven from 32 bytes, but what people put in its
// place shows: text, counters, repetitions, examples. A random secret is refused
// about once in a billion; [Generate] then draws again.
func weak(secret [secretSize]byte) error {
	err := weakBytes(secret[:])
	if err == nil {
		// Who has to fill 43 characters types them: look at the text as well.
		err = weakText(base64.RawURLEncoding.EncodeToString(secret[:]))
	}
	if err == nil && isSample(secret) {
		err = errors.New("secret is published as a sample, everybody knows it")
	}
	if err != nil {
		return fmt.Errorf("%w"+advice, err)
	}
	return nil
}

// weakBytes says why 32 bytes or more are not random.
func weakBytes(b []byte) error {
	switch {
	case periodic(b):
		return errors.New("secret repeats itself")
	case stepped(b) || hasRun(b, 8):
		return errors.New("secret is a pattern or padded, not random bytes")
	case distinct(b) < 16:
		return errors.New("secret has too few different bytes to be random")
	case isText(b):
		return errors.New("secret is text, not random bytes")
	}
	return nil
}

// weakText says why what encodes 32 bytes or more, in hexadecimal or base64, was
// not made of random ones but typed.
func weakText(text string) error {
	hexadecimal := isHex(text)
	switch {
	case periodic([]byte(text)):
		return errors.New("secret repeats itself")
	case hasRun([]byte(text), 12) || !hexadecimal && hasRun([]byte(text), 8):
		return errors.New("secret is a pattern or padded, not random bytes")
	case !hexadecimal && (strings.ToLower(text) == text || strings.ToUpper(text) == text):
		return errors.New("secret is text, not random bytes")
	case hexadecimal && (strings.Trim(text, "0123456789") == "" || !strings.ContainsAny(text, "0123456789")):
		return errors.New("secret was typed, not made of random bytes")
	}
	return nil
}

// periodic tells whether b is one piece of at most half its length, repeated.
func periodic(b []byte) bool {
	for p := 1; p <= len(b)/2; p++ {
		if string(b[p:]) == string(b[:len(b)-p]) {
			return true
		}
	}
	return false
}

// stepped tells whether each byte is the one before plus a fixed step, as in
// the 00 01 02 … of many test vectors.
func stepped(b []byte) bool {
	for i := 2; i < len(b); i++ {
		if b[i]-b[i-1] != b[1]-b[0] {
			return false
		}
	}
	return true
}

// hasRun tells whether n equal bytes stand in a row, as after padding.
func hasRun(b []byte, n int) bool {
	run := 1
	for i := 1; i < len(b); i++ {
		if b[i] != b[i-1] {
			run = 0
		}
		if run++; run >= n {
			return true
		}
	}
	return false
}

// distinct counts the different bytes. Of 32 random ones it is about 30.
func distinct(b []byte) int {
	var seen [256]bool
	n := 0
	for _, c := range b {
		if !seen[c] {
			seen[c] = true
			n++
		}
	}
	return n
}

// isText tells whether b is printable UTF-8, perhaps padded with zero bytes.
func isText(b []byte) bool {
	s := strings.TrimRight(string(b), "\x00")
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool {
		return !unicode.IsPrint(r) && !unicode.IsSpace(r)
	}) < 0
}

// isSample tells whether a secret is known to the world.
func isSample(secret [secretSize]byte) bool {
	_, found := slices.BinarySearch(samples(), binary.BigEndian.Uint64(secret[:]))
	return found
}

// isSamplePhrase tells whether a text is a sample as it stands, in whatever case.
func isSamplePhrase(text string) bool {
	return slices.ContainsFunc(samplePhrases, func(p string) bool { return strings.EqualFold(p, text) })
}

// samples returns the first eight bytes of all secrets that are known to the world,
// in order. A phrase itself is text and refused as such; here stand the forms which
// hide that: its hashes, also with the line end that a shell adds.
var samples = sync.OnceValue(func() []uint64 {
	var known []uint64
	add := func(b []byte) {
		secret := condense(b)
		known = append(known, binary.BigEndian.Uint64(secret[:]))
	}
	for _, phrase := range samplePhrases {
		for _, p := range []string{phrase, strings.ToUpper(phrase)} {
			for _, end := range []string{"", "\n"} {
				s256, s384, s512 := sha256.Sum256([]byte(p+end)), sha512.Sum384([]byte(p+end)), sha512.Sum512([]byte(p+end))
				add(s256[:])
				add(s384[:])
				add(s512[:])
			}
		}
	}
	for _, s := range sampleSecrets {
		b, err := hex.DecodeString(s)
		if err != nil {
			panic("keyring: sample secret: " + err.Error())
		}
		add(b)
	}
	slices.Sort(known)
	return slices.Compact(known)
})

// samplePhrases are the secrets that guides, READMEs and default settings show.
// The golden keys are those of this package's own tests.
var samplePhrases = []string{
	"", "0", "1234", "12345", "123456", "12345678", "123456789", "1234567890",
	"32-byte-long-auth-key", "32-byte-long-secret-key", "a-very-secret-key",
	"a-32-byte-long-key-goes-here", "abc123", "admin", "auth-key", "auth_key",
	"authentication-key", "change me", "change-me", "change-me-in-production",
	"change_me", "changeit", "changeme", "changethis", "default", "dev", "django-insecure",
	"encryption-key", "example", "example-secret", "foo", "foobar", "hunter2",
	"insecure", "jwt-secret", "jwt_secret", "key", "keyboard cat", "letmein", "mysecret",
	"my-secret", "my-secret-key", "my-super-secret-key", "my_secret_key", "mysecretkey",
	"my-32-character-ultra-secure-and-ultra-long-secret", "not-so-secret",
	"notasecret", "passphrase", "password", "password123", "passw0rd", "placeholder",
	"please-change-me", "qwerty", "replace-me", "root", "sample", "secret", "secret-key",
	"secret123", "secret_key", "secretkey", "secret key", "session-secret", "session_secret",
	"s3cr3t", "something-very-secret", "super secret key", "super-secret", "super-secret-key",
	"super_secret_key", "supersecret", "supersecretkey", "supersecretpassword", "temporary_key",
	"test", "test-key", "test-secret", "testing", "this-is-a-secret", "thisisasecret",
	"this is a secret", "top-secret", "topsecret", "very-secret", "very-secret-key",
	"verysecret", "xxx", "your-256-bit-secret", "your-secret", "your-secret-here",
	"your-secret-key", "your-secret-key-here", "your-super-secret-key", "your-very-secret-key",
	"your_secret_key", "your_secret_key_here", "yoursecretkey",

	"00000000000000000000000000000000", "0123456789abcdef", "0123456789abcdef0123456789abcdef",
	"12345678901234567890123456789012", "32-character-long-secret-key-1234",
	"abcdefghijklmnopqrstuvwxyz", "abcdefghijklmnopqrstuvwxyz123456", "asdf", "asdfghjkl", "cats",
	"change-me-please", "change-this", "change-this-in-production", "change-this-secret",
	"CHANGE_ME", "CHANGE_ME_TO_A_COMPLEX_RANDOM_SECRET", "change_this", "CHANGEIT", "CHANGEME",
	"changeme!", "changeme123", "complex_password_at_least_32_characters_long", "cookie secret",
	"cookie-secret", "cookie_secret", "cookiesecret", "correct horse battery staple", "deadbeef",
	"deadbeefdeadbeefdeadbeefdeadbeef", "dev-secret", "dev-secret-key", "dev_secret_key",
	"development", "development-secret", "django-insecure-change-me", "dragon",
	"express-session-secret", "flask-insecure", "flask-secret-key", "hmac-key", "hmac-secret",
	"iloveyou", "insecure-secret-key", "INSERT_SECRET_HERE", "jwtsecret", "jwtSecretKey",
	"keyboardcat", "local-secret", "localhost", "master-key", "masterkey", "monkey",
	"my-secret-token-to-change-in-production", "my_jwt_secret", "my_super_secret_key",
	"mysupersecretkey", "mysupersecretpassword", "nextauth-secret", "not-a-secret", "not-secret",
	"put-your-secret-here", "qwertyuiop", "replace-this-secret", "replace_me", "REPLACE_ME",
	"SECRET", "secret-key-goes-here", "SECRET_KEY", "secret_key_base", "secret_key_here",
	"secretKey", "SecretKey", "secretpassword", "secretsecret", "shhhh", "shhhhh",
	"shhhhhhared-secret", "signing-key", "signing_key", "SomeRandomString",
	"SomeRandomStringWith32Characters", "ssshhhhh",
	"super-secret-jwt-token-with-at-least-32-characters-long", "this is my secret key",
	"this-is-a-very-secret-key", "this_is_a_secret_key", "thisismysecretkey",
	"ThisTokenIsNotSoSecretChangeIt", "token-secret", "welcome", "your-256-bit-secret-key-here",
	"your-32-character-secret-key-here", "your-jwt-secret", "YOUR-SECRET-KEY",
	"your-session-secret", "your_jwt_secret", "YOUR_SECRET_KEY", "your_session_secret",

	"cloakroom", "cloakroom golden key 1", "cloakroom golden key 2", "cloakroom golden key 3",
}

// sampleSecrets are 32 bytes from guides and test vectors that do not look like a
// sample. Those of guides stand in many a program.
var sampleSecrets = []string{
	"09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7", // FastAPI, tutorial of OAuth2 with JWT
	"192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf", // Flask, quickstart, sessions
	"603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", // NIST SP 800-38A, AES-256
	"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", // RFC 8032 §7.1, first secret key
	"0323354b2b0fa5bc837e0665777ba68f5ab328e6f054c928a90f84b2d2502ebf", // RFC 7515 §A.1, first half of the key
}
