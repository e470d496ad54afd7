package gcpsecrets

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"github.com/cloakroom-dev/cloakroom/internal/remote"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// maxSecret is how many bytes Secret Manager stores in a version.
const maxSecret = 65536

// Options of a Source. The zero value, and nil, are the defaults.
type Options struct {
	// AllowPlaintext lets the endpoint, and the server that gives tokens, be http to
	// another host than this machine. Secrets then travel in clear: for a TLS proxy
	// beside it, never for a network.
	AllowPlaintext bool

	// Timeout bounds a Read or a Write, with the fetching of a token and all
	// attempts; zero means ten seconds. It is at least a millisecond, at most a
	// minute. The context may end it earlier.
	Timeout time.Duration
}

// A Source is a secret at Google Cloud Secret Manager. It comes from [Open], and may
// be used by several goroutines.
type Source struct {
	place   place
	timeout time.Duration
	link    *servers

	// turn holds one value while somebody has link's tokens, and these.
	turn   chan struct{}
	tokens oauth2.TokenSource // nil until the first call, and after a failure

	bearer atomic.Pointer[string] // the token in use; nil before the first one, and once it was refused
	newest atomic.Int64           // number of the newest version that was seen or added
}

var _ keyring.Writer = (*Source)(nil)

// Open returns the Source at a place, which is all that stands behind "gcp-sm:". It
// contacts nobody and reads no file. Its error tells every fault of the place and
// the options, a line each, and repeats nothing of the place.
func Open(place string, opts *Options) (*Source, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	p, faults := parse(place, o.AllowPlaintext)
	timeout, fault := remote.Timeout(o.Timeout)
	if fault != "" {
		faults = append(faults, fault)
	}
	if len(faults) > 0 {
		return nil, remote.Faults("gcpsecrets", faults)
	}
	return &Source{place: p, timeout: timeout, link: newServers(o.AllowPlaintext), turn: make(chan struct{}, 1)}, nil
}

// String returns "gcp-sm:" and the place.
func (s *Source) String() string { return "gcp-sm:" + s.place.String() }

// ReadOnly tells whether the place names a version, so that it cannot be written to.
func (s *Source) ReadOnly() bool { return s.place.version != latest }

// Read implements [keyring.Source]: one call of versions.access, and a second one
// where the alias latest lags behind a version that this Source has seen already.
func (s *Source) Read(ctx context.Context) ([]byte, error) {
	c, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer c.end()
	v, err := c.get(s.place.version)
	if err != nil {
		return nil, err
	}
	return c.field(v)
}

// Write implements [keyring.Writer] as well as Secret Manager allows, which has no
// way to add a version on condition. It looks whether the secret still holds old,
// adds a version, and tells by the number of that whether somebody else has added one
// in between. If so, it adds what they wrote once more, so that it counts, and
// returns [keyring.ErrChanged]. Other fields of a JSON object stay as they are.
func (s *Source) Write(ctx context.Context, old, text []byte) error {
	if s.ReadOnly() {
		return s.errorf("a place with a version is for reading; leave /versions/… out to write")
	}
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	before, err := c.newest()
	if err != nil {
		return err
	}
	held, err := c.field(before)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(held, old) == 0 {
		return keyring.ErrChanged
	}
	data, err := remote.SetField(before.data, s.place.Field, text)
	if err != nil {
		return s.errorf("%w", err)
	}
	if len(data) > maxSecret {
		return s.errorf("the secret would be longer than %d bytes, which is all that Secret Manager takes; prune keys, or keep other fields in another secret", maxSecret)
	}
	added, err := c.add(data)
	if err != nil {
		// It may be the answer that was lost, and not the version.
		if added = c.find(before.number, data); added == 0 {
			return err
		}
	}
	if added == before.number+1 {
		return nil
	}
	return c.giveWay(before.number+1, added)
}

// find returns the number of the version behind another that has this data, or 0. Keys
// are random: no other has the same bytes.
func (c *call) find(before int64, data []byte) int64 {
	for n := before + 1; n <= before+maxProbes; n++ {
		v, exists, err := c.look(n)
		var r *refusal
		switch {
		case errors.As(err, &r) && r.gone:
			continue // somebody has disabled it already
		case err != nil || !exists:
			return 0
		case subtle.ConstantTimeCompare(v.data, data) == 1:
			c.s.seen(n)
			return n
		}
	}
	return 0
}

// giveWay makes the version that was first count again, after one was added that did
// not know of it, unless another one counts already. Where that fails the error is not
// ErrChanged: who begins anew would find what was added, and take it for a success.
func (c *call) giveWay(first, added int64) error {
	_, exists, err := c.look(added + 1)
	if err == nil && !exists {
		var v version
		if v, err = c.access(strconv.FormatInt(first, 10)); err == nil {
			_, err = c.add(v.data)
		}
	}
	if err != nil {
		return c.s.errorf("somebody else has changed the secret meanwhile, and version %d, which has to be added once more, could not be: %w", first, err)
	}
	return keyring.ErrChanged
}

// errorf makes an error that names the secret.
func (s *Source) errorf(format string, args ...any) error {
	return fmt.Errorf("gcpsecrets: %s: %w", s.place.secret, fmt.Errorf(format, args...))
}
