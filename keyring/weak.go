package keyring

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
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
	return weak(k.secret)
}

// advice ends what is said of a secret that is refused.
const advice = "; make a key with cloakroom key new"

// weak says why a secret is not one that nobody can guess (ASVS 11.2.3), or
// nil. Randomness cannot be proven from 32 bytes, but what people put in its
// place shows: text in whatever code, series of numbers, repetitions, examples and their
// hashes. What it cannot see is told in the comment of the package. A random secret is
// refused about once in a billion; [Generate] then draws again.
func weak(secret *[secretSize]byte) error {
	err := weakBytes(secret[:])
	if err == nil {
		// Who has to fill 43 characters types them, or 64: look at the text as well.
		err = weakText(base64.RawURLEncoding.EncodeToString(secret[:]))
	}
	if err == nil {
		err = weakText(hex.EncodeToString(secret[:]))
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
