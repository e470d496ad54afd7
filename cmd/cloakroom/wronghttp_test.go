package main_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

const formType = "application/x-www-form-urlencoded"

// attempt is a login that must fail with a status.
type attempt struct {
	name, contentType, body string
	status                  int
}

// attempts makes logins, each of which must be refused by a problem document. In
// a form, TOKEN stands for a token that is good.
func attempts(t *testing.T, table []attempt) {
	s := start(t, t.TempDir())
	s.setup()
	page := s.client()
	token := csrfOf(t, page.page("/auth/login").body)
	for _, tc := range table {
		t.Run(tc.name, func(t *testing.T) {
			body := strings.ReplaceAll(tc.body, "TOKEN", token)
			r, err := http.NewRequest("POST", s.URL+"/auth/login", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if r.Header["Content-Type"] = nil; tc.contentType != "" {
				r.Header.Set("Content-Type", tc.contentType)
			}
			a := page.send(r)
			if a.StatusCode != tc.status {
				t.Fatalf("%d, want %d: %s", a.StatusCode, tc.status, a.body)
			}
			var doc struct {
				Title, Detail string
				Status        int
			}
			if a.Header.Get("Content-Type") != "application/problem+json" || json.Unmarshal([]byte(a.body), &doc) != nil || doc.Status != tc.status || doc.Detail == "" {
				t.Errorf("no problem document: %s: %s", a.Header.Get("Content-Type"), a.body)
			}
		})
	}
}

func TestASVS_15_3_5_StrictTypes(t *testing.T) {
	attempts(t, []attempt{
		{"empty user name", "application/json", credentials("", goodPassword), 400},
		{"empty password", "application/json", credentials("ada", ""), 400},
		{"user name of 300 bytes", "application/json", credentials(strings.Repeat("a", 300), goodPassword), 400},
		{"user name of 256 bytes", "application/json", credentials(strings.Repeat("a", 256), goodPassword), 401},
		{"user name that is no UTF-8", "application/json", "{\"username\":\"a\xff\",\"password\":\"x\"}", 400},
		{"half a surrogate pair", "application/json", `{"username":"ada","password":"\ud800"}`, 400},
		{"another case is another name", "application/json", `{"Username":"ada","password":"x"}`, 400},
		{"password as a list", "application/json", `{"username":"ada","password":["x"]}`, 400},
		{"password as a number", "application/json", `{"username":"ada","password":1}`, 400},
		{"password as null", "application/json", `{"username":"ada","password":null}`, 400},
		{"password as an object", "application/json", `{"username":"ada","password":{"$ne":""}}`, 400},
		{"user name as a boolean", "application/json", `{"username":true,"password":"x"}`, 400},
		{"a list", "application/json", `[{"username":"ada","password":"x"}]`, 400},
		{"a text", "application/json", `"ada"`, 400},
		{"nothing", "application/json", ``, 400},
		{"something behind", "application/json", credentials("ada", goodPassword) + `{}`, 400},
		{"cut off", "application/json", `{"username":"ada","password":"x"`, 400},
		{"unknown keys", "application/json", `{"username":"ada","password":"x","remember":{"a":[1]}}`, 401},
	})
}

func TestASVS_15_3_7_OneValueForOneName(t *testing.T) {
	attempts(t, []attempt{
		{"duplicate key", "application/json", `{"username":"ada","username":"eve","password":"x"}`, 400},
		{"duplicate key, escaped", "application/json", `{"username":"ada","\u0075sername":"eve","password":"x"}`, 400},
		{"a form as JSON", "application/json", "username=ada&password=x", 400},
		{"JSON as a form", formType, credentials("ada", goodPassword), 400},
		{"both", formType, "csrf_token=TOKEN&" + credentials("ada", goodPassword), 400},
		{"a form with a field twice", formType, "csrf_token=TOKEN&username=ada&username=eve&password=x", 400},
		{"a form with a bad escape", formType, "csrf_token=TOKEN&username=%zz&password=x", 400},
		{"a form that is no UTF-8", formType, "csrf_token=TOKEN&username=%ff&password=x", 400},
		{"a form without a token", formType, "username=ada&password=" + url.QueryEscape(goodPassword), 403},
	})
}

func TestASVS_3_5_2_JSONOrAFormAndNothingElse(t *testing.T) {
	t.Parallel()
	attempts(t, []attempt{
		{"charset", "application/json; charset=utf-8", credentials("ada", "x"), 401},
		{"another charset", "application/json; charset=utf-16", credentials("ada", "x"), 415},
		{"no content type", "", credentials("ada", goodPassword), 415},
		{"text", "text/plain", credentials("ada", goodPassword), 415},
		{"text that calls itself JSON", "text/plain; application/json", credentials("ada", goodPassword), 415},
		{"multipart", "multipart/form-data; boundary=x", "--x--", 415},
		{"XML", "application/xml", "<login/>", 415},
	})
	s := start(t, t.TempDir())
	page := s.client()
	t.Run("two content types", func(t *testing.T) {
		r, _ := http.NewRequest("POST", s.URL+"/auth/login", strings.NewReader(credentials("ada", goodPassword)))
		r.Header["Content-Type"] = []string{"application/json", "text/plain"}
		if a := page.send(r); a.StatusCode != 415 {
			t.Errorf("%d", a.StatusCode)
		}
	})
}

func TestAttack_A39_BodiesAreRefusedUnread(t *testing.T) {
	s := start(t, t.TempDir())
	s.setup()
	// Neither request is ever sent to its end: whoever waits for that waits for
	// the read timeout.
	for name, request := range map[string]string{
		"told":    "Content-Length: 10485760\r\n\r\n{\"username\":\"",
		"chunked": "Transfer-Encoding: chunked\r\n\r\n11000\r\n" + strings.Repeat("a", 0x11000) + "\r\n",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(conn, "POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+request); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if res.StatusCode != 413 || !res.Close {
			t.Errorf("%s: %d, close %v", name, res.StatusCode, res.Close)
		}
	}
	c := s.client()
	a := c.do("GET", "/auth/session", "", "Cookie", strings.Repeat("a=b; ", 5000))
	c.want(a, 401)
	if a := c.do("GET", "/auth/session", "", "X-Long", strings.Repeat("a", 1<<20)); a.StatusCode != 431 {
		t.Errorf("a header of 1 MiB: %d", a.StatusCode)
	}
}

func TestAttack_A40_MalformedCookies(t *testing.T) {
	s := start(t, t.TempDir())
	for _, value := range []string{strings.Repeat("A", 4096), "\x01", "a\tb", `"quoted"`, "ä", "=;=", strings.Repeat("x", 60000)} {
		r, _ := http.NewRequest("GET", s.URL+"/auth/session", nil)
		r.Header["Cookie"] = []string{"__Host-session=" + value}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			continue // Go's client refuses to send some of them
		}
		res.Body.Close()
		if res.StatusCode != 401 && res.StatusCode != 400 {
			t.Errorf("cookie %.20q: %d", value, res.StatusCode)
		}
	}
}

func TestASVS_3_5_3_MethodsThatChangeNothing(t *testing.T) {
	s := start(t, t.TempDir())
	c := s.setup()
	for path, allow := range map[string]string{
		"/auth/login": "GET, HEAD, POST", "/auth/logout": "POST", "/auth/session": "GET, HEAD", "/auth/profile": "GET, HEAD",
		"/auth/sessions": "GET, HEAD", "/auth/sessions/x": "DELETE", "/auth/sessions/x/end": "POST",
		"/auth/sessions/end-others": "POST", "/auth/setup": "GET, HEAD, POST", "/": "GET, HEAD",
	} {
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "POST", "TRACE", "post", "QUERY"} {
			if strings.Contains(", "+allow+",", ", "+method+",") {
				continue
			}
			// A cookie that is none would be a log line if anything looked at it.
			a := c.do(method, path, "", "X-HTTP-Method-Override", "POST", "X-CSRF-Token", c.csrf)
			if a.StatusCode != 405 || a.Header.Get("Allow") != allow {
				t.Errorf("%s %s: %d, Allow %q, want %q", method, path, a.StatusCode, a.Header.Get("Allow"), allow)
			}
		}
	}
	c.session()
	stranger := s.client()
	for _, method := range []string{"GET", "HEAD"} { // the same guard
		stranger.want(stranger.do(method, "/auth/session", ""), 401)
		stranger.want(stranger.do(method, "/auth/sessions", ""), 401)
	}
}

// A wrong method is answered before anything looks at the cookie.
func TestMethodBeforeToken(t *testing.T) {
	s := start(t, t.TempDir())
	c := s.client()
	c.want(c.do("GET", "/auth/logout", "", "Cookie", "__Host-session=nonsense"), 405)
	c.want(c.do("GET", "/auth/session", "", "Cookie", "__Host-session=nonsense"), 401)
	s.logged(regexp.MustCompile(`"path":"[\\"]*(/auth/session)`))
	if n := strings.Count(s.stderr.String(), "bad_cookie"); n != 1 {
		t.Errorf("%d bad cookies in the log, want the second alone", n)
	}
}

func TestAttack_A17_LoginByAnotherSite(t *testing.T) {
	s := start(t, t.TempDir())
	victim := s.setup()
	login := url.Values{"username": {"ada"}, "password": {goodPassword}}

	// The attacker's page sends their own credentials, with a token that is the
	// attacker's, bound to a cookie that the victim has not.
	attacker := s.client()
	login.Set("csrf_token", csrfOf(t, attacker.page("/auth/login").body))
	stranger := s.client()
	for _, header := range [][]string{
		{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"},
		{"Origin", "https://evil.example"},
		{"Origin", "null", "Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "same-site"},
		{"Origin", strings.Replace(s.URL, "http:", "https:", 1)},
		{},
	} {
		for _, body := range []string{login.Encode(), credentials("ada", goodPassword)} {
			if len(header) == 0 && strings.HasPrefix(body, "{") {
				continue // no browser's: nobody's session is at stake
			}
			a := stranger.want(stranger.do("POST", "/auth/login", body, header...), 403)
			if len(a.Cookies()) > 0 {
				t.Errorf("%v: a cookie was set", header)
			}
		}
	}

	// Nor does another site sign the victim out, or end their sessions.
	for _, path := range []string{"/auth/logout", "/auth/sessions/end-others"} {
		victim.want(victim.do("POST", path, "{}", "Origin", "https://evil.example", "X-CSRF-Token", victim.csrf), 403)
		victim.want(victim.do("POST", path, "{}"), 403)
		victim.want(victim.do("POST", path, "csrf_token="+url.QueryEscape(login.Get("csrf_token")), "Origin", s.URL), 403)
	}
	victim.session()
}

func TestAttack_A42_OutsideTextInTheLog(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	s.setup()
	c := s.client()
	names := []string{"a\r\nlevel=ERROR", "\x1b[2J", "nul\x00", "\u2028", "\u202etxt", "\u0085", "zero\u200bwidth", "\u2066x", `","msg":"forged"`}
	for _, n := range names {
		c.want(c.do("POST", "/auth/login", credentials(n, goodPassword), "User-Agent", "\u202e\u200b", "Referer", "\u2028"), 401)
		c.do("GET", "/"+url.PathEscape(n), "")
	}
	s.end(syscall.SIGTERM)
	log := s.stderr.String()
	for line := range strings.Lines(log) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Errorf("%v: %q", err, line)
		}
		for _, b := range []byte(strings.TrimSuffix(line, "\n")) {
			if b < ' ' || b > '~' {
				t.Errorf("byte %#x in %q", b, line)
			}
		}
		if entry["msg"] == "forged" {
			t.Error("a forged line")
		}
	}
	if n := strings.Count(log, `"msg":"login_refused"`); n != len(names) {
		t.Errorf("%d refused logins in the log, want %d", n, len(names))
	}
}
