package cloakroom_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
)

// Values that most tests store.
var (
	word  = cloakroom.NewKey[string]("word")
	count = cloakroom.NewKey[int]("count")
)

// site is a Manager with all that stands around it in sight.
type site struct {
	*cloakroom.Manager
	spy  *spy
	ring *keyring.Ring
	key  keyring.Key // the active one at the start
	log  *logbook
}

// newSite returns a site whose store is in memory and whose log takes all levels.
func newSite(tb testing.TB, opts *cloakroom.Options) *site {
	tb.Helper()
	return makeSite(tb, opts, cloakroom.New)
}

// newSealedSite is newSite with sessions in the cookie and tombstones in the store.
func newSealedSite(tb testing.TB, opts *cloakroom.Options) *site {
	tb.Helper()
	return makeSite(tb, opts, newSealed)
}

// newSealed is NewSealed with the arguments of New.
func newSealed(st store.Store, ring *keyring.Ring, opts *cloakroom.Options) (*cloakroom.Manager, error) {
	return cloakroom.NewSealed(ring, st, opts)
}

// siteMaker is newSite or newSealedSite.
type siteMaker func(testing.TB, *cloakroom.Options) *site

// both runs a test over stored and over sealed sessions.
func both(t *testing.T, test func(t *testing.T, newSite siteMaker)) {
	t.Run("stored", func(t *testing.T) { test(t, newSite) })
	t.Run("sealed", func(t *testing.T) { test(t, newSealedSite) })
}

func makeSite(tb testing.TB, opts *cloakroom.Options, make func(store.Store, *keyring.Ring, *cloakroom.Options) (*cloakroom.Manager, error)) *site {
	tb.Helper()
	var o cloakroom.Options
	if opts != nil {
		o = *opts
	}
	if o.StoreTimeout == 0 {
		o.StoreTimeout = 10 * time.Second // the tests are about it only where they say so
	}
	s := &site{spy: &spy{Store: memstore.New(nil)}, key: keyring.Generate(), log: new(logbook)}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	s.ring = newRing(tb, s.key)
	m, err := make(s.spy, s.ring, &o)
	if err != nil {
		tb.Fatal(err)
	}
	s.Manager = m
	return s
}

func newRing(tb testing.TB, active keyring.Key, others ...keyring.Key) *keyring.Ring {
	tb.Helper()
	ring, err := keyring.New(active, others...)
	if err != nil {
		tb.Fatal(err)
	}
	return ring
}

func newManager(tb testing.TB, st store.Store, ring *keyring.Ring, opts *cloakroom.Options) *cloakroom.Manager {
	tb.Helper()
	m, err := cloakroom.New(st, ring, opts)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

// visitor returns a browser that has not been here yet.
func (s *site) visitor(tb testing.TB) *visitor { return &visitor{tb: tb, m: s.Manager} }

// signedIn returns a browser whose user has signed in.
func (s *site) signedIn(tb testing.TB, userID string) *visitor {
	tb.Helper()
	v := s.visitor(tb)
	v.login(userID)
	s.spy.take()
	return v
}

// visitor is a browser: it keeps the session's cookie and sends it.
type visitor struct {
	tb     testing.TB
	m      *cloakroom.Manager
	cookie string // "name=value", or what else stands in the Cookie header
	seen   string // the second cookie of a sealed session, in the same form
	header http.Header
}

// request returns the request that the browser sends next.
func (v *visitor) request() *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	for name, lines := range v.header {
		r.Header[name] = lines
	}
	if v.cookie != "" {
		r.Header.Set("Cookie", v.cookie)
	}
	if v.seen != "" {
		r.Header.Add("Cookie", v.seen)
	}
	return r
}

// do sends a request that h answers.
func (v *visitor) do(h http.HandlerFunc) *httptest.ResponseRecorder { return v.send(v.request(), h) }

// send is do with a request of one's own.
func (v *visitor) send(r *http.Request, h http.HandlerFunc) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	v.m.Handler(h).ServeHTTP(w, r)
	v.follow(w.Result())
	return w
}

// follow takes the session's cookie that a response sets.
func (v *visitor) follow(resp *http.Response) {
	for _, c := range resp.Cookies() {
		keep := &v.cookie
		if strings.HasSuffix(c.Name, "-seen") {
			keep = &v.seen
		}
		*keep = c.Name + "=" + c.Value
		if c.MaxAge < 0 {
			*keep = ""
		}
	}
}

// visit sends a request whose handler works with the session, and fails the
// test if the answer is not 200.
func (v *visitor) visit(f func(*cloakroom.Session)) *httptest.ResponseRecorder {
	v.tb.Helper()
	w := v.do(func(_ http.ResponseWriter, r *http.Request) { f(v.m.FromContext(r.Context())) })
	if w.Code != http.StatusOK {
		v.tb.Errorf("answer is %d %s", w.Code, w.Body)
	}
	return w
}

func (v *visitor) login(userID string) {
	v.tb.Helper()
	v.visit(func(s *cloakroom.Session) { s.Login(cloakroom.Identity{UserID: userID, Method: "password"}) })
}

// user returns who the site takes the browser for: "" for a stranger.
func (v *visitor) user() (userID string) {
	v.tb.Helper()
	v.visit(func(s *cloakroom.Session) { userID = s.UserID() })
	return userID
}

// id returns the ID of the browser's session.
func (v *visitor) id() (id store.ID) {
	v.tb.Helper()
	v.visit(func(s *cloakroom.Session) { id = s.ID() })
	return id
}

// token returns the bytes in the cookie: all, and the token among them.
func (v *visitor) token() (raw, token []byte) {
	v.tb.Helper()
	_, value, _ := strings.Cut(v.cookie, "=")
	raw, err := base64.RawURLEncoding.Strict().DecodeString(value)
	if err != nil || len(raw) != 53 {
		v.tb.Fatalf("cookie %q has %d bytes: %v", v.cookie, len(raw), err)
	}
	return raw, raw[5:37]
}

// setCookie returns the one Set-Cookie line of a response, "" if there is none.
func setCookie(tb testing.TB, w *httptest.ResponseRecorder) string {
	tb.Helper()
	lines := w.Result().Header["Set-Cookie"]
	if len(lines) > 1 {
		tb.Errorf("response sets %d cookies: %q", len(lines), lines)
	}
	return strings.Join(lines, "")
}

// spy is a store in memory that notes who calls it, and does what a test says.
type spy struct {
	*memstore.Store

	mu    sync.Mutex
	calls []string
	puts  []store.Record
	// before runs ahead of each call; an error is the call's answer.
	before func(ctx context.Context, op string) error
	// doctor changes what Get and ListUser return.
	doctor func(store.Record) store.Record
}

var (
	_ store.UserStore = (*spy)(nil)
	_ store.Sweeper   = (*spy)(nil)
)

// take returns the calls since the last take.
func (s *spy) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := s.calls
	s.calls = nil
	return calls
}

// forget drops what it has noted.
func (s *spy) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls, s.puts = nil, nil
}

// on sets before, nil for a store that just works.
func (s *spy) on(before func(ctx context.Context, op string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = before
}

// lie sets doctor, nil for a store that tells the truth.
func (s *spy) lie(doctor func(store.Record) store.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.doctor = doctor
}

func (s *spy) call(ctx context.Context, op string) error {
	s.mu.Lock()
	s.calls = append(s.calls, op)
	before := s.before
	s.mu.Unlock()
	if before != nil {
		return before(ctx, op)
	}
	return nil
}

func (s *spy) told(r store.Record) store.Record {
	s.mu.Lock()
	doctor := s.doctor
	s.mu.Unlock()
	if doctor != nil {
		return doctor(r)
	}
	return r
}

func (s *spy) Get(ctx context.Context, id store.ID) (store.Record, error) {
	if err := s.call(ctx, "get"); err != nil {
		return store.Record{}, err
	}
	r, err := s.Store.Get(ctx, id)
	return s.told(r), err
}

func (s *spy) Put(ctx context.Context, r store.Record) error {
	if err := s.call(ctx, "put"); err != nil {
		return err
	}
	s.mu.Lock()
	s.puts = append(s.puts, r)
	s.mu.Unlock()
	return s.Store.Put(ctx, r)
}

func (s *spy) Touch(ctx context.Context, id store.ID, seen, expires time.Time) error {
	if err := s.call(ctx, "touch"); err != nil {
		return err
	}
	return s.Store.Touch(ctx, id, seen, expires)
}

func (s *spy) End(ctx context.Context, id store.ID, version uint64, why store.Ended, until time.Time) error {
	if err := s.call(ctx, "end"); err != nil {
		return err
	}
	return s.Store.End(ctx, id, version, why, until)
}

func (s *spy) ListUser(ctx context.Context, userID string) ([]store.Record, error) {
	if err := s.call(ctx, "list"); err != nil {
		return nil, err
	}
	recs, err := s.Store.ListUser(ctx, userID)
	for i := range recs {
		recs[i] = s.told(recs[i])
	}
	return recs, err
}

func (s *spy) EndUser(ctx context.Context, userID string, except store.ID, why store.Ended, until time.Time) (int, error) {
	if err := s.call(ctx, "enduser"); err != nil {
		return 0, err
	}
	return s.Store.EndUser(ctx, userID, except, why, until)
}

func (s *spy) Sweep(ctx context.Context, now time.Time) (int, error) {
	if err := s.call(ctx, "sweep"); err != nil {
		return 0, err
	}
	return s.Store.Sweep(ctx, now)
}

// live returns the live records of the store.
func (s *spy) live(tb testing.TB) []store.Record {
	tb.Helper()
	recs, err := s.Scan(context.Background(), store.ID{}, 1<<20)
	if err != nil {
		tb.Fatal(err)
	}
	return recs
}

// wantCalls compares the calls of the store since the last time it was asked.
func (s *site) wantCalls(tb testing.TB, what string, want ...string) {
	tb.Helper()
	if got := s.spy.take(); !slices.Equal(got, want) {
		tb.Errorf("%s: store was called %q, want %q", what, got, want)
	}
}

// logbook keeps the lines of a log.
type logbook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// events returns the lines about an event.
func (l *logbook) events(tb testing.TB, name string) []map[string]any {
	tb.Helper()
	var found []map[string]any
	for line := range strings.Lines(l.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			tb.Fatalf("log line %q: %v", line, err)
		}
		if fields["msg"] == name {
			found = append(found, fields)
		}
	}
	return found
}

// wantEvent fails the test unless there is exactly one line about an event, and
// returns it.
func (l *logbook) wantEvent(tb testing.TB, name string) map[string]any {
	tb.Helper()
	lines := l.events(tb, name)
	if len(lines) != 1 {
		tb.Errorf("log has %d lines %q, want one:\n%s", len(lines), name, l)
		return nil
	}
	return lines[0]
}

// methods returns the names of the exported methods of a type.
func methods[T any]() []string {
	var names []string
	for m := range reflect.TypeFor[T]().Methods() {
		names = append(names, m.Name)
	}
	return names
}
