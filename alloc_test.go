//go:build !race

package cloakroom_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// Allocations are counted without the race detector, which makes pools forget on
// purpose.

// allocs counts the allocations of a request.
func allocs(r *http.Request, h http.Handler) float64 {
	w := &discard{header: http.Header{}}
	return testing.AllocsPerRun(500, func() {
		clear(w.header)
		h.ServeHTTP(w, r)
	})
}

func TestAllocationsOfTheHotPaths(t *testing.T) {
	m := direct(t)
	v := &visitor{tb: t, m: m}
	v.visit(func(s *cloakroom.Session) { count.Set(s, 7) })
	n := 0
	bare := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) })
	least := allocs(v.request(), bare)
	for name, test := range map[string]struct {
		cookie  string
		handler http.HandlerFunc
		most    float64
	}{
		"read": {v.cookie, func(w http.ResponseWriter, r *http.Request) {
			if n, ok := count.Get(cloakroom.FromContext(r.Context())); !ok || n != 7 {
				t.Error("no value")
			}
		}, 12},
		"write": {v.cookie, func(w http.ResponseWriter, r *http.Request) {
			n++
			cloakroom.NewKey[int]("n").Set(cloakroom.FromContext(r.Context()), n)
		}, 25},
		"no cookie":     {"", bare, least + 2},
		"other cookies": {"a=b; c=d; theme=dark", bare, least + 2},
		// A flood of these must not cost more than one of strangers.
		"bad cookie":     {cookieName + "=" + strings.Repeat("A", 71), bare, least + 2},
		"cookie of 1 MB": {cookieName + "=" + strings.Repeat("A", 1<<20), bare, least + 2},
		"10000 cookies":  {strings.Repeat(cookieName+"=x; ", 10_000), bare, least + 2},
		"10000 others":   {strings.Repeat("a=b; ", 10_000), bare, least + 2},
	} {
		got := allocs((&visitor{tb: t, m: m, cookie: test.cookie}).request(), m.Handler(test.handler))
		if got > test.most {
			t.Errorf("%s: %v allocations, at most %v", name, got, test.most)
		}
		t.Logf("%s: %v allocations of %v", name, got, test.most)
	}
}

// Reading one small value of a large session costs that value, beside the opening
// of the record.
func TestAllocationsDoNotGrowWithTheSession(t *testing.T) {
	read := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n, ok := count.Get(cloakroom.FromContext(r.Context())); !ok || n != 7 {
			t.Error("no value")
		}
	})
	var counts []float64
	for _, others := range []int{0, 500} {
		m := direct(t)
		v := &visitor{tb: t, m: m}
		v.visit(func(s *cloakroom.Session) {
			for i := range others {
				cloakroom.NewKey[string](strings.Repeat("k", 1+i%100)+string(rune('a'+i/100))).Set(s, strings.Repeat("v", 50))
			}
			count.Set(s, 7)
		})
		counts = append(counts, allocs(v.request(), m.Handler(read)))
	}
	if counts[1] > counts[0]+1 {
		t.Errorf("a small value costs %v allocations alone and %v among 500", counts[0], counts[1])
	}
}

// Reading a sealed session costs no more for the keys that it has been under.
func TestAllocationsDoNotGrowWithKeys(t *testing.T) {
	s := newSealedSite(t, nil)
	v := s.signedIn(t, "u1")
	read := s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user := cloakroom.FromContext(r.Context()).UserID(); user != "u1" {
			t.Error("no user")
		}
	}))
	first := allocs(v.request(), read)
	second := keyring.Generate()
	s.replace(t, second, retiring(s.key))
	v.user()
	s.replace(t, keyring.Generate(), retiring(second), retiring(s.key))
	v.user()
	if got := allocs(v.request(), read); got > first || first > 12 {
		t.Errorf("a read costs %v allocations under the first key, at most 12, and %v under the third", first, got)
	}
}
