package password

import "strings"

// Recognized tells whether a stored hash has a form that Verify knows, within
// the bounds of any Hasher, or is sealed with a pepper: so that an import takes
// hashes and nothing else. What a Hasher of less memory, or of another pepper,
// makes of it, [Hasher.Check] tells.
func Recognized(stored string) bool {
	if strings.HasPrefix(stored, sealedPrefix) {
		_, err := unwrap(stored)
		return err == nil
	}
	_, _, err := parse(stored)
	return err == nil
}

// parse reads a stored hash that is not sealed: one of this package's own form,
// or another scheme's where that is not nil.
func parse(stored string) (phc, scheme, error) {
	if strings.HasPrefix(stored, ownPrefix) {
		p, err := parsePHC(stored)
		return p, nil, err
	}
	s, err := parseForeign(stored)
	return phc{}, s, err
}
