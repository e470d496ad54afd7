// Package guessable tells secrets that others can guess from random ones: what people
// type, what guides show, series of numbers, text in whatever code, repetitions, and the
// hashes of all that (ASVS 11.2.3). It also tells what looks like a key from what looks
// like a name; see [LooksLikeKey].
//
// Randomness cannot be proven from 32 bytes, but what people put in its place shows. What
// it does not find stands in the comment of package keyring. A random secret is refused
// about once in a billion. The first judgement takes some tens of milliseconds, and 4 MiB
// from then on; a program that judges nothing pays nothing.
//
// Errors say what a secret is, "secret is text, not random bytes", and show nothing of it.
package guessable

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Size is the size of a secret in bytes.
const Size = 32

var errSample = errors.New("secret is published as a sample, everybody knows it")

// Secret says why a secret is one that can be guessed, or returns nil. It is handed a
// pointer, as a crash prints arguments: of an array its bytes.
func Secret(secret *[Size]byte) error {
	if err := weakBytes(secret[:]); err != nil {
		return err
	}
	// Who has to fill 43 characters types them, or 64: look at the text as well.
	if err := weakText(base64.RawURLEncoding.EncodeToString(secret[:])); err != nil {
		return err
	}
	if err := weakText(hex.EncodeToString(secret[:])); err != nil {
		return err
	}
	if isSample(secret) {
		return errSample
	}
	return nil
}

// Phrase says why a text, as it stands, is what guides show and people type first, in
// whatever case; or returns nil.
func Phrase(text string) error {
	if isSamplePhrase(text) {
		return errSample
	}
	return nil
}

// Encoded says why a text in hexadecimal or base64 can be guessed, or the [Size] bytes and
// more that it stands for; or returns nil. See [Phrase] for what stands for no bytes.
func Encoded(text string, b []byte) error {
	if err := weakText(strings.TrimRight(text, "=")); err != nil {
		return err
	}
	if err := weakBytes(b); err != nil {
		return err
	}
	if secret := Condense(b); isSample(&secret) {
		return errSample
	}
	// Of a sample that is too short for somebody, as 64 bytes are asked for, people make
	// one that is long enough.
	if len(b) > Size {
		if first := [Size]byte(b); isSample(&first) {
			return errSample
		}
	}
	return nil
}

// Condense makes a secret of [Size] bytes of as many or more: as many are the secret, of
// more it is the SHA-256 over a label and all of them. It stands here since what everybody
// knows is known in this form too.
func Condense(b []byte) [Size]byte {
	if len(b) == Size {
		return [Size]byte(b)
	}
	h := sha256.New()
	h.Write([]byte("cloakroom bare secret\x00"))
	h.Write(b)
	return [Size]byte(h.Sum(nil))
}

// weakBytes says why 32 bytes or more are not random.
func weakBytes(b []byte) error {
	switch {
	case periodic(b):
		return errors.New("secret repeats itself")
	case hasSteps(b, 8), isSeries(b), isDecimal(b):
		return errors.New("secret is a pattern or padded, not random bytes")
	case distinct(b) < 16 || mostFrequent(b) >= len(b)/4:
		return errors.New("secret has too few different bytes to be random")
	case isText(b), isDisguised(b):
		return errors.New("secret is text, not random bytes")
	}
	return nil
}

// weakText says why what encodes 32 bytes or more, in hexadecimal or base64, was
// not made of random ones but typed.
func weakText(text string) error {
	hexadecimal := isHex(text)
	switch {
	case !hexadecimal && (strings.ToLower(text) == text || strings.ToUpper(text) == text):
		return errors.New("secret is text, not random bytes")
	case typed(text, hexadecimal):
		return errors.New("secret was typed, not made of random bytes")
	}
	return nil
}

func isHex(text string) bool {
	return strings.Trim(text, "0123456789abcdefABCDEF") == ""
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

// hasSteps tells whether n bytes in a row are each the one before plus a fixed step,
// as in the 00 01 02 … of many test vectors, and in padding, where the step is none.
func hasSteps(b []byte, n int) bool {
	same := 2
	for i := 2; i < len(b); i++ {
		if b[i]-b[i-1] != b[i-1]-b[i-2] {
			same = 1
		}
		if same++; same >= n {
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

// mostFrequent counts the byte that is there most often. Of 32 random ones it is
// there two or three times; in UTF-16 the zero byte is there half of the time.
func mostFrequent(b []byte) int {
	var count [256]int
	most := 0
	for _, c := range b {
		count[c]++
		most = max(most, count[c])
	}
	return most
}

// isText tells whether b is printable UTF-8, perhaps padded with zero bytes, or all
// but a sixteenth of it printable ASCII.
func isText(b []byte) bool {
	odd := 0
	for _, c := range b {
		if c < ' ' || c > '~' {
			odd++
		}
	}
	if odd <= len(b)/16 {
		return true
	}
	s := strings.TrimRight(string(b), "\x00")
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool {
		return !unicode.IsPrint(r) && !unicode.IsSpace(r)
	}) < 0
}
