package server

import (
	"errors"
	"net/url"
	"slices"

	"github.com/cloakroom-dev/cloakroom/internal/link"
)

// Parse reads a URL, which must have one of the schemes. No error repeats any of
// it: the password may stand where a careless hand has put it.
func Parse(s, like string, schemes ...string) (*url.URL, error) {
	u, err := link.Parse(s)
	if err != nil || !slices.Contains(schemes, u.Scheme) || u.Opaque != "" || u.Fragment != "" {
		return nil, errors.New("not a URL of the form " + like + " (signs that have a meaning in a URL are written %XX, in a password above all)")
	}
	return u, nil
}
