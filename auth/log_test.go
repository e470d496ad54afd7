package auth_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/auth"
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

// Each action is one line of its own event, under the handle that lists show, and none
// of them has a secret in it (ASVS 16.3.1).
func TestASVS_16_3_1_OneLineForEachProof(t *testing.T) {
	a := newHandler(t, &setup{know: true})
	g := a.guest("192.0.2.1")
	all := ""
	for _, c := range []struct {
		act  func() answer
		want string
	}{
		{func() answer { return g.login("alice", rightPassword) }, "login new_device"},
		{func() answer { return g.login("alice", rightPassword) }, "login session_renewed"},
		{func() answer { return g.login("alice", "wrong") }, "login_refused"},
		{func() answer { return g.reauth("wrong") }, "reauth_refused"},
		{func() answer { return g.reauth("") }, "reauth_refused"},
		{func() answer { return g.reauth(rightPassword) }, "reauthenticated session_renewed session_renewed"},
		{func() answer { return g.change("wrong", newPassword) }, "reauth_refused"},
		{func() answer { return g.change(rightPassword, "short") }, "password_refused"},
		{func() answer { return g.change(rightPassword, newPassword) }, "password_changed session_ended session_renewed session_renewed"},
		{func() answer { return a.guest("192.0.2.1").change("x", newPassword) }, ""},
	} {
		a.log.take()
		r := c.act()
		log := a.log.take()
		var names []string
		for line := range strings.Lines(log) {
			var l map[string]any
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatal(err)
			}
			names = append(names, l["msg"].(string))
			if name := l["msg"]; (name == "reauthenticated" || name == "password_changed") && l["session"] != a.current(t, "u1") {
				t.Errorf("%s names the session %v", name, l["session"])
			}
		}
		slices.Sort(names)
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%d %s: lines %q, want %q", r.StatusCode, r.body, got, c.want)
		}
		all += log + r.body
	}
	for _, secret := range []string{rightPassword, newPassword, "$argon2", g.token(), g.value(deviceCookie), rightHash()} {
		if strings.Contains(all, secret) {
			t.Errorf("%q stands in a line or an answer", secret)
		}
	}
}

// current is the handle of the only session of a user.
func (a *app) current(t *testing.T, id string) string {
	t.Helper()
	infos, err := a.m.List(t.Context(), id)
	if err != nil || len(infos) != 1 {
		t.Fatalf("sessions: %v, %v", infos, err)
	}
	return infos[0].ID.Handle()
}

// Nothing that an Auth returns or answers shows a hash, whoever asks (A50).
func TestAttack_A50_NoHashIsShown(t *testing.T) {
	a := newHandler(t, &setup{wrap: kinds["ChangePassword"]})
	g := a.guest("192.0.2.1")
	var shown []any
	h := a.m.Handler(a.auth.RequireLoginToChange(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, _ := auth.UserFrom(r.Context())
		err := a.auth.ChangePassword(r, rightPassword, newPassword)
		shown = append(shown, u, err, a.auth.Decide(r.Context(), auth.Rule{}))
		for name := range r.Header {
			shown = append(shown, r.Header[name])
		}
	})))
	g.mustLogin(t, "alice")
	shown = append(shown, a.user)
	in := *g
	in.h = h
	r := in.do("POST", "/", nil)
	shown = append(shown, r.Header, r.body)
	text := fmt.Sprintf("%+v", shown)
	if err, _ := shown[2].(error); err != nil || !strings.Contains(text, "alice") {
		t.Fatalf("the change failed: %v", shown)
	}
	if strings.Contains(text, "argon2") {
		t.Errorf("a hash is shown: %s", text)
	}
}
