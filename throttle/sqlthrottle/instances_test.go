package sqlthrottle_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
	"github.com/cloakroom-dev/cloakroom/throttle"
	"github.com/cloakroom-dev/cloakroom/throttle/sqlthrottle"
)

var bob = throttle.Attempt{Account: "bob", Source: "192.0.2.7"}

// instance opens a database as another process would.
func instance(tb testing.TB, kind int, address string) *throttle.Throttle {
	tb.Helper()
	s, _ := open(tb, kind, address)
	th, err := throttle.New(s, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return th
}

// Of 200 guesses at the same moment at four instances five are verified, be they
// from one source or from many; and the owner on a known device is.
func TestAttack_A33_ParallelGuessesOverFourInstances(t *testing.T) {
	for i, k := range kinds {
		t.Run(k.Name, func(t *testing.T) {
			address := k.Address(t)
			var four []*throttle.Throttle
			for range 4 {
				four = append(four, instance(t, i, address))
			}
			for _, name := range []string{"one", "many"} {
				var (
					wg             sync.WaitGroup
					verified, owns atomic.Int32
					start          = make(chan struct{})
				)
				for n := range 200 {
					a := throttle.Attempt{Account: name, Source: "192.0.2.7"}
					if name == "many" {
						a.Source = fmt.Sprintf("198.51.100.%d", n)
					}
					counter := &verified
					if n%50 == 0 {
						a.Device, counter = "phone", &owns
					}
					wg.Go(func() {
						<-start
						_, err := four[n%4].Begin(t.Context(), a)
						if err == nil {
							counter.Add(1)
						} else if _, ok := errors.AsType[*throttle.RefusedError](err); !ok {
							t.Error(err)
						}
					})
				}
				close(start)
				wg.Wait()
				if verified.Load() != 5 || owns.Load() != 4 {
					t.Errorf("%s: %d guesses and %d of the owner's attempts were verified, want 5 and 4", name, verified.Load(), owns.Load())
				}
			}
		})
	}
}

// A process that dies between Begin and Succeed has failed; the one that is started
// next knows all that was counted.
func TestAttack_A34_RestartForgetsNothing(t *testing.T) {
	for i, k := range kinds {
		t.Run(k.Name, func(t *testing.T) {
			address := k.Address(t)
			for range 5 {
				// One after the other, each a process of its own that settles nothing.
				if _, err := instance(t, i, address).Begin(t.Context(), bob); err != nil {
					t.Fatal(err)
				}
			}
			th := instance(t, i, address)
			_, err := th.Begin(t.Context(), bob)
			if r, ok := errors.AsType[*throttle.RefusedError](err); !ok || r.RetryAfter > throttle.DefaultDelay || r.Lane != "account" {
				t.Errorf("after the restart: %v, want it refused", err)
			}
			if s, err := th.State(t.Context(), "bob"); err != nil || s.Failures != 5 || s.Until.IsZero() {
				t.Errorf("%+v, %v", s, err)
			}
		})
	}
}

// No name, address or device stands in the database.
func TestPromise11_RowsHoldDigests(t *testing.T) {
	const account, source, device = "bob-the-builder", "192.0.2.77", "phone-of-bob"
	for i, k := range kinds {
		t.Run(k.Name, func(t *testing.T) {
			s, db := open(t, i, k.Address(t))
			th, err := throttle.New(s, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range []throttle.Attempt{{Account: account, Source: source}, {Account: account, Source: source, Device: device}} {
				if _, err := th.Begin(t.Context(), a); err != nil {
					t.Fatal(err)
				}
			}
			rows, err := db.Reader().QueryContext(t.Context(), "SELECT id, owner FROM cloakroom_throttle")
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			n := 0
			for rows.Next() {
				var id, owner []byte
				if err := rows.Scan(&id, &owner); err != nil {
					t.Fatal(err)
				}
				if text := string(id) + string(owner); len(id) != 32 || len(owner) != 32 && len(owner) != 0 || strings.Contains(text, "bob") || strings.Contains(text, "192") {
					t.Errorf("%q of %q", id, owner)
				}
				n++
			}
			if n != 4 || rows.Err() != nil {
				t.Errorf("%d rows, %v; want account, pair, source, device", n, rows.Err())
			}
		})
	}
}

// counting counts statements, and fails those that it is told to.
type counting struct {
	database
	reads, writes atomic.Int32
	fail          func(n int32) bool // the nth write
	after         bool               // it is done, and the answer is lost
}

func (c *counting) Reader() sqlstore.Queryer {
	c.reads.Add(1)
	return c.database.Reader()
}

var errLost = errors.New("the link is gone")

func (c *counting) Exec(ctx context.Context, query string, args ...any) (int, error) {
	n := c.writes.Add(1)
	fails := c.fail != nil && c.fail(n)
	if fails && !c.after {
		return 0, errLost
	}
	rows, err := c.database.Exec(ctx, query, args...)
	if fails {
		return 0, errLost
	}
	return rows, err
}

func (c *counting) Write(ctx context.Context, f func(context.Context, sqlstore.Queryer) error) error {
	c.writes.Add(1)
	return c.database.Write(ctx, f)
}

// over returns a Throttle on a database that counts.
func over(tb testing.TB, kind int) (*throttle.Throttle, *counting) {
	tb.Helper()
	_, db := open(tb, kind, kinds[kind].Address(tb))
	c := &counting{database: db}
	s, err := sqlthrottle.Open(tb.Context(), c)
	if err != nil {
		tb.Fatal(err)
	}
	th, err := throttle.New(s, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return th, c
}

// The round trips that the package comment promises.
func TestRoundTrips(t *testing.T) {
	for i, k := range kinds {
		t.Run(k.Name, func(t *testing.T) {
			th, db := over(t, i)
			cost := func(what string, reads, writes int32, f func() error) {
				t.Helper()
				db.reads.Store(0)
				db.writes.Store(0)
				if err := f(); err != nil {
					if _, ok := errors.AsType[*throttle.RefusedError](err); !ok {
						t.Fatal(err)
					}
				}
				if db.reads.Load() != reads || db.writes.Load() != writes {
					t.Errorf("%s: %d reads and %d writes, want %d and %d", what, db.reads.Load(), db.writes.Load(), reads, writes)
				}
			}
			var tk *throttle.Ticket
			begin := func() (err error) {
				tk, err = th.Begin(t.Context(), bob)
				return err
			}
			each := int32(3) // a statement a lane
			if k.Name == "sqlite" {
				each = 1 // a transaction
			}
			cost("first attempt", 1, 1, begin)
			cost("its success", 0, 1, func() error { return th.Succeed(t.Context(), tk) })
			cost("first attempt", 1, 1, begin)
			cost("second attempt", 1, each, begin)
			cost("success behind a failure", 0, 2, func() error { return th.Succeed(t.Context(), tk) })
			for range 5 {
				if err := begin(); err != nil {
					t.Fatal(err)
				}
			}
			cost("refused", 1, 0, begin)
		})
	}
}

// Where a statement fails in the middle of a Begin, nothing that is known to be
// counted stays so; a statement of which nobody knows may.
func TestFailureInTheMiddle(t *testing.T) {
	for i, k := range kinds[1:] {
		t.Run(k.Name, func(t *testing.T) {
			for _, after := range []bool{false, true} {
				th, db := over(t, i+1)
				if _, err := th.Begin(t.Context(), bob); err != nil {
					t.Fatal(err)
				}
				db.after = after
				db.writes.Store(0)
				db.fail = func(n int32) bool { return n == 2 }
				tk, err := th.Begin(t.Context(), bob)
				if _, refused := errors.AsType[*throttle.RefusedError](err); tk != nil || !errors.Is(err, errLost) || refused {
					t.Fatalf("Begin: %v, %v", tk, err)
				}
				db.fail = nil
				if s, err := th.State(t.Context(), "bob"); err != nil || s.Failures != 1 {
					t.Errorf("%+v, %v behind one failure", s, err)
				}
				// Behind the account's lane it is the pair's that may have counted.
				for n := 1; ; n++ {
					_, err := th.Begin(t.Context(), bob)
					if err == nil && n < 5 {
						continue
					}
					if r, ok := errors.AsType[*throttle.RefusedError](err); !ok || after && n != 4 || !after && n != 5 {
						t.Errorf("answer lost %t: attempt %d: %v, %v", after, n, err, r)
					}
					break
				}
			}
		})
	}
}

// What is due by a clock that is wrong is not swept.
func TestAttack_A43_SweepByAWrongClockIsRefused(t *testing.T) {
	for i, k := range kinds {
		t.Run(k.Name, func(t *testing.T) {
			s, _ := open(t, i, k.Address(t))
			for _, off := range []time.Duration{365 * 24 * time.Hour, -time.Hour, 6 * time.Minute} {
				if n, err := s.Sweep(t.Context(), time.Now().Add(off)); err == nil || n != 0 {
					t.Errorf("%v off: swept %d, %v", off, n, err)
				}
			}
			if _, err := s.Sweep(t.Context(), time.Now().Add(4*time.Minute)); err != nil {
				t.Error(err)
			}
		})
	}
}

// Tables of a newer program are left alone, and a store opened twice works.
func TestSchemaOfANewerProgram(t *testing.T) {
	for i, k := range kinds {
		t.Run(k.Name, func(t *testing.T) {
			address := k.Address(t)
			_, db := open(t, i, address)
			open(t, i, address)
			if _, err := db.Exec(t.Context(), "UPDATE cloakroom_schema SET version = 9"); err != nil {
				t.Fatal(err)
			}
			_, err := sqlthrottle.Open(t.Context(), db)
			if newer, ok := errors.AsType[*sqlstore.SchemaError](err); !ok || newer.Component != "throttle" {
				t.Errorf("got %v", err)
			}
		})
	}
}

// BenchmarkLogin is a Begin and its Succeed, in one go after the other.
func BenchmarkLogin(b *testing.B) {
	for i, k := range kinds {
		b.Run(k.Name, func(b *testing.B) {
			th := instance(b, i, k.Address(b))
			for b.Loop() {
				tk, err := th.Begin(b.Context(), bob)
				if err != nil {
					b.Fatal(err)
				}
				if err := th.Succeed(b.Context(), tk); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRefused is what a flood costs the database.
func BenchmarkRefused(b *testing.B) {
	for i, k := range kinds {
		b.Run(k.Name, func(b *testing.B) {
			th := instance(b, i, k.Address(b))
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					th.Begin(b.Context(), bob)
				}
			})
		})
	}
}
