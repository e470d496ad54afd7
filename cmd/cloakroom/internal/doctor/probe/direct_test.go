package probe_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/doctor/probe"
)

// The service with TLS of its own, and nothing in front.
func TestHealthyWithItsOwnTLS(t *testing.T) {
	t.Parallel()
	s := newService(t, settings{})
	v := newFront(t, visiting(s.handler), &fault{})
	o := probe.Options{URL: public, CA: theAuthority().pem(t), User: "ada", Password: goodPassword, Service: probe.Service{TLS: true}}
	if list := probe.Run(t.Context(), o.In(v.world)).Findings; len(list) > 0 {
		t.Errorf("found:\n%s", text(list))
	}
}

// The network as it is: without a world of a test's own.
func TestHealthyOnLoopback(t *testing.T) {
	t.Parallel()
	s := newService(t, settings{})
	if list := probe.Run(t.Context(), probe.Options{URL: s.url.String(), User: "ada", Password: goodPassword}).Findings; len(list) > 0 {
		t.Errorf("found:\n%s", text(list))
	}
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	list := probe.Run(t.Context(), probe.Options{URL: closed.URL}).Findings
	if got := strings.Join(checks(list), " "); got != "url-refused" {
		t.Errorf("nobody listens: %q\n%s", got, text(list))
	}
}

// Two instances with keys of their own: a browser that comes to the other one is
// nobody there.
func TestInstancesWithOtherKeys(t *testing.T) {
	t.Parallel()
	a, b := newService(t, settings{public: public}), newService(t, settings{public: public})
	var n atomic.Int64
	turns := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1)%2 == 0 {
			a.handler.ServeHTTP(w, r)
			return
		}
		b.handler.ServeHTTP(w, r)
	})
	v := newFront(t, turns, &fault{})
	o := probe.Options{URL: public, CA: theAuthority().pem(t), Service: probe.Service{PublicURL: public}}
	list := probe.Run(t.Context(), o.In(v.world)).Findings
	if got := strings.Join(checks(list), " "); got != "url-keys-differ" || !strings.Contains(list[0].What, "different keys") {
		t.Errorf("found %q:\n%s", got, text(list))
	}
}

// Nobody waits for ever: neither for a connection nor for an answer.
func TestTime(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	silent := func(http.ResponseWriter, *http.Request) { <-hang }
	drips := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			w.Write([]byte("x"))
			http.NewResponseController(w).Flush()
			time.Sleep(10 * time.Millisecond)
		}
	}
	for name, h := range map[string]http.HandlerFunc{"silent": silent, "drips": drips, "no connection": nil} {
		v := newFront(t, h, &fault{})
		if h == nil {
			v.world.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		start := time.Now()
		list := probe.Run(ctx, probe.Options{URL: public, CA: theAuthority().pem(t)}.In(v.world)).Findings
		cancel()
		if got := strings.Join(checks(list), " "); got != "url-timeout" || time.Since(start) > 5*time.Second {
			t.Errorf("%s: after %v:\n%s", name, time.Since(start), text(list))
		}
	}
	close(hang)
}

// Whoever breaks it off gets an answer.
func TestCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	list := probe.Run(ctx, probe.Options{URL: "http://localhost"}).Findings
	if got := strings.Join(checks(list), " "); got != "url-cancelled" {
		t.Errorf("found %q:\n%s", got, text(list))
	}
}
