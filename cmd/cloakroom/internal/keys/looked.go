package keys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/internal/event"
)

// How often what is still so is said again, and how often at most what changes all
// the time.
const (
	remindEvery = time.Hour
	sayEvery    = time.Minute
)

// reasons are what has been said, and when.
type reasons struct {
	at    map[string]time.Time
	last  time.Time
	again time.Duration // after which the same is said again; zero means remindEvery
}

// news tells whether a reason is to be said now, and takes it as said.
func (r *reasons) news(reason string, now time.Time) bool {
	// What was never said was said at the zero time, which is long ago.
	if now.Sub(r.at[reason]) < cmp.Or(r.again, remindEvery) {
		return false
	}
	// An address or a number in a text can make it another one each time.
	if now.Sub(r.last) < sayEvery && len(r.at) >= 8 {
		return false
	}
	if r.at == nil || len(r.at) >= 64 {
		r.at = make(map[string]time.Time)
	}
	r.at[reason], r.last = now, now
	return true
}

// failing is how a source that fails is looked at again.
type failing struct {
	since time.Time // zero while it does not
	wait  time.Duration
	next  time.Time
	told  bool    // and the log has it
	said  reasons // now and before
}

// again tells whether it is time for a look before the turn.
func (f *failing) again(now time.Time, interval time.Duration) bool {
	if f.since.IsZero() || now.Before(f.next) || f.wait >= interval {
		return false
	}
	f.wait *= 2
	f.next = now.Add(f.wait)
	return true
}

// gone is the error of keys that were there and are not any more.
type gone struct{ error }

func (g gone) Unwrap() error { return g.error }

// Error says what to do now. What the source says is for those who begin, to make a
// key: here, that would be another than the one in use.
func (g gone) Error() string {
	var file *fs.PathError
	if !errors.As(g.error, &file) {
		return "the keys are gone from their place; put them back; the keys in hand go on until a restart"
	}
	return fmt.Sprintf("key file: %v; put it back; the keys in hand go on until a restart", file)
}

// looked is told of each look at the source.
func (k *Keeper) looked(changed bool, err error) {
	if errors.Is(err, fs.ErrNotExist) {
		err = gone{err}
	}
	up, say := k.note(time.Now(), changed, err)
	// Whoever keeps the log may be slow, and is waited for by nobody else.
	ctx := context.Background()
	if say {
		event.Log(ctx, k.Log, slog.LevelWarn, event.KeysFailed, event.Err(err))
	}
	if up {
		event.Log(ctx, k.Log, slog.LevelInfo, event.KeysUp)
	}
	if err := k.expires(time.Now()); err != nil {
		event.Log(ctx, k.Log, slog.LevelWarn, event.KeysExpire, event.Err(err))
	}
	if changed {
		event.Log(ctx, k.Log, slog.LevelInfo, event.KeysChanged,
			slog.String("key", k.Ring.Active().String()), event.Text("reason", fleet.Describe(k.Ring.Keys())))
	}
}

// note notes what became of a look. It returns whether the source is up again, and
// whether its failure is news.
func (k *Keeper) note(now time.Time, changed bool, err error) (up, say bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.status.Failing
	k.status.LastLook, k.status.Failing = now, err
	if changed || (before == nil) != (err == nil) {
		poke(k.report)
	}
	if changed {
		poke(k.activated)
	}
	if err != nil {
		if k.failed.since.IsZero() {
			k.failed = failing{since: now, wait: time.Second, next: now.Add(time.Second), said: k.failed.said}
		}
		// A source that comes and goes is told of once a minute.
		k.failed.said.again = 0
		if !k.failed.told {
			k.failed.said.again = sayEvery
		}
		say = k.failed.said.news(err.Error(), now)
		k.failed.told = k.failed.told || say
		return false, say
	}
	up = k.failed.told
	k.status.LastGood, k.failed = now, failing{said: k.failed.said}
	if at := k.src.read.Load(); at != k.look {
		k.look = at
		poke(k.report)
	}
	return up, false
}

// expires returns why the source will answer no more, soon, though it does now, if it
// knows and that is news: there is time to do something before it fails on all instances
// at once.
func (k *Keeper) expires(now time.Time) error {
	s, ok := k.Source.(interface{ Renewal() error }) // package vault has it
	if !ok {
		return nil
	}
	err := s.Renewal()
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil || !k.expiry.news(err.Error(), now) {
		return nil
	}
	return err
}

// talk hears whether somebody calls, each second, and reports.
func (k *Keeper) talk(ctx context.Context) {
	turn := time.NewTicker(time.Second)
	defer turn.Stop()
	var told, swept time.Time
	for {
		due := time.Since(told) >= fleet.ReportEvery
		select {
		case <-ctx.Done():
			return
		case <-k.report:
			due = true
		case <-turn.C:
		}
		err := k.hear(ctx)
		// Whoever cannot hear can be heard: the others are to know that it runs.
		if due {
			if tells := k.tell(ctx); tells == nil {
				told = time.Now()
			} else {
				told, err = time.Time{}, tells // at the next turn
			}
		}
		if err == nil && time.Since(swept) >= time.Hour {
			swept = time.Now()
			err = k.ask(ctx, func(ctx context.Context) error { _, err := k.Fleet.Sweep(ctx); return err })
		}
		k.fleetAnswered(ctx, err)
	}
}

// ask bounds a question to the fleet.
func (k *Keeper) ask(ctx context.Context, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, k.Patience)
	defer cancel()
	return f(ctx)
}

// hear asks for the generation, and looks if it is another one.
func (k *Keeper) hear(ctx context.Context) error {
	return k.ask(ctx, func(ctx context.Context) error {
		generation, err := k.Fleet.Generation(ctx)
		if err == nil && k.src.known.Swap(generation) != generation {
			poke(k.now)
		}
		return err
	})
}

// tell reports the instance.
func (k *Keeper) tell(ctx context.Context) error {
	i := k.Instance
	k.mu.Lock()
	i.Look = k.look
	if k.status.Failing != nil {
		i.Failing = k.status.Failing.Error()
	}
	k.mu.Unlock()
	// Behind the look: the keys are those that it found, or newer ones.
	i.Keys = fleet.Describe(k.Ring.Keys())
	return k.ask(ctx, func(ctx context.Context) error { return k.Fleet.Report(ctx, i) })
}

// fleetAnswered says once that the fleet is away, and once a minute if it comes and goes. The
// keys follow all the same.
func (k *Keeper) fleetAnswered(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	k.mu.Lock()
	say := err != nil && !k.away && k.lost.news("", time.Now())
	k.away = err != nil
	k.mu.Unlock()
	if say {
		event.Log(ctx, k.Log, slog.LevelWarn, event.StoreFailed, slog.String("op", "instances"), event.Err(err))
	}
}

// Leave takes the instance out, so that nobody waits for it. Run does that in the end;
// whoever has begun and does not run calls it.
func (k *Keeper) Leave(ctx context.Context) {
	if k.Fleet == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, min(k.Patience, 2*time.Second))
	defer cancel()
	if k.Rotation > 0 {
		k.Fleet.Release(ctx, task, k.Instance.ID)
	}
	// Where it fails, the others wait for as long as an instance counts as live.
	k.Fleet.Leave(ctx, k.Instance.ID)
}
