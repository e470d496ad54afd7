package remote

import "strings"

// KeyFault is the fault of a key in the place of a name; see [HasKey].
const KeyFault = "a part of it has the looks of a key, which others may have seen there: make another key, and name the secret that holds it; if it is a name after all, give the secret another one"

// HasKey tells whether a part of a name has the looks of a key: of a key line, of so
// many digits of hex, or so many characters of base64 that spell no words. A name is
// written into messages and sent to servers, and somebody may have put the key itself
// in its place.
func HasKey(name string) bool {
	if strings.Contains(name, "cloakroom-key-v") || strings.Contains(name, "AGE-SECRET-KEY-") || isBase64(name) {
		return true
	}
	for part := range strings.FieldsFuncSeq(name, func(r rune) bool { return strings.ContainsRune("/:?&=#,; ", r) }) {
		if isHex(part) || isBase64(part) {
			return true
		}
	}
	return false
}

// isHex tells whether a text has as many digits of hex in a row as 32 bytes have.
func isHex(text string) bool {
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

// isBase64 tells whether a text is 32 bytes or more in base64 that are random. Names
// of that length are made of words, of five letters or so; what is random goes over
// from capitals to small letters to digits at every other character.
func isBase64(text string) bool {
	text = strings.TrimRight(text, "=")
	// One of its alphabets has + and /, the other - and _ (RFC 4648).
	if len(text) < 43 || strings.ContainsAny(text, "+/") && strings.ContainsAny(text, "-_") {
		return false
	}
	var seen [5]int // of each kind of character, how many
	words, last := 0, other
	for _, b := range []byte(text) {
		kind := kindOf(b)
		if kind == other {
			return false
		}
		// A word may begin with a capital.
		if kind != last && kind != sign && !(kind == small && last == capital) {
			words++
		}
		seen[kind]++
		last = kind
	}
	return seen[small] > 0 && seen[capital] > 0 && seen[digit] > 0 && 2*len(text) < 7*words
}

const (
	other = iota
	small
	capital
	digit
	sign
)

func kindOf(b byte) int {
	switch {
	case 'a' <= b && b <= 'z':
		return small
	case 'A' <= b && b <= 'Z':
		return capital
	case '0' <= b && b <= '9':
		return digit
	case b == '-' || b == '_' || b == '+' || b == '/':
		return sign
	}
	return other
}
