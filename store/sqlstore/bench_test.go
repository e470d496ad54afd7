package sqlstore_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// fill stores n sessions, ten of each user.
func fill(tb testing.TB, db sqlstore.DB, n int) {
	tb.Helper()
	err := db.Write(tb.Context(), func(ctx context.Context, tx sqlstore.Queryer) error {
		_, err := tx.ExecContext(ctx, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
			INSERT INTO cloakroom_session
			SELECT randomblob(32), 1, 0, 0, 9e12, 9e12, 9e12, 0, 0, CAST('user' || (i / 10) AS BLOB), x'00', randomblob(300) FROM n`, n)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkServer measures a read and a write beside the same statements through
// the same driver and pool, with nothing around them.
func BenchmarkServer(b *testing.B) {
	for i, k := range kinds {
		if k.name == "sqlite" {
			continue // package sqlite has its own
		}
		db := openKind(b, i)
		s := db.Store()
		r := record("alice")
		r.Data = make([]byte, 300)
		r = put(b, s, r)
		b.Run(k.name+"/get/raw", func(b *testing.B) {
			query := db.Dialect().SQL("SELECT version, user_id, data FROM cloakroom_session WHERE id = ?")
			for b.Loop() {
				var (
					version int64
					user    string
					data    []byte
				)
				if err := db.Reader().QueryRowContext(b.Context(), query, r.ID[:]).Scan(&version, &user, &data); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(k.name+"/get/store", func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Get(b.Context(), r.ID); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(k.name+"/put/raw", func(b *testing.B) {
			query := db.Dialect().SQL("UPDATE cloakroom_session SET info = ?, data = ? WHERE id = ?")
			raw := db.Reader().(*sql.DB)
			for b.Loop() {
				r.Data[0]++
				if _, err := raw.ExecContext(b.Context(), query, r.Info, r.Data, r.ID[:]); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(k.name+"/put/store", func(b *testing.B) {
			for b.Loop() {
				r.Data[0]++
				if err := s.Put(b.Context(), r); err != nil {
					b.Fatal(err)
				}
				r.Version++
			}
		})
	}
}

// BenchmarkEndUser ends one user's two sessions among a hundred thousand.
func BenchmarkEndUser(b *testing.B) {
	db := open(b)
	fill(b, db, 100_000)
	s := db.Store()
	for b.Loop() {
		b.StopTimer()
		r := record("me")
		put(b, s, r)
		put(b, s, record("me"))
		b.StartTimer()
		if n, err := s.EndUser(b.Context(), "me", store.ID{}, why(), r.Deadline); n != 2 || err != nil {
			b.Fatal(n, err)
		}
	}
}

// BenchmarkTouch moves the idle time of one session among a hundred thousand.
func BenchmarkTouch(b *testing.B) {
	db := open(b)
	fill(b, db, 100_000)
	r := put(b, db.Store(), record("me"))
	for b.Loop() {
		r.Seen = r.Seen.Add(1e6)
		if err := db.Store().Touch(b.Context(), r.ID, r.Seen, r.Expires); err != nil {
			b.Fatal(err)
		}
	}
}
