package main_test

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// TestASVS_16_2_5_NoSecretInTheAuditLog: whatever goes wrong or right, no password, token or key
// stands in an entry; and the entries of a running service are whole, with a request and an
// address each where there was one (16.2.1, 16.2.4).
func TestASVS_16_2_5_NoSecretInTheAuditLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addUser(t, dir, "ada", "--role=admin")
	addUser(t, dir, "bob")
	s := start(t, dir)
	const wrong, stray, forged = "canary-of-a-wrong-password", "canary-of-a-link-token", "canary-of-a-csrf-token"
	c := s.client()
	c.want(c.do("POST", "/auth/login", credentials("bob", wrong)), 401)
	c.want(c.do("POST", "/auth/login", credentials("nobody", wrong)), 401)
	c = s.client().login("bob", goodPassword)
	c.do("POST", "/auth/sessions/end-others", "{}", "X-CSRF-Token", forged)
	c.do("POST", "/auth/reauth", `{"password":"`+wrong+`"}`, "X-CSRF-Token", c.csrf)
	c.do("GET", "/auth/reset?token="+stray, "")
	s.client().do("POST", "/auth/setup", `{"token":"`+stray+`","username":"eve","password":"`+wrong+`"}`)
	c.do("GET", "/auth/admin", "")
	var secrets []string
	base, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, cookie := range c.http.Jar.Cookies(base) {
		secrets = append(secrets, cookie.Value)
	}
	c.want(c.do("POST", "/auth/logout", "{}", "X-CSRF-Token", c.csrf), 204)
	s.client().do("GET", "/auth/session", "", "Cookie", "__Host-session=AQIDBAUGBwgJ-canary")
	s.end(syscall.SIGTERM)

	keys, err := os.ReadFile(filepath.Join(dir, "cloakroom-data", "keys"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(keys), "\n") {
		if f := strings.Fields(line); len(f) > 3 && line[0] != '#' {
			secrets = append(secrets, f[len(f)-1])
		}
	}
	secrets = append(secrets, wrong, stray, forged, c.csrf, goodPassword, "argon2", "canary")
	code, out := command(t, dir, "audit", "export")
	if code != 0 {
		t.Fatal(out)
	}
	for _, secret := range secrets {
		if secret == "" || strings.Contains(out, secret) {
			t.Errorf("%q is in the audit log:\n%s", secret, out)
		}
	}
	kinds := make(map[string]int)
	for line := range strings.Lines(out) {
		var e struct{ Kind, Request, Addr, Actor, Time string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		kinds[e.Kind]++
		if !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$`).MatchString(e.Time) {
			t.Errorf("time %s", e.Time)
		}
		switch e.Kind {
		case "login", "login_refused", "logout", "csrf_refused", "reauth_refused", "access_refused":
			if e.Request == "" || e.Addr != "127.0.0.1" {
				t.Errorf("no request or address: %s", line)
			}
		}
	}
	// Each once an action (ASVS 16.3.1 to 16.3.3).
	for kind, n := range map[string]int{"user_added": 2, "login_refused": 2, "login": 1, "logout": 1, "csrf_refused": 1, "reauth_refused": 1, "access_refused": 1} {
		if kinds[kind] != n {
			t.Errorf("%d entries of %s, want %d:\n%s", kinds[kind], kind, n, out)
		}
	}
	if code, out := command(t, dir, "audit", "verify"); code != 0 {
		t.Error(out)
	}
}
