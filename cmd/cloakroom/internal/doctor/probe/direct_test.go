package probe_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
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

// Nobody waits for ever: neither for a connection nor for an answer. Where it is the
// visit that takes too long, and not the answer, nothing is said against the answer.
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
	for name, h := range map[string]http.HandlerFunc{"silent": silent, "drips": drips, "no connection": nil, "no name": nil} {
		v := newFront(t, h, &fault{})
		want := "url-timeout"
		switch name {
		case "no connection":
			v.world.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
		case "no name":
			v.world.Lookup = func(ctx context.Context, _ string) ([]netip.Addr, error) { <-ctx.Done(); return nil, ctx.Err() }
			want = "url-dns"
		}
		for _, whole := range []bool{false, true} {
			ctx, cancel := context.WithCancel(t.Context())
			if v.world.Wait = 200 * time.Millisecond; whole {
				v.world.Wait, want = 0, ""
				ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
			}
			start := time.Now()
			r := probe.Run(ctx, probe.Options{URL: public, CA: theAuthority().pem(t)}.In(v.world))
			cancel()
			if got := strings.Join(checks(r.Findings), " "); got != want || time.Since(start) > 5*time.Second {
				t.Errorf("%s: after %v, want %q:\n%s", name, time.Since(start), want, text(r.Findings))
			}
			if late := notChecked(r, probe.OutOfTime); slices.Contains(late, "url-timeout") != whole {
				t.Errorf("%s: there was no time for %q", name, late)
			}
		}
	}
	close(hang)
}

// Where answers are each in time, and together too slow, none is told to be missing,
// whichever it is in which the time of the visit ends.
func TestSlowAnswers(t *testing.T) {
	t.Parallel()
	s := newService(t, settings{public: public, trusted: proxies})
	for last := range 12 {
		t.Run(fmt.Sprint(last), func(t *testing.T) {
			t.Parallel()
			var count atomic.Int32
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			slow := func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if int(count.Add(1)) > last {
						<-ctx.Done()
					}
					next.ServeHTTP(w, r)
				})
			}
			v := newFront(t, slow(visiting(s.proxy(&fault{}))), &fault{})
			resolves(nil, "198.51.100.7", "2001:db8::7")(&v.world)
			r := probe.Run(ctx, probe.Options{URL: public, CA: theAuthority().pem(t), Service: probe.Service{PublicURL: public}}.In(v.world))
			if len(r.Findings) > 0 || len(notChecked(r, probe.OutOfTime)) == 0 {
				t.Errorf("after %d answers: %v\n%s", last, r.NotChecked, text(r.Findings))
			}
		})
	}
}

// A flood of cookies is one thing that is wrong. It keeps the browser from nothing that
// it would not lose as well, and is over in time.
func TestCookieFlood(t *testing.T) {
	t.Parallel()
	s := newService(t, settings{public: public, trusted: proxies})
	for attributes, want := range map[string]string{"": "url-cookie-many", "; Secure": "url-cookie-many url-cookie-refused"} {
		var next atomic.Int32
		f := &fault{response: header(func(h http.Header) {
			for range 4000 {
				n := next.Add(1)
				h.Add("Set-Cookie", fmt.Sprintf("%x=%06x%s", n, n, attributes))
			}
		})}
		start := time.Now()
		list := look(t, s, f)
		if got := strings.Join(checks(list), " "); got != want || time.Since(start) > 15*time.Second {
			t.Errorf("%q: found %q, want %q, after %v:\n%s", attributes, got, want, time.Since(start), text(list))
		}
	}
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
