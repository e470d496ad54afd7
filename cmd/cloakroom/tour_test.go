package main_test

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// record is what a tour through the whole service left behind.
type record struct {
	answers []answer
	log     string // standard error
	stdout  string

	// What must turn up in no log, and where it may turn up in an answer.
	passwords, tokens, csrf, links []string
}

var (
	tourOnce sync.Once
	theTour  *record
)

// tour drives one service through everything it does, at log level debug, pages
// and errors included, and returns what came of it. The tests of this package
// share one tour.
func tour(t *testing.T) *record {
	t.Helper()
	tourOnce.Do(func() { theTour = takeTour(t) })
	if theTour == nil {
		t.Fatal("the tour has failed")
	}
	return theTour
}

var hiddenToken = regexp.MustCompile(`name="csrf_token" value="([^"]+)"`)

// csrfOf returns the token of a page's forms.
func csrfOf(t *testing.T, page string) string {
	t.Helper()
	m := hiddenToken.FindStringSubmatch(page)
	if m == nil {
		t.Fatalf("no token in the page:\n%s", page)
	}
	return m[1]
}

// The passwords of the tour: what is looked for in its log.
const (
	tourPassword  = "canary-Kq7-of-the-admin"
	wrongPassword = "canary-Zw3-that-is-wrong"
	shortPassword = "kQ9!x"
)

func takeTour(t *testing.T) *record {
	s := start(t, t.TempDir())
	rec := &record{passwords: []string{tourPassword, wrongPassword, shortPassword}}
	rec.setup(s)
	rec.browser(s)
	rec.program(s)
	rec.outage(s)
	if code := s.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	rec.answers, rec.log, rec.stdout = s.answers, s.stderr.String(), s.stdout.String()
	for _, a := range rec.answers {
		for _, cookie := range a.Cookies() {
			if len(cookie.Value) > 20 {
				rec.tokens = append(rec.tokens, cookie.Value)
			}
		}
	}
	return rec
}

// setup is what there is before setup, and setup by the pages.
func (rec *record) setup(s *server) {
	c := s.client()
	c.want(c.page("/"), 200)
	c.want(c.page("/auth/login"), 200)
	link, err := url.Parse(s.await(linkLine))
	if err != nil {
		s.t.Fatal(err)
	}
	token := link.Query().Get("token")
	rec.links = []string{token}
	c.want(c.page("/auth/setup?token=unknown"), 410)
	page := c.want(c.page("/auth/setup?token="+token), 200)
	rec.csrf = append(rec.csrf, csrfOf(s.t, page.body))
	form := url.Values{"csrf_token": {csrfOf(s.t, page.body)}, "token": {token}, "username": {"ada"}, "password": {shortPassword}}
	c.want(c.form("/auth/setup", form), 422)
	form.Set("password", tourPassword)
	c.want(c.form("/auth/setup", form), 303)
	c.want(c.form("/auth/setup", form), 403) // its token was that of before the login
	other := s.client()
	other.want(other.do("POST", "/auth/setup", fmt.Sprintf(`{"token":%q,"username":"eve","password":%q}`, token, tourPassword)), 410)
	other.want(other.page("/auth/setup?token="+token), 410)
}

// browser signs in, looks around, signs out.
func (rec *record) browser(s *server) {
	b := s.client()
	b.want(b.page("/"), 303)
	b.want(b.page("/auth/profile"), 303)
	page := b.want(b.page("/auth/login?next=/auth/sessions"), 200)
	login := url.Values{"csrf_token": {csrfOf(s.t, page.body)}, "username": {"ada"}, "password": {wrongPassword}, "next": {"/auth/sessions"}}
	b.want(b.form("/auth/login", login), 401)
	b.want(b.form("/auth/login", url.Values{"csrf_token": login["csrf_token"], "username": {"ada"}}), 400)
	login.Set("password", tourPassword)
	b.want(b.form("/auth/login", login), 303)
	page = b.want(b.page("/auth/sessions"), 200)
	token := url.Values{"csrf_token": {csrfOf(s.t, page.body)}}
	rec.csrf = append(rec.csrf, token.Get("csrf_token"))
	b.want(b.page("/auth/profile"), 200)
	b.want(b.page("/auth/login"), 303)
	b.want(b.page("/auth/nowhere"), 404)
	b.want(b.page("/auth/logout"), 405)
	b.want(b.form("/auth/sessions/AAAAAAAAAAAAAAAA/end", token), 404)
	b.want(b.form("/auth/sessions/end-others", url.Values{"csrf_token": {"canary"}}), 403)
	b.want(b.form("/auth/sessions/end-others", token), 303)
	b.want(b.page("/auth/sessions"), 200) // with a word about it
	b.want(b.form("/auth/logout", token), 303)
}

// program does the same.
func (rec *record) program(s *server) {
	p := s.client()
	p.want(p.do("GET", "/auth/session", ""), 401)
	p.want(p.do("POST", "/auth/login", credentials("ada", wrongPassword)), 401)
	p.want(p.do("POST", "/auth/login", credentials("nobody", tourPassword)), 401)
	p.want(p.do("POST", "/auth/login", `{"username":"ada","password":"`+tourPassword), 400)
	p.login("ada", tourPassword)
	rec.csrf = append(rec.csrf, p.csrf)
	p.want(p.do("GET", "/auth/profile", ""), 200)
	p.want(p.do("GET", "/auth/sessions", ""), 200)
	p.want(p.do("HEAD", "/auth/session", ""), 200)
	p.want(p.do("DELETE", "/auth/sessions/AAAAAAAAAAAAAAAA", ""), 403)
	p.want(p.do("DELETE", "/auth/sessions/AAAAAAAAAAAAAAAA", "", "X-CSRF-Token", p.csrf), 404)
	p.want(p.do("POST", "/auth/sessions/end-others", "{}", "X-CSRF-Token", p.csrf), 204)
	p.want(p.do("POST", "/auth/login", "x", "Content-Type", "text/plain"), 415)
	p.want(p.do("PUT", "/auth/login", ""), 405)
	p.want(p.do("POST", "/auth/logout", "{}", "X-CSRF-Token", p.csrf), 204)
	p.want(p.do("GET", s.style(p), ""), 200)
}

// outage takes the tables away, and with them everything that needs them.
func (rec *record) outage(s *server) {
	q := s.client().login("ada", tourPassword)
	rec.csrf = append(rec.csrf, q.csrf)
	s.sql("ALTER TABLE cloakroom_session RENAME TO gone")
	q.want(q.page("/auth/profile"), 503)
	q.want(q.do("GET", "/auth/session", ""), 503)
	q.want(q.do("POST", "/auth/login", credentials("ada", tourPassword)), 503)
	s.sql("ALTER TABLE gone RENAME TO cloakroom_session")
	q.want(q.do("GET", "/auth/session", ""), 200)
	s.sql("ALTER TABLE cloakroom_user RENAME TO gone")
	q.want(q.page("/auth/profile"), 503)
	q.want(q.do("GET", "/auth/session", ""), 503)
	q.want(q.page("/auth/login"), 200) // the form: nobody can tell whether the session is let in
	q.want(q.do("GET", "/auth/login", ""), 200)
	q.want(s.client().page("/auth/login"), 200)
	q.want(q.page("/"), 303)
	q.want(s.client().do("POST", "/auth/login", credentials("ada", tourPassword)), 503)
	s.sql("ALTER TABLE gone RENAME TO cloakroom_user")
	q.want(q.do("GET", "/auth/session", ""), 200)
}

// style returns the address of the style sheet.
func (s *server) style(c *client) string {
	c.t.Helper()
	m := regexp.MustCompile(`<link rel="stylesheet" href="([^"]+)">`).FindStringSubmatch(c.page("/auth/nowhere").body)
	if m == nil {
		c.t.Fatal("no style sheet")
	}
	return m[1]
}

// isPage tells whether an answer is a page.
func isPage(a answer) bool {
	return strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") && a.body != ""
}

// name says which answer a fault is about.
func name(a answer) string {
	return fmt.Sprintf("%s %s (%d)", a.Request.Method, a.Request.URL.Path, a.StatusCode)
}

// signedIn tells whether the page is shown to somebody who is signed in.
func signedIn(a answer) bool {
	return isPage(a) && a.StatusCode < 400 && (strings.HasSuffix(a.Request.URL.Path, "/profile") || strings.HasSuffix(a.Request.URL.Path, "/sessions"))
}
