package guessable_test

import (
	"bytes"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/cloakroom-dev/cloakroom/internal/guessable"
)

// madeOf lists what people make of a phrase where random bytes are asked for.
func madeOf(phrase string) map[string][]byte {
	p := []byte(phrase)
	s256, line := sha256.Sum256(p), sha256.Sum256([]byte(phrase+"\n"))
	s384, s512, s1, m5 := sha512.Sum384(p), sha512.Sum512(p), sha1.Sum(p), md5.Sum(p)
	var wide []byte
	for _, u := range utf16.Encode([]rune(phrase)) {
		wide = append(wide, byte(u), byte(u>>8))
	}
	forms := map[string][]byte{
		"itself":                 p,
		"SHA-256":                s256[:],
		"SHA-256 of a line":      line[:],
		"SHA-256 as text":        []byte(hex.EncodeToString(s256[:])),
		"SHA-384":                s384[:],
		"SHA-512":                s512[:],
		"SHA-1":                  s1[:],
		"MD5":                    m5[:],
		"MD5 twice":              append(m5[:], m5[:]...),
		"MD5 as text":            []byte(hex.EncodeToString(m5[:])),
		"SHA-1, hexadecimal, 32": []byte(hex.EncodeToString(s1[:]))[:32],
		"hexadecimal as text":    []byte(hex.EncodeToString(p)),
		"base64 as text":         []byte(base64.StdEncoding.EncodeToString(p)),
		"UTF-16":                 wide,
	}
	for _, n := range []int{32, 64} {
		for _, pad := range []string{"\x00", "0", "1234567890"} {
			padded := append(bytes.Clone(p), bytes.Repeat([]byte(pad), n)...)[:n]
			forms["padded with "+pad+" to "+string(rune('0'+n/32))] = padded
		}
		if len(p) > 0 {
			forms["repeated to "+string(rune('0'+n/32))] = bytes.Repeat(p, n/len(p)+1)[:n]
		}
	}
	return forms
}

// encodings are the ways to write bytes down. The first is a text as it stands.
var encodings = []func([]byte) string{
	func(b []byte) string { return string(b) },
	hex.EncodeToString,
	base64.StdEncoding.EncodeToString,
	base64.RawURLEncoding.EncodeToString,
	func(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) },
	base64.URLEncoding.EncodeToString,
	base64.RawStdEncoding.EncodeToString,
}

// judge judges a text as package keyring does a bare secret, and the key that it makes.
func judge(text string) error {
	if err := guessable.Phrase(text); err != nil {
		return err
	}
	b, err := hex.DecodeString(text)
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if err != nil {
			b, err = e.Strict().DecodeString(text)
		}
	}
	if err == nil && len(b) < guessable.Size {
		err = errors.New("too short")
	}
	if err != nil {
		return err
	}
	if err := guessable.Encoded(text, b); err != nil {
		return err
	}
	secret := guessable.Condense(b)
	return guessable.Secret(&secret)
}

// refuseKey fails the test if 32 bytes are accepted as those of a key.
func refuseKey(t *testing.T, what string, b [32]byte) {
	t.Helper()
	if guessable.Secret(&b) == nil {
		t.Errorf("%s is accepted as a key", what)
	}
}

// No form of a sample is a secret, neither bare nor in a key line.
func TestAttack_A47_SampleKeysAreRefused(t *testing.T) {
	t.Parallel()
	phrases := guessable.Phrases()
	if len(phrases) < 500 {
		t.Errorf("the list has %d samples, 500 at least are known", len(phrases))
	}
	refuse := func(what, text string) {
		t.Helper()
		if err := judge(text); err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
	for i, phrase := range phrases {
		if raceEnabled && i%10 > 0 {
			continue // there are no races here, and the detector is slow
		}
		for form, b := range madeOf(phrase) {
			refuse(phrase+", "+form, string(b))
			// All encodings have their turn, each with many a phrase.
			refuse(phrase+", "+form+", encoded", encodings[1+i%6](b))
			if len(b) == 32 {
				refuseKey(t, phrase+", "+form, [32]byte(b))
			}
		}
		refuse(phrase+", upper case", strings.ToUpper(phrase))
	}
	for _, secret := range guessable.SampleSecrets() {
		b := unhexed(t, secret)
		for _, encode := range encodings[1:] {
			refuse(secret, encode(b))
		}
		refuseKey(t, secret, guessable.Condense(b))
	}
}

// Keys of specifications and tools are refused as they are published, and as the beginning
// of something longer.
func TestAttack_A47_PublishedKeysAreRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow", // RFC 7515 §A.1
		"hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg",                                            // RFC 7520 §3.5
		"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",                       // RFC 8032 §7.1
		"59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",                       // Hardhat
		"b71c71a67e1177ad4e901695e1b4b9ee17ae16c6668d313eac2f96dbcda3f291",                       // go-ethereum
	} {
		if judge(text) == nil {
			t.Errorf("%s is accepted", text)
		}
	}
	for _, secret := range guessable.SampleSecrets() {
		more := make([]byte, 48)
		rand.Read(more)
		copy(more, unhexed(t, secret)[:guessable.Size])
		if judge(hex.EncodeToString(more)) == nil {
			t.Errorf("%s is accepted with more behind it", secret)
		}
	}
}

// Random secrets are not refused by mistake, whatever their size and form.
func TestRandomSecretsAreNotRefused(t *testing.T) {
	t.Parallel()
	for i := range 3000 {
		if raceEnabled && i%10 > 0 {
			continue // see above
		}
		b := random(32 + i%33)
		if err := judge(encodings[1+i%6](b)); err != nil {
			t.Fatalf("%x: %v", b, err)
		}
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
