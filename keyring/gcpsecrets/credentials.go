package gcpsecrets

import (
	"cmp"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"

	"github.com/cloakroom-dev/cloakroom/internal/remote"
	"github.com/cloakroom-dev/cloakroom/internal/secretfile"
)

const (
	// scope is what every token is asked for; what it opens is a matter of IAM.
	scope = "https://www.googleapis.com/auth/cloud-platform"

	// maxFile bounds a file of credentials in bytes.
	maxFile = 1 << 20

	// early is how long before its end a token is not used any more.
	early = time.Minute

	// metadataHost is where a machine of Google's finds out about itself.
	metadataHost = "169.254.169.254"
)

// servers is the way to the API, and to who gives tokens.
type servers struct {
	api    *http.Client
	tokens *http.Client

	// ctx is that of the call that fetches a token; package oauth2 fetches under
	// the context that a source of tokens was made with, which outlives calls.
	ctx context.Context

	// failed is why that call's last request got no answer, or not all of it, and
	// status what the answer had. The package makes strings of them in places.
	failed error
	status int
}

func newServers(plaintext bool) *servers {
	l := new(servers)
	l.api = remote.Client(remote.Transport(), plaintext)
	// Metadata servers, those of AWS among them, whose identities may be exchanged
	// for Google's, have no TLS, and no proxy: they are on the
	// machine's own link.
	own := []string{metadataHost, "metadata.google.internal", "fd20:ce::254", "fd00:ec2::254"}
	l.tokens = remote.Client(remote.Transport(own...), plaintext, own...)
	inner := l.tokens.Transport
	l.tokens.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
		resp, err := inner.RoundTrip(req.WithContext(l.ctx))
		if err != nil {
			l.failed = err
			return nil, err
		}
		l.status = resp.StatusCode
		resp.Body = &noting{resp.Body, l}
		return resp, nil
	})
	return l
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// noting is a body whose failure is noted.
type noting struct {
	io.ReadCloser
	l *servers
}

func (n *noting) Read(p []byte) (int, error) {
	k, err := n.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		n.l.failed = err
	}
	return k, err
}

// token returns a token for the API: the same pointer as long as it is the same token.
func (s *Source) token(ctx context.Context, watch *remote.Watch) (*string, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, s.errorf("%w", remote.Explain(ctx, ctx.Err()))
	}
	s.link.ctx, s.link.failed, s.link.status = ctx, nil, 0
	used := s.bearer.Load()
	if used == nil {
		s.tokens = nil // what was refused is not shown again, be there another or not
	}
	if s.tokens == nil {
		tokens, err := s.link.credentials()
		if err != nil {
			return nil, s.errorf("%w", err)
		}
		s.tokens = tokens
	}
	t, err := s.tokens.Token()
	if err != nil {
		s.tokens = nil // the file may be replaced
		return nil, s.tokenError(ctx, watch, errors.Join(err, s.link.failed))
	}
	if !remote.Sendable(t.AccessToken) {
		s.tokens = nil
		return nil, s.errorf("%w", errTokenGarbage)
	}
	if used == nil || subtle.ConstantTimeCompare([]byte(*used), []byte(t.AccessToken)) == 0 {
		used = &t.AccessToken
		s.bearer.Store(used)
	}
	return used, nil
}

// seen remembers a version, and returns the newest one of all.
func (s *Source) seen(number int64) int64 {
	for {
		newest := s.newest.Load()
		if newest >= number {
			return newest
		}
		s.newest.CompareAndSwap(newest, number)
	}
}

// credentials finds them where Google's own libraries do ("Application Default
// Credentials"): the file of GOOGLE_APPLICATION_CREDENTIALS, the one that gcloud
// writes, the metadata server. The finding is not left to the library, which would
// look for the metadata server for as long as it likes, whatever the context says;
// what a file says is.
func (l *servers) credentials() (oauth2.TokenSource, error) {
	named := os.Getenv("GOOGLE_APPLICATION_CREDENTIALS")
	path := cmp.Or(named, wellKnown())
	data, err := readFile(path)
	switch {
	case err == nil:
		return l.fromFile(data)
	case named != "" && errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("the file that GOOGLE_APPLICATION_CREDENTIALS names is not there")
	case path != "" && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("the file of credentials %s; see GOOGLE_APPLICATION_CREDENTIALS", fileFault(err))
	}
	return oauth2.ReuseTokenSourceWithExpiry(nil, metadata{l}, early), nil
}

// fileFault says why a file is not used, without its path.
func fileFault(err error) string {
	if errors.Is(err, secretfile.ErrSize) {
		return "is too long to be one of Google's"
	}
	return cmp.Or(remote.FileFault(err), "cannot be read: see its owner and mode")
}

// wellKnown is the file that gcloud auth application-default login writes.
func wellKnown() string {
	const file = "application_default_credentials.json"
	if runtime.GOOS == "windows" {
		return filepath.Join(os.Getenv("APPDATA"), "gcloud", file)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".config", "gcloud", file)
}

// readFile reads a file of credentials, by the rules for secrets that are mounted (ASVS
// 13.3.1). One of workload identity federation holds no secret, and is often mounted
// from where everybody may read it; but nobody else may change it, as it says who is
// shown the token of this program.
func readFile(path string) ([]byte, error) {
	if path == "" {
		return nil, fs.ErrNotExist
	}
	data, err := secretfile.Read(path, secretfile.Mounted, maxFile)
	if errors.Is(err, secretfile.ErrMode) {
		if open, openErr := secretfile.Read(path, secretfile.Sealed, maxFile); openErr == nil && public(open) {
			return open, nil
		}
	}
	return data, err
}

// public tells whether a file of credentials holds no secret.
func public(data []byte) bool {
	var file struct {
		Type         google.CredentialsType `json:"type"`
		ClientSecret json.RawMessage        `json:"client_secret"`
		Source       struct {
			Headers json.RawMessage `json:"headers"`
		} `json:"credential_source"`
	}
	return json.Unmarshal(data, &file) == nil && file.Type == google.ExternalAccount && file.ClientSecret == nil && file.Source.Headers == nil
}

// kinds are the files of credentials that package google reads.
var kinds = []google.CredentialsType{
	google.ServiceAccount, google.AuthorizedUser, google.ExternalAccount,
	google.ExternalAccountAuthorizedUser, google.ImpersonatedServiceAccount,
}

// fromFile makes a source of tokens of a file.
func (l *servers) fromFile(data []byte) (oauth2.TokenSource, error) {
	var file struct {
		Type   google.CredentialsType
		Source struct{ File string } `json:"credential_source"`
	}
	if json.Unmarshal(data, &file) != nil || !slices.Contains(kinds, file.Type) {
		return nil, errors.New("the file of credentials is not one of Google's: want the JSON of a service account's key, of gcloud auth application-default login, or of workload identity federation; see GOOGLE_APPLICATION_CREDENTIALS")
	}
	// The library would wait for a named pipe, and nobody else would get a turn.
	if info, err := os.Stat(file.Source.File); err == nil && !info.Mode().IsRegular() {
		return nil, errors.New("the file of the token that is to be exchanged is not a regular file; see credential_source in the file of credentials")
	}
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, l.tokens)
	c, err := google.CredentialsFromJSONWithType(ctx, data, file.Type, scope)
	if err != nil {
		return nil, errors.New("the file of credentials is not complete; download it anew, and see GOOGLE_APPLICATION_CREDENTIALS")
	}
	return c.TokenSource, nil
}

// metadata gets tokens from the metadata server, as its reference says: the account
// that the machine or the pod was given.
type metadata struct{ l *servers }

var errNoCredentials = errors.New("no credentials: GOOGLE_APPLICATION_CREDENTIALS is not set, there is no file of gcloud auth application-default login, and no metadata server answers; give the machine a service account, or set one")

// errMetadata is a metadata server that says no.
type errMetadata int

func (e errMetadata) Error() string { return "the metadata server refuses" }

func (m metadata) Token() (*oauth2.Token, error) {
	host := cmp.Or(os.Getenv("GCE_METADATA_HOST"), metadataHost)
	u := &url.URL{Scheme: "http", Host: host, Path: "/computeMetadata/v1/instance/service-accounts/default/token", RawQuery: url.Values{"scopes": {scope}}.Encode()}
	// A machine without such a server has nobody at that address, and often a route
	// that leads nowhere: the rest of the call's time is not for waiting there.
	ctx, cancel := context.WithTimeout(m.l.ctx, metadataTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, noMetadata{err}
	}
	req.Header.Set("Metadata-Flavor", "Google")
	old := m.l.ctx
	m.l.ctx = ctx
	defer func() { m.l.ctx = old }()
	resp, err := m.l.tokens.Do(req)
	if err != nil {
		return nil, noMetadata{err}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errMetadata(resp.StatusCode)
	}
	var t struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
		TokenType   string `json:"token_type"`
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || json.Unmarshal(body, &t) != nil || t.ExpiresIn <= 0 {
		return nil, errTokenGarbage
	}
	return &oauth2.Token{AccessToken: t.AccessToken, TokenType: t.TokenType, Expiry: time.Now().Add(time.Duration(t.ExpiresIn) * time.Second)}, nil
}

// metadataTimeout is how long the metadata server is waited for.
const metadataTimeout = 3 * time.Second

// noMetadata is a metadata server that does not answer.
type noMetadata struct{ err error }

func (e noMetadata) Error() string { return "no metadata server" }
func (e noMetadata) Unwrap() error { return e.err }
