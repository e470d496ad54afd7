package cloakroom_test

import (
	"crypto/rand"
	"encoding/base64"
	"log/slog"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom"
)

// Each benchmark measures its floor in the same run, as figures of a machine say
// little and ratios much: a map behind a lock and a cookie read by net/http, or
// the handler by itself. The metric x-floor is how many times as long ours takes.

// quiet is a site whose log goes nowhere.
func quiet(tb testing.TB) *site {
	return newSite(tb, &cloakroom.Options{Logger: slog.New(slog.DiscardHandler)})
}

// direct returns a Manager on a store in memory that nobody spies on.
func direct(tb testing.TB) *cloakroom.Manager {
	s := quiet(tb)
	return newManager(tb, s.spy.Store, s.ring, &cloakroom.Options{Logger: s.Logger()})
}

// locked is what sessions cost at the least: a token, a lock and a map.
type locked struct {
	mu sync.Mutex
	m  map[string]map[string]any
}

func (l *locked) handler(f func(values map[string]any)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, err := r.Cookie(cookieName)
		if err != nil {
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		f(l.m[c.Value])
	}
}

func (l *locked) login(w http.ResponseWriter, r *http.Request) {
	var token [32]byte
	rand.Read(token[:])
	value := base64.RawURLEncoding.EncodeToString(token[:])
	l.mu.Lock()
	l.m[value] = map[string]any{"user": "u1"}
	l.mu.Unlock()
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: value, Path: "/", HttpOnly: true, Secure: true, SameSite: http.SameSiteLaxMode})
}

// beside measures ours, then the floor for as many times.
func beside(b *testing.B, r *http.Request, ours, floor http.Handler) {
	b.Helper()
	w := &discard{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		ours.ServeHTTP(w, r)
	}
	took := b.Elapsed()
	start := time.Now()
	for range b.N {
		clear(w.header)
		floor.ServeHTTP(w, r)
	}
	least := time.Since(start)
	b.ReportMetric(float64(took)/float64(least), "x-floor")
	b.ReportMetric(float64(took-least)/float64(b.N), "ns-over-floor")
}

// known returns a request of a visitor who has a value, and the floor's store
// with the same.
func known(b *testing.B, m *cloakroom.Manager) (*http.Request, *locked) {
	b.Helper()
	v := &visitor{tb: b, m: m}
	v.visit(func(s *cloakroom.Session) { count.Set(s, 7) })
	return v.request(), &locked{m: map[string]map[string]any{v.cookie[len(cookieName)+1:]: {"count": 7}}}
}

func BenchmarkRead(b *testing.B) {
	m := direct(b)
	r, floor := known(b, m)
	beside(b, r, m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n, ok := count.Get(cloakroom.FromContext(r.Context())); !ok || n != 7 {
			b.Error("no value")
		}
	})), floor.handler(func(values map[string]any) {
		if values["count"] != 7 {
			b.Error("no value")
		}
	}))
}

func BenchmarkWrite(b *testing.B) {
	m := direct(b)
	r, floor := known(b, m)
	n := 0
	beside(b, r, m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n++
		count.Set(cloakroom.FromContext(r.Context()), n)
	})), floor.handler(func(values map[string]any) {
		n++
		values["count"] = n
	}))
}

// sealed is direct with sessions in the cookie.
func sealed(tb testing.TB) *cloakroom.Manager {
	s := quiet(tb)
	m, err := newSealed(s.spy.Store, s.ring, &cloakroom.Options{Logger: s.Logger()})
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

func BenchmarkSealedRead(b *testing.B) {
	m := sealed(b)
	r, floor := known(b, m)
	beside(b, r, m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n, ok := count.Get(cloakroom.FromContext(r.Context())); !ok || n != 7 {
			b.Error("no value")
		}
	})), floor.handler(func(map[string]any) {}))
}

func BenchmarkSealedWrite(b *testing.B) {
	m := sealed(b)
	r, floor := known(b, m)
	n := 7
	beside(b, r, m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n++
		count.Set(cloakroom.FromContext(r.Context()), n)
	})), floor.handler(func(map[string]any) {}))
}

func BenchmarkNoCookie(b *testing.B) {
	m := direct(b)
	bare := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) })
	beside(b, (&visitor{tb: b, m: m}).request(), m.Handler(bare), bare)
}

func BenchmarkBadCookie(b *testing.B) {
	m := direct(b)
	bare := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) })
	v := &visitor{tb: b, m: m}
	v.login("u1")
	forged := []byte(v.cookie)
	forged[len(forged)-10] ^= 1
	beside(b, (&visitor{tb: b, m: m, cookie: string(forged)}).request(), m.Handler(bare), bare)
}

// besideParallel is beside on all processors.
func besideParallel(b *testing.B, request func() *http.Request, ours, floor http.Handler) {
	b.Helper()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		r, w := request(), &discard{header: http.Header{}}
		for pb.Next() {
			clear(w.header)
			ours.ServeHTTP(w, r)
		}
	})
	b.StopTimer()
	took := b.Elapsed()
	var times atomic.Int64
	times.Store(int64(b.N))
	start := time.Now()
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			r, w := request(), &discard{header: http.Header{}}
			for times.Add(-1) >= 0 {
				clear(w.header)
				floor.ServeHTTP(w, r)
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64(took)/float64(time.Since(start)), "x-floor")
}

func BenchmarkReadParallel(b *testing.B) {
	m := direct(b)
	first, floor := known(b, m)
	besideParallel(b, func() *http.Request { return first.Clone(first.Context()) },
		m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if n, ok := count.Get(cloakroom.FromContext(r.Context())); !ok || n != 7 {
				b.Error("no value")
			}
		})), floor.handler(func(values map[string]any) {
			if values["count"] != 7 {
				b.Error("no value")
			}
		}))
}

func BenchmarkLoginParallel(b *testing.B) {
	m := direct(b)
	floor := &locked{m: map[string]map[string]any{}}
	besideParallel(b, func() *http.Request { return (&visitor{tb: b, m: m}).request() },
		m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			login(cloakroom.FromContext(r.Context()))
		})), http.HandlerFunc(floor.login))
}
