package cloakroom_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// A visitor who stores nothing, whatever the handler asks the session or takes
// out of it, costs no call of the store, and gets no cookie.
func TestPromise08_AVisitorWhoStoresNothingCostsNothing(t *testing.T) {
	both(t, testPromise08_AVisitorWhoStoresNothingCostsNothing)
}

func testPromise08_AVisitorWhoStoresNothingCostsNothing(t *testing.T, newSite siteMaker) {
	s := newSite(t, nil)
	for name, f := range map[string]func(*cloakroom.Session){
		"nothing": func(*cloakroom.Session) {},
		"reads": func(s *cloakroom.Session) {
			word.Get(s)
			s.UserID()
			s.Has("word")
			s.Names()
			s.Identity()
			s.Alive(context.Background())
		},
		"empties": func(s *cloakroom.Session) {
			word.Delete(s)
			word.Pop(s)
			s.Flashes()
			s.Clear()
			if !s.ID().IsZero() {
				t.Error("deleting from nothing has begun a session")
			}
		},
		"set and deleted again": func(s *cloakroom.Session) { word.Set(s, "x"); word.Delete(s) },
		"set and cleared":       func(s *cloakroom.Session) { word.Set(s, "x"); count.Set(s, 1); s.Clear() },
		"flash that was shown":  func(s *cloakroom.Session) { s.Flash("x"); s.Flashes() },
		"renews":                func(s *cloakroom.Session) { s.Renew(); s.SetRoles([]string{"admin"}) },
		"commits":               func(s *cloakroom.Session) { _ = s.Commit(context.Background()) },
		"ends":                  func(s *cloakroom.Session) { _ = s.End(context.Background()) },
		"set, then ended":       func(s *cloakroom.Session) { word.Set(s, "x"); _ = s.End(context.Background()) },
		"login, then ended":     func(s *cloakroom.Session) { login(s); _ = s.End(context.Background()) },
		"asks for the ID": func(s *cloakroom.Session) {
			s.ID()
			s.Created()
			s.Expires()
			s.AuthTime()
			s.New()
			s.Late()
		},
		"updates to what it was": func(s *cloakroom.Session) { word.Pop(s); word.Set(s, ""); word.Delete(s) },
	} {
		v := s.visitor(t)
		w := v.visit(f)
		s.wantCalls(t, name)
		if c := setCookie(t, w); c != "" {
			t.Errorf("%s: response sets %q", name, c)
		}
	}
	if n := s.spy.Len(); n != 0 {
		t.Errorf("store holds %d records", n)
	}
}

// One who stored something costs one read, until there is something to write.
func TestPromise08_AReaderWritesOnlyACoalescedTouch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		v := s.visitor(t)
		if c := setCookie(t, v.visit(func(s *cloakroom.Session) { word.Set(s, "x") })); c == "" {
			t.Error("who stores something gets no cookie")
		}
		s.wantCalls(t, "first write", "put")
		read := func(what string, want ...string) {
			t.Helper()
			w := v.visit(func(s *cloakroom.Session) {
				if got := word.GetOr(s, ""); got != "x" {
					t.Errorf("value is %q", got)
				}
			})
			s.wantCalls(t, what, want...)
			if c := setCookie(t, w); c != "" {
				t.Errorf("%s sets %q", what, c)
			}
		}
		for range 10 {
			read("read", "get")
		}
		time.Sleep(idle/10 - time.Millisecond)
		read("read before a tenth of the idle time", "get")
		time.Sleep(time.Millisecond)
		read("read after a tenth of the idle time", "get", "touch")
		read("read behind the touch", "get")
		// A change that changes nothing is none, and neither is one undone.
		v.visit(func(s *cloakroom.Session) { word.Set(s, "x") })
		s.wantCalls(t, "the same value", "get")
		v.visit(func(s *cloakroom.Session) { count.Set(s, 1); count.Delete(s) })
		s.wantCalls(t, "undone", "get")
		v.visit(func(s *cloakroom.Session) { word.Delete(s); word.Set(s, "x"); s.Flash("y"); s.Flashes() })
		s.wantCalls(t, "done and undone", "get")
		// A write notes the activity by itself.
		time.Sleep(idle / 5)
		v.visit(func(s *cloakroom.Session) { count.Set(s, 1) })
		s.wantCalls(t, "write", "get", "put")
		read("read behind the write", "get")
		// And a request that says nothing is activity too.
		time.Sleep(idle / 10)
		v.visit(func(*cloakroom.Session) {})
		s.wantCalls(t, "untouched", "get", "touch")
	})
}

// Of the requests of a page that come in together one touches, not each.
func TestPromise08_TouchesAreSingleFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		v, other := s.signedIn(t, "u1"), s.signedIn(t, "u2")
		time.Sleep(idle / 2)
		gate := make(chan struct{})
		s.spy.on(func(_ context.Context, op string) error {
			if op == "touch" {
				<-gate
			}
			return nil
		})
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() { (&visitor{tb: t, m: s.Manager, cookie: v.cookie}).user() })
		}
		all.Go(func() { (&visitor{tb: t, m: s.Manager, cookie: other.cookie}).user() })
		synctest.Wait() // the first touch of each session hangs, all others have been answered
		close(gate)
		all.Wait()
		calls := s.spy.take()
		touches := len(slices.DeleteFunc(slices.Clone(calls), func(op string) bool { return op != "touch" }))
		if touches != 2 || len(calls) != 23 {
			t.Errorf("21 requests of two sessions called the store %q", calls)
		}
	})
}

// A store that answers no touch answers no visitor less.
func TestPromise08_ATouchThatFailsIsALogLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		v := s.signedIn(t, "u1")
		time.Sleep(idle / 2)
		s.spy.on(func(_ context.Context, op string) error {
			if op == "touch" {
				return fmt.Errorf("disk is full")
			}
			return nil
		})
		if v.user() != "u1" {
			t.Error("a touch that failed failed the request")
		}
		if line := s.log.wantEvent(t, "touch_failed"); line["err"] != "disk is full" || line["level"] != "WARN" {
			t.Errorf("log line is %v", line)
		}
	})
}

// TestAttack_A07_RandomCookiesLeaveNothing: a flood of made-up cookies, on
// requests that read, write nothing, sign out, leaves no record behind.
func TestAttack_A07_RandomCookiesLeaveNothing(t *testing.T) {
	s := newSite(t, &cloakroom.Options{Logger: slog.New(slog.DiscardHandler)})
	s.signedIn(t, "u1")
	before := s.spy.Len()
	const n = 100_000
	random := rand.NewChaCha8([32]byte{7})
	other := keyring.Generate().ID()
	handlers := []http.Handler{
		s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {})),
		s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if cloakroom.FromContext(r.Context()).UserID() != "" {
				t.Error("a made-up cookie is a session")
			}
		})),
		s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := cloakroom.FromContext(r.Context()).End(r.Context()); err != nil {
				t.Error(err)
			}
		})),
	}
	r := s.visitor(t).request()
	w := &discard{header: http.Header{}}
	var raw [53]byte
	for i := range n {
		_, _ = random.Read(raw[:])
		raw[0] = 1
		if id := s.key.ID(); i%2 == 0 {
			copy(raw[1:], id[:]) // the key that there is
		} else if i%3 == 0 {
			copy(raw[1:], other[:])
		}
		r.Header["Cookie"] = []string{cookieName + "=" + base64.RawURLEncoding.EncodeToString(raw[:])}
		clear(w.header)
		handlers[i%len(handlers)].ServeHTTP(w, r)
	}
	s.wantCalls(t, "made-up cookies")
	if after := s.spy.Len(); after != before {
		t.Errorf("the store grew from %d to %d records", before, after)
	}
}

// A cookie that was ours once, and whose session is gone, leaves nothing either.
func TestAttack_A07_OldCookiesLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		v := s.signedIn(t, "u1")
		time.Sleep(2 * lifetime)
		if _, err := s.spy.Sweep(t.Context(), time.Now()); err != nil || s.spy.Len() != 0 {
			t.Fatalf("swept store holds %d records: %v", s.spy.Len(), err)
		}
		s.spy.take()
		for range 100 {
			probe := *v
			if probe.user() != "" {
				t.Error("a forgotten session lives")
			}
			probe.visit(func(s *cloakroom.Session) { word.Delete(s); s.Renew() })
			// Signing out takes the cookie back, and needs no record for that.
			w := probe.visit(func(s *cloakroom.Session) {
				if err := s.End(context.Background()); err != nil {
					t.Error(err)
				}
			})
			if probe.cookie != "" || setCookie(t, w) == "" {
				t.Error("a logout leaves the cookie")
			}
		}
		for _, op := range s.spy.take() {
			if op != "get" {
				t.Errorf("store was called: %s", op)
			}
		}
		if n := s.spy.Len(); n != 0 {
			t.Errorf("store holds %d records", n)
		}
	})
}

// discard is a ResponseWriter that does nothing.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

// A request that is to be anonymous has a session in which nothing lasts.
func TestSkippedRequests(t *testing.T) { both(t, testSkippedRequests) }

func testSkippedRequests(t *testing.T, newSite siteMaker) {
	s := newSite(t, &cloakroom.Options{
		SkipHeader: "X-Probe",
		Skip:       func(r *http.Request) bool { return r.URL.Path == "/static" },
	})
	known := s.signedIn(t, "u1")
	for name, change := range map[string]func(*http.Request){
		"header":          func(r *http.Request) { r.Header.Set("X-Probe", "1") },
		"header in case":  func(r *http.Request) { r.Header.Set("x-pRoBe", "x") },
		"function":        func(r *http.Request) { r.URL.Path = "/static" },
		"cookie and both": func(r *http.Request) { r.Header.Set("X-Probe", "1"); r.URL.Path = "/static" },
	} {
		for _, v := range []*visitor{s.visitor(t), known} {
			cookie := v.cookie
			r := v.request()
			change(r)
			w := v.send(r, func(w http.ResponseWriter, r *http.Request) {
				s := cloakroom.FromContext(r.Context())
				if s.UserID() != "" || !s.New() || !s.ID().IsZero() {
					t.Errorf("%s: the request is %q's", name, s.UserID())
				}
				word.Set(s, "x")
				if word.GetOr(s, "") != "x" {
					t.Errorf("%s: what was just set is not there", name)
				}
				s.Renew()
				if err := s.Commit(r.Context()); err != nil {
					t.Errorf("%s: commit says %v", name, err)
				}
				if err := s.End(r.Context()); !errors.Is(err, cloakroom.ErrSkipped) {
					t.Errorf("%s: end says %v", name, err)
				}
				word.Set(s, "y")
			})
			s.wantCalls(t, name)
			if c := setCookie(t, w); c != "" || w.Code != http.StatusOK || v.cookie != cookie {
				t.Errorf("%s: answer is %d and sets %q", name, w.Code, c)
			}
		}
	}
	if known.user() != "u1" {
		t.Error("a skipped request ended the session")
	}
	// An empty header skips nothing.
	r := known.request()
	r.Header.Set("X-Probe", "")
	known.send(r, func(w http.ResponseWriter, r *http.Request) {
		if cloakroom.FromContext(r.Context()).UserID() != "u1" {
			t.Error("an empty header made the request anonymous")
		}
	})
	// A login there is a fault, and says so.
	r = s.visitor(t).request()
	r.Header.Set("X-Probe", "1")
	w := s.visitor(t).send(r, func(w http.ResponseWriter, r *http.Request) {
		login(cloakroom.FromContext(r.Context()))
	})
	if w.Code != http.StatusInternalServerError || setCookie(t, w) != "" {
		t.Errorf("a login on a skipped request is answered %d", w.Code)
	}
}
