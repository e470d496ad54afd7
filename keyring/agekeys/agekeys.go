// Package agekeys keeps keys encrypted with age (https://age-encryption.org), so that
// the file which holds them may lie where others read: in a repository, in a backup,
// in a bucket.
//
//	src, err := agekeys.Open("keys.age?identity-file=/run/secrets/identity", nil)
//
// is the [keyring.Source] for a file, and [New] one around any other. What opens the
// keys lies in a file of its own: either identities, as age-keygen prints them
// (X25519 or hybrid post-quantum, but no plugins), or a private SSH key (ed25519, or RSA
// of 2048 bits and more, without a passphrase), or a passphrase. Identities of age's own
// are the best choice. A passphrase costs a second and 256 MiB of memory each time that
// the keys change, and people make them up. An SSH key is there for something else as
// well, and whoever sees the ciphertext can tell which one opens it.
//
// To encrypt a key file, with the age command:
//
//	cloakroom key new | age -r age1… > keys.age
//	cloakroom key new | age -R ~/.ssh/id_ed25519.pub > keys.age
//	cloakroom key new | age -p > keys.age
package agekeys

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/cloakroom-dev/cloakroom/internal/secretfile"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// Bounds in bytes: of what is read, and of what is found in it. A package that reads
// keys takes 64 KiB of text.
const (
	maxText       = 64 << 10
	maxCiphertext = 256 << 10
	maxPassphrase = 4 << 10
	maxIdentities = 64 << 10
)

// defaultWorkFactor is what age itself takes for a passphrase.
const defaultWorkFactor = 18

// Options say what opens the keys. Exactly one of IdentityFile and PassphraseFile has
// to be set. Both files have to be readable for their owner alone, but where something
// else has mounted them into memory.
type Options struct {
	// IdentityFile is the path of a file with identities, one a line, or with private
	// SSH keys.
	IdentityFile string

	// PassphraseFile is the path of a file with the passphrase. A line end behind it
	// does not count.
	PassphraseFile string

	// RecipientsFile is the path of a file with recipients, one a line, to whom new
	// keys are encrypted. It goes with IdentityFile, and is needed where others than
	// those identities can open the keys, and shall go on to. Without it, new keys are
	// encrypted to the identities.
	RecipientsFile string

	// MaxWorkFactor bounds what a passphrase may cost: 2^MaxWorkFactor KiB of memory
	// for a moment. Zero means 18, which is what age itself takes: about a second and
	// 256 MiB. The bounds are 1 and 22.
	MaxWorkFactor int
}

// check returns every fault of the options.
func (o *Options) check() error {
	var faults []error
	switch {
	case o.IdentityFile == "" && o.PassphraseFile == "":
		faults = append(faults, errors.New("agekeys: nothing says what opens the keys: give an identity file or a passphrase file"))
	case o.IdentityFile != "" && o.PassphraseFile != "":
		faults = append(faults, errors.New("agekeys: both an identity file and a passphrase file: give one of them"))
	}
	if o.RecipientsFile != "" && o.PassphraseFile != "" {
		faults = append(faults, errors.New("agekeys: a passphrase goes with no other recipient: leave the recipients file out"))
	}
	if o.MaxWorkFactor < 0 || o.MaxWorkFactor > 22 {
		faults = append(faults, errors.New("agekeys: the largest work factor has to be from 1 to 22"))
	}
	return errors.Join(faults...)
}

// A Source decrypts what another source holds, and encrypts what that is to hold. It
// comes from [Open] or [New], and is safe for concurrent use.
type Source struct {
	inner keyring.Source
	name  string
	opts  Options

	// lock holds one value while somebody reads what follows: unlike a mutex, it can
	// be waited for no longer than a context allows.
	lock   chan struct{}
	opened *opened  // what could be decrypted last, nil before
	failed *failure // what could not, nil if the last could

	// These are pointers, as fmt walks the unexported fields of other people's structs
	// without asking for methods. With a verb that does not suit it shows what a pointer
	// there leads to, and of one behind that the address.
}

// opened is a text and what it was decrypted from.
type opened struct {
	from    [sha256.Size]byte // of the ciphertext
	text    []byte
	armored bool
	cost    int // the work factor of its passphrase, 0 if it has none
	others  int // recipients whose identities we have not
}

// failure is an error and what it came from, so that a passphrase which does not fit is
// not tried every second.
type failure struct {
	from [sha256.Size]byte // of ciphertext and secret
	err  error
}

var _ keyring.Writer = (*Source)(nil)

// New returns the Source that decrypts what inner holds, binary or armored. It can be
// written to if inner can, as a [keyring.Writer]: see [Source.ReadOnly]. It reads no file
// yet. The error names every fault of the options, a line each.
//
// A ciphertext is decrypted once, and what was found is kept, as is that it could not
// be opened.
func New(inner keyring.Source, opts *Options) (*Source, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	name := "age"
	if s, ok := inner.(fmt.Stringer); ok {
		name += " in " + s.String()
	}
	s := &Source{inner: inner, name: name, opts: o, lock: make(chan struct{}, 1)}
	if s.opts.MaxWorkFactor == 0 {
		s.opts.MaxWorkFactor = defaultWorkFactor
	}
	return s, nil
}

// ReadOnly tells whether the inner source cannot be written to: it is no Writer, or says
// so itself.
func (s *Source) ReadOnly() bool {
	_, ok := s.inner.(keyring.Writer)
	pinned, says := s.inner.(interface{ ReadOnly() bool })
	return !ok || says && pinned.ReadOnly()
}

// String names the source without secrets.
func (s *Source) String() string { return s.name }

// Files returns the paths of the files that nobody else should read: of identities or
// passphrase. The keys themselves are encrypted.
func (s *Source) Files() []string {
	return []string{cmp.Or(s.opts.IdentityFile, s.opts.PassphraseFile)}
}

// Format prints what String returns, whatever the verb.
func (s *Source) Format(f fmt.State, _ rune) { io.WriteString(f, s.name) }

// Read implements [keyring.Source].
func (s *Source) Read(ctx context.Context) ([]byte, error) {
	_, o, err := s.read(ctx)
	return bytes.Clone(o.text), err
}

// read returns what the inner source holds, and what that is when it is decrypted.
func (s *Source) read(ctx context.Context) (sealed []byte, o opened, err error) {
	if sealed, err = s.inner.Read(ctx); err != nil {
		return nil, opened{}, err
	}
	select {
	case s.lock <- struct{}{}:
	case <-ctx.Done():
		return nil, opened{}, fmt.Errorf("agekeys: wait for another reader: %w", ctx.Err())
	}
	defer func() { <-s.lock }()
	from := sha256.Sum256(sealed)
	if s.opened != nil && s.opened.from == from {
		return sealed, *s.opened, nil
	}
	secret, err := s.secret()
	if err != nil {
		return nil, opened{}, err
	}
	both := sha256.Sum256(append(from[:], secret...))
	if s.failed != nil && s.failed.from == both {
		return nil, opened{}, s.failed.err
	}
	if o, err = s.decrypt(ctx, sealed, secret); err != nil {
		if ctx.Err() == nil {
			s.failed = &failure{both, err}
		}
		return nil, opened{}, err
	}
	o.from = from
	s.opened, s.failed = &o, nil
	return sealed, o, nil
}

// secret reads what opens the keys.
func (s *Source) secret() ([]byte, error) {
	path, limit, what := s.opts.IdentityFile, maxIdentities, "identity"
	if path == "" {
		path, limit, what = s.opts.PassphraseFile, maxPassphrase, "passphrase"
	}
	return readNamed(what, path, secretfile.Mounted, limit)
}

// readNamed reads the file with what a parameter names. The error names the file only
// if there is one: someone may have written the secret in the place of its path. It is
// not wrapped: a file that is missing here does not mean that there are no keys.
func readNamed(what, path string, rule secretfile.Rule, limit int) ([]byte, error) {
	text, err := secretfile.Read(path, rule, limit)
	var open *fs.PathError
	switch {
	case err == nil:
		return text, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("agekeys: there is no such file as %s-file says; write its path", what)
	case errors.As(err, &open) && !errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("agekeys: what %s-file says cannot be read: %v", what, open.Err)
	}
	return nil, fmt.Errorf("agekeys: %s file: %v", what, err)
}

// Write implements [keyring.Writer]: it encrypts text to whom the keys are encrypted,
// and puts that in the place of what the inner source holds. Where that is read only, it
// is an error.
func (s *Source) Write(ctx context.Context, old, text []byte) error {
	if s.ReadOnly() {
		return errReadOnly
	}
	sealed, now, err := s.read(ctx)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(now.text, old) == 0 {
		return keyring.ErrChanged
	}
	next, err := s.encrypt(ctx, now, text)
	if err != nil {
		return err
	}
	return s.inner.(keyring.Writer).Write(ctx, sealed, next)
}
