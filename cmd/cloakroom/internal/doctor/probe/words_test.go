package probe_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/doctor/probe"
)

// using is an option of faults: this password.
func using(password string) func(*probe.Options) {
	return func(o *probe.Options) { o.Password = password }
}

// A password may be a word that findings have as well. That stays, as what is missing
// from a sentence that everybody knows would tell the password.
func TestPasswordThatIsAWordOfOurs(t *testing.T) {
	t.Parallel()
	s := newService(t, settings{public: public, trusted: proxies})
	refuses := onAccount(says(http.StatusUnauthorized))
	for _, f := range []fault{
		{name: "wrong password", want: "url-csp url-credentials", around: refuses, response: func(r *http.Response) error {
			r.Header.Del("Content-Security-Policy")
			return cookies("; HttpOnly", "")(r)
		}},
		{name: "no cookie", want: "url-cookie-domain", around: refuses, response: cookies("; Path=/", "; Path=/; Domain=.org")},
		{name: "redirect", want: "url-redirect-elsewhere", around: goes("https://sso.example.net/x")},
	} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			f.account, f.options = true, using("what no finding says")
			want := text(look(t, s, &f))
			for check := range strings.FieldsSeq(f.want) {
				if !strings.Contains(want, check) {
					t.Fatalf("%s is not among:\n%s", check, want)
				}
			}
			for _, word := range []string{"cookie", "password", "public suffix", "Content-Security-Policy"} {
				f.options = using(word)
				if got := text(look(t, s, &f)); got != want {
					t.Errorf("with the password %q:\n%s\nand with another:\n%s", word, got, want)
				}
			}
		})
	}
}

// nasty has in it what addresses, forms and quotes escape, and capitals.
const nasty = `Zebra "äöü", \x/y?+50%&quagga`

// lowercase escapes every byte.
func lowercase(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, "%%%02x", s[i])
	}
	return b.String()
}

// puts writes a header.
func puts(name, value string) func(*http.Response) error {
	return header(func(h http.Header) { h.Set(name, value) })
}

// goes is a login that is answered by a redirect.
func goes(to string) func(http.Handler) http.Handler { return onAccount(leads(302, fixed(to))) }

// Whatever comes from outside with the password in it, however it is escaped: no finding
// tells the password, nor a part of it.
func TestPasswordThatComesBack(t *testing.T) {
	t.Parallel()
	s := newService(t, settings{public: public, trusted: proxies})
	const elsewhere = "https://login.example.com/"
	zone, _ := json.Marshal("::1%" + goodPassword + "\n")
	faults := []fault{
		{want: "url-redirect-elsewhere", around: goes(elsewhere + url.PathEscape(nasty))},
		{want: "url-redirect-elsewhere", around: goes(elsewhere + url.QueryEscape(nasty) + "/" + url.QueryEscape(nasty))},
		{want: "url-redirect-elsewhere", around: goes(elsewhere + lowercase(nasty))},
		{want: "url-redirect-elsewhere", around: goes(elsewhere + strings.Repeat("x", 165) + url.PathEscape(nasty))},
		{want: "url-redirect-elsewhere", around: goes(elsewhere + strings.ReplaceAll(nasty, "%", "")), options: using(strings.ReplaceAll(nasty, "%", ""))},
		{want: "url-redirect-elsewhere", around: goes("https://zebra-quagga.example.com/"), options: using("Zebra-Quagga")},
		{want: "url-inner-address", around: goes("http://backend:8080/" + url.PathEscape(nasty))},
		{want: "url-redirect-malformed", around: on(always, leads(302, fixed("https://$host/"+nasty)))},
		{want: "url-cookie-domain", response: cookies("; Path=/", "; Path=/; Domain="+nasty)},
		{want: "url-cookie-path", response: cookies("; Path=/", "; Path=/"+nasty)},
		{want: "url-cookie-renamed", response: cookies("__Host-", "Zebra-quagga"), options: using("Zebra-quagga")},
		{want: "url-cached", response: puts("X-Cache", "HIT "+nasty)},
		{want: "url-cache-control", response: puts("Cache-Control", strings.Repeat("x", 117)+nasty)},
		{want: "url-cache-control url-csp url-hsts url-headers url-content", response: header(func(h http.Header) {
			h.Set("Cache-Control", nasty)
			h.Set("Content-Security-Policy", "img-src "+url.QueryEscape(nasty))
			h.Set("Strict-Transport-Security", "max-age=60; "+nasty)
			h.Set("Referrer-Policy", nasty)
			h.Set("Content-Type", "text/html; "+nasty)
		})},
		{want: "url-content", response: body(func(s string) string {
			return strings.Replace(s, `action="/auth/login"`, `action="/`+url.QueryEscape(nasty)+`"`, 1)
		})},
		{want: "url-unreachable", world: func(w *probe.World) {
			w.Dial = func(_ context.Context, network, _ string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("refused: " + nasty)}
			}
		}},
		{want: "url-path", options: func(o *probe.Options) { o.Password, o.URL = nasty, public+"/"+url.PathEscape(nasty) }},
		{want: "url-client-address", options: using(goodPassword), around: on(func(r *http.Request) bool { return r.URL.Path == "/auth/sessions" }, func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"sessions": [{"current": true, "address": `+string(zone)+`}]}`)
		})},
	}
	for i, f := range faults {
		t.Run(fmt.Sprint(i, f.want), func(t *testing.T) {
			t.Parallel()
			f.account = true
			if f.options == nil {
				f.options = using(nasty)
			}
			list := look(t, s, &f)
			document, err := json.Marshal(list)
			if err != nil {
				t.Fatal(err)
			}
			all := text(list) + string(document)
			for check := range strings.FieldsSeq(f.want) {
				i := slices.Index(checks(list), check)
				if i < 0 || !strings.Contains(text(list[i:i+1]), "…") {
					t.Errorf("%s with a blank is not among:\n%s", check, all)
				}
			}
			for _, part := range []string{"zebra", "quagga", "50", "äöü", `\u00e4`, "battery", "staple"} {
				if strings.Contains(strings.ToLower(all), part) {
					t.Errorf("%s of the password is in:\n%s", part, all)
				}
			}
		})
	}
}

// What makes words of a text that is no constant is in one file, where it can be read.
func TestOutsideTextIsMarked(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	converts := regexp.MustCompile(`\b(words|refusedFor)\(("[^"]*"\))?`)
	seen := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") || file == "words.go" {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range converts.FindAllStringSubmatch(string(source), -1) {
			if seen++; m[2] == "" {
				t.Errorf("%s: %s makes words of what is no constant: use quote, shown or name", file, m[0])
			}
		}
	}
	if seen == 0 {
		t.Error("no words at all")
	}
}
