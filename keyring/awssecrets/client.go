package awssecrets

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

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
		return nil, s.errorf("%w", remote.Link(ctx, ctx.Err()))
	}
	if c := s.client.Load(); c != nil {
		return c, nil
	}
	cfg, err := config.LoadDefaultConfig(ctx, s.configure)
	if err != nil {
		return nil, s.configError(ctx, err)
	}
	if cfg.Region == "" {
		return nil, s.errorf("no region is known; add ?region=eu-central-1 to the place, or set AWS_REGION")
	}
	if cfg.Credentials == nil {
		return nil, s.errorf("%w", errNoCredentials)
	}
	c := &client{credentials: cfg.Credentials}
	c.api = secretsmanager.NewFromConfig(cfg, func(o *secretsmanager.Options) {
		base := remote.Transport()
		if b, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
			base = b.GetTransport() // with the certificates of AWS_CA_BUNDLE
		}
		o.HTTPClient = remote.Client(base, s.plaintext)
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

// configure is what differs from the SDK's defaults: nothing is logged, no
// connection is kept, attempts are few, and where they are in secret no call goes
// out in clear.
func (s *Source) configure(o *config.LoadOptions) error {
	o.Region = s.place.region
	o.Logger = logging.Nop{}
	o.DefaultsModeOptions.Mode = aws.DefaultsModeStandard // "auto" would ask the instance
	// The SDK finds credentials under a context of its own, hence a bound here.
	o.HTTPClient = awshttp.NewBuildableClient().WithTimeout(s.timeout).
		WithTransportOptions(func(t *http.Transport) { t.DisableKeepAlives = true })
	o.Retryer = func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts = attempts
			o.MaxBackoff = maxBackoff
		})
	}
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		return stack.Deserialize.Add(inClear{s.plaintext}, middleware.After)
	})
	return nil
}

// inClear refuses requests of the SDK's clients that would leave in clear, above all
// those to the services that give credentials and are shown tokens for them.
type inClear struct{ plaintext bool }

func (inClear) ID() string { return "CloakroomInClear" }

func (c inClear) HandleDeserialize(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
	switch awsmiddleware.GetServiceID(ctx) {
	case "", imds.ServiceID, "endpoint-credentials":
		// The instance's and the container's own services have no TLS. The SDK
		// itself sees to it that they are on this machine or its link.
		return next.HandleDeserialize(ctx, in)
	}
	if req, ok := in.Request.(*smithyhttp.Request); !ok || !remote.MayTalk(req.URL, c.plaintext) {
		return middleware.DeserializeOutput{}, middleware.Metadata{}, remote.ErrPlaintext
	}
	return next.HandleDeserialize(ctx, in)
}

// checkEndpoint judges the endpoint that AWS_ENDPOINT_URL_SECRETS_MANAGER,
// AWS_ENDPOINT_URL or a profile names.
func checkEndpoint(endpoint *string, plaintext bool) error {
	if endpoint == nil {
		return nil
	}
	switch u, err := url.Parse(*endpoint); {
	case err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("the endpoint that the environment or the profile names is no https URL; see AWS_ENDPOINT_URL_SECRETS_MANAGER and AWS_ENDPOINT_URL")
	case !remote.MayTalk(u, plaintext):
		return errors.New("the endpoint is plain http to another host: write https in AWS_ENDPOINT_URL_SECRETS_MANAGER or AWS_ENDPOINT_URL (ASVS 12.3.1)")
	}
	return nil
}
