package sqlthrottle_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/throttle"
	"github.com/cloakroom-dev/cloakroom/throttle/sqlthrottle"
)

// between is a database on whose first write, once f is set, somebody else is first.
type between struct {
	database
	f func()
}

func (b *between) Exec(ctx context.Context, query string, args ...any) (int, error) {
	if f := b.f; f != nil {
		b.f = nil
		f()
	}
	return b.database.Exec(ctx, query, args...)
}

// side is a store under way, with what it returned so far.
type side struct {
	t     *testing.T
	st    throttle.Store
	now   time.Time
	marks [][]throttle.Mark
}

// take takes n times, and keeps the marks.
func (s *side) take(n int, lanes ...throttle.Lane) (refused *throttle.Refusal) {
	s.t.Helper()
	for range n {
		m, r, err := s.st.Take(s.t.Context(), lanes, s.now)
		if err != nil {
			s.t.Fatal(err)
		}
		s.marks, refused = append(s.marks, m), r
	}
	return refused
}

// settle settles what the nth Take counted, in each of the lanes the same way.
func (s *side) settle(n int, how throttle.How, lanes ...throttle.Lane) {
	s.t.Helper()
	var back []throttle.Return
	for i, l := range lanes {
		if s.marks[n] != nil {
			back = append(back, throttle.Return{Lane: l, Mark: s.marks[n][i], How: how})
		}
	}
	if err := s.st.Settle(s.t.Context(), back); err != nil {
		s.t.Fatal(err)
	}
}

// A Take between whose reading and writing somebody else comes, whoever it is, ends as
// if that had been before it; and what it counted is given back from that count alone.
func TestWhoeverComesBetween(t *testing.T) {
	l := throttle.Lane{
		Name: "account", Key: throttle.Key{1}, Owner: throttle.Key{1}, Free: 5, Lock: 9,
		Delay: 30 * time.Second, MaxDelay: time.Hour, Forget: 24 * time.Hour, Keep: 30 * 24 * time.Hour,
	}
	counts, wide := l, l
	counts.Free, wide.Free = 0, 100
	day := 24 * time.Hour
	cases := []struct {
		name          string
		lane          throttle.Lane // of the Take that is looked at
		before, other func(s *side)
	}{
		{"one more", l, func(s *side) { s.take(1, l) }, func(s *side) { s.take(1, l) }},
		{"the last that is free", l, func(s *side) { s.take(1, l) }, func(s *side) { s.take(3, l) }},
		{"a delay", l, func(s *side) { s.take(1, l) }, func(s *side) { s.take(4, l) }},
		{"a delay behind a delay", l, func(s *side) { s.take(5, l); s.now = s.now.Add(time.Minute) }, func(s *side) { s.take(1, l) }},
		{"given back", l, func(s *side) { s.take(2, l) }, func(s *side) { s.settle(0, throttle.Give, l) }},
		{"given back behind a delay", l, func(s *side) { s.take(5, l); s.now = s.now.Add(time.Minute) }, func(s *side) { s.settle(2, throttle.Give, l) }},
		{"all given back", l, func(s *side) { s.take(1, l) }, func(s *side) { s.settle(0, throttle.Give, l) }},
		{"cleared", l, func(s *side) { s.take(3, l) }, func(s *side) { s.settle(0, throttle.Clear, l) }},
		{"cleared and begun anew", l, func(s *side) { s.take(2, l) }, func(s *side) { s.settle(0, throttle.Clear, l); s.take(2, l) }},
		{"in a row no more", l, func(s *side) { s.take(2, l) }, func(s *side) { s.settle(0, throttle.ClearTotal, l) }},
		{"in a row anew", l, func(s *side) { s.take(2, l) }, func(s *side) { s.settle(0, throttle.ClearTotal, l); s.take(1, counts) }},
		{"forgotten and begun anew", l, func(s *side) { s.take(2, l) }, func(s *side) {
			s.now = s.now.Add(day)
			s.take(1, l)
			s.now = s.now.Add(-time.Hour)
		}},
		{"a lock", wide, func(s *side) { s.take(7, wide) }, func(s *side) { s.take(2, wide) }},
		{"nearly a lock", wide, func(s *side) { s.take(6, wide) }, func(s *side) { s.take(2, wide) }},
		{"a count in a row", counts, func(s *side) { s.take(2, l) }, func(s *side) { s.take(1, counts) }},
		{"a lock of a count", counts, func(s *side) { s.take(7, counts) }, func(s *side) { s.take(2, counts) }},
		{"a count that ends", counts, func(s *side) { s.take(3, counts) }, func(s *side) { s.settle(0, throttle.Clear, counts) }},
		{"a count that begins anew", counts, func(s *side) { s.take(3, counts) }, func(s *side) { s.settle(0, throttle.Clear, counts); s.take(1, counts) }},
		{"dropped", l, func(s *side) { s.take(4, l) }, func(s *side) {
			if err := s.st.Drop(s.t.Context(), l.Owner); err != nil {
				s.t.Fatal(err)
			}
		}},
		{"from nothing", l, func(*side) {}, func(s *side) { s.take(2, l) }},
		{"a delay from nothing", l, func(*side) {}, func(s *side) { s.take(5, l) }},
	}
	for i, k := range kinds[1:] {
		st, db := open(t, i+1, k.Address(t))
		for _, v := range cases {
			t.Run(k.Name+"/"+v.name, func(t *testing.T) {
				if _, err := db.Exec(t.Context(), "DELETE FROM cloakroom_throttle"); err != nil {
					t.Fatal(err)
				}
				b := &between{database: db}
				slow, err := sqlthrottle.Open(t.Context(), b)
				if err != nil {
					t.Fatal(err)
				}
				now := time.Now().Truncate(time.Millisecond)
				got, want := &side{t: t, st: st, now: now}, &side{t: t, st: throttle.NewMemory(), now: now}
				v.before(got)
				v.before(want)
				other := *got
				b.f = func() { v.other(&other) }
				got.st = slow
				refused := got.take(1, v.lane)
				v.other(want)
				want.now = got.now
				if r := want.take(1, v.lane); fmt.Sprint(r) != fmt.Sprint(refused) {
					t.Errorf("refused %+v, want %+v", refused, r)
				}
				compare(t, "behind it", st, want.st, l.Key)
				got.settle(len(got.marks)-1, throttle.Give, v.lane)
				want.settle(len(want.marks)-1, throttle.Give, v.lane)
				compare(t, "given back", st, want.st, l.Key)
			})
		}
	}
}

// compare compares a counter, but for the numbers of its counts.
func compare(t *testing.T, when string, got, want throttle.Store, key throttle.Key) {
	t.Helper()
	a, err := got.Read(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	b, err := want.Read(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	a.Gen, a.Run, b.Gen, b.Run = 0, 0, 0, 0
	if a != b {
		t.Errorf("%s the counter is %+v, want %+v", when, a, b)
	}
}
