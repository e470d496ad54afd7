// Package remote is what the sources of keys at secret managers have in common: how a
// place is written, how a field of a JSON object is read and replaced, what bounds a
// call, and what an error may say of a link.
package remote

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/cloakroom-dev/cloakroom/internal/guessable"
	"github.com/cloakroom-dev/cloakroom/internal/link"
)

// A Place is where a secret lies: NAME?query#FIELD, any of which but NAME may be
// missing.
type Place struct {
	Name  string
	Query url.Values
	Field string // of a JSON object; empty: the whole secret
}

// Cut takes a place apart. The known parameters may each be there once, with a value,
// and no other may. All faults are returned, none of which repeats a piece of the
// place: it may be the secret itself that stands there by mistake.
func Cut(text string, known ...string) (p Place, faults []string) {
	if len(text) > maxPlace {
		return p, []string{fmt.Sprintf("more than %d bytes are no place of a secret", maxPlace)}
	}
	if guessable.HoldsKey(text) {
		return p, []string{KeyFault}
	}
	rest, field, hasField := strings.Cut(text, "#")
	name, query, _ := strings.Cut(rest, "?")
	p.Name = name
	if hasField {
		var err error
		p.Field, err = url.PathUnescape(field)
		switch {
		case err != nil:
			faults = append(faults, "the field behind # cannot be read: write special characters as %XX")
		case p.Field == "":
			faults = append(faults, "no field behind #: name one, or leave the # out to take the whole secret")
		case strings.Contains(p.Field, "?"):
			faults = append(faults, "a ? behind the #: parameters stand before it, as in NAME?parameter=value#FIELD")
		case !printable(p.Field):
			faults = append(faults, "the field behind # has characters that are none of a name")
		}
	}
	values, wrong := link.Values(query, known...)
	p.Query = values
	// What was written as %XX can be read by now.
	if guessable.HoldsKey(p.Field) || slices.ContainsFunc(slices.Concat(slices.Collect(maps.Values(p.Query))...), guessable.HoldsKey) {
		return Place{}, []string{KeyFault}
	}
	return p, append(faults, wrong...)
}

// maxPlace bounds a place in bytes: the longest names and a few parameters.
const maxPlace = 4096

// String writes the place as Cut reads it.
func (p Place) String() string {
	s := p.Name
	if len(p.Query) > 0 {
		s += "?" + p.Query.Encode()
	}
	if p.Field != "" {
		s += "#" + url.PathEscape(p.Field)
	}
	return s
}

// Faults makes one error of what is wrong with a place, a line each.
func Faults(prefix string, faults []string) error {
	var errs []error
	for _, f := range faults {
		errs = append(errs, fmt.Errorf("%s: %s", prefix, f))
	}
	return errors.Join(errs...)
}

// printable tells whether a text can be shown in an error: printable ASCII.
func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}
