package awssecrets

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/cloakroom-dev/cloakroom/internal/remote"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

const (
	// maxSecret is how many bytes Secrets Manager stores in a version.
	maxSecret = 65536

	// pending is the staging label of a version that is not the current one yet. It
	// is not AWSPENDING, which belongs to the rotation functions of Secrets Manager:
	// where that one stays behind, they refuse to begin.
	pending = "CLOAKROOMPENDING"
)

// Options of a Source. The zero value, and nil, are the defaults.
type Options struct {
	// AllowPlaintext lets the endpoint be http to another host than this machine.
	// Secrets then travel in clear: for a TLS proxy beside it, never for a network.
	AllowPlaintext bool

	// Timeout bounds a Read or a Write, with the finding of credentials and all
	// attempts; zero means ten seconds. It is at least a millisecond, at most a
	// minute. The context may end it earlier.
	Timeout time.Duration
}

// A Source is a secret at AWS Secrets Manager. It comes from [Open], and may be used
// by several goroutines.
type Source struct {
	place     place
	plaintext bool
	timeout   time.Duration

	turn   chan struct{}          // holds one value while somebody makes a client
	client atomic.Pointer[client] // nil until the first call, and after a refusal
}

var _ keyring.Writer = (*Source)(nil)

// Open returns the Source at a place, which is all that stands behind "aws-sm:". It
// contacts nobody and reads no file. Its error tells every fault of the place and
// the options, a line each, and repeats nothing of the place.
func Open(place string, opts *Options) (*Source, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	p, faults := parse(place)
	timeout, fault := remote.Timeout(o.Timeout)
	if fault != "" {
		faults = append(faults, fault)
	}
	if len(faults) > 0 {
		return nil, remote.Faults("awssecrets", faults)
	}
	return &Source{place: p, plaintext: o.AllowPlaintext, timeout: timeout, turn: make(chan struct{}, 1)}, nil
}

// String returns "aws-sm:" and the place.
func (s *Source) String() string { return "aws-sm:" + s.place.String() }

// ReadOnly tells whether the place names a version-stage, so that it cannot be written to.
func (s *Source) ReadOnly() bool { return s.place.stage != current }

// Read implements [keyring.Source]: one call of GetSecretValue.
func (s *Source) Read(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	v, err := s.get(ctx)
	if err != nil {
		return nil, err
	}
	text, err := remote.Field(v.data, s.place.Field)
	if err != nil {
		return nil, s.errorf("%w", err)
	}
	return text, nil
}

// Write implements [keyring.Writer]. It stores the text as a new version, and then
// moves AWSCURRENT there from the version that held old: Secrets Manager refuses that
// if the label is elsewhere by now. Other fields of a JSON object stay as they are.
func (s *Source) Write(ctx context.Context, old, text []byte) error {
	if s.ReadOnly() {
		return s.errorf("a place with version-stage is for reading; leave the parameter out to write")
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	before, err := s.get(ctx)
	if err != nil {
		return err
	}
	held, err := remote.Field(before.data, s.place.Field)
	if err != nil {
		return s.errorf("%w", err)
	}
	if subtle.ConstantTimeCompare(held, old) == 0 {
		return keyring.ErrChanged
	}
	data, err := remote.SetField(before.data, s.place.Field, text)
	if err != nil {
		return s.errorf("%w", err)
	}
	if len(data) > maxSecret {
		return s.errorf("the secret would be longer than %d bytes, which is all that Secrets Manager takes; prune keys, or keep other fields in another secret", maxSecret)
	}
	after, err := s.put(ctx, data, before.binary)
	if err != nil {
		return err
	}
	return s.move(ctx, before.id, after)
}

// A version of the secret.
type version struct {
	id     string
	data   []byte
	binary bool // stored as SecretBinary
}

// get reads the version that has the stage of the place.
func (s *Source) get(ctx context.Context) (version, error) {
	var v version
	err := s.call(ctx, "secretsmanager:GetSecretValue", func(ctx context.Context, api *secretsmanager.Client) error {
		out, err := api.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &s.place.id, VersionStage: &s.place.stage})
		if err != nil {
			return err
		}
		v.id = aws.ToString(out.VersionId)
		switch {
		case v.id == "" || (out.SecretString == nil) == (out.SecretBinary == nil):
			return errGarbage
		case out.SecretString != nil:
			v.data = []byte(*out.SecretString)
		default:
			v.data, v.binary = out.SecretBinary, true
		}
		return nil
	})
	return v, err
}

// put stores a version that is not the current one yet, and returns its id.
func (s *Source) put(ctx context.Context, data []byte, binary bool) (string, error) {
	// The token becomes the id of the version, so that an attempt whose answer was
	// lost is repeated and not doubled.
	token := uuid()
	in := &secretsmanager.PutSecretValueInput{SecretId: &s.place.id, ClientRequestToken: &token, VersionStages: []string{pending}}
	if binary {
		in.SecretBinary = data
	} else {
		in.SecretString = aws.String(string(data))
	}
	err := s.call(ctx, "secretsmanager:PutSecretValue", func(ctx context.Context, api *secretsmanager.Client) error {
		_, err := api.PutSecretValue(ctx, in)
		return err
	})
	return token, err
}

// move is the comparing and setting: it takes AWSCURRENT from one version to another.
func (s *Source) move(ctx context.Context, from, to string) error {
	err := s.call(ctx, "secretsmanager:UpdateSecretVersionStage", func(ctx context.Context, api *secretsmanager.Client) error {
		_, err := api.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
			SecretId: &s.place.id, VersionStage: aws.String(current), MoveToVersionId: &to, RemoveFromVersionId: &from,
		})
		return err
	})
	if err == nil {
		return nil
	}
	// The label tells what has happened, which the error does not: it is one and the
	// same for "the label is elsewhere" and for a few other things, and where an
	// answer was lost, the second attempt meets what the first has done.
	now, lookErr := s.get(ctx)
	switch {
	case lookErr != nil:
		return err
	case now.id == to:
		return nil
	case now.id != from:
		return keyring.ErrChanged
	}
	return err
}

// uuid returns a random UUID (RFC 9562 §5.4).
func uuid() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// errorf makes an error that names the secret.
func (s *Source) errorf(format string, args ...any) error {
	return fmt.Errorf("awssecrets: secret %s: %w", s.place.id, fmt.Errorf(format, args...))
}
