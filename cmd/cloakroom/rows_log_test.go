package main_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// Tokens of links and new passwords, taken and refused, with a database that fails in
// between, stand neither in the log at level debug nor in the audit log; and each line
// has its time in UTC, level and event.
func TestASVS_16_2_5_NoLinkAndNoNewPasswordIsLogged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir)
	ada := s.setup()
	addUser(t, dir, "bob")
	bob := s.client().login("bob", goodPassword)
	id := bob.session().User.ID
	a := ada.want(ada.do("POST", "/auth/admin/users/"+id+"/reset", "{}", "X-CSRF-Token", ada.csrf), 201)
	m := regexp.MustCompile(`token=([A-Za-z0-9_-]+)`).FindStringSubmatch(a.body)
	if m == nil {
		t.Fatal(a.body)
	}
	const weak, fresh, last = "canary-weak", "canary of a new password", "canary of the last password"
	bob.want(bob.change(goodPassword, weak), 422)
	c := s.client()
	c.want(c.page("/auth/reset?token="+m[1]), 200)
	s.sql("ALTER TABLE cloakroom_user RENAME TO gone")
	c.want(c.do("POST", "/auth/reset", fmt.Sprintf(`{"token":%q,"password":%q}`, m[1], fresh)), 503)
	bob.do("POST", "/auth/password", `{"current":"`+goodPassword+`","new":"`+fresh+`"}`, "X-CSRF-Token", bob.csrf)
	s.sql("ALTER TABLE gone RENAME TO cloakroom_user")
	c.want(c.do("POST", "/auth/reset", fmt.Sprintf(`{"token":%q,"password":%q}`, m[1], fresh)), 204)
	c.want(c.do("POST", "/auth/reset", fmt.Sprintf(`{"token":%q,"password":%q}`, m[1], last)), 410)
	bob = s.client().login("bob", fresh)
	bob.want(bob.change(fresh, last), 204)
	secrets := []string{m[1], weak, fresh, last, goodPassword, "canary", bob.secret().Value, bob.csrf, "$argon2"}
	s.end(syscall.SIGTERM)
	code, export := command(t, dir, "audit", "export")
	if code != 0 {
		t.Fatal(export)
	}
	for _, secret := range secrets {
		if secret == "" || strings.Contains(s.stderr.String(), secret) || strings.Contains(s.stdout.String(), secret) || strings.Contains(export, secret) {
			t.Errorf("%.6q… is in a log", secret)
		}
	}
	n := 0
	for line := range strings.Lines(s.stderr.String()) {
		n++
		var e struct{ Time, Level, Msg string }
		if err := json.Unmarshal([]byte(line), &e); err != nil || !strings.HasSuffix(e.Time, "Z") || !regexp.MustCompile(`^(DEBUG|INFO|WARN|ERROR)$`).MatchString(e.Level) || !regexp.MustCompile(`^[a-z_]+$`).MatchString(e.Msg) {
			t.Errorf("%v: %s", err, line)
		}
	}
	if n < 20 {
		t.Errorf("only %d lines", n)
	}
}
