package fleet

import (
	"fmt"
	"strings"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

// Name says which instance it is, for messages: its ID and where it listens.
func (i Instance) Name() string {
	if i.Addr == "" {
		return i.ID
	}
	return i.ID + " (" + i.Addr + ")"
}

// Flag returns the flag that says of the instance that it has stopped, to be typed behind a
// command. ok is false for an ID that is not made as [crypto/rand.Text] makes those of
// instances: whoever writes to the table can write there what a shell would run.
func (i Instance) Flag() (flag string, ok bool) {
	strange := strings.ContainsFunc(i.ID, func(r rune) bool { return (r < 'A' || r > 'Z') && (r < '2' || r > '7') })
	if len(i.ID) != 26 || strange {
		return "", false
	}
	return "--stopped " + i.ID, true
}

// Active returns the key that the instance signs with, as its Keys say, and whether they do.
func (i Instance) Active() (keyring.KeyID, bool) {
	for text := range strings.SplitSeq(i.Keys, ", ") {
		if name, found := strings.CutSuffix(text, " active"); found {
			id, err := keyring.ParseKeyID(name)
			return id, err == nil
		}
	}
	return keyring.KeyID{}, false
}

// few is how many are named in a message: of thousands, nobody reads the others.
const few = 10

// Few says something of the first ten of a list, and of how many more it is not said.
func Few[T any](list []T, separator string, say func(T) string) string {
	var texts []string
	for _, e := range list[:min(len(list), few)] {
		texts = append(texts, say(e))
	}
	text := strings.Join(texts, separator)
	if more := len(list) - few; more > 0 {
		text += fmt.Sprintf("%sand %d more", separator, more)
	}
	return text
}
