package sqlite_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
)

const (
	processes = 8
	perWriter = 60
)

func init() { children["write"] = writeMany }

// writeMany is one of eight processes: two goroutines that create, update, touch
// and end sessions without a pause.
func writeMany(path string) error {
	db, err := sqlite.Open(path, nil)
	if err != nil {
		return err
	}
	ctx := context.Background()
	errs := make([]error, 2)
	slowest := make([]time.Duration, 2)
	var wg sync.WaitGroup
	for g := range errs {
		wg.Go(func() { errs[g] = writeSome(ctx, db.Store(), g, &slowest[g]) })
	}
	wg.Wait()
	for _, err := range append(errs, db.Close()) {
		if err != nil {
			return err
		}
	}
	fmt.Println("slowest write:", max(slowest[0], slowest[1]).Round(time.Millisecond))
	return nil
}

func writeSome(ctx context.Context, s store.UserStore, g int, slowest *time.Duration) error {
	timed := func(f func() error) error {
		start := time.Now()
		err := f()
		*slowest = max(*slowest, time.Since(start))
		return err
	}
	for i := range perWriter {
		r := record(300)
		binary.BigEndian.PutUint32(r.ID[:], uint32(os.Getpid()))
		r.ID[4], r.ID[5] = byte(g), byte(i)
		if err := timed(func() error { return s.Put(ctx, r) }); err != nil {
			return fmt.Errorf("create: %w", err)
		}
		r.Version = 1
		if err := timed(func() error { return s.Put(ctx, r) }); err != nil {
			return fmt.Errorf("update: %w", err)
		}
		if err := timed(func() error { return s.Touch(ctx, r.ID, r.Seen.Add(time.Second), r.Expires) }); err != nil {
			return fmt.Errorf("touch: %w", err)
		}
		if i%2 == 1 {
			why := store.Ended{Reason: store.Logout, At: r.Seen}
			if err := timed(func() error { return s.End(ctx, r.ID, 2, why, r.Deadline) }); err != nil {
				return fmt.Errorf("end: %w", err)
			}
		}
	}
	return nil
}

// TestEightProcesses starts eight processes at once on a file that does not
// exist: none of them sees an error, and nothing is lost.
func TestEightProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shared.db")
	var wg sync.WaitGroup
	for range processes {
		cmd := child(t, "write", path)
		wg.Go(func() {
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("a process failed: %v\n%s", err, out)
			}
			t.Logf("%s", bytes.TrimSpace(out))
		})
	}
	wg.Wait()
	db, err := sqlite.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	live, err := db.Store().ListUser(t.Context(), "user")
	if want := processes * 2 * perWriter / 2; err != nil || len(live) != want {
		t.Errorf("%d live sessions, want %d; %v", len(live), want, err)
	}
	for _, r := range live {
		if r.Version != 2 {
			t.Errorf("version %d, want 2", r.Version)
		}
	}
	if err := db.IntegrityCheck(t.Context()); err != nil {
		t.Error(err)
	}
}
