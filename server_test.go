package cloakroom_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom"
)

// serve starts a server with TLS around a handler of the site, and returns it
// with a function that sends a request of a visitor and reads the answer.
func serve(t *testing.T, s *site, http2 bool, h http.HandlerFunc) (*httptest.Server, func(v *visitor, path string) (*http.Response, string)) {
	t.Helper()
	srv := httptest.NewUnstartedServer(s.Handler(h))
	srv.EnableHTTP2 = http2
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv, func(v *visitor, path string) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if v.cookie != "" {
			r.Header["Cookie"] = strings.Split(v.cookie, "\n")
		}
		resp, err := srv.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		v.follow(resp)
		return resp, string(body)
	}
}

// app is a handler with the ways of a real one.
func app(w http.ResponseWriter, r *http.Request) {
	s := cloakroom.FromContext(r.Context())
	switch r.URL.Path {
	case "/login":
		login(s)
		http.Redirect(w, r, "/", http.StatusSeeOther)
	case "/stream":
		fmt.Fprintln(w, count.Update(s, func(n int) int { return n + 1 }))
		_ = http.NewResponseController(w).Flush()
		count.Update(s, func(n int) int { return n + 10 })
		fmt.Fprintln(w, "end")
	case "/hints":
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		fmt.Fprint(w, s.UserID())
	case "/hijack":
		_, _, err := http.NewResponseController(w).Hijack()
		http.Error(w, fmt.Sprint(err), http.StatusUpgradeRequired)
	case "/controls":
		c := http.NewResponseController(w)
		err := errors.Join(c.SetReadDeadline(time.Now().Add(time.Hour)), c.SetWriteDeadline(time.Now().Add(time.Hour)), c.EnableFullDuplex())
		fmt.Fprint(w, err)
	case "/logout":
		if err := s.End(r.Context()); err != nil {
			cloakroom.WriteError(w, r, err)
		}
	default:
		fmt.Fprint(w, s.UserID())
	}
}

func TestOverHTTP1AndHTTP2(t *testing.T) {
	for _, major := range []int{1, 2} {
		t.Run(fmt.Sprint("HTTP", major), func(t *testing.T) {
			s := newSite(t, nil)
			srv, get := serve(t, s, major == 2, app)
			srv.Client().CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			v := s.visitor(t)
			resp, body := get(v, "/")
			if resp.ProtoMajor != major || body != "" || resp.Header["Set-Cookie"] != nil {
				t.Fatalf("a stranger gets %s %v %q", resp.Proto, resp.Header, body)
			}
			resp, _ = get(v, "/login")
			if resp.StatusCode != http.StatusSeeOther || len(resp.Header["Set-Cookie"]) != 1 {
				t.Fatalf("login is answered %d %v", resp.StatusCode, resp.Header)
			}
			for path, want := range map[string]string{"/": "u1", "/hints": "u1"} {
				if _, body := get(v, path); body != want {
					t.Errorf("%s: %q, want %q", path, body, want)
				}
			}
			for i := range 3 {
				if _, body := get(v, "/stream"); body != fmt.Sprintf("%d\nend\n", i*11+1) {
					t.Errorf("stream %d: %q", i, body)
				}
			}
			// HTTP/2 may send a Cookie header in crumbs (RFC 9113 §8.2.3).
			crumbs := &visitor{tb: t, m: s.Manager, cookie: "a=b\n" + v.cookie + "\nc=d"}
			if _, body := get(crumbs, "/"); body != "u1" {
				t.Errorf("from several Cookie lines the user is %q", body)
			}
			if _, body := get(v, "/controls"); body != "<nil>" {
				t.Errorf("controls: %q", body)
			}
			if major == 2 {
				if resp, body := get(v, "/hijack"); resp.StatusCode != http.StatusUpgradeRequired || !strings.Contains(body, "not supported") {
					t.Errorf("hijack over HTTP/2: %d %q", resp.StatusCode, body)
				}
			}
			old := v.cookie
			resp, _ = get(v, "/logout")
			if v.cookie != "" || resp.StatusCode != http.StatusOK {
				t.Errorf("logout is answered %d %v", resp.StatusCode, resp.Header)
			}
			v.cookie = old
			if _, body := get(v, "/"); body != "" {
				t.Errorf("after the logout the user is %q", body)
			}
		})
	}
}

// A connection that is taken over, as for a WebSocket, goes on as it is.
func TestHijackOverHTTP1(t *testing.T) {
	s := newSite(t, nil)
	v := s.signedIn(t, "u1")
	srv := httptest.NewServer(s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := cloakroom.FromContext(r.Context())
		word.Set(s, "hijacked")
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(buf, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n%s", s.UserID())
		if err := buf.Flush(); err != nil {
			t.Error(err)
		}
	})))
	defer srv.Close()
	r, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Cookie", v.cookie)
	r.Header.Set("Connection", "Upgrade")
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusSwitchingProtocols || string(body) != "u1" || err != nil {
		t.Errorf("answer is %d %q, %v", resp.StatusCode, body, err)
	}
	v.visit(func(s *cloakroom.Session) {
		if word.GetOr(s, "") != "hijacked" {
			t.Error("what was stored before the hijack is lost")
		}
	})
}

// Files go out whole, by the same call of the server as without us.
func TestFilesGoOutWhole(t *testing.T) {
	content := make([]byte, 3<<20)
	_, _ = rand.Read(content)
	file := filepath.Join(t.TempDir(), "file.bin")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSite(t, nil)
	v := s.signedIn(t, "u1")
	srv := httptest.NewServer(s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		word.Set(cloakroom.FromContext(r.Context()), "downloaded")
		http.ServeFile(w, r, file)
	})))
	defer srv.Close()
	for header, want := range map[string][]byte{"": content, "bytes=1000-2000": content[1000:2001]} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Cookie", v.cookie)
		if header != "" {
			r.Header.Set("Range", header)
		}
		resp, err := srv.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !bytes.Equal(got, want) || resp.ContentLength != int64(len(want)) {
			t.Errorf("range %q: %d bytes of %d, %v", header, len(got), len(want), err)
		}
	}
	v.visit(func(s *cloakroom.Session) {
		if word.GetOr(s, "") != "downloaded" {
			t.Error("a download has saved nothing")
		}
	})
}

// The client hangs up while the handler is at work: the server cancels the
// request's context, and the session is saved all the same.
func TestAHangUpDoesNotLoseTheSession(t *testing.T) {
	s := newSite(t, nil)
	v := s.signedIn(t, "u1")
	saved := make(chan error, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			word.Set(cloakroom.FromContext(r.Context()), "x")
			<-r.Context().Done()
		})).ServeHTTP(w, r)
		saved <- r.Context().Err()
	}))
	defer srv.Close()
	ctx, hangUp := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer hangUp()
	r, err := http.NewRequestWithContext(ctx, "GET", srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Cookie", v.cookie)
	if resp, err := srv.Client().Do(r); err == nil {
		resp.Body.Close()
		t.Fatal("the client got an answer")
	}
	if err := <-saved; !errors.Is(err, context.Canceled) {
		t.Fatalf("the request's context says %v", err)
	}
	v.visit(func(s *cloakroom.Session) {
		if word.GetOr(s, "") != "x" {
			t.Error("the change is lost")
		}
	})
}

// A long stream ends once its session does.
func TestAStreamAsksWhetherItsSessionLives(t *testing.T) {
	s := newSite(t, nil)
	v := s.signedIn(t, "u1")
	next := make(chan bool)
	srv := httptest.NewServer(s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := cloakroom.FromContext(r.Context())
		for <-next && s.Alive(r.Context()) {
			fmt.Fprintln(w, "event")
			_ = http.NewResponseController(w).Flush()
		}
		fmt.Fprintln(w, "bye")
	})))
	defer srv.Close()
	defer close(next)
	r, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Cookie", v.cookie)
	go func() { next <- true }()
	resp, err := srv.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Scan()
	first := lines.Text()
	if _, err := s.EndUser(t.Context(), "u1", [32]byte{}); err != nil {
		t.Fatal(err)
	}
	next <- true
	lines.Scan()
	if first != "event" || lines.Text() != "bye" {
		t.Errorf("the stream says %q, and after the end of its session %q", first, lines.Text())
	}
}
