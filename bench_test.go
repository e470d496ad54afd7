package cloakroom_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
)

var count = cloakroom.NewKey[int]("count")

func newManager(tb testing.TB) *cloakroom.Manager {
	ring, err := keyring.New(keyring.Generate())
	if err != nil {
		tb.Fatal(err)
	}
	m, err := cloakroom.New(memstore.New(nil), ring, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

func TestSmoke(t *testing.T) {
	m := newManager(t)
	h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := cloakroom.FromContext(r.Context())
		switch r.URL.Path {
		case "/login":
			s.Login(cloakroom.Identity{UserID: "u1"})
		case "/logout":
			if err := s.End(r.Context()); err != nil {
				t.Error(err)
			}
		}
		fmt.Fprint(w, count.Update(s, func(n int) int { return n + 1 }), s.UserID())
	}))
	cookie := ""
	do := func(path string) {
		r := httptest.NewRequest("GET", path, nil)
		if cookie != "" {
			r.Header.Set("Cookie", cookie)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		t.Log(path, w.Code, w.Body, w.Header())
		if c := w.Result().Cookies(); len(c) > 0 {
			cookie = c[0].Name + "=" + c[0].Value
		}
	}
	do("/")
	do("/")
	do("/login")
	do("/")
	old := cookie
	do("/logout")
	cookie = old
	do("/")
}

type nop struct{ h http.Header }

func (n *nop) Header() http.Header         { return n.h }
func (n *nop) Write(p []byte) (int, error) { return len(p), nil }
func (n *nop) WriteHeader(int)             {}

func BenchmarkRead(b *testing.B) {
	m := newManager(b)
	var set bool
	h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := cloakroom.FromContext(r.Context())
		if set {
			count.Set(s, 7)
		}
		if v, ok := count.Get(s); !ok || v != 7 {
			b.Fatal("no value")
		}
	}))
	set = true
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/", nil)
	h.ServeHTTP(w, r)
	set = false
	c := w.Result().Cookies()[0]
	r.Header.Set("Cookie", c.Name+"="+c.Value)
	b.ReportAllocs()
	n := &nop{http.Header{}}
	for b.Loop() {
		clear(n.h)
		h.ServeHTTP(n, r)
	}
}

func BenchmarkWrite(b *testing.B) {
	m := newManager(b)
	i := 0
	h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i++
		count.Set(cloakroom.FromContext(r.Context()), i)
	}))
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/", nil)
	h.ServeHTTP(w, r)
	c := w.Result().Cookies()[0]
	r.Header.Set("Cookie", c.Name+"="+c.Value)
	b.ReportAllocs()
	n := &nop{http.Header{}}
	for b.Loop() {
		clear(n.h)
		h.ServeHTTP(n, r)
	}
}

func BenchmarkNoCookie(b *testing.B) {
	m := newManager(b)
	bare := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {})
	h := m.Handler(bare)
	r := httptest.NewRequest("GET", "/", nil)
	n := &nop{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(n, r)
	}
}
