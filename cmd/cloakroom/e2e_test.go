package main_test

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// binary is the command, built once for all tests: as it is shipped, or under the
// race detector where the tests run under it.
var (
	binary     string
	buildFlags []string
)

func TestMain(m *testing.M) {
	// A program under the race detector otherwise sleeps for a second when it ends, and
	// these tests start hundreds.
	os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	dir, err := os.MkdirTemp("", "cloakroom-test")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "cloakroom")
	build := exec.Command("go", append([]string{"build", "-o", binary}, append(buildFlags, ".")...)...)
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		panic(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // one test runs it as another user
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// buffer collects what a process writes while others read it.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// server is a running service.
type server struct {
	t              *testing.T
	cmd            *exec.Cmd
	URL            string
	stdout, stderr buffer
	exited         chan struct{} // closed when the process is gone
	transport      http.RoundTripper

	mu      sync.Mutex
	answers []answer // whatever came back to any client
}

var (
	readyLine = regexp.MustCompile(`(?m)^cloakroom is ready on (\S+)( for \S+)?$`)
	linkLine  = regexp.MustCompile(`(?m)^no administrator yet.* (\S+/setup\?token=\S+)$`)
)

// start starts the service in dir, on a free port, and waits until it is ready.
func start(t *testing.T, dir string, args ...string) *server {
	t.Helper()
	s := &server{t: t, exited: make(chan struct{})}
	s.cmd = exec.Command(binary, append([]string{"serve", "--listen=127.0.0.1:0", "--log-format=json", "--log-level=debug",
		"--store-timeout=10s"}, args...)...) // patient, as everything else runs beside it
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = dir, &s.stdout, &s.stderr
	s.cmd.Env = append(os.Environ(), "TZ=Asia/Kolkata")
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.cmd.Wait(); close(s.exited) }()
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		<-s.exited
		if t.Failed() {
			t.Logf("log of the service:\n%s", s.stderr.String())
		}
	})
	s.URL = s.await(readyLine)
	return s
}

// await waits for a line on standard output and returns what it names.
func (s *server) await(line *regexp.Regexp) string { s.t.Helper(); return s.find(&s.stdout, line) }

// logged waits for a line of the log.
func (s *server) logged(line *regexp.Regexp) string { s.t.Helper(); return s.find(&s.stderr, line) }

func (s *server) find(in *buffer, line *regexp.Regexp) string {
	s.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if m := line.FindStringSubmatch(in.String()); m != nil {
			return m[1]
		}
		select {
		case <-s.exited:
			s.t.Fatalf("the service ended: %s%s", s.stdout.String(), s.stderr.String())
		default:
		}
	}
	s.t.Fatalf("no line %s: %s%s", line, s.stdout.String(), s.stderr.String())
	return ""
}

// end sends the signal and returns the exit code.
func (s *server) end(sig os.Signal) int {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
	select {
	case <-s.exited:
	case <-time.After(20 * time.Second):
		s.t.Fatal("the service goes on")
	}
	return s.cmd.ProcessState.ExitCode()
}

// client is a browser, or a program, with cookies of its own.
type client struct {
	t    *testing.T
	s    *server
	http *http.Client
	base string
	csrf string // of the session
}

func (s *server) client() *client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return &client{t: s.t, s: s, base: s.URL, http: &http.Client{
		Jar: jar, Timeout: 30 * time.Second, Transport: s.transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// answer is a response with its body.
type answer struct {
	*http.Response
	body string
}

// do sends a request. A body is JSON if it begins with a brace, else a form. The
// header is pairs of name and value.
func (c *client) do(method, path, body string, header ...string) answer {
	c.t.Helper()
	r, err := http.NewRequest(method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	switch {
	case strings.HasPrefix(body, "{"):
		r.Header.Set("Content-Type", "application/json")
	case body != "":
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return c.send(r)
}

func (c *client) send(r *http.Request) answer {
	c.t.Helper()
	res, err := c.http.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	a := answer{res, string(text)}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.answers = append(c.s.answers, a)
	return a
}

// page reads a page as a browser does.
func (c *client) page(path string) answer {
	c.t.Helper()
	return c.do("GET", path, "", "Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
}

// form sends a form as a browser does.
func (c *client) form(path string, values url.Values) answer {
	c.t.Helper()
	return c.do("POST", path, values.Encode(), "Accept", "text/html,*/*;q=0.8", "Origin", c.base, "Sec-Fetch-Site", "same-origin")
}

// want checks the status.
func (c *client) want(a answer, status int) answer {
	c.t.Helper()
	if a.StatusCode != status {
		c.t.Fatalf("%s %s: %d, want %d\n%s", a.Request.Method, a.Request.URL, a.StatusCode, status, a.body)
	}
	return a
}

// credentials is a JSON body.
func credentials(name, password string) string {
	b, _ := json.Marshal(map[string]string{"username": name, "password": password})
	return string(b)
}

// session reads who is signed in, and the token for what follows.
func (c *client) session() (doc struct {
	User struct {
		ID, Name string
		Roles    []string
	}
	Session   struct{ Created, Expires, Auth_time time.Time }
	CSRFToken string `json:"csrf_token"`
}) {
	c.t.Helper()
	a := c.want(c.do("GET", "/auth/session", ""), 200)
	if err := json.Unmarshal([]byte(a.body), &doc); err != nil {
		c.t.Fatalf("%s: %v", a.body, err)
	}
	c.csrf = doc.CSRFToken
	return doc
}

// login signs in as a program does.
func (c *client) login(name, password string) *client {
	c.t.Helper()
	c.want(c.do("POST", "/auth/login", credentials(name, password)), 200)
	c.session()
	return c
}

const goodPassword = "correct horse battery staple"

// setup makes the administrator "ada" and returns their client.
func (s *server) setup() *client {
	s.t.Helper()
	link, err := url.Parse(s.await(linkLine))
	if err != nil {
		s.t.Fatal(err)
	}
	c := s.client()
	body := fmt.Sprintf(`{"token":%q,"username":"ada","password":%q}`, link.Query().Get("token"), goodPassword)
	c.want(c.do("POST", "/auth/setup", body), 201)
	c.session()
	return c
}

func TestSkeleton(t *testing.T) {
	s := start(t, t.TempDir())
	c := s.client()
	c.want(c.do("GET", "/auth/session", ""), 401)
	if a := c.want(c.page("/auth/login"), 200); !strings.Contains(a.body, "cloakroom setup-link") {
		t.Errorf("the page before setup must say how to begin:\n%s", a.body)
	}
	c = s.setup()
	doc := c.session()
	if doc.User.Name != "ada" || len(doc.User.Roles) != 1 || doc.User.Roles[0] != "admin" || doc.Session.Expires.IsZero() {
		t.Errorf("%+v", doc)
	}
	other := s.client().login("ada", goodPassword)
	other.want(other.do("POST", "/auth/logout", "{}", "X-CSRF-Token", other.csrf), 204)
	other.want(other.do("GET", "/auth/session", ""), 401)
	c.want(c.do("GET", "/auth/session", ""), 200)
}

func writeFile(path string, text []byte) error { return os.WriteFile(path, text, 0o600) }

// sql runs a statement on the service's database, behind its back.
func (s *server) sql(statement string) {
	s.t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(s.cmd.Dir, "cloakroom-data", "cloakroom.db")+"?_pragma=busy_timeout(5000)")
	if err != nil {
		s.t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		s.t.Fatal(err)
	}
}
