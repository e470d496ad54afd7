package probe_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// tells fails the test where findings tell a part of a secret, or do not have a check.
func tells(t *testing.T, s *service, f *fault, parts ...string) {
	t.Helper()
	list := look(t, s, f)
	document, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	all := text(list) + string(document)
	for check := range strings.FieldsSeq(f.want) {
		if !slices.Contains(checks(list), check) {
			t.Errorf("%s is not among:\n%s", check, all)
		}
	}
	for _, part := range parts {
		if strings.Contains(strings.ToLower(all), strings.ToLower(part)) {
			t.Errorf("%s is in:\n%s", part, all)
		}
	}
}

// corrected puts the password that is right in the place of the probe's.
func corrected(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && r.URL.Path == "/auth/login" && r.ParseForm() == nil {
			if r.PostForm.Get("username") == "ada" {
				r.PostForm.Set("password", goodPassword)
			}
			text := r.PostForm.Encode()
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
		}
		next.ServeHTTP(w, r)
	})
}

// Where a text is taken apart there may be a piece of the password in each part.
func TestPasswordTakenApart(t *testing.T) {
	t.Parallel()
	s := newService(t, settings{public: public, trusted: proxies})
	const elsewhere = "https://login.example.com/"
	sessions := on(func(r *http.Request) bool { return r.URL.Path == "/auth/sessions" }, func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"sessions": [{"current": true, "address": "::1%zebraq","x":"quokka7"}]}`)
	})
	for i, f := range []fault{
		{want: "url-cookie-domain", options: using("zebraq;quokkaw,7x"), response: cookies("; Path=/", "; Path=/; Domain=zebraq;quokkaw,7x")},
		{want: "url-cookie-domain", options: using(".zebraq.quokka7"), response: cookies("; Path=/", "; Path=/; Domain=.zebraq.quokka7")},
		{want: "url-cookie-domain", options: using("..zebraq.quokka7"), response: cookies("; Path=/", "; Path=/; Domain=..zebraq.quokka7")},
		{want: "url-cookie-domain", options: using("İZEBRAQ quokka7"), response: cookies("; Path=/", "; Path=/; Domain=İZEBRAQ quokka7")},
		{want: "url-cookie-path", options: using("zebraq;quokkaw,7x"), response: cookies("; Path=/", "; Path=/zebraq;quokkaw,7x")},
		{want: "url-cookie-path", options: using("  zebraq quokka7 "), response: cookies("; Path=/", "; Path=/  zebraq quokka7 ")},
		{want: "url-cookie-path", options: using("Path=/zebraq"), response: cookies("; Path=/", "; Path=/zebraq")},
		{want: "url-cookie-renamed", options: using("zebraq=quokka7"), response: puts("Set-Cookie", "zebraq=quokka7"+strings.Repeat("A", 91))},
		{want: "url-redirect-elsewhere", options: using("zebraq/../quokka7"), around: goes(elsewhere + "zebraq/../quokka7")},
		{want: "url-redirect-elsewhere", options: using("quokka7:zebraq@login"), around: goes("https://quokka7:zebraq@login.example.com/x")},
		{want: "url-redirect-elsewhere", options: using("https://zebraq"), around: goes("https://zebraq.example.com/x")},
		{want: "url-csp-form", options: using("zebraq;quokka,7"), response: puts("Content-Security-Policy", "form-action https://zebraq;quokka,7")},
		{want: "url-content", options: using(`zebraq"quokka7`), response: body(func(s string) string {
			return strings.Replace(s, `action="/auth/login"`, `action="/zebraq"quokka7"`, 1)
		})},
		{want: "url-client-address", options: using(`zebraq","x":"quokka7`), around: func(next http.Handler) http.Handler { return sessions(corrected(next)) }},
	} {
		t.Run(fmt.Sprint(i, f.want), func(t *testing.T) {
			t.Parallel()
			f.account = true
			tells(t, s, &f, "zebraq", "quokka")
		})
	}
}

// raw answers with what no server of ours would write.
func raw(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		c, b, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer c.Close()
		io.WriteString(b, text)
		b.Flush()
	}
}

// A cookie is not told, whichever answer sets it and wherever it comes back.
func TestCookiesAreNotTold(t *testing.T) {
	t.Parallel()
	s := newService(t, settings{public: public, trusted: proxies})
	const token = "VisitoRCooKieValuE77QqZz"
	sets := func(r *http.Response) error {
		r.Header.Add("Set-Cookie", "app="+token+"; Path=/")
		return nil
	}
	sso := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "JSESSIONID="+token+"; Path=/; HttpOnly")
		leads(302, fixed("https://sso.example.net/login;jsessionid="+token))(w, r)
	}
	signedIn := func(r *http.Request) bool {
		return r.Method == http.MethodGet && strings.Contains(r.Header.Get("Cookie"), "__Host-session=")
	}
	at := func(method, path string) func(*http.Request) bool {
		return func(r *http.Request) bool { return r.Method == method && r.URL.Path == "/auth"+path }
	}
	for _, f := range []fault{
		{name: "the first answer", want: "url-redirect-elsewhere", around: on(always, sso)},
		{name: "a page for programs", want: "url-status", around: on(at("GET", "/session"), sso)},
		{name: "the page behind the login", want: "url-redirect-elsewhere", around: on(signedIn, sso)},
		{name: "the login", want: "url-redirect-elsewhere", around: onAccount(sso)},
		{name: "the cache", want: "url-cached", response: func(r *http.Response) error {
			if r.Request.URL.Path == "/auth/session" {
				r.Header.Set("X-Cache", "HIT "+token)
			}
			return sets(r)
		}},
		{name: "the path", want: "url-cookie-path", response: func(r *http.Response) error {
			return errors.Join(cookies("; Path=/;", "; Path=/"+token+";")(r), sets(r))
		}},
		{name: "a line that is none", want: "url-unreachable", server: oldHTTP, around: onAccount(raw("HTTP/1.1 303 See Other\r\nSet-Cookie a=" + token + "\r\n\r\n"))},
	} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			f.account = true
			tells(t, s, &f, token)
		})
	}
}
