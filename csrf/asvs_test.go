package csrf_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom"
)

// What any page may send to another site without asking, by a form or a fetch
// that is no preflighted one, is excused from nothing: only application/json is.
func TestASVS_3_5_2_NoSimpleRequestPassesForJSON(t *testing.T) {
	a := newApp(t, nil, nil)
	s := a.serve(t, true)
	b := visit(t, s)
	for _, c := range []struct {
		types []string
		want  string
	}{
		{nil, "403 token"},
		{[]string{""}, "403 token"},
		{[]string{"text/plain"}, "403 token"},
		{[]string{"text/plain; application/json"}, "403 token"},
		{[]string{"text/plain;charset=application/json"}, "403 token"},
		{[]string{"application/x-www-form-urlencoded"}, "403 token"},
		{[]string{"application/x-www-form-urlencoded; a=application/json"}, "403 token"},
		{[]string{"multipart/form-data; boundary=x"}, "403 token"},
		{[]string{"multipart/form-data"}, "403 token"},
		{[]string{"application/json, text/plain"}, "403 token"},
		{[]string{"application/json text/plain"}, "403 token"},
		{[]string{"application/json;"}, "200 ok"},
		{[]string{"text/plain", "application/json"}, "403 token"},
		{[]string{"application/json", "application/json"}, "403 token"},
		{[]string{"application/json5"}, "403 token"},
		{[]string{"application/problem+json"}, "403 token"},
		{[]string{"text/json"}, "403 token"},
		{[]string{"json"}, "403 token"},
		{[]string{"*/*"}, "403 token"},
		{[]string{"application/json"}, "200 ok"},
		{[]string{"Application/JSON; charset=utf-8"}, "200 ok"},
	} {
		var header []string
		for _, v := range c.types {
			header = append(header, "Content-Type", v)
		}
		hits := a.hits.Load()
		got := b.do("POST", "/do", `{"a":1}`, header...).verdict()
		if got != c.want || (a.hits.Load() != hits) != (c.want == "200 ok") {
			t.Errorf("Content-Type %q: %s, want %s; the handler ran %d times", c.types, got, c.want, a.hits.Load()-hits)
		}
		b = visit(t, s) // JSON that passed has begun a session
	}
}

// GET and HEAD pass without a token, and nothing makes a handler see another
// method than the one that was judged.
func TestASVS_3_5_3_NoMethodIsOverridden(t *testing.T) {
	a := newApp(t, nil, nil)
	var seen string
	a.handler = a.manager.Handler(a.protect.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen = r.Method
	})))
	b := visit(t, a.serve(t, true))
	override := []string{"X-HTTP-Method-Override", "POST", "X-HTTP-Method", "POST", "X-Method-Override", "POST"}
	for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
		if got := b.do(method, "/do?_method=POST", "", override...); got.status != 200 || seen != method {
			t.Errorf("%s with an override: %d, the handler saw %s", method, got.status, seen)
		}
	}
	seen = ""
	override = []string{"X-HTTP-Method-Override", "GET", "X-HTTP-Method", "GET", "X-Method-Override", "GET"}
	for _, method := range []string{"POST", "post", "DELETE"} {
		if got := b.do(method, "/do?_method=GET", "_method=GET", append(override, "Content-Type", "application/x-www-form-urlencoded")...); got.status != 403 || seen != "" {
			t.Errorf("%s with an override: %d, the handler saw %s", method, got.status, seen)
		}
	}
}

// The content of a request that changes something names the session: a header of
// the browser's own is not enough, and neither is JSON.
func TestNIST_5_1_csrf_SameOriginWithoutAToken(t *testing.T) {
	a := newApp(t, nil, nil)
	s := a.serve(t, true)
	b := visit(t, s)
	token := b.login()
	browser := []string{"Sec-Fetch-Site", "same-origin", "Origin", s.URL}
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
		for _, media := range []string{"application/json", "application/x-www-form-urlencoded", "text/plain", "image/png"} {
			header := append([]string{"Content-Type", media}, browser...)
			hits := a.hits.Load()
			if got := b.do(method, "/do", "", header...).verdict(); got != "403 token" || a.hits.Load() != hits {
				t.Errorf("%s of %s: %s", method, media, got)
			}
			if got := b.do(method, "/do", "", append(header, "X-CSRF-Token", token)...).verdict(); got != "200 ok" {
				t.Errorf("%s of %s with the token: %s", method, media, got)
			}
		}
	}
}

// Each check refuses alone what the other would let through, with a session and
// without.
func TestNIST_5_1_csrf_C1_EachCheckHoldsAlone(t *testing.T) {
	a := newApp(t, nil, nil)
	s := a.serve(t, true)
	signedIn, stranger := visit(t, s), visit(t, s)
	signedIn.login()
	for name, b := range map[string]*browser{"session": signedIn, "no session": stranger} {
		token := b.token()
		if got := b.form("/page", []string{"csrf_token", token}, crossSite("https://evil.example")...).verdict(); got != "403 origin" {
			t.Errorf("%s: another site with the right token: %s", name, got)
		}
		if got := b.form("/page", nil, "Sec-Fetch-Site", "same-origin", "Origin", s.URL).verdict(); got != "403 token" {
			t.Errorf("%s: the same site without a token: %s", name, got)
		}
		if got := b.form("/page", []string{"csrf_token", token}).verdict(); got != "200 ok" {
			t.Errorf("%s: no browser, with the token: %s", name, got)
		}
	}
}

// The pre-login cookie is what browsers accept and keep to themselves, it is set
// once and kept, and no store hears of it.
func TestASVS_3_3_2_PreLoginCookie(t *testing.T) {
	for _, c := range []struct {
		opts cloakroom.Options
		tls  bool
		name string
		want string // attributes in the order of net/http
	}{
		{cloakroom.Options{}, true, "__Host-csrf", "; Path=/; HttpOnly; Secure; SameSite=Strict"},
		{cloakroom.Options{SameSite: http.SameSiteStrictMode, Persistent: true}, true, "__Host-csrf", "; Path=/; HttpOnly; Secure; SameSite=Strict"},
		{cloakroom.Options{CookieName: "__Secure-session", Path: "/app"}, true, "__Secure-csrf", "; Path=/app; HttpOnly; Secure; SameSite=Strict"},
		{cloakroom.Options{CookieName: "session", Insecure: true}, false, "csrf", "; Path=/; HttpOnly; SameSite=Strict"},
		{cloakroom.Options{SameSite: http.SameSiteNoneMode, Partitioned: true}, true, "__Host-csrf", "; Path=/; HttpOnly; Secure; SameSite=None; Partitioned"},
	} {
		a := newApp(t, &c.opts, nil)
		a.handler = http.StripPrefix(strings.TrimSuffix(c.opts.Path, "/"), a.handler)
		s := a.serve(t, c.tls)
		s.URL += strings.TrimSuffix(c.opts.Path, "/")
		b := visit(t, s)
		got := b.get("/token")
		lines := got.header["Set-Cookie"]
		if len(lines) != 1 || !strings.HasPrefix(lines[0], c.name+"=") || len(lines[0]) > 300 {
			t.Errorf("%s: cookies %q", c.name, lines)
			continue
		}
		value, _, _ := strings.Cut(strings.TrimPrefix(lines[0], c.name+"="), ";")
		if rest := strings.TrimPrefix(lines[0], c.name+"="+value); rest != c.want {
			t.Errorf("%s: attributes %q, want %q", c.name, rest, c.want)
		}
		if got.header.Get("Cache-Control") != "no-store" || !strings.Contains(got.header.Get("Vary"), "Cookie") {
			t.Errorf("%s: a page with a token may be kept by caches: %v", c.name, got.header)
		}
		if second := b.get("/token"); len(second.header["Set-Cookie"]) != 0 {
			t.Errorf("%s: a valid cookie was replaced", c.name)
		}
		// Both tabs work.
		for i, token := range []string{got.body, b.token()} {
			if got := b.form("/page", []string{"csrf_token", token}).verdict(); got != "200 ok" {
				t.Errorf("%s: tab %d: %s", c.name, i, got)
			}
		}
		if n := a.store.reads.Load() + a.store.writes.Load(); n != 0 || a.store.Len() != 0 {
			t.Errorf("%s: the store was asked %d times and holds %d records", c.name, n, a.store.Len())
		}
	}
}

// A visitor of pages without a form, and one who has a session, get no cookie, and
// their pages may be cached.
func TestPromise08_NoTokenNoCookie(t *testing.T) {
	a := newApp(t, nil, nil)
	s := a.serve(t, true)
	b := visit(t, s)
	if got := b.get("/page"); len(got.header["Set-Cookie"]) > 0 || got.header.Get("Vary") != "" || got.header.Get("Cache-Control") != "" {
		t.Errorf("page without a token: %v", got.header)
	}
	if got := b.form("/do", nil); len(got.header["Set-Cookie"]) > 0 {
		t.Errorf("refusal: %v", got.header)
	}
	b.login()
	if got := b.get("/token"); len(got.header["Set-Cookie"]) > 0 || got.body == "" {
		t.Errorf("page with a session: %v", got.header)
	}
	if b.cookie("__Host-csrf") != "" {
		t.Error("a pre-login cookie was set")
	}
}

// Whoever has the log or the answers of refused requests has no token.
func TestPromise11_NoTokenInLogsAndRefusals(t *testing.T) {
	a := newApp(t, nil, nil)
	s := a.serve(t, true)
	b, other := visit(t, s), visit(t, s)
	secrets := []string{b.token(), b.cookie("__Host-csrf"), other.login()}
	answers := []answer{
		b.form("/do", []string{"csrf_token", secrets[2]}),
		b.form("/do", []string{"csrf_token", secrets[0]}, crossSite("https://evil.example")...),
		b.form("/do?csrf_token="+secrets[0], nil),
		other.do("POST", "/do", "", "X-CSRF-Token", secrets[0]),
		other.do("POST", "/do", "", "X-CSRF-Token", secrets[2], "Origin", "https://evil\u202e.example"),
		other.do("POST", "/do", "", "X-CSRF-Token", secrets[0], "Accept", "text/html"),
	}
	secrets = append(secrets, b.login(), b.cookie("__Host-session"))
	text := a.log.String() + fmt.Sprintf("%v %+v", a.protect, a.protect)
	for _, got := range answers {
		if got.status != 403 {
			t.Errorf("%s", got.verdict())
		}
		text += got.body + fmt.Sprint(got.header)
	}
	for _, secret := range secrets {
		if secret == "" || strings.Contains(text, secret) || strings.Contains(text, secret[:20]) {
			t.Errorf("secret %q was written", secret)
		}
	}
	for _, want := range []string{
		"csrf_refused", `reason="wrong token"`, `reason="no token"`, `reason="cross-site request"`,
		"Origin is malformed", "addr=127.0.0.1", "session=", "evil",
	} {
		if !strings.Contains(a.log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, a.log)
		}
	}
	if strings.Contains(text, "\u202e") {
		t.Error("outside text reached the log as it came")
	}
}
