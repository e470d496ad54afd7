package cloakroom_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/store"
)

// hang makes a store that answers nothing of these calls until its caller gives up.
func hang(ops ...string) func(context.Context, string) error {
	return func(ctx context.Context, op string) error {
		if !slices.Contains(ops, op) {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}
}

// A store that hangs costs its deadline and no more, and afterwards all is as it
// was.
func TestPromise07_AStoreThatHangs(t *testing.T) {
	all := []string{"get", "put", "touch", "end", "list", "enduser"}
	for _, test := range []struct {
		name  string
		ops   []string
		known bool
		step  func(*cloakroom.Session)
		most  time.Duration // in StoreTimeouts
	}{
		{"read", all, true, func(s *cloakroom.Session) { s.UserID() }, 1},
		{"untouched", all, true, func(*cloakroom.Session) {}, 1},
		{"write", []string{"put"}, true, func(s *cloakroom.Session) { word.Set(s, "x") }, 1},
		{"new session", all, false, func(s *cloakroom.Session) { word.Set(s, "x") }, 3},
		{"first login", all, false, login, 3},
		{"login", []string{"put", "end"}, true, login, 2},
		{"renew", []string{"end"}, true, func(s *cloakroom.Session) { s.Renew() }, 3},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, &cloakroom.Options{StoreTimeout: 700 * time.Millisecond})
			v := s.visitor(t)
			if test.known {
				v.login("u1")
			}
			cookie := v.cookie
			s.spy.on(hang(test.ops...))
			start := time.Now()
			w := v.do(func(w http.ResponseWriter, r *http.Request) {
				test.step(cloakroom.FromContext(r.Context()))
				fmt.Fprint(w, "page")
			})
			if took := time.Since(start); took > test.most*700*time.Millisecond || took < 700*time.Millisecond {
				t.Errorf("%s: answered after %v", test.name, took)
			}
			if w.Code != http.StatusServiceUnavailable || strings.Contains(w.Body.String(), "page") || w.Header().Get("Retry-After") == "" {
				t.Errorf("%s: answer is %d %v %s", test.name, w.Code, w.Header(), w.Body)
			}
			if c := setCookie(t, w); c != "" || v.cookie != cookie {
				t.Errorf("%s: an outage sets %q", test.name, c)
			}
			if len(s.log.events(t, "store_failed")) == 0 {
				t.Errorf("%s: nothing in the log", test.name)
			}
			s.spy.on(nil)
			if test.known && v.user() != "u1" {
				t.Errorf("%s: after the outage the visitor is signed out", test.name)
			}
			v.login("u3")
			if v.user() != "u3" {
				t.Errorf("%s: after the outage nobody can sign in", test.name)
			}
		})
	}
}

// Who has no cookie does not notice.
func TestPromise07_StrangersDoNotNoticeAnOutage(t *testing.T) {
	both(t, testPromise07_StrangersDoNotNoticeAnOutage)
}

func testPromise07_StrangersDoNotNoticeAnOutage(t *testing.T, newSite siteMaker) {
	s := newSite(t, nil)
	s.spy.on(func(context.Context, string) error { return context.DeadlineExceeded })
	for _, cookie := range []string{"", cookieName + "=x", "a=b"} {
		v := &visitor{tb: t, m: s.Manager, cookie: cookie}
		if v.user() != "" {
			t.Error("a stranger is somebody")
		}
	}
	s.wantCalls(t, "strangers")
}

// A hanging store leaves no goroutine behind, and no timer: synctest would find
// the bubble waiting for them.
func TestPromise07_ClientsThatGoAwayFromAHangingStore(t *testing.T) {
	both(t, testPromise07_ClientsThatGoAwayFromAHangingStore)
}

func testPromise07_ClientsThatGoAwayFromAHangingStore(t *testing.T, newSite siteMaker) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		v := s.signedIn(t, "u1")
		s.spy.on(hang("get"))
		ctx, leave := context.WithCancel(t.Context())
		go func() {
			time.Sleep(100 * time.Millisecond)
			leave()
		}()
		start := time.Now()
		w := v.send(v.request().WithContext(ctx), who)
		if took := time.Since(start); w.Code != http.StatusServiceUnavailable || took != 100*time.Millisecond {
			t.Errorf("answer is %d after %v", w.Code, took)
		}
		// A visitor who leaves is no fault of the store.
		if line := s.log.wantEvent(t, "store_failed"); line["level"] != "INFO" {
			t.Errorf("log line is %v", line)
		}
	})
}

// TestAttack_A51_ARecordThatCannotBeRead: a row that is damaged, or of another
// version, is a session that has ended and a log line, not a visitor who is locked
// out for ever.
func TestAttack_A51_ARecordThatCannotBeRead(t *testing.T) {
	s := newSite(t, nil)
	v := s.signedIn(t, "u1")
	_, raw := v.token()
	token := [32]byte(raw)
	id := v.id()
	rec, err := s.spy.Store.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	plain := func(b string) []byte { return s.SealRecord(token, rec, []byte(b)) }
	for name, data := range map[string][]byte{
		"nothing":            nil,
		"zeros":              make([]byte, 100),
		"text":               []byte("O:8:\"stdClass\":0:{}"),
		"cut in the seal":    rec.Data[:20],
		"cut at the end":     rec.Data[:len(rec.Data)-1],
		"later version":      append([]byte{2}, rec.Data[1:]...),
		"empty plain":        plain(""),
		"later plain":        plain("\x02\x00\x00\x00\x00\x00\x00\x03\xe8\x00"),
		"plain cut":          plain("\x01\x00\x00"),
		"identity cut":       plain("\x01\x00\x00\x00\x00\x00\x00\x03\xe8\x05\x07"),
		"value cut":          plain("\x01\x00\x00\x00\x00\x00\x00\x03\xe8\x00\x04wor"),
		"value without JSON": plain("\x01\x00\x00\x00\x00\x00\x00\x03\xe8\x00\x04word"),
	} {
		s.spy.lie(func(r store.Record) store.Record {
			if r.ID == id {
				r.Data = data
			}
			return r
		})
		before := len(s.log.events(t, "record_unreadable"))
		s.spy.take()
		w := v.visit(func(s *cloakroom.Session) {
			if s.UserID() != "" || !s.New() || len(s.Names()) != 0 {
				t.Errorf("%s: the visitor is %q with %q", name, s.UserID(), s.Names())
			}
		})
		s.wantCalls(t, name, "get")
		lines := s.log.events(t, "record_unreadable")[before:]
		if len(lines) != 1 || lines[0]["level"] != "ERROR" || lines[0]["session"] != id.Handle() {
			t.Errorf("%s: log lines are %v", name, lines)
		}
		if c := setCookie(t, w); c != "" {
			t.Errorf("%s: response sets %q", name, c)
		}
		// The next login is a session as any other, and takes the cookie's place.
		again := &visitor{tb: t, m: s.Manager, cookie: v.cookie}
		again.login("u1")
		if again.user() != "u1" || again.cookie == v.cookie {
			t.Errorf("%s: after a login the visitor is %q", name, again.user())
		}
		// As is a session that stores something.
		again = &visitor{tb: t, m: s.Manager, cookie: v.cookie}
		again.visit(func(s *cloakroom.Session) { word.Set(s, "x") })
		if again.cookie == v.cookie {
			t.Errorf("%s: no new session", name)
		}
	}
	s.spy.lie(nil)
	if v.user() != "u1" {
		t.Error("once the record can be read again, its session is gone")
	}

	// A logout ends it all the same, whoever can read it: the cookie says which.
	s.spy.lie(func(r store.Record) store.Record { r.Data = nil; return r })
	again := &visitor{tb: t, m: s.Manager, cookie: v.cookie}
	again.visit(func(s *cloakroom.Session) {
		if err := s.End(context.Background()); err != nil {
			t.Errorf("logout says %v", err)
		}
	})
	s.spy.lie(nil)
	if again.cookie != "" || v.user() != "" {
		t.Errorf("after a logout the cookie is %q, and the session %q's", again.cookie, v.user())
	}
}

// One value that a new program reads as another type is that value's loss only.
func TestAttack_A51_AValueOfAnotherType(t *testing.T) { both(t, testAttack_A51_AValueOfAnotherType) }

func testAttack_A51_AValueOfAnotherType(t *testing.T, newSite siteMaker) {
	s := newSite(t, nil)
	v := s.signedIn(t, "u1")
	type cart struct{ Items []string }
	v.visit(func(s *cloakroom.Session) {
		word.Set(s, "kept")
		cloakroom.NewKey[[]string]("cart").Set(s, []string{"apple"})
	})
	v.visit(func(s *cloakroom.Session) {
		got, ok := cloakroom.NewKey[cart]("cart").Get(s)
		if ok || got.Items != nil || !s.Has("cart") {
			t.Errorf("a list is read as %+v, %t", got, ok)
		}
		if s.UserID() != "u1" || word.GetOr(s, "") != "kept" {
			t.Error("one value has taken the others with it")
		}
	})
	line := s.log.wantEvent(t, "value_unreadable")
	if line["name"] != "cart" || line["level"] != "ERROR" || line["err"] != "JSON array does not fit Go type cloakroom_test.cart" {
		t.Errorf("log line is %v", line)
	}
	// It can be replaced.
	v.visit(func(s *cloakroom.Session) { cloakroom.NewKey[cart]("cart").Set(s, cart{[]string{"pear"}}) })
	v.visit(func(s *cloakroom.Session) {
		if got, ok := cloakroom.NewKey[cart]("cart").Get(s); !ok || got.Items[0] != "pear" {
			t.Errorf("replaced by %+v, %t", got, ok)
		}
	})
}
