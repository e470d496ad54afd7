package keyring

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"os"
	"strings"
)

// A Source is where keys come from: a file, an environment variable, a secret
// manager. Packages beside this one are Sources for age, dotenv files, Vault and
// OpenBao, AWS and Google Cloud; a program that imports none of them pays for none.
// If it has a String method, that names it in errors, and shows no secret.
//
// Its methods may be called by several goroutines at once: [Ring.Follow] reads while
// [Edit] reads and writes.
type Source interface {
	// Read returns the text of the keys as it is now, in a form that [Read] takes.
	// Its error says in one line what is wrong, where, and what to do, and shows nothing
	// of the text. The caller may keep the text, and does not change it. When ctx ends,
	// Read returns: who goes on for more than a second holds a goroutine of Follow.
	Read(ctx context.Context) ([]byte, error)
}

// A Writer is a Source that takes new keys, so that it can be rotated from here.
type Writer interface {
	Source

	// Write puts text in the place of old, which is what Read returned last. Where
	// the source holds something else by now, it changes nothing and returns
	// [ErrChanged]. It replaces all or nothing.
	Write(ctx context.Context, old, text []byte) error
}

// ErrChanged is the error of [Writer.Write] where somebody else has changed the keys
// since they were read.
var ErrChanged = errors.New("keyring: the keys have been changed meanwhile")

// Load reads the keys of a source. An error of the source itself is returned as it is. One
// of the text names the source, if that has a String method, and says what [Read] says.
func Load(ctx context.Context, src Source) (*Ring, error) {
	text, err := src.Read(ctx)
	if err != nil {
		return nil, err
	}
	return readRingOf(src, text)
}

// Env returns the Source that is an environment variable of this process. It holds
// what a key file would: key lines, or one bare secret. Where it is empty or missing,
// Read is an error. It never changes while the process lives, so keys that come this
// way rotate by a restart.
func Env(name string) Source { return env(name) }

type env string

func (e env) Read(context.Context) ([]byte, error) {
	text, ok := os.LookupEnv(string(e))
	switch {
	case !ok:
		return nil, fmt.Errorf("keyring: environment variable %s is not set; put in what cloakroom key new prints", string(e))
	case strings.TrimSpace(text) == "":
		return nil, fmt.Errorf("keyring: environment variable %s is empty; put in what cloakroom key new prints", string(e))
	}
	return []byte(text), nil
}

// String returns "env:" and the name of the variable.
func (e env) String() string { return "env:" + string(e) }

// equal tells whether two keys are one in one state. That their IDs are the same is
// no proof: who makes keys can make two of one.
func equal(a, b Key) bool {
	return a.ID() == b.ID() && a.state == b.state && a.until.Equal(b.until) && a.created.Equal(b.created) &&
		(a.material == b.material || a.material != nil && b.material != nil &&
			subtle.ConstantTimeCompare(a.secret[:], b.secret[:]) == 1)
}

// sameText compares texts with secrets in them, in a time that tells nothing of where
// they differ (ASVS 11.2.4).
func sameText(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }

// readRingOf reads the text of a source, and says of which in its error.
func readRingOf(src Source, text []byte) (*Ring, error) {
	st, err := readState(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("keyring: %s: %w", nameOf(src), err)
	}
	return newRing(st), nil
}

// readKeysOf is readRingOf for ReadKeys.
func readKeysOf(src Source, text []byte) ([]Key, error) {
	keys, err := readKeys(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("keyring: %s: %w", nameOf(src), err)
	}
	return keys, nil
}

func nameOf(src Source) string {
	if s, ok := src.(fmt.Stringer); ok {
		return s.String()
	}
	return "read keys"
}
