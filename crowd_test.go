package cloakroom_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom"
)

// rough is a handler that ends in every way there is, and says each time whose
// session it has. Goroutines that outlive it keep their session for a while.
type rough struct {
	t       *testing.T
	strays  sync.WaitGroup
	crossed atomic.Int64 // sessions that were somebody else's
}

func (h *rough) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := cloakroom.FromContext(r.Context())
	want := r.Header.Get("X-User")
	// A request that its client gave up may come after the next one has renewed the
	// token: then it is nobody's.
	check := func() {
		user, own := s.UserID(), word.GetOr(s, want)
		if user != want && !(user == "" && s.Late()) || own != want && own != "stray of "+want {
			h.crossed.Add(1)
		}
	}
	check()
	word.Set(s, want)
	if r.URL.Path == "/stray" || rand.N(8) == 0 {
		h.strays.Go(func() {
			time.Sleep(rand.N(3 * time.Millisecond))
			check()
			word.Set(s, "stray of "+want) // lost, if the handler has returned
			check()
		})
	}
	if rand.N(4) == 0 {
		time.Sleep(rand.N(time.Millisecond))
	}
	switch r.URL.Path {
	case "/panic":
		panic("at " + want)
	case "/abort":
		fmt.Fprint(w, want)
		panic(http.ErrAbortHandler)
	case "/hijack":
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			if !errors.Is(err, cloakroom.ErrRenewed) {
				h.t.Error(err)
			}
			return
		}
		defer conn.Close()
		fmt.Fprintf(buf, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n%s", s.UserID())
		_ = buf.Flush()
	case "/renew":
		s.Renew()
		fmt.Fprint(w, s.UserID())
	case "/stream":
		for range 3 {
			_ = http.NewResponseController(w).Flush()
			count.Update(s, func(n int) int { return n + 1 })
		}
		fmt.Fprint(w, s.UserID())
	case "/body":
		_, _ = io.Copy(io.Discard, r.Body) // which breaks off
		fmt.Fprint(w, s.UserID())
	default:
		fmt.Fprint(w, s.UserID())
	}
	check()
}

// TestAttack_A56_EachSeesTheirOwnSession: 64 users at once, whose requests end in
// all ways. What each reads, in the page and in the session, is their own.
func TestAttack_A56_EachSeesTheirOwnSession(t *testing.T) {
	const users, requests = 64, 20
	s := newSite(t, &cloakroom.Options{Logger: slog.New(slog.DiscardHandler)})
	h := &rough{t: t}
	srv := httptest.NewUnstartedServer(s.Handler(h))
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	srv.Start()
	t.Cleanup(srv.Close)
	paths := []string{"/", "/", "/stray", "/panic", "/abort", "/hijack", "/renew", "/stream", "/body"}

	var all sync.WaitGroup
	for i := range users {
		user := fmt.Sprintf("user-%02d", i)
		v := s.signedIn(t, user)
		all.Go(func() {
			for range requests {
				path := paths[rand.N(len(paths))]
				body, code, err := roughRequest(t.Context(), srv, v, user, path)
				if err == nil && code != http.StatusOK {
					t.Errorf("%s: %s is answered %d", user, path, code)
				}
				if body != "" && body != user {
					t.Errorf("%s: %s is answered %q", user, path, body)
				}
			}
		})
	}
	all.Wait()
	srv.Close() // requests that were given up still run, and may begin strays
	h.strays.Wait()
	if n := h.crossed.Load(); n != 0 {
		t.Errorf("%d times a session was somebody else's", n)
	}
	for _, rec := range s.spy.live(t) {
		if !strings.HasPrefix(rec.UserID, "user-") {
			t.Errorf("a record is %q's", rec.UserID)
		}
	}
	if n := len(s.spy.live(t)); n != users {
		t.Errorf("%d sessions are live, want %d", n, users)
	}
}

// roughRequest sends one request of a visitor. One in ten it gives up, and the
// body of a POST breaks off.
func roughRequest(ctx context.Context, srv *httptest.Server, v *visitor, user, path string) (body string, code int, err error) {
	if path != "/renew" && rand.N(10) == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, rand.N(2*time.Millisecond))
		defer cancel()
	}
	method, in := "GET", io.Reader(nil)
	if path == "/body" {
		method, in = "POST", io.MultiReader(strings.NewReader("half"), broken{})
	}
	r, err := http.NewRequestWithContext(ctx, method, srv.URL+path, in)
	if err != nil {
		return "", 0, err
	}
	r.Header.Set("Cookie", v.cookie)
	r.Header.Set("X-User", user)
	resp, err := srv.Client().Do(r)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	v.follow(resp)
	return string(b), resp.StatusCode, err
}
