package awssecrets

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/sso"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/cloakroom-dev/cloakroom/internal/remote"
)

// linkLocal are the services of an instance and of a container, which speak plain http
// on the machine's own link: the metadata service (EC2), the agents of ECS and of EKS
// Pod Identity.
var linkLocal = []string{"169.254.169.254", "fd00:ec2::254", "169.254.170.2", "169.254.170.23", "fd00:ec2::23"}

// A wire is what every client of the SDK sends its requests through, be it that of
// Secrets Manager or one that gets credentials. The SDK's own clients would follow
// redirects, read without end, and go through a proxy to where nothing is encrypted.
type wire struct {
	plaintext bool

	// These are nil until the SDK has read which certificates are trusted, and sends
	// nothing before that.
	services  *http.Client // of AWS
	container *http.Client // the agent that gives a container credentials
	instance  *http.Client // the metadata service
}

// open makes the clients, with the certificates of AWS_CA_BUNDLE, or the system's.
func (w *wire) open(cfg aws.Config, timeout time.Duration) {
	var trusted *x509.CertPool
	if b, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		if t := b.GetTransport().TLSClientConfig; t != nil {
			trusted = t.RootCAs
		}
	}
	client := func(t *http.Transport, others ...string) *http.Client {
		t.TLSClientConfig = &tls.Config{RootCAs: trusted}
		c := remote.Client(t, w.plaintext, others...)
		// The SDK finds credentials under a context of its own, hence a bound here.
		c.Timeout = timeout
		return c
	}
	w.services = client(remote.Transport())
	w.container = client(remote.Transport(linkLocal...), linkLocal...)
	// Where there is no metadata service, nobody says so; the SDK waits as long.
	t := remote.Transport(linkLocal...)
	t.DialContext = (&net.Dialer{Timeout: 250 * time.Millisecond}).DialContext
	t.ResponseHeaderTimeout = 500 * time.Millisecond
	w.instance = client(t, linkLocal...)
}

// onto puts the wire at the end of a client's stack, and looks at what comes out of it.
func (w *wire) onto(stack *middleware.Stack) error {
	if err := stack.Initialize.Add(judge, middleware.Before); err != nil {
		return err
	}
	return stack.Deserialize.Add(sender{w, stack.ID()}, middleware.After)
}

var errNoneGiven = errors.New("an answer that is to hold credentials has none")

// judge refuses answers without credentials, which the SDK takes for ones that have
// some: it would bring the program down.
var judge = middleware.InitializeMiddlewareFunc("CloakroomJudge", func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
	out, metadata, err := next.HandleInitialize(ctx, in)
	if err != nil {
		return out, metadata, err
	}
	empty := false
	switch r := out.Result.(type) {
	case *sts.AssumeRoleOutput:
		empty = r.Credentials == nil
	case *sts.AssumeRoleWithWebIdentityOutput:
		empty = r.Credentials == nil
	case *sso.GetRoleCredentialsOutput:
		empty = r.RoleCredentials == nil
	}
	if empty {
		return middleware.InitializeOutput{}, metadata, errNoneGiven
	}
	return out, metadata, nil
})

// A sender sends the requests of one operation, in place of the client's own sender.
type sender struct {
	*wire
	operation string
}

func (sender) ID() string { return "CloakroomSender" }

func (s sender) HandleDeserialize(ctx context.Context, in middleware.DeserializeInput, _ middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
	// Others in the stack look for an answer even where there is none.
	none := middleware.DeserializeOutput{RawResponse: &smithyhttp.Response{Response: &http.Response{Header: http.Header{}, Body: http.NoBody}}}
	client, others := s.services, []string(nil)
	switch awsmiddleware.GetServiceID(ctx) {
	case "", imds.ServiceID, "endpoint-credentials":
		client, others = s.instance, linkLocal
		if s.operation == "GetCredentials" {
			client = s.container
		}
	}
	req, ok := in.Request.(*smithyhttp.Request)
	switch {
	case !ok || client == nil:
		return none, middleware.Metadata{}, errPastWire
	case !remote.MayTalk(req.URL, s.plaintext, others...):
		// The client judges as well; but what it refuses is tried three times.
		return none, middleware.Metadata{}, remote.ErrPlaintext
	}
	out, metadata, err := smithyhttp.NewClientHandlerWithOptions(client).Handle(ctx, req)
	if out == nil {
		return none, metadata, err
	}
	return middleware.DeserializeOutput{RawResponse: out}, metadata, err
}

var errPastWire = errors.New("a request goes past the wire")

// closed is the client that the SDK is given to put certificates into. Nothing is sent
// with it: what does not come to the wire fails.
func closed() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.Proxy = func(*http.Request) (*url.URL, error) { return nil, errPastWire }
	})
}

// checkEndpoint judges the endpoint that AWS_ENDPOINT_URL_SECRETS_MANAGER,
// AWS_ENDPOINT_URL or a profile names.
func checkEndpoint(endpoint *string, plaintext bool) error {
	if endpoint == nil {
		return nil
	}
	switch u, err := url.Parse(*endpoint); {
	case err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("the endpoint that the environment or the profile names is not an https URL; see AWS_ENDPOINT_URL_SECRETS_MANAGER and AWS_ENDPOINT_URL")
	case !remote.MayTalk(u, plaintext):
		return errors.New("the endpoint is plain http to another host: write https in AWS_ENDPOINT_URL_SECRETS_MANAGER or AWS_ENDPOINT_URL (ASVS 12.3.1)")
	}
	return nil
}
