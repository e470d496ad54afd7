package keyring

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cloakroom-dev/cloakroom/internal/guessable"
)

const (
	// maxFile bounds a key file in bytes. As many keys as may be take some 8 KiB of it,
	// and what people write about them has the rest.
	maxFile = 64 << 10

	// maxFaults bounds how many faults of a file are told at once.
	maxFaults = 20
)

// An entry is a key and the line it stands on, 0 if on none.
type entry struct {
	key  Key
	line int
}

// where names the entry in an error.
func (e entry) where() string {
	if e.line == 0 {
		return e.key.String()
	}
	return fmt.Sprintf("line %d", e.line)
}

// Read reads keys. The text is either what a key file holds, one key a line as
// [ParseKey] reads it, in any order, exactly one of them active:
//
//	cloakroom-key-v1 02b7c461 2026-01-02T03:04:05Z active JaTqg…
//
// or it is one bare secret, which is taken as one active key that nobody knows
// the age of ([Key.Created] is zero): at least 32 random bytes in hexadecimal or
// base64, as these print them:
//
//	openssl rand -hex 32
//	openssl rand -base64 32
//	python3 -c 'import secrets; print(secrets.token_urlsafe(32))'
//
// 32 bytes are the secret of the key; more, up to 1024, are hashed to 32. Base64 has either
// alphabet, with padding or without, and may go on over lines of 64 or 76
// characters. Both forms may be surrounded by empty lines and by lines that begin
// with #, which say nothing. Read refuses what [New] refuses, two bare secrets, one
// beside key lines, and more than 64 KiB.
//
// The error tells every fault with the number of its line and what to do about
// it, and never shows any part of a line.
func Read(r io.Reader) (*Ring, error) {
	st, err := readState(r)
	if err != nil {
		return nil, fmt.Errorf("keyring: read keys: %w", err)
	}
	return newRing(st), nil
}

// ReadKeys reads what [Read] reads, and returns the keys in their order, secrets
// included, for a program that changes them; see [Edit]. It does not judge keys,
// as [New] and [Text] do; but it judges a bare secret, of which nothing can
// be told any more once it is a key.
func ReadKeys(r io.Reader) ([]Key, error) {
	keys, err := readKeys(r)
	if err != nil {
		return nil, fmt.Errorf("keyring: read keys: %w", err)
	}
	return keys, nil
}

func readKeys(r io.Reader) ([]Key, error) {
	entries, faults, err := readEntries(r)
	if err == nil {
		err = join(faults)
	}
	if err != nil {
		return nil, err
	}
	keys := make([]Key, len(entries))
	for i, e := range entries {
		keys[i] = e.key
	}
	return keys, nil
}

func readState(r io.Reader) (*state, error) {
	entries, faults, err := readEntries(r)
	if err != nil {
		return nil, err
	}
	active := -1
	for i, e := range entries {
		if e.key.state == Active && active < 0 {
			active = i
		}
	}
	switch {
	case len(entries) == 0 && len(faults) == 0:
		return nil, errors.New("there is no key; put in the line that cloakroom key new prints")
	case active > 0:
		e := entries[active]
		entries = slices.Insert(slices.Delete(entries, active, active+1), 0, e)
	case active < 0 && len(faults) == 0:
		// With a line that cannot be read, this may be the active one.
		faults = append(faults, errors.New("no key is active; one line has to have the state active"))
	}
	if err := join(append(faults, judgeAll(entries)...)); err != nil {
		return nil, err
	}
	st := new(state)
	for _, e := range entries {
		st.keys = append(st.keys, e.key)
	}
	return st, nil
}

var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n")

// readEntries returns the keys that can be read and the faults of the others;
// the error means that the whole cannot be read.
func readEntries(r io.Reader) (entries []entry, faults []error, err error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	switch {
	case err != nil:
		return nil, nil, err
	case len(data) > maxFile:
		return nil, nil, fmt.Errorf("more than %d KiB are not a key file", maxFile>>10)
	case bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")):
		// What > makes in older PowerShells.
		return nil, nil, errors.New("text is UTF-16; save it as UTF-8 or ASCII")
	}
	// Decoders of base64 pass over what ends a line on old systems: of two secrets with
	// that between them they would make one.
	text := lineEnds.Replace(strings.TrimPrefix(string(data), "\ufeff"))
	var bare []bareLine
	n, keyLines := 0, 0
	for line := range strings.Lines(text) {
		n++
		line = strings.Trim(line, " \t\r\n")
		switch {
		case line == "" || line[0] == '#':
			continue
		case !strings.HasPrefix(line, guessable.Marker):
			bare = append(bare, bareLine{line, n})
			continue
		}
		keyLines++
		k, err := parseKey(line)
		if err != nil {
			faults = append(faults, fmt.Errorf("line %d: %w", n, err))
			continue
		}
		entries = append(entries, entry{k, n})
	}
	e, more := readBare(bare, keyLines > 0)
	return append(entries, e...), append(faults, more...), nil
}

// join makes one error of many, one a line, the first maxFaults of them.
func join(faults []error) error {
	if more := len(faults) - maxFaults; more > 0 {
		faults = append(faults[:maxFaults:maxFaults], fmt.Errorf("and %d more faults", more))
	}
	return errors.Join(faults...)
}
