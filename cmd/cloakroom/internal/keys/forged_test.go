package keys_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keys"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// deaf is a fleet in whose database somebody has written what is no generation.
type deaf struct {
	*link
	now *atomic.Bool
}

func (d deaf) Generation(ctx context.Context) (int64, error) {
	if !d.now.Load() {
		return d.link.Generation(ctx)
	}
	return 0, errors.New(`fleet: read the generation: converting "abc" to a int64`)
}

// An instance that cannot hear is heard of all the same.
func TestAttack_A43_TheDeafAreListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		var now atomic.Bool
		k := run(t, m, s, func(o *keys.Options) { o.Fleet = deaf{o.Fleet.(*link), &now} })
		now.Store(true)
		time.Sleep(5 * time.Minute)
		list, err := s.link().Instances(t.Context())
		if err != nil || len(list) != 1 || time.Since(list[0].Seen) > 11*time.Second {
			t.Errorf("%v, %v", list, err)
		}
		k.log.count(t, event.StoreFailed, 1)
	})
}

// A source that comes and goes each second fills no log, and its outage is told.
func TestFlapsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		i := run(t, m, s, nil)
		for range 300 {
			m.set(errAway)
			i.link.set(errAway)
			time.Sleep(1100 * time.Millisecond)
			m.set(nil)
			i.link.set(nil)
			time.Sleep(1100 * time.Millisecond)
		}
		for _, name := range []string{event.KeysFailed, event.KeysUp, event.StoreFailed} {
			if n := len(i.log.of(name)); n < 3 || n > 12 {
				t.Errorf("%d of %s in eleven minutes", n, name)
			}
		}
		if failed, up := len(i.log.of(event.KeysFailed)), len(i.log.of(event.KeysUp)); failed != up {
			t.Errorf("it failed %d times, and was up %d times", failed, up)
		}
		// One that stays away is told of, however lately it was before.
		m.set(errAway)
		before := len(i.log.of(event.KeysFailed))
		time.Sleep(2 * time.Minute)
		i.log.count(t, event.KeysFailed, before+1)
	})
}

// A lease that is nobody's keeps a key for ever; that is told, once a day.
func TestAttack_A43_ALeaseThatNobodyHasIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := source(t, keyring.Generate()), database()
		s.holders["rotation"], s.leases["rotation"] = "x", time.Now().Add(10*365*24*time.Hour)
		time.Sleep(rotation - 10*time.Minute)
		i := run(t, m, s, rotates)
		time.Sleep(time.Hour)
		i.log.count(t, event.RotationFailed, 0)
		time.Sleep(20 * time.Minute)
		i.log.count(t, event.RotationFailed, 1)
		if line := strings.Join(i.log.of(event.RotationFailed), ""); !strings.Contains(line, "cloakroom_leases") {
			t.Error(line)
		}
		time.Sleep(time.Hour)
		i.log.count(t, event.RotationFailed, 1)
	})
}
