package web_test

import (
	"encoding/base64"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/web"
)

// every page that people see, by its name, as it was answered.
func everyPage(t *testing.T) map[string]*httptest.ResponseRecorder {
	t.Helper()
	w := newWorld(t)
	p, stranger := w.in(), w.person()
	weak := url.Values{"current": {goodPassword}, "new": {"short"}}
	reset := "/auth/reset?token=" + w.link(sqlusers.LinkReset)
	return map[string]*httptest.ResponseRecorder{
		"profile":        p.get("/auth/profile"),
		"sessions":       p.get("/auth/sessions"),
		"password":       p.get("/auth/password"),
		"password, weak": p.post("/auth/password", "/auth/password", weak),
		"reauth":         p.get("/auth/reauth?next=/auth/sessions"),
		"reauth, wrong":  p.post("/auth/reauth", "/auth/reauth", url.Values{"password": {"x"}}),
		"login":          stranger.get("/auth/login"),
		"login, wrong":   stranger.login("ada", "x"),
		"reset":          stranger.get(reset),
		"gone":           stranger.get("/auth/invite?token=x"),
		"nowhere":        stranger.get("/auth/nowhere"),
	}
}

var passwordInput = regexp.MustCompile(`<input[^>]*(?:name|id)="(?:password|current|new)"[^>]*>`)

func TestNIST_3_1_1_2_pm_PasswordFields(t *testing.T) {
	n := 0
	for name, res := range everyPage(t) {
		page := res.Body.String()
		for _, input := range passwordInput.FindAllString(page, -1) {
			n++
			if !strings.Contains(input, `type="password"`) || strings.Contains(input, "value=") {
				t.Errorf("%s: ASVS 6.2.6: not masked, or filled in: %s", name, input)
			}
			if !regexp.MustCompile(`autocomplete="(current|new)-password"`).MatchString(input) {
				t.Errorf("%s: ASVS 6.2.7: no word to password managers: %s", name, input)
			}
			for _, word := range []string{"maxlength", "readonly", "onpaste", "pattern", "minlength"} {
				if strings.Contains(input, word) {
					t.Errorf("%s: NIST 3.1.1.2-paste: %s in %s", name, word, input)
				}
			}
		}
		if strings.Contains(page, `type="password"`) && !strings.Contains(page, `autocomplete="username"`) {
			t.Errorf("%s: password managers are not told whose password it is", name)
		}
	}
	if n < 9 {
		t.Errorf("only %d fields", n)
	}
}

func TestASVS_7_4_4_SignOutOnEveryPage(t *testing.T) {
	out := regexp.MustCompile(`<form method="post" action="/auth/logout"><input type="hidden" name="csrf_token" value="[^"]+"><button[^>]*>Sign out</button></form>`)
	for name, res := range everyPage(t) {
		signedIn := strings.Contains(res.Body.String(), `<nav aria-label="Account">`)
		if want := !regexp.MustCompile(`^(login|reset|gone|nowhere)`).MatchString(name); signedIn != want {
			t.Errorf("%s: signed in %v, want %v", name, signedIn, want)
		}
		if signedIn != out.MatchString(res.Body.String()) {
			t.Errorf("%s: no way out:\n%s", name, res.Body)
		}
	}
}

func TestNIST_3_1_1_2_guide_WhatMakesAGoodPassword(t *testing.T) {
	pages := everyPage(t)
	for _, name := range []string{"password", "password, weak", "reset"} {
		page := pages[name].Body.String()
		if !strings.Contains(page, "At least 15 characters") || !strings.Contains(page, "easy to remember") || !strings.Contains(page, `aria-describedby="`) {
			t.Errorf("%s: no guidance:\n%s", name, page)
		}
	}
	if page := pages["password, weak"].Body.String(); pages["password, weak"].Code != 422 || !strings.Contains(page, "too short") {
		t.Errorf("%d: no reason:\n%s", pages["password, weak"].Code, page)
	}
}

// The script that shows a password is loaded where a new one is typed and nowhere
// else, under a policy that lets in nothing inline and nothing of others.
func TestNIST_3_1_1_2_show_NewPasswordsCanBeSeen(t *testing.T) {
	tag := regexp.MustCompile(`<script src="(/auth/show\.[A-Za-z0-9_-]+\.js)" defer></script>`)
	src := ""
	for name, res := range everyPage(t) {
		page, policy := res.Body.String(), res.Header().Get("Content-Security-Policy")
		types := strings.Contains(page, `autocomplete="new-password"`)
		m := tag.FindStringSubmatch(page)
		if types != (m != nil) || types != strings.HasSuffix(policy, "; script-src 'self'") || types != strings.Contains(page, `<label class="check" hidden><input type="checkbox" data-shows="`) {
			t.Errorf("%s: %s\n%s", name, policy, page)
		}
		if m != nil {
			src = m[1]
		}
		if strings.Contains(policy, "unsafe") || strings.Count(page, "<script") > 1 || regexp.MustCompile(`\s(on[a-z]+|style)=`).MatchString(page) {
			t.Errorf("%s: something inline, or %s", name, policy)
		}
	}
	res := newWorld(t).do("GET", src, "", false)
	script := res.Body.String()
	if res.Code != 200 || res.Header().Get("Content-Type") != "text/javascript; charset=utf-8" || res.Header().Get("Cache-Control") != "public, max-age=31536000, immutable" {
		t.Errorf("%d %v", res.Code, res.Header())
	}
	for _, word := range []string{"Storage", "cookie", "fetch", "innerHTML", "eval", "/*"} {
		if strings.Contains(script, word) {
			t.Errorf("ASVS 14.3.3: %s in\n%s", word, script)
		}
	}
}

// The page to sign in takes two requests, its own and the style sheet's, and 20 kB.
func TestLoginIsLight(t *testing.T) {
	w := newWorld(t)
	w.cookie = nil
	page := w.do("GET", "/auth/login", "", true)
	body := page.Body.String()
	loads := regexp.MustCompile(`(?:src|href)="([^"#]*)"`).FindAllStringSubmatch(body, -1)
	var fetched []string
	for _, m := range loads {
		if m[1] != "/" && !strings.HasPrefix(m[1], "data:") {
			fetched = append(fetched, m[1])
		}
	}
	if len(fetched) != 1 || !strings.HasSuffix(fetched[0], ".css") || !strings.Contains(body, `<link rel="icon" href="data:`) {
		t.Errorf("it loads %q", fetched)
	}
	size := len(body) + w.do("GET", fetched[0], "", true).Body.Len() + 2*1000 // and headers
	if size > 20_000 {
		t.Errorf("%d bytes", size)
	}
}

func TestASVS_3_2_2_NamesAreText(t *testing.T) {
	w := newWorld(t)
	name := `<img/src=x/onerror=1>"'&`
	u, err := w.users.Create(t.Context(), sqlusers.NewUser{Name: name, Password: w.account("ada").Password, Roles: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	p := w.person()
	p.want(p.login(name, goodPassword), 303, "/auth/profile")
	for _, path := range []string{"/auth/profile", "/auth/password", "/auth/reauth", "/auth/reauth?next=/%22%3E%3Cimg%3E"} {
		page := p.get(path).Body.String()
		if strings.Contains(page, "<img") || !strings.Contains(page, html.EscapeString(name)[:15]) {
			t.Errorf("%s of %s:\n%s", path, u.Name, page)
		}
	}
}

// No answer shows a hash, and no cookie what its session holds.
func TestAttack_A50_NothingSecretIsShown(t *testing.T) {
	for name, res := range everyPage(t) {
		for _, tell := range []string{"$argon2", "$2", "$sealed", "$pbkdf2", goodPassword} {
			if strings.Contains(res.Body.String(), tell) {
				t.Errorf("%s: %s", name, tell)
			}
		}
	}
	w := newWorld(t)
	p := w.in()
	for _, path := range []string{"/auth/session", "/auth/sessions", "/auth/profile"} {
		doc := p.json("GET", path, "").Body.String()
		if strings.Contains(doc, "$") || strings.Contains(doc, "password\":") || strings.Contains(doc, "epoch") {
			t.Errorf("%s: %s", path, doc)
		}
	}
	for name, value := range p.jar {
		raw, _ := base64.RawURLEncoding.DecodeString(value)
		if strings.Contains(value+string(raw), "ada") || strings.Contains(value+string(raw), w.account("ada").ID) {
			t.Errorf("the cookie %s tells who it is", name)
		}
	}
}

func TestASVS_14_3_2_NothingIsStored(t *testing.T) {
	for name, res := range everyPage(t) {
		if res.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %s", name, res.Header().Get("Cache-Control"))
		}
	}
}

func TestASVS_14_2_1_NoSecretIsTakenFromAURL(t *testing.T) {
	w := newWorld(t)
	p := w.in()
	for path, body := range map[string]string{
		"/auth/password?current=" + url.QueryEscape(goodPassword): `{"new":"` + otherPassword + `"}`,
		"/auth/password?new=" + url.QueryEscape(otherPassword):    `{"current":"` + goodPassword + `"}`,
		"/auth/reauth?password=" + url.QueryEscape(goodPassword):  `{}`,
		"/auth/reset?token=x":                                        `{"password":"` + otherPassword + `"}`,
		"/auth/login?username=ada":                                   `{"password":"` + goodPassword + `"}`,
		"/auth/reauth?new=" + url.QueryEscape(otherPassword):         `{"password":"` + goodPassword + `"}`,
		"/auth/login?password=" + url.QueryEscape(goodPassword) + "": `{"username":"ada"}`,
	} {
		if res := p.json("POST", path, body); res.Code != 400 {
			t.Errorf("%s: %d", path, res.Code)
		}
	}
}

// ASVS 15.3.5: fields are texts. ASVS 15.3.7: each is there once. ASVS 15.3.3: what
// nobody asked for changes nothing.
func TestASVS_15_3_3_Fields(t *testing.T) {
	w := newWorld(t)
	p := w.in()
	for _, path := range []string{"/auth/password", "/auth/reauth", "/auth/reset", "/auth/login", "/auth/setup"} {
		for _, body := range []string{
			`{"password":["x"],"current":["x"]}`, `{"password":1,"current":1}`, `{"password":null,"current":null}`, `{"password":{},"current":{}}`,
			`{"password":"x","password":"y","current":"a","current":"b"}`, `[]`, `"x"`, `{`,
		} {
			if res := p.json("POST", path, body); res.Code != 400 {
				t.Errorf("%s %s: %d %s", path, body, res.Code, res.Body)
			}
		}
	}
	body := `{"current":"` + goodPassword + `","new":"` + otherPassword + `","roles":["admin","root"],"id":"x","must_change":true,"epoch":1}`
	before := w.account("ada")
	if res := p.json("POST", "/auth/password", body); res.Code != 204 {
		t.Fatalf("%d %s", res.Code, res.Body)
	}
	if after := w.account("ada"); strings.Join(after.Roles, " ") != "admin" || after.ID != before.ID || after.MustChange || after.Epoch != before.Epoch+1 {
		t.Errorf("%+v", after)
	}
}

func TestNIST_3_1_1_2_chan_PagesDemandTheProtectedChannel(t *testing.T) {
	w := newWorld(t)
	r := httptest.NewRequest("GET", "https://example.com/auth/login", nil)
	r.Header.Set("Accept", "text/html")
	res := httptest.NewRecorder()
	w.handler.ServeHTTP(res, r)
	if !strings.Contains(res.Header().Get("Strict-Transport-Security"), "includeSubDomains") {
		t.Errorf("%v", res.Header())
	}
	for _, c := range append(res.Result().Cookies(), w.cookie) {
		if c.Name == "" || c.Name == "__Host-session" && (!c.Secure || !c.HttpOnly) || strings.HasPrefix(c.Name, "__Host-") && (!c.Secure || c.Path != "/") || c.SameSite == http.SameSiteNoneMode {
			t.Errorf("%+v", c)
		}
	}
}

func TestDevicesInWords(t *testing.T) {
	for agent, want := range map[string]string{
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0":                                                                  "Firefox on Linux",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 Safari/537.36":                         "Chrome on Windows",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1": "Safari on iOS",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 Safari/537.36 Edg/143.0.0.0":           "Edge on Windows",
		"curl/8.5.0":                    "curl",
		"":                              "Unknown device",
		"\u202e\u200b\x1b[2J":           "Unknown device",
		strings.Repeat("long ", 50):     "",
		"<script>alert(1)</script>/1.0": "",
	} {
		got := web.Device(agent)
		if want != "" && got != want {
			t.Errorf("%q: %q, want %q", agent, got, want)
		}
		for _, r := range got {
			if r < ' ' || r > '~' {
				t.Errorf("%q: %q", agent, got)
			}
		}
		if len(got) > 90 {
			t.Errorf("%d bytes", len(got))
		}
	}
}
