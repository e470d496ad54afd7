package main_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
)

// handles lists the sessions that the client sees, its own one first.
func (c *client) handles() []string {
	c.t.Helper()
	var doc struct {
		Sessions []struct {
			Handle, Device, Address string
			Current                 bool
		}
	}
	a := c.want(c.do("GET", "/auth/sessions", ""), 200)
	if err := json.Unmarshal([]byte(a.body), &doc); err != nil {
		c.t.Fatal(err)
	}
	var all []string
	for i, s := range doc.Sessions {
		if s.Current != (i == 0) || s.Handle == "" || s.Device == "" || s.Address != "127.0.0.1" {
			c.t.Errorf("session %d: %+v", i, s)
		}
		all = append(all, s.Handle)
	}
	return all
}

func TestPromise09_SessionsAreListedAndEnded(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	a := s.setup()
	b := s.client().login("ada", goodPassword)
	c := s.client().login("ada", goodPassword)
	d := s.client().login("ada", goodPassword)
	if n := len(a.handles()); n != 4 {
		t.Fatalf("%d sessions", n)
	}
	handle := func(of *client) string { return of.handles()[0] }

	a.want(a.do("DELETE", "/auth/sessions/"+handle(b), "", "X-CSRF-Token", a.csrf), 204)
	b.want(b.do("GET", "/auth/session", ""), 401)
	a.want(a.form("/auth/sessions/"+handle(c)+"/end", url.Values{"csrf_token": {a.csrf}}), 303)
	c.want(c.do("GET", "/auth/session", ""), 401)
	if page := a.page("/auth/sessions"); !strings.Contains(page.body, "The session has ended.") {
		t.Errorf("not a word about it:\n%s", page.body)
	}
	if page := a.page("/auth/sessions"); strings.Contains(page.body, "The session has ended.") {
		t.Error("it is said twice")
	}
	a.want(a.do("POST", "/auth/sessions/end-others", "{}", "X-CSRF-Token", a.csrf), 204)
	d.want(d.do("GET", "/auth/session", ""), 401)
	a.session()

	// Ending one's own session is a logout.
	own := handle(a)
	a.session()
	gone := a.want(a.do("DELETE", "/auth/sessions/"+own, "", "X-CSRF-Token", a.csrf), 204)
	if gone.Header.Get("Clear-Site-Data") == "" {
		t.Error("no Clear-Site-Data")
	}
	a.want(a.do("GET", "/auth/session", ""), 401)
}

func TestSessionsOfOthersAreNotThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir)
	ada := s.setup()
	addUser(t, dir, "bob")
	bob := s.client().login("bob", goodPassword)
	handle := ada.handles()[0]
	bob.want(bob.do("DELETE", "/auth/sessions/"+handle, "", "X-CSRF-Token", bob.csrf), 404)
	bob.want(bob.do("POST", "/auth/sessions/"+handle+"/end", "{}", "X-CSRF-Token", bob.csrf), 404)
	bob.want(bob.do("POST", "/auth/sessions/end-others", "{}", "X-CSRF-Token", bob.csrf), 204)
	ada.session()
	if n := len(bob.handles()); n != 1 {
		t.Errorf("%d sessions", n)
	}
}

func TestASVS_3_7_2_LoginLeadsToThisHostOnly(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	s.setup()
	for next, want := range map[string]string{
		"/auth/sessions":  "/auth/sessions",
		"/app?a=1#b":      "/app?a=1#b",
		"":                "/auth/profile",
		"//evil.example":  "/auth/profile",
		`/\evil.example`:  "/auth/profile",
		"/\t/evil.ex":     "/auth/profile",
		"https://evil.ex": "/auth/profile",
		"javascript:1":    "/auth/profile",
		"/%2e%2e//evil":   "/auth/profile",
		s.URL + "/auth":   "/auth/profile",
	} {
		c := s.client()
		page := c.want(c.page("/auth/login?next="+url.QueryEscape(next)), 200)
		form := url.Values{"csrf_token": {csrfOf(t, page.body)}, "username": {"ada"}, "password": {goodPassword}, "next": {next}}
		if got := c.want(c.form("/auth/login", form), 303).Header.Get("Location"); got != want {
			t.Errorf("next %q leads to %q, want %q", next, got, want)
		}
		if want == "/auth/profile" && strings.Contains(page.body, `name="next"`) {
			t.Errorf("next %q is carried along", next)
		}
		if got := c.want(c.page("/auth/login?next="+url.QueryEscape(next)), 303).Header.Get("Location"); got != want {
			t.Errorf("signed in, next %q leads to %q, want %q", next, got, want)
		}
	}
}

// How a success is answered: what was sent decides, then what is asked for.
func TestFormsAndDocuments(t *testing.T) {
	s := start(t, t.TempDir())
	s.setup()
	for _, tc := range []struct {
		name, accept string
		json         bool
		status       int
	}{
		{"a browser", "text/html,*/*;q=0.8", false, 303},
		{"a tool that sends forms", "*/*", false, 303},
		{"a form that asks for JSON", "application/json", false, 200},
		{"JSON", "*/*", true, 200},
		{"JSON that would rather read a page", "text/html", true, 200},
	} {
		c := s.client()
		page := c.page("/auth/login")
		body := url.Values{"csrf_token": {csrfOf(t, page.body)}, "username": {"ada"}, "password": {goodPassword}}.Encode()
		if tc.json {
			body = credentials("ada", goodPassword)
		}
		a := c.do("POST", "/auth/login", body, "Accept", tc.accept)
		if a.StatusCode != tc.status {
			t.Errorf("%s: %d, want %d", tc.name, a.StatusCode, tc.status)
		}
		if tc.status == 200 && !strings.HasPrefix(a.body, `{"user":{"id":"`) {
			t.Errorf("%s: %s", tc.name, a.body)
		}
	}
}
