package csrf_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/csrf"
)

// Every fault of the options is told at once, and none repeats a password.
func TestPromise12_EveryFaultAtOnce(t *testing.T) {
	_, err := csrf.New(nil, &csrf.Options{
		PublicURL:      "ftp://user:hunter2@app.example",
		TrustedOrigins: []string{"https://ok.example", "app.example", "http://plain.example"},
		CookieName:     "__Host-csrf",
		MaxForm:        -1,
	})
	if err == nil {
		t.Fatal("no fault was found")
	}
	for _, want := range []string{"PublicURL", `"app.example"`, `"http://plain.example"`, "CookieName", "MaxForm", "Manager"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the faults lack %s", want)
		}
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 6 {
		t.Errorf("%d lines for 6 faults:\n%v", n, err)
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Error("the faults repeat a password")
	}
}

func TestPublicURLAndTrustedOrigins(t *testing.T) {
	m := newApp(t, nil, nil).manager
	for _, c := range []struct {
		public  string
		trusted string
		ok      bool
	}{
		{"https://app.example", "", true},
		{"https://app.example/", "", true},
		{"https://app.example/under/a/path", "", true},
		{"HTTPS://App.Example:443", "", true},
		{"http://localhost:8080", "", true},
		{"http://[::1]:8080", "", true},
		{"https://xn--bcher-kva.example", "", true},
		{"app.example", "", false},
		{"//app.example", "", false},
		{"https://", "", false},
		{"https://user@app.example", "", false},
		{"https://app.example?x", "", false},
		{"https://app.example#x", "", false},
		{"https://app.example:0", "", false},
		{"https://app.example:65536", "", false},
		{"https://app.example:", "", false},
		{"https://bücher.example", "", false},
		{"https://app.e\u212aample", "", false}, // the Kelvin sign
		{"https://app example", "", false},
		{"https://[::1", "", false},
		{"https://[::1%25eth0]", "", false},
		{"https://[1.2.3.4]", "", false},
		{"null", "", false},
		{"%", "", false},

		{"", "https://t.example", true},
		{"", "https://t.example:8443", true},
		{"", "https://[2001:db8::1]", true},
		{"", "http://localhost:3000", true},
		{"", "http://app.localhost:3000", true},
		{"", "http://127.0.0.1:3000", true},
		{"", "http://[::1]:3000", true},
		{"http://intranet.example", "http://other.example", true},
		{"https://app.example", "http://other.example", false},
		{"", "http://t.example", false},
		{"", "http://localhost.evil.example", false},
		{"", "http://127.0.0.1.evil.example", false},
		{"", "https://t.example/", false},
		{"", "https://t.example/path", false},
		{"", "https://*.example", false},
		{"", "*", false},
		{"", "null", false},
		{"", "", false},
	} {
		o := &csrf.Options{PublicURL: c.public, TrustedOrigins: []string{c.trusted}}
		if c.trusted == "" && c.public != "" {
			o.TrustedOrigins = nil
		}
		if _, err := csrf.New(m, o); (err == nil) != c.ok {
			t.Errorf("PublicURL %q, TrustedOrigins %q: %v, want ok: %t", c.public, o.TrustedOrigins, err, c.ok)
		}
	}
}

// The Host of a request may be spelled in other ways than the Origin.
func TestHostAndOriginInSeveralSpellings(t *testing.T) {
	a := newApp(t, nil, nil)
	login := serveOnce(a.handler, "POST", "/login", "{}", "Content-Type", "application/json")
	for _, c := range []struct {
		host, origin string
		ok           bool
	}{
		{"example.com", "http://example.com", true},
		{"example.com:80", "http://example.com", true},
		{"example.com", "http://example.com:80", true},
		{"EXAMPLE.com", "http://example.COM", true},
		{"example.com:8080", "http://example.com:8080", true},
		{"[::1]:8080", "http://[::1]:8080", true},
		{"[0:0:0:0:0:0:0:1]:80", "http://[::1]", true},
		{"[::FFFF:102:304]", "http://[::ffff:1.2.3.4]", true},
		{"example.com:443", "http://example.com", false},
		{"example.com", "http://example.com:443", false},
		{"example.com", "http://example.com.", false},
		{"example.com", "http://example.com:080000", false},
		{"example.com", "http://example.com:", false},
		{"example.com", "http://example.com:+80", false},
		{"example.com", "http://[example.com]", false},
		{"[::1]", "http://[::2]", false},
		{"[::1]x", "http://[::1]x", false},
		{"", "http://", false},
		{"e xample.com", "http://e xample.com", false},
		{"\u212aelvin.com", "http://kelvin.com", false},
		{strings.Repeat("a", 300), "http://" + strings.Repeat("a", 300), false},
	} {
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Host = c.host
			a.handler.ServeHTTP(w, r)
		})
		got := serveOnce(h, "POST", "/do", "", "X-CSRF-Token", login.body, "Cookie", cookieOf(login), "Origin", c.origin)
		if (got.status == 200) != c.ok {
			t.Errorf("Host %q, Origin %q: %s, want ok: %t", c.host, c.origin, got.verdict(), c.ok)
		}
	}
}

// An ErrorHandler is told what was wrong and may show the form once more.
func TestErrorHandlerShowsTheFormAgain(t *testing.T) {
	var got error
	a := newApp(t, nil, &csrf.Options{
		CookieName: "login",
		Logger:     slog.New(slog.DiscardHandler),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			got = err
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, csrf.Token(r.Context()))
		},
	})
	a.handler = a.manager.Handler(a.protect.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	// The token has to be asked for before the header is written, here too.
	early, err := csrf.New(a.manager, &csrf.Options{ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
		got = err
		token := csrf.Token(r.Context())
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, token)
	}})
	if err != nil {
		t.Fatal(err)
	}
	if page := serveOnce(a.handler, "POST", "/", ""); page.status != 403 || page.body != "" || !errors.Is(got, csrf.ErrToken) {
		t.Errorf("%d %q, error %v", page.status, page.body, got)
	}
	a.handler = a.manager.Handler(early.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	page := serveOnce(a.handler, "POST", "/", "")
	if !errors.Is(got, csrf.ErrToken) || errors.Is(got, csrf.ErrCrossOrigin) || got.Error() != "csrf: CSRF token missing or wrong: no pre-login cookie" {
		t.Errorf("error %v", got)
	}
	if v := post(a.handler, page.body, cookieOf(page)); v != "200 ok" {
		t.Errorf("the form of the error page: %s", v)
	}
	serveOnce(a.handler, "POST", "/", "", "Origin", "https://evil.example")
	if !errors.Is(got, csrf.ErrCrossOrigin) || errors.Is(got, csrf.ErrToken) {
		t.Errorf("error %v", got)
	}
}

// A browser gets a page rather than a problem document, and errors that are not
// of this package are answered as the root package does.
func TestWriteError(t *testing.T) {
	write := func(err error, accept string) answer {
		return serveOnce(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { csrf.WriteError(w, r, err) }),
			"POST", "/", "", "Accept", accept)
	}
	if got := write(csrf.ErrToken, "text/html"); got.status != 403 || !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") {
		t.Errorf("%d %v", got.status, got.header)
	}
	for err, want := range map[error]string{
		csrf.ErrToken: "403 token", csrf.ErrCrossOrigin: "403 origin", cloakroom.ErrRenewed: "409 renewed",
	} {
		if got := write(err, "").verdict(); got != want {
			t.Errorf("%v: %s", err, got)
		}
	}
	if got := write(cloakroom.ErrUnavailable, ""); got.status != 503 {
		t.Errorf("%d", got.status)
	}
}

// The Manager's logger takes the lines where none is given.
func TestLogger(t *testing.T) {
	var b bytes.Buffer
	own := newApp(t, nil, &csrf.Options{Logger: slog.New(slog.NewTextHandler(&b, nil))})
	serveOnce(own.handler, "POST", "/do", "")
	if !strings.Contains(b.String(), "csrf_refused") || strings.Contains(own.log.String(), "csrf_refused") {
		t.Errorf("own logger: %q, the Manager's: %q", b.String(), own.log)
	}
	a := newApp(t, nil, nil)
	serveOnce(a.handler, "POST", "/do", "")
	if !strings.Contains(a.log.String(), "csrf_refused") {
		t.Errorf("the Manager's logger: %q", a.log)
	}
}

// Field stands in a form of html/template as it is.
func TestField(t *testing.T) {
	a := newApp(t, nil, nil)
	a.handler = a.manager.Handler(a.protect.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want := `<input type="hidden" name="csrf_token" value="` + csrf.Token(r.Context()) + `">`
		if got := string(csrf.Field(r.Context())); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})))
	serveOnce(a.handler, "GET", "/", "")
}
