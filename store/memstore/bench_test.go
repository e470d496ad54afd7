package memstore_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
)

// million is the number of sessions that the measures speak of.
const million = 1_000_000

// id returns the ID of the session with a number, spread as SHA-256 spreads it.
func id(n int) store.ID {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	return sha256.Sum256(b[:])
}

// record returns a session that is to be created now, and lives a day.
func record(n int, userID string) store.Record {
	now := time.Now().Truncate(time.Millisecond).UTC()
	return store.Record{
		ID:       id(n),
		UserID:   userID,
		Created:  now,
		Seen:     now,
		Expires:  now.Add(30 * time.Minute),
		Deadline: now.Add(24 * time.Hour),
		Info:     []byte("info"),
		Data:     []byte("data"),
	}
}

// fill creates sessions from..to-1, each of the user that userID names. They
// share the bytes of one Data and one Info.
func fill(tb testing.TB, st store.Store, from, to int, userID func(int) string) {
	tb.Helper()
	r := record(0, "")
	for i := from; i < to; i++ {
		r.ID, r.UserID = id(i), userID(i)
		if err := st.Put(context.Background(), r); err != nil {
			tb.Fatal(err)
		}
	}
}

func nobody(int) string     { return "" }
func oneEach(i int) string  { return fmt.Sprintf("user-%019d", i) } // 24 bytes
func fourEach(i int) string { return oneEach(i / 4) }

// heap returns the bytes of all live objects.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkMemory reports what a session costs beside its Data and Info.
func BenchmarkMemory(b *testing.B) {
	for _, c := range []struct {
		name   string
		userID func(int) string
		end    bool
	}{
		{"anonymous", nobody, false},
		{"user_with_four", fourEach, false},
		{"user_with_one", oneEach, false},
		{"tombstone", oneEach, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				before := heap()
				st := memstore.New(nil)
				fill(b, st, 0, million, c.userID)
				if c.end {
					for i := range million {
						if err := st.End(context.Background(), id(i), 0, store.Ended{Reason: store.Logout, At: time.Now()}, time.Now()); err != nil {
							b.Fatal(err)
						}
					}
				}
				b.ReportMetric(float64(heap()-before)/million, "B/session")
				runtime.KeepAlive(st)
			}
		})
	}
}

// benchmark runs an operation on sessions of a store with so many, from as many
// goroutines as there are processors.
func benchmark(b *testing.B, op func(ctx context.Context, st *memstore.Store, id store.ID) error) {
	for _, size := range []int{1_000, million} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			st := memstore.New(nil)
			fill(b, st, 0, size, fourEach)
			ids := make([]store.ID, size)
			for i := range ids {
				ids[i] = id(i)
			}
			runtime.GC()
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				ctx := context.Background()
				r := rand.New(rand.NewPCG(rand.Uint64(), 2))
				for pb.Next() {
					if err := op(ctx, st, ids[r.IntN(size)]); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

func BenchmarkGet(b *testing.B) {
	benchmark(b, func(ctx context.Context, st *memstore.Store, id store.ID) error {
		_, err := st.Get(ctx, id)
		return err
	})
}

func BenchmarkTouch(b *testing.B) {
	now := time.Now()
	benchmark(b, func(ctx context.Context, st *memstore.Store, id store.ID) error {
		return st.Touch(ctx, id, now, now.Add(time.Hour))
	})
}

// BenchmarkPut reads a record and writes its next version.
func BenchmarkPut(b *testing.B) {
	benchmark(b, func(ctx context.Context, st *memstore.Store, id store.ID) error {
		r, err := st.Get(ctx, id)
		if err != nil {
			return err
		}
		if err = st.Put(ctx, r); errors.Is(err, store.ErrConflict) {
			return nil // another goroutine has come first
		}
		return err
	})
}

// BenchmarkCreateEndUser creates a user's two sessions and ends them.
func BenchmarkCreateEndUser(b *testing.B) {
	for _, size := range []int{1_000, million} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			st := memstore.New(nil)
			fill(b, st, 0, size, fourEach)
			runtime.GC()
			b.ReportAllocs()
			ctx := context.Background()
			why := store.Ended{Reason: store.Revoked, At: time.Now()}
			for n := million; b.Loop(); n += 2 {
				fill(b, st, n, n+2, func(int) string { return "alice" })
				if n, err := st.EndUser(ctx, "alice", store.ID{}, why, why.At); n != 2 || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}

// BenchmarkSweep looks at a million sessions and forgets none.
func BenchmarkSweep(b *testing.B) {
	st := memstore.New(nil)
	fill(b, st, 0, million, fourEach)
	runtime.GC()
	for b.Loop() {
		if n, err := st.Sweep(context.Background(), time.Now()); n != 0 || err != nil {
			b.Fatal(n, err)
		}
	}
}
