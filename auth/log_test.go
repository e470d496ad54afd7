package auth_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/password"
)

func TestEveryLoginIsALogLine(t *testing.T) {
	a := newApp(t, nil)
	for user, c := range map[string]struct{ pw, event, reason string }{
		"alice":  {rightPassword, "login", ""},
		"zoe":    {rightPassword, "login_refused", "unknown"},
		"bob":    {"wrong", "login_refused", "password"},
		"dora":   {rightPassword, "login_refused", "disabled"},
		"nopw":   {rightPassword, "login_refused", "no password"},
		"broken": {rightPassword, "login_refused", "unusable hash"},
		"al ice": {rightPassword, "login_refused", "bad name"},
		"Bob":    {"", "login_refused", "empty password"},
		"BOB":    {strings.Repeat("x", password.MaxLength+1), "login_refused", "too long"},
	} {
		a.log.take()
		client := a.client(t)
		client.login(user, c.pw)
		l := a.log.lines(t, c.event)
		if len(l) != 1 || l[0]["addr"] != "127.0.0.1" {
			t.Errorf("%s: %v", user, l)
			continue
		}
		if c.reason != "" && (l[0]["reason"] != c.reason || l[0]["user"] != user || l[0]["level"] != "WARN" || l[0]["err"] != nil) {
			t.Errorf("%s: %v", user, l[0])
		}
		if c.event == "login" {
			infos, err := a.m.List(t.Context(), "u1")
			if err != nil || len(infos) != 1 || l[0]["session"] != infos[0].ID.Handle() || l[0]["user"] != "u1" || l[0]["level"] != "INFO" {
				t.Errorf("%s: %v", user, l[0])
			}
			client.do("POST", "/logout", nil)
			if out := a.log.lines(t, "logout"); len(out) != 1 || out[0]["session"] != l[0]["session"] {
				t.Errorf("logout: %v", out)
			}
			client.do("POST", "/logout", nil)
			if out := a.log.lines(t, "logout"); len(out) != 0 {
				t.Errorf("logout of nobody: %v", out)
			}
		}
	}
	a.users.set(func(u *accounts) { u.fail = errBoom })
	a.client(t).login("alice", rightPassword)
	if l := a.log.lines(t, "login_refused"); len(l) != 1 || l[0]["reason"] != "unavailable" || l[0]["level"] != "ERROR" || !strings.Contains(l[0]["err"].(string), "10.0.0.7") {
		t.Errorf("outage: %v", l)
	}
}

func TestRefusedAccessIsALogLine(t *testing.T) {
	a := newApp(t, nil)
	c := a.client(t)
	c.get("/admin")
	if l := a.log.lines(t, "access_refused"); len(l) != 0 {
		t.Errorf("a visitor who is not signed in yet: %v", l)
	}
	c.mustLogin("bob")
	c.get("/admin")
	if l := a.log.lines(t, "access_refused"); len(l) != 1 || l[0]["reason"] != "role" || l[0]["user"] != "u2" || l[0]["session"] == nil || l[0]["level"] != "WARN" {
		t.Errorf("%v", l)
	}
}

// Whatever somebody types as their name, a log line is one line, of printable
// ASCII (ASVS 16.4.1).
func TestAttack_A42_NamesCannotForgeLogLines(t *testing.T) {
	a := newApp(t, nil)
	for _, name := range []string{
		"x\r\n{\"msg\":\"login\",\"user\":\"admin\"}", "x\x1b[2J", "x\x00y", "x\u2028y", "x\u202ey", "x\u0085y", "x\u200by", "x\xff\xfe",
		"\"}\n", "\u2066x\u2069", strings.Repeat("\u202e", 100_000),
	} {
		a.log.take()
		a.client(t).login(name, "wrong")
		out := a.log.take()
		var line struct{ Msg, User string }
		if err := json.Unmarshal([]byte(out), &line); err != nil || line.Msg != "login_refused" || len(out) > 4000 {
			t.Errorf("%.40q wrote %.200q: %v", name, out, err)
		}
		if typed, err := strconv.Unquote(strings.TrimSuffix(line.User, "...")); err != nil || !strings.HasPrefix(name, typed) {
			t.Errorf("%.40q is in the log as %.200q: %v", name, line.User, err)
		}
		for i := range len(out) - 1 {
			if out[i] < ' ' || out[i] > '~' {
				t.Errorf("%.40q left byte %#x in the log", name, out[i])
				break
			}
		}
	}
}

// Neither passwords nor hashes nor tokens reach the log, at its most talkative
// and when everything goes wrong (ASVS 16.2.5).
func TestASVS_16_2_5_SecretsStayOutOfTheLog(t *testing.T) {
	a := newApp(t, nil)
	c := a.client(t)
	c.login("alice", "canary-password-1")
	c.login("zoe", "canary-password-2")
	c.mustLogin("alice")
	first := c.token()
	c.get("/admin")
	c.mustLogin("alice")
	second := c.token()
	c.with(first, "GET", "/private")
	a.users.set(func(u *accounts) { u.fail = errBoom })
	c.get("/private")
	c.login("alice", "canary-password-3")
	a.users.set(func(u *accounts) { u.fail = nil })
	a.store.set(errBoom, errBoom)
	c.login("alice", rightPassword)
	c.do("POST", "/logout", nil)
	a.store.set(nil, nil)
	a.users.change("u1", func(u *account) { u.Disabled = true })
	c.get("/private")

	out := a.log.take()
	for name, secret := range map[string]string{
		"a wrong password": "canary-password", "the password": rightPassword, "a hash": "argon2", "a token": first, "another token": second,
		"the salt": strings.Split(rightHash(), "$")[4], "the key": strings.Split(rightHash(), "$")[5],
	} {
		if secret == "" || strings.Contains(out, secret) {
			t.Errorf("%s is in the log, or was never there", name)
		}
	}
	if strings.Count(out, "\n") < 8 {
		t.Errorf("the log has no lines to speak of: %s", out)
	}
}
