package csrf_test

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/csrf"
)

// crossSite is what a browser says about a form that another site posts here.
func crossSite(origin string) []string {
	return []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Origin", origin}
}

// An empty token is nobody's: not the visitor's without a session, not that of a
// session without one, and no store is asked.
func TestAttack_A06_EmptyTokenMatchesNothing(t *testing.T) {
	a := newApp(t, nil, nil)
	s := a.serve(t, true)
	zeros := base64.RawURLEncoding.EncodeToString(make([]byte, 69))
	empty := []string{"", " ", `""`, "=", "null", "undefined", "0", strings.Repeat("A", 92), zeros, "\t"}

	fresh, withCookie, signedIn := visit(t, s), visit(t, s), visit(t, s)
	withCookie.token()
	signedIn.login()
	reads, hits := a.store.reads.Load(), a.hits.Load()
	for _, token := range empty {
		for name, b := range map[string]*browser{"no cookie": fresh, "pre-login cookie": withCookie} {
			if got := b.form("/do", []string{"csrf_token", token}).verdict(); got != "403 token" {
				t.Errorf("%s, field %q: %s", name, token, got)
			}
			if got := b.do("POST", "/do", "", "X-CSRF-Token", token).verdict(); got != "403 token" {
				t.Errorf("%s, header %q: %s", name, token, got)
			}
		}
	}
	if n := a.store.reads.Load() - reads; n != 0 {
		t.Errorf("the store was asked %d times", n)
	}
	for _, token := range empty {
		if got := signedIn.form("/do", []string{"csrf_token", token}).verdict(); got != "403 token" {
			t.Errorf("session, field %q: %s", token, got)
		}
		if got := signedIn.do("POST", "/do", "{}", "X-CSRF-Token", token, "Content-Type", "application/json").verdict(); got != "403 token" {
			t.Errorf("session, header %q: %s", token, got)
		}
	}
	// A pre-login cookie without content is no cookie.
	for _, value := range append(empty, base64.RawURLEncoding.EncodeToString(make([]byte, 73))) {
		req, _ := http.NewRequest("POST", s.URL+"/do", strings.NewReader(encode("csrf_token", zeros)))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Cookie", "__Host-csrf="+value)
		res, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 403 {
			t.Errorf("cookie %q: %d", value, res.StatusCode)
		}
	}
	if a.hits.Load() != hits {
		t.Error("a handler ran")
	}
}

// An attacker signs the victim in under the attacker's name, or out.
func TestAttack_A17_LoginAndLogoutOfAnotherSite(t *testing.T) {
	a := newApp(t, nil, nil)
	s := a.serve(t, true)
	attacker, victim := visit(t, s), visit(t, s)
	theirs, mine := attacker.token(), victim.token()
	hits := a.hits.Load()
	refused := func(what, want string, got answer) {
		t.Helper()
		if got.verdict() != want || len(got.header["Set-Cookie"]) > 0 {
			t.Errorf("%s: %s, cookies %q; want %s and none", what, got.verdict(), got.header["Set-Cookie"], want)
		}
	}
	good := []string{"username", "attacker", "password", "right", "csrf_token"}
	refused("form of another site", "403 origin", victim.form("/login", append(good, mine), crossSite("https://evil.example")...))
	refused("form of another site, old browser", "403 origin", victim.form("/login", append(good, mine), "Origin", "https://evil.example"))
	refused("JSON of another site", "403 origin", victim.do("POST", "/login", "{}",
		append(crossSite("https://evil.example"), "Content-Type", "application/json")...))
	refused("form without a token", "403 token", victim.form("/login", good[:4]))
	refused("token of the attacker's cookie", "403 token", victim.form("/login", append(good, theirs)))
	refused("token without a cookie", "403 token", visit(t, s).form("/login", append(good, theirs)))

	// A planted pre-login cookie beside the victim's own: neither is believed.
	both, _ := http.NewRequest("POST", s.URL+"/login", strings.NewReader(encode(append(good, theirs)...)))
	both.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	both.Header.Set("Cookie", "__Host-csrf="+attacker.cookie("__Host-csrf")+"; __Host-csrf="+victim.cookie("__Host-csrf"))
	res, err := s.Client().Do(both)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	refused("two cookies", "403 token", answer{res.StatusCode, res.Header, string(body)})
	if a.hits.Load() != hits {
		t.Error("a handler ran")
	}

	if got := victim.form("/login", append(good, mine)); got.verdict() != "200 ok" || victim.cookie("__Host-session") == "" {
		t.Fatalf("the right form does not sign in: %s", got.verdict())
	}
	hits = a.hits.Load()
	refused("logout by another site", "403 origin", victim.form("/logout", nil, crossSite("https://evil.example")...))
	refused("logout without a token", "403 token", victim.form("/logout", nil))
	refused("logout with the token of before login", "403 token", victim.form("/logout", []string{"csrf_token", mine}))
	if a.hits.Load() != hits {
		t.Error("a handler ran")
	}
	if got := victim.form("/logout", []string{"csrf_token", victim.token()}); got.verdict() != "200 ok" {
		t.Errorf("the right logout: %s", got.verdict())
	}
}

// The scheme of the Origin counts, over TLS and behind a proxy that ends it. What
// a page of http://our-host sends, anybody on the network may have written.
func TestAttack_A18_OriginOfAnotherScheme(t *testing.T) {
	trusted := &csrf.Options{TrustedOrigins: []string{"https://t.example"}}
	direct := newApp(t, nil, trusted).serve(t, true)

	behind := httptest.NewUnstartedServer(nil)
	behind.StartTLS()
	t.Cleanup(behind.Close)
	inner := newApp(t, nil, &csrf.Options{PublicURL: behind.URL + "/", TrustedOrigins: trusted.TrustedOrigins}).serve(t, false)
	target, _ := url.Parse(inner.URL)
	behind.Config.Handler = &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}

	plain := newApp(t, &cloakroom.Options{CookieName: "session", Insecure: true}, nil).serve(t, false)

	for name, s := range map[string]*httptest.Server{"TLS": direct, "proxy": behind, "plain": plain} {
		b := visit(t, s)
		token := b.login()
		u, _ := url.Parse(s.URL)
		otherScheme := "http://"
		if u.Scheme == "http" {
			otherScheme = "https://"
		}
		cases := map[string]string{
			s.URL:                                 "200 ok",
			strings.ToUpper(s.URL):                "200 ok", // the same origin in another spelling
			otherScheme + u.Host:                  "403 origin",
			"ws://" + u.Host:                      "403 origin",
			"//" + u.Host:                         "403 origin",
			u.Host:                                "403 origin",
			s.URL + "/":                           "403 origin",
			s.URL + "/page":                       "403 origin",
			s.URL + "?x":                          "403 origin",
			s.URL + "#x":                          "403 origin",
			s.URL + ".evil":                       "403 origin",
			s.URL + ".":                           "403 origin",
			s.URL + " ":                           "200 ok", // net/http trims the value
			s.URL + " https://e":                  "403 origin",
			s.URL + ",https://e":                  "403 origin",
			u.Scheme + "://" + u.Hostname():       "403 origin",
			u.Scheme + "://x@" + u.Host:           "403 origin",
			u.Scheme + "://localhost:" + u.Port(): "403 origin",
			"null":                                "403 origin",
			"":                                    "403 origin",
		}
		if s != plain {
			for origin, want := range map[string]string{
				"https://t.example": "200 ok", "https://T.example:443": "200 ok",
				"http://t.example": "403 origin", "https://t.example:444": "403 origin",
				"https://t.example.evil": "403 origin", "https://evil.t.example": "403 origin",
				"https://t.example@evil.example": "403 origin", "https://tΛ.example": "403 origin",
				"http://t.example:443": "403 origin", "https://t.example.": "403 origin",
			} {
				cases[origin] = want
			}
		}
		for origin, want := range cases {
			got := b.do("POST", "/do", "", "X-CSRF-Token", token, "Origin", origin).verdict()
			if got != want {
				t.Errorf("%s: Origin %q: %s, want %s", name, origin, got, want)
			}
			// A browser that says same-origin beside it is believed no further.
			got = b.do("POST", "/do", "", "X-CSRF-Token", token, "Origin", origin, "Sec-Fetch-Site", "same-origin").verdict()
			if got != want {
				t.Errorf("%s: Origin %q with Sec-Fetch-Site same-origin: %s, want %s", name, origin, got, want)
			}
		}
		// Forwarded headers say nothing: anybody can send them.
		if got := b.do("POST", "/do", "", "X-CSRF-Token", token, "Origin", otherScheme+u.Host,
			"X-Forwarded-Proto", strings.TrimSuffix(otherScheme, "://"), "X-Forwarded-Host", u.Host).verdict(); got != "403 origin" {
			t.Errorf("%s: with X-Forwarded-Proto: %s", name, got)
		}
	}
}

// A trusted origin may send across sites, but needs a token as everybody does.
func TestAttack_A18_TrustedOriginNeedsAToken(t *testing.T) {
	a := newApp(t, nil, &csrf.Options{PublicURL: "https://app.example", TrustedOrigins: []string{"https://t.example", "https://app.example"}})
	b := visit(t, a.serve(t, true))
	token := b.login()
	for _, site := range []string{"same-site", "cross-site", "same-origin", "none"} {
		if got := b.do("POST", "/do", "", "Sec-Fetch-Site", site, "Origin", "https://t.example", "X-CSRF-Token", token).verdict(); got != "200 ok" {
			t.Errorf("%s: %s", site, got)
		}
		if got := b.do("POST", "/do", "", "Sec-Fetch-Site", site, "Origin", "https://t.example").verdict(); got != "403 token" {
			t.Errorf("%s without a token: %s", site, got)
		}
	}
	if got := b.do("POST", "/do", "", "Sec-Fetch-Site", "sideways", "Origin", "https://t.example", "X-CSRF-Token", token).verdict(); got != "403 origin" {
		t.Errorf("garbage beside a trusted origin: %s", got)
	}
	// Our own origin is no trusted one, even if it is listed: a browser that says
	// cross-site beside it is believed.
	if got := b.do("POST", "/do", "", "Sec-Fetch-Site", "cross-site", "Origin", "https://app.example", "X-CSRF-Token", token).verdict(); got != "403 origin" {
		t.Errorf("cross-site with our own Origin: %s", got)
	}
}

// Headers that occur twice, or with nothing in them, are nobody's.
func TestAttack_A18_RepeatedAndEmptyHeaders(t *testing.T) {
	a := newApp(t, nil, nil)
	s := a.serve(t, true)
	b := visit(t, s)
	token := b.login()
	for _, header := range [][]string{
		{"Origin", s.URL, "Origin", s.URL},
		{"Origin", s.URL, "Origin", "https://evil.example"},
		{"Origin", ""},
		{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Site", "same-origin"},
		{"Sec-Fetch-Site", ""},
		{"Sec-Fetch-Site", "SAME-ORIGIN"},
		{"Sec-Fetch-Site", "same-origin;x"},
	} {
		if got := b.do("POST", "/do", "", append(header, "X-CSRF-Token", token)...).verdict(); got != "403 origin" {
			t.Errorf("%q: %s", header, got)
		}
	}
}

// A token is good for one session, and for as long as that has its token.
func TestAttack_A19_TokenOfAnotherSession(t *testing.T) {
	a := newApp(t, nil, nil)
	s := a.serve(t, true)
	x, y := visit(t, s), visit(t, s)
	before := x.token()
	first := x.login()
	yours := y.login()
	hits := a.hits.Load()
	refused := func(what, token string) {
		t.Helper()
		if got := x.do("POST", "/do", "", "X-CSRF-Token", token).verdict(); got != "403 token" {
			t.Errorf("%s: %s", what, got)
		}
	}
	refused("token of before login", before)
	refused("token of another session", yours)
	if got := x.do("POST", "/do?csrf_token="+first, "").verdict(); got != "403 token" {
		t.Errorf("token in the query: %s", got)
	}
	if got := x.form("/do?csrf_token="+first, []string{"a", "b"}).verdict(); got != "403 token" {
		t.Errorf("token in the query of a form: %s", got)
	}
	// Who can plant cookies gets nowhere by planting a token.
	for _, name := range []string{"csrf_token", "X-CSRF-Token", "__Host-csrf", "csrf"} {
		x.plant(name, yours)
	}
	refused("token planted as a cookie as well", yours)
	for _, header := range []string{"X-CSRFToken", "X-XSRF-Token", "Csrf-Token"} {
		if got := x.do("POST", "/do", "", header, first).verdict(); got != "403 token" {
			t.Errorf("token in %s: %s", header, got)
		}
	}
	if a.hits.Load() != hits {
		t.Error("a handler ran")
	}

	second := x.do("POST", "/renew", "", "X-CSRF-Token", first).body
	refused("token of before the renewal", first)
	third := x.login2(second)
	refused("token of before the second login", second)
	if got := x.do("POST", "/do", "", "X-CSRF-Token", third).verdict(); got != "200 ok" {
		t.Errorf("the right token: %s", got)
	}
	after := x.do("POST", "/logout", "", "X-CSRF-Token", third).body
	if got := x.form("/do", []string{"csrf_token", third}).verdict(); got != "403 token" {
		t.Errorf("token of the session that ended: %s", got)
	}
	if got := x.form("/do", []string{"csrf_token", after}).verdict(); got != "200 ok" {
		t.Errorf("token of the page after logout: %s", got)
	}
}

// login2 signs in from within a session.
func (b *browser) login2(token string) string {
	return b.do("POST", "/login", "{}", "Content-Type", "application/json", "X-CSRF-Token", token).body
}

// Go's server hands on methods as they come: "post" is no GET.
func TestAttack_A48_OddMethodsAreChecked(t *testing.T) {
	a := newApp(t, nil, nil)
	b := visit(t, a.serve(t, true))
	b.login()
	hits := a.hits.Load()
	for _, method := range []string{"post", "Post", "get", "Get", "head", "options", "trace", "PUT", "PATCH", "DELETE", "patch", "delete", "QUERY", "PROPFIND", "X", "GETX"} {
		if got := b.do(method, "/do", "", "Sec-Fetch-Site", "same-origin"); got.status != 403 {
			t.Errorf("%s without a token: %d", method, got.status)
		}
		if got := b.do(method, "/do", "", crossSite("https://evil.example")...); got.status != 403 {
			t.Errorf("%s of another site: %d", method, got.status)
		}
	}
	if a.hits.Load() != hits {
		t.Error("a handler ran")
	}
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "TRACE"} {
		if got := b.do(method, "/page", "", crossSite("https://evil.example")...); got.status != 200 {
			t.Errorf("%s: %d", method, got.status)
		}
	}
}
