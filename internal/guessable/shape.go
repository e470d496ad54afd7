package guessable

import (
	"slices"
	"strings"
	"unicode"
)

// Marker is what key lines begin with, of whatever version of their format: the number of
// the version follows.
const Marker = "cloakroom-key-v"

// LooksLikeKey tells whether a text looks like a key: like a key line or one of age, or
// like 32 random bytes or more in hexadecimal or base64, which names of files do not. People
// put the one in the place of the other, and what is taken for a name is repeated in
// messages. A path that looks like a key can be written with ./ in front.
func LooksLikeKey(text string) bool {
	return Mark(text) >= 0 || isEncoded(text) || !strings.ContainsAny(text, `/\`) && hasHex(text)
}

// HoldsKey tells whether a part of the name of a secret looks like a key. The names that
// managers of secrets have are longer than those of files, of words with capitals and
// digits, and have no other spelling: so base64 looks like a key there only where its
// characters are mixed as random ones are.
func HoldsKey(name string) bool {
	if Mark(name) >= 0 || isMixed(name) {
		return true
	}
	for part := range strings.FieldsFuncSeq(name, func(r rune) bool { return strings.ContainsRune("/:?&=#,; ", r) }) {
		if hasHex(part) || isMixed(part) {
			return true
		}
	}
	return false
}

// HasKey tells whether a text holds what looks like a key, whole or between the signs of a
// place, of a setting or of a key line: of one without its first word, too, and of one that
// stands behind the name of a variable or a scheme. What was given in the place of something
// else, and is about to be repeated in a message, may be one.
func HasKey(text string) bool {
	return LooksLikeKey(text) || slices.ContainsFunc(strings.FieldsFunc(text, IsBreak), LooksLikeKey)
}

// IsBreak tells of the signs and blanks that stand around a key, and are no part of it.
func IsBreak(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune("?&=#:;,\"'`", r) }

// Mark returns where in a text the first thing begins that says of itself that it is a key,
// in whatever case, as bech32 has two: a key line, a secret key of age, one in PEM form. It
// returns -1 where there is none.
func Mark(text string) int {
	for i := range len(text) {
		if rest := text[i:]; begins(rest, Marker) || begins(rest, "-----BEGIN") || isAge(rest) {
			return i
		}
	}
	return -1
}

func begins(s, with string) bool {
	return len(s) >= len(with) && strings.EqualFold(s[:len(with)], with)
}

// isAge tells whether a secret key of age begins s, and not the name of a file with
// one, as age-secret-key-1.txt.
func isAge(s string) bool {
	for _, kind := range []string{"AGE-SECRET-KEY-1", "AGE-SECRET-KEY-PQ-1"} {
		if begins(s, kind) && len(s) >= len(kind)+2 && kindOf(s[len(kind)]) != sign && kindOf(s[len(kind)+1]) != sign {
			return true
		}
	}
	return false
}

// isEncoded tells whether a text has the shape of 32 random bytes or more. A path has not
// if a sign stands in it that base64 has none of, as the dot of ./ or of an extension.
func isEncoded(text string) bool {
	text = strings.TrimRight(strings.TrimSpace(text), "=")
	var digit, upper, lower, slash, std, url int
	for _, b := range []byte(text) {
		switch {
		case '0' <= b && b <= '9':
			digit++
		case 'A' <= b && b <= 'Z':
			upper++
		case 'a' <= b && b <= 'z':
			lower++
		case b == '/':
			slash++
		case b == '+':
			std++
		case b == '-' || b == '_':
			url++
		default:
			return false
		}
	}
	if slash+std+url == 0 && len(text) >= 64 && strings.Trim(text, "0123456789abcdefABCDEF") == "" {
		return true
	}
	switch {
	case upper == 0 || lower == 0 || len(text) < 42:
		return false
	case slash == 0:
		return digit > 0 || isScrambled(text)
	case url > 0 || slash > len(text)/8 || len(text) < 43:
		return false // an alphabet has one pair of signs
	}
	return !isAbsolute(text) && (digit > 0 && mixed(text) >= 0.4 || isMixed(text))
}

// isScrambled tells whether capitals and small letters stand as in no words: so often a
// small letter between capitals, or two capitals before a small letter. In 43 random letters
// that is about ten times, and in words with acronyms among them once or twice.
func isScrambled(text string) bool {
	odd := 0
	for i := 2; i < len(text); i++ {
		switch a, b, c := kindOf(text[i-2]), kindOf(text[i-1]), kindOf(text[i]); {
		case a == upper && b == lower && c == upper, a == upper && b == upper && c == lower:
			odd++
		}
	}
	return odd >= 5
}

// isAbsolute tells whether a path begins with a directory of small letters, as /etc.
func isAbsolute(path string) bool {
	first, _, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return ok && path[0] == '/' && len(first) > 1 && strings.Trim(first, "abcdefghijklmnopqrstuvwxyz") == ""
}

// mixed returns how often, of neighbours, one is a capital or small letter or a digit
// and the other is not: of random characters about 0.6, of words about 0.2.
func mixed(text string) float64 {
	kind := func(b byte) int { return int(b) / 32 } // in ASCII: digits and signs, capitals, small letters
	changes, pairs := 0, 0
	for i := 1; i < len(text); i++ {
		if text[i] == '/' || text[i-1] == '/' {
			continue
		}
		pairs++
		if kind(text[i]) != kind(text[i-1]) {
			changes++
		}
	}
	return float64(changes) / float64(max(pairs, 1))
}

// hasHex tells whether a text has as many digits of hex in a row as 32 bytes have.
func hasHex(text string) bool {
	n := 0
	for _, b := range []byte(text) {
		if n++; !strings.ContainsRune("0123456789abcdefABCDEF", rune(b)) {
			n = 0
		}
		if n == 64 {
			return true
		}
	}
	return false
}

// isMixed tells whether a text is 32 bytes or more in base64 that are random. Names
// of that length are made of words, of five letters or so; what is random goes over
// from capitals to small letters to digits at every other character.
func isMixed(text string) bool {
	text = strings.TrimRight(text, "=")
	// One of its alphabets has + and /, the other - and _ (RFC 4648).
	if len(text) < 43 || strings.ContainsAny(text, "+/") && strings.ContainsAny(text, "-_") {
		return false
	}
	var seen [4]int // of each kind of character, how many
	words, last := 0, -1
	for _, b := range []byte(text) {
		kind := kindOf(b)
		if kind == sign && !strings.ContainsRune("-_+/", rune(b)) {
			return false
		}
		// A word may begin with a capital.
		if kind != last && kind != sign && !(kind == lower && last == upper) {
			words++
		}
		seen[kind]++
		last = kind
	}
	return seen[lower] > 0 && seen[upper] > 0 && (seen[digit] > 0 && 2*len(text) < 7*words || isScrambled(text))
}
