package keyring

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cloakroom-dev/cloakroom/internal/guessable"
)

// maxBare bounds a bare secret in bytes. What is longer is some other file.
const maxBare = 1024

// adviceBare ends what is said of a bare secret that is refused.
const adviceBare = "; make a key with cloakroom key new, or a secret with openssl rand -base64 32"

// A bareLine is a line that is neither a key line nor empty nor a comment.
type bareLine struct {
	text string
	n    int // its number
}

// readBare makes a key of the one bare secret there may be. With key lines beside it,
// there may be none.
func readBare(lines []bareLine, keyLines bool) (entries []entry, faults []error) {
	if !keyLines {
		lines = unwrap(lines)
	}
	secrets := 0
	for _, l := range lines {
		secret, err := parseBare(l.text)
		if err == nil {
			secrets++
		}
		switch {
		case keyLines && err == nil:
			err = errors.New("a bare secret cannot stand beside key lines; remove it or them")
		case keyLines:
			err = errors.New("not a key line: it has to begin with " + marker + ", as printed by cloakroom key new")
		case secrets > 1 && err == nil, areSecrets(strings.Fields(l.text)):
			err = errors.New("a second bare secret: nobody could tell which one signs; keep one, and exchange it with cloakroom key rotate (if it is one secret, put it on one line)")
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("line %d: %w", l.n, err))
			continue
		}
		entries = append(entries, entry{Key{material: newMaterial(&secret), state: Active}, l.n})
	}
	return entries, faults
}

// areSecrets tells whether each of several words could be a secret.
func areSecrets(words []string) bool {
	return len(words) > 1 && !slices.ContainsFunc(words, func(w string) bool {
		b, err := decodeBare(w)
		return err != nil || len(b) < secretSize
	})
}

// unwrap makes one line of base64 that was written over several, each of 64
// characters as by openssl or 76 as by base64, but for the last. That one has to be
// too short for a secret: otherwise these may be two.
func unwrap(lines []bareLine) []bareLine {
	last := len(lines) - 1
	if last < 1 || len(lines[last].text) >= base64.RawStdEncoding.EncodedLen(secretSize) {
		return lines
	}
	var all strings.Builder
	for i, l := range lines {
		if i < last && (len(l.text) != len(lines[0].text) || len(l.text) != 64 && len(l.text) != 76) || l.n != lines[0].n+i {
			return lines
		}
		all.WriteString(l.text)
	}
	return []bareLine{{all.String(), lines[0].n}}
}

// parseBare reads a bare secret and judges it. Here alone the text can be judged as
// it was typed, and the bytes before they are hashed down.
func parseBare(text string) (secret [secretSize]byte, err error) {
	if err := guessable.Phrase(text); err != nil {
		return secret, fmt.Errorf("%w"+adviceBare, err)
	}
	b, err := decodeBare(text)
	switch {
	case err != nil:
	case len(b) < secretSize:
		err = fmt.Errorf("secret is too short: %d bytes, %d at least are needed", len(b), secretSize)
	case len(b) > maxBare:
		err = fmt.Errorf("secret is too long: more than %d bytes", maxBare)
	default:
		err = guessable.Encoded(text, b)
		secret = guessable.Condense(b)
	}
	if err != nil {
		return secret, fmt.Errorf("%w"+adviceBare, err)
	}
	return secret, nil
}

// decodeBare decodes hexadecimal or base64. What could be both is hexadecimal: of
// random bytes, base64 never looks like it.
func decodeBare(text string) ([]byte, error) {
	if isHex(text) {
		b, err := hex.DecodeString(text)
		if err != nil {
			return nil, errors.New("secret has an odd number of hexadecimal digits; it was cut or changed, copy it again")
		}
		return b, nil
	}
	if len(strings.Trim(text, `"'`)) < len(text) {
		return nil, errors.New("this stands in quotes; if it is a secret, remove them")
	}
	raw := strings.TrimRight(text, "=")
	enc := base64.RawStdEncoding
	if strings.ContainsAny(raw, "-_") {
		enc = base64.RawURLEncoding
	}
	b, err := enc.Strict().DecodeString(raw)
	// Padding is left away whole or stands there whole.
	if err != nil || text != raw && (len(text)%4 != 0 || len(text)-len(raw) > 2) {
		// Someone's words are of no encoding. Neither is a secret that lost a byte.
		if strings.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf || r == ' ' }) {
			return nil, errors.New("neither a key line nor random bytes: words make no secret")
		}
		return nil, errors.New("neither a key line nor 32 random bytes or more in hexadecimal or base64")
	}
	return b, nil
}

func isHex(text string) bool {
	return strings.Trim(text, "0123456789abcdefABCDEF") == ""
}
