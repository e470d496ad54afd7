package cloakroom_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom"
)

// wire is the server's side of a response: it notes in which order what arrives,
// and the header as it was at the first byte.
type wire struct {
	mu     sync.Mutex
	events []string
	header http.Header
	sent   http.Header
	body   bytes.Buffer
}

func (w *wire) note(event string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, event)
}

func (w *wire) leave(event string) {
	if w.sent == nil && !strings.HasPrefix(event, "header 1") || event == "header 101" {
		w.sent = w.header.Clone()
	}
	w.note(event)
}

func (w *wire) Header() http.Header { return w.header }
func (w *wire) WriteHeader(status int) {
	w.leave(fmt.Sprint("header ", status))
}
func (w *wire) Write(p []byte) (int, error) { w.leave("write"); return w.body.Write(p) }
func (w *wire) WriteString(s string) (int, error) {
	w.leave("writestring")
	return w.body.WriteString(s)
}
func (w *wire) ReadFrom(r io.Reader) (int64, error) {
	w.leave("readfrom")
	return w.body.ReadFrom(r)
}
func (w *wire) Flush()                          { w.leave("flush") }
func (w *wire) SetReadDeadline(time.Time) error { w.note("deadline"); return nil }
func (w *wire) EnableFullDuplex() error         { w.note("duplex"); return nil }

// hijackable is a wire that can be taken over.
type hijackable struct{ *wire }

func (h hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	h.note("hijack")
	return nil, nil, nil
}

// stretch sends a request of v over w, and notes the calls of the store among
// what reaches the wire.
func stretch(s *site, v *visitor, h http.HandlerFunc) *wire {
	w := &wire{header: http.Header{}}
	stretchOver(s, v, w, w, h)
	return w
}

func stretchOver(s *site, v *visitor, out http.ResponseWriter, w *wire, h http.HandlerFunc) {
	s.spy.on(func(_ context.Context, op string) error {
		if op != "get" {
			w.note(op)
		}
		return nil
	})
	defer s.spy.on(nil)
	s.Handler(h).ServeHTTP(out, v.request())
}

// ways are all the ways in which the first byte can leave.
var ways = map[string]struct {
	leave func(http.ResponseWriter)
	event string
}{
	"return":             {func(http.ResponseWriter) {}, ""},
	"WriteHeader":        {func(w http.ResponseWriter) { w.WriteHeader(200) }, "header 200"},
	"WriteHeader 204":    {func(w http.ResponseWriter) { w.WriteHeader(204) }, "header 204"},
	"WriteHeader 304":    {func(w http.ResponseWriter) { w.WriteHeader(304) }, "header 304"},
	"WriteHeader 404":    {func(w http.ResponseWriter) { w.WriteHeader(404) }, "header 404"},
	"WriteHeader 500":    {func(w http.ResponseWriter) { w.WriteHeader(500) }, "header 500"},
	"switching":          {func(w http.ResponseWriter) { w.WriteHeader(101) }, "header 101"},
	"Write":              {func(w http.ResponseWriter) { _, _ = w.Write([]byte("x")) }, "write"},
	"Write of nothing":   {func(w http.ResponseWriter) { _, _ = w.Write(nil) }, "write"},
	"WriteString":        {func(w http.ResponseWriter) { _, _ = io.WriteString(w, "x") }, "writestring"},
	"ReadFrom":           {func(w http.ResponseWriter) { _, _ = io.Copy(w, io.LimitReader(strings.NewReader("x"), 9)) }, "readfrom"},
	"Flusher":            {func(w http.ResponseWriter) { w.(http.Flusher).Flush() }, "flush"},
	"ResponseController": {func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }, "flush"},
}

func TestCommitComesBeforeTheFirstByte(t *testing.T) {
	for name, way := range ways {
		s := newSite(t, nil)
		v := s.signedIn(t, "u1")
		// A change of a session that is there.
		w := stretch(s, v, func(w http.ResponseWriter, r *http.Request) {
			word.Set(cloakroom.FromContext(r.Context()), "x")
			way.leave(w)
		})
		if want := slices.DeleteFunc([]string{"put", way.event}, func(e string) bool { return e == "" }); !slices.Equal(w.events, want) {
			t.Errorf("%s: events are %q, want %q", name, w.events, want)
		}
		// A new session, and its cookie.
		v = s.visitor(t)
		w = stretch(s, v, func(w http.ResponseWriter, r *http.Request) {
			login(cloakroom.FromContext(r.Context()))
			way.leave(w)
		})
		if len(w.events) == 0 || w.events[0] != "put" {
			t.Errorf("%s: events are %q", name, w.events)
		}
		if w.sent == nil {
			w.sent = w.header // the server sends it when the handler has returned
		}
		if len(w.sent["Set-Cookie"]) != 1 {
			t.Errorf("%s: the header left as %v", name, w.sent)
		}
		// The end of a session has been asked for by then.
		v.follow(&http.Response{Header: w.header})
		w = stretch(s, v, func(w http.ResponseWriter, r *http.Request) {
			if err := cloakroom.FromContext(r.Context()).End(r.Context()); err != nil {
				t.Error(err)
			}
			way.leave(w)
		})
		if w.sent == nil {
			w.sent = w.header
		}
		if w.events[0] != "end" || !strings.Contains(w.sent.Get("Set-Cookie"), "Max-Age=0") {
			t.Errorf("%s: events are %q, the header left as %v", name, w.events, w.sent)
		}
	}
}

func TestInterimResponsesPassBy(t *testing.T) {
	s := newSite(t, nil)
	v := s.visitor(t)
	w := stretch(s, v, func(w http.ResponseWriter, r *http.Request) {
		s := cloakroom.FromContext(r.Context())
		login(s)
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(103)
		w.WriteHeader(100)
		word.Set(s, "x") // still in time
		w.WriteHeader(200)
	})
	if want := []string{"header 103", "header 100", "put", "header 200"}; !slices.Equal(w.events, want) {
		t.Errorf("events are %q, want %q", w.events, want)
	}
	if len(w.sent["Set-Cookie"]) != 1 {
		t.Errorf("the header left as %v", w.sent)
	}
}

// outer is a middleware around ours, which has set headers and answers panics.
func outer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Request-Id", "7")
		h["X-Frame-Options"] = []string{"DENY"}
		h.Set("Strict-Transport-Security", "max-age=1")
		defer func() {
			if p := recover(); p != nil {
				http.Error(w, "outer: "+fmt.Sprint(p), 500)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// careless sets headers of its own, and changes and deletes those of others.
func careless(w http.ResponseWriter) {
	h := w.Header()
	h.Set("X-Request-Id", "stolen")
	h.Add("X-Frame-Options", "ALLOWALL")
	h.Del("Strict-Transport-Security")
	h.Set("X-Handler", "x")
	h.Set("Content-Type", "image/png")
	h.Set("Content-Encoding", "br")
	h.Set("Location", "/welcome")
	http.SetCookie(w, &http.Cookie{Name: "greeting", Value: "welcome"})
}

// wantOuter fails the test unless the header is as the outer middleware left it.
func wantOuter(t *testing.T, what string, h http.Header) {
	t.Helper()
	for name, want := range map[string][]string{
		"X-Request-Id": {"7"}, "X-Frame-Options": {"DENY"}, "Strict-Transport-Security": {"max-age=1"},
		"X-Handler": nil, "Content-Encoding": nil, "Location": nil, "Set-Cookie": nil,
	} {
		if got := h[name]; !slices.Equal(got, want) {
			t.Errorf("%s: %s is %q, want %q", what, name, got, want)
		}
	}
}

// When the commit fails, nothing of what the handler made goes out, in whatever
// way it writes, and everybody else's headers do.
func TestPromise07_NothingOfTheHandlerLeavesWhenTheCommitFails(t *testing.T) {
	for name, way := range ways {
		s := newSite(t, nil)
		v := s.signedIn(t, "u1")
		s.spy.on(func(_ context.Context, op string) error {
			if op == "put" || op == "end" {
				return errors.New("disk is full")
			}
			return nil
		})
		w := httptest.NewRecorder()
		outer(s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			careless(w)
			word.Set(cloakroom.FromContext(r.Context()), "x")
			way.leave(w)
			n, err := io.WriteString(w, "secret page")
			if way.event == "" {
				return
			}
			if n != 0 || !errors.Is(err, cloakroom.ErrUnavailable) {
				t.Errorf("%s: the handler wrote %d bytes: %v", name, n, err)
			}
			if n, err := w.Write([]byte("secret page")); n != 0 || err == nil {
				t.Errorf("%s: the handler wrote %d bytes: %v", name, n, err)
			}
			if n, err := io.Copy(w, io.LimitReader(strings.NewReader("secret page"), 99)); n != 0 || err == nil {
				t.Errorf("%s: the handler copied %d bytes: %v", name, n, err)
			}
			if err := http.NewResponseController(w).Flush(); err == nil {
				t.Errorf("%s: the handler flushed", name)
			}
			if _, _, err := http.NewResponseController(w).Hijack(); err == nil {
				t.Errorf("%s: the handler hijacked", name)
			}
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusOK)
		}))).ServeHTTP(w, v.request())
		if w.Code != http.StatusServiceUnavailable || strings.Contains(w.Body.String(), "secret") ||
			w.Body.String() != `{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"Unavailable"}`+"\n" {
			t.Errorf("%s: answer is %d %s", name, w.Code, w.Body)
		}
		wantOuter(t, name, w.Result().Header)
		if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
			t.Errorf("%s: Content-Type is %q", name, got)
		}
	}
}

// The same where there was no header before.
func TestFailedCommitLeavesAnEmptyHeader(t *testing.T) {
	s := newSite(t, &cloakroom.Options{ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
		if len(w.Header()) != 0 {
			t.Errorf("the error handler finds the header %v", w.Header())
		}
		w.WriteHeader(cloakroom.Status(err))
	}})
	v := s.visitor(t)
	s.spy.on(func(context.Context, string) error { return errors.New("disk is full") })
	w := v.do(func(w http.ResponseWriter, r *http.Request) {
		careless(w)
		login(cloakroom.FromContext(r.Context()))
	})
	if w.Code != http.StatusServiceUnavailable || v.cookie != "" {
		t.Errorf("answer is %d %v", w.Code, w.Header())
	}
}

// What ends a handler that does not return. Its changes are not saved, and who
// answers instead finds a clean header.
func TestASVS_16_5_4_APanicSavesNothing(t *testing.T) { both(t, testASVS_16_5_4_APanicSavesNothing) }

func testASVS_16_5_4_APanicSavesNothing(t *testing.T, newSite siteMaker) {
	s := newSite(t, nil)
	v := s.signedIn(t, "u1")
	old := v.id()
	s.spy.take()
	steps := map[string]func(*cloakroom.Session){
		"value": func(s *cloakroom.Session) { word.Set(s, "x") },
		"login": func(s *cloakroom.Session) { s.Login(cloakroom.Identity{UserID: "u2"}) },
		"renew": func(s *cloakroom.Session) { s.Renew() },
		"in an update": func(s *cloakroom.Session) {
			count.Update(s, func(int) int { panic("in update") })
		},
	}
	for name, step := range steps {
		var kept *cloakroom.Session
		w := httptest.NewRecorder()
		outer(s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			kept = cloakroom.FromContext(r.Context())
			careless(w)
			step(kept)
			panic("at the end")
		}))).ServeHTTP(w, v.request())
		if w.Code != 500 || !strings.HasPrefix(w.Body.String(), "outer: ") {
			t.Errorf("%s: answer is %d %s", name, w.Code, w.Body)
		}
		wantOuter(t, name, w.Result().Header)
		s.wantCalls(t, name, "get")
		// No lock is held: a goroutine that still has the session goes on.
		word.Get(kept)
		word.Set(kept, "later")
		if err := kept.Commit(t.Context()); !errors.Is(err, cloakroom.ErrFinished) {
			t.Errorf("%s: a commit after the panic says %v", name, err)
		}
	}
	if v.user() != "u1" || v.id() != old {
		t.Error("a panic has changed the session")
	}
	v.visit(func(s *cloakroom.Session) {
		if names := s.Names(); len(names) != 0 {
			t.Errorf("values of a handler that panicked were saved: %q", names)
		}
	})
}

// Without anybody to answer, the server's own way of an aborted response stays.
func TestPanicsAndGoexitPassThrough(t *testing.T) { both(t, testPanicsAndGoexitPassThrough) }

func testPanicsAndGoexitPassThrough(t *testing.T, newSite siteMaker) {
	s := newSite(t, nil)
	v := s.visitor(t)
	for name, end := range map[string]func(){
		"abort": func() { panic(http.ErrAbortHandler) }, "exit": runtime.Goexit, "panic": func() { panic("x") },
	} {
		var got any
		returned := false
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer func() { got = recover() }()
			v.do(func(_ http.ResponseWriter, r *http.Request) {
				word.Set(cloakroom.FromContext(r.Context()), "x")
				end()
			})
			returned = true
		}()
		<-done
		if returned || (name == "abort") != (got == http.ErrAbortHandler) || (name == "exit") != (got == nil) {
			t.Errorf("%s: returned %t, panicked %v", name, returned, got)
		}
		s.wantCalls(t, name)
	}
}

func TestHijackIsRefusedWhileACookieIsDue(t *testing.T) {
	s := newSite(t, nil)
	for name, test := range map[string]struct {
		v    *visitor
		step func(*cloakroom.Session)
		want []string
	}{
		"stranger untouched": {s.visitor(t), func(*cloakroom.Session) {}, []string{"hijack"}},
		"stranger read":      {s.visitor(t), func(s *cloakroom.Session) { s.UserID() }, []string{"hijack"}},
		"known read":         {s.signedIn(t, "u1"), func(s *cloakroom.Session) { s.UserID() }, []string{"hijack"}},
		"known writes":       {s.signedIn(t, "u1"), func(s *cloakroom.Session) { word.Set(s, "x") }, []string{"put", "hijack"}},
		"new session":        {s.visitor(t), func(s *cloakroom.Session) { word.Set(s, "x") }, nil},
		"login":              {s.visitor(t), login, nil},
		"login of the known": {s.signedIn(t, "u1"), login, nil},
		"renew":              {s.signedIn(t, "u1"), func(s *cloakroom.Session) { s.Renew() }, nil},
	} {
		w := &wire{header: http.Header{}}
		var err error
		stretchOver(s, test.v, hijackable{w}, w, func(w http.ResponseWriter, r *http.Request) {
			test.step(cloakroom.FromContext(r.Context()))
			_, _, err = http.NewResponseController(w).Hijack()
			if err == nil {
				return
			}
			w.WriteHeader(http.StatusTeapot)
		})
		if test.want != nil {
			if err != nil || !slices.Equal(w.events, test.want) {
				t.Errorf("%s: %v, events %q, want %q", name, err, w.events, test.want)
			}
			continue
		}
		// Refused: and the handler can still answer, with the cookie.
		if !errors.Is(err, cloakroom.ErrHeaderSent) || slices.Contains(w.events, "hijack") {
			t.Errorf("%s: a hijack while a cookie is due says %v, events %q", name, err, w.events)
		}
		if !slices.Contains(w.events, "header 418") || len(w.sent["Set-Cookie"]) != 1 {
			t.Errorf("%s: after a refused hijack the header left as %v, events %q", name, w.sent, w.events)
		}
	}
}

// A server that cannot hand over its connection, as that of HTTP/2, takes nothing
// away from the answer that the handler gives instead.
func TestAHijackThatFailsLeavesTheResponseWhole(t *testing.T) {
	s := newSite(t, nil)
	known := s.signedIn(t, "u1")
	w := stretch(s, known, func(w http.ResponseWriter, r *http.Request) {
		s := cloakroom.FromContext(r.Context())
		word.Set(s, "x")
		if _, _, err := http.NewResponseController(w).Hijack(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("hijack says %v", err)
		}
		s.Renew() // the header is still here
		w.WriteHeader(http.StatusUpgradeRequired)
	})
	if len(w.sent["Set-Cookie"]) != 1 || w.sent.Get("Cache-Control") != "no-store" || w.sent.Get("Vary") != "Cookie" {
		t.Errorf("the header left as %v, events %q", w.sent, w.events)
	}
	known.follow(&http.Response{Header: w.sent})
	if known.user() != "u1" {
		t.Error("the renewed session is lost")
	}
}

// A hijacked connection has no header any more.
func TestAfterAHijackNoCookieCanBeSet(t *testing.T) {
	s := newSite(t, nil)
	known := s.signedIn(t, "u1")
	w := &wire{header: http.Header{}}
	stretchOver(s, known, hijackable{w}, w, func(w http.ResponseWriter, r *http.Request) {
		s := cloakroom.FromContext(r.Context())
		if _, _, err := http.NewResponseController(w).Hijack(); err != nil {
			t.Fatal(err)
		}
		word.Set(s, "later")
		if err := s.Commit(r.Context()); err != nil {
			t.Errorf("a change that needs no cookie: %v", err)
		}
		s.Renew()
		if err := s.Commit(r.Context()); !errors.Is(err, cloakroom.ErrHeaderSent) {
			t.Errorf("a renewal: %v", err)
		}
	})
	if !slices.Equal(w.events, []string{"hijack", "put"}) {
		t.Errorf("events are %q", w.events)
	}
	known.visit(func(s *cloakroom.Session) {
		if word.GetOr(s, "") != "later" {
			t.Error("the change is lost")
		}
	})
}

// Response controllers and the interfaces of net/http reach through to the server.
func TestTheServersAbilitiesReachThrough(t *testing.T) { both(t, testTheServersAbilitiesReachThrough) }

func testTheServersAbilitiesReachThrough(t *testing.T, newSite siteMaker) {
	s := newSite(t, nil)
	w := stretch(s, s.visitor(t), func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		if err := c.SetReadDeadline(time.Now()); err != nil {
			t.Error(err)
		}
		if err := c.EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		if err := c.SetWriteDeadline(time.Now()); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("what the server cannot do: %v", err)
		}
		if _, ok := w.(io.ReaderFrom); !ok {
			t.Error("files are copied byte by byte: the writer has no ReadFrom")
		}
		if _, err := io.Copy(w, io.LimitReader(strings.NewReader("file"), 99)); err != nil {
			t.Error(err)
		}
	})
	if want := []string{"deadline", "duplex", "readfrom"}; !slices.Equal(w.events, want) || w.body.String() != "file" {
		t.Errorf("events are %q with body %q", w.events, &w.body)
	}
}

// A client that goes away in the middle of a handler does not stop the commit: a
// renewal would be left half done.
func TestAClientThatGoesAwayDoesNotStopTheCommit(t *testing.T) {
	both(t, testAClientThatGoesAwayDoesNotStopTheCommit)
}

func testAClientThatGoesAwayDoesNotStopTheCommit(t *testing.T, newSite siteMaker) {
	s := newSite(t, nil)
	v := s.signedIn(t, "u1")
	for name, step := range map[string]func(*cloakroom.Session){
		"write": func(s *cloakroom.Session) { word.Set(s, "x") },
		"login": func(s *cloakroom.Session) { s.Login(cloakroom.Identity{UserID: "u1"}); word.Set(s, "x") },
	} {
		ctx, leave := context.WithCancel(t.Context())
		w := v.send(v.request().WithContext(ctx), func(w http.ResponseWriter, r *http.Request) {
			step(cloakroom.FromContext(r.Context()))
			leave()
		})
		if w.Code != http.StatusOK {
			t.Errorf("%s: answer is %d %s", name, w.Code, w.Body)
		}
		v.visit(func(s *cloakroom.Session) {
			if got, _ := word.Pop(s); got != "x" || s.UserID() != "u1" {
				t.Errorf("%s: %q of %q was saved", name, got, s.UserID())
			}
		})
	}
}

// What is changed after the header has left, and needs no cookie, is saved when
// the handler returns.
func TestChangesBehindTheHeaderAreSavedAtReturn(t *testing.T) {
	s := newSite(t, nil)
	v := s.signedIn(t, "u1")
	w := stretch(s, v, func(w http.ResponseWriter, r *http.Request) {
		s := cloakroom.FromContext(r.Context())
		for i := range 3 {
			fmt.Fprintln(w, "event", i)
			w.(http.Flusher).Flush()
			count.Set(s, i)
		}
	})
	if want := []string{"write", "flush", "write", "flush", "write", "flush", "put"}; !slices.Equal(w.events, want) {
		t.Errorf("events are %q, want %q", w.events, want)
	}
	v.visit(func(s *cloakroom.Session) {
		if n := count.GetOr(s, -1); n != 2 {
			t.Errorf("saved is %d", n)
		}
	})
}
