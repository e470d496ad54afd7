package vault_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring/vault"
)

// says answers with a body whatever is asked of paths with this end. Behind the body
// it repeats all secrets that there are.
func (f *fake) says(end string, status int, body string) {
	f.do(func() {
		f.hook = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, end) {
				return false
			}
			sent, _ := io.ReadAll(r.Body)
			body := strings.ReplaceAll(body, "ALL", fmt.Sprintf("%s %s %s %s %s", strings.ReplaceAll(string(sent), `"`, ""), r.Header.Get("X-Vault-Token"), secretID, keys, neighbour))
			w.Header().Set("Location", "/v1/secret/data/elsewhere")
			w.WriteHeader(status)
			io.WriteString(w, body)
			return true
		}
	})
}

// Every fault of a read has its words, and shows nothing of what the server said,
// which may quote all.
func TestPromise11_FaultsOfRead(t *testing.T) {
	t.Parallel()
	f, query := ready(t, other.sign(t, "127.0.0.1", time.Hour))
	errs := `{"errors": ["%s: ALL"]}`
	for i, c := range []struct {
		status int
		body   string
		words  string
	}{
		{503, fmt.Sprintf(errs, "Vault is sealed"), "sealed (503); run vault operator unseal"},
		{503, fmt.Sprintf(errs, "OpenBao is sealed"), "sealed (503)"},
		{503, "maintenance ALL", "the server fails (503); see its log"},
		{500, fmt.Sprintf(errs, "internal error"), "the server fails (500)"},
		{502, "<html>ALL</html>", "the server fails (502)"},
		{501, fmt.Sprintf(errs, "not initialized"), "not initialized (501)"},
		{429, fmt.Sprintf(errs, "request path quota exceeded"), "too many requests (429)"},
		{412, fmt.Sprintf(errs, "required index state not present"), "not up to date (412)"},
		{473, "", "standby"},
		{472, "", "standby"},
		{401, "ALL", "permission denied (401)"},
		{403, fmt.Sprintf(errs, "permission denied"), `permission denied (403); the policy needs path "secret/data/cloakroom" { capabilities = ["read"] }`},
		{404, fmt.Sprintf(errs, "no handler for route"), "nothing is mounted there (404)"},
		{404, `{"errors": []}`, "no such secret (404)"},
		{404, `{"errors": [], "warnings": ["Invalid path for a versioned K/V secrets engine. ALL"]}`, "no such secret (404), or no KV version 2"},
		{404, "404 page not found ALL", "not Vault's"},
		{404, `{"data": {"data": null, "metadata": {"deletion_time": "2026-01-02T03:04:05Z", "destroyed": false, "version": 2}}}`, "deleted; run vault kv undelete"},
		{404, `{"data": {"data": null, "metadata": {"deletion_time": "", "destroyed": true, "version": 2}}}`, "destroyed"},
		{400, "Client sent an HTTP request to an HTTPS server. ALL", "refuses the request (400)"},
		{418, fmt.Sprintf(errs, "teapot"), "refuses the request (418)"},
		{307, "ALL", "sends elsewhere"},
		{301, "ALL", "sends elsewhere"},
		{302, "ALL", "sends elsewhere"},
		{200, "", "not Vault's"},
		{204, "", "not Vault's"},
		{200, "<!doctype html>ALL", "not Vault's"},
		{200, `"ALL"`, "not Vault's"},
		{200, `{"data": "ALL"}`, "not Vault's"},
		{200, `{"data": null}`, "not Vault's"},
		{200, `{"data": {"data": {"keys": "ALL"}, "metadata": {"version": 1}}`, "not Vault's"},
		{200, `{"data": {"data": {"keys": "x"}, "metadata": {"version": 1}}} ALL`, "not Vault's"},
		{200, `{"data": {"data": ["ALL"], "metadata": {"version": 1}}}`, "not Vault's"},
		{200, `{"data": {"keys": "ALL"}}`, "not KV version 2"},
		{200, `{"data": {"data": "ALL", "metadata": "ALL"}}`, "not KV version 2"},
		{200, `{"data": {"data": {"keys": "ALL"}}}`, "not KV version 2"},
		{200, `{"data": {"data": {"keys": "ALL"}, "metadata": {"version": "ALL"}}}`, "not KV version 2"},
		{200, `{"data": {"data": {}, "metadata": {"version": 1}}}`, `no field "keys"`},
		{200, `{"data": {"data": {"Keys": "ALL"}, "metadata": {"version": 1}}}`, `no field "keys"`},
		{200, `{"data": {"data": {"keys": {"ALL": 1}}, "metadata": {"version": 1}}}`, `field "keys" is not text`},
		{200, `{"data": {"data": {"keys": null}, "metadata": {"version": 1}}}`, `field "keys" is not text`},
		{200, `{"data": {"data": {"keys": 12345}, "metadata": {"version": 1}}}`, `field "keys" is not text`},
		{200, `{"data": {"data": {"keys": " \n"}, "metadata": {"version": 1}}}`, `field "keys" is empty`},
	} {
		f.says("/data/cloakroom", c.status, c.body)
		_, err := f.open(query[[]string{"token", "approle"}[i%2]] + "&ca=" + other.file).Read(t.Context())
		told(t, err, "read secret/cloakroom: ", c.words)
	}
}

// So has every fault of a login.
func TestPromise11_FaultsOfLogin(t *testing.T) {
	t.Parallel()
	f, query := ready(t, nil)
	for _, method := range []string{"approle", "kubernetes"} {
		refused := map[string]string{"approle": "vault write -f auth/approle/role/ROLE/secret-id", "kubernetes": "vault read auth/kubernetes/role/ROLE"}[method]
		for _, c := range []struct {
			status int
			body   string
			words  string
		}{
			{400, `{"errors": ["invalid role or secret ID: ALL"]}`, "refused (400)"},
			{403, `{"errors": ["permission denied ALL"]}`, "refused (403)"},
			{401, `ALL`, "refused (401)"},
			{404, `{"errors": ["no handler for route ALL"]}`, "there is no login at auth/" + method},
			{400, `{"errors": ["no handler for route ALL"]}`, "there is no login at auth/" + method},
			{500, `{"errors": ["ALL"]}`, "the server fails (500)"},
			{503, `{"errors": ["Vault is sealed"]}`, "sealed"},
			{429, `{"errors": ["ALL"]}`, "(429)"},
			{307, ``, "sends elsewhere"},
			{200, `ALL`, "not Vault's"},
			{204, ``, "not Vault's"},
			{200, `{"auth": null, "wrap_info": {"token": "ALL"}}`, "not Vault's"},
			{200, `{"auth": {"client_token": 1}}`, "not Vault's"},
			{200, `{"auth": {"client_token": "ALL"}}`, "not Vault's"},
			{200, `{"auth": {"client_token": "", "mfa_requirement": {"mfa_request_id": "ALL"}}}`, "second factor"},
			{200, `{"auth": {"client_token": "x", "lease_duration": "ALL"}}`, "not Vault's"},
		} {
			f.says("/login", c.status, c.body)
			_, err := f.open(query[method]).Read(t.Context())
			words := []string{"log in with auth=" + method + ": ", c.words}
			if strings.HasPrefix(c.words, "refused") {
				words = append(words, refused)
			}
			told(t, err, words...)
		}
	}
	for status, words := range map[int]string{500: "the server fails (500)", 503: "the server fails (503)", 200: "not Vault's"} {
		f.says("/lookup-self", status, `{"errors": ["ALL"]}`)
		_, err := f.open(query["token"]).Read(t.Context())
		told(t, err, "log in with auth=token: ", words)
	}
	// A token that may not ask about itself may still read.
	f.says("/lookup-self", 403, `{"errors": ["permission denied ALL"]}`)
	reads(t, f.open(query["token"]), keys)
}

// The certificate is verified, and for its host; and a CA that is named is trusted
// alone.
func TestASVS_12_3_4_OnlyTheNamedCAIsTrusted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		cert  *tls.Certificate
		query string
		words string // of the error; none if it is trusted
	}{
		{"the system's CA", system.sign(t, "127.0.0.1", time.Hour), "", ""},
		{"the system's CA, another is named", system.sign(t, "127.0.0.1", time.Hour), "&ca=" + other.file, "does not trust"},
		{"a CA that is not named", other.sign(t, "127.0.0.1", time.Hour), "", "does not trust"},
		{"the named CA", other.sign(t, "127.0.0.1", time.Hour), "&ca=" + other.file, ""},
		{"another host", other.sign(t, "vault.example", time.Hour), "&ca=" + other.file, "for another host"},
		{"another host that is named", other.sign(t, "vault.example", time.Hour), "&server-name=vault.example&ca=" + other.file, ""},
		{"out of date", other.sign(t, "127.0.0.1", -time.Minute), "&ca=" + other.file, "has expired"},
	} {
		f, query := ready(t, c.cert)
		s := f.open(query["token"] + c.query)
		if c.words == "" {
			reads(t, s, keys)
			continue
		}
		_, err := s.Read(t.Context())
		told(t, err, "TLS failed: ", c.words)
		if got := f.requests(); len(got) != 0 {
			t.Errorf("%s: the server saw %q", c.name, got)
		}
	}
	// Old TLS will not do, nor will http.
	f, query := ready(t, other.sign(t, "127.0.0.1", time.Hour), func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 })
	_, err := f.open(query["token"] + "&ca=" + other.file).Read(t.Context())
	told(t, err, "TLS failed: ")
	f, query = ready(t, nil)
	s, err := vault.Open(strings.Replace(f.http.URL, "http:", "https:", 1)+"/secret/cloakroom"+query["token"], env(nil))
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Read(t.Context())
	told(t, err, "does not speak TLS")
}

// A server may ask for a certificate. (Under TLS 1.3 its refusal comes behind the
// handshake, and may be lost as the connection ends.)
func TestClientCertificate(t *testing.T) {
	t.Parallel()
	f, query := ready(t, other.sign(t, "127.0.0.1", time.Hour), func(c *tls.Config) { c.ClientAuth, c.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12 })
	cert, key := certificateFiles(t, other.sign(t, "client", time.Hour))
	reads(t, f.open(query["approle"]+"&ca="+other.file+"&cert="+cert+"&key="+key), keys)
	_, err := f.open(query["approle"] + "&ca=" + other.file).Read(t.Context())
	told(t, err, "TLS failed: the server refuses", "?cert=")
}

// The context bounds a call, whatever the server does.
func TestContext(t *testing.T) {
	t.Parallel()
	f, query := ready(t, nil)
	hold := make(chan struct{})
	t.Cleanup(func() { close(hold) })
	f.do(func() { f.hook = func(http.ResponseWriter, *http.Request) bool { <-hold; return true } })
	s := f.open(query["approle"])
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := s.Read(ctx)
	told(t, err, "no answer in time")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("not wrapped: %v", err)
	}
	// While one call waits, another waits for its turn as long as it may.
	ctx, cancel = context.WithCancel(t.Context())
	first := make(chan error)
	go func() { _, err := s.Read(ctx); first <- err }()
	for f.count("PUT /v1/auth/approle/login") < 2 {
		time.Sleep(time.Millisecond)
	}
	short, cancelShort := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancelShort()
	_, err = s.Read(short)
	told(t, err, "no turn in time")
	cancel()
	err = <-first
	told(t, err, "given up")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("not wrapped: %v", err)
	}
}

// Without a context that ends, Options.Timeout bounds a call.
func TestTimeout(t *testing.T) {
	t.Parallel()
	f, query := ready(t, nil)
	hold := make(chan struct{})
	t.Cleanup(func() { close(hold) })
	f.do(func() { f.hook = func(http.ResponseWriter, *http.Request) bool { <-hold; return true } })
	opts := env(nil)
	opts.Timeout = 20 * time.Millisecond
	place := f.http.URL + "/" + f.mount + "/cloakroom" + query["approle"]
	s, err := vault.Open(place, opts)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Read(t.Context())
	told(t, err, "no answer in time")
	if err := s.Write(t.Context(), nil, []byte(keys)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a write: %v", err)
	}
	for _, opts.Timeout = range []time.Duration{-1, time.Microsecond, 2 * time.Minute} {
		_, err := vault.Open(place, opts)
		told(t, err, "Options.Timeout must be between 1ms and 1m")
	}
}

// What may be sent again is, three times in all, and no longer than the context lasts.
func TestASVS_13_1_3_Retries(t *testing.T) {
	t.Parallel()
	f, query := ready(t, nil)
	s := f.open(query["token"])
	reads(t, s, keys)
	failures := 2
	f.do(func() {
		f.hook = func(w http.ResponseWriter, r *http.Request) bool {
			if failures--; failures < 0 {
				return false
			}
			refuse(w, 500, "internal error")
			return true
		}
	})
	f.requests()
	reads(t, s, keys)
	f.asked(get, get, get)
	f.do(func() { failures = 100 })
	_, err := s.Read(t.Context())
	told(t, err, "(500)")
	f.asked(get, get, get)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = s.Read(ctx)
	told(t, err, "(500)")
	f.asked(get)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("not wrapped: %v", err)
	}
	// A login is an attempt that may be counted, and waited for.
	s = f.open(query["approle"])
	_, err = s.Read(t.Context())
	told(t, err, "(500)")
	f.asked(approle)
}

// A server that is not there, and one that breaks off.
func TestConnection(t *testing.T) {
	t.Parallel()
	f, query := ready(t, nil)
	s := f.open(query["token"])
	f.do(func() { f.hook = func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) } })
	_, err := s.Read(t.Context())
	told(t, err, "broke off")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	for _, method := range []string{"token", "approle"} {
		s, err = vault.Open("http://"+l.Addr().String()+"/secret/x"+query[method], env(nil))
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Read(t.Context())
		told(t, err, "the connection was refused")
	}
	// No HTTP at all: the client would quote it.
	l, err = net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Read(make([]byte, 4096))
			io.WriteString(c, givenToken+"\r\n\r\n")
			c.Close()
		}
	}()
	s, err = vault.Open("http://"+l.Addr().String()+"/secret/x"+query["token"], env(nil))
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Read(t.Context())
	told(t, err, "not HTTP")
}

// An answer has an end, and a look leaves nothing behind.
func TestBounds(t *testing.T) {
	f, query := ready(t, nil)
	s := f.open(query["token"])
	reads(t, s, keys)
	for _, head := range []string{`{"data": {"data": {"keys": "`, `{"errors": ["`} {
		for _, status := range []int{200, 400, 404} {
			f.do(func() {
				f.hook = func(w http.ResponseWriter, _ *http.Request) bool {
					w.WriteHeader(status)
					io.WriteString(w, head)
					for range 8 << 10 {
						if _, err := io.WriteString(w, strings.Repeat("x", 1024)); err != nil {
							return true
						}
					}
					return true
				}
			})
			_, err := s.Read(t.Context())
			told(t, err, "longer than any")
		}
	}
	f.do(func() { f.hook = nil })
	before := idle()
	overTLS, query := ready(t, other.sign(t, "127.0.0.1", time.Hour))
	before++ // its listener
	for range 3 {
		reads(t, s, keys)
		reads(t, overTLS.open(query["approle"]+"&ca="+other.file), keys)
	}
	if after := idle(); after > before {
		t.Errorf("%d goroutines before, %d after", before, after)
	}
}

// idle returns how many goroutines there are once those that end have ended.
func idle() int {
	n := runtime.NumGoroutine()
	for range 50 {
		time.Sleep(time.Millisecond)
		n = min(n, runtime.NumGoroutine())
	}
	return n
}

// No redirect is followed, with the token or without.
func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	f, query := ready(t, nil)
	elsewhere := start(t, nil)
	for _, end := range []string{"/login", "/data/cloakroom"} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			f.do(func() {
				f.hook = func(w http.ResponseWriter, r *http.Request) bool {
					if !strings.HasSuffix(r.URL.Path, end) {
						return false
					}
					http.Redirect(w, r, elsewhere.http.URL+r.URL.Path, status)
					return true
				}
			})
			_, err := f.open(query["approle"]).Read(t.Context())
			told(t, err, "sends elsewhere", "name the active server")
		}
	}
	elsewhere.asked()
}
