package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/link"
)

// ErrPlaintext is the error of a request that would leave the machine without TLS.
var ErrPlaintext = errors.New("plain http to another host: use https (ASVS 12.3.1)")

// ErrTooLong is the error of an answer that is longer than any of a secret manager.
var ErrTooLong = errors.New("the answer is too long")

// MaxAnswer bounds an answer in bytes: 64 KiB of secret, escaped as JSON may be.
const MaxAnswer = 1 << 20

// MayTalk tells whether a URL is one for secrets: https, or http to this machine, or to
// one of the other hosts, which speak plain http by design.
func MayTalk(u *url.URL, plaintext bool, others ...string) bool {
	return u.Scheme == "https" || u.Scheme == "http" && (plaintext || link.Local(u.Hostname()) || among(others, u.Hostname()))
}

// Transport returns what a Client stands on. It is not http.DefaultTransport, which a
// program may have replaced by something that records what goes by. The hosts are not
// asked for through a proxy; see [Proxy].
func Transport(direct ...string) *http.Transport {
	return &http.Transport{
		Proxy:                  Proxy(direct...),
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// Proxy returns which proxy a request goes through: that of the environment
// (HTTP_PROXY, HTTPS_PROXY, NO_PROXY), but none to this machine, however it is written,
// and none to the hosts, which speak plain http by design: a proxy would read along.
func Proxy(direct ...string) func(*http.Request) (*url.URL, error) {
	return func(r *http.Request) (*url.URL, error) {
		if host := r.URL.Hostname(); link.Local(host) || among(direct, host) {
			return nil, nil
		}
		return http.ProxyFromEnvironment(r)
	}
}

// among tells whether a host is one of several. Names have no case, and an address of
// IP version 6 can be written in many ways.
func among(hosts []string, host string) bool {
	addr, err := netip.ParseAddr(host)
	return slices.ContainsFunc(hosts, func(h string) bool {
		one, no := netip.ParseAddr(h)
		return err == nil && no == nil && one == addr || strings.EqualFold(h, host)
	})
}

// Client returns a client that speaks to one server only, so to say: it follows no
// redirect, which would carry a secret or a token along; it talks plain http to this
// machine alone, unless plaintext is set; it reads no more than [MaxAnswer]; and it
// keeps no connection, so that nothing runs on between two looks. The other hosts are
// those that plain http is spoken with by design.
func Client(base *http.Transport, plaintext bool, others ...string) *http.Client {
	base.DisableKeepAlives = true
	return &http.Client{Transport: &transport{base, plaintext, others}}
}

type transport struct {
	base      http.RoundTripper
	plaintext bool
	others    []string
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if !MayTalk(req.URL, t.plaintext, t.others...) {
		return nil, ErrPlaintext
	}
	resp, err := t.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if w, ok := req.Context().Value(watchKey{}).(*Watch); ok {
		if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
			w.Ahead = time.Until(date)
		}
	}
	// Without it nobody follows a redirect, whichever client is put around this.
	resp.Header.Del("Location")
	resp.Body = Bound(resp.Body, MaxAnswer)
	return resp, nil
}

// A Watch sees what the clients of a call see.
type Watch struct {
	// Ahead is by how much the server's clock is ahead of this machine's, to a
	// second or two.
	Ahead time.Duration
}

type watchKey struct{}

// WithWatch returns a context whose requests through a Client are watched.
func WithWatch(ctx context.Context) (context.Context, *Watch) {
	w := new(Watch)
	return context.WithValue(ctx, watchKey{}, w), w
}

// Clock tells in words by how much this machine's clock is off, or nothing if it is
// not by what a signature bears: AWS allows five minutes, Google about as much.
func (w *Watch) Clock() string {
	switch d := w.Ahead.Round(time.Second); {
	case d > 4*time.Minute:
		return "this machine's clock is " + d.String() + " behind the server's"
	case d < -4*time.Minute:
		return "this machine's clock is " + (-d).String() + " ahead of the server's"
	}
	return ""
}

// Bound returns a body that fails with [ErrTooLong] where it has more than limit bytes.
func Bound(body io.ReadCloser, limit int64) io.ReadCloser { return &bounded{body, limit} }

type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		if n, err := b.ReadCloser.Read(make([]byte, 1)); n == 0 {
			return 0, err
		}
		return 0, ErrTooLong
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	return n, err
}

// A Failure is a link that failed, in words that show nothing of what was sent.
type Failure struct {
	Text   string
	Trust  Trust // why TLS failed, where the place can say what to do about it
	Unsent bool  // nobody has seen the request
	Again  bool  // a second attempt may mend it
	cause  error // of the contexts' two, or nil
}

// Trust is what a client and a server of TLS disagree on.
type Trust int

const (
	NotTLS   Trust = iota // or nothing about it that a place can say
	OfIssuer              // who signed the server's certificate
	OfHost                // the host in it
	OfClient              // what the server wants of the client: a certificate, maybe
)

func (f *Failure) Error() string { return f.Text }

// Unwrap returns the error of the context where the call ended with it.
func (f *Failure) Unwrap() error { return f.cause }

// Explain tells what went wrong on the way to a server, as a [*Failure], or returns nil
// where the way was not to blame.
func Explain(ctx context.Context, err error) error {
	f := untrusted(err)
	if f == nil {
		f = unreached(ctx, err)
	}
	if f == nil {
		return nil
	}
	var op *net.OpError
	f.Unsent = errors.As(err, &op) && dialing(op)
	return f
}

// dialing tells whether there was no connection yet.
func dialing(op *net.OpError) bool { return op.Op == "dial" || op.Op == "proxyconnect" }

// unreached is why a request or its answer got lost, or nil.
func unreached(ctx context.Context, err error) *Failure {
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.Is(err, ErrPlaintext):
		return &Failure{Text: ErrPlaintext.Error()}
	case errors.Is(err, ErrTooLong):
		return &Failure{Text: "the answer is longer than any of a secret manager; see what listens there"}
	case errors.Is(ctx.Err(), context.Canceled):
		return &Failure{Text: "the call was given up", cause: context.Canceled}
	case ctx.Err() != nil || timeout(err):
		return &Failure{Text: "no answer in time; see whether the server runs, and whether a firewall or proxy is in between", cause: context.DeadlineExceeded}
	case errors.As(err, &dns):
		return &Failure{Text: "the name of the host is not known to DNS; see region, endpoint and resolver"}
	case errors.Is(err, syscall.ECONNREFUSED):
		return &Failure{Text: "the connection was refused; see whether the server runs, the endpoint, and whether a proxy is needed"}
	case errors.As(err, &op) && dialing(op):
		return &Failure{Text: "the host cannot be reached; see network, endpoint and proxy"}
	case op != nil, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &Failure{Text: "the connection broke off; see whether a firewall or proxy is in between", Again: true}
	// net/http makes strings of a few of its errors.
	case strings.Contains(err.Error(), "malformed HTTP"):
		return &Failure{Text: "the answer is not HTTP; see what listens there"}
	}
	return nil
}

func timeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

// untrusted is why TLS failed, or nil.
func untrusted(err error) *Failure {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verify *tls.CertificateVerificationError
	var header tls.RecordHeaderError
	var alert *net.OpError
	f := new(Failure)
	switch {
	case errors.As(err, &host):
		f.Text, f.Trust = "the server's certificate is for another host; see the endpoint", OfHost
	case errors.As(err, &authority):
		f.Text, f.Trust = "the server's certificate is of an authority that this machine does not trust; install the system's CA certificates, or that of the proxy in between", OfIssuer
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		f.Text = "the server's certificate has expired or is not valid yet; renew it, or set this machine's clock"
	case errors.As(err, &invalid), errors.As(err, &verify):
		f.Text = "the server's certificate is not valid; see it with openssl s_client"
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &header):
		f.Text = "what answers does not speak TLS; see the endpoint and its port"
	case errors.As(err, &alert) && alert.Op == "remote error":
		// An alert, which is a number, and has words of Go's own.
		f.Text, f.Trust = "the server refuses ("+alert.Err.Error()+")", OfClient
	default:
		return nil
	}
	f.Text = "TLS failed: " + f.Text
	return f
}
