package main_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestPromise02_ASessionSurvivesKillAndRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir)
	c := s.setup()
	for range 3 {
		s.end(syscall.SIGKILL)
		s = start(t, dir)
		c.s, c.base = s, s.URL
		if c.session().User.Name != "ada" {
			t.Fatal("signed out by a crash")
		}
	}
	if strings.Contains(s.stdout.String(), "setup?token") {
		t.Error("a setup link although there is an administrator")
	}
	c.want(c.do("POST", "/auth/logout", "{}", "X-CSRF-Token", c.csrf), 204)
	old := c.http.Jar
	s.end(syscall.SIGKILL)
	s = start(t, dir)
	c.s, c.base, c.http.Jar = s, s.URL, old
	c.want(c.do("GET", "/auth/session", ""), 401)
}

func TestGracefulStop(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	c := s.setup()
	// A request that is half sent when the signal comes.
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := credentials("ada", goodPassword)
	conn.Write([]byte("POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: " + itoa(len(body)) + "\r\n\r\n" + body[:10]))
	time.Sleep(100 * time.Millisecond)
	done := make(chan int)
	go func() { done <- s.end(syscall.SIGTERM) }()
	time.Sleep(200 * time.Millisecond)
	conn.Write([]byte(body[10:]))
	answer := make([]byte, 12)
	if _, err := conn.Read(answer); err != nil || string(answer) != "HTTP/1.1 200" {
		t.Errorf("a running request must finish: %q, %v", answer, err)
	}
	if code := <-done; code != 0 {
		t.Errorf("exit code %d", code)
	}
	// Closed and checkpointed: one file, no journal beside it.
	if _, err := os.Stat(filepath.Join(dir, "cloakroom-data", "cloakroom.db-wal")); err == nil {
		t.Error("the journal is still there")
	}
	_ = c
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

func TestPromise10_LostKeysStopTheStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir)
	c := s.setup()
	s.end(syscall.SIGTERM)
	keys := filepath.Join(dir, "cloakroom-data", "keys")
	if err := os.Rename(keys, keys+".away"); err != nil {
		t.Fatal(err)
	}
	fails := func() {
		t.Helper()
		code, out := command(t, dir, "serve", "--listen=127.0.0.1:0")
		if code != 2 || !strings.Contains(out, "restore the key file") || !strings.Contains(out, "cloakroom session end --all") || strings.Count(out, "\n") != 1 {
			t.Errorf("exit code %d: %s", code, out)
		}
	}
	fails()
	if _, err := os.Stat(keys); err == nil {
		t.Fatal("a key file was made up")
	}
	if code, out := command(t, dir, "key", "new"); code != 0 || os.WriteFile(keys, []byte(out), 0o600) != nil {
		t.Fatal(out)
	}
	fails()

	// With the old file all is as it was.
	if err := os.Rename(keys+".away", keys); err != nil {
		t.Fatal(err)
	}
	s = start(t, dir)
	c.s, c.base = s, s.URL
	c.session()
	s.end(syscall.SIGTERM)

	// Without it, all sessions must be ended first.
	if err := os.Remove(keys); err != nil {
		t.Fatal(err)
	}
	if code, out := command(t, dir, "session", "end", "--all"); code != 0 || out != "ended: 1\n" {
		t.Fatalf("exit code %d: %s", code, out)
	}
	s = start(t, dir)
	c.s, c.base = s, s.URL
	c.want(c.do("GET", "/auth/session", ""), 401)
	s.client().login("ada", goodPassword)
}

// command runs a command to its end, which must come soon.
func command(t *testing.T, dir string, args ...string) (code int, output string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func TestCommandsOnARunningService(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir)
	ada := s.setup()
	second := s.client().login("ada", goodPassword)
	var list []struct{ Handle, User, Device, Address string }
	read := func(args ...string) int {
		t.Helper()
		code, out := command(t, dir, append([]string{"session", "list", "--json"}, args...)...)
		if list = nil; code != 0 || json.Unmarshal([]byte(out), &list) != nil {
			t.Fatalf("exit code %d: %s", code, out)
		}
		return len(list)
	}
	if n := read(); n != 2 || list[0].User != "ada" || list[0].Address != "127.0.0.1" || list[0].Device == "" {
		t.Fatalf("%+v", list)
	}
	var doc struct {
		Sessions []struct {
			Handle  string
			Current bool
		}
	}
	a := second.want(second.do("GET", "/auth/sessions", ""), 200)
	if err := json.Unmarshal([]byte(a.body), &doc); err != nil || len(doc.Sessions) != 2 || !doc.Sessions[0].Current {
		t.Fatalf("%s", a.body)
	}
	if code, out := command(t, dir, "session", "end", doc.Sessions[0].Handle); code != 0 {
		t.Fatal(out)
	}
	second.want(second.do("GET", "/auth/session", ""), 401)
	ada.session()
	if code, out := command(t, dir, "session", "end", doc.Sessions[0].Handle); code != 1 || !strings.Contains(out, "no such session") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if code, out := command(t, dir, "session", "end", "--user", "ADA"); code != 0 || out != "ended: 1\n" {
		t.Errorf("exit code %d: %s", code, out)
	}
	ada.want(ada.do("GET", "/auth/session", ""), 401)
	if read("--user", "ada") != 0 {
		t.Errorf("%+v", list)
	}
	// Disabling works on the next request.
	addUser(t, dir, "bob")
	bob := s.client().login("bob", goodPassword)
	if code, out := command(t, dir, "user", "disable", "bob"); code != 0 {
		t.Fatal(out)
	}
	bob.want(bob.do("GET", "/auth/session", ""), 401)
	bob.want(bob.do("POST", "/auth/login", credentials("bob", goodPassword)), 401)
}

func addUser(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(binary, append([]string{"user", "add", name, "--password-stdin", "--keep-password"}, args...)...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(goodPassword+"\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func TestMemoryStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir, "--store=memory:")
	c := s.setup()
	if code, out := command(t, dir, "session", "end", "--user=ada", "--store=memory:"); code != 0 {
		t.Fatal(out)
	}
	c.want(c.do("GET", "/auth/session", ""), 401)
	c.login("ada", goodPassword)
	if code, out := command(t, dir, "session", "end", "--all", "--store=memory:"); code != 0 {
		t.Fatal(out)
	}
	c.want(c.do("GET", "/auth/session", ""), 401)
	if code, _ := command(t, dir, "session", "list", "--store=memory:"); code != 2 {
		t.Errorf("exit code %d", code)
	}
}

// selfSigned writes a certificate for 127.0.0.1 and its key, and returns a client
// configuration that trusts it.
func selfSigned(t *testing.T, dir string) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := writeFile(filepath.Join(dir, name), pem.EncodeToMemory(block)); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{RootCAs: pool}
}

func TestASVS_3_4_1_HSTS(t *testing.T) {
	t.Parallel()
	strict := regexp.MustCompile(`^max-age=(31536\d{3}|[4-9]\d{7}); includeSubDomains$`)
	dir := t.TempDir()
	conf := selfSigned(t, dir)
	s := start(t, dir, "--tls-cert=cert.pem", "--tls-key=key.pem")
	s.transport = &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true}
	if !strings.HasPrefix(s.URL, "https://127.0.0.1:") {
		t.Fatalf("ready on %s", s.URL)
	}
	c := s.setup()
	c.want(c.page("/auth/profile"), 200)
	c.want(c.page("/auth/nowhere"), 404)
	c.want(c.do("POST", "/auth/logout", "{}"), 403)
	c.want(c.do("GET", "/auth/logout", ""), 405)
	c.want(c.do("POST", "/auth/login", "x", "Content-Type", "text/plain"), 415)
	c.want(c.do("GET", s.style(c), ""), 200)
	stranger := s.client()
	stranger.want(stranger.page("/auth/profile"), 303)
	stranger.want(stranger.do("POST", "/auth/login", credentials("ada", "wrong wrong")), 401)
	for _, a := range s.answers {
		if !strict.MatchString(a.Header.Get("Strict-Transport-Security")) {
			t.Errorf("%s: %q", name(a), a.Header.Get("Strict-Transport-Security"))
		}
		if a.TLS.Version < tls.VersionTLS12 || a.ProtoMajor != 2 {
			t.Errorf("%s: TLS %x, %s", name(a), a.TLS.Version, a.Proto)
		}
	}
	old := conf.Clone()
	old.MaxVersion = tls.VersionTLS11
	if conn, err := tls.Dial("tcp", strings.TrimPrefix(s.URL, "https://"), old); err == nil {
		conn.Close()
		t.Error("TLS 1.1 was taken")
	}

	// Behind a proxy that ends TLS: what it says counts if it is trusted.
	s = start(t, t.TempDir())
	c = s.client()
	if a := c.do("GET", "/auth/login", "", "X-Forwarded-Proto", "https"); a.Header.Get("Strict-Transport-Security") != "" {
		t.Error("anybody can say that it is https")
	}
	s = start(t, t.TempDir(), "--trusted-proxies=127.0.0.1")
	c = s.client()
	if a := c.do("GET", "/auth/login", "", "X-Forwarded-Proto", "https"); !strict.MatchString(a.Header.Get("Strict-Transport-Security")) {
		t.Error("a trusted proxy is not believed")
	}
	if a := c.do("GET", "/auth/login", ""); a.Header.Get("Strict-Transport-Security") != "" {
		t.Error("HSTS over http")
	}
}

// An explicit http://localhost is for browsers that refuse Secure cookies there.
func TestPlainCookieOnLoopback(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addUser(t, dir, "ada", "--role=admin")
	s := start(t, dir, "--public-url=http://localhost:8080")
	if !strings.HasPrefix(s.URL, "http://127.0.0.1:") || !strings.HasSuffix(s.stdout.String(), " for http://localhost:8080\n") {
		t.Errorf("%s", s.stdout.String())
	}
	c := s.client()
	a := c.want(c.do("POST", "/auth/login", credentials("ada", goodPassword), "Origin", "http://localhost:8080"), 200)
	cookies := a.Cookies()
	if len(cookies) != 2 || cookies[0].Name != "session" || cookies[1].Name != "device" {
		t.Errorf("%v", a.Header["Set-Cookie"])
	}
	for _, cookie := range cookies {
		if cookie.Secure || !cookie.HttpOnly {
			t.Errorf("%v", cookie)
		}
	}
	c.session()
	c.want(c.do("POST", "/auth/logout", "{}", "Origin", s.URL, "X-CSRF-Token", c.csrf), 403)
}

func TestPrefixMoves(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addUser(t, dir, "ada", "--role=admin")
	s := start(t, dir, "--prefix=/account/v1")
	c := s.client()
	c.want(c.page("/auth/login"), 404)
	if a := c.want(c.page("/"), 303); a.Header.Get("Location") != "/account/v1/profile" {
		t.Errorf("%s", a.Header.Get("Location"))
	}
	if a := c.want(c.page("/account/v1/profile"), 303); !strings.HasPrefix(a.Header.Get("Location"), "/account/v1/login") {
		t.Errorf("%s", a.Header.Get("Location"))
	}
	page := c.want(c.page("/account/v1/login"), 200)
	if strings.Contains(page.body, "/auth/") {
		t.Errorf("the old prefix is in the page:\n%s", page.body)
	}
}

func TestHealth(t *testing.T) {
	s := start(t, t.TempDir(), "--admin-listen=127.0.0.1:0")
	health := s.logged(regexp.MustCompile(`"addr":"[\\"]*([0-9.:]+)[\\"]*,"serves":"health"`))
	public := s.client()
	public.want(public.do("GET", "/healthz", ""), 404)
	public.want(public.do("GET", "/metrics", ""), 404)
	s.URL = "http://" + health
	c := s.client()
	metrics := c.want(c.do("GET", "/metrics", ""), 200)
	for _, line := range []string{
		`cloakroom_events_total{event="start"} 2`, `cloakroom_store_up 1`,
		`cloakroom_http_requests_total{code="404",method="GET"} 2`,
	} {
		if !strings.Contains(metrics.body, line+"\n") {
			t.Errorf("no %s in\n%s", line, metrics.body)
		}
	}
	c.want(c.do("GET", "/healthz", ""), 200)
	c.want(c.do("GET", "/readyz", ""), 200)
	c.want(c.do("GET", "/auth/login", ""), 404)
	s.sql("ALTER TABLE cloakroom_user RENAME TO gone")
	c.want(c.do("GET", "/healthz", ""), 200)
	if a := c.want(c.do("GET", "/readyz", ""), 503); a.body != "unavailable\n" {
		t.Errorf("%q", a.body)
	}
	s.sql("ALTER TABLE gone RENAME TO cloakroom_user")
	c.want(c.do("GET", "/readyz", ""), 200)
}

// Two that start at once end with one key and one administrator's link each.
func TestTwoStartAtOnce(t *testing.T) {
	dir := t.TempDir()
	done := make(chan *server, 2)
	for range 2 {
		go func() { done <- start(t, dir) }()
	}
	a, b := <-done, <-done
	if a == nil || b == nil {
		t.Fatal("one did not start")
	}
	addUser(t, dir, "bob")
	c := a.client().login("bob", goodPassword)
	c.s, c.base = b, b.URL
	if c.session().User.Name != "bob" {
		t.Error("the other instance does not know the session")
	}
}
