package sqlstore_test

import (
	"context"
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
