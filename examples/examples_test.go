// Package examples_test builds every example, runs it, and drives it over HTTP.
package examples_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// built is a folder with all programs.
var built string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "examples")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		build := exec.Command("go", "build", "-o", dir+string(filepath.Separator), "./...", "../cmd/cloakroom")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build the examples: %v\n%s", err, out)
			return 1
		}
		built = dir
		return m.Run()
	}())
}

// start runs a program in an empty folder until the test ends, and returns the
// lines that it prints.
func start(t *testing.T, dir, program string, args ...string) (lines <-chan string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, filepath.Join(built, program), args...)
	cmd.Dir = dir
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
		w.Close()
	})
	c := make(chan string, 1000)
	go func() {
		defer close(c)
		for s := bufio.NewScanner(r); s.Scan(); {
			c <- s.Text()
		}
	}()
	return c
}

// wait returns the first match of re in what a program prints.
func wait(t *testing.T, lines <-chan string, re string) string {
	t.Helper()
	var seen []string
	for late := time.After(30 * time.Second); ; {
		select {
		case line, ok := <-lines:
			if !ok {
				t.Fatalf("the program ended without %s:\n%s", re, strings.Join(seen, "\n"))
			}
			if m := regexp.MustCompile(re).FindString(line); m != "" {
				return m
			}
			seen = append(seen, line)
		case <-late:
			t.Fatalf("no %s in time:\n%s", re, strings.Join(seen, "\n"))
		}
	}
}

const address = `http://127\.0\.0\.1:[0-9]+`

// example starts an example on a free port and returns its address.
func example(t *testing.T, program string, args ...string) string {
	t.Helper()
	return wait(t, start(t, t.TempDir(), program, append(args, "-listen", "127.0.0.1:0")...), address)
}

// visitor is a client that keeps its session, as browsers and curl do for
// loopback addresses. Go's cookie jar keeps no Secure cookie of plain HTTP.
type visitor struct {
	mu      sync.Mutex
	cookies []*http.Cookie
}

// do sends a request, a form where there is one, and returns status and body.
func (v *visitor) do(t *testing.T, method, url string, form url.Values) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return v.send(t, req)
}

// wantJSON posts JSON, with a token where there is one, and fails unless the answer is
// this one.
func (v *visitor) wantJSON(t *testing.T, url, body, token string, status int, want string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("X-CSRF-Token", token)
	}
	if gotStatus, got := v.send(t, req); gotStatus != status || want != "" && got != want {
		t.Errorf("POST %s %s: %d %s, want %d %s", url, body, gotStatus, got, status, want)
	}
}

// token returns the token that the profile tells.
func (v *visitor) token(t *testing.T, base string) string {
	t.Helper()
	_, body := v.do(t, "GET", base+"/profile", nil)
	var profile struct {
		Token string `json:"csrf_token"`
	}
	if err := json.Unmarshal([]byte(body), &profile); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return profile.Token
}

func (v *visitor) send(t *testing.T, req *http.Request) (int, string) {
	t.Helper()
	v.mu.Lock()
	for _, c := range v.cookies {
		req.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	v.mu.Unlock()
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	v.mu.Lock()
	for _, set := range resp.Cookies() {
		v.cookies = slices.DeleteFunc(v.cookies, func(c *http.Cookie) bool { return c.Name == set.Name })
		if set.MaxAge >= 0 {
			v.cookies = append(v.cookies, set)
		}
	}
	v.mu.Unlock()
	return resp.StatusCode, strings.TrimSpace(string(body))
}

// want fails unless the answer is this one.
func (v *visitor) want(t *testing.T, method, url string, form url.Values, status int, body string) {
	t.Helper()
	if gotStatus, got := v.do(t, method, url, form); gotStatus != status || body != "" && got != body {
		t.Errorf("%s %s: %d %s, want %d %s", method, url, gotStatus, got, status, body)
	}
}

func TestCounter(t *testing.T) {
	base := example(t, "counter")
	var v visitor
	v.want(t, "GET", base+"/session_test", nil, 200, `{"test_counter":1}`)
	v.want(t, "GET", base+"/session_test", nil, 200, `{"test_counter":2}`)
	new(visitor).want(t, "GET", base+"/session_test", nil, 200, `{"test_counter":1}`)

	// In parallel every number from 3 on comes exactly once.
	const parallel = 50
	numbers := make([]int, parallel)
	var wg sync.WaitGroup
	for i := range parallel {
		wg.Go(func() {
			_, body := v.do(t, "GET", base+"/session_test", nil)
			var answer struct {
				N int `json:"test_counter"`
			}
			if err := json.Unmarshal([]byte(body), &answer); err != nil {
				t.Error(body, err)
			}
			numbers[i] = answer.N
		})
	}
	wg.Wait()
	slices.Sort(numbers)
	for i, n := range numbers {
		if n != i+3 {
			t.Fatalf("%d parallel requests counted %v, want 3 to %d, each once", parallel, numbers, parallel+2)
		}
	}
}

func TestKeyvalue(t *testing.T) {
	base := example(t, "keyvalue")
	var v visitor
	v.want(t, "GET", base+"/get_session", nil, 200, `{"key":null}`)
	v.want(t, "GET", base+"/set_session", nil, 200, `{"message":"Session set"}`)
	v.want(t, "GET", base+"/get_session", nil, 200, `{"key":"value"}`)
	new(visitor).want(t, "GET", base+"/get_session", nil, 200, `{"key":null}`)
}

func TestGuide(t *testing.T) {
	dir := t.TempDir()
	add := func(name, password, roles string) string {
		cmd := exec.CommandContext(t.Context(), filepath.Join(built, "guide"), "-add", name, "-roles", roles)
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(password+"\n")
		out, _ := cmd.CombinedOutput() // what it says is judged
		return string(out)
	}
	const first, second = "a password of some words", "quite another one of mine"
	if out := add("ada", "password123", ""); !strings.Contains(out, "too short") {
		t.Errorf("a short password: %q", out)
	}
	if out := add("ada", first, "admin") + add("bob", first, ""); out != "added ada\nadded bob\n" {
		t.Fatal(out)
	}
	base := wait(t, start(t, dir, "guide", "-listen", "127.0.0.1:0"), address)
	login := func(name, password string) string {
		return fmt.Sprintf(`{"username":%q,"password":%q}`, name, password)
	}
	var v, elsewhere visitor
	v.want(t, "GET", base+"/profile", nil, 401, "")
	v.wantJSON(t, base+"/login", login("ada", second), "", 401, "")
	v.wantJSON(t, base+"/login", login("nobody", first), "", 401, "")
	v.wantJSON(t, base+"/login", login("Ada", first), "", 200, `{"message":"Login successful!"}`)
	elsewhere.wantJSON(t, base+"/login", login("ada", first), "", 200, "")
	elsewhere.want(t, "GET", base+"/profile", nil, 200, "")
	v.want(t, "GET", base+"/admin", nil, 200, `{"message":"Admin dashboard for ada."}`)

	change := func(current, new string) string { return fmt.Sprintf(`{"current":%q,"new":%q}`, current, new) }
	v.wantJSON(t, base+"/password", change(first, second), "", 403, "") // no token
	v.wantJSON(t, base+"/password", change(second, second), v.token(t, base), 401, "")
	v.wantJSON(t, base+"/password", change(first, "ada ada ada ada"), v.token(t, base), 422, "")
	stolen := &visitor{cookies: slices.Clone(v.cookies)}
	v.wantJSON(t, base+"/password", change(first, second), v.token(t, base), 200, `{"message":"Password changed."}`)
	v.want(t, "GET", base+"/profile", nil, 200, "")
	elsewhere.want(t, "GET", base+"/profile", nil, 401, "")
	stolen.want(t, "GET", base+"/profile", nil, 409, "") // renewed a moment ago: anonymous

	stolen = &visitor{cookies: slices.Clone(v.cookies)}
	v.wantJSON(t, base+"/logout", "{}", v.token(t, base), 200, `{"message":"Logged out successfully."}`)
	stolen.want(t, "GET", base+"/profile", nil, 401, "")

	var bob, guesser visitor
	bob.wantJSON(t, base+"/login", login("bob", first), "", 200, "")
	bob.want(t, "GET", base+"/admin", nil, 403, "")
	for range 5 {
		guesser.wantJSON(t, base+"/login", login("bob", second), "", 401, "")
	}
	guesser.wantJSON(t, base+"/login", login("bob", first), "", 429, "")
	bob.wantJSON(t, base+"/logout", "{}", bob.token(t, base), 200, "")
	bob.wantJSON(t, base+"/login", login("bob", first), "", 200, "") // in his own browser
}

func TestWebapp(t *testing.T) {
	hidden := regexp.MustCompile(`name="csrf_token" value="([A-Za-z0-9_-]+)"`)
	// submit fills in a page's form, as a browser would.
	submit := func(v *visitor, page, action string, form url.Values) (int, string) {
		_, body := v.do(t, "GET", page, nil)
		field := hidden.FindStringSubmatch(body)
		if field == nil {
			t.Fatalf("%s has no csrf_token:\n%s", page, body)
		}
		form.Set("csrf_token", field[1])
		return v.do(t, "POST", action, form)
	}
	form := func(name, password string) url.Values {
		return url.Values{"username": {name}, "password": {password}, "next": {"/admin/"}}
	}
	dir := t.TempDir()
	wait(t, start(t, dir, "webapp", "-listen", "127.0.0.1:0"), `no user yet: start once with -user NAME -password PASSWORD`)
	base := wait(t, start(t, dir, "webapp", "-listen", "127.0.0.1:0", "-user", "ada", "-password", "three plain words"), address)

	var v visitor
	v.want(t, "GET", base+"/account/", nil, 401, "")
	v.want(t, "POST", base+"/login", form("ada", "three plain words"), 403, "") // no field
	status, body := submit(&v, base+"/login", base+"/login", form("ada", "three plane words"))
	if status != 401 || !strings.Contains(body, "User name or password is wrong.") || hidden.FindString(body) == "" {
		t.Errorf("a wrong password: %d, want 401 and the form once more\n%s", status, body)
	}
	if len(v.cookies) != 1 || !strings.HasSuffix(v.cookies[0].Name, "csrf") {
		t.Fatalf("before the login there are the cookies %v, want the pre-login cookie", v.cookies)
	}
	elsewhere := form("ada", "three plane words")
	elsewhere.Set("next", "//evil.example")
	_, body = v.do(t, "GET", base+"/login?next=//evil.example", nil)
	if _, again := submit(&v, base+"/login", base+"/login", elsewhere); strings.Contains(body+again, "evil") {
		t.Errorf("the form takes an address elsewhere along:\n%s\n%s", body, again)
	}
	stranger := &visitor{} // has a field, and not the cookie that belongs to it
	without := form("ada", "three plain words")
	_, body = v.do(t, "GET", base+"/login", nil)
	without.Set("csrf_token", hidden.FindStringSubmatch(body)[1])
	stranger.want(t, "POST", base+"/login", without, 403, "")
	if status, body := submit(&v, base+"/login", base+"/login", form("ada", "three plain words")); status != 303 {
		t.Fatalf("login: %d %s", status, body)
	}
	if status, body := v.do(t, "GET", base+"/account/", nil); status != 200 || !strings.Contains(body, "You are ada.") {
		t.Errorf("the account: %d %s", status, body)
	}
	v.want(t, "GET", base+"/admin/", nil, 403, "")

	stolen := &visitor{cookies: slices.Clone(v.cookies)}
	v.want(t, "POST", base+"/logout", url.Values{}, 403, "") // no field
	if status, body := submit(&v, base+"/account/", base+"/logout", url.Values{}); status != 303 {
		t.Fatalf("logout: %d %s", status, body)
	}
	v.want(t, "GET", base+"/account/", nil, 401, "")
	stolen.want(t, "GET", base+"/account/", nil, 401, "")

	base = example(t, "webapp", "-user", "bob", "-password", "three plain words", "-roles", "admin")
	var admin visitor
	if status, body := submit(&admin, base+"/login", base+"/login", form("bob", "three plain words")); status != 303 {
		t.Fatalf("login: %d %s", status, body)
	}
	if status, body := admin.do(t, "GET", base+"/admin/", nil); status != 200 || !strings.Contains(body, "bob may see this.") {
		t.Errorf("administration: %d %s", status, body)
	}
}

// TestShared signs in at the service and is signed in at the other program, and
// signed out there as well.
func TestShared(t *testing.T) {
	dir := t.TempDir()
	lines := start(t, dir, "cloakroom", "serve", "--listen", "127.0.0.1:0")
	service := wait(t, lines, address)
	token := strings.TrimPrefix(wait(t, lines, `token=[A-Za-z0-9_-]+`), "token=")
	base := wait(t, start(t, dir, "shared", "-listen", "127.0.0.1:0"), address)

	send := func(v *visitor, path, csrf string, body any) (int, string) {
		text, _ := json.Marshal(body)
		req, _ := http.NewRequestWithContext(t.Context(), "POST", service+path, strings.NewReader(string(text)))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-CSRF-Token", csrf)
		for _, c := range v.cookies {
			req.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		answer, _ := io.ReadAll(resp.Body)
		if resp.StatusCode == http.StatusCreated {
			v.cookies = resp.Cookies()
		}
		return resp.StatusCode, string(answer)
	}
	var v visitor
	v.want(t, "GET", base+"/", nil, 401, "")
	if status, body := send(&v, "/auth/setup", "", map[string]string{"token": token, "username": "ada", "password": "correct horse battery staple"}); status != 201 {
		t.Fatalf("setup: %d %s", status, body)
	}
	v.want(t, "GET", base+"/", nil, 200, "Hello ada, you have signed in at the service.")

	_, session := v.do(t, "GET", service+"/auth/session", nil)
	var answer struct {
		Token string `json:"csrf_token"`
	}
	if err := json.Unmarshal([]byte(session), &answer); err != nil {
		t.Fatal(err)
	}
	if status, body := send(&v, "/auth/logout", answer.Token, struct{}{}); status != 204 {
		t.Fatalf("logout: %d %s", status, body)
	}
	v.want(t, "GET", base+"/", nil, 401, "")
}

func TestQuickstart(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // it says what it was told: give it a free port
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	base := wait(t, start(t, t.TempDir(), "quickstart", "-listen", addr), address)
	for range 300 {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	var v visitor
	v.want(t, "GET", base+"/", nil, 200, "visit 1")
	v.want(t, "GET", base+"/favicon.ico", nil, 404, "")
	v.want(t, "GET", base+"/", nil, 200, "visit 2")
}

// TestREADME compares the README's program with the example, which has a package
// clause, imports and error checks beside it.
func TestREADME(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "```go\n")
	shown, _, _ := strings.Cut(rest, "```")

	source, err := os.ReadFile("quickstart/main.go")
	if err != nil {
		t.Fatal(err)
	}
	program := regexp.MustCompile(`(?s)^.*package main\n|import \(.*?\n\)\n`).ReplaceAllString(string(source), "")
	program = regexp.MustCompile(`\tif err != nil \{\n\t\tlog\.Fatal\(err\)\n\t\}\n`).ReplaceAllString(program, "")
	if shown, program = strings.TrimSpace(shown), strings.TrimSpace(program); shown != program {
		t.Errorf("the README shows\n%s\n\nexamples/quickstart is\n%s", shown, program)
	}
	n := 0
	for line := range strings.Lines(program) {
		if strings.TrimSpace(line) != "" {
			n++
		}
	}
	if n > 15 {
		t.Errorf("the program has %d lines, promised are 15", n)
	}
}
