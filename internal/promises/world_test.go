package promises_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
)

// onEach runs a test on every store.
func onEach(t *testing.T, f func(t *testing.T, st backend)) {
	for name, open := range openers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, open(t))
		})
	}
}

// onEachPair runs a test on every place, for instances with a store of their own
// each.
func onEachPair(t *testing.T, f func(t *testing.T, here *place)) {
	for name, at := range places {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, at(t))
		})
	}
}

// world is a deployment: one store, one key ring, and two instances of the same
// program that share them.
type world struct {
	probe     *probe
	ring      *keyring.Ring
	instances []*instance
	client    *http.Client
	transport *http.Transport
	listen    func() net.Listener              // nil: on the loopback interface
	second    backend                          // the store of the second instance; nil: the probe's
	sealed    bool                             // the sessions are in the cookies
	guard     func(st store.Store) store.Store // between the Managers and the probe; nil: nothing

	traces sync.Map // name → *trace
	serial atomic.Int64
}

type instance struct {
	m      *cloakroom.Manager
	server *httptest.Server
}

// slowStore is a StoreTimeout that no test reaches by waiting at a barrier.
const slowStore = time.Minute

// newWorld starts a deployment on st. Nil options have a StoreTimeout of slowStore.
func newWorld(tb testing.TB, st backend, opts *cloakroom.Options) *world {
	tb.Helper()
	w := prepareWorld(tb, st)
	w.client.Timeout = time.Minute
	w.start(tb, opts)
	return w
}

// newWorldAt starts a deployment of which each instance has a store of its own.
func newWorldAt(tb testing.TB, at *place, opts *cloakroom.Options) *world {
	tb.Helper()
	first, _ := at.open(tb)
	w := prepareWorld(tb, first)
	w.second, _ = at.open(tb)
	w.client.Timeout = time.Minute
	w.start(tb, opts)
	return w
}

// newSealedWorld starts a deployment whose sessions are in their cookies, with
// tombstones in st.
func newSealedWorld(tb testing.TB, st backend, opts *cloakroom.Options) *world {
	tb.Helper()
	w := prepareWorld(tb, st)
	w.sealed = true
	w.client.Timeout = time.Minute
	w.start(tb, opts)
	return w
}

// prepareWorld makes a deployment without an instance.
func prepareWorld(tb testing.TB, st backend) *world {
	tb.Helper()
	ring, err := keyring.New(keyring.Generate())
	if err != nil {
		tb.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	return &world{probe: &probe{backend: st}, ring: ring, transport: transport, client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// start starts two instances, which are stopped at the end of the test.
func (w *world) start(tb testing.TB, opts *cloakroom.Options) {
	tb.Helper()
	o := cloakroom.Options{StoreTimeout: slowStore}
	if opts != nil {
		o = *opts
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	build := cloakroom.New
	if w.sealed {
		build = func(st store.Store, keys *keyring.Ring, o *cloakroom.Options) (*cloakroom.Manager, error) {
			return cloakroom.NewSealed(keys, st, o)
		}
	}
	for i := range 2 {
		var st store.Store = w.probe
		if i == 1 && w.second != nil {
			st = &probe{backend: w.second, first: w.probe}
		}
		if w.guard != nil {
			st = w.guard(st)
		}
		m, err := build(st, w.ring, &o)
		if err != nil {
			tb.Fatal(err)
		}
		w.serve(m)
	}
	tb.Cleanup(w.close)
}

func (w *world) serve(m *cloakroom.Manager) {
	find := func(name string) *trace {
		tr, _ := w.traces.Load(name)
		found, _ := tr.(*trace)
		return found
	}
	i := &instance{m: m, server: httptest.NewUnstartedServer(withTrace(find, app(m)))}
	i.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	if w.listen != nil {
		i.server.Listener.Close()
		i.server.Listener = w.listen()
	}
	i.server.Start()
	w.instances = append(w.instances, i)
}

// close stops the servers; it may be called twice.
func (w *world) close() {
	w.client.CloseIdleConnections()
	for _, i := range w.instances {
		i.server.Close()
	}
}

// trace returns a new trace.
func (w *world) trace() *trace {
	tr := &trace{name: fmt.Sprintf("r%d", w.serial.Add(1)), over: make(chan struct{})}
	w.traces.Store(tr.name, tr)
	return tr
}

// fresh returns a name that nothing in this world has yet.
func (w *world) fresh(prefix string) string { return fmt.Sprintf("%s%d", prefix, w.serial.Add(1)) }

// request is one request of a browser or a program.
type request struct {
	at     int // the instance
	method string
	path   string
	form   url.Values
	cookie string // the session cookie's value, "" for none
	header http.Header
	trace  *trace
	ctx    context.Context
	direct bool // to the handler, without a network: for looks after the fact
}

// post is a POST of a form: names and values in turn.
func post(path string, form ...string) request {
	q := request{method: "POST", path: path, form: url.Values{}}
	for i := 0; i < len(form); i += 2 {
		q.form.Set(form[i], form[i+1])
	}
	return q
}

// answer is what came back.
type answer struct {
	status  int
	header  http.Header
	body    string
	cookie  string // the value of the session cookie that was set, "" if none was
	expired bool   // the session cookie was taken back
	err     error  // there was no answer
}

// do sends a request. The cookie is handled by hand: a jar would hide what this
// is about.
func (w *world) do(q request) (a answer) {
	target := w.instances[q.at].server.URL + q.path
	if len(q.form) > 0 {
		target += "?" + q.form.Encode()
	}
	if q.ctx == nil {
		q.ctx = context.Background()
	}
	r, err := http.NewRequestWithContext(q.ctx, q.method, target, nil)
	if err != nil {
		return answer{err: err}
	}
	for name, values := range q.header {
		r.Header[name] = values
	}
	if q.cookie != "" {
		r.Header.Set("Cookie", cloakroom.DefaultCookieName+"="+q.cookie)
	}
	if q.trace != nil {
		r.Header.Set("X-Trace", q.trace.name)
		defer w.traces.Delete(q.trace.name)
	}
	var res *http.Response
	if q.direct {
		rec := httptest.NewRecorder()
		r.RequestURI = r.URL.RequestURI()
		w.instances[q.at].server.Config.Handler.ServeHTTP(rec, r)
		res = rec.Result()
	} else if res, err = w.client.Do(r); err != nil {
		return answer{err: err}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	a = answer{status: res.StatusCode, header: res.Header, body: string(body), err: err}
	for _, c := range res.Cookies() {
		if c.Name == cloakroom.DefaultCookieName {
			a.cookie, a.expired = c.Value, c.MaxAge < 0
		}
	}
	return a
}

// ok reports a success.
func (a answer) ok() bool { return a.err == nil && a.status >= 200 && a.status < 300 }

// touchesCookie reports whether the answer sets or takes back the cookie.
func (a answer) touchesCookie() bool { return len(a.header["Set-Cookie"]) > 0 }

// detail is the detail of a problem document, "" if the answer is none.
func (a answer) detail() string {
	if a.header.Get("Content-Type") != "application/problem+json" {
		return ""
	}
	var doc struct {
		Status int
		Detail string
	}
	if json.Unmarshal([]byte(a.body), &doc) != nil || doc.Status != a.status {
		return ""
	}
	return doc.Detail
}

// refusal says what is wrong with the answer as a refusal: it must be a problem
// document with nothing of the handler's in it, and leave the cookie alone.
func (a answer) refusal() error {
	switch {
	case a.err != nil:
		return fmt.Errorf("no answer: %w", a.err)
	case a.detail() == "":
		return fmt.Errorf("%d is no problem document: %q", a.status, a.body)
	case a.header.Get(pageHeader) != "" || len(a.header["Trailer"]) > 0:
		return errors.New("headers of the page that failed were sent")
	case strings.Contains(a.body, "page of"):
		return errors.New("bytes of the page that failed were sent")
	case a.touchesCookie():
		return fmt.Errorf("a refusal set a cookie: %q", a.header["Set-Cookie"])
	}
	return nil
}

func (a answer) String() string {
	if a.err != nil {
		return "no answer: " + a.err.Error()
	}
	return fmt.Sprintf("%d %q, cookie %q", a.status, a.body, a.header["Set-Cookie"])
}

// contents decodes the answer of /read.
func (a answer) contents() (c contents, err error) {
	if a.err != nil || a.status != http.StatusOK {
		return c, fmt.Errorf("read: %v", a)
	}
	return c, json.NewDecoder(strings.NewReader(a.body)).Decode(&c)
}

// idOf is the ID of the session that a cookie stands for.
func idOf(cookie string) store.ID {
	raw, err := base64.RawURLEncoding.DecodeString(cookie)
	if err != nil || len(raw) != 53 {
		return store.ID{}
	}
	return sha256.Sum256(raw[5 : 5+32])
}

// id is the ID of the session that a cookie stands for or, sealed, carries.
func (w *world) id(cookie string) store.ID {
	if !w.sealed {
		return idOf(cookie)
	}
	raw, err := base64.RawURLEncoding.DecodeString(cookie)
	if err != nil || len(raw) < 17 {
		return store.ID{}
	}
	seal := w.ring.Purpose("cloakroom sealed session v1", cloakroom.DefaultCookieName, "")
	plain, err := seal.OpenFor(raw[1:17], raw[17:], raw[:1])
	if err != nil || len(plain) < 32 {
		return store.ID{}
	}
	return sha256.Sum256(plain[:32])
}

// must sends a request that has to succeed.
func (w *world) must(tb testing.TB, q request) answer {
	tb.Helper()
	a := w.do(q)
	if !a.ok() {
		tb.Fatalf("%s %s: %v", q.method, q.path, a)
	}
	return a
}

// login signs a user in and returns the cookie.
func (w *world) login(tb testing.TB, user, cookie string) string {
	tb.Helper()
	a := w.must(tb, request{method: "POST", path: "/login", form: url.Values{"user": {user}}, cookie: cookie})
	if a.cookie == "" {
		tb.Fatalf("login set no cookie: %v", a)
	}
	return a.cookie
}

// signIn signs a user in and stores a value, and returns the cookie.
func (w *world) signIn(tb testing.TB, user string) string {
	tb.Helper()
	return w.must(tb, post("/login", "user", user, "name", "first", "value", "f")).cookie
}

// read returns what the session behind a cookie holds, on an instance.
func (w *world) read(tb testing.TB, at int, cookie string) contents {
	tb.Helper()
	c, err := w.do(request{at: at, method: "GET", path: "/read", cookie: cookie}).contents()
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// live reports what the store itself says about a session.
func (w *world) live(id store.ID) (store.Record, bool) {
	rec, err := w.probe.backend.Get(context.Background(), id)
	if err != nil && !errors.Is(err, store.ErrEnded) && !errors.Is(err, store.ErrNotFound) {
		panic(err)
	}
	return rec, err == nil
}

// nobody checks that a cookie is nobody's, on every instance, for readers whose
// touch is due as well, and that none of that changes the store.
func (w *world) nobody(cookie string) error { return w.nobodyAt(cookie, false, 0, 1) }

func (w *world) nobodyAt(cookie string, direct bool, instances ...int) error {
	id := w.id(cookie)
	rec, err := w.probe.backend.Get(context.Background(), id)
	if !errors.Is(err, store.ErrEnded) && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("the store has a live record under an ended token: %+v, %v", rec, err)
	}
	for _, at := range instances {
		tr := w.trace()
		tr.idle = time.Hour
		a := w.do(request{at: at, method: "GET", path: "/me", cookie: cookie, trace: tr, direct: direct})
		late := rec.Ended.Reason == store.Renewed && a.status == http.StatusConflict && a.detail() == "Session renewed"
		if a.status != http.StatusUnauthorized && !late {
			return fmt.Errorf("an ended token is answered %v", a)
		}
		if err := a.refusal(); err != nil {
			return err
		}
	}
	if _, err := w.probe.backend.Get(context.Background(), id); err == nil {
		return errors.New("a reader brought an ended session back")
	}
	return nil
}

// events is a log that counts its lines by their messages.
type events struct {
	mu    sync.Mutex
	count map[string]int
}

func (e *events) Handle(_ context.Context, r slog.Record) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.count == nil {
		e.count = map[string]int{}
	}
	e.count[r.Message]++
	return nil
}

func (e *events) Enabled(context.Context, slog.Level) bool { return true }
func (e *events) WithAttrs([]slog.Attr) slog.Handler       { return e }
func (e *events) WithGroup(string) slog.Handler            { return e }

// take returns how many lines there were since it was asked last.
func (e *events) take(message string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := e.count[message]
	delete(e.count, message)
	return n
}
