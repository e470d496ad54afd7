package main_test

import (
	"bufio"
	"cmp"
	"database/sql"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// contents is all that the service's database holds, in one text; but for the
// audit log, which takes a line for a refusal, and the instances, which say every ten
// seconds that they run.
func (s *server) contents() string {
	s.t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(s.cmd.Dir, "cloakroom-data", "cloakroom.db")+"?_pragma=busy_timeout(5000)&mode=ro")
	if err != nil {
		s.t.Fatal(err)
	}
	defer db.Close()
	var b strings.Builder
	tables := 0
	for _, table := range query(s.t, db, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name") {
		if strings.Contains(table, "audit") || table == "cloakroom_instances" {
			continue
		}
		tables++
		rows := query(s.t, db, `SELECT * FROM "`+table+`"`)
		slices.Sort(rows)
		fmt.Fprintf(&b, "%s: %d\n%s\n", table, len(rows), strings.Join(rows, "\n"))
	}
	if tables < 3 {
		s.t.Fatalf("only %d tables", tables)
	}
	return b.String()
}

// query returns each row as a text.
func query(t *testing.T, db *sql.DB, statement string) (all []string) {
	t.Helper()
	rows, err := db.Query(statement)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		values := make([]any, len(columns))
		for i := range values {
			values[i] = new(any)
		}
		if err := rows.Scan(values...); err != nil {
			t.Fatal(err)
		}
		var texts []string
		for _, v := range values {
			switch v := (*v.(*any)).(type) {
			case string:
				texts = append(texts, v)
			default:
				texts = append(texts, fmt.Sprint(v))
			}
		}
		all = append(all, strings.Join(texts, "|"))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// overTLS starts a service with a certificate of its own.
func overTLS(t *testing.T, args ...string) *server {
	t.Helper()
	dir := t.TempDir()
	conf := selfSigned(t, dir)
	s := start(t, dir, append([]string{"--tls-cert=cert.pem", "--tls-key=key.pem"}, args...)...)
	s.transport = &http.Transport{TLSClientConfig: conf}
	return s
}

// cell is a line of the matrix of package csrf.
type cell struct{ site, origin, token, verdict string }

// postCells are the cells of POST.
func postCells(t *testing.T) (all []cell) {
	t.Helper()
	f, err := os.Open("../../csrf/testdata/matrix.golden")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	line := regexp.MustCompile(`^POST +site=(\S+) +origin=(\S+) +token=(\S+) +(.+)$`)
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if m := line.FindStringSubmatch(sc.Text()); m != nil {
			all = append(all, cell{m[1], m[2], m[3], m[4]})
		}
	}
	if len(all) != 6*6*4 {
		t.Fatalf("%d cells", len(all))
	}
	return all
}

// header is what the browser of a cell sends.
func (c cell) header(s *server, tokens map[string]string) (h []string) {
	here, _ := url.Parse(s.URL)
	if v := map[string]string{"absent": "", "garbage": "Same-Origin, none"}; c.site != "absent" {
		h = append(h, "Sec-Fetch-Site", cmp.Or(v[c.site], c.site))
	}
	if c.origin != "absent" {
		h = append(h, "Origin", map[string]string{
			"same": s.URL, "http-same-host": "http://" + here.Host, "sibling": "https://sibling." + here.Host,
			"null": "null", "other-port": "https://127.0.0.1:444",
		}[c.origin])
	}
	if token := tokens[c.token]; token != "" {
		h = append(h, "X-CSRF-Token", token)
	}
	return h
}

// Every address of the service that changes something obeys the matrix that
// package csrf has as a golden file: what is refused there is refused here, in the
// same words, and nothing was written.
func TestASVS_3_5_1_EveryRouteObeysTheMatrix(t *testing.T) {
	t.Parallel()
	s := overTLS(t)
	me := s.setup()
	other := s.client().login("ada", goodPassword)
	old := me.csrf
	me.want(me.do("POST", "/auth/login", credentials("ada", goodPassword), "X-CSRF-Token", old), 200)
	me.session()
	tokens := map[string]string{"right": me.csrf, "missing": "", "of-other-session": other.csrf, "of-old-session": old}
	details := map[string]string{"403 origin": "Cross-origin request", "403 token": "CSRF token missing or wrong"}
	all, cells := routes(t, s.client()), postCells(t)
	before := s.contents()
	asked := 0
	for _, r := range all {
		for _, method := range r.changes() {
			for _, c := range cells {
				if c.verdict == "200 ok" {
					continue
				}
				asked++
				a := me.do(method, r.path, credentials("ada", goodPassword), c.header(s, tokens)...)
				if a.StatusCode != 403 || !strings.Contains(a.body, `"detail":"`+details[c.verdict]+`"`) || len(a.Cookies()) > 0 {
					t.Errorf("%s: %+v: %d %s, cookies %v", name(a), c, a.StatusCode, a.body, a.Cookies())
				}
			}
		}
		if after := s.contents(); after != before {
			t.Errorf("%s: a refused request was written:\n%s\nbefore:\n%s", r.pattern, after, before)
			before = after
		}
	}
	if want := 138 * 6; asked < want {
		t.Errorf("only %d requests, want at least %d", asked, want)
	}
	// The cells that pass do pass.
	for _, c := range cells {
		if c.verdict == "200 ok" {
			me.want(me.do("POST", "/auth/sessions/end-others", "{}", c.header(s, tokens)...), 204)
		}
	}
	if s.contents() == before {
		t.Error("nothing is ever written")
	}
}

// No body but JSON and a form is taken anywhere: those that any page may send
// without a preflight are none of them, and the form needs its token.
func TestASVS_3_5_2_NoSimpleRequestAtAnyRoute(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	me := s.setup()
	all := routes(t, s.client())
	before := s.contents()
	for _, r := range all {
		for _, method := range r.changes() {
			for _, media := range []string{"text/plain", "text/plain; application/json", "multipart/form-data; boundary=x", "",
				"application/json; charset=utf-16", "application/json, text/plain", "application/csp-report", "text/json", "application/problem+json"} {
				req, err := http.NewRequest(method, s.URL+r.path, strings.NewReader(credentials("ada", goodPassword)))
				if err != nil {
					t.Fatal(err)
				}
				req.Header["Content-Type"] = []string{media}
				req.Header.Set("X-CSRF-Token", me.csrf)
				if a := me.send(req); a.StatusCode != 415 {
					t.Errorf("%s of %q: %s", name(a), media, a.body)
				}
			}
			a := me.do(method, r.path, "username=ada&password=x", "Origin", s.URL, "Sec-Fetch-Site", "same-origin")
			if a.StatusCode != 403 {
				t.Errorf("%s of a form without a token: %s", name(a), a.body)
			}
		}
	}
	if s.contents() != before {
		t.Error("something was written")
	}
}

// No address changes anything by a method that browsers send without asking, or
// under another name.
func TestASVS_3_5_3_NoRouteChangesByGET(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	me := s.setup()
	all := routes(t, s.client())
	before := s.contents()
	for _, r := range all {
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "TRACE", "post", "Post", "pOST", "delete"} {
			for _, way := range [][]string{
				{"", "X-HTTP-Method-Override", "POST"}, {"", "X-Method-Override", "DELETE"}, {"", "X-HTTP-Method", "POST"},
				{"?_method=POST"}, {"?_method=DELETE&method=POST"},
			} {
				a := me.do(method, r.path+way[0], "", append([]string{"X-CSRF-Token", me.csrf}, way[1:]...)...)
				reads := (method == "GET" || method == "HEAD") && r.has("GET")
				if reads == (a.StatusCode == 405) || len(a.Cookies()) > 0 {
					t.Errorf("%s %v: cookies %v", name(a), way, a.Cookies())
				}
			}
		}
		// Nor is a POST read as something else.
		for _, method := range r.changes() {
			a := me.do(method, r.path, "_method=GET&_method=DELETE", "X-HTTP-Method-Override", "GET", "Origin", s.URL)
			if a.StatusCode != 403 && a.StatusCode != 400 {
				t.Errorf("%s with an override to GET: %s", name(a), a.body)
			}
		}
		if after := s.contents(); after != before {
			t.Errorf("%s: something was written:\n%s\nbefore:\n%s", r.pattern, after, before)
			before = after
		}
	}
	// HEAD has the guard of GET.
	for _, r := range all {
		if !r.has("GET") {
			continue
		}
		stranger := s.client()
		get, head := stranger.do("GET", r.path, ""), stranger.do("HEAD", r.path, "")
		if get.StatusCode != head.StatusCode || head.body != "" {
			t.Errorf("%s: %d by GET, %d by HEAD with %d bytes", r.pattern, get.StatusCode, head.StatusCode, len(head.body))
		}
	}
	me.session()
}

// The scheme of an Origin counts, over TLS and behind a proxy that ends it.
func TestAttack_A18_SchemeOfTheOriginAtTheService(t *testing.T) {
	t.Parallel()
	direct := overTLS(t)

	front := httptest.NewUnstartedServer(nil)
	front.StartTLS()
	t.Cleanup(front.Close)
	behind := start(t, t.TempDir(), "--public-url="+front.URL, "--trusted-proxies=127.0.0.1")
	inner, err := url.Parse(behind.URL)
	if err != nil {
		t.Fatal(err)
	}
	front.Config.Handler = &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(inner); r.SetXForwarded() }}

	link := behind.await(linkLine)
	behind.transport = front.Client().Transport
	proxied := behind.client()
	proxied.base = front.URL
	token := link[strings.Index(link, "token=")+len("token="):]
	proxied.want(proxied.do("POST", "/auth/setup", fmt.Sprintf(`{"token":%q,"username":"ada","password":%q}`, token, goodPassword)), 201)
	proxied.session()

	for what, c := range map[string]*client{"over TLS": direct.setup(), "behind a proxy": proxied} {
		here, _ := url.Parse(c.base)
		for _, origin := range []string{
			"http://" + here.Host, "https://" + here.Hostname(), "https://" + here.Hostname() + ":444", "https://" + here.Host + ".evil.example",
			"https://evil.example", "https://evil.example/" + c.base, "null", inner.Scheme + "://" + inner.Host, "https://x@" + here.Host,
		} {
			for _, site := range []string{"same-origin", ""} {
				header := []string{"Origin", origin, "X-CSRF-Token", c.csrf, "Referer", c.base + "/auth/profile", "X-Forwarded-Host", here.Host}
				if site != "" {
					header = append(header, "Sec-Fetch-Site", site)
				}
				if a := c.do("POST", "/auth/sessions/end-others", "{}", header...); a.StatusCode != 403 {
					t.Errorf("%s: Origin %s, Sec-Fetch-Site %q: %d", what, origin, site, a.StatusCode)
				}
			}
		}
		c.want(c.do("POST", "/auth/sessions/end-others", "{}", "Origin", c.base, "X-CSRF-Token", c.csrf), 204)
	}
}

// There is no list of addresses that are excused; and an address that the mux
// would clean is no way around the check.
func TestAttack_A19_NoAddressIsExcused(t *testing.T) {
	s := start(t, t.TempDir())
	me := s.setup()
	before := s.contents()
	for _, path := range []string{
		"//auth/logout", "/auth//logout", "/auth/./logout", "/a/../auth/logout", "/auth/logout/", "/auth/logout//", "/auth/logout/x",
		"/auth/%2e/logout", "/auth/login/../logout", "/AUTH/logout", "/auth/logout;a=b", "/auth%2flogout", "/auth/sessions//end-others",
		"/auth/sessions/../sessions/end-others", "/auth/sessions/end-others/", "/auth/sessions/%65nd-others",
	} {
		for _, body := range []string{"", "{}", "a=b"} {
			a := me.do("POST", path, body)
			switch a.StatusCode {
			case 403, 404, 405:
			case 301, 307, 308: // to the clean address, where the check stands
				if to := a.Header.Get("Location"); !strings.HasPrefix(to, "/auth/") {
					t.Errorf("POST %s leads to %q", path, to)
				}
				follow, err := a.Location()
				if err != nil {
					t.Fatal(err)
				}
				if a := me.do("POST", follow.Path, body); a.StatusCode != 403 && a.StatusCode != 404 {
					t.Errorf("POST %s, that is %s, with %q: %d", path, follow.Path, body, a.StatusCode)
				}
			default:
				t.Errorf("POST %s with %q: %d %s", path, body, a.StatusCode, a.body)
			}
		}
	}
	if s.contents() != before {
		t.Error("something was written")
	}
	me.session()
}
