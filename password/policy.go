package password

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Lengths of a password in code points (NIST SP 800-63B-4 §3.1.1.2).
const (
	// DefaultMinLength is the least of a password that is the only factor.
	DefaultMinLength = 15

	// LeastMinLength is the least of any: that of a password beside a second factor.
	LeastMinLength = 8
)

// Policy says which passwords may be set. It is for new passwords alone: at login
// a password is right or wrong. The zero value, and a nil *Policy, are the
// default.
//
// A password needs its length, and must not be one that guessers try first. There
// are no rules about kinds of characters, no expiry and no hints: they make
// passwords worse (NIST SP 800-63B-4 §3.1.1.2, ASVS 6.2.5).
//
// Length is counted in code points of Normalization Form C, which is what is
// hashed: 15 emoji are long enough; 14 letters of which one carries an accent are
// not, however the keyboard sends the accent.
//
// # What guessers try
//
// Words of the context, see Context and [Policy.Check], by themselves, backwards,
// repeated, and with digits, punctuation and words like "password" around them;
// and a list of 78,692 passwords, of which 60,783 have 15 code points or more.
// A password is compared as a whole and without regard to case. One that merely
// contains a bad one is not refused for it.
//
// Lists from leaks are lists of short passwords. Of the entries 17,950 are such,
// the most frequent with eight characters or more of a list with 49,233, and only
// 41 of these have 15. All other long entries are what people make of short
// passwords when more is asked, made by rule from the most frequent ones: 12,000
// of them repeated, 2,500 with digits, years and the like behind them, a hundred
// in pairs; walks on keyboards; and 295 well-known phrases with the
// separators and endings that people use.
//
// The list has 242 KiB in the binary, and takes 1.4 MiB of memory from the first
// check on, which takes some 20 ms; the others take microseconds.
type Policy struct {
	// MinLength is the least number of code points, counted in Normalization
	// Form C. The default is DefaultMinLength, and less than LeastMinLength
	// counts as that.
	MinLength int

	// Context are words that everybody tries here first: the names of the
	// product, its host and its organisation (ASVS 6.1.2, 6.2.11). Of an address
	// or a host each part is a word; one under three code points counts only if the password is nothing else.
	Context []string
}

// Reason is why a password may not be set, for programs.
type Reason string

// The reasons of a PolicyError.
const (
	TooShort    Reason = "too_short"
	TooLong     Reason = "too_long"
	Blocklisted Reason = "blocklisted" // one of those that guessers try first
	InContext   Reason = "context"     // made of the user's name, the product's or the like
	Unchanged   Reason = "unchanged"   // the one that they have; a Policy does not know it
)

// PolicyError says why a password may not be set. It does not repeat the
// password.
type PolicyError struct {
	Reason Reason
	Min    int // least length in code points, where Reason is TooShort
	Max    int // greatest length in bytes, where Reason is TooLong
}

// Error says it in a sentence that can be shown to people.
func (e *PolicyError) Error() string {
	switch e.Reason {
	case TooShort:
		return fmt.Sprintf("The password is too short: it needs at least %d characters", e.Min)
	case TooLong:
		return fmt.Sprintf("The password is too long: it can have at most %d bytes", e.Max)
	case InContext:
		return "The password is easy to guess here: it is made of a name"
	case Unchanged:
		return "The new password is the one that you have"
	}
	return "The password is one of those that guessers try first"
}

// Check returns nil where the password may be set and a [*PolicyError] where it
// may not. The words are those of this account: its user name, its e-mail
// address. A password over MaxLength bytes is refused before it is looked at. No
// hash is computed.
func (p *Policy) Check(password string, words ...string) error {
	if p == nil {
		p = &Policy{}
	}
	if len(password) > MaxLength {
		return &PolicyError{Reason: TooLong, Max: MaxLength}
	}
	least := p.minLength()
	normal := norm.NFC.String(password)
	if utf8.RuneCountInString(normal) < least {
		return &PolicyError{Reason: TooShort, Min: least}
	}
	folded := fold(normal)
	if inContext(folded, slices.Concat(p.Context, words)) {
		return &PolicyError{Reason: InContext}
	}
	// Nor is one with blanks around it, or in other forms of the same letters.
	if plain := fold(strings.TrimSpace(norm.NFKC.String(normal))); blocklisted(folded) || blocklisted(plain) {
		return &PolicyError{Reason: Blocklisted}
	}
	return nil
}

func (p *Policy) minLength() int {
	if p.MinLength == 0 {
		return DefaultMinLength
	}
	return max(p.MinLength, LeastMinLength)
}
