package main_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// cachingProxy is a shared cache as RFC 9111 describes it, and one that keeps all
// it may: what says nothing of its age is kept as well (§4.2.2), by its status.
// With extensions it keeps what is called like a picture or a style sheet whatever
// the answer says, as proxies do that are told to.
type cachingProxy struct {
	origin     *url.URL
	transport  http.RoundTripper
	extensions bool

	mu   sync.Mutex
	kept map[string][]keptAnswer // by address
	hits int
}

type keptAnswer struct {
	vary   http.Header // the request's fields that Vary names
	names  []string
	status int
	header http.Header
	body   []byte
	until  time.Time
}

// startCache puts a cache in front of a service.
func startCache(t *testing.T, origin string, extensions bool) (*cachingProxy, string) {
	t.Helper()
	u, err := url.Parse(origin)
	if err != nil {
		t.Fatal(err)
	}
	p := &cachingProxy{origin: u, transport: &http.Transport{}, extensions: extensions, kept: make(map[string][]keptAnswer)}
	front := httptest.NewServer(p)
	t.Cleanup(front.Close)
	return p, front.URL
}

var staticName = regexp.MustCompile(`(?i)\.(css|js|png|jpg|gif|ico|svg|woff2?|txt|html)$`)

func (p *cachingProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.URL.RequestURI()
	if r.Method == "GET" || r.Method == "HEAD" {
		if a, ok := p.find(key, r); ok {
			maps.Copy(w.Header(), a.header)
			w.Header().Set("Age", "0")
			w.WriteHeader(a.status)
			w.Write(a.body)
			return
		}
	}
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host, out.RequestURI = "http", p.origin.Host, ""
	res, err := p.transport.RoundTrip(out)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	if r.Method == "GET" {
		p.keep(key, r, res, body)
	}
	maps.Copy(w.Header(), res.Header)
	w.WriteHeader(res.StatusCode)
	w.Write(body)
}

func (p *cachingProxy) find(key string, r *http.Request) (keptAnswer, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.kept[key] {
		same := !slices.ContainsFunc(a.names, func(h string) bool {
			return strings.Join(a.vary.Values(h), ",") != strings.Join(r.Header.Values(h), ",")
		})
		if same && time.Now().Before(a.until) {
			p.hits++
			return a, true
		}
	}
	return keptAnswer{}, false
}

// keep is §3 and §4.2: what may be kept, and for how long.
func (p *cachingProxy) keep(key string, r *http.Request, res *http.Response, body []byte) {
	says := make(map[string]string)
	for _, d := range strings.Split(strings.ToLower(strings.Join(res.Header.Values("Cache-Control"), ",")), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(d), "=")
		says[name] = strings.Trim(value, `"`)
	}
	said := func(name string) bool { _, ok := says[name]; return ok }
	forced := p.extensions && staticName.MatchString(path.Base(r.URL.Path)) && res.StatusCode == 200
	if !forced {
		if said("no-store") || said("private") || said("no-cache") || r.Header.Get("Authorization") != "" && !said("public") {
			return
		}
		heuristic := []int{200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501}
		if !said("public") && !said("max-age") && !said("s-maxage") && res.Header.Get("Expires") == "" && !slices.Contains(heuristic, res.StatusCode) {
			return
		}
	}
	age := time.Hour // a guess
	for _, name := range []string{"max-age", "s-maxage"} {
		if n, err := strconv.Atoi(says[name]); err == nil && !forced {
			age = time.Duration(n) * time.Second
		}
	}
	a := keptAnswer{vary: r.Header.Clone(), status: res.StatusCode, header: res.Header.Clone(), body: body, until: time.Now().Add(age)}
	for _, h := range strings.Split(strings.Join(res.Header.Values("Vary"), ","), ",") {
		switch h = strings.TrimSpace(h); h {
		case "":
		case "*":
			return
		default:
			a.names = append(a.names, h)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept[key] = append(p.kept[key], a)
}

// behind is a client that comes through the cache.
func behind(s *server, front string) *client {
	c := s.client()
	c.base = front
	return c
}

// Through a cache that keeps whatever it may, Bob reads every address; then Ada,
// who is no administrator as he is, and somebody who is not signed in, get nothing of
// Bob's.
func TestAttack_A41_ACacheInFrontOfEveryRoute(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addUser(t, dir, "bob-the-canary", "--role=admin")
	addUser(t, dir, "ada")
	s := start(t, dir)
	cache, front := startCache(t, s.URL, false)
	bob, ada := behind(s, front), behind(s, front)
	bob.login("bob-the-canary", goodPassword)
	ada.login("ada", goodPassword)
	stranger := behind(s, front)
	all := routes(t, s.client())
	for _, accept := range []string{htmlAccept, "application/json"} {
		for _, r := range all {
			if !r.has("GET") {
				continue
			}
			for range 2 {
				bob.do("GET", r.path, "", "Accept", accept)
			}
			for who, c := range map[string]*client{"ada": ada, "nobody": stranger} {
				a := c.do("GET", r.path, "", "Accept", accept)
				if strings.Contains(a.body, "bob-the-canary") || strings.Contains(a.body, bob.csrf) {
					t.Errorf("%s: %s reads Bob's:\n%.500s", name(a), who, a.body)
				}
				for _, cookie := range a.Cookies() {
					if a.Header.Get("Age") != "" {
						t.Errorf("%s: %s got %s out of the cache", name(a), who, cookie.Name)
					}
				}
				if a.Header.Get("Age") != "" && !r.isAsset() {
					t.Errorf("%s: came out of the cache", name(a))
				}
			}
		}
	}
	if cache.hits == 0 {
		t.Error("the cache keeps nothing, not even the style sheet")
	}
	// What was read before signing in is not shown after it, nor the other way.
	if stranger.do("GET", "/auth/session", "").StatusCode != 401 || bob.do("GET", "/auth/session", "").StatusCode != 200 {
		t.Error("who is signed in comes out of the cache")
	}
}

// Every answer that has looked at a session says that it depends on the cookie,
// for caches that do not care for no-store.
func TestASVS_14_2_2_WhatIsSomebodysVaries(t *testing.T) {
	s := start(t, t.TempDir())
	ada := s.setup()
	n := 0
	for _, r := range routes(t, s.client()) {
		if !r.has("GET") || r.isAsset() {
			continue
		}
		for _, accept := range []string{htmlAccept, "application/json"} {
			a := ada.do("GET", r.path, "", "Accept", accept)
			if strings.Contains(a.body, "ada") || len(a.Cookies()) > 0 {
				n++
				if !slices.Contains(a.Header.Values("Vary"), "Cookie") || a.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s: Vary %q, Cache-Control %q", name(a), a.Header.Values("Vary"), a.Header.Get("Cache-Control"))
				}
			}
		}
	}
	if n < 4 {
		t.Errorf("only %d answers are somebody's", n)
	}
}

// Web cache deception: an address that a cache takes for a picture's is no page.
// The cache in front keeps everything with such a name.
func TestASVS_14_2_5_PagesUnderFalseNames(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addUser(t, dir, "bob-the-canary")
	s := start(t, dir)
	s.setup()
	cache, front := startCache(t, s.URL, true)
	bob, stranger := behind(s, front), behind(s, front)
	bob.login("bob-the-canary", goodPassword)
	for _, r := range routes(t, s.client()) {
		if !r.has("GET") || r.isAsset() || strings.Contains(r.pattern, "{handle}") {
			continue
		}
		at := strings.TrimSuffix(r.path, "/")
		for _, tail := range []string{
			"/x.css", ".css", ";.js", ";x.css", "%2fx.css", "%2Fx.css", "/..%2fx.css", "%3fx.css", "%23x.css", "%00x.css", "%0ax.css",
			"%09.js", "%5cx.css", "//x.css", "/.css", "%3b.css", "/%2e%2e/x.css", "%252fx.css", "/x.css?a=b", ".html", "/index.html", "%20.js", "/x.png/",
		} {
			u := at + tail
			for _, accept := range []string{htmlAccept, "application/json"} {
				req, err := http.NewRequest("GET", front, nil)
				if err != nil {
					t.Fatal(err)
				}
				req.URL.Path, req.URL.RawPath, req.URL.Opaque = "", "", "//"+req.URL.Host+u
				req.Header.Set("Accept", accept)
				a := bob.send(req)
				if a.StatusCode < 300 || strings.Contains(a.body, "bob-the-canary") {
					t.Errorf("GET %s: %d\n%s", u, a.StatusCode, a.body)
				}
				lure := req.Clone(t.Context())
				if got := stranger.send(lure); strings.Contains(got.body, "bob-the-canary") || got.StatusCode == 200 {
					t.Errorf("GET %s: somebody else reads %d\n%s", u, got.StatusCode, got.body)
				}
			}
		}
		// A query is no part of the name.
		if a := bob.do("GET", at+"?x.css", ""); a.StatusCode == 200 && a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %s", name(a), a.Header.Get("Cache-Control"))
		}
	}
	bob.do("GET", s.style(bob), "")
	bob.do("GET", s.style(bob), "")
	if cache.hits == 0 {
		t.Error("the cache keeps nothing, not even the style sheet")
	}
}

// A browser keeps nothing of ours beside cookies, and these say nothing.
func TestASVS_14_3_3_NothingIsKeptInTheBrowser(t *testing.T) {
	t.Parallel()
	storage := regexp.MustCompile(`(?i)localStorage|sessionStorage|indexedDB|document\.cookie|serviceWorker`)
	s := start(t, t.TempDir())
	ada := s.setup()
	id := ada.session().User.ID
	for _, r := range routes(t, s.client()) {
		if r.has("GET") {
			if a := ada.page(r.path); storage.MatchString(a.body) {
				t.Errorf("%s: %s", name(a), storage.FindString(a.body))
			}
		}
	}
	s.client().page("/auth/login") // and its cookie
	n := 0
	for _, a := range s.answers {
		for _, c := range a.Cookies() {
			if c.Value == "" {
				continue
			}
			n++
			raw, err := base64.RawURLEncoding.DecodeString(c.Value)
			if err != nil {
				t.Errorf("%s: not base64url: %v", c.Name, err)
			}
			for _, text := range []string{c.Value, string(raw)} {
				for _, personal := range []string{id, "admin", "127.0.0.1", "password"} {
					if strings.Contains(strings.ToLower(text), strings.ToLower(personal)) {
						t.Errorf("%s says %s", c.Name, personal)
					}
				}
			}
			if json.Valid(raw) {
				t.Errorf("%s is a document: %s", c.Name, raw)
			}
		}
	}
	if n < 2 {
		t.Errorf("only %d cookies", n)
	}
}
