package csrf_test

import (
	"bytes"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/csrf"
)

// unmask takes the pad away: what is left is version, key and tag.
func unmask(token string) string {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) != 69 {
		return ""
	}
	for i := range 32 {
		raw[37+i] ^= raw[5+i]
	}
	return string(raw[:5]) + string(raw[37:])
}

// Whatever passes as a token is the one that was made, under some pad and in one
// spelling. What is fuzzed is the difference to it: the key is another one in
// every process.
func FuzzToken(f *testing.F) {
	h, cookie, token := reader(f, nil, func(http.ResponseWriter, *http.Request) {})
	f.Add("", 0, 0)
	f.Add("A", 0, 1)
	f.Add("=", 92, 0)
	f.Add("\n", 40, 0)
	f.Add("____", 6, 4)
	f.Add(strings.Repeat("A", 92), 0, 92)
	f.Fuzz(func(t *testing.T, with string, at, cut int) {
		// Replace cut characters at a place.
		at = min(max(at, 0), len(token))
		cut = min(max(cut, 0), len(token)-at)
		changed := token[:at] + with + token[at+cut:]

		r := httptest.NewRequest("POST", "/", nil)
		r.Header = http.Header{"Cookie": {cookie}, "X-Csrf-Token": {changed}}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		switch {
		case w.Code == 200 && unmask(changed) != unmask(token):
			t.Errorf("%q passed for %q", changed, token)
		case w.Code == 200 && base64.RawURLEncoding.EncodeToString([]byte(mustDecode(changed))) != changed:
			t.Errorf("%q is another spelling", changed)
		case w.Code != 200 && w.Code != 403:
			t.Errorf("status %d", w.Code)
		case w.Code == 403 && changed == token:
			t.Error("the token was refused")
		}
	})
}

func mustDecode(token string) string {
	raw, _ := base64.RawURLEncoding.DecodeString(token)
	return string(raw)
}

// Whatever passes as a pre-login cookie is the one that was made.
func FuzzCookie(f *testing.F) {
	a := newApp(f, nil, nil)
	page := serveOnce(a.handler, "GET", "/token", "")
	cookie := strings.TrimPrefix(cookieOf(page), "__Host-csrf=")
	f.Add("", 0, 0)
	f.Add("; __Host-csrf=x", 76, 0)
	f.Add("\"", 0, 0)
	f.Add("AAAA", 20, 4)
	f.Fuzz(func(t *testing.T, with string, at, cut int) {
		at = min(max(at, 0), len(cookie))
		cut = min(max(cut, 0), len(cookie)-at)
		changed := cookie[:at] + with + cookie[at+cut:]
		if v := post(a.handler, page.body, "__Host-csrf="+changed); v == "200 ok" && !strings.Contains(changed, cookie) {
			t.Errorf("%q passed for %q", changed, cookie)
		}
	})
}

// Whatever passes as our origin is ours to net/url as well, which reads it in
// another way.
func FuzzOrigin(f *testing.F) {
	a := newApp(f, nil, &csrf.Options{PublicURL: "https://app.example:8443"})
	login := serveOnce(a.handler, "POST", "/login", "{}", "Content-Type", "application/json")
	for _, s := range []string{
		"https://app.example:8443", "HTTPS://APP.EXAMPLE:8443", "http://app.example:8443", "https://app.example",
		"https://app.example:08443", "https://app.example:8443/", "https://x@app.example:8443", "null", "https://[::1]:8443",
		"https://app.example:8443#https://evil.example", "https:app.example:8443", "https://app.example:8443.evil.example",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, origin string) {
		r := httptest.NewRequest("POST", "/page", nil)
		r.Header = http.Header{"Cookie": {cookieOf(login)}, "X-Csrf-Token": {login.body}, "Origin": {origin}}
		w := httptest.NewRecorder()
		a.handler.ServeHTTP(w, r)
		if w.Code != 200 {
			return
		}
		u, err := url.Parse(origin)
		if err != nil {
			t.Fatalf("%q passed: %v", origin, err)
		}
		if u.Scheme != "https" || !strings.EqualFold(u.Hostname(), "app.example") || strings.TrimLeft(u.Port(), "0") != "8443" ||
			u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
			t.Errorf("%q passed", origin)
		}
	})
}

// The body reaches the handler as it came, and whatever passes for a form with the
// right token is one to net/http too.
func FuzzForm(f *testing.F) {
	var body []byte
	var tokens []string
	h, cookie, token := reader(f, &csrf.Options{MaxForm: 1024}, func(_ http.ResponseWriter, r *http.Request) {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			panic(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if strings.HasPrefix(strings.ToLower(r.Header.Get("Content-Type")), "multipart/") {
			_ = r.ParseMultipartForm(1 << 20)
		}
		_ = r.ParseForm()
		tokens = r.PostForm["csrf_token"]
	})
	f.Add(urlForm, "csrf_token=TOKEN")
	f.Add(urlForm, "a=b&csrf_token=TOKEN&csrf_token=x")
	f.Add(urlForm, "%63srf_token=TOKEN;a=b")
	f.Add(urlForm+"; charset=utf-8", strings.Repeat("a=b&", 300)+"csrf_token=TOKEN")
	f.Add("multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"csrf_token\"\r\n\r\nTOKEN\r\n--x--\r\n")
	f.Add("multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"csrf_token\"; filename=\"f\"\r\n\r\nTOKEN\r\n--x--\r\n")
	f.Add("text/plain", "csrf_token=TOKEN")
	f.Fuzz(func(t *testing.T, contentType, text string) {
		text = strings.ReplaceAll(text, "TOKEN", token)
		r := httptest.NewRequest("POST", "/", strings.NewReader(text))
		r.Header = http.Header{"Cookie": {cookie}, "Content-Type": {contentType}}
		w := httptest.NewRecorder()
		body, tokens = nil, nil
		h.ServeHTTP(w, r)
		if w.Code != 200 {
			return
		}
		if string(body) != text {
			t.Errorf("the handler read %q of %q", body, text)
		}
		if len(tokens) == 0 || unmask(tokens[0]) != unmask(token) {
			t.Errorf("%q of type %q passed; net/http finds %q", text, contentType, tokens)
		}
	})
}
