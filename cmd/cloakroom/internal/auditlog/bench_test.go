package auditlog_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/auditlog"
	"github.com/cloakroom-dev/cloakroom/internal/event"
)

// many makes a log of so many entries of a year, of 1000 users and addresses; a hundredth of
// them suspicious.
func many(b *testing.B, db database, n int) *auditlog.Log {
	b.Helper()
	l, log := open(b, db, ring(b))
	gone, cancel := context.WithCancel(b.Context())
	cancel() // nobody waits
	start := time.Now().Add(-365 * 24 * time.Hour)
	for i := range n {
		kind := event.Login
		switch {
		case i%100 == 0:
			kind = event.Locked
		case i%3 == 0:
			kind = event.Logout
		}
		r := slog.NewRecord(start.Add(time.Duration(i)*365*24*time.Hour/time.Duration(n)), slog.LevelInfo, kind, 0)
		r.AddAttrs(slog.String("user", fmt.Sprint("user", i%1000)), slog.String("addr", fmt.Sprintf("10.0.%d.%d", i%1000/250, i%250)), slog.String("request", "0123456789abcdef"))
		must(b, log.Handler().Handle(gone, r))
		if i%2000 == 1999 {
			must(b, l.Flush(b.Context()))
		}
	}
	must(b, l.Flush(b.Context()))
	return l
}

// BenchmarkFind: a page of each kind of question in a log of 200,000 entries, or of
// CLOAKROOM_AUDIT_ENTRIES.
func BenchmarkFind(b *testing.B) {
	n, err := strconv.Atoi(os.Getenv("CLOAKROOM_AUDIT_ENTRIES"))
	if err != nil {
		n = 200_000
	}
	for _, k := range kinds {
		b.Run(k.Name, func(b *testing.B) {
			began := time.Now()
			l := many(b, k.OpenFor(b, k.Address(b)), n)
			b.Logf("%d entries in %v", n, time.Since(began))
			old := time.Now().Add(-300 * 24 * time.Hour)
			for name, q := range map[string]auditlog.Query{
				"newest":     {},
				"user":       {User: "user500"},
				"nobody":     {User: "nobody"},
				"kind":       {Kind: event.Logout},
				"kind+addr":  {Kind: event.Locked, Addr: "10.0.2.0"},
				"suspicious": {Suspicious: true},
				"long ago":   {From: old, To: old.Add(24 * time.Hour), User: "user500"},
				"deep page":  {Kind: event.Login, Before: int64(n / 2)},
				"all at once": {User: "user300", Kind: event.Locked, Addr: "10.0.1.50", Suspicious: true,
					From: old},
			} {
				b.Run(name, func(b *testing.B) {
					for b.Loop() {
						if _, err := l.Find(b.Context(), q); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
			b.Run("summary of a week", func(b *testing.B) {
				for b.Loop() {
					_, err := l.Summary(b.Context(), time.Now().Add(-7*24*time.Hour))
					must(b, err)
				}
			})
			b.Run("verify all", func(b *testing.B) {
				for b.Loop() {
					r, err := l.Verify(b.Context())
					must(b, err)
					if !r.Vouched() {
						b.Fatal(r.Broken)
					}
				}
			})
		})
	}
}

// BenchmarkLogin: what an awaited entry costs a login, alone and beside others.
func BenchmarkLogin(b *testing.B) {
	for _, k := range kinds {
		b.Run(k.Name, func(b *testing.B) {
			_, log := open(b, k.OpenFor(b, k.Address(b)), ring(b))
			b.Run("alone", func(b *testing.B) {
				for b.Loop() {
					login(log, "ada")
				}
			})
			b.Run("beside 31 others", func(b *testing.B) {
				b.SetParallelism(16)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						login(log, "ada")
					}
				})
			})
		})
	}
}
