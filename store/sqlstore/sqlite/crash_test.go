package sqlite_test

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
)

// prove makes the crash test long: go test -run Killed -prove.
var prove = flag.Bool("prove", false, "kill the writing process 200 times in place of 5")

func init() { children["crash"] = writeUntilKilled }

// writeUntilKilled writes with eight goroutines and says on standard output what
// has been acknowledged, a line each: the version of a session, or its end.
func writeUntilKilled(path string) error {
	// Normal is the weaker setting: what it keeps, Full keeps.
	db, err := sqlite.Open(path, &sqlite.Options{Sync: sqlite.Normal})
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				if err := oneLife(db.Store()); err != nil {
					fmt.Println("error", err)
					return
				}
			}
		})
	}
	wg.Wait()
	return nil
}

// oneLife creates, updates and, now and then, ends a session.
func oneLife(s *sqlstore.Store) error {
	ctx := context.Background()
	r := record(rand.IntN(3000))
	for range 1 + rand.IntN(4) {
		if err := s.Put(ctx, r); err != nil {
			return err
		}
		r.Version++
		fmt.Println("put", hex.EncodeToString(r.ID[:]), r.Version)
	}
	if rand.IntN(2) == 0 {
		return nil
	}
	if err := s.End(ctx, r.ID, 0, store.Ended{Reason: store.Logout, At: r.Seen}, r.Deadline); err != nil {
		return err
	}
	fmt.Println("end", hex.EncodeToString(r.ID[:]), 0)
	return nil
}

// TestPromise02_KilledWhileWriting kills the writing process with SIGKILL, again
// and again: what was acknowledged is in the file, what was ended stays ended,
// every live session is in its user's list, and the file is whole.
func TestPromise02_KilledWhileWriting(t *testing.T) {
	rounds := 5
	if *prove {
		rounds = 200
	}
	var (
		path         string
		acknowledged map[store.ID]uint64 // version, or 0 once ended
		total        int
	)
	for round := range rounds {
		if round%20 == 0 { // a file of its own for every twenty crashes
			path, acknowledged = filepath.Join(t.TempDir(), "crash.db"), map[store.ID]uint64{}
		}
		n := killed(t, path, time.Duration(50+rand.IntN(150))*time.Millisecond, acknowledged)
		total += n
		checkAfterCrash(t, path, acknowledged)
		if t.Failed() {
			t.Fatalf("round %d of %d, %d acknowledged writes", round+1, rounds, n)
		}
	}
	if total < rounds {
		t.Errorf("%d writes in %d rounds: nothing was tested", total, rounds)
	}
	t.Logf("%d rounds, %d acknowledged writes, all there", rounds, total)
}

// killed runs the writer for a while, kills it, and notes what it acknowledged.
func killed(t *testing.T, path string, after time.Duration, acknowledged map[store.ID]uint64) int {
	t.Helper()
	cmd := child(t, "crash", path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n := 0
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if n == 0 { // it is at work: the time runs from here
			time.AfterFunc(after, func() { cmd.Process.Kill() })
		}
		what, rest, _ := strings.Cut(lines.Text(), " ")
		id, version, ok := strings.Cut(rest, " ")
		raw, err := hex.DecodeString(id)
		if what == "error" || err != nil {
			t.Errorf("the writer said %q", lines.Text())
			break
		}
		if len(raw) != len(store.ID{}) || !ok {
			break // cut off by the kill
		}
		n++
		switch key := store.ID(raw); what {
		case "end":
			acknowledged[key] = 0
		case "put":
			var v uint64
			fmt.Sscan(version, &v)
			acknowledged[key] = v
		}
	}
	cmd.Wait()
	return n
}

// checkAfterCrash opens what the killed process left.
func checkAfterCrash(t *testing.T, path string, acknowledged map[store.ID]uint64) {
	t.Helper()
	db, err := sqlite.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.IntegrityCheck(t.Context()); err != nil {
		t.Fatal(err)
	}
	listed := map[store.ID]bool{}
	list, err := db.Store().ListUser(t.Context(), "user")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		listed[r.ID] = true
	}
	for id, version := range acknowledged {
		r, err := db.Store().Get(t.Context(), id)
		switch {
		case errors.Is(err, store.ErrEnded):
			// Ended and acknowledged, or killed before it could be: both are right,
			// but what was ended must not be listed.
			if listed[id] {
				t.Errorf("an ended session is listed")
			}
			acknowledged[id] = 0
		case err != nil:
			t.Errorf("an acknowledged session is gone: %v", err)
		case version == 0:
			t.Errorf("an ended session lives again")
		case r.Version < version:
			t.Errorf("version %d was acknowledged, %d is stored", version, r.Version)
		case !listed[id]:
			t.Errorf("a live session is not listed")
		}
	}
}
