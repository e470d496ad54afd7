package keyring_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

// A fakeSource says what a test tells it to.
type fakeSource struct {
	mu    sync.Mutex
	read  func(ctx context.Context, n int) ([]byte, error)
	reads int
}

func (s *fakeSource) Read(ctx context.Context) ([]byte, error) {
	s.mu.Lock()
	s.reads++
	n, read := s.reads, s.read
	s.mu.Unlock()
	return read(ctx, n)
}

func (s *fakeSource) String() string { return "fake:" }

func (s *fakeSource) do(read func(ctx context.Context, n int) ([]byte, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read = read
}

func (s *fakeSource) says(keys ...keyring.Key) { s.saysText(textOf(keys...)) }

func (s *fakeSource) saysText(text string) {
	s.do(func(context.Context, int) ([]byte, error) { return []byte(text), nil })
}

func (s *fakeSource) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads
}

func textOf(keys ...keyring.Key) string {
	var b strings.Builder
	for _, k := range keys {
		b.WriteString(k.Text() + "\n")
	}
	return b.String()
}

// A following is a ring that follows a source, in a bubble of time.
type following struct {
	*keyring.Ring
	src  *fakeSource
	stop func() // returns when Follow has

	mu    sync.Mutex
	looks []string // what Looked was told
}

func follow(t *testing.T, opts keyring.FollowOptions, keys ...keyring.Key) *following {
	t.Helper()
	f := &following{Ring: mustNew(t, keys[0], keys[1:]...), src: new(fakeSource)}
	f.src.says(keys...)
	opts.Looked = func(changed bool, err error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.looks = append(f.looks, fmt.Sprint(changed, " ", err))
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Follow(ctx, f.src, &opts)
	}()
	f.stop = func() { cancel(); <-done }
	t.Cleanup(f.stop)
	synctest.Wait() // the clock of Follow has begun
	return f
}

// told returns what Looked was told since the last call.
func (f *following) told() []string {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	looks := f.looks
	f.looks = nil
	return looks
}

const second, tenth = time.Second, time.Second / 10

func TestFollowTakesWhatIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := keyring.Generate(), keyring.Generate()
		old := keyring.Generate().AsRetiring(time.Now().Add(time.Hour))
		f := follow(t, keyring.FollowOptions{}, a)
		time.Sleep(second)
		if got := f.told(); !slices.Equal(got, []string{"false <nil>"}) || f.src.count() != 1 {
			t.Errorf("nothing new: told %q after %d readings", got, f.src.count())
		}
		f.src.says(a, b.AsNext(), old)
		time.Sleep(second - 1)
		if f.told(); f.Has(b.ID()) {
			t.Error("it looked before its interval")
		}
		time.Sleep(1 + tenth)
		if got := f.told(); !slices.Equal(got, []string{"true <nil>"}) || !f.Has(b.ID()) || f.Active() != a.ID() {
			t.Errorf("a new key: told %q, ring has it: %v", got, f.Has(b.ID()))
		}
		// The same keys in another order and with other comments are the same.
		f.src.saysText("# other words\n" + old.Text() + "\n" + b.AsNext().Text() + "\n\n" + a.Text())
		time.Sleep(10 * second)
		if got := f.told(); len(got) != 10 || slices.Contains(got, "true <nil>") {
			t.Errorf("another order: told %q", got)
		}
		// What came into the ring otherwise goes.
		if err := f.Replace(keyring.Generate(), a.AsNext()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * second)
		if f.told(); f.Active() != a.ID() {
			t.Error("the ring does not say what the source says")
		}
	})
}

// Another key is another key, though all that is shown of it be the same.
func TestFollowTakesAnotherKeyOfOneID(t *testing.T) {
	first, other := twoOfOneID()
	synctest.Test(t, func(t *testing.T) {
		one, two := keyOf(t, first), keyOf(t, other)
		f := follow(t, keyring.FollowOptions{}, one)
		id, tag := mustNew(t, two).Purpose("test").Sign(nil)
		f.src.says(two)
		time.Sleep(2 * second)
		if got := f.told(); !slices.Contains(got, "true <nil>") || !f.Purpose("test").Verify(id, nil, tag[:]) {
			t.Errorf("told %q, and it goes on with the old one", got)
		}
	})
}

// However long it runs, it looks once an interval, and more often only when told to.
func TestFollowLooksWhenItIsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := keyring.Generate(), keyring.Generate()
		now := make(chan struct{}, 1)
		f := follow(t, keyring.FollowOptions{Interval: time.Hour, Now: now}, a)
		f.src.says(b, a.AsRetiring(time.Now().Add(time.Hour)))
		now <- struct{}{}
		time.Sleep(tenth)
		if got := f.told(); !slices.Equal(got, []string{"true <nil>"}) || f.Active() != b.ID() {
			t.Errorf("looked at once: told %q", got)
		}
		before := f.src.count()
		time.Sleep(24 * time.Hour)
		if got := f.told(); len(got) != 24 || f.src.count() != before+24 {
			t.Errorf("in 24 intervals it looked %d times and read %d times", len(got), f.src.count()-before)
		}
		close(now)
		time.Sleep(24 * time.Hour)
		if got := f.told(); len(got) != 24 {
			t.Errorf("with a closed channel it looked %d times in 24 intervals", len(got))
		}
	})
}

// Half of a key file may be a key file, of fewer keys: those who signed in under the
// others would be signed out for a moment.
func TestFollowNeverTakesHalfOfAText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := keyring.Generate(), keyring.Generate()
		f := follow(t, keyring.FollowOptions{}, a, b.AsNext())
		c := keyring.Generate()
		whole := textOf(c, a.AsRetiring(time.Now().Add(time.Hour)), b.AsNext())
		half := textOf(c) + "cloakroom-key-v1 01"
		for _, part := range []string{half[:60], textOf(c), half, ""} {
			f.src.saysText(part)
			time.Sleep(second - tenth/2) // the look comes in the middle of the next
			f.src.saysText(part)
			time.Sleep(tenth)
			if f.told(); f.Active() == c.ID() {
				t.Fatal("half of the text was taken")
			}
			f.src.says(a, b.AsNext())
			time.Sleep(second - tenth/2)
			f.told()
		}
		f.src.saysText(textOf(c, a.AsNext()))
		time.Sleep(second + tenth/2) // the look begins with a half
		f.src.saysText(whole)        // and meanwhile it becomes whole
		time.Sleep(4 * tenth)        // settles
		if got := f.told(); !f.Has(a.ID()) || !f.Has(b.ID()) {
			t.Errorf("half of the text was taken: %q", got)
		}
		if f.Active() != c.ID() {
			t.Error("the whole text was not taken")
		}
	})
}

// Promise 10: another application's keys in the place of ours sign nobody out, however
// long they lie there. One key in common is enough, in whatever state.
func TestPromise10_FollowTakesNoStrangersKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := keyring.Generate(), keyring.Generate()
		f := follow(t, keyring.FollowOptions{}, a, b.AsNext())
		f.src.says(keyring.Generate(), keyring.Generate().AsNext())
		time.Sleep(5 * second)
		got := f.told()
		if f.Active() != a.ID() || len(f.Keys()) != 2 {
			t.Errorf("%v", f.Keys())
		}
		const want = "false keyring: fake:: none of the keys in use is among them; put those back; if they are lost or leaked, retire them or restart with the new ones"
		for _, look := range got {
			if look != want {
				t.Errorf("told %q, want %q", look, want)
			}
		}
		if len(got) < 3 {
			t.Errorf("told %q", got)
		}
		c := keyring.Generate()
		f.src.says(c, b.AsRetiring(time.Now().Add(-time.Hour)))
		time.Sleep(2 * second)
		if got := f.told(); !slices.Contains(got, "true <nil>") || f.Active() != c.ID() {
			t.Errorf("one key in common: %q", got)
		}
	})
}

// Text that takes keys away has to stay the same for longer than one that does not.
func TestFollowIsSlowerToTakeKeysAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := keyring.Generate(), keyring.Generate(), keyring.Generate()
		f := follow(t, keyring.FollowOptions{}, a, b.AsNext())
		whole := textOf(c, a.AsRetiring(time.Now().Add(time.Hour)), b.AsNext())
		f.src.saysText(textOf(c, a.AsNext())) // and its writer pauses
		time.Sleep(second + 2*tenth)
		if f.told(); !f.Has(b.ID()) || f.Has(c.ID()) {
			t.Error("half of a text was taken")
		}
		f.src.saysText(whole)
		time.Sleep(2*tenth + tenth/2)
		if f.told(); !f.Has(b.ID()) || f.Active() != c.ID() {
			t.Errorf("the whole text was not taken: %v", f.Keys())
		}
		f.src.says(c)
		time.Sleep(2 * second)
		if f.told(); len(f.Keys()) != 1 {
			t.Errorf("what stays so is not taken: %v", f.Keys())
		}
	})
}

// What never comes to rest is not believed, nor read for ever.
func TestFollowGivesUpOnWhatDoesNotSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := keyring.Generate()
		f := follow(t, keyring.FollowOptions{Interval: time.Minute}, a)
		f.src.do(func(_ context.Context, n int) ([]byte, error) {
			return []byte(textOf(keyring.Generate())), nil
		})
		time.Sleep(time.Minute + 6*second)
		if got := f.told(); len(got) != 1 || !strings.Contains(got[0], "fake:: it changes at every read; whatever writes to it has to finish first") || f.Active() != a.ID() {
			t.Errorf("told %q", got)
		}
		if n := f.src.count(); n > 60 {
			t.Errorf("%d readings in one look", n)
		}
	})
}

// Promise 10: while the source is away, or says what is no ring, the ring goes on.
func TestPromise10_SourcesThatFailTakeNoKeyAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := keyring.Generate(), keyring.Generate()
		f := follow(t, keyring.FollowOptions{Timeout: second}, a, b.AsNext())
		p := f.Purpose("test")
		id, tag := p.Sign(nil)
		away := errors.New("no route to host")
		var flips atomic.Int32
		for _, test := range []struct {
			name, want string
			fault      func(ctx context.Context, n int) ([]byte, error)
		}{
			{"away", "no route", func(context.Context, int) ([]byte, error) { return nil, away }},
			{"slow", "deadline", func(ctx context.Context, _ int) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() }},
			{"empty", "fake:: there is no key;", func(context.Context, int) ([]byte, error) { return nil, nil }},
			{"garbage", "fake:: line 1: ", func(context.Context, int) ([]byte, error) { return []byte("<html>CanaryCanary"), nil }},
			{"no ring", "no key is active", func(context.Context, int) ([]byte, error) { return []byte(textOf(a.AsNext())), nil }},
			{"away before it settles", "no route", func(context.Context, int) ([]byte, error) {
				if flips.Add(1)%2 == 1 {
					return []byte(textOf(b)), nil
				}
				return nil, away
			}},
		} {
			f.src.do(test.fault)
			time.Sleep(10 * second)
			got := f.told()
			if len(got) < 4 || len(got) > 11 {
				t.Errorf("%s: told %d times in 10 intervals", test.name, len(got))
			}
			for _, look := range got {
				if !strings.HasPrefix(look, "false ") || !strings.Contains(look, test.want) || strings.Contains(look, "Canary") {
					t.Errorf("%s: told %q", test.name, look)
				}
			}
			if newID, _ := p.Sign(nil); newID != id || !p.Verify(id, nil, tag[:]) || len(f.Keys()) != 2 {
				t.Fatalf("%s: the ring has changed", test.name)
			}
			f.src.says(a, b.AsNext())
			time.Sleep(5 * second)
			if got := f.told(); len(got) == 0 || got[len(got)-1] != "false <nil>" {
				t.Errorf("%s: after recovery told %q", test.name, got)
			}
		}
		f.src.says(b, a.AsRetiring(time.Now().Add(time.Hour)))
		time.Sleep(2 * second)
		if f.told(); f.Active() != b.ID() {
			t.Error("after all that it does not follow any more")
		}
	})
}

// A source that does not heed its context is told of, left alone, and heard again when
// it is back.
func TestFollowOutlivesASourceThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := keyring.Generate(), keyring.Generate(), keyring.Generate()
		f := follow(t, keyring.FollowOptions{Timeout: second}, a)
		hang := make(chan struct{})
		f.src.do(func(context.Context, int) ([]byte, error) {
			<-hang
			return []byte(textOf(b, a.AsNext())), nil
		})
		time.Sleep(time.Minute)
		got := f.told()
		if len(got) < 20 || f.src.count() != 1 || f.Active() != a.ID() {
			t.Errorf("told %d times, asked %d times", len(got), f.src.count())
		}
		for _, look := range got {
			if !strings.Contains(look, "fake:: no answer within 1s: context deadline exceeded") {
				t.Errorf("told %q", look)
			}
		}
		f.src.says(c, a.AsNext())
		close(hang)
		time.Sleep(5 * second)
		if f.told(); f.Active() != c.ID() {
			t.Errorf("the active key is %v, not the one that the source has now", f.Active())
		}
	})
}

// It ends with its context at once, also in the middle of a look, and tells nobody of
// that one.
func TestFollowEndsWithItsContext(t *testing.T) {
	for _, at := range []time.Duration{0, second / 2, second + tenth/2, 2*second + 1} {
		synctest.Test(t, func(t *testing.T) {
			f := follow(t, keyring.FollowOptions{}, keyring.Generate())
			if at > second {
				f.src.says(keyring.Generate()) // is settling
			}
			if at > 2*second {
				f.src.do(func(ctx context.Context, _ int) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() })
			}
			time.Sleep(at)
			f.told()
			start := time.Now()
			f.stop()
			if took := time.Since(start); took != 0 {
				t.Errorf("after %v it took %v to end", at, took)
			}
			time.Sleep(time.Minute)
			if got := f.told(); len(got) != 0 {
				t.Errorf("after its end it told %q", got)
			}
		})
	}
}

// While a file goes through rotations, and its ring follows, whoever signs and verifies
// notices nothing.
func TestPromise10_FollowUnderLoadFailsNoRequest(t *testing.T) {
	t.Parallel()
	path := writeKeys(t, keyring.Generate().Text())
	var rings [2]*keyring.Ring
	var looking, signing sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for i := range rings {
		var err error
		if rings[i], err = keyring.Load(ctx, keyring.File(path)); err != nil {
			t.Fatal(err)
		}
		looking.Go(func() {
			rings[i].Follow(ctx, keyring.File(path), &keyring.FollowOptions{Interval: 5 * time.Millisecond})
		})
	}
	stop := make(chan struct{})
	for i := range rings {
		p, q := rings[i].Purpose("test"), rings[1-i].Purpose("test")
		signing.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				id, tag := p.Sign([]byte("message"))
				if _, err := q.Open(p.Seal(nil, nil), nil); err != nil || !q.Verify(id, []byte("message"), tag[:]) {
					t.Errorf("what one instance signed another refuses: %v", err)
					return
				}
			}
		})
	}
	step := func(f func([]keyring.Key) ([]keyring.Key, error)) {
		keys, err := keyring.Edit(ctx, keyring.File(path), f)
		if err != nil {
			t.Fatal(err)
		}
		want, err := keyring.New(keys[slices.IndexFunc(keys, func(k keyring.Key) bool { return k.State() == keyring.Active })])
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rings {
			for deadline := time.Now().Add(20 * time.Second); r.Active() != want.Active() || len(r.Keys()) != len(keys); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("after 20 s the ring is %v, not %v", r.Keys(), keys)
				}
			}
		}
	}
	for range 2 {
		step(func(keys []keyring.Key) ([]keyring.Key, error) { return keyring.Announce(keys, keyring.Generate()) })
		step(func(keys []keyring.Key) ([]keyring.Key, error) {
			return keyring.Activate(keys, time.Now().Add(time.Hour))
		})
	}
	close(stop)
	signing.Wait()
	cancel()
	looking.Wait()
}
