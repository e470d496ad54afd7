package auth

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
	"golang.org/x/text/unicode/norm"
	"golang.org/x/text/width"
)

// MaxName is the longest user name in bytes, as it is typed and in its canonical
// form.
const MaxName = 256

// A NameError says why a name is no user name. It does not repeat the name.
type NameError struct {
	Reason string // one line, lower case
}

// Error implements error.
func (e *NameError) Error() string { return "auth: user name " + e.Reason }

// CanonicalName returns the form of a user name under which its account is
// stored and found: the profile UsernameCaseMapped of PRECIS (RFC 8265 §3.3).
// Upper case becomes lower case, full-width letters become plain ones, and
// characters that can be written in several ways are written in one. Characters
// that merely stand for others, as the Kelvin sign for K, ﬁ for fi and ſ for s,
// are refused: one program folds them and the next does not, and two accounts
// would become one.
//
// E-mail addresses are names like others. A blank is in no name. The canonical
// form of a canonical form is itself. The error is a [*NameError].
//
// Look-alikes of different scripts, Latin a and Cyrillic а, stay two names, as
// both are somebody's letters.
func CanonicalName(name string) (string, error) {
	if reason := unfit(name); reason != "" {
		return "", &NameError{Reason: reason}
	}
	// The profile asks whether characters are allowed before it maps them
	// (RFC 8265 §3.3.1); precis asks afterwards, when those that stand for others
	// are gone.
	for _, r := range width.Fold.String(name) {
		if r >= utf8.RuneSelf && !norm.NFKC.IsNormalString(string(r)) {
			return "", &NameError{Reason: "has a character that only stands for another"}
		}
	}
	// The steps of the profile can feed each other. RFC 8264 §7 has them
	// repeated until nothing changes, three more times at most.
	for range 4 {
		next, err := precis.UsernameCaseMapped.String(name)
		switch {
		case err != nil:
			return "", &NameError{Reason: "has a character that is not allowed in it, or not where it stands"}
		case next == "":
			return "", &NameError{Reason: "is empty"}
		case len(next) > MaxName: // some letters grow when they are normalised
			return "", &NameError{Reason: "is over 256 bytes in its canonical form"}
		case next == name:
			return name, nil
		}
		name = next
	}
	return "", &NameError{Reason: "has no stable canonical form"}
}

// unfit returns what is plainly wrong with a name, in words that help more than
// those of the profile, which would refuse it as well.
func unfit(name string) string {
	switch {
	case name == "":
		return "is empty"
	case len(name) > MaxName:
		return "is over 256 bytes"
	case !utf8.ValidString(name):
		return "is not UTF-8"
	case strings.ContainsFunc(name, unicode.IsControl):
		return "has a control character"
	case strings.ContainsFunc(name, unicode.IsSpace):
		return "has a blank"
	case strings.ContainsFunc(name, invisible):
		return "has an invisible character"
	}
	return ""
}

// invisible tells characters that show nothing or turn the direction of their
// neighbours: format characters. The two joiners, which some scripts need, are
// left to the profile, which looks at what they join.
func invisible(r rune) bool {
	return unicode.Is(unicode.Cf, r) && r != '\u200c' && r != '\u200d'
}
