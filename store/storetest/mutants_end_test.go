package storetest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
)

// afterEnd is a store that does something more to an ID that End was called
// with.
func afterEnd(f func(m *model, id store.ID, why store.Ended, until time.Time, before store.Record, err error) error) broken {
	return broken{end: func(m *model, ctx context.Context, id store.ID, version uint64, why store.Ended, until time.Time) error {
		before, _ := m.Get(ctx, id)
		return f(m, id, why, until, before, m.End(ctx, id, version, why, until))
	}}
}

// keep leaves a tombstone, whatever was there before.
func (m *model) keep(id store.ID, why store.Ended, until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bury(id, why, until)
}

func endMutants() []mutant {
	return []mutant{
		{"End leaves no tombstone", []string{"Get/Promise01_Tombstone", "Put/A01_Tombstone_0_Ended", "End/KeepsWhy"},
			afterEnd(func(m *model, id store.ID, _ store.Ended, _ time.Time, _ store.Record, err error) error {
				if err == nil {
					m.mu.Lock()
					m.drop(id)
					m.mu.Unlock()
				}
				return err
			})},
		{"End of nothing leaves nothing", []string{"End/Promise01_LateCreateFindsTombstone", "Race/EndEndUnknown",
			"Race/Promise01_CreateEnd", "Times/A52_Lifetimes"},
			afterEnd(func(m *model, id store.ID, _ store.Ended, _ time.Time, _ store.Record, err error) error {
				if errors.Is(err, store.ErrNotFound) {
					m.mu.Lock()
					m.drop(id)
					m.mu.Unlock()
				}
				return err
			})},
		{"End of nothing succeeds", []string{"Get/Promise01_Tombstone", "End/Promise01_LateCreateFindsTombstone"},
			afterEnd(func(_ *model, _ store.ID, _ store.Ended, _ time.Time, _ store.Record, err error) error {
				if errors.Is(err, store.ErrNotFound) {
					return nil
				}
				return err
			})},
	}
}

func winnerMutants() []mutant {
	return []mutant{
		{"a second End succeeds", []string{"End/FirstReasonStays", "Race/EndEnd", "Race/EndUser_End"},
			afterEnd(func(_ *model, _ store.ID, _ store.Ended, _ time.Time, _ store.Record, err error) error {
				if errors.Is(err, store.ErrEnded) {
					return nil
				}
				return err
			})},
		{"the last reason stays", []string{"End/FirstReasonStays", "EndUser/EndedOnesAreNotCounted"},
			broken{
				end: func(m *model, ctx context.Context, id store.ID, version uint64, why store.Ended, until time.Time) error {
					err := m.End(ctx, id, version, why, until)
					if errors.Is(err, store.ErrEnded) {
						m.keep(id, why, until)
					}
					return err
				},
				endUser: func(m *model, ctx context.Context, userID string, except store.ID, why store.Ended, until time.Time) (int, error) {
					n, err := m.EndUser(ctx, userID, except, why, until)
					m.mu.Lock()
					defer m.mu.Unlock()
					for id, e := range m.all { // it does not know whose they were
						if e.dead {
							m.bury(id, why, until)
						}
					}
					return n, err
				},
			}},
		{"End does not compare versions", []string{"End/A02_OtherVersion", "Race/A02_UpdateEndOfThisVersion", "History/Linearizable"},
			broken{end: func(m *model, ctx context.Context, id store.ID, _ uint64, why store.Ended, until time.Time) error {
				return m.End(ctx, id, 0, why, until)
			}}},
		{"End of another version ends all the same", []string{"End/A02_OtherVersion"},
			afterEnd(func(m *model, id store.ID, why store.Ended, until time.Time, _ store.Record, err error) error {
				if errors.Is(err, store.ErrConflict) {
					m.keep(id, why, until)
				}
				return err
			})},
	}
}

func versionMutants() []mutant {
	return []mutant{
		{"version 0 is a version", []string{"End/Version0_Any", "End/OneSessionOnly"},
			broken{end: func(m *model, ctx context.Context, id store.ID, version uint64, why store.Ended, until time.Time) error {
				if version == 0 {
					version = 1 << 40
				}
				return m.End(ctx, id, version, why, until)
			}}},
		{"no version is the one", []string{"End/ThisVersion"},
			broken{end: func(m *model, ctx context.Context, id store.ID, version uint64, why store.Ended, until time.Time) error {
				if version > 0 {
					return store.ErrConflict
				}
				return m.End(ctx, id, version, why, until)
			}}},
		{"only the reasons of today are kept", []string{"End/KeepsWhy"},
			broken{end: func(m *model, ctx context.Context, id store.ID, version uint64, why store.Ended, until time.Time) error {
				why.Reason &= 0x7f
				return m.End(ctx, id, version, why, until)
			}}},
		{"End ends all of the user", []string{"End/OneSessionOnly"},
			afterEnd(func(m *model, _ store.ID, why store.Ended, until time.Time, before store.Record, err error) error {
				if err == nil {
					m.EndUser(context.Background(), before.UserID, store.ID{}, why, until)
				}
				return err
			})},
		{"a tombstone lives until the deadline only", []string{"Sweep/Promise01_Tombstones"},
			afterEnd(func(m *model, id store.ID, _ store.Ended, _ time.Time, before store.Record, err error) error {
				if err == nil {
					m.change(id, func(e *entry) { e.until = before.Deadline })
				}
				return err
			})},
		{"a tombstone lives until until only", []string{"Sweep/Promise01_Tombstones"},
			afterEnd(func(m *model, id store.ID, _ store.Ended, until time.Time, _ store.Record, err error) error {
				if err == nil {
					m.change(id, func(e *entry) { e.until = until })
				}
				return err
			})},
	}
}

// pause lets others come in between.
func pause() { time.Sleep(200 * time.Microsecond) }

// atomicityMutants look first and act later.
func atomicityMutants() []mutant {
	return []mutant{
		{"a write is read, compared and written in steps", []string{"Race/Promise02_UpdateUpdate", "Race/A03_NoUpdateIsLost", "History/Linearizable"},
			broken{put: func(m *model, ctx context.Context, r store.Record) error {
				old, err := m.Get(ctx, r.ID)
				if err != nil || r.Version != old.Version || r.UserID != old.UserID {
					return m.Put(ctx, r)
				}
				pause()
				r.Seen, r.Expires = later(r.Seen, old.Seen), later(r.Expires, old.Expires)
				return m.force(r, r.Version+1)
			}}},
		{"a create looks first", []string{"Race/CreateCreate", "Race/Promise01_CreateEnd"},
			broken{put: func(m *model, ctx context.Context, r store.Record) error {
				if _, err := m.Get(ctx, r.ID); r.Version > 0 || !errors.Is(err, store.ErrNotFound) {
					return m.Put(ctx, r)
				}
				pause()
				return m.force(r, 1)
			}}},
		{"an update looks for the tombstone first", []string{"Race/A01_UpdateTouchEnd", "Race/A01_EndUser_UpdateTouch"},
			broken{put: func(m *model, ctx context.Context, r store.Record) error {
				old, err := m.Get(ctx, r.ID)
				if err != nil || r.Version != old.Version {
					return m.Put(ctx, r)
				}
				pause()
				if err := m.Put(ctx, r); !errors.Is(err, store.ErrEnded) {
					return err
				}
				return m.force(r, r.Version+1)
			}}},
	}
}

func lateMutants() []mutant {
	return []mutant{
		{"End looks first", []string{"Race/EndEnd", "Race/A02_UpdateEndOfThisVersion", "Race/EndUser_End", "History/Linearizable"},
			broken{end: func(m *model, ctx context.Context, id store.ID, version uint64, why store.Ended, until time.Time) error {
				r, err := m.Get(ctx, id)
				if err != nil || version != 0 && version != r.Version {
					return m.End(ctx, id, version, why, until)
				}
				pause()
				m.mu.Lock()
				defer m.mu.Unlock()
				m.bury(id, why, until)
				return nil
			}}},
		{"End of nothing looks first", []string{"Race/EndEndUnknown", "Race/Promise01_CreateEnd"},
			broken{end: func(m *model, ctx context.Context, id store.ID, version uint64, why store.Ended, until time.Time) error {
				if _, err := m.Get(ctx, id); !errors.Is(err, store.ErrNotFound) {
					return m.End(ctx, id, version, why, until)
				}
				pause()
				m.mu.Lock()
				defer m.mu.Unlock()
				if m.all[id] == nil || m.all[id].dead {
					m.bury(id, why, until)
				}
				return store.ErrNotFound
			}}},
		{"Data and Info are written one after the other", []string{"Race/ReadersSeeWholeRecords"},
			broken{put: func(m *model, ctx context.Context, r store.Record) error {
				whole := r
				if old, err := m.Get(ctx, r.ID); err == nil {
					r.Info = old.Info
				}
				err := m.Put(ctx, r)
				if err == nil {
					pause()
					m.change(r.ID, func(e *entry) { e.rec.Info = whole.Info })
				}
				return err
			}}},
	}
}

// beforePut is a store that changes what it is given.
func beforePut(f func(r *store.Record)) broken {
	return broken{put: func(m *model, ctx context.Context, r store.Record) error {
		f(&r)
		return m.Put(ctx, r)
	}}
}

// cut is what C takes for a string.
func cut(b []byte) []byte {
	if i := slices.Index(b, 0); i >= 0 {
		return b[:i]
	}
	return b
}

func valueMutants() []mutant {
	return []mutant{
		{"a NUL byte ends a value", []string{"Values/A51_AnyBytes", "Values/A52_Sizes"},
			beforePut(func(r *store.Record) { r.Data = cut(r.Data) })},
		{"a NUL byte ends the info", []string{"Values/A51_AnyBytes"},
			beforePut(func(r *store.Record) { r.Info = cut(r.Info) })},
		{"values are text", []string{"Values/A51_AnyBytes"},
			beforePut(func(r *store.Record) { r.Data = []byte(strings.ToValidUTF8(string(r.Data), "?")) })},
		{"values are cut at 64 KiB", []string{"Values/A52_Sizes"},
			beforePut(func(r *store.Record) { r.Data = r.Data[:min(len(r.Data), 1<<16)] })},
		{"a value that is too large takes the old one with it", []string{"Values/A52_Sizes"},
			broken{put: func(m *model, ctx context.Context, r store.Record) error {
				if len(r.Data) <= 1<<16 {
					return m.Put(ctx, r)
				}
				m.mu.Lock()
				defer m.mu.Unlock()
				m.drop(r.ID)
				return errors.New("too large")
			}}},
		{"an empty value leaves the old one", []string{"Values/A52_Sizes"},
			broken{put: func(m *model, ctx context.Context, r store.Record) error {
				if old, err := m.Get(ctx, r.ID); err == nil && len(r.Data) == 0 {
					r.Data = old.Data
				}
				return m.Put(ctx, r)
			}}},
		{"user IDs are cut", []string{"Values/UserIDs", "Values/A52_OddUserIDs"},
			beforePut(func(r *store.Record) { r.UserID = r.UserID[:min(len(r.UserID), 254)] })},
		{"a NUL byte ends a user ID", []string{"Values/A52_OddUserIDs"},
			beforePut(func(r *store.Record) { r.UserID = string(cut([]byte(r.UserID))) })},
		{"user IDs are trimmed", []string{"Values/UserIDs"},
			beforePut(func(r *store.Record) { r.UserID = strings.TrimSpace(r.UserID) })},
	}
}

func idMutants() []mutant {
	return []mutant{
		{"IDs end at a NUL byte", []string{"IDs/A08_OddBytes", "IDs/A08_OneBit", "Scan/Neighbours"},
			sameIDs(func(id store.ID) store.ID { return firstBytes(id, max(1, len(cut(id[:])))) })},
		{"IDs have 128 bits", []string{"IDs/A08_OneBit", "Scan/Neighbours"},
			sameIDs(func(id store.ID) store.ID { return firstBytes(id, 16) })},
		{"IDs are compared without case", []string{"IDs/A08_OddBytes", "IDs/A08_OneBit"},
			sameIDs(func(id store.ID) store.ID {
				for i, b := range id {
					if b >= 'a' && b <= 'z' {
						id[i] -= 'a' - 'A'
					}
				}
				return id
			})},
	}
}

// sameIDs is a store to which some IDs are one.
func sameIDs(f func(id store.ID) store.ID) broken {
	return broken{
		get: func(m *model, ctx context.Context, id store.ID) (store.Record, error) { return m.Get(ctx, f(id)) },
		put: func(m *model, ctx context.Context, r store.Record) error {
			r.ID = f(r.ID)
			return m.Put(ctx, r)
		},
		end: func(m *model, ctx context.Context, id store.ID, version uint64, why store.Ended, until time.Time) error {
			return m.End(ctx, f(id), version, why, until)
		},
	}
}

// firstBytes returns an ID of which only the first n bytes count.
func firstBytes(id store.ID, n int) store.ID {
	clear(id[n:])
	return id
}

func timeMutants() []mutant {
	times := func(r *store.Record, f func(t time.Time) time.Time) {
		r.Created, r.Seen, r.Expires, r.Deadline = f(r.Created), f(r.Seen), f(r.Expires), f(r.Deadline)
	}
	return []mutant{
		{"times are whole seconds", []string{"Times/Milliseconds", "Get/ReturnsWhatWasPut"}, beforePut(func(r *store.Record) {
			times(r, func(t time.Time) time.Time { return t.Truncate(time.Second) })
		})},
		{"times are rounded to tens", []string{"Times/Milliseconds"}, beforePut(func(r *store.Record) {
			times(r, func(t time.Time) time.Time { return t.Round(10 * time.Millisecond) })
		})},
		{"times are local", []string{"Get/ReturnsWhatWasPut"}, afterGet(func(r *store.Record, err error) error {
			times(r, func(t time.Time) time.Time { return t.In(time.FixedZone("CET", 3600)) })
			return err
		})},
		{"times are seconds of 32 bits", []string{"Times/FarAway"}, beforePut(func(r *store.Record) {
			times(r, func(t time.Time) time.Time {
				return t.Add(time.Duration(int64(int32(t.Unix()))-t.Unix()) * time.Second)
			})
		})},
		{"a tombstone's time is in seconds", []string{"Times/Milliseconds", "End/KeepsWhy"}, afterGet(func(r *store.Record, err error) error {
			r.Ended.At = r.Ended.At.Truncate(time.Second)
			return err
		})},
		{"30 days are a date", []string{"Times/A52_Lifetimes"}, broken{
			put: func(m *model, ctx context.Context, r store.Record) error {
				err := m.Put(ctx, r)
				if err == nil && time.Until(r.Expires) > 30*24*time.Hour {
					m.mu.Lock()
					m.drop(r.ID)
					m.mu.Unlock()
				}
				return err
			}}},
		{"a tombstone of 30 days is lost", []string{"Times/A52_Lifetimes"},
			afterEnd(func(m *model, id store.ID, _ store.Ended, until time.Time, _ store.Record, err error) error {
				if time.Until(until) > 30*24*time.Hour {
					m.mu.Lock()
					m.drop(id)
					m.mu.Unlock()
				}
				return err
			})},
		{"records go when they expire", []string{"Times/A52_Lifetimes", "Sweep/Expired"}, broken{
			get: func(m *model, ctx context.Context, id store.ID) (store.Record, error) {
				r, err := m.Get(ctx, id)
				if err == nil && time.Now().After(r.Expires) {
					m.mu.Lock()
					m.drop(id)
					m.mu.Unlock()
					return m.Get(ctx, id)
				}
				return r, err
			}}},
	}
}

func contextMutants() []mutant {
	late := broken{
		put: func(m *model, ctx context.Context, r store.Record) error {
			return errors.Join(m.Put(context.WithoutCancel(ctx), r), ctx.Err())
		},
		end: func(m *model, ctx context.Context, id store.ID, version uint64, why store.Ended, until time.Time) error {
			return errors.Join(m.End(context.WithoutCancel(ctx), id, version, why, until), ctx.Err())
		},
	}
	return []mutant{
		{"Get does not heed ctx", []string{"Context/Cancelled", "Context/TooLate"}, broken{
			get: func(m *model, _ context.Context, id store.ID) (store.Record, error) {
				return m.Get(context.Background(), id)
			}}},
		{"a call under an ended ctx happens", []string{"Context/Cancelled", "Context/TooLate"}, late},
		{"Put resends what has been applied", []string{"Context/CancelledInFlight"}, broken{
			put: func(m *model, ctx context.Context, r store.Record) error {
				err := m.Put(ctx, r)
				if err == nil && r.Version > 0 {
					time.Sleep(100 * time.Microsecond)
					if ctx.Err() != nil { // no answer, so once more
						r.Version++
						return m.Put(context.WithoutCancel(ctx), r)
					}
				}
				return err
			}}},
	}
}
