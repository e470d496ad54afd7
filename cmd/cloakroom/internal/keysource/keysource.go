// Package keysource reads the settings that say where the keys come from, and opens
// what they name: the setting keys, which is a scheme and what stands behind its
// colon, and keys-file, the path of a file that was mounted as a secret.
//
// What was given for a place may be a key that was put there by mistake. So no
// message of this package repeats any of it, but what has turned out to be a name.
package keysource

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/guessable"
	"github.com/cloakroom-dev/cloakroom/internal/secretfile"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// The schemes of places. Mounted stands for the setting keys-file, and before no
// colon.
const (
	File    = "file"
	Mounted = "keys-file"
	Env     = "env"
	Dotenv  = "dotenv"
	Age     = "age"
	Vault   = "vault"
	AWS     = "aws-sm"
	GCP     = "gcp-sm"
)

// Schemes says what [Parse] takes, for messages and help.
const Schemes = "file:PATH, env:NAME, dotenv:PATH#NAME, age:PATH?identity-file=FILE, vault:…, aws-sm:… and gcp-sm:…"

// Intervals at which a source is looked at where nothing else is said: a look at a
// file costs nothing, one at a manager of secrets costs money.
const (
	fileInterval    = time.Second
	managerInterval = time.Minute
)

// A Place names where keys come from, and prints as what [Place.String] returns. The zero
// Place names nothing.
type Place struct {
	// Scheme is one of the constants of this package.
	Scheme string

	rest   string // what stands behind the colon
	name   string // what String returns
	lookup func(name string) (string, bool)
}

// Parse reads a place as the setting keys has it. lookup finds variables of the
// command's environment. The error names every fault, a line each, and repeats
// nothing of the text. Nobody is contacted.
func Parse(text string, lookup func(name string) (string, bool)) (Place, error) {
	given, rest, ok := strings.Cut(text, ":")
	switch scheme, known := schemes[given]; {
	// The names at managers of secrets may look like anything.
	case guessable.LooksLikeKey(text), known && !scheme.remote && HasKey(rest):
		return Place{}, errKey
	case scheme.file && strings.Contains(rest, "://"):
		return Place{}, errURL
	case !ok:
		return Place{}, errors.New("no scheme: for a file write file:PATH; this version takes " + Schemes)
	case !known || given == Mounted:
		// Not even the scheme is repeated: of a password with a colon it is half.
		return Place{}, errors.New("not supported: this version takes " + Schemes)
	}
	return parse(Place{Scheme: given, rest: rest, lookup: lookup})
}

// FromFile returns the place that the setting keys-file names.
func FromFile(path string) (Place, error) {
	switch {
	case HasKey(path):
		return Place{}, errKey
	case strings.Contains(path, "://"):
		return Place{}, errURL
	}
	return parse(Place{Scheme: Mounted, rest: path})
}

// InFile returns the place file:PATH, for the default.
func InFile(path string) Place {
	return Place{Scheme: File, rest: path, name: File + ":" + path}
}

// parse opens the place, which finds its faults, and forgets the source.
func parse(p Place) (Place, error) {
	src, err := p.Open()
	if err != nil {
		return Place{}, err
	}
	if s, ok := src.(fmt.Stringer); ok {
		p.name = s.String()
	}
	if path := p.Path(); path != "" {
		// There may be no such file, but a key that was taken for a path.
		p.name = strings.Replace(p.name, path, secretfile.Shown(path), 1)
	}
	return p, nil
}

// Open returns the source that the place names. It contacts nobody: a source that is
// away says so when it is read.
func (p Place) Open() (keyring.Source, error) {
	s, ok := schemes[p.Scheme]
	if !ok {
		return nil, errors.New("no place of keys")
	}
	return s.open(p)
}

// String names the place without secrets.
func (p Place) String() string { return p.name }

// Format prints what [Place.String] returns, whatever the verb.
func (p Place) Format(f fmt.State, _ rune) { fmt.Fprint(f, p.name) }

// Path returns the path of the key file that the place is, or was mounted as; "" if
// it is none.
func (p Place) Path() string {
	if p.Scheme == File || p.Scheme == Mounted {
		return p.rest
	}
	return ""
}

// Name returns the name under which the environment or a .env file has the keys; "" for
// other places.
func (p Place) Name() string {
	switch p.Scheme {
	case Env:
		return p.rest
	case Dotenv:
		return p.rest[strings.LastIndexByte(p.rest, '#')+1:]
	}
	return ""
}

// Interval returns how often the source is to be looked at by default; 0 if it never
// changes.
func (p Place) Interval() time.Duration { return schemes[p.Scheme].interval }

// Remote tells whether the source is another machine, which may be away.
func (p Place) Remote() bool { return schemes[p.Scheme].remote }

// Writable tells whether the source takes new keys. One version of a secret, which stays
// what it is, does not.
func (p Place) Writable() bool {
	src, err := p.Open()
	if _, ok := src.(keyring.Writer); err != nil || !ok {
		return false
	}
	pinned, ok := src.(interface{ ReadOnly() bool })
	return !ok || !pinned.ReadOnly()
}

// Files returns the paths of the files on which the keys depend and which nobody else
// should read: of the keys, or of what opens them.
func (p Place) Files() []string {
	if path := p.Path(); path != "" {
		return []string{path}
	}
	src, err := p.Open()
	if err != nil {
		return nil
	}
	if s, ok := src.(interface{ Files() []string }); ok {
		return s.Files()
	}
	return nil
}
