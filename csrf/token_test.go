package csrf_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/csrf"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// serveOnce runs one request without a network, for tests whose time is made up.
func serveOnce(h http.Handler, method, path, body string, header ...string) answer {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return answer{w.Code, w.Header(), w.Body.String()}
}

// cookieOf is the name=value of a response's first cookie.
func cookieOf(a answer) string {
	value, _, _ := strings.Cut(a.header.Get("Set-Cookie"), ";")
	return value
}

// post posts a form with a token and a Cookie header.
func post(h http.Handler, token, cookie string) string {
	return serveOnce(h, "POST", "/page", encode("csrf_token", token),
		"Content-Type", "application/x-www-form-urlencoded", "Cookie", cookie).verdict()
}

// What was made for one purpose passes for no other (ASVS 9.2.2).
func TestASVS_9_2_2_NoSecretPassesForAnother(t *testing.T) {
	a := newApp(t, nil, nil)
	s := a.serve(t, true)
	b, member := visit(t, s), visit(t, s)
	preToken := b.token()
	preCookie := b.cookie("__Host-csrf")
	sessionToken := member.login()
	sessionCookie := member.cookie("__Host-session")
	all := map[string]string{
		"pre-login token": preToken, "pre-login cookie": preCookie,
		"session's token": sessionToken, "session cookie": sessionCookie,
	}
	for name, secret := range all {
		if got := post(a.handler, secret, "__Host-csrf="+preCookie); (got == "200 ok") != (name == "pre-login token") {
			t.Errorf("%s as pre-login token: %s", name, got)
		}
		if got := post(a.handler, preToken, "__Host-csrf="+secret); (got == "200 ok") != (name == "pre-login cookie") {
			t.Errorf("%s as pre-login cookie: %s", name, got)
		}
		if got := post(a.handler, secret, "__Host-session="+sessionCookie+"; __Host-csrf="+preCookie); (got == "200 ok") != (name == "session's token") {
			t.Errorf("%s as a session's token: %s", name, got)
		}
		// With a cookie that is no session's, the pre-login token is what counts.
		want := "200 ok"
		if name == "session cookie" {
			want = "403 token"
		}
		if got := post(a.handler, preToken, "__Host-session="+secret+"; __Host-csrf="+preCookie); got != want {
			t.Errorf("%s as session cookie: %s, want %s", name, got, want)
		}
	}
	// A cookie of one name is none of another, and neither is one of other keys.
	twin := newAppWith(t, a.ring, nil, &csrf.Options{CookieName: "other"})
	if got := post(twin.handler, preToken, "__Host-other="+preCookie); got != "403 token" {
		t.Errorf("cookie of another name: %s", got)
	}
	if got := post(newApp(t, nil, nil).handler, preToken, "__Host-csrf="+preCookie); got != "403 token" {
		t.Errorf("cookie of other keys: %s", got)
	}
}

// One secret has one spelling; whatever differs from it is refused.
func TestASVS_9_1_1_EveryChangedBitIsRefused(t *testing.T) {
	a := newApp(t, nil, nil)
	got := serveOnce(a.handler, "GET", "/token", "")
	cookie := strings.TrimPrefix(cookieOf(got), "__Host-csrf=")
	for what, secret := range map[string]string{"token": got.body, "cookie": cookie} {
		try := func(changed string) string {
			if what == "token" {
				return post(a.handler, changed, "__Host-csrf="+cookie)
			}
			return post(a.handler, got.body, "__Host-csrf="+changed)
		}
		if v := try(secret); v != "200 ok" {
			t.Fatalf("%s: %s", what, v)
		}
		raw, err := base64.RawURLEncoding.Strict().DecodeString(secret)
		if err != nil {
			t.Fatal(err)
		}
		for i := range len(raw) * 8 {
			changed := bytes.Clone(raw)
			changed[i/8] ^= 1 << (i % 8)
			if v := try(base64.RawURLEncoding.EncodeToString(changed)); v != "403 token" {
				t.Errorf("%s with bit %d changed: %s", what, i, v)
			}
		}
		for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
			changed := secret[:len(secret)-1] + string(c) // the spare bits of the last character
			if v := try(changed); (v == "200 ok") != (changed == secret) {
				t.Errorf("%s ending in %c: %s", what, c, v)
			}
		}
		for _, changed := range []string{
			secret[1:], secret[:len(secret)-1], secret + "A", secret + "=", secret + "\n", " " + secret,
			secret[:10] + "\n" + secret[10:], strings.ToLower(secret), strings.ToUpper(secret),
			base64.StdEncoding.EncodeToString(raw) + "=", hex.EncodeToString(raw), `"` + secret + `"`,
			strings.Repeat(secret, 2), strings.Repeat("A", 1<<16),
		} {
			if what == "cookie" && strings.TrimSpace(changed) == secret {
				continue // space around a cookie's value is no part of it
			}
			if v := try(changed); v == "200 ok" {
				t.Errorf("%s spelled %.60q: %s", what, changed, v)
			}
		}
	}
}

// A page that is compressed and repeats what was asked for must not tell the token
// by its length: no two responses hold the same (BREACH). Within one response
// there is one token.
func TestTokenIsMaskedAnewInEachResponse(t *testing.T) {
	a := newApp(t, nil, nil)
	b := visit(t, a.serve(t, true))
	for _, who := range []string{"stranger", "session"} {
		if who == "session" {
			b.login()
		}
		seen := map[string]bool{}
		// 256 tokens: in what is random, each character takes nearly all its 64
		// values. The first 6 characters are version and key.
		chars := make([]map[byte]bool, 92)
		for range 256 {
			token := b.token()
			if len(token) != 92 || seen[token] {
				t.Fatalf("%s: token %q came twice, or is none", who, token)
			}
			seen[token] = true
			for i := range len(token) {
				if chars[i] == nil {
					chars[i] = map[byte]bool{}
				}
				chars[i][token[i]] = true
			}
		}
		for i, c := range chars {
			if i > 6 && len(c) < 48 {
				t.Errorf("%s: character %d has %d values in 256 tokens", who, i, len(c))
			}
		}
	}
	a.handler = a.manager.Handler(a.protect.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { csrf.Token(r.Context()) })
		}
		wg.Wait()
		if one, two := csrf.Token(r.Context()), csrf.Token(r.Context()); one != two {
			t.Errorf("%q and %q in one response", one, two)
		}
		if n := len(w.Header()["Set-Cookie"]); n != 1 {
			t.Errorf("%d cookies in one response", n)
		}
	})))
	serveOnce(a.handler, "GET", "/", "")
}

// The token follows the session within a request: after Login, Renew and End it is
// that of what the browser will hold when the response has arrived.
func TestTokenFollowsTheSession(t *testing.T) {
	a := newApp(t, nil, nil)
	var got []string
	a.handler = a.manager.Handler(a.protect.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/all" {
			return
		}
		s := cloakroom.FromContext(r.Context())
		take := func() { got = append(got, csrf.Token(r.Context())) }
		take()
		visits.Set(s, 1) // begins a session
		take()
		s.Login(cloakroom.Identity{UserID: "u1"})
		take()
		if err := s.Commit(r.Context()); err != nil {
			t.Error(err)
		}
		take()
		s.Renew()
		take()
	})))
	b := visit(t, a.serve(t, true))
	b.get("/all")
	if len(got) != 5 || got[0] == got[1] || got[1] == got[2] || got[2] != got[3] || got[3] == got[4] {
		t.Fatalf("tokens %q", got)
	}
	for i, token := range got {
		want := "403 token"
		if i == 4 {
			want = "200 ok"
		}
		if v := b.form("/page", []string{"csrf_token", token}).verdict(); v != want {
			t.Errorf("token %d: %s, want %s", i, v, want)
		}
	}
}

// A pre-login cookie is good for 24 hours, and a page never comes with one that
// is good for less than an hour.
func TestPreLoginCookieExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApp(t, nil, nil)
		first := serveOnce(a.handler, "GET", "/token", "")
		cookie := cookieOf(first)

		time.Sleep(23 * time.Hour)
		if kept := serveOnce(a.handler, "GET", "/token", "", "Cookie", cookie); kept.header.Get("Set-Cookie") != "" {
			t.Error("a cookie with an hour left was replaced")
		}
		time.Sleep(time.Millisecond)
		next := serveOnce(a.handler, "GET", "/token", "", "Cookie", cookie)
		if cookieOf(next) == "" {
			t.Error("a cookie in its last hour was kept")
		}
		if v := post(a.handler, next.body, cookieOf(next)); v != "200 ok" {
			t.Errorf("the new cookie: %s", v)
		}

		time.Sleep(time.Hour - 2*time.Millisecond)
		if v := post(a.handler, first.body, cookie); v != "200 ok" {
			t.Errorf("a millisecond before the end: %s", v)
		}
		time.Sleep(time.Millisecond)
		if v := post(a.handler, first.body, cookie); v != "403 token" {
			t.Errorf("at the end: %s", v)
		}
	})
}

// Keys rotate without a form being refused, and a key that is taken away takes its
// tokens along.
func TestPromise10_FormsOutliveARotation(t *testing.T) {
	old, next := keyring.Generate(), keyring.Generate()
	keys, err := keyring.New(old, next.AsNext())
	if err != nil {
		t.Fatal(err)
	}
	a := newAppWith(t, keys, nil, nil)
	s := a.serve(t, true)
	stranger, member := visit(t, s), visit(t, s)
	preToken, token := stranger.token(), member.login()
	check := func(when, want string) {
		t.Helper()
		if v := stranger.form("/page", []string{"csrf_token", preToken}).verdict(); v != want {
			t.Errorf("%s, pre-login: %s", when, v)
		}
		if v := member.form("/page", []string{"csrf_token", token}).verdict(); v != want {
			t.Errorf("%s, session: %s", when, v)
		}
	}
	if err := keys.Replace(next, old.AsRetiring(time.Now().Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	check("old key retiring", "200 ok")
	newToken := member.token()
	if err := keys.Replace(next); err != nil {
		t.Fatal(err)
	}
	check("old key gone", "403 token")
	// The session itself was made under the old key and has ended with it, unless
	// it was resealed meanwhile.
	if v := member.form("/page", []string{"csrf_token", newToken}).verdict(); v != "200 ok" {
		t.Errorf("token under the new key: %s", v)
	}
}

// A request that comes with the token of before a renewal is told so, and nothing
// in it crashes.
func TestPromise03_LateRequest(t *testing.T) {
	a := newApp(t, nil, nil)
	s := a.serve(t, true)
	b := visit(t, s)
	token := b.login()
	late := []string{"Cookie", "__Host-session=" + b.cookie("__Host-session")}
	b.do("POST", "/renew", "", "X-CSRF-Token", token)
	hits := a.hits.Load()

	form := append(late, "Content-Type", "application/x-www-form-urlencoded")
	if got := serveOnce(a.handler, "POST", "/do", encode("csrf_token", token), form...); got.verdict() != "409 renewed" || len(got.header["Set-Cookie"]) > 0 {
		t.Errorf("form: %s", got.verdict())
	}
	if got := serveOnce(a.handler, "POST", "/do", encode("csrf_token", token), append(form, "Sec-Fetch-Site", "cross-site")...); got.verdict() != "403 origin" {
		t.Errorf("form of another site: %s", got.verdict())
	}
	if a.hits.Load() != hits {
		t.Error("a handler ran")
	}
	// JSON needs no token without a session: the guard behind says 409, or here the
	// commit.
	if got := serveOnce(a.handler, "POST", "/do", "{}", append(late, "Content-Type", "application/json", "X-CSRF-Token", token)...); got.verdict() != "409 renewed" {
		t.Errorf("JSON: %s", got.verdict())
	}
	page := serveOnce(a.handler, "GET", "/token", "", late...)
	if page.status != 200 || len(page.body) != 92 {
		t.Errorf("page: %s", page.verdict())
	}
}

// A request that was made anonymous has the tokens of a stranger.
func TestSkippedRequestIsAStrangers(t *testing.T) {
	a := newApp(t, &cloakroom.Options{SkipHeader: "X-Skip"}, nil)
	b := visit(t, a.serve(t, true))
	token := b.login()
	if v := b.form("/page", []string{"csrf_token", token}, "X-Skip", "1").verdict(); v != "403 token" {
		t.Errorf("token of the session: %s", v)
	}
	stranger := b.do("GET", "/token", "", "X-Skip", "1")
	if v := b.form("/page", []string{"csrf_token", stranger.body}, "X-Skip", "1").verdict(); v != "200 ok" {
		t.Errorf("token of a stranger: %s", v)
	}
	if v := b.form("/page", []string{"csrf_token", stranger.body}).verdict(); v != "403 token" {
		t.Errorf("token of a stranger with the session: %s", v)
	}
}

// Cookies and tokens that earlier versions made stay good: files of each version
// are kept for ever.
func TestGoldenFormats(t *testing.T) {
	const file = "testdata/v1.golden"
	synctest.Test(t, func(t *testing.T) { // the time is 2000-01-01, as when it was made
		if *update {
			key := keyring.Generate()
			keys, err := keyring.New(key)
			if err != nil {
				t.Fatal(err)
			}
			got := serveOnce(newAppWith(t, keys, nil, nil).handler, "GET", "/token", "")
			text := fmt.Sprintf("%s\n%s\n%s\n", key.Text(), cookieOf(got), got.body)
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		line := strings.Split(string(text), "\n")
		key, err := keyring.ParseKey(line[0])
		if err != nil {
			t.Fatal(err)
		}
		keys, err := keyring.New(key)
		if err != nil {
			t.Fatal(err)
		}
		if v := post(newAppWith(t, keys, nil, nil).handler, line[2], line[1]); v != "200 ok" {
			t.Errorf("%s", v)
		}
	})
}

// A token whose cookie cannot be sent any more would fail when the form is sent:
// that is a log line, and no token.
func TestPromise12_TokenAfterTheHeader(t *testing.T) {
	a := newApp(t, nil, nil)
	a.handler = a.manager.Handler(a.protect.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/early" {
			csrf.Token(r.Context())
		}
		io.WriteString(w, "<form>")
		io.WriteString(w, csrf.Token(r.Context()))
	})))
	b := visit(t, a.serve(t, true))
	if got := b.get("/late"); got.body != "<form>" || !strings.Contains(a.log.String(), "level=ERROR msg=write_after_end") {
		t.Errorf("%q, log:\n%s", got.body, a.log)
	}
	if got := b.get("/early"); len(got.body) != 98 {
		t.Errorf("%q", got.body)
	}
	if got := b.get("/late"); len(got.body) != 98 {
		t.Errorf("with a valid cookie: %q", got.body)
	}
}

func TestPromise12_WithoutHandlerItPanics(t *testing.T) {
	panics := func(what string, f func()) {
		t.Helper()
		defer func() {
			if p := recover(); p == nil || !strings.Contains(fmt.Sprint(p), "wrap the handler in") {
				t.Errorf("%s: recovered %v", what, p)
			}
		}()
		f()
	}
	panics("Token", func() { csrf.Token(context.Background()) })
	panics("Field", func() { csrf.Field(context.Background()) })
	a := newApp(t, nil, nil)
	inner := a.protect.Handler(http.NotFoundHandler())
	for _, method := range []string{"GET", "POST"} {
		panics(method, func() { serveOnce(inner, method, "/", "") })
		panics(method+" with another Manager", func() { serveOnce(newApp(t, nil, nil).manager.Handler(inner), method, "/", "") })
	}
}
