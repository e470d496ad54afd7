package storetest_test

import (
	"context"
	"slices"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// sweepIf is a store that forgets by a rule of its own.
func sweepIf(rule func(e *entry, now time.Time) bool) broken {
	return broken{sweep: func(m *model, ctx context.Context, now time.Time) (int, error) {
		if n, err := m.Sweep(ctx, now); err != nil {
			return n, err
		}
		return m.forget(func(e *entry) bool { return rule(e, now) }), nil
	}}
}

// forget drops what a rule says.
func (m *model) forget(rule func(e *entry) bool) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, e := range m.all {
		if rule(e) {
			m.drop(id)
			n++
		}
	}
	return n
}

func over(e *entry, now time.Time) bool { return now.Sub(e.due()) > store.Slack }

// believing is a store that does not check some of the clocks.
func believing(wrong func(now time.Time) bool) broken {
	return broken{sweep: func(m *model, ctx context.Context, now time.Time) (int, error) {
		if wrong(now) {
			return m.forget(func(e *entry) bool { return over(e, now) }), nil
		}
		return m.Sweep(ctx, now)
	}}
}

func sweepMutants() []mutant {
	return []mutant{
		{"Sweep has no slack", []string{"Sweep/Expired", "Sweep/ToTheMillisecond", "Sweep/A43_ClockWithinSlack", "Sweep/Forgotten"},
			sweepIf(func(e *entry, now time.Time) bool { return now.After(e.due()) })},
		{"Sweep takes the exact moment", []string{"Sweep/ToTheMillisecond"},
			sweepIf(func(e *entry, now time.Time) bool { return now.Sub(e.due()) >= store.Slack })},
		{"Sweep takes tombstones at once", []string{"Sweep/Promise01_Tombstones", "Race/Promise01_Sweep_End"},
			sweepIf(func(e *entry, _ time.Time) bool { return e.dead })},
		{"Sweep forgets by Seen", []string{"Sweep/Expired", "Sweep/A43_WrongClock"}, broken{
			sweep: func(m *model, ctx context.Context, now time.Time) (int, error) {
				m.forget(func(e *entry) bool { return now.Sub(e.rec.Seen) > 4*time.Minute })
				return m.Sweep(ctx, now)
			}}},
		{"Sweep takes one that lives", []string{"Sweep/Many", "Race/Sweep_Live"}, broken{
			sweep: func(m *model, ctx context.Context, now time.Time) (int, error) {
				taken := false
				m.forget(func(e *entry) bool {
					take := !taken && !over(e, now) && !e.dead
					taken = taken || take
					return take
				})
				return m.Sweep(ctx, now)
			}}},
	}
}

func clockMutants() []mutant {
	return []mutant{
		{"Sweep believes a clock that is ahead", []string{"Sweep/A43_WrongClock"},
			believing(func(now time.Time) bool { return now.After(time.Now()) })},
		{"Sweep believes a clock that is behind", []string{"Sweep/A43_WrongClock"},
			believing(func(now time.Time) bool { return now.Before(time.Now()) })},
		{"Sweep forgets by its own clock", []string{"Sweep/ToTheMillisecond", "Sweep/A43_ClockWithinSlack"}, broken{
			sweep: func(m *model, ctx context.Context, now time.Time) (int, error) {
				if n, err := m.Sweep(ctx, now.Add(-4*time.Minute)); err != nil {
					return n, err
				}
				return m.Sweep(ctx, time.Now())
			}}},
		{"Sweep counts nothing", []string{"Sweep/Expired", "Sweep/Many"}, broken{
			sweep: func(m *model, ctx context.Context, now time.Time) (int, error) {
				_, err := m.Sweep(ctx, now)
				return 0, err
			}}},
	}
}

func forgottenMutants() []mutant {
	return []mutant{
		{"Sweep forgets a hundred", []string{"Sweep/Many"}, broken{
			sweep: func(m *model, ctx context.Context, now time.Time) (int, error) {
				n := 0
				return m.forget(func(e *entry) bool {
					if n < 100 && over(e, now) {
						n++
						return true
					}
					return false
				}), ctx.Err()
			}}},
		{"what was forgotten stays in the user's list", []string{"Sweep/Forgotten", "Sweep/Many"}, broken{
			sweep: func(m *model, ctx context.Context, now time.Time) (int, error) {
				m.mu.Lock()
				kept := slices.Collect(func(yield func(*entry) bool) {
					for _, e := range m.users["user"] {
						if !yield(e) {
							return
						}
					}
				})
				m.mu.Unlock()
				n, err := m.Sweep(ctx, now)
				m.mu.Lock()
				defer m.mu.Unlock()
				for _, e := range kept {
					m.users["user"][e.rec.ID] = e
				}
				return n, err
			}}},
		{"forgotten sessions leave tombstones", []string{"Sweep/Expired", "Sweep/Forgotten"}, broken{
			sweep: func(m *model, _ context.Context, now time.Time) (n int, err error) {
				m.mu.Lock()
				defer m.mu.Unlock()
				for id, e := range m.all {
					if over(e, now) {
						m.bury(id, store.Ended{}, now.Add(time.Hour))
						n++
					}
				}
				return n, nil
			}}},
		{"Sweep looks first and forgets later", []string{"Race/Sweep_Touch", "Race/Sweep_Update", "Race/Promise01_Sweep_End"}, broken{
			sweep: func(m *model, _ context.Context, now time.Time) (int, error) {
				found := map[store.ID]bool{}
				m.mu.Lock()
				for id, e := range m.all {
					found[id] = over(e, now)
				}
				m.mu.Unlock()
				time.Sleep(200 * time.Microsecond)
				return m.forget(func(e *entry) bool { return found[e.rec.ID] }), nil
			}}},
	}
}

// afterScan is a store whose walk is another.
func afterScan(f func(m *model, after store.ID, list []store.Record) []store.Record) broken {
	return broken{scan: func(m *model, ctx context.Context, after store.ID, n int) ([]store.Record, error) {
		list, err := m.Scan(ctx, after, n)
		return f(m, after, list), err
	}}
}

func scanMutants() []mutant {
	return []mutant{
		{"Scan has no order", []string{"Scan/InOrder", "Scan/Neighbours"},
			afterScan(func(_ *model, _ store.ID, list []store.Record) []store.Record {
				slices.Reverse(list)
				return list
			})},
		{"Scan begins with after", []string{"Scan/InOrder", "Scan/Neighbours"},
			broken{scan: func(m *model, ctx context.Context, after store.ID, n int) ([]store.Record, error) {
				if !after.IsZero() && after[31] > 0 {
					after[31]--
				}
				return m.Scan(ctx, after, n)
			}}},
		{"Scan without Data", []string{"Scan/InOrder"},
			afterScan(func(_ *model, _ store.ID, list []store.Record) []store.Record {
				for i := range list {
					list[i].Data = nil
				}
				return list
			})},
		{"Scan finds tombstones", []string{"Scan/LiveOnesOnly"},
			afterScan(func(m *model, _ store.ID, list []store.Record) []store.Record {
				m.mu.Lock()
				defer m.mu.Unlock()
				for _, e := range m.all {
					if e.dead {
						list = append(list, e.rec)
					}
				}
				return list
			})},
		{"Scan finds what is not there", []string{"Scan/Empty"},
			afterScan(func(_ *model, _ store.ID, list []store.Record) []store.Record { return append(list, store.Record{}) })},
		{"Scan spares the expired", []string{"Scan/InOrder"},
			broken{scan: func(m *model, ctx context.Context, after store.ID, n int) ([]store.Record, error) {
				m.forget(func(e *entry) bool { return time.Now().After(e.due()) })
				return m.Scan(ctx, after, n)
			}}},
	}
}
