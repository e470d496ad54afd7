package probe_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/audit"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/doctor/probe"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/finding"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/web"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/password"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
)

const (
	host         = "login.example.org"
	public       = "https://" + host
	goodPassword = "correct horse battery staple"
)

// service is the real thing, as cloakroom serve puts it together.
type service struct {
	handler http.Handler
	url     *url.URL // where it listens, over plain http
	users   *sqlusers.Users
}

// settings are what services differ in.
type settings struct {
	public  string
	empty   bool // nobody has an account
	sealed  bool
	trusted []netip.Prefix
	keys    *keyring.Ring
	hashes  bool // also for the probe's guess, see unhashed
}

// unhashed makes the password of the probe's guess too long behind all proxies. The
// service refuses it in the same words and without a hash, of which there would be one
// for each fault: they were most of the work.
func unhashed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && r.URL.Path == "/auth/login" {
			text, _ := io.ReadAll(r.Body)
			form, err := url.ParseQuery(string(text))
			if err == nil && strings.HasPrefix(form.Get("username"), "doctor-") {
				form.Set("password", strings.Repeat("x", password.MaxLength+1))
				text = []byte(form.Encode())
				r.ContentLength = int64(len(text))
			}
			r.Body = io.NopCloser(bytes.NewReader(text))
		}
		next.ServeHTTP(w, r)
	})
}

// The proxies are at one address, and visitors come from another.
var proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}

const visitors = "198.51.100.50"

// beside are the proxies where the visitors' address is one of them.
var beside = append([]netip.Prefix{netip.MustParsePrefix(visitors + "/32")}, proxies...)

// visiting makes requests come from where visitors are.
func visiting(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.RemoteAddr = visitors + ":40000"
		next.ServeHTTP(w, r)
	})
}

// visitor is a connection that does.
type visitor struct{ net.Conn }

func (visitor) LocalAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(visitors), Port: 40000} }

// hashing is as strong as the default and, in little memory, half the work for the
// race detector.
var hashing = password.Options{Params: password.Params{Memory: 7168, Time: 5, Threads: 1}, Wait: 30 * time.Second}

// theHash is one for all accounts: hashes take time.
var theHash = sync.OnceValues(func() (string, error) {
	h, err := password.New(&hashing)
	if err != nil {
		return "", err
	}
	return h.Hash(context.Background(), goodPassword)
})

func newService(t *testing.T, s settings) *service {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "users.db"), nil)
	must(err)
	t.Cleanup(func() { db.Close() })
	users, err := sqlusers.New(t.Context(), db)
	must(err)
	hasher, err := password.New(&hashing)
	must(err)
	if !s.empty {
		phc, err := theHash()
		must(err)
		for _, name := range []string{"ada", "eve"} {
			_, err = users.Create(t.Context(), sqlusers.NewUser{Name: name, Roles: []string{"admin"}, Password: phc, MustChange: name == "eve"})
			must(err)
		}
	}
	if s.keys == nil {
		s.keys, err = keyring.New(keyring.Generate())
		must(err)
	}
	sessions := memstore.New(nil)
	logger := audit.NewLogger(io.Discard, "text", "error")
	opts := web.Options{
		Prefix: "/auth", Accounts: users, Hasher: hasher, Logger: logger, Unlisted: s.sealed, PublicURL: s.public,
		HTTPS: s.public != "" && s.public[:6] == "https:",
		Manager: func(o *cloakroom.Options) (*cloakroom.Manager, error) {
			if s.sealed {
				return cloakroom.NewSealed(s.keys, sessions, o)
			}
			return cloakroom.New(sessions, s.keys, o)
		},
		// Patient, as everything else runs beside it.
		UsersTimeout: 10 * time.Second,
		Session:      cloakroom.Options{IdleTimeout: time.Hour, Lifetime: 24 * time.Hour, StoreTimeout: 10 * time.Second, ClientAddr: audit.ClientAddr},
	}
	if s.public != "" && !opts.HTTPS {
		opts.Session.CookieName, opts.Session.Insecure = "session", true
	}
	site, err := web.New(opts)
	must(err)
	v := &service{handler: audit.Middleware(logger, s.trusted, site.Fail, site), users: users}
	if !s.hashes {
		v.handler = unhashed(v.handler)
	}
	inner := httptest.NewServer(v.handler)
	t.Cleanup(inner.Close)
	v.url, err = url.Parse(inner.URL)
	must(err)
	return v
}

// proxy is a reverse proxy that does nothing wrong, and then what a fault says.
func (s *service) proxy(f *fault) http.Handler {
	p := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(s.url)
			r.Out.Host = r.In.Host
			r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
			r.SetXForwarded()
			if f.request != nil {
				f.request(r)
			}
		},
		ModifyResponse: f.response,
		ErrorLog:       log.New(io.Discard, "", 0),
	}
	if f.around != nil {
		return f.around(p)
	}
	return p
}

// authority signs the certificates of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// theAuthority is one for all tests: making keys takes time.
var theAuthority = sync.OnceValue(func() *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	a := &authority{key: key}
	a.cert = a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "Test CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: date(2020), NotAfter: date(2120),
	}, nil, key).Leaf
	return a
})

// sign makes a certificate; without a parent it signs itself.
func (a *authority) sign(c, parent *x509.Certificate, key *ecdsa.PrivateKey) tls.Certificate {
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	signer := a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// issue makes one for names, valid now unless change says otherwise.
func (a *authority) issue(change func(*x509.Certificate), names ...string) tls.Certificate {
	return a.make(a.cert, change, names...)
}

// make is issue with another parent, or none.
func (a *authority) make(parent *x509.Certificate, change func(*x509.Certificate), names ...string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	c := &x509.Certificate{
		Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: date(2020), NotAfter: date(2120),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if change != nil {
		change(c)
	}
	return a.sign(c, parent, key)
}

// pem writes the authority's certificate for Options.CA.
func (a *authority) pem(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// goodCertificate is the one that servers have where nothing is wrong with it.
var goodCertificate = sync.OnceValue(func() tls.Certificate {
	return theAuthority().issue(nil, host, "example.org", "www.example.org", "www.login.example.org", "localhost")
})

// front listens as the outermost proxy does: with TLS, and without.
type front struct {
	https, http *httptest.Server
	world       probe.World
}

// newFront starts it. Every name leads there; other ports than 80 and 443 refuse.
func newFront(t *testing.T, h http.Handler, f *fault) *front {
	t.Helper()
	v := &front{https: httptest.NewUnstartedServer(h), http: httptest.NewUnstartedServer(h)}
	v.https.TLS = &tls.Config{Certificates: []tls.Certificate{goodCertificate()}}
	v.https.EnableHTTP2 = true
	for _, s := range []*httptest.Server{v.https, v.http} {
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		t.Cleanup(s.Close)
	}
	if f.server != nil {
		f.server(v.https)
	}
	v.https.StartTLS()
	v.http.Start()
	v.world = probe.World{
		Lookup: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("198.51.100.7")}, nil
		},
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			_, port, _ := net.SplitHostPort(addr)
			to := map[string]*httptest.Server{"443": v.https, "80": v.http}[port]
			if to == nil {
				return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
			}
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", to.Listener.Addr().String())
			return visitor{c}, err
		},
	}
	return v
}

// look replays a login through a fault.
func look(t *testing.T, s *service, f *fault) []finding.Finding {
	t.Helper()
	v := newFront(t, watch(t, visiting(s.proxy(f))), f)
	o := probe.Options{
		URL: public, CA: theAuthority().pem(t),
		Service: probe.Service{PublicURL: public, TrustedProxies: proxies},
	}
	if f.account {
		o.User, o.Password = "ada", goodPassword
	}
	if f.world != nil {
		f.world(&v.world)
	}
	if f.options != nil {
		f.options(&o)
	}
	r := probe.Run(t.Context(), o.In(v.world))
	for _, f := range r.Findings {
		if !slices.Contains(r.Checked, f.Check) {
			t.Errorf("%s was found, and is not among what was looked at: %q", f.Check, r.Checked)
		}
	}
	missing, unseen := 0, []string(nil)
	for _, n := range r.NotChecked {
		if slices.Contains(r.Checked, n.Check) {
			t.Errorf("%s was looked at, and was not", n.Check)
		}
		switch n.Reason {
		case probe.NoAccount:
		case probe.CutShort:
			missing++
		default:
			unseen = append(unseen, n.Check)
		}
	}
	if got := strings.Join(unseen, " "); got != f.unseen {
		t.Errorf("not looked at, though the way went on: %q, want %q", got, f.unseen)
	}
	if quiet := len(r.Findings) == 0; quiet && missing > 0 {
		t.Errorf("nothing was found, and not looked at: %v", r.NotChecked)
	}
	return r.Findings
}

// watch fails the test if the password of an account goes anywhere but, encrypted or
// on this machine, to the login of the host that was asked for.
func watch(t *testing.T, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(text))
		all := string(text) + r.URL.String() + fmt.Sprint(r.Header)
		tells := strings.Contains(all, goodPassword) || strings.Contains(all, url.QueryEscape(goodPassword))
		encrypted := r.TLS != nil && r.Host == host || r.Host == "localhost"
		if tells && (!encrypted || r.Method != http.MethodPost || r.URL.String() != "/auth/login") {
			t.Errorf("the password went to %s %s of %s, TLS %t", r.Method, r.URL.Path, r.Host, r.TLS != nil)
		}
		next.ServeHTTP(w, r)
	})
}

// checks are the names of findings.
func checks(list []finding.Finding) []string {
	var names []string
	for _, f := range list {
		names = append(names, f.Check)
	}
	return slices.Clone(names)
}
