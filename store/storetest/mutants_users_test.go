package storetest_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// afterList is a store that lists something else.
func afterList(f func(m *model, userID string, list []store.Record) []store.Record) broken {
	return broken{listUser: func(m *model, ctx context.Context, userID string) ([]store.Record, error) {
		list, err := m.ListUser(ctx, userID)
		m.mu.Lock()
		defer m.mu.Unlock()
		return f(m, userID, list), err
	}}
}

func listMutants() []mutant {
	return []mutant{
		{"tombstones are listed", []string{"ListUser/LiveOnesOnly", "EndUser/Promise09_EndsAll"},
			afterList(func(m *model, _ string, list []store.Record) []store.Record {
				for _, e := range m.all {
					if e.dead {
						list = append(list, e.rec)
					}
				}
				return list
			})},
		{"one is not listed", []string{"ListUser/Promise09_TheUsersOnly"},
			afterList(func(_ *model, _ string, list []store.Record) []store.Record { return list[min(1, len(list)):] })},
		{"one is listed twice", []string{"ListUser/Promise09_TheUsersOnly"},
			afterList(func(_ *model, _ string, list []store.Record) []store.Record {
				return append(list, list[:min(1, len(list))]...)
			})},
		{"only a hundred are listed", []string{"EndUser/Many"},
			afterList(func(_ *model, _ string, list []store.Record) []store.Record { return list[:min(100, len(list))] })},
		{"expired ones are not listed", []string{"ListUser/ExpiredOnesToo"},
			afterList(func(_ *model, _ string, list []store.Record) []store.Record {
				return slices.DeleteFunc(list, func(r store.Record) bool { return time.Now().After(r.Expires) })
			})},
		{"nobody's are listed", []string{"ListUser/Nobody"},
			afterList(func(m *model, userID string, list []store.Record) []store.Record {
				for _, e := range m.all {
					if userID == "" && e.rec.UserID == "" {
						list = append(list, e.rec)
					}
				}
				return list
			})},
		{"users are found by the beginning of their names", []string{"ListUser/Promise09_TheUsersOnly", "Values/UserIDs"},
			afterList(func(m *model, userID string, _ []store.Record) (list []store.Record) {
				for _, e := range m.all {
					if !e.dead && e.rec.UserID != "" && strings.HasPrefix(e.rec.UserID, userID) {
						list = append(list, e.rec)
					}
				}
				return list
			})},
		{"a list shows what it has seen first", []string{"ListUser/AsTheyAreNow", "History/Linearizable"},
			afterList(func(_ *model, _ string, list []store.Record) []store.Record {
				for i := range list {
					list[i].Version, list[i].Seen = 1, list[i].Created
				}
				return list
			})},
		{"a list looks at all sessions", []string{"Users/Promise09_TimeGrowsWithTheUser"},
			afterList(func(m *model, userID string, _ []store.Record) (list []store.Record) {
				for range 10 { // as a map is walked fast
					list = nil
					for _, e := range m.all {
						if !e.dead && userID != "" && e.rec.UserID == userID {
							list = append(list, e.rec)
						}
					}
				}
				return list
			})},
	}
}

// instead is a store that ends other sessions of a user: those that pick names.
func instead(pick func(m *model, userID string, except store.ID) []store.ID) broken {
	return broken{endUser: func(m *model, ctx context.Context, userID string, except store.ID, why store.Ended, until time.Time) (int, error) {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		n := 0
		for _, id := range pick(m, userID, except) {
			m.bury(id, why, later(until, m.all[id].rec.Deadline))
			n++
		}
		return n, nil
	}}
}

// those returns the IDs of live sessions.
func (m *model) those(which func(r store.Record) bool) (ids []store.ID) {
	for id, e := range m.all {
		if !e.dead && which(e.rec) {
			ids = append(ids, id)
		}
	}
	return ids
}

func endUserMutants() []mutant {
	return slices.Concat(pickMutants(), []mutant{
		{"EndUser leaves no tombstones", []string{"EndUser/Promise09_EndsAll", "EndUser/A01_EndedForGood"}, broken{
			endUser: func(m *model, _ context.Context, userID string, except store.ID, _ store.Ended, _ time.Time) (int, error) {
				m.mu.Lock()
				defer m.mu.Unlock()
				n := 0
				for id := range m.users[userID] {
					if id != except {
						m.drop(id)
						n++
					}
				}
				return n, nil
			}}},
		{"EndUser counts one too many", []string{"EndUser/Promise09_EndsAll", "Race/EndUser_EndUser", "History/Linearizable"}, broken{
			endUser: func(m *model, ctx context.Context, userID string, except store.ID, why store.Ended, until time.Time) (int, error) {
				n, err := m.EndUser(ctx, userID, except, why, until)
				return n + 1, err
			}}},
		{"EndUser ends what it has listed before", []string{"Race/EndUser_EndUser", "Race/EndUser_End"}, broken{
			endUser: func(m *model, ctx context.Context, userID string, _ store.ID, why store.Ended, until time.Time) (int, error) {
				list, err := m.ListUser(ctx, userID)
				time.Sleep(200 * time.Microsecond)
				for _, r := range list {
					m.End(ctx, r.ID, 0, why, until)
				}
				return len(list), err
			}}},
		{"EndUser gives up on what was written meanwhile", []string{"Race/A01_EndUser_UpdateTouch"}, broken{
			endUser: func(m *model, ctx context.Context, userID string, except store.ID, why store.Ended, until time.Time) (n int, err error) {
				list, err := m.ListUser(ctx, userID)
				time.Sleep(200 * time.Microsecond)
				for _, r := range list {
					if r.ID != except && m.End(ctx, r.ID, r.Version, why, until) == nil {
						n++
					}
				}
				return n, err
			}}},
		{"EndUser ends by the index, which comes late", []string{"Race/EndUser_Creates", "EndUser/A01_EndedForGood"}, lateIndex()},
		{"EndUser takes another's with it now and then", []string{"Race/EndUser_LeavesOthers"}, broken{
			endUser: func(m *model, ctx context.Context, userID string, except store.ID, why store.Ended, until time.Time) (int, error) {
				n, err := m.EndUser(ctx, userID, except, why, until)
				m.mu.Lock()
				defer m.mu.Unlock()
				for _, id := range m.those(func(r store.Record) bool { return r.UserID == "bob" }) {
					m.bury(id, why, until)
				}
				return n, err
			}}},
	})
}

// pickMutants end the wrong sessions.
func pickMutants() []mutant {
	of := func(userID string, except store.ID) func(r store.Record) bool {
		return func(r store.Record) bool { return userID != "" && r.UserID == userID && r.ID != except }
	}
	return []mutant{
		{"EndUser forgets one", []string{"EndUser/Promise09_EndsAll", "Race/EndUser_Creates"},
			instead(func(m *model, userID string, except store.ID) []store.ID {
				ids := m.those(of(userID, except))
				return ids[min(1, len(ids)):]
			})},
		{"EndUser ends a hundred", []string{"EndUser/Many"},
			instead(func(m *model, userID string, except store.ID) []store.ID {
				ids := m.those(of(userID, except))
				return ids[:min(100, len(ids))]
			})},
		{"EndUser spares nobody", []string{"EndUser/But", "EndUser/Many", "Race/EndUser_LeavesOthers"},
			instead(func(m *model, userID string, _ store.ID) []store.ID { return m.those(of(userID, store.ID{})) })},
		{"EndUser spares the expired", []string{"EndUser/ExpiredOnesToo"},
			instead(func(m *model, userID string, except store.ID) []store.ID {
				return m.those(func(r store.Record) bool { return of(userID, except)(r) && r.Expires.After(time.Now()) })
			})},
		{"EndUser spares the first", []string{"EndUser/NewOnesLive"},
			instead(func(m *model, userID string, except store.ID) []store.ID {
				ids := m.those(of(userID, except))
				if len(ids) == 1 {
					return nil
				}
				return ids
			})},
		{"nobody is a user", []string{"EndUser/Nobody"},
			instead(func(m *model, userID string, except store.ID) []store.ID {
				return m.those(func(r store.Record) bool { return r.UserID == userID && r.ID != except })
			})},
		{"users are told apart without case", []string{"EndUser/Unknown", "Values/UserIDs"},
			instead(func(m *model, userID string, except store.ID) []store.ID {
				return m.those(func(r store.Record) bool {
					return r.UserID != "" && strings.EqualFold(r.UserID, userID) && r.ID != except
				})
			})},
		{"users are patterns", []string{"EndUser/Unknown"},
			instead(func(m *model, userID string, except store.ID) []store.ID {
				return m.those(func(r store.Record) bool {
					return r.UserID != "" && (r.UserID == userID || userID == "%") && r.ID != except
				})
			})},
		{"EndUser looks at all sessions", []string{"Users/Promise09_TimeGrowsWithTheUser"},
			instead(func(m *model, userID string, except store.ID) (ids []store.ID) {
				for range 10 { // as a map is walked fast
					ids = m.those(of(userID, except))
				}
				return ids
			})},
	}
}

// lateIndex is a store in which a session is its user's only when the next one
// has come.
func lateIndex() broken {
	var mu sync.Mutex
	var last store.ID
	return broken{
		put: func(m *model, ctx context.Context, r store.Record) error {
			mu.Lock()
			defer mu.Unlock()
			err := m.Put(ctx, r)
			if r.Version == 0 && err == nil {
				last = r.ID
			}
			return err
		},
		endUser: func(m *model, ctx context.Context, userID string, _ store.ID, why store.Ended, until time.Time) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return m.EndUser(ctx, userID, last, why, until)
		},
	}
}
