package remote

import (
	"errors"
	"io/fs"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/secretfile"
)

// Timeout returns what bounds a Read or a Write of a source, ten seconds where its
// options say nothing, and what is wrong with them, or "".
func Timeout(option time.Duration) (limit time.Duration, fault string) {
	switch {
	case option == 0:
		return 10 * time.Second, ""
	case option < time.Millisecond || option > time.Minute:
		return 0, "Options.Timeout must be between 1ms and 1m"
	}
	return option, ""
}

// MaxToken bounds, in bytes, a token and what one is given for.
const MaxToken = 32 << 10

// Sendable tells whether a text can be a token, and stand in a header (RFC 6750 §2.1):
// it is printable ASCII without spaces. net/http would quote it in its error otherwise.
func Sendable(text string) bool {
	return text != "" && len(text) <= MaxToken && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}

// FileFault says why a file with a secret, read by [secretfile.Mounted], is not used, and
// what to do; it is to stand behind a name for the file. The path is not in it: somebody
// may have written the secret itself in its place. Of errors that are about something
// else it says nothing.
func FileFault(err error) string {
	switch {
	case errors.Is(err, secretfile.ErrMode):
		return "is open to others: run chmod 600 on it, or mount it with mode 0400 (in memory, on tmpfs, others may read it, but not change it)"
	case errors.Is(err, secretfile.ErrKind):
		return "is not a regular file: name the file itself"
	case errors.Is(err, fs.ErrPermission):
		return "may not be read: it has to belong to the user that this program runs as"
	}
	return ""
}
