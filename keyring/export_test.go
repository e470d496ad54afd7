package keyring

import (
	"strings"

	"github.com/cloakroom-dev/cloakroom/internal/guessable"
)

// NewUnjudged is New for the golden keys, which every ring refuses.
func NewUnjudged(active Key, others ...Key) *Ring {
	return newRing(&state{keys: append([]Key{active}, others...)})
}

// BareID is the ID of the key that a bare secret makes, as of golden ones, which
// every reader refuses.
func BareID(text string) (KeyID, error) {
	var lines []bareLine
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if line != "" && line[0] != '#' {
			lines = append(lines, bareLine{line, i})
		}
	}
	b, err := decodeBare(unwrap(lines)[0].text)
	if err != nil {
		return KeyID{}, err
	}
	secret := guessable.Condense(b)
	return newMaterial(&secret).id, nil
}

// ActiveKey is the key of a ring that signs, its secret included.
func ActiveKey(r *Ring) Key { return r.load().keys[0] }
