package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/chromedp/chromedp"
)

// storeArgs are the places of sessions that need no server: a database, and the
// cookies themselves.
var storeArgs = map[string][]string{"sqlite": nil, "sealed": {"--store=sealed:"}}

// A kept cookie is worth nothing after the logout, not before a restart and not
// after it, wherever the sessions are.
func TestASVS_7_4_1_KeptCookiesOverARestart(t *testing.T) {
	t.Parallel()
	for _, store := range []string{"sqlite", "sealed"} {
		t.Run(store, func(t *testing.T) {
			dir, at := t.TempDir(), storeArgs[store]
			addUser(t, dir, "ada", "--role=admin")
			s := start(t, dir, at...)
			c := s.client().login("ada", goodPassword)
			kept := only(c.held())
			c.want(c.do("POST", "/auth/logout", "{}", "X-CSRF-Token", c.csrf), 204)
			for i := range 3 {
				thief := s.client()
				thief.http.Jar = kept
				thief.want(thief.do("GET", "/auth/session", ""), 401)
				thief.want(thief.do("POST", "/auth/sessions/end-others", "{}", "X-CSRF-Token", c.csrf), 401)
				if i == 0 {
					s.end(syscall.SIGTERM)
				} else {
					s.end(syscall.SIGKILL)
				}
				s = start(t, dir, at...)
			}
		})
	}
}

// A user who is disabled is out with the next request of every device, cannot come
// back, and learns no more than anybody with a wrong password.
func TestASVS_7_4_2_ADisabledUserIsOutEverywhere(t *testing.T) {
	t.Parallel()
	for _, store := range []string{"sqlite", "sealed"} {
		t.Run(store, func(t *testing.T) {
			dir, at := t.TempDir(), storeArgs[store]
			addUser(t, dir, "ada", "--role=admin")
			addUser(t, dir, "bob")
			s := start(t, dir, at...)
			ada := s.client().login("ada", goodPassword)
			one, two := s.client().login("bob", goodPassword), s.client().login("bob", goodPassword)
			if code, out := command(t, dir, append([]string{"user", "disable", "bob"}, at...)...); code != 0 {
				t.Fatal(out)
			}
			one.want(one.do("POST", "/auth/sessions/end-others", "{}", "X-CSRF-Token", one.csrf), 401)
			two.want(two.do("GET", "/auth/session", ""), 401)
			wrong := ada.s.client().do("POST", "/auth/login", credentials("nobody", goodPassword))
			refused := s.client().do("POST", "/auth/login", credentials("bob", goodPassword))
			if refused.StatusCode != 401 || refused.body != wrong.body {
				t.Errorf("%d %s; for a name that is none: %d %s", refused.StatusCode, refused.body, wrong.StatusCode, wrong.body)
			}
			ada.want(ada.do("GET", "/auth/session", ""), 200)
			// Let in again, the old sessions stay ended.
			if code, out := command(t, dir, append([]string{"user", "enable", "bob"}, at...)...); code != 0 {
				t.Fatal(out)
			}
			one.want(one.do("GET", "/auth/session", ""), 401)
			two.want(two.do("GET", "/auth/session", ""), 401)
			s.client().login("bob", goodPassword)
		})
	}
}

// The owner of the machine ends one user's sessions, and everybody's; those of the
// cookie store as well.
func TestASVS_7_4_5_SessionsOfOneAndOfAll(t *testing.T) {
	t.Parallel()
	for _, store := range []string{"sqlite", "sealed"} {
		t.Run(store, func(t *testing.T) {
			dir, at := t.TempDir(), storeArgs[store]
			addUser(t, dir, "ada", "--role=admin")
			addUser(t, dir, "bob")
			s := start(t, dir, at...)
			ada, bob, bob2 := s.client().login("ada", goodPassword), s.client().login("bob", goodPassword), s.client().login("bob", goodPassword)
			if code, out := command(t, dir, append([]string{"session", "end", "--user=bob"}, at...)...); code != 0 {
				t.Fatal(out)
			}
			bob.want(bob.do("GET", "/auth/session", ""), 401)
			bob2.want(bob2.do("GET", "/auth/session", ""), 401)
			ada.want(ada.do("GET", "/auth/session", ""), 200)
			bob.http.Jar = s.client().http.Jar
			bob.login("bob", goodPassword)
			if code, out := command(t, dir, append([]string{"session", "end", "--all"}, at...)...); code != 0 {
				t.Fatal(out)
			}
			ada.want(ada.do("GET", "/auth/session", ""), 401)
			bob.want(bob.do("GET", "/auth/session", ""), 401)
		})
	}
}

// A list of sessions shows one's own, by names that are no tokens.
func TestASVS_7_5_2_TheListIsOnesOwn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir)
	ada := s.setup()
	addUser(t, dir, "bob")
	bob, bob2 := s.client().login("bob", goodPassword), s.client().login("bob", goodPassword)
	mine := bob.handles()
	if len(mine) != 2 {
		t.Fatalf("%d sessions", len(mine))
	}
	list := bob.do("GET", "/auth/sessions", "").body
	for _, c := range []*client{ada, bob, bob2} {
		for _, k := range c.held() {
			if isSession(k) && (strings.Contains(list, k.Value) || strings.Contains(k.Value, mine[0]) || strings.Contains(list, k.Value[10:20])) {
				t.Error("a token in the list")
			}
		}
	}
	for _, h := range ada.handles() {
		if strings.Contains(list, h) {
			t.Error("somebody else's session in the list")
		}
		bob.want(bob.do("DELETE", "/auth/sessions/"+h, "", "X-CSRF-Token", bob.csrf), 404)
	}
	for _, h := range mine {
		s.client().want(s.client().do("GET", "/auth/session", "", "Cookie", "__Host-session="+h), 401)
	}
	bob.want(bob.do("DELETE", "/auth/sessions/"+mine[1], "", "X-CSRF-Token", bob.csrf), 204)
	bob2.want(bob2.do("GET", "/auth/session", ""), 401)
	ada.session()
}

// No link, and nothing else that another site can make a browser send, begins a
// session: that takes the user's own act.
func TestASVS_7_6_2_NoLinkSignsIn(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	ada := s.setup()
	secret := ada.secret().Value
	queries := []string{"", "?username=ada&password=" + url.QueryEscape(goodPassword), "?session=" + secret, "?token=" + secret, "?__Host-session=" + secret, "?next=/auth/profile&auto=1"}
	asked := 0
	for _, r := range routes(t, s.client()) {
		for _, q := range queries {
			for _, how := range [][]string{
				{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Referer", "https://evil.example/"},
				{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-User", "?1"}, {},
			} {
				victim := s.client()
				for _, method := range r.methods {
					asked++
					a := victim.do(method, r.path+q, "", append([]string{"Accept", htmlAccept}, how...)...)
					if len(issued([]answer{a})) > 0 {
						t.Errorf("%s: a session", name(a))
					}
				}
				victim.want(victim.do("GET", "/auth/session", ""), 401)
			}
		}
	}
	if asked < 13*18 {
		t.Errorf("only %d requests", asked)
	}
}

// What a body says beside what is asked for changes nothing.
func TestASVS_15_3_3_FieldsThatNobodyAskedFor(t *testing.T) {
	t.Parallel()
	const more = `"role":"admin","roles":"admin","admin":"true","id":"0","user_id":"0","disabled":"false","epoch":"99","created_at":"2000-01-01","mfa":"false","must_change":"false","method":"passkey","auth_time":"2099-01-01T00:00:00Z"`
	dir := t.TempDir()
	s := start(t, dir)
	s.setup()
	addUser(t, dir, "bob")
	was := s.client().login("bob", goodPassword).session().User
	users := func() string {
		_, out := command(t, dir, "user", "list", "--json")
		return strings.ToLower(out)
	}
	before := users()
	c := s.client()
	c.want(c.do("POST", "/auth/login", fmt.Sprintf(`{"username":"bob","password":%q,%s}`, goodPassword, more)), 200)
	now := c.session()
	if now.User.ID != was.ID || len(now.User.Roles) != 0 || now.Session.Auth_time.Year() > 2090 {
		t.Errorf("%+v, was %+v", now, was)
	}
	form := url.Values{"csrf_token": {csrfOf(t, s.client().page("/auth/login").body)}, "username": {"bob"}, "password": {goodPassword}, "roles": {"admin"}, "id": {"0"}}
	page := s.client()
	form.Set("csrf_token", csrfOf(t, page.page("/auth/login").body))
	page.want(page.form("/auth/login", form), 303)
	if doc := page.session(); len(doc.User.Roles) != 0 || doc.User.ID != was.ID {
		t.Errorf("by a form: %+v", doc)
	}
	for _, r := range routes(t, s.client()) {
		for _, method := range r.changes() {
			if r.pattern != "/auth/logout" && r.pattern != "/auth/login" {
				c.do(method, r.path, "{"+more+"}", "X-CSRF-Token", c.csrf)
			}
		}
	}
	if after := users(); len(before) < 20 || strings.Count(after, "admin") != strings.Count(before, "admin") || strings.Contains(after, "2099") {
		t.Errorf("the accounts were\n%s\nand are\n%s", before, after)
	}
}

// The address of a client is what a trusted proxy says, and nobody else's word.
func TestASVS_15_3_4_AddressesComeFromTrustedProxies(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, trusted, forwarded, want string
	}{
		{"nobody is trusted", "", "6.6.6.6, 198.51.100.7", "127.0.0.1"},
		{"another one is", "10.0.0.0/8", "6.6.6.6, 198.51.100.7", "127.0.0.1"},
		{"the last that is not", "127.0.0.1,10.0.0.0/8", "6.6.6.6, 198.51.100.7", "198.51.100.7"},
		{"behind two proxies", "127.0.0.1,10.0.0.0/8", "6.6.6.6, 198.51.100.7, 10.1.2.3", "198.51.100.7"},
		{"no address", "127.0.0.1", "198.51.100.7, unknown", "127.0.0.1"},
		{"IPv6 with a zone", "127.0.0.1", "2001:db8::1%eth0", "2001:db8::1"},
		{"a hundred entries", "127.0.0.1", strings.Repeat("6.6.6.6, ", 99) + "198.51.100.7", "198.51.100.7"},
		{"nothing", "127.0.0.1", "", "127.0.0.1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			addUser(t, dir, "ada", "--role=admin")
			var args []string
			if tc.trusted != "" {
				args = append(args, "--trusted-proxies="+tc.trusted)
			}
			s := start(t, dir, args...)
			c := s.client()
			header := []string{"X-Real-Ip", "6.6.6.6", "Forwarded", "for=6.6.6.6", "Client-Ip", "6.6.6.6", "True-Client-Ip", "6.6.6.6"}
			if tc.forwarded != "" {
				header = append(header, "X-Forwarded-For", tc.forwarded)
			}
			c.want(c.do("POST", "/auth/login", credentials("ada", goodPassword), header...), 200)
			var doc struct{ Sessions []struct{ Address string } }
			a := c.want(c.do("GET", "/auth/sessions", ""), 200)
			if err := json.Unmarshal([]byte(a.body), &doc); err != nil || len(doc.Sessions) != 1 || doc.Sessions[0].Address != tc.want {
				t.Errorf("the session is from %+v, want %s", doc, tc.want)
			}
			if log := s.stderr.String(); strings.Contains(log, "6.6.6.6") || !strings.Contains(log, tc.want) {
				t.Errorf("the log names another address than %s", tc.want)
			}
		})
	}
}

// A name that is there twice is refused at every address, wherever the two stand.
func TestASVS_15_3_7_NoNameTwiceAtAnyRoute(t *testing.T) {
	s := start(t, t.TempDir())
	me := s.setup()
	before := ""
	for _, r := range routes(t, s.client()) {
		for _, method := range r.changes() {
			if before == "" {
				before = s.contents()
			}
			for _, tc := range [][2]string{
				{"", `{"username":"a","username":"b"}`}, {"", `{"x":1,"x":1}`}, {"", "a=1&a=2&csrf_token=" + me.csrf}, {"?next=/a&next=/b", `{}`},
				{"?next=/a", `{"next":"/b"}`}, {"?next=/a", "next=/b&csrf_token=" + me.csrf}, {"?username=a", `{"username":"b"}`}, {"?password=a", "{}"},
			} {
				a := me.do(method, r.path+tc[0], tc[1], "X-CSRF-Token", me.csrf, "Origin", s.URL)
				if a.StatusCode != 400 {
					t.Errorf("%s%s with %s: %s", name(a), tc[0], tc[1], a.body)
				}
			}
		}
	}
	if s.contents() != before {
		t.Error("something was written")
	}
}

// After the logout the browser has the cookie no more, and the button "back" shows
// the login.
func TestASVS_14_3_1_BackAfterTheLogout(t *testing.T) {
	s := start(t, t.TempDir())
	ada := s.setup()
	set := ""
	for _, a := range s.answers {
		if len(issued([]answer{a})) > 0 {
			set = a.Header.Values("Set-Cookie")[slices.IndexFunc(a.Cookies(), isSession)]
		}
	}
	gone := ada.want(ada.do("POST", "/auth/logout", "{}", "X-CSRF-Token", ada.csrf), 204).Header.Get("Set-Cookie")
	attributes := func(line string) string {
		name, rest, _ := strings.Cut(line, "=")
		_, rest, _ = strings.Cut(rest, ";")
		return name + ";" + strings.TrimSuffix(rest, "; Max-Age=0")
	}
	if attributes(set) != attributes(gone) || !strings.HasSuffix(gone, "; Max-Age=0") {
		t.Errorf("set as %s, taken back as %s", attributes(set), gone)
	}
	b := &browser{t, chromium(t, true), strings.Replace(s.URL, "127.0.0.1", "localhost", 1)}
	b.open(b.url + "/auth/login")
	b.submit("Sign in", map[string]string{"username": "ada", "password": goodPassword})
	b.at("/auth/profile", "ada")
	b.open(b.url + "/auth/sessions")
	b.click("header form button") // sign out
	for range 3 {
		b.do("back", chromedp.Do(b.ctx, chromedp.NavigateBack()))
		at, err := chromedp.Run(b.ctx, chromedp.Location())
		b.do("location", err)
		text, err := chromedp.Run(b.ctx, chromedp.TextContent(chromedp.CSS("body")))
		b.do("text", err)
		if !strings.HasPrefix(at, b.url+"/auth/login") || strings.Contains(text, "Sign out") {
			t.Errorf("back to %s:\n%s", at, text)
		}
		if n, err := chromedp.Run(b.ctx, chromedp.NavigationEntries()); err != nil || n.CurrentIndex <= 1 {
			break
		}
	}
}

// What is no browser's reading leads to no page that would send it again: a form
// that meets an ended session is refused, and not remembered.
func TestAttack_A55_NoFormIsKeptForAfterTheLogin(t *testing.T) {
	s := start(t, t.TempDir())
	s.setup()
	for _, r := range routes(t, s.client()) {
		for _, method := range r.changes() {
			for _, body := range []string{"canary=1", `{"canary":"1"}`, ""} {
				c := s.client()
				a := c.do(method, r.path, body, "Accept", htmlAccept, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Origin", s.URL)
				if at := a.Header.Get("Location"); strings.Contains(at, "canary") || strings.Contains(at, "next=") {
					t.Errorf("%s leads to %s", name(a), at)
				}
				if strings.Contains(a.body, "canary") {
					t.Errorf("%s: the body comes back:\n%s", name(a), a.body)
				}
				for _, k := range a.Cookies() {
					if k.Name != "__Host-csrf" {
						t.Errorf("%s: cookie %s", name(a), k.Name)
					}
				}
			}
		}
	}
	c := s.client()
	if a := c.want(c.page("/auth/sessions?a=b"), 303); a.Header.Get("Location") != "/auth/login?next=%2Fauth%2Fsessions%3Fa%3Db" {
		t.Errorf("a page leads to %s", a.Header.Get("Location"))
	}
}

// Whatever the outside may write stays one line of printable ASCII in the log, and
// nothing of it becomes a field of its own.
func TestAttack_A42_EveryHeaderInTheLog(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, "--trusted-proxies=127.0.0.1")
	s.setup()
	c := s.client()
	n := 0
	for _, text := range []string{"\x1b[2Jcanary", "\u2028canary", "\u202ecanary", `","msg":"forged","x":"`, "\u0085canary", "canary\u200b", `canary\n{"msg":"forged"}`, "\xffcanary", "%0d%0acanary", "\tcanary"} {
		for _, header := range []string{"User-Agent", "Referer", "Origin", "X-Forwarded-For", "X-Forwarded-Proto", "X-Request-Id", "Cookie", "Accept", "Sec-Fetch-Site", "X-CSRF-Token"} {
			for _, path := range []string{"/auth/login?next=" + url.QueryEscape(text), "/" + url.PathEscape(text)} {
				r, err := http.NewRequest("POST", s.URL+path, strings.NewReader(`{"username":"x","password":""}`))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", "application/json")
				value := text
				if header == "Cookie" {
					value = "a" + text + "=1; __Host-session=" + text
				}
				r.Header[header] = []string{value}
				if res, err := c.http.Do(r); err == nil { // Go's client refuses some
					res.Body.Close()
					n++
				}
			}
		}
	}
	s.end(syscall.SIGTERM)
	lines := 0
	for line := range strings.Lines(s.stderr.String()) {
		lines++
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry["msg"] == "forged" {
			t.Errorf("%v: %q", err, line)
		}
		if i := strings.IndexFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
			t.Errorf("byte %#x in %q", line[i], line)
		}
	}
	if n < 100 || lines < n {
		t.Errorf("%d requests, %d lines", n, lines)
	}
}
