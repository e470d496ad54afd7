package main_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// cookies are all that the tour was given, but for those that are taken back.
func cookies(t *testing.T) []*http.Cookie {
	t.Helper()
	var all []*http.Cookie
	for _, a := range tour(t).answers {
		all = append(all, a.Cookies()...)
	}
	if len(all) < 5 {
		t.Fatalf("only %d cookies on the whole tour", len(all))
	}
	return all
}

func TestASVS_3_3_1_CookiesAreSecure(t *testing.T) {
	t.Parallel()
	for _, c := range cookies(t) {
		if !c.Secure {
			t.Errorf("not Secure: %s", c.Name)
		}
	}
}

func TestASVS_3_3_2_CookiesSaySameSite(t *testing.T) {
	for _, c := range cookies(t) {
		want := http.SameSiteLaxMode
		if c.Name == "__Host-csrf" || c.Name == "__Host-device" {
			want = http.SameSiteStrictMode
		}
		if c.SameSite != want {
			t.Errorf("%s: SameSite %v, want %v", c.Name, c.SameSite, want)
		}
	}
}

func TestASVS_3_3_3_CookiesAreOfThisHostOnly(t *testing.T) {
	for _, c := range cookies(t) {
		if !strings.HasPrefix(c.Name, "__Host-") || c.Path != "/" || c.Domain != "" {
			t.Errorf("%s", c.Raw)
		}
	}
}

func TestASVS_3_3_4_CookiesAreForTheBrowserAlone(t *testing.T) {
	rec := tour(t)
	for _, c := range cookies(t) {
		if !c.HttpOnly {
			t.Errorf("not HttpOnly: %s", c.Name)
		}
	}
	for _, token := range rec.tokens {
		if strings.Contains(rec.log, token) || strings.Contains(rec.stdout, token) {
			t.Error("a token in the log")
		}
		for _, a := range rec.answers {
			if strings.Contains(a.body, token) || strings.Contains(a.Request.URL.String(), token) {
				t.Errorf("%s: a token in the body or the address", name(a))
			}
			for h, values := range a.Header {
				if h != "Set-Cookie" && strings.Contains(strings.Join(values, "\n"), token) {
					t.Errorf("%s: a token in %s", name(a), h)
				}
			}
		}
	}
}

// every checks the header of every answer of the tour, statuses 200 to 503.
func every(t *testing.T, header string, ok func(a answer, value string) bool) {
	t.Helper()
	seen := make(map[int]bool)
	for _, a := range tour(t).answers {
		seen[a.StatusCode] = true
		if values := a.Header.Values(header); len(values) != 1 || !ok(a, values[0]) {
			t.Errorf("%s: %s: %q", name(a), header, values)
		}
	}
	for _, status := range []int{200, 204, 303, 400, 401, 403, 404, 405, 410, 415, 503} {
		if !seen[status] {
			t.Errorf("no answer with status %d on the tour", status)
		}
	}
}

func equal(want string) func(answer, string) bool {
	return func(_ answer, got string) bool { return got == want }
}

func TestASVS_3_4_6_NoFrames(t *testing.T) {
	every(t, "Content-Security-Policy", func(_ answer, policy string) bool {
		return strings.Contains(policy, "frame-ancestors 'none'")
	})
}

func TestASVS_3_4_3_ContentSecurityPolicy(t *testing.T) {
	every(t, "Content-Security-Policy", func(a answer, policy string) bool {
		return strings.Contains(policy, "default-src 'none'") && strings.Contains(policy, "base-uri 'none'") &&
			!strings.Contains(policy, "unsafe") && (!strings.Contains(policy, "script-src") || strings.HasSuffix(policy, "script-src 'self'")) &&
			(!isPage(a) || strings.Contains(policy, "style-src 'self'") && strings.Contains(policy, "form-action 'self'") && strings.Contains(policy, "object-src 'none'"))
	})
	inline := regexp.MustCompile(`(?i)<script>|<script [^s]|<style|\sstyle=|\son[a-z]+=|javascript:`)
	for _, a := range tour(t).answers {
		if isPage(a) && inline.MatchString(a.body) {
			t.Errorf("%s: something inline:\n%s", name(a), a.body)
		}
	}
}

func TestASVS_3_4_2_NoOtherOriginReads(t *testing.T) {
	s := start(t, t.TempDir())
	c := s.setup()
	for _, origin := range []string{"https://evil.example", "null", "http://127.0.0.1.evil.example", s.URL} {
		for _, method := range []string{"GET", "OPTIONS"} {
			a := c.do(method, "/auth/session", "", "Origin", origin, "Access-Control-Request-Method", "POST")
			for h := range a.Header {
				if strings.HasPrefix(h, "Access-Control-") {
					t.Errorf("%s from %s: %s", method, origin, h)
				}
			}
		}
	}
}

func TestASVS_3_4_4_NoSniffing(t *testing.T) { every(t, "X-Content-Type-Options", equal("nosniff")) }

func TestASVS_3_4_5_ReferrersStayHere(t *testing.T) {
	// Either says nothing of path and query to other sites; strict-origin says
	// nothing of them here either, which the setup page needs.
	every(t, "Referrer-Policy", func(_ answer, v string) bool { return v == "same-origin" || v == "strict-origin" })
}

func TestASVS_3_4_8_WindowsOfOthersHaveNoHandle(t *testing.T) {
	every(t, "Cross-Origin-Opener-Policy", equal("same-origin"))
	every(t, "Cross-Origin-Resource-Policy", equal("same-origin"))
}

// passwordFields calls f with every password field of the tour.
func passwordFields(t *testing.T, f func(a answer, input string)) {
	t.Helper()
	field := regexp.MustCompile(`<input[^>]*name="password"[^>]*>`)
	n := 0
	for _, a := range tour(t).answers {
		for _, input := range field.FindAllString(a.body, -1) {
			n++
			f(a, input)
		}
	}
	if n < 4 {
		t.Errorf("only %d password fields on the tour", n)
	}
}

func TestASVS_6_2_6_PasswordsAreMasked(t *testing.T) {
	passwordFields(t, func(a answer, input string) {
		if !strings.Contains(input, `type="password"`) || strings.Contains(input, "value=") {
			t.Errorf("%s: %s", name(a), input)
		}
	})
}

func TestASVS_6_2_7_PasswordManagersAreWelcome(t *testing.T) {
	passwordFields(t, func(a answer, input string) {
		want := `autocomplete="current-password"`
		if strings.HasSuffix(a.Request.URL.Path, "/setup") {
			want = `autocomplete="new-password"`
		}
		if !strings.Contains(input, want) || strings.Contains(input, "readonly") || strings.Contains(input, "onpaste") {
			t.Errorf("%s: %s, want %s", name(a), input, want)
		}
	})
}

func TestASVS_7_4_4_LogoutOnEveryPage(t *testing.T) {
	button := regexp.MustCompile(`<form method="post" action="/auth/logout"><input type="hidden" name="csrf_token" value="[^"]+"><button[^>]*>Sign out</button></form>`)
	n := 0
	for _, a := range tour(t).answers {
		if signedIn(a) {
			n++
			if !button.MatchString(a.body) {
				t.Errorf("%s: no way out:\n%s", name(a), a.body)
			}
		}
	}
	if n < 3 {
		t.Errorf("only %d pages for whoever is signed in", n)
	}
}

func TestASVS_14_2_1_NothingSecretInAddresses(t *testing.T) {
	rec := tour(t)
	link := regexp.MustCompile(`(?:href|action)="([^"]*)"`)
	for _, a := range rec.answers {
		addresses := []string{a.Header.Get("Location")}
		for _, m := range link.FindAllStringSubmatch(a.body, -1) {
			addresses = append(addresses, m[1])
		}
		for _, address := range addresses {
			for _, secret := range slices.Concat(rec.tokens, rec.csrf, rec.passwords, rec.links) {
				if strings.Contains(address, secret) || strings.Contains(address, url.QueryEscape(secret)) {
					t.Errorf("%s: a secret in %s", name(a), address)
				}
			}
		}
	}
	// And none is taken from there.
	s := start(t, t.TempDir())
	c := s.setup()
	token := c.http.Jar.Cookies(c.want(c.do("GET", "/auth/session", ""), 200).Request.URL)[0].Value
	stranger := s.client()
	for _, param := range []string{"sid", "session", "token", "__Host-session"} {
		stranger.want(stranger.do("GET", "/auth/session?"+param+"="+token, ""), 401)
	}
	for _, query := range []string{"username=ada", "password=" + url.QueryEscape(goodPassword), "csrf_token=x"} {
		stranger.want(stranger.do("POST", "/auth/login?"+query, credentials("ada", goodPassword)), 400)
	}
}

func TestASVS_14_3_1_LogoutClears(t *testing.T) {
	n := 0
	for _, a := range tour(t).answers {
		if !strings.HasSuffix(a.Request.URL.Path, "/logout") || a.StatusCode >= 400 {
			continue
		}
		n++
		if got := a.Header.Get("Clear-Site-Data"); got != `"cache", "storage"` {
			t.Errorf("%s: Clear-Site-Data %s", name(a), got)
		}
		cookie := a.Header.Get("Set-Cookie")
		if !strings.HasPrefix(cookie, "__Host-session=;") || !strings.Contains(cookie, "Max-Age=0") || !strings.Contains(cookie, "Path=/") || !strings.Contains(cookie, "Secure") {
			t.Errorf("%s: %s", name(a), cookie)
		}
	}
	if n != 2 {
		t.Errorf("%d logouts on the tour", n)
	}
}

func TestASVS_14_3_2_NothingIsKeptInCaches(t *testing.T) {
	every(t, "Cache-Control", func(a answer, value string) bool {
		if strings.HasSuffix(a.Request.URL.Path, ".css") {
			return value == "public, max-age=31536000, immutable"
		}
		return value == "no-store"
	})
}

// Flask, Symfony and Django each had a page with a session that a cache might
// keep: every way of touching a session counts, and redirects and errors do too.
func TestAttack_A41_NoCacheKeepsWhatBelongsToOne(t *testing.T) {
	for _, a := range tour(t).answers {
		if strings.HasSuffix(a.Request.URL.Path, ".css") {
			if len(a.Cookies()) > 0 {
				t.Errorf("%s: a cookie with what caches keep", name(a))
			}
			continue
		}
		if a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %s", name(a), a.Header.Get("Cache-Control"))
		}
		if signedIn(a) && !slices.Contains(a.Header.Values("Vary"), "Cookie") {
			t.Errorf("%s: Vary %q", name(a), a.Header.Values("Vary"))
		}
	}
}

func TestASVS_6_3_2_NoDefaultAccounts(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	c := s.client()
	for _, user := range []string{"admin", "root", "test", "ada", "cloakroom", "user"} {
		for _, password := range []string{user, "password", "changeme"} {
			c.want(c.do("POST", "/auth/login", credentials(user, password)), 401)
		}
	}
}

// entry is a line of the log.
type entry struct {
	Time, Level, Msg, Request, Addr string
	line                            string
}

// entries are the lines of the tour's log.
func entries(t *testing.T) (all []entry) {
	t.Helper()
	for line := range strings.Lines(tour(t).log) {
		e := entry{line: line}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Errorf("%v: %s", err, line)
		}
		all = append(all, e)
	}
	if len(all) < 50 {
		t.Errorf("only %d lines in the log of the tour", len(all))
	}
	return all
}

func TestASVS_16_2_2_TimesInUTC(t *testing.T) { // the service runs in another zone
	for _, e := range entries(t) {
		if _, err := time.Parse(time.RFC3339Nano, e.Time); err != nil || !strings.HasSuffix(e.Time, "Z") {
			t.Errorf("%s in %s", e.Time, e.line)
		}
	}
}

func TestASVS_16_2_4_EveryLineIsOneObject(t *testing.T) {
	for _, e := range entries(t) {
		var m map[string]any
		if err := json.Unmarshal([]byte(e.line), &m); err != nil {
			t.Errorf("%v: %s", err, e.line)
		}
	}
}

func TestASVS_16_2_1_WhenWhereWhoWhat(t *testing.T) {
	names := make(map[string]bool)
	for _, entry := range entries(t) {
		line := entry.line
		names[entry.Msg] = true
		if entry.Level == "" || entry.Msg == "" || strings.ContainsAny(entry.Msg, " \t") {
			t.Errorf("no event: %s", line)
		}
		if strings.Contains("login login_refused logout csrf_refused request", entry.Msg) && (entry.Request == "" || entry.Addr == "") {
			t.Errorf("neither request nor address: %s", line)
		}
	}
	for _, want := range []string{"start", "stop", "setup", "login", "login_refused", "logout", "session_ended", "csrf_refused", "store_failed", "request"} {
		if !names[want] {
			t.Errorf("no event %s on the tour", want)
		}
	}
}

// Everything secret that the tour knew, in everything that was logged at level
// debug, errors included.
func TestASVS_16_2_5_NoSecretIsLogged(t *testing.T) {
	rec := tour(t)
	for kind, secrets := range map[string][]string{"password": rec.passwords, "cookie": rec.tokens, "csrf token": rec.csrf, "setup link": rec.links} {
		if len(secrets) == 0 {
			t.Errorf("no %s on the tour", kind)
		}
		for _, s := range secrets {
			if strings.Contains(rec.log, s) || strings.Contains(rec.log, url.QueryEscape(s)) {
				t.Errorf("a %s in the log", kind)
			}
		}
	}
	if strings.Contains(rec.log, "argon2") {
		t.Error("a hash in the log")
	}
}

// Whatever fails, the answer tells no more than that.
func TestASVS_16_5_1_ErrorsTellNothing(t *testing.T) {
	n := 0
	for _, a := range tour(t).answers {
		if a.StatusCode < 500 {
			continue
		}
		n++
		text := strings.ToLower(a.body)
		for _, word := range []string{"sql", "table", "cloakroom_", ".go", "goroutine", "/tmp", "no such"} {
			if strings.Contains(text, word) {
				t.Errorf("%s: %q in\n%s", name(a), word, a.body)
			}
		}
		if a.Header.Get("X-Request-Id") == "" {
			t.Errorf("%s: no request id", name(a))
		}
	}
	if n < 6 {
		t.Errorf("only %d answers of 500 and more on the tour", n)
	}
}

// The setup page stands under an address with the token in it. Nothing that the
// page asks for may repeat that address (promise 11).
func TestPromise11_TheSetupLinkIsNoReferer(t *testing.T) {
	s := start(t, t.TempDir())
	link := s.await(linkLine)
	a := s.client().page(strings.TrimPrefix(link, s.URL))
	if got := a.Header.Get("Referrer-Policy"); a.StatusCode != 200 || got != "strict-origin" {
		t.Errorf("setup page: %d, Referrer-Policy %q", a.StatusCode, got)
	}
}
