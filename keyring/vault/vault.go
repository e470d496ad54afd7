package vault

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/remote"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// defaultField is the field of the secret that holds the keys, where the place names
// none.
const defaultField = "keys"

// Options are what does not stand in a place. Nil, and the zero value, are the
// defaults.
type Options struct {
	// AllowPlaintext lets http:// lead to other hosts than this machine: whoever is
	// on the way then reads the keys and the token (ASVS 12.3.1).
	AllowPlaintext bool

	// Lookup finds a variable of the environment, as os.LookupEnv does, which is the
	// default.
	Lookup func(name string) (value string, ok bool)

	// Timeout bounds a Read or a Write, with the login and all attempts; zero means ten
	// seconds. It is at least a millisecond, at most a minute. The context may end it
	// earlier.
	Timeout time.Duration
}

// A Source is one field of a secret in a KV engine, version 2, of HashiCorp Vault or
// OpenBao. It comes from [Open], is safe for concurrent use, and works on one call
// after the other; who waits for a turn waits no longer than the context.
type Source struct {
	place  place
	limit  time.Duration // of a call
	link   *server
	turn   chan struct{} // holds one token, which is the turn
	token  *token        // nil before the first login
	denied time.Time     // when the server denied a new token
	now    func() time.Time

	renewal atomic.Pointer[error] // what Renewal returns
}

var _ keyring.Writer = (*Source)(nil)

// Open returns the source at a place, in one of two forms:
//
//	https://host:8200/MOUNT/PATH?auth=METHOD&…#FIELD
//	MOUNT/PATH?auth=METHOD&…#FIELD    the server is that of VAULT_ADDR
//
// The package's comment says what stands in the query. Open reads certificates, and
// contacts nobody. Its error tells all that is wrong with the place and the
// environment, one fault a line, and repeats none of their values.
func Open(place string, opts *Options) (*Source, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	p := parser{lookup: os.LookupEnv, plain: o.AllowPlaintext}
	if o.Lookup != nil {
		p.lookup = o.Lookup
	}
	limit, fault := remote.Timeout(o.Timeout)
	if fault != "" {
		p.fault("%s", fault)
	}
	pl := p.parse(place)
	var link *server
	if len(p.faults) == 0 {
		var err error
		if link, err = dial(pl); err != nil {
			p.fault("%w", err)
		}
	}
	if len(p.faults) > 0 {
		return nil, fmt.Errorf("vault: %w", errors.Join(p.faults...))
	}
	s := &Source{place: *pl, limit: limit, link: link, turn: make(chan struct{}, 1), now: time.Now}
	s.turn <- struct{}{}
	return s, nil
}

// String returns "vault:" and the place without its query: server, secret, field.
func (s *Source) String() string {
	return "vault:" + s.place.address.String() + "/" + s.place.mount + "/" + s.place.path + "#" + s.place.field
}

// Files returns the paths of the files that nobody else should read: of the token, secret
// id or JWT, and of the key of the client certificate.
func (s *Source) Files() []string {
	var files []string
	for _, path := range []string{s.place.login.file, s.place.tls.Get("key")} {
		if path != "" {
			files = append(files, path)
		}
	}
	return files
}

// Read implements [keyring.Source]: it returns the field as it is in the newest
// version of the secret. It logs in where that is due, and renews the login.
func (s *Source) Read(ctx context.Context) ([]byte, error) {
	var text []byte
	err := s.do(ctx, "read", func(ctx context.Context) error {
		found, err := s.get(ctx)
		if err == nil {
			text, err = found.text(s.place.field)
		}
		return err
	})
	return text, err
}

// Renewal returns why the login could not be renewed by the last Read or Write that
// tried, or nil. Keys are still read with the token in hand then, up to the time that
// the error names; after that no instance with this login reads any. So there is time
// for a warning, which Read gives no sign of; where Read fails for the same reason, it
// comes in the last quarter of the login's life. It is nil again once a login or a renewal
// has worked. Renewal contacts nobody and waits for nobody: any goroutine may call it,
// while others read.
func (s *Source) Renewal() error {
	if err := s.renewal.Load(); err != nil {
		return *err
	}
	return nil
}

// Write implements [keyring.Writer]. It reads the secret, compares the field with
// old, and writes the whole back with the other fields as they were, on condition
// that no version was written in between (the engine's check-and-set).
//
// Nothing is sent twice. Where the answer to a write is lost, Write reads once more:
// what it finds there byte for byte is its own.
func (s *Source) Write(ctx context.Context, old, text []byte) error {
	return s.do(ctx, "write", func(ctx context.Context) error {
		found, err := s.get(ctx)
		if err != nil {
			return err
		}
		now, err := found.text(s.place.field)
		if err != nil {
			return err
		}
		if !same(string(now), string(old)) {
			return keyring.ErrChanged
		}
		return s.put(ctx, found, text)
	})
}

// do runs a call when it is its turn, with a token.
func (s *Source) do(ctx context.Context, what string, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	select {
	case <-s.turn:
	case <-ctx.Done():
		return s.told(what, fmt.Errorf("no turn in time, as another call waits for the server: %w", ctx.Err()))
	}
	defer func() { s.turn <- struct{}{} }()
	// What is kept open between two looks, a minute apart, keeps goroutines.
	defer s.link.rest()
	err := s.authorized(ctx, f)
	if err == nil || errors.Is(err, keyring.ErrChanged) {
		return err
	}
	return s.told(what, err)
}

// told is an error with what was being done.
func (s *Source) told(what string, err error) error {
	return fmt.Errorf("vault: %s %s/%s: %w", what, s.place.mount, s.place.path, err)
}

// same compares secrets, in a time that tells nothing of where they differ (ASVS
// 11.2.4).
func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
