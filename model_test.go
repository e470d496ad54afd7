package cloakroom_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom"
)

// model is what a session's values ought to be, and how they became it.
type model struct {
	t       *testing.T
	random  *rand.Rand
	keys    []cloakroom.Key[int]
	values  map[string]int
	flashes []string
	done    []string
}

// Random sequences of all that can be done to values, over several requests, some
// of which panic, against a map.
func TestValuesAgreeWithAModel(t *testing.T) { both(t, testValuesAgreeWithAModel) }

func testValuesAgreeWithAModel(t *testing.T, newSite siteMaker) {
	for seed := range uint64(60) {
		m := &model{t: t, random: rand.New(rand.NewPCG(seed, 11)), values: map[string]int{}}
		for i := range 6 {
			m.keys = append(m.keys, cloakroom.NewKey[int](strings.Repeat(string(rune('a'+i)), 1+i*25)))
		}
		v := newSite(t, nil).visitor(t)
		for range 8 {
			m.request(v)
		}
		if t.Failed() {
			t.Fatalf("seed %d: %q", seed, m.done)
		}
	}
}

// request does some of it in one request.
func (m *model) request(v *visitor) {
	values, flashes := maps.Clone(m.values), slices.Clone(m.flashes)
	if m.random.IntN(6) > 0 {
		m.done = append(m.done, "request")
		v.visit(func(s *cloakroom.Session) { m.steps(s, true) })
		return
	}
	m.done = append(m.done, "request that panics")
	_ = panics(func() {
		v.do(func(_ http.ResponseWriter, r *http.Request) {
			m.steps(cloakroom.FromContext(r.Context()), false)
			panic("lost")
		})
	})
	m.values, m.flashes = values, flashes
}

func (m *model) steps(s *cloakroom.Session, mayCommit bool) {
	m.compare(s)
	for range m.random.IntN(12) {
		k := m.keys[m.random.IntN(len(m.keys))]
		if m.random.IntN(4) > 0 {
			m.value(s, k)
		} else {
			m.whole(s, mayCommit)
		}
		if got, ok := k.Get(s); got != m.values[k.Name()] || ok != s.Has(k.Name()) {
			m.t.Errorf("%.1s is %d, %t, want %d", k.Name(), got, ok, m.values[k.Name()])
		}
	}
	m.compare(s)
}

// value does one thing to one value.
func (m *model) value(s *cloakroom.Session, k cloakroom.Key[int]) {
	name, n := k.Name(), m.random.IntN(1000)
	want, there := m.values[name]
	switch m.random.IntN(4) {
	case 0:
		m.done = append(m.done, fmt.Sprintf("set %.1s %d", name, n))
		k.Set(s, n)
		m.values[name] = n
	case 1:
		m.done = append(m.done, fmt.Sprintf("delete %.1s", name))
		k.Delete(s)
		delete(m.values, name)
	case 2:
		m.done = append(m.done, fmt.Sprintf("pop %.1s", name))
		if got, ok := k.Pop(s); got != want || ok != there {
			m.t.Errorf("popped %d, %t, want %d, %t", got, ok, want, there)
		}
		delete(m.values, name)
	case 3:
		m.done = append(m.done, fmt.Sprintf("update %.1s", name))
		if got := k.Update(s, func(old int) int { return old*2 + 1 }); got != want*2+1 {
			m.t.Errorf("updated %d to %d", want, got)
		}
		m.values[name] = want*2 + 1
	}
}

// whole does one thing to the whole session.
func (m *model) whole(s *cloakroom.Session, mayCommit bool) {
	switch m.random.IntN(4) {
	case 0:
		m.done = append(m.done, "clear")
		s.Clear()
		clear(m.values)
	case 1:
		msg := fmt.Sprint(m.random.IntN(1000))
		m.done = append(m.done, "flash "+msg)
		s.Flash(msg)
		m.flashes = append(m.flashes, msg)
	case 2:
		m.done = append(m.done, "flashes")
		if got := s.Flashes(); !slices.Equal(got, m.flashes) {
			m.t.Errorf("flashes are %q, want %q", got, m.flashes)
		}
		m.flashes = nil
	case 3:
		if mayCommit {
			m.done = append(m.done, "commit")
			if err := s.Commit(m.t.Context()); err != nil {
				m.t.Error(err)
			}
		}
	}
}

func (m *model) compare(s *cloakroom.Session) {
	if got, want := s.Names(), slices.Sorted(maps.Keys(m.values)); !slices.Equal(got, want) {
		m.t.Errorf("names are %.1q, want %.1q", got, want)
	}
	for name, want := range m.values {
		if got, ok := cloakroom.NewKey[int](name).Get(s); got != want || !ok {
			m.t.Errorf("%.1s is %d, %t, want %d", name, got, ok, want)
		}
	}
}
