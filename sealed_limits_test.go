package cloakroom_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// ASVS 3.3.5: payloads of 1 to 8192 bytes. Each is saved whole, in a cookie that
// browsers keep, or is an error that leaves the cookie of before as it is.
func TestASVS_3_3_5_SealedCookiesStaySmall(t *testing.T) {
	for name, opts := range map[string]cloakroom.Options{
		"default":    {},
		"persistent": {Persistent: true, Lifetime: 400 * 24 * time.Hour},
		"long":       {CookieName: strings.Repeat("n", 64), Path: "/" + strings.Repeat("p", 300), Domain: "example.com", Insecure: true},
	} {
		s := newSealedSite(t, &opts)
		v := s.signedIn(t, strings.Repeat("u", 255))
		v.visit(func(s *cloakroom.Session) { count.Set(s, 42) })
		largest := 0
		for n := 1; n <= 8192; n++ {
			if n%61 != 0 && (n < 1950 || n > 2400) {
				continue // where it ends to fit each is tried
			}
			before := v.cookie
			w := v.do(func(w http.ResponseWriter, r *http.Request) {
				word.Set(cloakroom.FromContext(r.Context()), strings.Repeat("x", n))
				fmt.Fprint(w, "saved!")
			})
			line := setCookie(t, w)
			if len(line) > 4096 {
				t.Fatalf("%s: %d bytes make a line of %d", name, n, len(line))
			}
			if w.Code == http.StatusOK {
				largest = n
				continue
			}
			if w.Code != http.StatusInternalServerError || line != "" || v.cookie != before || strings.Contains(w.Body.String(), "saved") {
				t.Fatalf("%s: %d bytes: answer is %d %s, sets %.40q", name, n, w.Code, w.Body, line)
			}
			if len(s.log.events(t, "commit_failed")) == 0 {
				t.Fatalf("%s: nothing in the log", name)
			}
		}
		v.visit(func(s *cloakroom.Session) {
			if len(word.GetOr(s, "")) != largest || count.GetOr(s, 0) != 42 {
				t.Errorf("%s: the session has %d bytes, want %d", name, len(word.GetOr(s, "")), largest)
			}
		})
		t.Logf("%s: up to %d bytes beside a user ID of 255", name, largest)
	}
}

// To the byte: the most that values may be, beside 512 bytes of who signed in, makes a
// line of at most 4096, and one byte more is an error already at Set.
func TestASVS_3_3_5_TheLargestSealedSession(t *testing.T) {
	s := newSealedSite(t, nil)
	v := s.visitor(t)
	fits := 0
	for n := 2300; n < 2500; n++ {
		var err error
		(&visitor{tb: t, m: s.Manager}).do(func(w http.ResponseWriter, r *http.Request) {
			at := cloakroom.FromContext(r.Context())
			word.Set(at, text(n))
			if err = at.Commit(r.Context()); (err == nil) != (word.GetOr(at, "") != "") {
				t.Errorf("%d bytes: commit says %v", n, err)
			}
		})
		if err == nil {
			fits = n
		} else if !errors.Is(err, cloakroom.ErrTooLarge) {
			t.Fatal(err)
		}
	}
	// 254 bytes of a user, 252 of roles, an epoch, a method, and the lengths of all.
	most := cloakroom.Identity{UserID: strings.Repeat("u", 254), Roles: roles(2, 126)}
	v.visit(func(s *cloakroom.Session) { word.Set(s, text(fits)) })
	line := setCookie(t, v.visit(func(s *cloakroom.Session) { s.Login(most) }))
	if n := len(line) + lineageChars; n < 4094 || n > 4096 {
		t.Errorf("the largest session has %d bytes and a line of %d", fits, n)
	}
	// What is more of it takes from the room of the values, and is known at Set.
	most.Roles = roles(3, 126)
	v = s.visitor(t)
	v.visit(func(s *cloakroom.Session) { s.Login(most) })
	v.do(func(w http.ResponseWriter, r *http.Request) {
		at := cloakroom.FromContext(r.Context())
		word.Set(at, text(fits-100))
		if at.Has("word") {
			t.Error("a value that does not fit is there")
		}
		if err := at.Commit(r.Context()); !errors.Is(err, cloakroom.ErrTooLarge) {
			t.Errorf("commit says %v", err)
		}
	})
	// Or at the commit, of a login that comes later, with nothing of it left: no cookie
	// and no tombstone of what never was.
	s.spy.take()
	w := (&visitor{tb: t, m: s.Manager}).do(func(w http.ResponseWriter, r *http.Request) {
		at := cloakroom.FromContext(r.Context())
		word.Set(at, text(fits-100))
		at.Login(most)
	})
	if w.Code != http.StatusInternalServerError || setCookie(t, w) != "" {
		t.Errorf("answer is %d and sets %.40q", w.Code, setCookie(t, w))
	}
	s.wantCalls(t, "a login that does not fit")
	// Options.MaxBytes lowers the bound.
	small := newSealedSite(t, &cloakroom.Options{MaxBytes: 100})
	w = small.visitor(t).do(func(w http.ResponseWriter, r *http.Request) { word.Set(cloakroom.FromContext(r.Context()), text(101)) })
	if w.Code != http.StatusInternalServerError {
		t.Errorf("beyond MaxBytes the answer is %d", w.Code)
	}
}

// The sizes that the documentation names: characters of the cookies' values.
func TestASVS_3_3_5_SizesOfSealedCookies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSealedSite(t, nil)
		v := s.signedIn(t, "u1")
		size := func(cookie string) int { _, value, _ := strings.Cut(cookie, "="); return len(value) }
		if n := size(v.cookie); n != 184 {
			t.Errorf("a login makes %d characters", n)
		}
		v.visit(func(s *cloakroom.Session) { word.Set(s, text(1024)) })
		if n := size(v.cookie); n != 1559 {
			t.Errorf("a login and a value of 1 KiB make %d characters", n)
		}
		time.Sleep(idle / 2)
		v.user()
		if n := size(v.seen); n != 88 {
			t.Errorf("the second cookie has %d characters", n)
		}
	})
}

// A full session can be renewed, and shrinks.
func TestASVS_3_3_5_AFullSealedSessionGoesOn(t *testing.T) {
	s := newSealedSite(t, nil)
	v := s.signedIn(t, "u1")
	v.visit(func(s *cloakroom.Session) { word.Set(s, text(2318)) })
	v.visit(func(s *cloakroom.Session) { s.Renew() })
	v.visit(func(s *cloakroom.Session) { word.Set(s, "x") })
	v.visit(func(s *cloakroom.Session) {
		if s.UserID() != "u1" || word.GetOr(s, "") != "x" {
			t.Errorf("the session is %q's with %q", s.UserID(), word.GetOr(s, ""))
		}
	})
}

// Once the header has left a change is an error, for the handler at its Commit and
// in the log, also in a stream that goes on.
func TestPromise12_SealedChangesAfterTheHeaderLeft(t *testing.T) {
	for name, change := range map[string]func(*cloakroom.Session){
		"set":    func(s *cloakroom.Session) { word.Set(s, "late") },
		"update": func(s *cloakroom.Session) { count.Update(s, func(n int) int { return n + 1 }) },
		"delete": func(s *cloakroom.Session) { word.Delete(s) },
		"flash":  func(s *cloakroom.Session) { s.Flash("late") },
		"renew":  func(s *cloakroom.Session) { s.Renew() },
		"login":  func(s *cloakroom.Session) { s.Login(cloakroom.Identity{UserID: "u2"}) },
	} {
		s := newSealedSite(t, nil)
		v := s.signedIn(t, "u1")
		v.visit(func(s *cloakroom.Session) { word.Set(s, "before") })
		for _, asks := range []bool{true, false} {
			cookie := v.cookie
			v.do(func(w http.ResponseWriter, r *http.Request) {
				at := cloakroom.FromContext(r.Context())
				w.(http.Flusher).Flush()
				change(at)
				if asks {
					if err := at.Commit(r.Context()); !errors.Is(err, cloakroom.ErrHeaderSent) {
						t.Errorf("%s: commit says %v", name, err)
					}
					word.Set(at, "before") // changes nothing, needs nothing
					if err := at.Commit(r.Context()); err != nil {
						t.Errorf("%s: a change that is none: %v", name, err)
					}
				}
			})
			if logged := len(s.log.events(t, "write_after_end")); !asks && logged != 1 || asks && logged != 0 {
				t.Errorf("%s: asked %v, log has %d lines", name, asks, logged)
			}
			v.visit(func(s *cloakroom.Session) {
				if s.UserID() != "u1" || word.GetOr(s, "") != "before" || v.cookie != cookie {
					t.Errorf("%s: the session is %q's with %q", name, s.UserID(), word.GetOr(s, ""))
				}
			})
		}
	}
}

// A connection that is taken over has no header for the cookie of a change.
func TestSealedHijackWithChanges(t *testing.T) {
	s := newSealedSite(t, nil)
	v := s.signedIn(t, "u1")
	for name, test := range map[string]struct {
		change func(*cloakroom.Session)
		status string
	}{
		"read":    {func(s *cloakroom.Session) { s.UserID() }, "101"},
		"nothing": {func(s *cloakroom.Session) { word.Set(s, "x"); word.Delete(s) }, "101"},
		"write":   {func(s *cloakroom.Session) { word.Set(s, "x") }, "500"},
		"saved":   {func(s *cloakroom.Session) { word.Set(s, "x"); _ = s.Commit(context.Background()) }, "500"},
	} {
		srv := httptest.NewServer(s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			test.change(cloakroom.FromContext(r.Context()))
			conn, buf, err := http.NewResponseController(w).Hijack()
			if err != nil {
				if !errors.Is(err, cloakroom.ErrHeaderSent) {
					t.Errorf("%s: hijack says %v", name, err)
				}
				http.Error(w, "no", http.StatusInternalServerError)
				return
			}
			defer conn.Close()
			fmt.Fprint(buf, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
			_ = buf.Flush()
		})))
		r, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Cookie", v.cookie)
		resp, err := srv.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		srv.Close()
		if !strings.HasPrefix(resp.Status, test.status) {
			t.Errorf("%s: answer is %s", name, resp.Status)
		}
	}
}

// A cookie of a retiring key is sealed anew at its next use, with the time of the
// second cookie in it; what a coming key has sealed is left alone; a key that is
// taken away takes its sessions with it.
func TestPromise10_SealedSessionsChangeKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSealedSite(t, nil)
		v := s.signedIn(t, "u1")
		v.visit(func(s *cloakroom.Session) { word.Set(s, "x") })
		time.Sleep(idle / 2)
		v.user()
		var expires time.Time
		v.visit(func(s *cloakroom.Session) { expires = s.Expires() })
		by := func(cookie string) keyring.KeyID { return keyring.KeyID(bytesOf(t, cookie)[18:22]) }
		old, next, id := *v, keyring.Generate(), v.id()
		if v.seen == "" || by(v.cookie) != s.key.ID() || by(v.seen) != s.key.ID() {
			t.Fatal("the cookies are not sealed by the first key")
		}
		s.replace(t, s.key, next.AsNext())
		if w := v.visit(func(*cloakroom.Session) {}); setCookie(t, w) != "" {
			t.Error("a coming key changes a cookie")
		}
		s.replace(t, next, retiring(s.key))
		s.spy.take()
		w := v.visit(func(s *cloakroom.Session) {
			if s.UserID() != "u1" || word.GetOr(s, "") != "x" || s.ID() != id {
				t.Errorf("the session is %q's with %q", s.UserID(), word.GetOr(s, ""))
			}
		})
		s.wantCalls(t, "first use under the new key", "get", "get")
		if setCookie(t, w) == "" || by(v.cookie) != next.ID() {
			t.Error("the cookie is not sealed anew")
		}
		if w := v.visit(func(*cloakroom.Session) {}); setCookie(t, w) != "" {
			t.Error("it is sealed anew each time")
		}
		v.visit(func(s *cloakroom.Session) {
			if s.UserID() != "u1" || !s.Expires().Equal(expires) || s.ID() != id {
				t.Errorf("under the new key the session is %q's until %v, want %v", s.UserID(), s.Expires(), expires)
			}
		})
		s.replace(t, next)
		s.spy.take()
		for _, probe := range []*visitor{&old, v} {
			if user := probe.user(); user != "" {
				t.Errorf("the key that is gone still signs in %q", user)
			}
		}
		s.wantCalls(t, "cookies of no key")
	})
}

// A retiring session that has ended is not sealed anew.
func TestPromise10_AnEndedSealedSessionIsNotSealedAnew(t *testing.T) {
	s := newSealedSite(t, nil)
	v := s.signedIn(t, "u1")
	s.replace(t, keyring.Generate(), retiring(s.key))
	w := v.do(func(w http.ResponseWriter, r *http.Request) {
		if err := s.End(t.Context(), cloakroom.FromContext(r.Context()).ID()); err != nil {
			t.Error(err)
		}
	})
	if c := setCookie(t, w); c != "" {
		t.Errorf("an ended session sets %q", c)
	}
}

// Both cookies have the attributes and the prefix of the first.
func TestASVS_3_3_3_BothSealedCookies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, opts := range []cloakroom.Options{
			{}, {Persistent: true}, {CookieName: "s", Insecure: true, Path: "/app", Domain: "example.com", SameSite: http.SameSiteStrictMode},
			{CookieName: "__Secure-s", Partitioned: true, SameSite: http.SameSiteNoneMode},
		} {
			s := newSealedSite(t, &opts)
			v := s.visitor(t)
			rest := func(line string) string { _, after, _ := strings.Cut(line, ";"); return after }
			first := setCookie(t, v.visit(login))
			time.Sleep(idle / 5)
			w := v.visit(func(*cloakroom.Session) {})
			second := setCookie(t, w)
			name, _, _ := strings.Cut(first, "=")
			if !strings.HasPrefix(second, name+"-seen=") || len(second) > 200 {
				t.Errorf("the second cookie is %q", second)
			}
			first, second = rest(first), rest(second)
			first, _, persists := strings.Cut(first, "; Max-Age=")
			second, _, persists2 := strings.Cut(second, "; Max-Age=")
			if first != second || persists != opts.Persistent || persists2 != opts.Persistent {
				t.Errorf("attributes are %q and %q", first, second)
			}
			if cc := w.Header().Get("Cache-Control"); cc != "no-store" {
				t.Errorf("a response with a cookie has Cache-Control %q", cc)
			}
			lines := v.visit(func(s *cloakroom.Session) { _ = s.End(t.Context()) }).Result().Header["Set-Cookie"]
			if len(lines) != 2 || v.cookie != "" || v.seen != "" || slices.ContainsFunc(lines, func(l string) bool { return rest(l) != first+"; Max-Age=0" }) {
				t.Errorf("a logout sets %q", lines)
			}
		}
	})
}
