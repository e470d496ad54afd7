package keys_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keys"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// Reasons that are another one each time are said eight times, and from then on once a
// minute: what is new after them is told all the same.
func TestOneReasonAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := source(t, keyring.Generate())
		i := run(t, m, nil, nil)
		time.Sleep(500 * time.Millisecond)
		for n := range 30 {
			m.set(fmt.Errorf("read tcp 127.0.0.1:%d: connection reset", 30000+n))
			time.Sleep(time.Second)
		}
		i.log.count(t, event.KeysFailed, 8)
		m.set(errAway)
		time.Sleep(time.Minute)
		i.log.count(t, event.KeysFailed, 9)
		time.Sleep(50 * time.Minute)
		i.log.count(t, event.KeysFailed, 9)
	})
}

// However many reasons there are, few are held: texts from elsewhere take no memory.
func TestReasonsAreBounded(t *testing.T) {
	var r keys.Reasons
	now := time.Now()
	for n := range 1000 {
		now = now.Add(2 * time.Minute)
		if !r.News(fmt.Sprint(n), now) {
			t.Fatalf("reason %d is not said, though nothing was for two minutes", n)
		}
		if r.News(fmt.Sprint(n), now.Add(time.Minute)) {
			t.Fatalf("reason %d is said again after a minute", n)
		}
		if held := r.Held(); held > 64 {
			t.Fatalf("%d reasons are held", held)
		}
	}
}

// timed is a source that notes when it is asked.
type timed struct {
	keyring.Source
	mu sync.Mutex
	at []time.Time
}

func (s *timed) Read(ctx context.Context) ([]byte, error) {
	s.mu.Lock()
	s.at = append(s.at, time.Now())
	s.mu.Unlock()
	return s.Source.Read(ctx)
}

// A source that fails is asked again after a second, two, four, eight, and by its turn
// from when that comes sooner: it is back soon, and not overrun.
func TestASourceThatFailsIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := source(t, keyring.Generate())
		var src *timed
		run(t, m, nil, func(o *keys.Options) {
			src = &timed{Source: o.Source}
			o.Source, o.Interval = src, time.Minute
		})
		time.Sleep(59 * time.Second)
		m.set(errAway)
		failed := time.Now().Add(time.Second)
		time.Sleep(5*time.Minute + 30*time.Second)
		src.mu.Lock()
		defer src.mu.Unlock()
		var got []time.Duration
		for _, at := range src.at {
			if !at.Before(failed) {
				got = append(got, at.Sub(failed)/time.Second)
			}
		}
		if want := []time.Duration{0, 1, 3, 7, 15, 31, 60, 63, 120, 180, 240, 300}; !slices.Equal(got, want) {
			t.Errorf("asked %d s after it failed, want %d", got, want)
		}
	})
}
