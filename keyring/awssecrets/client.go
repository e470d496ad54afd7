package awssecrets

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go/logging"

	"github.com/cloakroom-dev/cloakroom/internal/remote"
)

// attempts of a call.
const attempts = 3

// maxBackoff is the longest wait between two of them; of tests, a shorter one.
var maxBackoff = time.Second

// A client is what the SDK made of environment and files.
type client struct {
	api         *secretsmanager.Client
	credentials aws.CredentialsProvider
}

// call has f call the service, with credentials at hand. The action is the
// permission that f needs.
func (s *Source) call(ctx context.Context, action string, f func(context.Context, *secretsmanager.Client) error) error {
	ctx, watch := remote.WithWatch(ctx)
	c, err := s.connect(ctx)
	if err != nil {
		return err
	}
	// The credentials are asked for here once more, which the cache answers, so
	// that a failure to get them is not taken for one of the service.
	if _, err := c.credentials.Retrieve(ctx); err != nil {
		s.client.CompareAndSwap(c, nil)
		return s.credentialsError(ctx, err)
	}
	if err := f(ctx, c.api); err != nil {
		err, refused := s.explain(ctx, action, watch, err)
		if refused {
			s.client.CompareAndSwap(c, nil)
		}
		return err
	}
	return nil
}

// connect returns the client. It is made at the first call, and anew after the
// credentials were refused: they may stand in a file that has been replaced.
func (s *Source) connect(ctx context.Context) (*client, error) {
	if c := s.client.Load(); c != nil {
		return c, nil
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, s.errorf("%w", remote.Explain(ctx, ctx.Err()))
	}
	if c := s.client.Load(); c != nil {
		return c, nil
	}
	if err := s.checkFiles(); err != nil {
		return nil, err
	}
	w := &wire{plaintext: s.plaintext}
	cfg, err := config.LoadDefaultConfig(ctx, func(o *config.LoadOptions) error { s.configure(o, w); return nil })
	if err != nil {
		return nil, s.configError(ctx, err)
	}
	if cfg.Region == "" {
		return nil, s.errorf("no region is known; add ?region=eu-central-1 to the place, or set AWS_REGION")
	}
	if cfg.Credentials == nil {
		return nil, s.errorf("%w", errNoCredentials)
	}
	w.open(cfg, s.timeout)
	c := &client{credentials: cfg.Credentials}
	c.api = secretsmanager.NewFromConfig(cfg, func(o *secretsmanager.Options) {
		if fault := checkEndpoint(o.BaseEndpoint, s.plaintext); fault != nil {
			err = s.errorf("%w", fault)
		}
	})
	if err != nil {
		return nil, err
	}
	s.client.Store(c)
	return c, nil
}

// configure is what differs from the SDK's defaults: nothing is logged, attempts are
// few, and all requests go over the wire.
func (s *Source) configure(o *config.LoadOptions, w *wire) {
	o.Region = s.place.region
	o.Logger = logging.Nop{}
	o.DefaultsModeOptions.Mode = aws.DefaultsModeStandard // "auto" would ask the instance
	o.HTTPClient = closed()
	o.EndpointCredentialOptions = func(o *endpointcreds.Options) { o.HTTPClient = closed() }
	o.Retryer = func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts = attempts
			o.MaxBackoff = maxBackoff
		})
	}
	o.APIOptions = append(o.APIOptions, w.onto)
}
