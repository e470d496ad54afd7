package sqlite_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
)

// plain is the yardstick: one connection, one transaction a write, with the same
// file, mode, timeout and statements.
type plain struct{ db *sql.DB }

func (p plain) Dialect() *sqlstore.Dialect { return sqlstore.SQLite }
func (p plain) Reader() sqlstore.Queryer   { return p.db }

func (p plain) Write(ctx context.Context, f func(context.Context, sqlstore.Queryer) error) error {
	tx, err := p.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(ctx, tx); err != nil {
		tx.Rollback()
		return err
	}
	return tx.Commit()
}

func (p plain) Exec(ctx context.Context, query string, args ...any) (int, error) {
	res, err := p.db.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	n, err := res.RowsAffected()
	return int(n), err
}

func (p plain) Migrate(ctx context.Context, f func(context.Context, sqlstore.Queryer) error) error {
	return p.Write(ctx, f)
}

// openPlain opens the yardstick.
func openPlain(tb testing.TB, sync string) *sqlstore.Store {
	tb.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(tb.TempDir(), "plain.db")+
		"?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous("+sync+")")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	s, err := sqlstore.New(context.Background(), plain{db})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// record returns a new session with n bytes of data.
func record(n int) store.Record {
	now := time.Now().UTC().Truncate(time.Millisecond)
	r := store.Record{
		UserID: "user", Created: now, Seen: now, Expires: now.Add(30 * time.Minute), Deadline: now.Add(24 * time.Hour),
		Info: make([]byte, 100), Data: make([]byte, n),
	}
	rand.Read(r.ID[:])
	return r
}

// BenchmarkWrite measures updates of 300 bytes by parallel writers, each with a
// session of its own, and prints writes a second.
func BenchmarkWrite(b *testing.B) {
	for _, level := range []sqlite.Sync{sqlite.Full, sqlite.Normal} {
		name := map[sqlite.Sync]string{sqlite.Full: "FULL", sqlite.Normal: "NORMAL"}[level]
		for _, writers := range []int{1, 8, 64} {
			b.Run(fmt.Sprintf("%s/plain/writers=%d", name, writers), func(b *testing.B) {
				benchWrite(b, openPlain(b, name), writers)
			})
			b.Run(fmt.Sprintf("%s/grouped/writers=%d", name, writers), func(b *testing.B) {
				db, err := sqlite.Open(filepath.Join(b.TempDir(), "grouped.db"), &sqlite.Options{Sync: level})
				if err != nil {
					b.Fatal(err)
				}
				defer db.Close()
				benchWrite(b, db.Store(), writers)
			})
		}
	}
}

func benchWrite(b *testing.B, s *sqlstore.Store, writers int) {
	ctx := b.Context()
	records := make([]store.Record, writers)
	for i := range records {
		records[i] = record(300)
		if err := s.Put(ctx, records[i]); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	var wg sync.WaitGroup
	for i := range records {
		wg.Go(func() {
			r := records[i]
			for n := i; n < b.N; n += writers {
				r.Version++
				if err := s.Put(ctx, r); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
}

// BenchmarkRead measures Get, alone and while eight writers are at work.
func BenchmarkRead(b *testing.B) {
	db, err := sqlite.Open(filepath.Join(b.TempDir(), "a.db"), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	s, r := db.Store(), record(300)
	if err := s.Put(b.Context(), r); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		ctx  context.Context
	}{{"background", context.Background()}, {"cancellable", b.Context()}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Get(c.ctx, r.ID); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+"/parallel", func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := s.Get(c.ctx, r.ID); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
