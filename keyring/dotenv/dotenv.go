// Package dotenv reads keys from a .env file, as programs in development and under
// Docker Compose have one:
//
//	SESSION_KEYS="cloakroom-key-v1 02b7c461 2026-01-02T03:04:05Z active JaTqg…"
//
//	src, err := dotenv.Open(".env#SESSION_KEYS")
//
// The value is what a key file would hold. Several key lines stand in quotation marks,
// with a line end or, in double ones, \n between them:
//
//	SESSION_KEYS='cloakroom-key-v1 …
//	cloakroom-key-v1 …'
//
// The file is read by [github.com/joho/godotenv]: with comments, export and single and
// double quotation marks. A dollar sign is refused in the value, as it would put
// something else in its place, and there is none in keys; so is, in double quotation
// marks, a backslash before anything but n, r, a backslash and a quotation mark, and
// what is set twice.
//
// [Source.Write] writes several keys over several lines in single quotation marks, which
// a shell, Docker Compose and most libraries read alike. Where there was a \n between
// keys, there is one again; a shell takes that for two characters. docker run --env-file
// knows neither.
package dotenv

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/cloakroom-dev/cloakroom/internal/secretfile"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// maxFile bounds a file in bytes: what a key file may hold, and as much again for each
// of a few other settings.
const maxFile = 256 << 10

// A Source is one name in a .env file. It comes from [Open], and is safe for
// concurrent use.
type Source struct {
	path, name string
}

var _ keyring.Writer = (*Source)(nil)

// Open returns the Source at a place, which is the path of a file, a # and the name of
// a variable. It reads nothing. The error names every fault of the place, a line each,
// and repeats nothing of it.
func Open(place string) (*Source, error) {
	var faults []error
	at := strings.LastIndexByte(place, '#')
	if at < 0 {
		return nil, errors.New("dotenv: no name: write PATH#NAME, with the name of the variable that holds the keys")
	}
	s := &Source{place[:at], place[at+1:]}
	if s.path == "" || strings.HasPrefix(s.path, "//") || strings.ContainsAny(s.path, "\x00\r\n") {
		faults = append(faults, errors.New("dotenv: no path: write PATH#NAME, with the path of the file"))
	}
	if !isName(s.name) {
		faults = append(faults, errors.New("dotenv: no name: behind the # stands that of a variable, of letters, digits and '_'"))
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return s, nil
}

// isName tells whether s is a name that a shell can set.
func isName(s string) bool {
	for i, b := range []byte(s) {
		if b != '_' && (b < 'A' || b > 'Z') && (b < 'a' || b > 'z') && (i == 0 || b < '0' || b > '9') {
			return false
		}
	}
	return s != "" && len(s) <= 255
}

// Files returns the path of the file, which nobody else should read.
func (s *Source) Files() []string { return []string{s.path} }

// String returns "dotenv:" and the place.
func (s *Source) String() string { return "dotenv:" + s.path + "#" + s.name }

// Read implements [keyring.Source]. On Unix it refuses a file that its group or others
// may read or write.
func (s *Source) Read(ctx context.Context) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("dotenv: %w", err)
	}
	text, err := secretfile.Read(s.path, secretfile.Private, maxFile)
	if err != nil {
		return nil, s.explain(err)
	}
	value, err := s.value(text)
	if err != nil {
		return nil, err
	}
	return []byte(value), nil
}

// Write implements [keyring.Writer]: it puts the keys in the place of those that the
// name has, in quotation marks, and leaves every other byte of the file as it is. It
// looks at what it is about to write as a reader would: if that gives other keys, or
// another value of any other name, it writes nothing and says so. Of programs that
// write in this way at once, one does after the other.
func (s *Source) Write(ctx context.Context, old, text []byte) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("dotenv: %w", err)
	}
	err := secretfile.Replace(ctx, s.path, secretfile.Private, maxFile, func(file []byte) ([]byte, error) {
		now, err := s.value(file)
		if err != nil {
			return nil, err
		}
		if subtle.ConstantTimeCompare([]byte(now), old) == 0 {
			return nil, keyring.ErrChanged
		}
		return s.replace(file, string(text))
	})
	var own *fault
	if err == nil || errors.Is(err, keyring.ErrChanged) || errors.As(err, &own) {
		return err
	}
	return s.explain(err)
}

// explain says what to do about an error of the file.
func (s *Source) explain(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("dotenv: %w; make it with mode 0600, and in it %s=\"…\" with what cloakroom key new prints", err, s.shown())
	}
	return fmt.Errorf("dotenv: %w", err)
}

// shown is the name where nobody has set it. Then it may be none, but a secret that
// stands in the wrong place; whoever writes names in small letters is told of NAME.
func (s *Source) shown() string {
	if strings.ToUpper(s.name) == s.name && len(s.name) < 40 {
		return s.name
	}
	return "NAME"
}

// A fault is what is wrong with what a file holds.
type fault struct{ text string }

func (f *fault) Error() string { return f.text }

func (s *Source) faultf(format string, args ...any) error {
	return &fault{fmt.Sprintf("dotenv: %q: ", s.path) + fmt.Sprintf(format, args...)}
}
