package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/cloakroom-dev/cloakroom/internal/link"
	"github.com/cloakroom-dev/cloakroom/internal/remote"
)

const (
	// maxAnswer bounds an answer in bytes. The engine takes secrets of 1 MiB.
	maxAnswer = 2 << 20

	// retries is how often a request is sent again that may be, after pause and
	// then twice as long.
	retries = 2
	pause   = 100 * time.Millisecond
)

// server is the way to the server: the official client, bounded.
type server struct {
	client    *api.Client
	transport *transport
}

// transport is an http.Transport whose answers have an end.
type transport struct{ *http.Transport }

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.Transport.RoundTrip(r)
	if err == nil {
		resp.Body = remote.Bound(resp.Body, maxAnswer)
	}
	return resp, err
}

// dial sets up the client. It contacts nobody.
func dial(pl *place) (*server, error) {
	t := &transport{remote.Transport()}
	if pl.address.Scheme == "https" {
		c, err := link.TLS(pl.tls, pl.address.Hostname())
		if err != nil {
			// Its words name the files.
			return nil, errors.New("ca, cert and key, or VAULT_CACERT, VAULT_CLIENT_CERT and VAULT_CLIENT_KEY: there is no certificate in one of the files, or cert and key are not both there and of one pair")
		}
		t.TLSClientConfig = c
	}
	client, err := api.NewClient(&api.Config{
		Address: pl.address.String(),
		HttpClient: &http.Client{
			Transport:     t,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		// A standby sends to the active server with a redirect, and whoever can
		// answer in its place could send the token anywhere.
		DisableRedirects: true,
		// What is sent again is for call to say, and the context bounds all.
		MaxRetries: 0,
	})
	if err != nil {
		// Its words may be those of the environment.
		return nil, errors.New("the Vault client refuses what it reads from the environment; correct or unset VAULT_CACERT, VAULT_CLIENT_CERT, VAULT_HEADERS, VAULT_PROXY_ADDR and what else begins with VAULT_")
	}
	if pl.namespace != "" {
		client.SetNamespace(pl.namespace)
	} else {
		client.ClearNamespace()
	}
	return &server{client, t}, nil
}

// rest closes what is open and not in use.
func (l *server) rest() { l.transport.CloseIdleConnections() }

// answer is what the server said.
type answer struct {
	status int
	body   []byte
}

// fault is why there is no answer that helps. Its text never holds what the server
// said, nor what the libraries say of that: both quote, and what they quote may be
// the keys.
type fault struct {
	text   string
	err    error // of the context, or nil
	unsent bool  // nobody has seen the request
	again  bool  // it may go better at once
	status int   // of the answer, or 0
}

func (f *fault) Error() string { return f.text }
func (f *fault) Unwrap() error { return f.err }

// call sends a request: a GET where there is no payload, else a PUT. A GET that
// failed for a reason that may pass is sent again, a PUT only if nobody has seen it.
func (l *server) call(ctx context.Context, token, path string, payload []byte) (*answer, error) {
	for i := 0; ; i++ {
		a, f := l.once(ctx, token, path, payload)
		if f == nil {
			return a, nil
		}
		if i == retries || !f.unsent && (!f.again || payload != nil) {
			return a, f
		}
		select {
		case <-ctx.Done():
			f.err = ctx.Err()
			return a, f
		case <-time.After(pause << i):
		}
	}
}

func (l *server) once(ctx context.Context, token, path string, payload []byte) (*answer, *fault) {
	l.client.SetToken(token)
	var resp *api.Response
	var err error
	if payload == nil {
		resp, err = l.client.Logical().ReadRawWithContext(ctx, path)
	} else {
		resp, err = l.client.Logical().WriteRawWithContext(ctx, path, payload)
	}
	if resp != nil {
		defer resp.Body.Close()
	}
	// A ResponseError is an answer like any other, read whole already.
	if e := new(api.ResponseError); resp == nil || err != nil && !errors.As(err, &e) {
		return nil, broken(ctx, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, broken(ctx, err)
	}
	a := &answer{resp.StatusCode, body}
	return a, a.fault()
}

// says tells whether the server's words hold a phrase, which is not repeated.
func (a *answer) says(phrase string) bool {
	return strings.Contains(strings.ToLower(string(a.body)), phrase)
}

// fault is what an answer means whatever was asked, or nil. The codes are those of
// the API's documentation.
func (a *answer) fault() *fault {
	f := &fault{status: a.status}
	switch {
	case a.status < 300:
		return nil
	case a.status < 400:
		f.text = "the server sends elsewhere, and the token goes nowhere else; name the active server, or the address that leads to it"
	case a.status == 412:
		f.text, f.again = "the server is not up to date (412); try again, or name the active server", true
	case a.status == 429:
		f.text = "the server has had too many requests (429); look less often, or raise the quota"
	case a.status == 472 || a.status == 473:
		f.text = "the server is a standby that answers nothing; name the active server"
	case a.status == 501:
		f.text = "the server is not initialized (501); run vault operator init, or name another server"
	case a.status == 503 && a.says("sealed"):
		f.text = "the server is sealed (503); run vault operator unseal"
	case a.status >= 500:
		f.text, f.again = fmt.Sprintf("the server fails (%d); see its log", a.status), true
	default:
		return nil
	}
	return f
}

// advice is what the place can say about TLS.
var advice = map[remote.Trust]string{
	remote.OfIssuer: "; or name the file of its CA with ?ca= or in VAULT_CACERT",
	remote.OfHost:   "; or give the name in it with ?server-name=",
	remote.OfClient: "; it may want a client certificate, ?cert= and &key=",
}

// broken is why there was no answer at all.
func broken(ctx context.Context, err error) *fault {
	var f *remote.Failure
	if !errors.As(remote.Explain(ctx, err), &f) {
		return &fault{text: "the connection broke off; see whether the server runs, and the address", again: true}
	}
	return &fault{text: f.Text + advice[f.Trust], err: f.Unwrap(), unsent: f.Unsent, again: f.Again}
}
