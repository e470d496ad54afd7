package cloakroom_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
)

// panics returns what f panics with, nil if it does not.
func panics(f func()) (p any) {
	defer func() { p = recover() }()
	f()
	return nil
}

// A guard without the middleware must not open.
func TestPromise12_FromContextPanicsWithoutTheMiddleware(t *testing.T) {
	s, other := newSite(t, nil), newSite(t, nil)
	want := "cloakroom: no session in the context: wrap the handler in Manager.Handler"
	if got := panics(func() { cloakroom.FromContext(t.Context()) }); got != want {
		t.Errorf("FromContext panics with %v", got)
	}
	want = "cloakroom: no session of this Manager in the context: wrap the handler in its Handler"
	if got := panics(func() { s.FromContext(t.Context()) }); got != want {
		t.Errorf("Manager.FromContext panics with %v", got)
	}
	s.visitor(t).do(func(_ http.ResponseWriter, r *http.Request) {
		if got := panics(func() { other.FromContext(r.Context()) }); got != want {
			t.Errorf("the FromContext of another Manager panics with %v", got)
		}
	})
}

func TestPromise12_NestedHandlersOfOneManagerPanic(t *testing.T) {
	s := newSite(t, nil)
	twice := s.Handler(s.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was served") })))
	got := panics(func() { twice.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)) })
	if got != "cloakroom: Manager.Handler stands twice around this handler: take one away" {
		t.Errorf("nested handlers panic with %v", got)
	}
}

// Two Managers around one handler are two sessions.
func TestTwoManagersSideBySide(t *testing.T) {
	outer, inner := newSite(t, nil), newSite(t, &cloakroom.Options{CookieName: "__Host-admin"})
	h := outer.Handler(inner.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, b, near := outer.FromContext(r.Context()), inner.FromContext(r.Context()), cloakroom.FromContext(r.Context())
		if a == b || near != b {
			t.Error("the sessions are mixed up")
		}
		fmt.Fprintf(w, "%q %q", a.UserID(), b.UserID())
	})))
	login := outer.Handler(inner.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		outer.FromContext(r.Context()).Login(cloakroom.Identity{UserID: "user"})
		inner.FromContext(r.Context()).Login(cloakroom.Identity{UserID: "admin"})
	})))
	w := httptest.NewRecorder()
	login.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	r := httptest.NewRequest("GET", "/", nil)
	for _, c := range w.Result().Cookies() {
		r.AddCookie(c)
	}
	w = httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if got := w.Body.String(); got != `"user" "admin"` {
		t.Errorf("signed in are %s", got)
	}
}

// Each fault has a line of its own that says what to do.
func TestPromise12_FaultsOfOptions(t *testing.T) {
	const ok = "" // no fault
	for _, test := range []struct {
		o    cloakroom.Options
		want string
	}{
		{cloakroom.Options{}, ok},
		{cloakroom.Options{CookieName: "a b"}, `CookieName "a b" is no cookie name: use 1 to 64 letters, digits, '-' and '_'`},
		{cloakroom.Options{CookieName: "a=b"}, `CookieName "a=b" is no cookie name: use 1 to 64 letters, digits, '-' and '_'`},
		{cloakroom.Options{CookieName: "é"}, `CookieName "é" is no cookie name: use 1 to 64 letters, digits, '-' and '_'`},
		{cloakroom.Options{CookieName: "a\r\nb"}, `CookieName "a\r\nb" is no cookie name: use 1 to 64 letters, digits, '-' and '_'`},
		{cloakroom.Options{CookieName: strings.Repeat("a", 64)}, ok},
		{cloakroom.Options{CookieName: strings.Repeat("a", 65)}, `CookieName "` + strings.Repeat("a", 65) + `" is no cookie name: use 1 to 64 letters, digits, '-' and '_'`},
		{cloakroom.Options{CookieName: "__host-x"}, `CookieName "__host-x": write the prefix as __Host- or __Secure-`},
		{cloakroom.Options{CookieName: "__SECURE-x"}, `CookieName "__SECURE-x": write the prefix as __Host- or __Secure-`},
		{cloakroom.Options{Insecure: true}, `CookieName "__Host-session" needs Secure: with Insecure use a name like "session"`},
		{cloakroom.Options{CookieName: "__Secure-x", Insecure: true}, `CookieName "__Secure-x" needs Secure: with Insecure use a name like "session"`},
		{cloakroom.Options{CookieName: "session", Insecure: true}, ok},
		{cloakroom.Options{Domain: "example.com"}, `CookieName "__Host-session" allows no Domain: leave Domain empty, or use a name like "__Secure-session"`},
		{cloakroom.Options{Path: "/x"}, `CookieName "__Host-session" allows no Path but "/": use a name like "__Secure-session"`},
		{cloakroom.Options{CookieName: "__Secure-x", Path: "/x", Domain: "example.com"}, ok},
		{cloakroom.Options{CookieName: "x", Path: "x"}, `Path "x" is no cookie path: it starts with "/" and has no space or ";"`},
		{cloakroom.Options{CookieName: "x", Path: "/a;b"}, `Path "/a;b" is no cookie path: it starts with "/" and has no space or ";"`},
		{cloakroom.Options{CookieName: "x", Path: "/a\nb"}, `Path "/a\nb" is no cookie path: it starts with "/" and has no space or ";"`},
		{cloakroom.Options{CookieName: "x", Path: "/é"}, `Path "/é" is no cookie path: it starts with "/" and has no space or ";"`},
		{cloakroom.Options{CookieName: "x", Domain: ".example.com"}, `Domain ".example.com" is no domain: write it like "example.com"`},
		{cloakroom.Options{CookieName: "x", Domain: "example.com:8080"}, `Domain "example.com:8080" is no domain: write it like "example.com"`},
		{cloakroom.Options{CookieName: "x", Domain: "https://example.com"}, `Domain "https://example.com" is no domain: write it like "example.com"`},
		{cloakroom.Options{CookieName: "x", Domain: "exa mple.com"}, `Domain "exa mple.com" is no domain: write it like "example.com"`},
		{cloakroom.Options{CookieName: "x", Domain: "-a.com"}, `Domain "-a.com" is no domain: write it like "example.com"`},
		{cloakroom.Options{CookieName: "x", Domain: "münchen.example"}, `Domain "münchen.example" is no domain: write it like "example.com"`},
		{cloakroom.Options{CookieName: "x", Domain: strings.Repeat("a.", 127)}, `Domain "` + strings.Repeat("a.", 127) + `" is no domain: write it like "example.com"`},
		{cloakroom.Options{SameSite: 9}, `SameSite 9 is unknown: use Lax, Strict or None of net/http`},
		{cloakroom.Options{SameSite: -1}, `SameSite -1 is unknown: use Lax, Strict or None of net/http`},
		{cloakroom.Options{SameSite: http.SameSiteNoneMode}, ok},
		{cloakroom.Options{CookieName: "x", Insecure: true, SameSite: http.SameSiteNoneMode}, `SameSite=None needs Secure: browsers refuse the cookie otherwise`},
		{cloakroom.Options{CookieName: "x", Insecure: true, Partitioned: true}, `Partitioned needs Secure: browsers refuse the cookie otherwise`},
		{cloakroom.Options{IdleTimeout: time.Millisecond}, `IdleTimeout 1ms is too short: at least a second`},
		{cloakroom.Options{IdleTimeout: -time.Hour}, `IdleTimeout -1h0m0s is too short: at least a second`},
		{cloakroom.Options{IdleTimeout: time.Second}, ok},
		{cloakroom.Options{IdleTimeout: 25 * time.Hour}, `IdleTimeout 25h0m0s is longer than Lifetime 24h0m0s and would never be reached`},
		{cloakroom.Options{IdleTimeout: 24 * time.Hour}, ok},
		{cloakroom.Options{Lifetime: time.Minute}, ok}, // the default idle timeout gives way
		{cloakroom.Options{Lifetime: 400 * 24 * time.Hour}, ok},
		{cloakroom.Options{Lifetime: 400*24*time.Hour + 1}, `Lifetime 9600h0m0.000000001s is out of bounds: between a second and 400 days`},
		{cloakroom.Options{Lifetime: time.Millisecond, IdleTimeout: time.Second}, "Lifetime 1ms is out of bounds: between a second and 400 days\n" +
			"cloakroom: IdleTimeout 1s is longer than Lifetime 1ms and would never be reached"},
		{cloakroom.Options{MaxSessions: -1}, `MaxSessions -1 is negative: 0 means any number`},
		{cloakroom.Options{MaxSessions: 1}, ok},
		{cloakroom.Options{MaxBytes: -1}, `MaxBytes -1 is out of bounds: between 1 and 1000000`},
		{cloakroom.Options{MaxBytes: 1_000_001}, `MaxBytes 1000001 is out of bounds: between 1 and 1000000`},
		{cloakroom.Options{MaxBytes: 1_000_000}, ok},
		{cloakroom.Options{StoreTimeout: -1}, `StoreTimeout -1ns is negative`},
		{cloakroom.Options{SkipHeader: "X Probe"}, `SkipHeader "X Probe" is no header name`},
		{cloakroom.Options{SkipHeader: "X-Probe:"}, `SkipHeader "X-Probe:" is no header name`},
		{cloakroom.Options{SkipHeader: "X-Probe"}, ok},
	} {
		before := fmt.Sprintf("%+v", test.o)
		_, err := cloakroom.New(memstore.New(nil), newRing(t, keyring.Generate()), &test.o)
		got := ""
		if err != nil {
			got = strings.TrimPrefix(err.Error(), "cloakroom: ")
		}
		if got != test.want {
			t.Errorf("%s:\n%q, want\n%q", before, got, test.want)
		}
		if after := fmt.Sprintf("%+v", test.o); after != before {
			t.Errorf("New has changed the options\n%s to\n%s", before, after)
		}
	}
}

func TestPromise12_NewReturnsEveryFaultAtOnce(t *testing.T) {
	_, err := cloakroom.New(nil, nil, &cloakroom.Options{
		CookieName: "__host-session", Path: "x", Domain: "*.example.com", SameSite: 7, Partitioned: true, Insecure: true,
		IdleTimeout: -1, Lifetime: -1, MaxSessions: -2, MaxBytes: -3, StoreTimeout: -4, SkipHeader: ":",
	})
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	for _, want := range []string{
		"New needs keys: keyring.OpenFile keeps them in a file", "New needs a store: memstore.New(nil) keeps sessions in memory",
		"write the prefix as", "needs Secure: with Insecure", "allows no Domain", "allows no Path", "Path \"x\" is no cookie path",
		"Domain \"*.example.com\" is no domain", "SameSite 7", "Partitioned needs Secure", "IdleTimeout -1ns is too short",
		"Lifetime -1ns is out of bounds", "MaxSessions -2 is negative", "MaxBytes -3", "StoreTimeout -4ns is negative", "SkipHeader \":\"",
	} {
		if !slices.ContainsFunc(lines, func(l string) bool {
			return strings.HasPrefix(l, "cloakroom: ") && strings.Contains(l, want)
		}) {
			t.Errorf("the faults lack %q:\n%v", want, err)
		}
	}
	if len(lines) != 16 {
		t.Errorf("%d faults:\n%v", len(lines), err)
	}
}

// Whoever adds an option thinks about what may be wrong with it.
func TestPromise12_OptionsAreKnownToThisTest(t *testing.T) {
	var names []string
	for f := range reflect.TypeFor[cloakroom.Options]().Fields() {
		names = append(names, f.Name)
	}
	want := []string{
		"CookieName", "Path", "Domain", "SameSite", "Insecure", "Partitioned", "Persistent", "Audience", "IdleTimeout", "Lifetime",
		"MaxSessions", "MaxBytes", "StoreTimeout", "Skip", "SkipHeader", "ClientAddr", "Logger", "ErrorHandler",
	}
	if !slices.Equal(names, want) {
		t.Errorf("options are %q: no option may fix a token, take HttpOnly away or turn a check off, and each one's faults belong into the table", names)
	}
}

// What is done once the handler has returned is lost, and says so: to whoever
// asks, and in the log.
func TestPromise12_ChangesAfterTheHandlerReturned(t *testing.T) {
	both(t, testPromise12_ChangesAfterTheHandlerReturned)
}

func testPromise12_ChangesAfterTheHandlerReturned(t *testing.T, newSite siteMaker) {
	for name, change := range map[string]func(*cloakroom.Session){
		"set":      func(s *cloakroom.Session) { word.Set(s, "late") },
		"update":   func(s *cloakroom.Session) { count.Update(s, func(n int) int { return n + 1 }) },
		"delete":   func(s *cloakroom.Session) { word.Delete(s) },
		"clear":    func(s *cloakroom.Session) { s.Clear() },
		"flash":    func(s *cloakroom.Session) { s.Flash("late") },
		"login":    func(s *cloakroom.Session) { s.Login(cloakroom.Identity{UserID: "u2"}) },
		"renew":    func(s *cloakroom.Session) { s.Renew() },
		"setroles": func(s *cloakroom.Session) { s.SetRoles([]string{"admin"}) },
	} {
		s := newSite(t, nil)
		v := s.signedIn(t, "u1")
		v.visit(func(s *cloakroom.Session) { word.Set(s, "before") })
		var kept *cloakroom.Session
		v.visit(func(s *cloakroom.Session) { kept = s })
		s.spy.take()
		change(kept)
		if err := kept.Commit(t.Context()); !errors.Is(err, cloakroom.ErrFinished) || err.Error() != "cloakroom: save session: the request is over" {
			t.Errorf("%s: commit says %v", name, err)
		}
		if line := s.log.wantEvent(t, "write_after_end"); line["level"] != "ERROR" || line["err"] != "the request is over" || line["addr"] != "192.0.2.1" {
			t.Errorf("%s: log line is %v", name, line)
		}
		s.wantCalls(t, name)
		// What was there can still be read.
		if kept.UserID() != "u1" || word.GetOr(kept, "") != "before" {
			t.Errorf("%s: the session reads %q of %q", name, word.GetOr(kept, ""), kept.UserID())
		}
		v.visit(func(s *cloakroom.Session) {
			if s.UserID() != "u1" || word.GetOr(s, "") != "before" {
				t.Errorf("%s: it was saved all the same", name)
			}
		})
	}
}

func TestPromise12_EndAfterTheHandlerReturned(t *testing.T) {
	both(t, testPromise12_EndAfterTheHandlerReturned)
}

func testPromise12_EndAfterTheHandlerReturned(t *testing.T, newSite siteMaker) {
	s := newSite(t, nil)
	v := s.signedIn(t, "u1")
	var kept *cloakroom.Session
	v.visit(func(s *cloakroom.Session) { kept = s })
	if err := kept.End(t.Context()); !errors.Is(err, cloakroom.ErrFinished) {
		t.Errorf("End says %v", err)
	}
	if v.user() != "u1" {
		t.Error("it has ended the session all the same")
	}
}

// Behind the header there is no room for a cookie.
func TestPromise12_ChangesThatNeedACookieAfterTheHeaderLeft(t *testing.T) {
	both(t, testPromise12_ChangesThatNeedACookieAfterTheHeaderLeft)
}

func testPromise12_ChangesThatNeedACookieAfterTheHeaderLeft(t *testing.T, newSite siteMaker) {
	for name, test := range map[string]struct {
		known  bool
		change func(*cloakroom.Session)
	}{
		"new session":    {false, func(s *cloakroom.Session) { word.Set(s, "late") }},
		"new flash":      {false, func(s *cloakroom.Session) { s.Flash("late") }},
		"login":          {false, login},
		"login again":    {true, func(s *cloakroom.Session) { s.Login(cloakroom.Identity{UserID: "u2"}) }},
		"renew":          {true, func(s *cloakroom.Session) { s.Renew() }},
		"set roles":      {true, func(s *cloakroom.Session) { s.SetRoles([]string{"admin"}) }},
		"write and both": {true, func(s *cloakroom.Session) { word.Set(s, "late"); s.Renew() }},
	} {
		for _, asked := range []bool{true, false} {
			s := newSite(t, nil)
			v := s.visitor(t)
			if test.known {
				v = s.signedIn(t, "u1")
			}
			cookie := v.cookie
			w := v.do(func(w http.ResponseWriter, r *http.Request) {
				s := cloakroom.FromContext(r.Context())
				fmt.Fprint(w, "page")
				test.change(s)
				if !asked {
					return
				}
				if err := s.Commit(r.Context()); !errors.Is(err, cloakroom.ErrHeaderSent) {
					t.Errorf("%s: commit says %v", name, err)
				}
			})
			if w.Code != http.StatusOK || w.Body.String() != "page" || v.cookie != cookie {
				t.Errorf("%s: answer is %d %q, cookie %q", name, w.Code, w.Body, v.cookie)
			}
			if !asked {
				// Nobody has asked: then the log has to say it.
				if line := s.log.wantEvent(t, "write_after_end"); line["level"] != "ERROR" || !strings.Contains(fmt.Sprint(line["err"]), "header has left") {
					t.Errorf("%s: log line is %v", name, line)
				}
			}
			for _, op := range s.spy.take() {
				if op == "put" {
					t.Errorf("%s: it was saved all the same", name)
				}
			}
			if test.known && v.user() != "u1" {
				t.Errorf("%s: the session is gone", name)
			}
		}
	}
}

// A logout behind the header ends the session, where no cookie can be taken back.
func TestEndBehindTheHeader(t *testing.T) { both(t, testEndBehindTheHeader) }

func testEndBehindTheHeader(t *testing.T, newSite siteMaker) {
	s := newSite(t, nil)
	v := s.signedIn(t, "u1")
	v.do(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "page")
		if err := cloakroom.FromContext(r.Context()).End(r.Context()); err != nil {
			t.Error(err)
		}
	})
	if v.cookie == "" || v.user() != "" {
		t.Errorf("cookie is %q, user %q", v.cookie, v.user())
	}
}

// A value that cannot be encoded is a 500 and a log line with its name, and
// nothing of the request is saved: not a half, not a zero value.
func TestPromise12_AValueThatCannotBeEncoded(t *testing.T) {
	both(t, testPromise12_AValueThatCannotBeEncoded)
}

func testPromise12_AValueThatCannotBeEncoded(t *testing.T, newSite siteMaker) {
	bad := cloakroom.NewKey[func()]("callback")
	for _, known := range []bool{false, true} {
		s := newSite(t, nil)
		v := s.visitor(t)
		if known {
			v.visit(func(s *cloakroom.Session) { word.Set(s, "before") })
		}
		w := v.do(func(w http.ResponseWriter, r *http.Request) {
			s := cloakroom.FromContext(r.Context())
			word.Set(s, "after")
			bad.Set(s, func() {})
			if s.Has("callback") {
				t.Error("what cannot be encoded is there")
			}
			fmt.Fprint(w, "saved!")
		})
		if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "saved") || strings.Contains(w.Body.String(), "callback") {
			t.Errorf("answer is %d %s", w.Code, w.Body)
		}
		line := s.log.wantEvent(t, "commit_failed")
		if line["level"] != "ERROR" || line["err"] != `cloakroom: save session: session value "callback": json: unsupported type: func()` {
			t.Errorf("log line is %v", line)
		}
		v.visit(func(s *cloakroom.Session) {
			if got := word.GetOr(s, ""); got == "after" || known && got != "before" {
				t.Errorf("saved is %q", got)
			}
		})
	}
}

// A handler that asks decides for itself: after the error the session is what it
// was, and the response is the handler's.
func TestPromise12_CommitTellsTheHandler(t *testing.T) {
	s := newSite(t, nil)
	v := s.signedIn(t, "u1")
	v.visit(func(s *cloakroom.Session) { word.Set(s, "before") })
	s.spy.on(func(_ context.Context, op string) error {
		if op == "put" {
			return errors.New("disk is full")
		}
		return nil
	})
	w := v.do(func(w http.ResponseWriter, r *http.Request) {
		s := cloakroom.FromContext(r.Context())
		word.Set(s, "after")
		s.Renew()
		err := s.Commit(r.Context())
		if !errors.Is(err, cloakroom.ErrUnavailable) || cloakroom.Status(err) != http.StatusServiceUnavailable {
			t.Errorf("commit says %v", err)
		}
		if word.GetOr(s, "") != "before" || s.UserID() != "u1" {
			t.Errorf("after a failed commit the session has %q of %q", word.GetOr(s, ""), s.UserID())
		}
		if err := s.Commit(r.Context()); err != nil {
			t.Errorf("a commit of nothing says %v", err)
		}
		w.WriteHeader(http.StatusTeapot)
	})
	if w.Code != http.StatusTeapot || setCookie(t, w) != "" {
		t.Errorf("answer is %d %v", w.Code, w.Header())
	}
	s.spy.on(nil)
	if v.user() != "u1" {
		t.Error("the session is gone")
	}
	// A commit whose request is over before it began does nothing, and says so; what
	// it was to save is not saved later either, behind the handler's back.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.spy.take()
	v.do(func(w http.ResponseWriter, r *http.Request) {
		s := cloakroom.FromContext(r.Context())
		word.Set(s, "after")
		if err := s.Commit(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("commit says %v", err)
		}
		if err := s.Commit(r.Context()); err != nil {
			t.Error(err)
		}
	})
	s.wantCalls(t, "commit", "get")
	v.visit(func(s *cloakroom.Session) {
		if got := word.GetOr(s, ""); got == "after" {
			t.Error("a refused change was saved")
		}
	})
}

// Faults of a key are a programmer's.
func TestPromise12_KeysNeedAName(t *testing.T) {
	for _, name := range []string{"", strings.Repeat("x", 129)} {
		if panics(func() { cloakroom.NewKey[int](name) }) == nil {
			t.Errorf("a key with a name of %d bytes is made", len(name))
		}
	}
	if k := cloakroom.NewKey[int](strings.Repeat("x", 128)); len(k.Name()) != 128 {
		t.Error("a name of 128 bytes is cut")
	}
}

// Identities that no store could keep are refused before any store is asked.
func TestPromise12_LoginOfNobody(t *testing.T) { both(t, testPromise12_LoginOfNobody) }

func testPromise12_LoginOfNobody(t *testing.T, newSite siteMaker) {
	for _, user := range []string{"", strings.Repeat("x", 256)} {
		s := newSite(t, nil)
		v := s.visitor(t)
		w := v.do(func(w http.ResponseWriter, r *http.Request) {
			cloakroom.FromContext(r.Context()).Login(cloakroom.Identity{UserID: user})
		})
		if w.Code != http.StatusInternalServerError || v.cookie != "" {
			t.Errorf("a login with %d bytes of user is answered %d", len(user), w.Code)
		}
		s.wantCalls(t, "login of nobody")
		if line := s.log.wantEvent(t, "commit_failed"); !strings.Contains(fmt.Sprint(line["err"]), fmt.Sprintf("a UserID has 1 to 255 bytes, this one %d", len(user))) {
			t.Errorf("log line is %v", line)
		}
	}
}
