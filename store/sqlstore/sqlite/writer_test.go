package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
)

// TestGroups: what comes while a transaction is under way shares the next one.
func TestGroups(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	db, err := sqlite.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	numbers(t, db)
	before := commits(t, path)
	release := hold(t, db)
	var wg sync.WaitGroup
	queued(&wg, 50, func(i int) {
		if err := db.Write(t.Context(), insert(i)); err != nil {
			t.Error(err)
		}
	})
	if err := release(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if n, total := sum(t, db); n != 50 || total != 50*49/2 {
		t.Errorf("%d numbers of sum %d, want 50 of 1225", n, total)
	}
	// The held one changed nothing, so it left no frame.
	if n := commits(t, path) - before; n != 1 {
		t.Errorf("50 writes that came together took %d transactions, want 1", n)
	}
}

// TestOneFailureIsOnesOwn: a write that fails in a group leaves no trace, and
// takes nobody with it.
func TestOneFailureIsOnesOwn(t *testing.T) {
	db := open(t, nil)
	numbers(t, db)
	release := hold(t, db)
	boom := errors.New("boom")
	errs := make([]error, 20)
	var wg sync.WaitGroup
	queued(&wg, len(errs), func(i int) {
		errs[i] = db.Write(t.Context(), func(ctx context.Context, tx sqlstore.Queryer) error {
			if err := insert(i)(ctx, tx); err != nil {
				return err
			}
			switch i {
			case 3:
				return boom
			case 7:
				_, err := tx.ExecContext(ctx, "INSERT INTO nowhere VALUES (1)")
				return err
			}
			return nil
		})
	})
	if err := release(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	for i, err := range errs {
		switch {
		case i == 3 && !errors.Is(err, boom), i == 7 && (err == nil || !strings.Contains(err.Error(), "nowhere")):
			t.Errorf("write %d: %v, want its own error", i, err)
		case i != 3 && i != 7 && err != nil:
			t.Errorf("write %d: %v", i, err)
		}
	}
	if n, total := sum(t, db); n != 18 || total != 20*19/2-10 {
		t.Errorf("%d numbers of sum %d, want 18 of 180", n, total)
	}
}

// TestPanic: a write that panics does so in its caller's goroutine, where a
// server survives it, and leaves no trace.
func TestPanic(t *testing.T) {
	db := open(t, nil)
	numbers(t, db)
	func() {
		defer func() {
			if p := recover(); p != "boom" {
				t.Errorf("panicked with %v, want boom", p)
			}
		}()
		db.Write(t.Context(), func(ctx context.Context, tx sqlstore.Queryer) error {
			if err := insert(1)(ctx, tx); err != nil {
				return err
			}
			panic("boom")
		})
	}()
	if n, _ := sum(t, db); n != 0 {
		t.Errorf("%d numbers were kept", n)
	}
	if err := db.Write(t.Context(), insert(1)); err != nil {
		t.Error(err)
	}
}

// TestEndedContextReturnsAtOnce: a caller who has gone is told at once, and a
// write that had not begun is not made.
func TestEndedContextReturnsAtOnce(t *testing.T) {
	db := open(t, nil)
	numbers(t, db)
	release := hold(t, db)

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := db.Write(ctx, insert(1)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
	if err := db.Write(ctx, insert(2)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	var wg sync.WaitGroup
	queued(&wg, 1, func(int) { // the same transaction, another caller
		if err := db.Write(t.Context(), insert(4)); err != nil {
			t.Error(err)
		}
	})
	if err := release(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if _, total := sum(t, db); total != 4 {
		t.Errorf("sum %d, want 4: whoever had gone wrote", total)
	}

}

// TestEndedContextOfAWriteUnderWay: a caller who goes while its own write is
// being made is told what became of it, so that no write is made after its caller
// has looked for it. Only where the disk hangs the question stays open.
func TestEndedContextOfAWriteUnderWay(t *testing.T) {
	db := open(t, nil)
	numbers(t, db)
	ctx, cancel := context.WithCancel(t.Context())
	err := db.Write(ctx, func(tctx context.Context, tx sqlstore.Queryer) error {
		cancel()
		time.Sleep(20 * time.Millisecond)
		return insert(1)(tctx, tx)
	})
	if n, _ := sum(t, db); err != nil || n != 1 {
		t.Errorf("got %v and %d numbers, want the write made and acknowledged", err, n)
	}

	ctx, cancel = context.WithCancel(t.Context())
	goOn := make(chan struct{})
	err = db.Write(ctx, func(tctx context.Context, tx sqlstore.Queryer) error {
		cancel()
		<-goOn
		return insert(2)(tctx, tx)
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
	close(goOn)
	if err := db.Write(t.Context(), insert(4)); err != nil {
		t.Error(err)
	}
	if _, total := sum(t, db); total != 7 {
		t.Errorf("sum %d, want 7: a write that had begun is made as a whole", total)
	}
}

// TestReadersDoNotWait: reads go on while a write is under way.
func TestReadersDoNotWait(t *testing.T) {
	db := open(t, nil)
	r := record(100)
	if err := db.Store().Put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	release := hold(t, db)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if _, err := db.Store().Get(ctx, r.ID); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := release(); err != nil {
		t.Error(err)
	}
}

// TestEightWriters: writers, touchers and readers of all kinds at once see no
// error, and a touch waits no longer than others do.
func TestEightWriters(t *testing.T) {
	db := open(t, nil)
	ctx := t.Context()
	shared := record(100)
	if err := db.Store().Put(ctx, shared); err != nil {
		t.Fatal(err)
	}
	var (
		wg      sync.WaitGroup
		touches atomic.Int64
		stop    = make(chan struct{})
	)
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				now := time.Now()
				if err := db.Store().Touch(ctx, shared.ID, now, now.Add(time.Minute)); err != nil {
					t.Errorf("touch: %v", err)
				}
				touches.Add(1)
			}
		})
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := db.Store().Get(ctx, shared.ID); err != nil {
					t.Errorf("get: %v", err)
				}
				time.Sleep(100 * time.Microsecond) // two cores are soon taken
			}
		})
	}
	const each = 25
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			for range each {
				r := record(300)
				if err := db.Store().Put(ctx, r); err != nil {
					t.Errorf("create: %v", err)
				}
				r.Version = 1
				if err := db.Store().Put(ctx, r); err != nil {
					t.Errorf("update: %v", err)
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	wg.Wait()
	if n := touches.Load(); n < each/2 {
		t.Errorf("%d touches beside %d writes of each writer: touches starve", n, 2*each)
	}
	list, err := db.Store().ListUser(ctx, "user")
	if err != nil || len(list) != 8*each+1 {
		t.Errorf("%d sessions, %v, want %d", len(list), err, 8*each+1)
	}
}

// TestFullDisk: a write that finds no room fails as a whole and says why; later
// ones succeed when there is room again.
func TestFullDisk(t *testing.T) {
	db := open(t, nil)
	pages := onWriter(t, db, "PRAGMA page_count").(int64)
	onWriter(t, db, fmt.Sprintf("PRAGMA max_page_count = %d", pages+4))
	big := record(100_000)
	err := db.Store().Put(t.Context(), big)
	if err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("got %v, want an error that says full", err)
	}
	if err := db.Store().Put(t.Context(), record(10)); err != nil {
		t.Errorf("a small one still has room: %v", err)
	}
	onWriter(t, db, "PRAGMA max_page_count = 1000000")
	if err := db.Store().Put(t.Context(), big); err != nil {
		t.Error(err)
	}
	if err := db.IntegrityCheck(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestCloseWaits: a write that was called before Close is made, or refused; one
// that was acknowledged is there.
func TestCloseWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	db, err := sqlite.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		kept []store.ID
	)
	for range 8 {
		wg.Go(func() {
			for {
				r := record(10)
				if err := db.Store().Put(context.Background(), r); err != nil {
					if !strings.Contains(err.Error(), "sqlite: the database is closed") {
						t.Errorf("neither made nor refused: %v", err)
					}
					return
				}
				mu.Lock()
				kept = append(kept, r.ID)
				mu.Unlock()
			}
		})
	}
	time.Sleep(30 * time.Millisecond)
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Errorf("the second Close: %v", err)
	}
	wg.Wait()
	if _, err := db.Store().Get(t.Context(), store.ID{}); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("a closed database answered: %v", err)
	}
	if db, err = sqlite.Open(path, nil); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, id := range kept {
		if _, err := db.Store().Get(t.Context(), id); err != nil {
			t.Fatalf("one of %d acknowledged writes: %v", len(kept), err)
		}
	}
}

// TestTwoHandles: two handles of one process on one file share it like two
// processes, and opening or closing one leaves the other's locks alone. Without
// them another process would take itself for the last one when it closes, and
// take away the log into which the first goes on writing.
func TestTwoHandles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	one, err := sqlite.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	release := hold(t, one)
	impatient := &sqlite.Options{BusyTimeout: 30 * time.Millisecond}
	if two, err := sqlite.Open(path, impatient); err == nil {
		two.Close()
		t.Error("a second handle wrote while the first held the lock")
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	two, err := sqlite.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	want := 0
	for _, db := range []*sqlite.DB{one, two} {
		if out, err := child(t, "write once", path).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if _, err := os.Stat(path + "-wal"); err != nil {
			t.Fatalf("another process took the log away: %v", err)
		}
		if err := db.Store().Put(t.Context(), record(10)); err != nil {
			t.Error(err)
		}
		want += 2
		for _, reader := range []*sqlite.DB{one, two} {
			list, err := reader.Store().ListUser(t.Context(), "user")
			if err != nil || len(list) != want {
				t.Errorf("%d sessions, %v, want %d", len(list), err, want)
			}
		}
	}
}

func init() {
	children["write once"] = func(path string) error {
		db, err := sqlite.Open(path, nil)
		if err != nil {
			return err
		}
		return errors.Join(db.Store().Put(context.Background(), record(10)), db.Close())
	}
}
