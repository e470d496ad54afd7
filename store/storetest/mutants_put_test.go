package storetest_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"slices"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// A mutant is a broken store, and the cases that must notice.
type mutant struct {
	name   string
	fails  []string
	broken broken
}

func mutants() []mutant {
	return slices.Concat(getMutants(), bytesMutants(), upserts(), putMutants(), touchMutants(),
		endMutants(), winnerMutants(), versionMutants(), atomicityMutants(), lateMutants(),
		valueMutants(), idMutants(), timeMutants(), contextMutants(),
		listMutants(), endUserMutants(), sweepMutants(), clockMutants(), forgottenMutants(), scanMutants())
}

// change does something to what is stored under an ID, if there is something.
func (m *model) change(id store.ID, f func(e *entry)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.all[id]; e != nil {
		f(e)
	}
}

// force stores a record whatever was there before.
func (m *model) force(r store.Record, version uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.set(r, version)
	return nil
}

// afterGet is a store whose Get tells something else.
func afterGet(f func(r *store.Record, err error) error) broken {
	return broken{get: func(m *model, ctx context.Context, id store.ID) (store.Record, error) {
		r, err := m.Get(ctx, id)
		err = f(&r, err)
		return r, err
	}}
}

func getMutants() []mutant {
	return []mutant{
		{"Get judges the idle time", []string{"Get/Promise04_JudgesNoTime", "Times/A52_Lifetimes"},
			afterGet(func(r *store.Record, err error) error {
				if err == nil && time.Now().After(r.Expires) {
					return store.ErrNotFound
				}
				return err
			})},
		{"Get judges the deadline", []string{"Get/Promise04_JudgesNoTime"},
			afterGet(func(r *store.Record, err error) error {
				if err == nil && time.Now().After(r.Deadline) {
					return store.ErrEnded
				}
				return err
			})},
		{"Get refuses what was made in the future", []string{"Get/Promise04_JudgesNoTime"},
			afterGet(func(r *store.Record, err error) error {
				if err == nil && r.Created.After(time.Now().Add(time.Minute)) {
					return store.ErrNotFound
				}
				return err
			})},
		{"Get finds a tombstone and says not found", []string{"Get/Promise01_Tombstone", "End/KeepsWhy"},
			afterGet(func(_ *store.Record, err error) error {
				if errors.Is(err, store.ErrEnded) {
					return store.ErrNotFound
				}
				return err
			})},
		{"Get says ended where nothing is known", []string{"Get/Unknown", "Errors/AreTold"},
			afterGet(func(_ *store.Record, err error) error {
				if errors.Is(err, store.ErrNotFound) {
					return errors.Join(err, store.ErrEnded)
				}
				return err
			})},
		{"Get tells no reason", []string{"Get/Promise01_Tombstone", "End/KeepsWhy", "Race/EndEnd"},
			afterGet(func(r *store.Record, err error) error { r.Ended = store.Ended{}; return err })},
		{"a tombstone has no ID", []string{"Get/Promise01_Tombstone"},
			afterGet(func(r *store.Record, err error) error {
				if err != nil {
					r.ID = store.ID{}
				}
				return err
			})},
		{"Get forgets Info", []string{"Get/ReturnsWhatWasPut"},
			afterGet(func(r *store.Record, err error) error { r.Info = nil; return err })},
	}
}

func bytesMutants() []mutant {
	return []mutant{
		{"bytes are changed in place", []string{"Get/BytesStayAsTheyWere"}, broken{
			put: func(m *model, ctx context.Context, r store.Record) error {
				old, _ := m.Get(ctx, r.ID)
				err := m.Put(ctx, r)
				if err == nil && len(old.Data) == len(r.Data) {
					copy(old.Data, r.Data)
				}
				return err
			}}},
		{"bytes are wiped at the end", []string{"Get/BytesStayAsTheyWere"}, broken{
			end: func(m *model, ctx context.Context, id store.ID, version uint64, why store.Ended, until time.Time) error {
				old, _ := m.Get(ctx, id)
				err := m.End(ctx, id, version, why, until)
				if err == nil {
					clear(old.Info)
				}
				return err
			}}},
	}
}

// putAnyway is a store that stores after all what Put has refused so.
func putAnyway(refused error, when func(r store.Record) bool) broken {
	return broken{put: func(m *model, ctx context.Context, r store.Record) error {
		err := m.Put(ctx, r)
		if errors.Is(err, refused) && when(r) {
			return m.force(r, r.Version+1)
		}
		return err
	}}
}

func creates(r store.Record) bool { return r.Version == 0 }
func updates(r store.Record) bool { return r.Version > 0 }

func upserts() []mutant {
	return []mutant{
		{"an update creates", []string{"Put/Promise01_Nothing_N_NeverCreates", "End/A07_FailuresLeaveNothing"},
			putAnyway(store.ErrNotFound, updates)},
		{"a create overwrites", []string{"Put/Live_0_Conflicts", "Race/CreateCreate", "History/Linearizable"},
			putAnyway(store.ErrConflict, creates)},
		{"versions are not compared", []string{"Put/A03_Live_OtherVersion_Conflicts",
			"Race/Promise02_UpdateUpdate", "Race/A03_NoUpdateIsLost", "History/Linearizable"},
			putAnyway(store.ErrConflict, updates)},
		{"a create revives", []string{"Put/A01_Tombstone_0_Ended", "End/Promise01_EndedForGood",
			"End/Promise01_LateCreateFindsTombstone", "Race/Promise01_CreateEnd", "EndUser/A01_EndedForGood"},
			putAnyway(store.ErrEnded, creates)},
		{"an update revives", []string{"Put/A01_Tombstone_N_Ended", "Race/A01_UpdateTouchEnd",
			"End/Promise01_EndedForGood", "Race/A01_EndUser_UpdateTouch", "History/Linearizable"},
			putAnyway(store.ErrEnded, updates)},
		{"the user can be changed", []string{"Put/Immutable"}, putAnyway(store.ErrImmutable, func(r store.Record) bool {
			return r.UserID != "user"
		})},
		{"Created can be changed", []string{"Put/Immutable"}, putAnyway(store.ErrImmutable, func(r store.Record) bool {
			return r.UserID == "user" && time.Since(r.Deadline.Add(-24*time.Hour)) < time.Minute
		})},
		{"Deadline can be changed", []string{"Put/Immutable"}, putAnyway(store.ErrImmutable, func(r store.Record) bool {
			return r.UserID == "user" && !r.Deadline.Equal(r.Created.Add(24*time.Hour))
		})},
		{"an immutable field stays as it was without a word", []string{"Put/Immutable"}, broken{
			put: func(m *model, ctx context.Context, r store.Record) error {
				if old, err := m.Get(ctx, r.ID); err == nil {
					r.UserID, r.Created, r.Deadline = old.UserID, old.Created, old.Deadline
				}
				return m.Put(ctx, r)
			}}},
	}
}

// afterPut is a store that does something more to what it has stored.
func afterPut(f func(r store.Record, e *entry)) broken {
	return broken{put: func(m *model, ctx context.Context, r store.Record) error {
		err := m.Put(ctx, r)
		if err == nil {
			m.change(r.ID, func(e *entry) { f(r, e) })
		}
		return err
	}}
}

func putMutants() []mutant {
	return []mutant{
		{"a create stores nothing", []string{"Put/Nothing_0_Creates", "Get/ReturnsWhatWasPut"}, broken{
			put: func(m *model, ctx context.Context, r store.Record) error {
				if r.Version == 0 {
					return nil
				}
				return m.Put(ctx, r)
			}}},
		{"the version stands still", []string{"Put/CountsVersions", "Race/Promise02_UpdateUpdate"},
			afterPut(func(r store.Record, e *entry) { e.rec.Version = max(1, r.Version) })},
		{"versions have 32 bits", []string{"Put/A03_Live_OtherVersion_Conflicts"}, broken{
			put: func(m *model, ctx context.Context, r store.Record) error {
				r.Version = uint64(uint32(r.Version))
				return m.Put(ctx, r)
			}}},
		{"large versions are an error", []string{"Put/Promise01_Nothing_N_NeverCreates", "Put/A01_Tombstone_N_Ended"}, broken{
			put: func(m *model, ctx context.Context, r store.Record) error {
				if r.Version > 1<<63-1 {
					return errors.New("the highest bit is set")
				}
				return m.Put(ctx, r)
			}}},
		{"Put moves Seen back", []string{"Put/TimesMoveForward", "Touch/LeavesVersionAndBytes",
			"Race/Promise02_UpdateTouch", "History/Linearizable"},
			afterPut(func(r store.Record, e *entry) { e.rec.Seen = r.Seen })},
		{"Put moves Expires back", []string{"Put/TimesMoveForward", "Touch/LeavesVersionAndBytes", "History/Linearizable"},
			afterPut(func(r store.Record, e *entry) { e.rec.Expires = earlier(r.Expires, r.Deadline) })},
		{"Put leaves Expires", []string{"Put/TimesMoveForward"}, broken{
			put: func(m *model, ctx context.Context, r store.Record) error {
				if old, err := m.Get(ctx, r.ID); err == nil {
					r.Expires = old.Expires
				}
				return m.Put(ctx, r)
			}}},
		{"Put passes the deadline", []string{"Put/Promise04_NothingPassesDeadline", "History/Linearizable"},
			afterPut(func(r store.Record, e *entry) { e.rec.Expires = later(e.rec.Expires, r.Expires) })},
		{"Ended is kept", []string{"Put/IgnoresEnded"},
			afterPut(func(r store.Record, e *entry) { e.rec.Ended = r.Ended })},
		{"Put of Ended ends", []string{"Put/IgnoresEnded"},
			afterPut(func(r store.Record, e *entry) { e.dead = r.Ended.Reason != store.NotEnded })},
		{"Info is that of the create", []string{"Put/CountsVersions"}, broken{
			put: func(m *model, ctx context.Context, r store.Record) error {
				if old, err := m.Get(ctx, r.ID); err == nil {
					r.Info = old.Info
				}
				return m.Put(ctx, r)
			}}},
		{"an update is that of all the user's sessions", []string{"Put/UpdatesOneRecordOnly"}, broken{
			put: func(m *model, ctx context.Context, r store.Record) error {
				err := m.Put(ctx, r)
				if list, _ := m.ListUser(ctx, r.UserID); r.Version > 0 && err == nil {
					for _, other := range list {
						m.change(other.ID, func(e *entry) { e.rec.Data = r.Data })
					}
				}
				return err
			}}},
	}
}

// afterTouch is a store that does something more to what it has touched.
func afterTouch(f func(e *entry, seen, expires time.Time)) broken {
	return broken{touch: func(m *model, ctx context.Context, id store.ID, seen, expires time.Time) error {
		err := m.Touch(ctx, id, seen, expires)
		if err == nil {
			m.change(id, func(e *entry) { f(e, seen, expires) })
		}
		return err
	}}
}

func touchMutants() []mutant {
	return []mutant{
		{"Touch creates", []string{"Touch/Promise01_NothingIsCreated", "End/A07_FailuresLeaveNothing"}, broken{
			touch: func(m *model, ctx context.Context, id store.ID, seen, expires time.Time) error {
				err := m.Touch(ctx, id, seen, expires)
				if errors.Is(err, store.ErrNotFound) {
					m.force(store.Record{ID: id, Seen: seen, Expires: expires, Deadline: expires}, 1)
				}
				return err
			}}},
		{"Touch revives", []string{"Touch/A01_NobodyIsRevived", "Race/A01_UpdateTouchEnd", "History/Linearizable"}, broken{
			touch: func(m *model, ctx context.Context, id store.ID, seen, expires time.Time) error {
				err := m.Touch(ctx, id, seen, expires)
				if errors.Is(err, store.ErrEnded) {
					m.force(store.Record{ID: id, Seen: seen, Expires: expires, Deadline: expires}, 1)
				}
				return err
			}}},
		{"Touch of a tombstone succeeds", []string{"Touch/A01_NobodyIsRevived", "End/Promise01_EndedForGood"}, broken{
			touch: func(m *model, ctx context.Context, id store.ID, seen, expires time.Time) error {
				err := m.Touch(ctx, id, seen, expires)
				if errors.Is(err, store.ErrEnded) {
					return nil
				}
				return err
			}}},
		{"Touch moves back", []string{"Touch/NeverBack", "History/Linearizable"}, afterTouch(func(e *entry, seen, expires time.Time) {
			e.rec.Seen, e.rec.Expires = seen, earlier(expires, e.rec.Deadline)
		})},
		{"Touch passes the deadline", []string{"Touch/Promise04_NothingPassesDeadline", "History/Linearizable"},
			afterTouch(func(e *entry, _, expires time.Time) { e.rec.Expires = later(e.rec.Expires, expires) })},
		{"Touch counts as a write", []string{"Touch/LeavesVersionAndBytes", "End/TouchIsNoVersion", "Race/Promise02_UpdateTouch"},
			afterTouch(func(e *entry, _, _ time.Time) { e.rec.Version++ })},
		{"Touch takes the bytes", []string{"Touch/LeavesVersionAndBytes"},
			afterTouch(func(e *entry, _, _ time.Time) { e.rec.Data = bytes.Clone(nil) })},
		{"Touch is for all of the user", []string{"Touch/OneRecordOnly"}, broken{
			touch: func(m *model, ctx context.Context, id store.ID, seen, expires time.Time) error {
				r, err := m.Get(ctx, id)
				list, _ := m.ListUser(ctx, r.UserID)
				for _, r := range list {
					err = errors.Join(err, m.Touch(ctx, r.ID, seen, expires))
				}
				return err
			}}},
		{"Touch does nothing", []string{"Touch/MovesForward", "Sweep/TouchedInTime"}, broken{
			touch: func(m *model, ctx context.Context, id store.ID, _, _ time.Time) error {
				return m.Touch(ctx, id, time.Time{}, time.Time{})
			}}},
		{"Touch is read and written in two steps", []string{"Race/Promise02_UpdateTouch"}, broken{
			touch: func(m *model, ctx context.Context, id store.ID, seen, expires time.Time) error {
				r, err := m.Get(ctx, id)
				if err != nil {
					return err
				}
				runtime.Gosched()
				r.Seen, r.Expires = later(r.Seen, seen), later(r.Expires, expires)
				return m.force(r, r.Version)
			}}},
	}
}
