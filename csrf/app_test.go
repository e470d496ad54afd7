package csrf_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/csrf"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
)

// spy counts what a store is asked for.
type spy struct {
	*memstore.Store
	reads, writes atomic.Int64
}

func (s *spy) Get(ctx context.Context, id store.ID) (store.Record, error) {
	s.reads.Add(1)
	return s.Store.Get(ctx, id)
}

func (s *spy) Put(ctx context.Context, r store.Record) error {
	s.writes.Add(1)
	return s.Store.Put(ctx, r)
}

func (s *spy) Touch(ctx context.Context, id store.ID, seen, expires time.Time) error {
	s.writes.Add(1)
	return s.Store.Touch(ctx, id, seen, expires)
}

func (s *spy) End(ctx context.Context, id store.ID, version uint64, why store.Ended, until time.Time) error {
	s.writes.Add(1)
	return s.Store.End(ctx, id, version, why, until)
}

// lines is a log that several goroutines write.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// app is a program that uses csrf: its store, its log, and how often a handler
// that changes something ran.
type app struct {
	store   *spy
	ring    *keyring.Ring
	manager *cloakroom.Manager
	protect *csrf.Protection
	handler http.Handler
	log     *lines
	hits    atomic.Int64
}

// visits is a value that a handler changes.
var visits = cloakroom.NewKey[int]("visits")

// newApp makes the program. The options may be nil.
func newApp(t testing.TB, mo *cloakroom.Options, po *csrf.Options) *app {
	t.Helper()
	return newAppWith(t, ring(t), mo, po)
}

func newAppWith(t testing.TB, keys *keyring.Ring, mo *cloakroom.Options, po *csrf.Options) *app {
	t.Helper()
	a := &app{store: &spy{Store: memstore.New(nil)}, ring: keys, log: &lines{}}
	if mo == nil {
		mo = &cloakroom.Options{}
	}
	mo.Logger = slog.New(slog.NewTextHandler(a.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if a.manager, err = cloakroom.New(a.store, keys, mo); err != nil {
		t.Fatal(err)
	}
	if a.protect, err = csrf.New(a.manager, po); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, csrf.Token(r.Context()))
	})
	mux.HandleFunc("/page", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/do", func(w http.ResponseWriter, r *http.Request) {
		a.hits.Add(1)
		visits.Update(cloakroom.FromContext(r.Context()), func(n int) int { return n + 1 })
	})
	// What follows answers with the token of the session that comes of it.
	mux.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) {
		a.hits.Add(1)
		cloakroom.FromContext(r.Context()).Login(cloakroom.Identity{UserID: "u1"})
		io.WriteString(w, csrf.Token(r.Context()))
	})
	mux.HandleFunc("/renew", func(w http.ResponseWriter, r *http.Request) {
		a.hits.Add(1)
		cloakroom.FromContext(r.Context()).Renew()
		io.WriteString(w, csrf.Token(r.Context()))
	})
	mux.HandleFunc("/logout", func(w http.ResponseWriter, r *http.Request) {
		a.hits.Add(1)
		if err := cloakroom.FromContext(r.Context()).End(r.Context()); err != nil {
			cloakroom.WriteError(w, r, err)
			return
		}
		io.WriteString(w, csrf.Token(r.Context()))
	})
	a.handler = a.manager.Handler(a.protect.Handler(mux))
	return a
}

func ring(t testing.TB) *keyring.Ring {
	t.Helper()
	r, err := keyring.New(keyring.Generate())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// serve starts the program on a real listener.
func (a *app) serve(t testing.TB, tls bool) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(a.handler)
	if tls {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

// answer is a response that was read.
type answer struct {
	status int
	header http.Header
	body   string
}

// verdict says who answered: "200 ok" from the handler, or which check refused.
func (a answer) verdict() string {
	switch {
	case a.status == 200:
		return "200 ok"
	case a.status == 403 && strings.Contains(a.body, `"detail":"Cross-origin request"`):
		return "403 origin"
	case a.status == 403 && strings.Contains(a.body, `"detail":"CSRF token missing or wrong"`):
		return "403 token"
	case a.status == 409 && strings.Contains(a.body, `"detail":"Session renewed"`):
		return "409 renewed"
	}
	return http.StatusText(a.status) + ": " + a.body
}

// browser is a client with cookies of its own.
type browser struct {
	t    testing.TB
	base string
	c    *http.Client
}

// visit makes a browser for a server.
func visit(t testing.TB, s *httptest.Server) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t: t, base: s.URL, c: &http.Client{
		Jar: jar, Transport: s.Client().Transport, Timeout: 10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// do sends a request; headers come as name and value in turns.
func (b *browser) do(method, path, body string, header ...string) answer {
	b.t.Helper()
	req, err := http.NewRequest(method, b.base+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, err := b.c.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(text)}
}

func (b *browser) get(path string) answer { return b.do("GET", path, "") }

// token is what a page of the program carries.
func (b *browser) token() string { return b.get("/token").body }

// form posts a form; fields come as name and value in turns.
func (b *browser) form(path string, fields []string, header ...string) answer {
	return b.do("POST", path, encode(fields...), append(header, "Content-Type", "application/x-www-form-urlencoded")...)
}

// encode writes a form; fields come as name and value in turns.
func encode(fields ...string) string {
	var pairs []string
	for i := 0; i < len(fields); i += 2 {
		pairs = append(pairs, url.QueryEscape(fields[i])+"="+url.QueryEscape(fields[i+1]))
	}
	return strings.Join(pairs, "&")
}

// login signs in as a script does and returns the token of the new session.
func (b *browser) login() string {
	b.t.Helper()
	got := b.do("POST", "/login", "{}", "Content-Type", "application/json")
	if got.status != 200 || got.body == "" {
		b.t.Fatalf("login: %d %s", got.status, got.body)
	}
	return got.body
}

// cookie returns the value of a cookie that the browser holds, or "".
func (b *browser) cookie(name string) string {
	u, _ := url.Parse(b.base)
	for _, c := range b.c.Jar.Cookies(u) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

// plant gives the browser a cookie, as a hostile neighbour might.
func (b *browser) plant(name, value string) {
	u, _ := url.Parse(b.base)
	b.c.Jar.SetCookies(u, []*http.Cookie{{Name: name, Value: value, Path: "/", Secure: true}})
}
