package main_test

import (
	"io/fs"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// isSession tells the session's cookie from all others.
func isSession(c *http.Cookie) bool { return strings.HasSuffix(c.Name, "session") }

// held are the cookies that a client holds.
func (c *client) held() []*http.Cookie {
	u, err := url.Parse(c.s.URL)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.http.Jar.Cookies(u)
}

// secret is the session's cookie.
func (c *client) secret() *http.Cookie {
	c.t.Helper()
	for _, k := range c.held() {
		if isSession(k) {
			return k
		}
	}
	c.t.Fatalf("no session among %v", c.held())
	return nil
}

// needsLogin tells the routes that answer nobody but who is signed in.
func needsLogin(all []route, stranger *client) (some []route) {
	for _, r := range all {
		if r.has("GET") && stranger.do("GET", r.path, "").StatusCode == 401 {
			some = append(some, r)
		}
	}
	return some
}

// Whoever does not present the session's secret is nobody, whatever else they
// say.
func TestNIST_5_1_a_NoIdentityWithoutTheSecret(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	ada := s.setup()
	id := ada.session().User.ID
	all := needsLogin(routes(t, s.client()), s.client())
	if len(all) < 3 {
		t.Fatalf("only %d routes need a login", len(all))
	}
	secret := ada.secret().Value
	for _, r := range all {
		for _, says := range [][]string{
			{"X-Forwarded-User", "ada"}, {"Remote-User", id}, {"X-Remote-User", "ada"}, {"X-User-Id", id}, {"Authorization", "Bearer " + secret},
			{"Authorization", "Basic YWRhOmNvcnJlY3QgaG9yc2UgYmF0dGVyeSBzdGFwbGU="}, {"X-Session-Id", secret}, {"X-Auth-Token", secret},
			{"Cookie", "logged_in=1; user=ada; authenticated=true"}, {"Cookie", "session=" + secret}, {"Cookie", "__Secure-session=" + secret},
			{"Cookie", "__Host-session=" + id}, {"Cookie", "__Host-session=" + secret[:len(secret)-1]}, {"Cookie2", "__Host-session=" + secret},
		} {
			c := s.client()
			if a := c.do("GET", r.path+"?user=ada&authenticated=true", "", says...); a.StatusCode != 401 || strings.Contains(a.body, "ada") {
				t.Errorf("%s with %q: %s", name(a), says, a.body)
			}
		}
		if a := s.client().do("GET", r.path, "", "Cookie", "__Host-session="+secret); a.StatusCode != 200 && a.StatusCode != 404 {
			t.Errorf("%s with the secret", name(a))
		}
	}
	stranger := s.client()
	stranger.want(stranger.do("POST", "/auth/login", `{"username":"ada","password":"wrong","authenticated":true,"user_id":"`+id+`"}`), 401)
}

// issued are the session cookies that answers have set.
func issued(answers []answer) (all []string) {
	for _, a := range answers {
		for _, c := range a.Cookies() {
			if isSession(c) && c.Value != "" {
				all = append(all, c.Value)
			}
		}
	}
	return all
}

// A session is made by the answer to a proof of identity, and by no other; what
// was there before is not raised to one.
func TestNIST_5_1_b_IssuedAtAuthentication(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	s.setup()
	all := routes(t, s.client())
	c := s.client()
	s.answers = nil
	for _, r := range all {
		for _, method := range append([]string{"HEAD"}, r.methods...) {
			c.do(method, r.path, "", "Accept", htmlAccept)
		}
	}
	c.want(c.do("POST", "/auth/login", credentials("ada", "wrong")), 401)
	if got := issued(s.answers); len(got) > 0 {
		t.Fatalf("%d sessions without a proof of identity", len(got))
	}
	before := c.held()
	page := c.page("/auth/login")
	s.answers = nil
	form := url.Values{"csrf_token": {csrfOf(t, page.body)}, "username": {"ada"}, "password": {goodPassword}}
	c.want(c.form("/auth/login", form), 303)
	if got := issued(s.answers); len(got) != 1 {
		t.Fatalf("the login's own answer issued %d sessions", len(got))
	} else if slices.ContainsFunc(before, func(c *http.Cookie) bool { return c.Value == got[0] }) {
		t.Error("a cookie of before has become a session")
	}
	c.session()
}

// The secret is made at the login, not before: two logins of one browser have
// nothing in common, and the first is worth nothing after the second.
func TestNIST_5_1_1_MadeDuringAuthentication(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	c := s.setup()
	first := only{c.secret()}
	c.want(c.do("POST", "/auth/login", credentials("ada", goodPassword), "X-CSRF-Token", c.csrf), 200)
	c.session()
	if first[0].Value == c.secret().Value {
		t.Fatal("the login kept the secret")
	}
	old := s.client()
	old.http.Jar = first
	if a := old.do("GET", "/auth/session", ""); a.StatusCode != 401 && a.StatusCode != 409 || strings.Contains(a.body, "ada") {
		t.Errorf("the secret of before the login: %d %s", a.StatusCode, a.body)
	}
	chosen := s.client()
	made := strings.Repeat("A", len(first[0].Value))
	a := chosen.want(chosen.do("POST", "/auth/login", credentials("ada", goodPassword), "Cookie", "__Host-session="+made), 200)
	if got := issued([]answer{a}); len(got) != 1 || got[0] == made {
		t.Error("a secret that the client chose was adopted")
	}
}

// The session ends with the browser: its cookie has no lifetime of its own.
func TestNIST_5_1_c_NotKeptOverARestartOfTheBrowser(t *testing.T) {
	n := 0
	for _, c := range cookies(t) {
		if !isSession(c) || c.Value == "" {
			continue
		}
		n++
		if c.MaxAge != 0 || !c.Expires.IsZero() || c.RawExpires != "" {
			t.Errorf("%s", c.Raw)
		}
	}
	if n < 3 {
		t.Errorf("only %d session cookies on the tour", n)
	}
}

// No other cookie that the browser holds signs anybody in.
func TestNIST_5_1_d_NoOtherCookieSignsIn(t *testing.T) {
	s := start(t, t.TempDir())
	s.setup()
	c := s.client()
	page := c.page("/auth/login")
	c.want(c.form("/auth/login", url.Values{"csrf_token": {csrfOf(t, page.body)}, "username": {"ada"}, "password": {goodPassword}}), 303)
	c.session()
	var others only
	for _, k := range c.held() {
		if !isSession(k) {
			others = append(others, k)
		}
	}
	if len(others) == 0 {
		t.Fatal("there is no other cookie")
	}
	c.http.Jar = others
	for _, r := range needsLogin(routes(t, s.client()), s.client()) {
		c.want(c.do("GET", r.path, ""), 401)
	}
	s.answers = nil
	c.page("/auth/login")
	if len(issued(s.answers)) > 0 {
		t.Error("a session came of it")
	}
}

// Nothing but a login moves the time and the roles that a session stands for.
func TestNIST_5_1_e_NothingRaisesASession(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir)
	s.setup()
	addUser(t, dir, "bob")
	bob := s.client().login("bob", goodPassword)
	first := bob.session()
	time.Sleep(1100 * time.Millisecond) // times are told to the second at worst
	for _, r := range routes(t, s.client()) {
		for _, method := range r.methods {
			if r.pattern == "/auth/logout" || strings.HasSuffix(r.pattern, "/sessions/end-all") || strings.Contains(r.pattern, "password") || strings.Contains(r.pattern, "reauth") || method == "POST" && r.pattern == "/auth/login" {
				continue
			}
			body := ""
			if method != "GET" {
				body = `{"roles":"admin","role":"admin","auth_time":"2099-01-01T00:00:00Z","aal":"3"}`
			}
			bob.do(method, r.path, body, "X-CSRF-Token", bob.csrf)
		}
	}
	now := bob.session()
	if !now.Session.Auth_time.Equal(first.Session.Auth_time) || len(now.User.Roles) != 0 || now.User.ID != first.User.ID {
		t.Errorf("was %+v, is %+v", first, now)
	}
	bob.want(bob.do("POST", "/auth/login", credentials("bob", goodPassword), "X-CSRF-Token", bob.csrf), 200)
	if again := bob.session(); !again.Session.Auth_time.After(first.Session.Auth_time) {
		t.Errorf("a login does not move it: %v", again.Session.Auth_time)
	}
}

// Logout takes the cookie back and ends the session on the server.
func TestNIST_5_1_3_LogoutErasesAndInvalidates(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	c := s.setup()
	kept := only(c.held())
	before := strings.Count(s.contents(), "\n")
	a := c.want(c.do("POST", "/auth/logout", "{}", "X-CSRF-Token", c.csrf), 204)
	if got := a.Cookies(); len(got) != 1 || got[0].Value != "" || got[0].MaxAge >= 0 || !isSession(got[0]) {
		t.Errorf("cookies %v", a.Header["Set-Cookie"])
	}
	if slices.ContainsFunc(c.held(), isSession) {
		t.Errorf("the browser still holds %v", c.held())
	}
	thief := s.client()
	thief.http.Jar = kept
	for range 3 {
		thief.want(thief.do("GET", "/auth/session", ""), 401)
	}
	if after := strings.Count(s.contents(), "\n"); after > before {
		t.Errorf("%d rows before, %d after", before, after)
	}
}

// The secret travels over TLS alone, and browsers are told to keep to that.
func TestNIST_5_1_4_OverAProtectedChannel(t *testing.T) {
	s := overTLS(t)
	s.setup()
	s.client().login("ada", goodPassword)
	n := 0
	for _, a := range s.answers {
		for _, k := range a.Cookies() {
			n++
			if !k.Secure || !strict.MatchString(a.Header.Get("Strict-Transport-Security")) || a.TLS == nil {
				t.Errorf("%s: %s", name(a), k.Raw)
			}
		}
	}
	if n < 2 {
		t.Errorf("only %d cookies", n)
	}
	// A jar takes http on loopback for safe: elsewhere it keeps the cookie back.
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	home, _ := url.Parse("https://app.example/auth/login")
	jar.SetCookies(home, s.answers[len(s.answers)-2].Cookies()) // those of the login
	if plain, _ := url.Parse("http://app.example/auth/login"); len(jar.Cookies(home)) == 0 || len(jar.Cookies(plain)) > 0 {
		t.Errorf("over https %v, over http %v", jar.Cookies(home), jar.Cookies(plain))
	}
}

// After the login there is no way back to http: it is not answered there.
func TestNIST_5_1_tls_NoFallBackToHTTP(t *testing.T) {
	s := overTLS(t)
	c := s.setup()
	plain := newCaller(strings.Replace(s.URL, "https:", "http:", 1))
	secret := c.secret()
	for _, r := range routes(t, s.client()) {
		for _, method := range r.methods {
			a, err := plain.ask(method, r.path, secret.Name+"="+secret.Value, c.csrf, "")
			if err == nil && a.status != 400 || strings.Contains(a.body, "ada") || a.cookie != "" || a.header.Get("Location") != "" {
				t.Errorf("%s %s over http: %d %s", method, r.path, a.status, a.body)
			}
		}
	}
	c.session()
	for _, args := range [][]string{{"--public-url=http://cloakroom.example"}, {"--public-url=http://192.0.2.1:8080"}} {
		if code, out := command(t, t.TempDir(), append([]string{"serve", "--listen=127.0.0.1:0"}, args...)...); code != 2 || !strings.Contains(out, "https://") {
			t.Errorf("%v: exit code %d: %s", args, code, out)
		}
	}
}

// No password is taken over a channel that others can read.
func TestNIST_3_1_1_2_chan_NoPasswordOverPlainHTTP(t *testing.T) {
	for _, listen := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:8080", "host.example:80"} {
		if code, out := command(t, t.TempDir(), "serve", "--listen="+listen); code != 2 || !strings.Contains(out, "TLS") {
			t.Errorf("--listen=%s without TLS: exit code %d: %s", listen, code, out)
		}
	}
	s := overTLS(t)
	s.setup()
	plain := newCaller(strings.Replace(s.URL, "https:", "http:", 1))
	a, err := plain.ask("POST", "/auth/login", "", "", credentials("ada", goodPassword))
	if err != nil || a.status != 400 || a.cookie != "" {
		t.Errorf("a login over http at a port of TLS: %d %s, %v", a.status, a.body, err)
	}
	if strings.Contains(s.stderr.String(), `"path":"/auth/login"`) {
		t.Error("the request was looked at")
	}
}

// No script or page of ours keeps anything in the browser.
func TestNIST_5_1_ls_NothingInLocalStorage(t *testing.T) {
	storage := regexp.MustCompile(`(?i)localStorage|sessionStorage|indexedDB|document\.cookie|postMessage|serviceWorker|<script>|eval\(|innerHTML`)
	n := 0
	err := filepath.WalkDir("internal/web", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		switch filepath.Ext(path) {
		case ".html", ".css", ".js", ".mjs":
			n++
			text, err := os.ReadFile(path)
			if found := storage.Find(text); err != nil || found != nil {
				t.Errorf("%s: %s, %v", path, found, err)
			}
		}
		return nil
	})
	if err != nil || n < 5 {
		t.Errorf("%d files, %v", n, err)
	}
}

// The way out stands on every page that is shown to who is signed in, and works.
func TestNIST_5_1_logoff_OnEveryPage(t *testing.T) {
	t.Parallel()
	button := regexp.MustCompile(`<form method="post" action="/auth/logout"><input type="hidden" name="csrf_token" value="([^"]+)"><button`)
	s := start(t, t.TempDir())
	s.setup()
	n := 0
	for _, r := range routes(t, s.client()) {
		if !r.has("GET") {
			continue
		}
		c := s.client().login("ada", goodPassword)
		a := c.page(r.path)
		if !isPage(a) || a.StatusCode != 200 {
			continue
		}
		m := button.FindStringSubmatch(a.body)
		if m == nil {
			t.Errorf("%s: no way out:\n%s", name(a), a.body)
			continue
		}
		n++
		c.want(c.form("/auth/logout", url.Values{"csrf_token": {m[1]}}), 303)
		c.want(c.do("GET", "/auth/session", ""), 401)
	}
	if n < 2 {
		t.Errorf("only %d pages", n)
	}
}

// cookieRow judges every cookie of the tour that is not taken back.
func cookieRow(t *testing.T, ok func(c *http.Cookie) bool) {
	t.Helper()
	seen := make(map[string]bool)
	for _, c := range cookies(t) {
		seen[c.Name] = true
		if !ok(c) {
			t.Errorf("%s", c.Raw)
		}
	}
	if len(seen) < 2 {
		t.Errorf("only %v", slices.Collect(maps.Keys(seen)))
	}
}

func TestNIST_5_1_1_1_CookiesForHTTPSOnly(t *testing.T) {
	cookieRow(t, func(c *http.Cookie) bool { return c.Secure })
}

func TestNIST_5_1_1_2_NarrowestHostAndPath(t *testing.T) {
	cookieRow(t, func(c *http.Cookie) bool { return c.Domain == "" && c.Path == "/" })
	// Of another host name of ours the browser sends nothing.
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	home, _ := url.Parse("https://app.example/auth/login")
	jar.SetCookies(home, cookies(t))
	for _, other := range []string{"https://www.app.example/", "https://example/", "https://app.example.evil.example/"} {
		if u, _ := url.Parse(other); len(jar.Cookies(u)) > 0 {
			t.Errorf("%s gets %v", other, jar.Cookies(u))
		}
	}
	if len(jar.Cookies(home)) == 0 {
		t.Error("not even we get them")
	}
}

func TestNIST_5_1_1_3_CookiesAreNotForScripts(t *testing.T) {
	cookieRow(t, func(c *http.Cookie) bool { return c.HttpOnly })
}

func TestNIST_5_1_1_5_HostPrefixAndRootPath(t *testing.T) {
	cookieRow(t, func(c *http.Cookie) bool { return strings.HasPrefix(c.Name, "__Host-") && c.Path == "/" })
}

func TestNIST_5_1_1_6_SameSite(t *testing.T) {
	cookieRow(t, func(c *http.Cookie) bool {
		return c.SameSite == http.SameSiteLaxMode || c.SameSite == http.SameSiteStrictMode
	})
}
