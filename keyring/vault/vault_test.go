package vault_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/keyring/vault"
)

// What must never be told.
const (
	givenToken = "hvs.given-CAESIJ7mQ2xVt9LrWc"
	madeToken  = "hvs.made-AAAAAQKpYd3fZ8sNbE"
	secretID   = "5d1f7c3a-90be-4e62-a8d7-canary"
	jwt        = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl"
	neighbour  = "postgres-password-Ux4mTq0"
)

// keys is the text of the keys at the server.
var keys = keyring.Generate().Text()

// The system trusts a CA of the tests' own, so that it shows whether it is asked.
var system, other *ca

func TestMain(m *testing.M) {
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if strings.HasPrefix(name, "VAULT_") || strings.HasSuffix(strings.ToUpper(name), "_PROXY") {
			os.Unsetenv(name)
		}
	}
	dir, err := os.MkdirTemp("", "cloakroom-vault-")
	if err == nil {
		system, err = newCA(dir, "system")
	}
	if err == nil {
		other, err = newCA(dir, "other")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	nameProxy()
	os.Setenv("SSL_CERT_FILE", system.file)
	os.Setenv("SSL_CERT_DIR", filepath.Join(dir, "none"))
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// leak returns which secret a text holds a piece of, or "".
func leak(text string) string {
	_, secret, _ := strings.Cut(keys, " active ")
	for _, s := range []string{givenToken, madeToken, secretID, jwt, neighbour, secret} {
		for i := range len(s) - 9 {
			if strings.Contains(text, s[i:i+10]) {
				return s
			}
		}
	}
	return ""
}

// told checks that an error is one line, of this package, that holds the words and no
// secret.
func told(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error; want one with %q", words)
		return
	}
	text := err.Error()
	if !strings.HasPrefix(text, "vault: ") || strings.Contains(text, "\n") || strings.HasSuffix(text, ".") {
		t.Errorf("error is not one line of this package: %q", text)
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("error without %q: %v", w, err)
		}
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		if s := leak(fmt.Sprintf("%v %+v %#v", e, e, e)); s != "" {
			t.Errorf("error shows %q: %#v", s, e)
		}
	}
}

// file writes a file that only its owner can read.
func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	rewrite(t, path, text)
	return path
}

func rewrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// env is an environment.
func env(variables map[string]string) *vault.Options {
	return &vault.Options{Lookup: func(name string) (string, bool) {
		value, ok := variables[name]
		return value, ok
	}}
}

// open opens the secret at a fake, by its clock.
func (f *fake) open(query string) *vault.Source {
	f.t.Helper()
	s, err := vault.Open(f.http.URL+"/"+f.mount+"/cloakroom"+query, env(nil))
	if err != nil {
		f.t.Fatal(err)
	}
	vault.SetClock(s, f.now)
	return s
}

// ready is a fake that holds the keys and knows the login of each method, and the
// queries of these.
func ready(t *testing.T, cert *tls.Certificate, configure ...func(*tls.Config)) (f *fake, query map[string]string) {
	t.Helper()
	f = start(t, cert, configure...)
	f.put(map[string]any{"keys": keys, "password": neighbour})
	f.tokens[givenToken] = &lease{from: f.clock, until: f.clock.Add(time.Hour), renewable: true}
	f.secretIDs[secretID], f.jwts[jwt] = true, true
	return f, map[string]string{
		"token":      "?auth=token&token-file=" + file(t, givenToken+"\n"),
		"approle":    "?auth=approle&role-id=cloakroom-role&secret-id-file=" + file(t, secretID+"\n"),
		"kubernetes": "?auth=kubernetes&role=cloakroom-role&jwt-file=" + file(t, jwt+"\n"),
	}
}

// reads checks that the source says this.
func reads(t *testing.T, s *vault.Source, want string) {
	t.Helper()
	if text, err := s.Read(t.Context()); err != nil || string(text) != want {
		t.Errorf("Read: %v (as wanted: %v)", err, string(text) == want)
	}
}

// asked checks what was asked of the server since the last time.
func (f *fake) asked(want ...string) {
	f.t.Helper()
	if got := f.requests(); !reflect.DeepEqual(got, want) {
		f.t.Errorf("requests:\n got %q\nwant %q", got, want)
	}
}

const (
	lookup     = "GET /v1/auth/token/lookup-self"
	renew      = "PUT /v1/auth/token/renew-self"
	approle    = "PUT /v1/auth/approle/login"
	kubernetes = "PUT /v1/auth/kubernetes/login"
	get        = "GET /v1/secret/data/cloakroom"
	put        = "PUT /v1/secret/data/cloakroom"
)

// Each login, over http and over TLS, brings the field that is named, and a look
// after the first is one request.
func TestASVS_13_3_1_KeysComeFromTheVault(t *testing.T) {
	t.Parallel()
	first := map[string]string{"token": lookup, "approle": approle, "kubernetes": kubernetes}
	for _, cert := range []*tls.Certificate{nil, other.sign(t, "127.0.0.1", time.Hour)} {
		f, query := ready(t, cert)
		for method, q := range query {
			if cert != nil {
				q += "&ca=" + other.file
			}
			s := f.open(q)
			f.asked() // Open contacts nobody
			reads(t, s, keys)
			f.asked(first[method], get)
			reads(t, s, keys)
			f.asked(get)
			reads(t, f.open(q+"#password"), neighbour)
			f.requests()
		}
	}
}

// What the place does not say, the environment does, as the Vault client reads it;
// and what the place says goes before it.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	f, query := ready(t, other.sign(t, "127.0.0.1", time.Hour))
	f.do(func() { f.namespace = "team/web" })
	variables := map[string]string{
		"VAULT_ADDR": f.http.URL, "VAULT_CACERT": other.file, "VAULT_NAMESPACE": "team/web/", "VAULT_TOKEN": givenToken,
		"VAULT_ROLE_ID": "cloakroom-role", "VAULT_SECRET_ID": secretID, "VAULT_SKIP_VERIFY": "false",
	}
	for _, place := range []string{"secret/cloakroom", "/secret/cloakroom#keys", "secret/cloakroom?auth=approle", f.http.URL + "/secret/cloakroom"} {
		s, err := vault.Open(place, env(variables))
		if err != nil {
			t.Fatal(err)
		}
		reads(t, s, keys)
		if want := "vault:" + f.http.URL + "/secret/cloakroom#keys"; s.String() != want {
			t.Errorf("String is %q, want %q", s, want)
		}
	}
	wrong := maps.Clone(variables)
	maps.Copy(wrong, map[string]string{"VAULT_NAMESPACE": "elsewhere", "VAULT_CACERT": system.file, "VAULT_TOKEN": "hvs.wrong", "VAULT_ADDR": "https://127.0.0.1:1"})
	s, err := vault.Open(f.http.URL+"/secret/cloakroom"+query["token"]+"&namespace=team/web&ca="+other.file, env(wrong))
	if err != nil {
		t.Fatal(err)
	}
	reads(t, s, keys)
}

// The official client reads the environment by itself. What it finds there goes
// nowhere that this package does not send it.
func TestEnvironmentOfTheClient(t *testing.T) {
	f, query := ready(t, nil)
	t.Setenv("VAULT_TOKEN", givenToken)
	t.Setenv("VAULT_NAMESPACE", "elsewhere")
	t.Setenv("VAULT_ADDR", "http://127.0.0.1:1")
	t.Setenv("VAULT_AGENT_ADDR", "http://127.0.0.1:1")
	reads(t, f.open(query["approle"]), keys) // the fake sees to it that the login shows no token
	t.Setenv("VAULT_PROXY_ADDR", "http://user:"+neighbour+"@[")
	_, err := vault.Open(f.http.URL+"/secret/cloakroom"+query["token"], env(nil))
	told(t, err, "environment", "VAULT_PROXY_ADDR")
}

// A login may be enabled elsewhere, an engine be mounted deeper, and a server lie
// behind a path.
func TestMounts(t *testing.T) {
	t.Parallel()
	f, query := ready(t, nil)
	f.do(func() { f.logins = map[string]string{"team/roles": "approle", "cluster-2": "kubernetes"} })
	reads(t, f.open(query["approle"]+"&mount=team/roles/"), keys)
	reads(t, f.open(query["kubernetes"]+"&mount=cluster-2"), keys)
	f.do(func() { f.mount = "team/kv" })
	reads(t, f.open(query["kubernetes"]+"&mount=cluster-2&kv-mount=team/kv"), keys)
	f.do(func() {
		f.hook = func(_ http.ResponseWriter, r *http.Request) bool {
			r.URL.Path = strings.TrimPrefix(r.URL.Path, "/behind")
			return false
		}
	})
	s, err := vault.Open("team/kv/cloakroom?kv-mount=team/kv", env(map[string]string{"VAULT_ADDR": f.http.URL + "/behind/", "VAULT_TOKEN": givenToken}))
	if err != nil {
		t.Fatal(err)
	}
	reads(t, s, keys)
	if n := f.count("GET /behind/v1/team/kv/data/cloakroom"); n != 1 {
		t.Errorf("%d requests behind the path", n)
	}
}

// A rotation at the server arrives in the ring, and a server that is away takes
// nothing from it.
func TestPromise10_RotationUpstream(t *testing.T) {
	t.Parallel()
	f, query := ready(t, nil)
	s := f.open(query["approle"])
	ring, err := keyring.Load(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	before := ring.Active()
	ctx, stop := context.WithCancel(t.Context())
	looked, done := make(chan error), make(chan struct{})
	now := make(chan struct{})
	go func() {
		defer close(done)
		ring.Follow(ctx, s, &keyring.FollowOptions{Interval: time.Hour, Now: now, Looked: func(_ bool, err error) { looked <- err }})
	}()
	look := func() error { now <- struct{}{}; return <-looked }
	if err := look(); err != nil || ring.Active() != before {
		t.Errorf("look at what has not changed: %v", err)
	}
	next := keyring.Generate()
	old, err := keyring.ReadKeys(strings.NewReader(keys))
	if err != nil {
		t.Fatal(err)
	}
	f.put(map[string]any{"keys": next.Text() + "\n" + old[0].AsRetiring(time.Now().Add(time.Hour)).Text()})
	if err := look(); err != nil || ring.Active() != next.ID() || !ring.Has(before) {
		t.Errorf("look at other keys: %v, active %v", err, ring.Active())
	}
	f.do(func() {
		f.hook = func(w http.ResponseWriter, _ *http.Request) bool { refuse(w, 503, "Vault is sealed"); return true }
	})
	told(t, look(), "sealed")
	f.do(func() { f.hook = nil; f.deleted = true })
	told(t, look(), "deleted")
	if ring.Active() != next.ID() {
		t.Error("a source that is away took the keys")
	}
	stop()
	<-done
}
