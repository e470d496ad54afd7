package main_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/audit"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/web"
	"github.com/cloakroom-dev/cloakroom/csrf"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/password"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
)

const htmlAccept = "text/html,application/xhtml+xml,*/*;q=0.8"

// strict is a year at least (ASVS 3.4.1).
var strict = regexp.MustCompile(`^max-age=(3153[6-9]\d{3}|315[4-9]\d{4}|31[6-9]\d{5}|3[2-9]\d{6}|[4-9]\d{7}|\d{9,}); includeSubDomains(; preload)?$`)

// headerRows tells what is wrong with the headers of an answer.
func headerRows(a answer, https bool) (wrong []string) {
	one := func(header string, ok func(v string) bool) {
		if values := a.Header.Values(header); len(values) != 1 || !ok(values[0]) {
			wrong = append(wrong, header+": "+strings.Join(values, " | "))
		}
	}
	is := func(want string) func(string) bool { return func(v string) bool { return v == want } }
	one("X-Content-Type-Options", is("nosniff"))
	one("Cross-Origin-Opener-Policy", is("same-origin"))
	one("Cross-Origin-Resource-Policy", is("same-origin"))
	one("Content-Security-Policy", func(v string) bool {
		return strings.Contains(v, "frame-ancestors 'none'") && strings.Contains(v, "object-src 'none'") &&
			strings.Contains(v, "base-uri 'none'") && !strings.Contains(v, "unsafe") &&
			(!strings.Contains(v, "script-src") || strings.HasSuffix(v, "script-src 'self'"))
	})
	one("Referrer-Policy", func(v string) bool {
		return v == "same-origin" || v == "strict-origin" || v == "no-referrer"
	})
	one("Cache-Control", func(v string) bool {
		if a.StatusCode == 200 && asset.MatchString(a.Request.URL.Path) {
			return v == "public, max-age=31536000, immutable"
		}
		return v == "no-store"
	})
	if https {
		one("Strict-Transport-Security", strict.MatchString)
	} else if v := a.Header.Values("Strict-Transport-Security"); len(v) > 0 {
		wrong = append(wrong, "Strict-Transport-Security over http")
	}
	for h := range a.Header {
		if strings.HasPrefix(h, "Access-Control-") {
			wrong = append(wrong, h)
		}
	}
	return wrong
}

// probe sends everything to a route that changes nothing: reads, and changes that
// must be refused. renewed is a client whose token was exchanged a moment ago.
func probe(r route, stranger, ada, renewed *client) {
	big := strings.Repeat("x", 70<<10)
	for _, accept := range []string{htmlAccept, "application/json"} {
		for _, c := range []*client{stranger, ada, renewed} {
			for _, method := range []string{"GET", "HEAD", "OPTIONS", "PATCH"} {
				c.do(method, r.path, "", "Accept", accept, "Origin", "https://evil.example")
			}
		}
		for _, method := range r.changes() {
			stranger.do(method, r.path, "{}", "Accept", accept) // 401 where it takes somebody
			ada.do(method, r.path, "{}", "Accept", accept)
			ada.do(method, r.path, "a=b", "Accept", accept, "Origin", "https://evil.example", "X-CSRF-Token", ada.csrf)
			ada.do(method, r.path, "x", "Accept", accept, "Content-Type", "text/plain", "X-CSRF-Token", ada.csrf)
			ada.do(method, r.path, "{", "Accept", accept, "X-CSRF-Token", ada.csrf)
			ada.do(method, r.path, big, "Accept", accept, "X-CSRF-Token", ada.csrf)
			renewed.do(method, r.path, "{}", "Accept", accept, "X-CSRF-Token", renewed.csrf)
		}
	}
}

// lagging signs in twice and goes back to the first token.
func lagging(s *server) *client {
	c := s.client().login("ada", goodPassword)
	here, _ := url.Parse(s.URL)
	before := c.http.Jar.Cookies(here)
	c.want(c.do("POST", "/auth/login", credentials("ada", goodPassword), "X-CSRF-Token", c.csrf), 200)
	c.http.Jar = only(before)
	return c
}

// only is a jar that gives out these cookies and takes no others.
type only []*http.Cookie

func (only) SetCookies(*url.URL, []*http.Cookie)     {}
func (j only) Cookies(*url.URL) (all []*http.Cookie) { return j }

// Every address, with every status that can be had from it: the matrix of ASVS
// 3.4.1, 3.4.2, 3.4.4, 3.4.5, 3.4.6, 3.4.8 and 14.3.2.
func TestASVS_3_4_4_EveryHeaderOfEveryRoute(t *testing.T) {
	t.Parallel()
	for _, https := range []bool{false, true} {
		t.Run(map[bool]string{false: "http", true: "https"}[https], func(t *testing.T) {
			dir := t.TempDir()
			var s *server
			if https {
				conf := selfSigned(t, dir)
				s = start(t, dir, "--tls-cert=cert.pem", "--tls-key=key.pem")
				s.transport = &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true}
			} else {
				s = start(t, dir)
			}
			ada, stranger := s.setup(), s.client()
			all := routes(t, stranger)
			renewed := lagging(s)
			for _, r := range all {
				probe(r, stranger, ada, renewed)
			}
			stranger.do("GET", "/", strings.Repeat("x", 100), "Expect", "100-continue")
			stranger.page("/nowhere")
			star, _ := http.NewRequest("OPTIONS", s.URL, nil)
			star.URL.Opaque = "*"
			stranger.send(star)
			stranger.want(stranger.do("POST", "/auth/login", credentials("ada", "wrong")), 401)
			ada.want(ada.do("POST", "/auth/sessions/end-others", "{}", "X-CSRF-Token", ada.csrf), 204)
			s.sql("ALTER TABLE cloakroom_session RENAME TO gone")
			for _, r := range all {
				for _, accept := range []string{htmlAccept, "application/json"} {
					ada.do("GET", r.path, "", "Accept", accept)
				}
			}
			s.sql("ALTER TABLE gone RENAME TO cloakroom_session")
			headerMatrix(t, s.answers, all, https)
		})
	}
}

// headerMatrix judges answers, and whether they are all that there are to judge.
func headerMatrix(t *testing.T, answers []answer, all []route, https bool) {
	t.Helper()
	status, seen := make(map[int]int), make(map[string][]int)
	for _, a := range answers {
		status[a.StatusCode]++
		seen[a.Request.URL.Path] = append(seen[a.Request.URL.Path], a.StatusCode)
		for _, wrong := range headerRows(a, https) {
			t.Errorf("%s: %s", name(a), wrong)
		}
	}
	for _, want := range []int{200, 204, 303, 400, 401, 403, 404, 405, 409, 413, 415, 503} {
		if status[want] == 0 {
			t.Errorf("no answer with status %d: %v", want, status)
		}
	}
	for _, r := range all {
		want := []int{405}
		if len(r.changes()) > 0 {
			want = append(want, 400, 403, 413, 415)
		}
		for _, w := range want {
			if !slices.Contains(seen[r.path], w) {
				t.Errorf("%s has never answered %d: %v", r.pattern, w, seen[r.path])
			}
		}
	}
	t.Logf("%d answers of %d routes: %v", len(answers), len(all), status)
}

// broken are accounts whose every method panics.
type broken struct{ web.Accounts }

// Where a handler panics, the last resort answers, with the same headers.
func TestASVS_3_4_6_EveryHeaderOfAPanic(t *testing.T) {
	s := start(t, t.TempDir()) // for the list of routes, and the style's name
	all := routes(t, s.client())
	keys, err := keyring.New(keyring.Generate())
	if err != nil {
		t.Fatal(err)
	}
	st, quiet := memstore.New(nil), slog.New(slog.DiscardHandler)
	hasher, err := password.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	site, err := web.New(web.Options{
		Prefix: "/auth", Accounts: broken{}, Hasher: hasher, Logger: quiet,
		Session: cloakroom.Options{IdleTimeout: cloakroom.DefaultIdleTimeout, Lifetime: cloakroom.DefaultLifetime},
		Manager: func(o *cloakroom.Options) (*cloakroom.Manager, error) { return cloakroom.New(st, keys, o) },
	})
	if err != nil {
		t.Fatal(err)
	}
	m, err := cloakroom.New(st, keys, nil)
	if err != nil {
		t.Fatal(err)
	}
	protect, err := csrf.New(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", audit.Middleware(quiet, nil, site.Fail, site))
	mux.Handle("/sign-in", m.Handler(protect.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cloakroom.FromContext(r.Context()).Login(cloakroom.Identity{UserID: "u", Method: "password"})
		w.Write([]byte(csrf.Token(r.Context())))
	}))))
	here := httptest.NewTLSServer(mux)
	defer here.Close()
	in := &server{t: t, URL: here.URL, transport: here.Client().Transport}
	panics := make(map[string]bool)
	for _, r := range all {
		c := in.client() // anew, as a route may end the session
		c.csrf = c.want(c.do("GET", "/sign-in", ""), 200).body
		for _, accept := range []string{htmlAccept, "application/json"} {
			for _, method := range r.methods {
				body := ""
				if method != "GET" {
					body = credentials("ada", goodPassword)
				}
				a := c.do(method, r.path, body, "Accept", accept, "X-CSRF-Token", c.csrf)
				panics[r.pattern] = panics[r.pattern] || a.StatusCode == 500
			}
		}
	}
	for _, a := range in.answers {
		if a.Request.URL.Path == "/sign-in" {
			continue
		}
		for _, wrong := range headerRows(a, true) {
			t.Errorf("%s: %s", name(a), wrong)
		}
	}
	for _, pattern := range []string{"/{$}", "/auth/login", "/auth/session", "/auth/profile", "/auth/sessions", "/auth/sessions/{handle}", "/auth/setup"} {
		if !panics[pattern] {
			t.Errorf("%s has not panicked", pattern)
		}
	}
}
