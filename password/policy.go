package password

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Lengths of a password in code points (NIST SP 800-63B §3.1.1.2).
const (
	// DefaultMinLength is the least of a password that is the only factor.
	DefaultMinLength = 15

	// LeastMinLength is the least of any: that of a password beside a second factor.
	LeastMinLength = 8
)

// Policy says which passwords may be set. It is for new passwords alone: at login
// a password is right or wrong. The zero value, and a nil *Policy, are the
// default.
type Policy struct {
	// MinLength is the least number of code points, counted in Normalization
	// Form C. The default is DefaultMinLength, and less than LeastMinLength
	// counts as that.
	MinLength int

	// Context are words that everybody tries here first: the names of the
	// product, its host and its organisation (ASVS 6.1.2).
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
// address. It computes no hash.
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
	for _, list := range [][]string{p.Context, words} {
		for _, w := range list {
			if strings.TrimSpace(w) != "" && folded == fold(w) {
				return &PolicyError{Reason: InContext}
			}
		}
	}
	return nil
}

func (p *Policy) minLength() int {
	if p.MinLength == 0 {
		return DefaultMinLength
	}
	return max(p.MinLength, LeastMinLength)
}

// fold makes equal what differs in case alone.
func fold(s string) string { return norm.NFC.String(cases.Fold().String(s)) }
