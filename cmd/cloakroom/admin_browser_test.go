package main_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// administers returns a browser in which the first administrator has signed in.
func administers(t *testing.T) (*browser, *server) {
	t.Helper()
	s := start(t, t.TempDir())
	local := func(address string) string { return strings.Replace(address, "127.0.0.1", "localhost", 1) }
	b := &browser{t, chromium(t, true), local(s.URL)}
	b.open(local(s.await(linkLine)))
	b.submit("setup", map[string]string{"username": "ada", "password": goodPassword})
	return b, s
}

// An administrator adds somebody, hands over a link, and finds them again; each page is
// judged on the way.
func TestUsersInABrowser(t *testing.T) {
	b, _ := administers(t)
	b.add("somebody-with-a-long-name@department.example.org", "editor reviewer")
	b.add("bob", "editor")
	b.look("admin link")
	link := b.text(".secret code")
	if !regexp.MustCompile(`^http://127\.0\.0\.1:[0-9]+/auth/invite\?token=[\w-]{43}$`).MatchString(link) {
		t.Errorf("the link is %q", link)
	}
	b.click("main a.button")
	b.shows("/auth/admin/users/", "bob")
	b.click(`form[action$="/invite"] button`)
	b.shows("/auth/admin/users/", "Hand it over yourself")
	b.open(b.url + "/auth/admin/users")
	b.press("Add a user", "")
	b.look("admin users")
	b.open(b.url + "/auth/admin/users?q=bob&state=no_password")
	if text := b.text("tbody"); !strings.Contains(text, "bob") || strings.Contains(text, "somebody") {
		t.Errorf("found %q", text)
	}
	b.open(b.url + "/auth/admin/users?q=nobody-at-all")
	b.look("admin users none")
}

// An administrator changes, disables and removes somebody.
func TestAUserInABrowser(t *testing.T) {
	b, s := administers(t)
	b.add("bob", "editor")
	c := s.client() // somebody tries bob's name
	for range 7 {
		c.do("POST", "/auth/login", `{"username":"bob","password":"wrong wrong wrong wrong"}`)
	}
	b.click("main a.button")
	b.look("admin user")
	b.click(`form[action$="/roles"] button`)
	b.shows("/auth/admin/users/", "The roles are saved")
	b.press("Disable", `form[action$="/disable"] button`)
	b.shows("/auth/admin/users/", "signed out everywhere")
	b.press("Remove", "")
	b.fill(`form[action$="/remove"] input[name=name]`, "eve")
	b.click(`form[action$="/remove"] button`)
	b.shows("/auth/admin/users/", "not that of this user")
	b.look("admin user not removed")
	b.fill(`form[action$="/remove"] input[name=name]`, "bob")
	b.click(`form[action$="/remove"] button`)
	b.shows("/auth/admin/users", "removed")
	b.click(`td a[href*="/admin/users/"]`)
	b.look("admin oneself")
}

// An administrator reads what has happened, and signs everybody out.
func TestAuditLogInABrowser(t *testing.T) {
	b, s := administers(t)
	b.add("bob", "editor")
	c := s.client()
	for range 7 {
		c.do("POST", "/auth/login", `{"username":"bob","password":"wrong wrong wrong wrong"}`)
	}
	b.open(b.url + "/auth/admin/audit")
	b.shows("/auth/admin/audit", "Sign-in refused")
	b.look("admin audit")
	b.open(b.url + "/auth/admin/suspicious")
	b.look("admin suspicious")
	b.open(b.url + "/auth/admin/sessions")
	b.press("End everybody's sessions", "")
	b.look("admin sessions")
	b.click(`form[action$="/end-all"] button`)
	b.shows("/auth/login", "Sign in")
}

// add fills in the form that adds a user.
func (b *browser) add(name, roles string) {
	b.t.Helper()
	b.open(b.url + "/auth/admin/users")
	b.press("Add a user", "")
	b.fill("#new-name", name)
	b.fill("#new-roles", roles)
	b.click(".act form button")
	b.shows("/auth/admin/users", "Give this link to "+name)
}

// fill types into a field.
func (b *browser) fill(css, text string) {
	b.t.Helper()
	field := chromedp.CSS(css)
	b.do("fill "+css, chromedp.Do(b.ctx, chromedp.Clear(field), chromedp.SendKeys(field, text)))
}

// press opens what stands behind a summary of this text, and clicks the button in it.
func (b *browser) press(summary, button string) {
	b.t.Helper()
	b.eval(fmt.Sprintf(`for (const s of document.querySelectorAll("summary")) if (s.textContent == %q && !s.parentElement.open) s.click(); ""`, summary))
	if button != "" {
		b.click(button)
	}
}

// text is what an element says.
func (b *browser) text(css string) string {
	b.t.Helper()
	text, err := chromedp.Run(b.ctx, chromedp.TextContent(chromedp.CSS(css)))
	b.do("text of "+css, err)
	return strings.TrimSpace(text)
}

// shows fails unless the tab shows an address that begins so, and this text.
func (b *browser) shows(prefix, text string) {
	b.t.Helper()
	location, err := chromedp.Run(b.ctx, chromedp.Location())
	b.do("location", err)
	body := b.text("main")
	if !strings.HasPrefix(location, b.url+prefix) || !strings.Contains(strings.ToLower(body), strings.ToLower(text)) {
		b.t.Fatalf("the browser is at %s, want %s%s with %q:\n%s", location, b.url, prefix, text, body)
	}
}
