package memstore_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
)

func alice(int) string { return "alice" }

var revoked = store.Ended{Reason: store.Revoked, At: time.UnixMilli(1_800_000_000_000)}

// TestManySessionsOfAUser lists and ends a user's sessions from many goroutines
// at once, while they come and go.
func TestManySessionsOfAUser(t *testing.T) {
	const sessions = 5000
	st := memstore.New(nil)
	ctx := t.Context()
	fill(t, st, 0, sessions, alice)
	keep := record(sessions, "alice")
	if err := st.Put(ctx, keep); err != nil {
		t.Fatal(err)
	}
	var ended atomic.Int64
	var running sync.WaitGroup
	for g := range 4 {
		running.Go(func() {
			time.Sleep(time.Duration(g) * time.Millisecond) // after some lists have begun
			n, err := st.EndUser(ctx, "alice", keep.ID, revoked, time.Now())
			if err != nil {
				t.Error(err)
			}
			ended.Add(int64(n))
		})
		running.Go(func() {
			list, err := st.ListUser(ctx, "alice")
			if err != nil {
				t.Error(err)
			}
			seen := map[store.ID]bool{}
			for _, r := range list {
				if seen[r.ID] || r.Version == 0 || r.UserID != "alice" {
					t.Errorf("session %v of %q in version %d is listed, or twice", r.ID, r.UserID, r.Version)
				}
				seen[r.ID] = true
			}
			if !seen[keep.ID] {
				t.Error("a session that lives all the time is not listed")
			}
		})
		running.Go(func() { // others of the user come and go
			from := 10_000 * (g + 1)
			fill(t, st, from, from+500, alice)
			for i := range 500 {
				switch err := st.End(ctx, id(from+i), 0, revoked, time.Now()); {
				case err == nil:
					ended.Add(1)
				case !errors.Is(err, store.ErrEnded):
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	if n := ended.Load(); n != sessions+4*500 {
		t.Errorf("%d sessions say that they were ended, want %d", n, sessions+4*500)
	}
	list, err := st.ListUser(ctx, "alice")
	if len(list) != 1 || list[0].ID != keep.ID || err != nil {
		t.Errorf("ListUser: %d sessions, %v, want the one that was spared", len(list), err)
	}
}

// TestEndUserHeedsContext takes the context away between two parts of the list.
func TestEndUserHeedsContext(t *testing.T) {
	const sessions = 1000
	st := memstore.New(nil)
	fill(t, st, 0, sessions, alice)
	left := 3
	ctx := counter{t.Context(), func() error {
		if left--; left < 0 {
			return context.Canceled
		}
		return nil
	}}
	n, err := st.EndUser(ctx, "alice", store.ID{}, revoked, time.Now())
	if !errors.Is(err, context.Canceled) || n == 0 || n == sessions {
		t.Fatalf("EndUser: %d, %v", n, err)
	}
	list, err := st.ListUser(t.Context(), "alice")
	if n+len(list) != sessions || err != nil {
		t.Errorf("ListUser: %d, %v, want %d", len(list), err, sessions-n)
	}
	left = 3
	if _, err := st.ListUser(ctx, "alice"); !errors.Is(err, context.Canceled) {
		t.Errorf("ListUser: %v, want %v", err, context.Canceled)
	}
	if rest, err := st.EndUser(t.Context(), "alice", store.ID{}, revoked, time.Now()); n+rest != sessions || err != nil {
		t.Errorf("the next EndUser: %d, %v, want %d", rest, err, sessions-n)
	}
}

// TestScanWhileItGrowsAndShrinks walks a store that others fill and empty. What
// stays there is met once, in order.
func TestScanWhileItGrowsAndShrinks(t *testing.T) {
	const stay, change = 2000, 30_000
	st := memstore.New(nil)
	fill(t, st, 0, stay, nobody)
	stays := map[store.ID]bool{}
	for i := range stay {
		stays[id(i)] = true
	}
	var running sync.WaitGroup
	running.Go(func() {
		fill(t, st, stay, stay+change, nobody)
		for i := range change {
			if err := st.End(t.Context(), id(stay+i), 0, revoked, time.Now()); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for n := range 8 {
		met := 0
		var after store.ID
		for {
			page, err := st.Scan(t.Context(), after, 50*(n+1))
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page {
				if bytes.Compare(r.ID[:], after[:]) <= 0 {
					t.Fatalf("%v follows %v", r.ID, after)
				}
				if after = r.ID; stays[r.ID] {
					met++
				}
			}
			if len(page) < 50*(n+1) {
				break
			}
		}
		if met != stay {
			t.Fatalf("a walk met %d of %d records that stay", met, stay)
		}
	}
	running.Wait()
}

// TestScanWhileItShrinks ends most sessions between two steps of a walk, so that
// those behind come to stand beside some that it has met.
func TestScanWhileItShrinks(t *testing.T) {
	const sessions, stay = 5000, 500
	for moment := range 15 {
		st := memstore.New(nil)
		fill(t, st, 0, sessions, nobody)
		steps := 0
		ctx := counter{t.Context(), func() error {
			if steps++; steps == moment+1 {
				for i := range sessions - stay {
					if err := st.End(t.Context(), id(stay+i), 0, revoked, time.Now()); err != nil {
						t.Fatal(err)
					}
				}
			}
			return nil
		}}
		list, err := st.Scan(ctx, store.ID{}, sessions)
		if err != nil {
			t.Fatal(err)
		}
		met := map[store.ID]bool{}
		for i, r := range list {
			if i > 0 && bytes.Compare(list[i-1].ID[:], r.ID[:]) >= 0 {
				t.Fatalf("%v follows %v", r.ID, list[i-1].ID)
			}
			met[r.ID] = true
		}
		for i := range stay {
			if !met[id(i)] {
				t.Fatalf("session %d, which stays, is not met", i)
			}
		}
	}
}

// TestListsLeaveNothing looks that a walk through a user's list takes its mark
// away, whether it comes to the end or not.
func TestListsLeaveNothing(t *testing.T) {
	const walks = 4000
	st := memstore.New(nil)
	fill(t, st, 0, 200, alice)
	stop := counter{t.Context(), nil}
	before := heap()
	for range walks {
		left := 2
		stop.ask = func() error {
			if left--; left <= 0 {
				return context.Canceled
			}
			return nil
		}
		if _, err := st.ListUser(stop, "alice"); err == nil {
			t.Fatal("ListUser was not stopped")
		}
	}
	if grown := heap() - before; grown > 50*walks {
		t.Errorf("%d bytes are left of %d walks", grown, walks)
	}
	runtime.KeepAlive(st)
}

func TestScanOfNothing(t *testing.T) {
	st := memstore.New(nil)
	fill(t, st, 0, 10, nobody)
	for _, n := range []int{0, -1} {
		if list, err := st.Scan(t.Context(), store.ID{}, n); len(list) != 0 || err != nil {
			t.Errorf("Scan of %d: %d records, %v", n, len(list), err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := st.Scan(ctx, store.ID{}, 10); !errors.Is(err, context.Canceled) {
		t.Errorf("Scan: %v, want %v", err, context.Canceled)
	}
}
