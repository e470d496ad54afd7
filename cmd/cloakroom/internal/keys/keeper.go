package keys

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// Fleet is what this package needs of the instances; *fleet.Fleet is one.
type Fleet interface {
	Report(ctx context.Context, i fleet.Instance) error
	Leave(ctx context.Context, id string) error
	Instances(ctx context.Context) ([]fleet.Instance, error)
	Silent(ctx context.Context) ([]fleet.Instance, error)
	Sweep(ctx context.Context) (int, error)
	Generation(ctx context.Context) (int64, error)
	Call(ctx context.Context) (int64, error)
	Lead(ctx context.Context, name, holder string, now time.Time, lease time.Duration) (time.Time, error)
	Release(ctx context.Context, name, holder string) error
	SetNote(ctx context.Context, name, text string) error
	Note(ctx context.Context, name string) (string, error)
	Clock(ctx context.Context) (time.Time, error)
}

var _ Fleet = (*fleet.Fleet)(nil)

// Options say what a Keeper keeps.
type Options struct {
	// Ring is kept to Source, which is looked at every Interval; zero means
	// [keyring.DefaultInterval].
	Ring     *keyring.Ring
	Source   keyring.Source
	Interval time.Duration

	// Fleet is the instances that share the accounts; nil where there is no other.
	Fleet Fleet

	// Instance is this one: Addr, URL and Version. An ID is made where there is none.
	Instance fleet.Instance

	// Rotation is the age at which the active key is replaced; zero means never by
	// itself. Lifetime is that of a session, for which the old one stays accepted.
	Rotation, Lifetime time.Duration

	// Needed is asked before a key is pruned; see [Rotator].
	Needed func(ctx context.Context, id keyring.KeyID) (why string, err error)

	// Reload makes it look at once for each value that is received, as at a SIGHUP.
	Reload <-chan struct{}

	// Activated, if set, is called once in the beginning and whenever another key
	// has become active: to remember it, and to bring under it what another one
	// sealed. It is called again until it succeeds.
	Activated func(ctx context.Context) error

	Log *slog.Logger

	// Patience bounds each question to the fleet; zero means five seconds.
	Patience time.Duration
}

// Keeper keeps the keys of an instance. Use [New].
type Keeper struct {
	Options
	src *noting

	now, report, activated chan struct{} // each holds one: what is asked twice is done once

	mu     sync.Mutex
	begun  bool
	status Status
	look   int64 // the generation at which the last good look began
	failed failing
	expiry reasons // that has been said
	away   bool    // the fleet does not answer
	lost   reasons // that has been said
}

// Status is how the keys of an instance stand.
type Status struct {
	LastLook time.Time // when the source was looked at last
	LastGood time.Time // when that last succeeded
	Failing  error     // why the last look failed; nil if it did not
	Leads    bool      // whether this instance rotates for all
	Keys     []keyring.KeyInfo
}

// New returns a Keeper, or every fault of the options.
func New(opts Options) (*Keeper, error) {
	var faults []error
	if opts.Ring == nil || opts.Source == nil {
		faults = append(faults, errors.New("keys: a ring and a source are needed"))
	}
	if opts.Interval < 0 || opts.Rotation < 0 || opts.Patience < 0 {
		faults = append(faults, errors.New("keys: interval, rotation and patience are not negative"))
	}
	if _, ok := opts.Source.(keyring.Writer); opts.Rotation > 0 && !ok {
		faults = append(faults, errReadOnly)
	}
	if opts.Rotation > 0 && (opts.Lifetime <= 0 || opts.Fleet == nil) {
		faults = append(faults, errors.New("keys: rotation needs the lifetime of a session, and the fleet"))
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	if opts.Interval == 0 {
		opts.Interval = keyring.DefaultInterval
	}
	if opts.Patience == 0 {
		opts.Patience = 5 * time.Second
	}
	if opts.Instance.ID == "" {
		opts.Instance.ID = rand.Text()
	}
	if opts.Instance.Started.IsZero() {
		opts.Instance.Started = time.Now()
	}
	k := &Keeper{Options: opts, src: &noting{Source: opts.Source}, lost: reasons{again: sayEvery}}
	for _, c := range []*chan struct{}{&k.now, &k.report, &k.activated} {
		*c = make(chan struct{}, 1)
	}
	return k, nil
}

// poke asks for something, if nobody has yet.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// noting is a Source that notes which generation was known when it was last read. All
// that was written before somebody raised that one is in what Read returns.
type noting struct {
	keyring.Source
	known atomic.Int64
	read  atomic.Int64
}

func (s *noting) Read(ctx context.Context) ([]byte, error) {
	s.read.Store(s.known.Load())
	return s.Source.Read(ctx)
}

// String names the source, as errors do.
func (s *noting) String() string {
	if named, ok := s.Source.(fmt.Stringer); ok {
		return named.String()
	}
	return "keys"
}

// Begin reports the instance and then reads the source again, so that no rotation
// passes by an instance that read its keys a moment before: either that waits for this
// one, or this one finds what it wrote. Call it before the first request is served;
// [Keeper.Run] does it where nobody has.
func (k *Keeper) Begin(ctx context.Context) error {
	k.mu.Lock()
	k.begun = true
	k.mu.Unlock()
	if k.Fleet != nil {
		if err := k.succeed(ctx); err != nil {
			return err
		}
		if err := k.tell(ctx); err != nil {
			return err
		}
		err := k.ask(ctx, func(ctx context.Context) error {
			generation, err := k.Fleet.Generation(ctx)
			if err == nil {
				k.src.known.Store(generation)
			}
			return err
		})
		if err == nil && k.Lifetime > 0 {
			err = k.ask(ctx, func(ctx context.Context) error { return k.Fleet.SetNote(ctx, lasting, k.Lifetime.String()) })
		}
		if err != nil {
			return err
		}
	}
	changed, err := k.load(ctx)
	k.looked(changed, err)
	if err != nil || k.Fleet == nil {
		return err
	}
	return k.tell(ctx)
}

// succeed takes out who listened where this instance does now: it has ended without a
// word, or the address would not be free, and nobody needs to wait for it.
func (k *Keeper) succeed(ctx context.Context) error {
	if k.Instance.Addr == "" {
		return nil
	}
	live, err := answer(ctx, k.Patience, k.Fleet.Instances)
	if err != nil {
		return err
	}
	silent, err := answer(ctx, k.Patience, k.Fleet.Silent)
	if err != nil {
		return err
	}
	for _, i := range append(live, silent...) {
		if i.Addr == k.Instance.Addr && i.ID != k.Instance.ID {
			if err := k.ask(ctx, func(ctx context.Context) error { return k.Fleet.Leave(ctx, i.ID) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// load takes the keys that the source has now.
func (k *Keeper) load(ctx context.Context) (changed bool, err error) {
	ring, err := keyring.Load(ctx, k.src)
	if err != nil {
		return false, err
	}
	return k.Ring.Adopt(ring)
}

// Run keeps the keys until ctx ends. The caller owns the goroutine, and lets ctx end
// once no request is served any more: then the others cease to wait for this instance.
func (k *Keeper) Run(ctx context.Context) {
	k.mu.Lock()
	begun := k.begun
	k.mu.Unlock()
	if !begun {
		begin, cancel := context.WithTimeout(ctx, 2*k.Patience)
		if k.Begin(begin) != nil {
			poke(k.now) // the fleet is asked again anyway
		}
		cancel()
	}
	poke(k.activated)
	var wg sync.WaitGroup
	wg.Go(func() {
		k.Ring.Follow(ctx, k.src, &keyring.FollowOptions{Interval: k.Interval, Now: k.now, Looked: k.looked})
	})
	wg.Go(func() { k.nudge(ctx) })
	wg.Go(func() { k.activate(ctx) })
	if k.Fleet != nil {
		wg.Go(func() { k.talk(ctx) })
		defer k.Leave(context.WithoutCancel(ctx))
	}
	if k.Rotation > 0 {
		wg.Go(func() { k.lead(ctx) })
	}
	wg.Wait()
}

// nudge makes Follow look before its turn: at a SIGHUP, and soon where a look failed,
// as a source that is only asked once in a while would be away for so long.
func (k *Keeper) nudge(ctx context.Context) {
	turn := time.NewTicker(time.Second)
	defer turn.Stop()
	reload := k.Reload
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-reload:
			if !ok {
				reload = nil
				continue
			}
			poke(k.now)
		case now := <-turn.C:
			k.mu.Lock()
			again := k.failed.again(now, k.Interval)
			k.mu.Unlock()
			if again {
				poke(k.now)
			}
		}
	}
}

// activate has the hook called until it succeeds.
func (k *Keeper) activate(ctx context.Context) {
	if k.Activated == nil {
		return
	}
	var said reasons
	for wait := time.Duration(0); ; {
		if wait == 0 {
			select {
			case <-ctx.Done():
				return
			case <-k.activated:
			}
		} else {
			select {
			case <-ctx.Done():
				return
			case <-k.activated:
			case <-time.After(wait):
			}
		}
		err := k.Activated(ctx)
		if err == nil || ctx.Err() != nil {
			wait, said = 0, reasons{}
			continue
		}
		wait = min(max(time.Second, 2*wait), time.Minute)
		if said.news(err.Error(), time.Now()) {
			event.Log(ctx, k.Log, slog.LevelError, event.RotationFailed, slog.String("op", "activated"), event.Err(err))
		}
	}
}

// Status returns how the keys stand.
func (k *Keeper) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.status
	s.Keys = k.Ring.Keys()
	return s
}

// ID returns the ID of the instance.
func (k *Keeper) ID() string { return k.Instance.ID }
