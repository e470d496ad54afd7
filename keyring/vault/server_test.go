package vault_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A fake speaks as much of Vault's HTTP API as the package asks for, in the bodies
// and codes of its documentation. Its clock stands until it is moved.
type fake struct {
	t    *testing.T
	http *httptest.Server

	mu        sync.Mutex
	clock     time.Time
	namespace string
	mount     string // of the KV engine
	versions  []map[string]any
	deleted   bool
	tokens    map[string]*lease
	made      int               // tokens by a login
	ttl       int64             // of those
	renewable bool              // are those
	maxTTL    int64             // a renewal goes no further than this, from the login
	role      string            // of both methods
	secretIDs map[string]bool   // that are good
	jwts      map[string]bool   // that are good
	logins    map[string]string // mount to method
	denied    bool              // the policy lacks what is asked of the engine
	seen      []string          // requests, as "METHOD PATH"
	hook      func(w http.ResponseWriter, r *http.Request) bool
}

type lease struct {
	from      time.Time
	until     time.Time // zero: none
	renewable bool
}

// start starts a fake, over TLS where there is a certificate.
func start(t *testing.T, cert *tls.Certificate, configure ...func(*tls.Config)) *fake {
	f := &fake{
		t: t, clock: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), mount: "secret",
		tokens: map[string]*lease{}, ttl: 3600, renewable: true, maxTTL: 1 << 40, role: "cloakroom-role",
		secretIDs: map[string]bool{}, jwts: map[string]bool{},
		logins: map[string]string{"approle": "approle", "kubernetes": "kubernetes"},
	}
	f.http = httptest.NewUnstartedServer(f)
	f.http.Config.ErrorLog = log.New(io.Discard, "", 0)
	if cert == nil {
		f.http.Start()
	} else {
		f.http.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}}
		for _, c := range configure {
			c(f.http.TLS)
		}
		f.http.EnableHTTP2 = true
		f.http.StartTLS()
	}
	t.Cleanup(f.http.Close)
	return f
}

// do changes the fake.
func (f *fake) do(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fake) now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.clock
}

func (f *fake) pass(d time.Duration) { f.do(func() { f.clock = f.clock.Add(d) }) }

// put writes a version, as vault kv put does.
func (f *fake) put(fields map[string]any) { f.do(func() { f.versions = append(f.versions, fields) }) }

// requests returns what was asked since the last time, and forgets it.
func (f *fake) requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen := f.seen
	f.seen = nil
	return seen
}

func (f *fake) count(request string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, r := range f.seen {
		if r == request {
			n++
		}
	}
	return n
}

func refuse(w http.ResponseWriter, status int, messages ...string) {
	if messages == nil {
		messages = []string{}
	}
	reply(w, status, map[string]any{"errors": messages})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	hook := f.hook
	f.seen = append(f.seen, r.Method+" "+r.URL.Path)
	f.mu.Unlock()
	if hook != nil && hook(w, r) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	path, ok := strings.CutPrefix(r.URL.Path, "/v1/")
	switch {
	case r.Header.Get("X-Vault-Request") != "true":
		f.t.Errorf("%s without X-Vault-Request", r.URL.Path)
		refuse(w, 400, "missing header")
	case !ok || strings.Trim(r.Header.Get("X-Vault-Namespace"), "/") != f.namespace:
		refuse(w, 404, fmt.Sprintf("no handler for route %q. route entry not found.", path))
	case strings.HasPrefix(path, "auth/") && strings.HasSuffix(path, "/login"):
		f.login(w, r, strings.TrimSuffix(strings.TrimPrefix(path, "auth/"), "/login"))
	default:
		l := f.tokens[r.Header.Get("X-Vault-Token")]
		if l == nil || !l.until.IsZero() && !f.clock.Before(l.until) {
			refuse(w, 403, "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n")
			return
		}
		f.serve(w, r, path, l)
	}
}

func (f *fake) serve(w http.ResponseWriter, r *http.Request, path string, l *lease) {
	write := r.Method == http.MethodPut || r.Method == http.MethodPost
	switch {
	case path == "auth/token/lookup-self" && r.Method == http.MethodGet:
		ttl := int64(0)
		if !l.until.IsZero() {
			ttl = int64(l.until.Sub(f.clock) / time.Second)
		}
		reply(w, 200, map[string]any{"data": map[string]any{"ttl": ttl, "renewable": l.renewable, "policies": []string{"default", "cloakroom"}}})
	case path == "auth/token/renew-self" && write:
		if !l.renewable {
			refuse(w, 400, "lease is not renewable")
			return
		}
		l.until = f.clock.Add(time.Duration(f.ttl) * time.Second)
		if last := l.from.Add(time.Duration(min(f.maxTTL, 1<<30)) * time.Second); l.until.After(last) {
			l.until = last
		}
		f.grant(w, r.Header.Get("X-Vault-Token"), l)
	case !strings.HasPrefix(path, f.mount+"/"):
		refuse(w, 404, fmt.Sprintf("no handler for route %q. route entry not found.", path))
	case f.denied:
		refuse(w, 403, "1 error occurred:\n\t* permission denied\n\n")
	case path == f.mount+"/data/cloakroom" && r.Method == http.MethodGet:
		f.read(w)
	case path == f.mount+"/data/cloakroom" && write:
		f.write(w, r)
	default:
		refuse(w, 404)
	}
}

func (f *fake) grant(w http.ResponseWriter, token string, l *lease) {
	left := int64(0)
	if !l.until.IsZero() {
		left = int64(l.until.Sub(f.clock) / time.Second)
	}
	reply(w, 200, map[string]any{"data": nil, "auth": map[string]any{
		"client_token": token, "accessor": "0e9e354a", "policies": []string{"default", "cloakroom"},
		"metadata": map[string]string{}, "lease_duration": left, "renewable": l.renewable,
	}})
}

func (f *fake) login(w http.ResponseWriter, r *http.Request, mount string) {
	var body map[string]string
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.Header.Get("X-Vault-Token") != "" {
		f.t.Errorf("login with %v and the token %q", err, r.Header.Get("X-Vault-Token"))
	}
	switch method := f.logins[mount]; {
	case method == "approle" && len(body) == 2:
		if body["role_id"] != f.role || !f.secretIDs[body["secret_id"]] {
			refuse(w, 400, "invalid role or secret ID")
			return
		}
	case method == "kubernetes" && len(body) == 2:
		if body["role"] != f.role || !f.jwts[body["jwt"]] {
			refuse(w, 403, "permission denied")
			return
		}
	default:
		refuse(w, 403, "permission denied")
		return
	}
	f.made++
	token := fmt.Sprintf("%s-%d", madeToken, f.made)
	f.tokens[token] = &lease{f.clock, f.clock.Add(time.Duration(f.ttl) * time.Second), f.renewable}
	f.grant(w, token, f.tokens[token])
}

func (f *fake) metadata() map[string]any {
	m := map[string]any{"created_time": "2026-01-02T03:04:05.6789Z", "custom_metadata": nil, "deletion_time": "", "destroyed": false, "version": len(f.versions)}
	if f.deleted {
		m["deletion_time"] = "2026-01-02T03:04:06.6789Z"
	}
	return m
}

func (f *fake) read(w http.ResponseWriter) {
	switch {
	case len(f.versions) == 0:
		refuse(w, 404)
	case f.deleted:
		reply(w, 404, map[string]any{"data": map[string]any{"data": nil, "metadata": f.metadata()}})
	default:
		reply(w, 200, map[string]any{"request_id": "1", "lease_id": "", "data": map[string]any{"data": f.versions[len(f.versions)-1], "metadata": f.metadata()}})
	}
}

func (f *fake) write(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Options struct {
			CAS *int `json:"cas"`
		} `json:"options"`
		Data map[string]any `json:"data"`
	}
	dec := json.NewDecoder(r.Body)
	dec.UseNumber()
	if err := dec.Decode(&body); err != nil || body.Data == nil {
		refuse(w, 400, "no data provided")
		return
	}
	if body.Options.CAS == nil {
		refuse(w, 400, "check-and-set parameter required for this call")
		return
	}
	if *body.Options.CAS != len(f.versions) {
		refuse(w, 400, "check-and-set parameter did not match the current version")
		return
	}
	f.versions = append(f.versions, body.Data)
	reply(w, 200, map[string]any{"data": f.metadata()})
}

// A ca signs certificates for 127.0.0.1.
type ca struct {
	file string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCA(dir, name string) (*ca, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	c := &ca{file: filepath.Join(dir, name+".pem"), key: key}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	if c.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	return c, os.WriteFile(c.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
}

// sign makes a certificate for a host, valid for so long.
func (c *ca) sign(t *testing.T, host string, valid time.Duration) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(valid),
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.cert, key.Public(), c.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: slices.Insert([][]byte{c.cert.Raw}, 0, der), PrivateKey: key}
}

// certificateFiles writes a certificate and its key.
func certificateFiles(t *testing.T, c *tls.Certificate) (cert, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert = file(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})))
	return cert, file(t, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}
