package password

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// leastWord is how many code points a context word has at least: others are in
// everything.
const leastWord = 3

// fillers are what people put around a name to make a password of it. By
// themselves they are nothing.
var fillers = []string{
	"password", "passwort", "passwd", "pass", "pwd", "secret", "login", "admin", "user", "account", "welcome",
	"hello", "qwerty", "my", "the", "is", "for", "at", "and",
}

// inContext tells whether a folded password is made of context words: of one or
// several of them, forwards or backwards, as often as one likes, and of fillers,
// digits and punctuation. Whoever knows the words tries these first.
func inContext(folded string, words []string) bool {
	var names []string
	for _, w := range words {
		w = fold(strings.TrimSpace(w))
		if w == "" {
			continue
		}
		if folded == w || strings.ReplaceAll(folded, w, "") == "" {
			return true
		}
		for _, name := range append(strings.FieldsFunc(w, notInNames), w) {
			if utf8.RuneCountInString(name) >= leastWord && strings.ContainsFunc(name, unicode.IsLetter) {
				names = append(names, name, reverse(name))
			}
		}
	}
	slices.Sort(names)
	return madeOf(folded, slices.Compact(names))
}

// madeOf tells whether s is a row of names, of which there is one at least, and
// of fillers, digits and punctuation. Any of them may begin with another, so every
// way is tried: reached is what is left after a way that has met no name, named
// after one that has.
func madeOf(s string, names []string) bool {
	reached, named := make([]bool, len(s)+1), make([]bool, len(s)+1)
	reached[0] = true
	for i, c := range s {
		if !reached[i] && !named[i] {
			continue
		}
		step := func(n int, name bool) {
			reached[i+n] = reached[i+n] || reached[i] && !name
			named[i+n] = named[i+n] || named[i] || name
		}
		if beside(c) {
			step(utf8.RuneLen(c), false)
		}
		for _, f := range fillers {
			if strings.HasPrefix(s[i:], f) {
				step(len(f), false)
			}
		}
		for _, name := range names {
			if strings.HasPrefix(s[i:], name) {
				step(len(name), true)
			}
		}
	}
	return named[len(s)]
}

// beside tells whether a character is one that people put beside a word.
func beside(c rune) bool {
	return unicode.IsDigit(c) || unicode.IsSpace(c) || unicode.IsPunct(c) || strings.ContainsRune("$+<=>^`|~", c)
}

// notInNames tells whether a character stands between the parts of a name, an
// address or a host.
func notInNames(c rune) bool {
	return !unicode.IsLetter(c) && !unicode.IsMark(c) && !unicode.IsDigit(c)
}

// reverse returns the code points of s backwards.
func reverse(s string) string {
	r := []rune(s)
	slices.Reverse(r)
	return string(r)
}

// fold makes equal what differs in case alone.
func fold(s string) string { return norm.NFC.String(cases.Fold().String(s)) }
