package agekeys

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strings"

	"github.com/cloakroom-dev/cloakroom/internal/secretfile"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// Open returns the [keyring.Source] that is a file of encrypted keys. Place is its
// path, and behind a question mark what opens them, as parameters of a URL:
//
//	keys.age?identity-file=/run/secrets/identity
//	keys.age?identity-file=/run/secrets/identity&recipients-file=recipients.txt
//	keys.age?passphrase-file=/run/secrets/passphrase
//
// A path with ?, & or % in it can be written with %XX for them. Others may read the
// file, but not change it. opts may set what the place does not, and be nil.
//
// The error names every fault, a line each, and nothing of the place. No file is read.
func Open(place string, opts *Options) (*Source, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	path, query, _ := strings.Cut(place, "?")
	var faults []error
	path, ok := unescape(path)
	if !ok || path == "" || strings.HasPrefix(path, "//") {
		faults = append(faults, errors.New("agekeys: no path: write PATH?identity-file=FILE or PATH?passphrase-file=FILE"))
	}
	faults = append(faults, o.parse(query)...)
	s, err := New(file(path), &o)
	if err := errors.Join(append(faults, err)...); err != nil {
		return nil, err
	}
	s.name = "age:" + path
	return s, nil
}

// parse reads the parameters of a place.
func (o *Options) parse(query string) (faults []error) {
	var seen []string
	for query != "" {
		var param string
		param, query, _ = strings.Cut(query, "&")
		name, value, _ := strings.Cut(param, "=")
		into := map[string]*string{
			"identity-file": &o.IdentityFile, "passphrase-file": &o.PassphraseFile, "recipients-file": &o.RecipientsFile,
		}[name]
		if into == nil {
			faults = append(faults, errors.New("agekeys: unknown parameter: it takes identity-file, passphrase-file and recipients-file"))
			continue
		}
		raw := value
		value, ok := unescape(raw)
		if !ok || value == "" || slices.Contains(seen, name) {
			faults = append(faults, fmt.Errorf("agekeys: parameter %s: write it once, with the path of a file", name))
		}
		*into = cmp.Or(value, raw) // it was named, if badly
		seen = append(seen, name)
	}
	return faults
}

// unescape reads %XX. A plus sign is one, in paths.
func unescape(s string) (string, bool) {
	s, err := url.PathUnescape(s)
	return s, err == nil && !strings.ContainsAny(s, "\x00\r\n")
}

// file is the Source that is a file of encrypted keys.
type file string

var _ keyring.Writer = file("")

// Read implements [keyring.Source].
func (f file) Read(ctx context.Context) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("agekeys: %w", err)
	}
	text, err := secretfile.Read(string(f), secretfile.Sealed, maxCiphertext)
	return text, explain(err)
}

// Write implements [keyring.Writer].
func (f file) Write(ctx context.Context, old, text []byte) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("agekeys: %w", err)
	}
	err := secretfile.Replace(ctx, string(f), secretfile.Sealed, maxCiphertext, func(now []byte) ([]byte, error) {
		if subtle.ConstantTimeCompare(now, old) == 0 {
			return nil, keyring.ErrChanged
		}
		return text, nil
	})
	if errors.Is(err, keyring.ErrChanged) {
		return err
	}
	return explain(err)
}

func explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("agekeys: encrypted keys: %w; make them with: cloakroom key new | age -r RECIPIENT > FILE, with -R id.pub for an SSH key, with -p for a passphrase", err)
	case err != nil:
		return fmt.Errorf("agekeys: encrypted keys: %w", err)
	}
	return nil
}

// String returns "file:" and the path.
func (f file) String() string { return "file:" + string(f) }
