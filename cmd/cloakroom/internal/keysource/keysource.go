// Package keysource reads the settings that say where the keys come from, and opens
// what they name: the setting keys, which is a scheme and what stands behind its
// colon, and keys-file, the path of a file that was mounted as a secret.
//
// What was given for a place may be a key that was put there by mistake. So no
// message of this package repeats any of it, but what has turned out to be a name.
package keysource

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

// The schemes of places. Mounted stands for the setting keys-file, and before no
// colon.
const (
	File    = "file"
	Env     = "env"
	Mounted = "keys-file"
)

// Schemes says what [Parse] takes, for messages and help.
const Schemes = "file:PATH and env:NAME"

// Intervals at which a source is looked at where nothing else is said: a look at a
// file costs nothing, one at a manager of secrets costs money.
const (
	fileInterval    = time.Second
	managerInterval = time.Minute
)

// A Place names where keys come from. The zero Place names nothing. Places can be
// compared, and print as what [Place.String] returns.
type Place struct {
	// Scheme is one of the constants of this package.
	Scheme string

	rest string // what stands behind the colon
	name string // what String returns
	env  *environment
}

// environment is that of the command. It lies behind a pointer, so that places can be
// compared.
type environment struct {
	lookup func(name string) (string, bool)
}

// A scheme is one kind of place.
type scheme struct {
	// open makes the source. It finds every fault of the place, a line each, and
	// contacts nobody.
	open func(p Place) (keyring.Source, error)

	// interval is the default of keys-interval; 0 for what never changes.
	interval time.Duration
}

var schemes = map[string]scheme{
	File:    {openFile, fileInterval},
	Env:     {openEnv, 0},
	Mounted: {openMounted, fileInterval},
}

// Parse reads a place as the setting keys has it. lookup finds variables of the
// command's environment. The error names every fault, a line each, and repeats
// nothing of the text. Nobody is contacted.
func Parse(text string, lookup func(name string) (string, bool)) (Place, error) {
	given, rest, ok := strings.Cut(text, ":")
	switch _, known := schemes[given]; {
	case isKey(text), isKey(rest):
		return Place{}, errKey
	case !ok:
		return Place{}, errors.New("no scheme: this version takes " + Schemes)
	case !known || given == Mounted:
		// Not even the scheme is repeated: of a password with a colon it is half.
		return Place{}, errors.New("not supported: this version takes " + Schemes)
	}
	return parse(Place{Scheme: given, rest: rest, env: &environment{lookup}})
}

// FromFile returns the place that the setting keys-file names.
func FromFile(path string) (Place, error) {
	if isKey(path) {
		return Place{}, errKey
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

// Interval returns how often the source is to be looked at by default; 0 if it never
// changes.
func (p Place) Interval() time.Duration { return schemes[p.Scheme].interval }

// Remote tells whether the source is another machine, which may be away.
func (p Place) Remote() bool { return p.Interval() == managerInterval }

// Writable tells whether the source takes new keys.
func (p Place) Writable() bool {
	src, err := p.Open()
	_, ok := src.(keyring.Writer)
	return ok && err == nil
}

// errKey is the fault of a key in the place of a place.
var errKey = errors.New("a key itself, which others may have seen there: make another with \"cloakroom key new\", " +
	"put it into a file of mode 0600 or into an environment variable, and write file:PATH or env:NAME")

// isKey tells whether a text has the looks of a key: a key line, or so many
// characters of hex or base64 as one has. A path of that shape can be written with
// ./ in front.
func isKey(text string) bool {
	text = strings.TrimSpace(text)
	if strings.Contains(text, "cloakroom-key-v") {
		return true
	}
	text = strings.TrimRight(text, "=")
	var digit, upper, lower, other bool
	for _, b := range []byte(text) {
		switch {
		case '0' <= b && b <= '9':
			digit = true
		case 'A' <= b && b <= 'Z':
			upper = true
		case 'a' <= b && b <= 'z':
			lower = true
		case b != '-' && b != '_' && b != '+':
			other = true
		}
	}
	hex := len(text) >= 32 && strings.Trim(text, "0123456789abcdefABCDEF") == ""
	return hex || !other && digit && upper && lower && len(text) >= 42
}

func openFile(p Place) (keyring.Source, error) {
	if p.rest == "" || strings.HasPrefix(p.rest, "//") || strings.ContainsAny(p.rest, "\x00\r\n") {
		return nil, errors.New("no path: write file:PATH")
	}
	return keyring.File(p.rest), nil
}

func openMounted(p Place) (keyring.Source, error) {
	if p.rest == "" || strings.ContainsAny(p.rest, "\x00\r\n") {
		return nil, errors.New("no path: write the path of the file with the keys")
	}
	return keyring.MountedFile(p.rest), nil
}

func openEnv(p Place) (keyring.Source, error) {
	if !isName(p.rest) {
		return nil, errors.New("no name of a variable: write env:NAME, of letters, digits and '_'")
	}
	v := variable{p.rest, p.env.lookup}
	if _, err := v.Read(context.Background()); err != nil {
		return nil, err
	}
	return v, nil
}

// Variable returns the name of the variable that a place names, if it names one.
func Variable(text string) (name string, ok bool) {
	name, ok = strings.CutPrefix(text, Env+":")
	return name, ok && isName(name)
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

// A variable is the Source that is a variable of the command's environment. It is not
// [keyring.Env], which asks the process.
type variable struct {
	name   string
	lookup func(name string) (string, bool)
}

// Read implements [keyring.Source].
func (v variable) Read(context.Context) ([]byte, error) {
	text, ok := v.lookup(v.name)
	if ok && strings.TrimSpace(text) != "" {
		return []byte(text), nil
	}
	state := "is not set"
	if ok {
		state = "is empty"
	}
	// What nobody has set under that name may be no name.
	what := "the variable that it names"
	if ok || strings.ToUpper(v.name) == v.name && len(v.name) < 40 {
		what = "environment variable " + v.name
	}
	return nil, fmt.Errorf("%s %s: put in what \"cloakroom key new\" prints", what, state)
}

// String returns "env:" and the name of the variable.
func (v variable) String() string { return "env:" + v.name }
