package sqlusers_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
)

// TestASVS_7_4_3_EndingTheOthersEndsNoMore: the epoch is raised from the one that
// the session has, so that of those who end the others one at most goes on, and
// none whom somebody else has ended.
func TestASVS_7_4_3_EndingTheOthersEndsNoMore(t *testing.T) { each(t, proveEndingTheOthers) }

func proveEndingTheOthers(t *testing.T, users *sqlusers.Users, _ database) {
	ctx := t.Context()
	ada := create(t, users, "ada")
	var raised atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			ok, err := users.RaiseEpochFrom(ctx, ada.ID, ada.Epoch)
			is(t, err, nil)
			if ok {
				raised.Add(1)
			}
		})
	}
	wg.Wait()
	if got := read(t, users, ada.ID).Epoch; raised.Load() != 1 || got != ada.Epoch+1 {
		t.Fatalf("%d were told that they raised it, to %d from %d", raised.Load(), got, ada.Epoch)
	}
	is(t, users.RaiseEpochAll(ctx), nil)
	if ok, err := users.RaiseEpochFrom(ctx, ada.ID, ada.Epoch+1); ok || err != nil {
		t.Errorf("raised from an epoch that is everybody's past: %v, %v", ok, err)
	}
	if ok, err := users.RaiseEpochFrom(ctx, "nobody", 1); ok || err != nil {
		t.Errorf("raised nobody's: %v, %v", ok, err)
	}
}
