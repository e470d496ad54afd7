package keysource

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/guessable"
	"github.com/cloakroom-dev/cloakroom/internal/secretfile"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/keyring/agekeys"
	"github.com/cloakroom-dev/cloakroom/keyring/awssecrets"
	"github.com/cloakroom-dev/cloakroom/keyring/dotenv"
	"github.com/cloakroom-dev/cloakroom/keyring/gcpsecrets"
	"github.com/cloakroom-dev/cloakroom/keyring/vault"
)

// A scheme is one kind of place.
type scheme struct {
	// open makes the source. It finds every fault of the place, a line each, and
	// contacts nobody.
	open func(p Place) (keyring.Source, error)

	// interval is the default of keys-interval; 0 for what never changes.
	interval time.Duration

	remote bool // the source is another machine: a manager of secrets
	file   bool // the place begins with the path of a file
}

var schemes = map[string]scheme{
	File:    {openFile, fileInterval, false, true},
	Mounted: {openMounted, fileInterval, false, true},
	Env:     {openEnv, 0, false, false},
	Dotenv:  {openDotenv, fileInterval, false, true},
	Age:     {openAge, fileInterval, false, true},
	Vault:   {openVault, managerInterval, true, false},
	AWS:     {openAWS, managerInterval, true, false},
	GCP:     {openGCP, managerInterval, true, false},
}

// errKey is the fault of a key in the place of a place.
var errKey = errors.New("a key itself, which others may have seen there: make another with \"cloakroom key new\", " +
	"put it into a file of mode 0600 or into an environment variable, and write file:PATH or env:NAME")

// errURL is the fault of a URL in the place of a path.
var errURL = secretfile.CheckPath("://", "file")

func openDotenv(p Place) (keyring.Source, error) { return opened(dotenv.Open(p.rest)) }

func openAge(p Place) (keyring.Source, error) { return opened(agekeys.Open(p.rest, nil)) }

func openVault(p Place) (keyring.Source, error) {
	return opened(vault.Open(p.rest, &vault.Options{Lookup: p.lookup}))
}

func openAWS(p Place) (keyring.Source, error) { return opened(awssecrets.Open(p.rest, nil)) }

func openGCP(p Place) (keyring.Source, error) { return opened(gcpsecrets.Open(p.rest, nil)) }

// opened returns a source, or the faults of its place without the name of the package
// that found them: messages begin with that of the setting.
func opened[S keyring.Source](src S, err error) (keyring.Source, error) {
	if err == nil {
		return src, nil
	}
	return nil, errors.New(Bare(err))
}

// packages are the names of packages that begin messages.
var packages = []string{"keyring: ", "read keys: ", "dotenv: ", "agekeys: ", "vault: ", "awssecrets: ", "gcpsecrets: "}

// Bare is the text of an error of a source, or of its keys, without the names of the
// packages that each line begins with.
func Bare(err error) string {
	lines := strings.Split(err.Error(), "\n")
	for i := range lines {
		for _, p := range packages {
			lines[i] = strings.TrimPrefix(lines[i], p)
		}
	}
	return strings.Join(lines, "\n")
}

// HasKey is [guessable.HasKey].
func HasKey(text string) bool {
	return guessable.HasKey(text)
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
	v := variable{p.rest, p.lookup}
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
