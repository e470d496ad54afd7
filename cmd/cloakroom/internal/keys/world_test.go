package keys_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keys"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// lifetime is that of sessions at every instance.
const lifetime = 12 * time.Hour

// must ends the test if something went wrong.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var errAway = errors.New("vault: https://vault.example:8200 does not answer; see that it runs")

// memory is a source of keys that may be away, for all or for one who looks at it.
type memory struct {
	mu     sync.Mutex
	text   []byte
	away   error
	reads  int
	writes int
	before func() // called before a write compares
	after  func() // called when it is done
}

func source(t testing.TB, list ...keyring.Key) *memory {
	t.Helper()
	text, err := keyring.Text(list)
	must(t, err)
	return &memory{text: text}
}

func (m *memory) Read(context.Context) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	return slices.Clone(m.text), m.away
}

func (m *memory) Write(_ context.Context, old, text []byte) error {
	if m.before != nil {
		m.before()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.away != nil:
		return m.away
	case !bytes.Equal(m.text, old):
		return keyring.ErrChanged
	}
	m.text, m.writes = slices.Clone(text), m.writes+1
	if m.after != nil {
		m.after()
	}
	return nil
}

func (m *memory) String() string { return "memory:" }

func (m *memory) set(away error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.away = away
}

// keys returns what the source holds.
func (m *memory) keys(t testing.TB) []keyring.Key {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	list, err := keyring.ReadKeys(bytes.NewReader(m.text))
	must(t, err)
	return list
}

// in returns the IDs of the keys in a state.
func (m *memory) in(t testing.TB, s keyring.State) []keyring.KeyID {
	t.Helper()
	var ids []keyring.KeyID
	for _, k := range m.keys(t) {
		if k.State() == s {
			ids = append(ids, k.ID())
		}
	}
	return ids
}

// view is a source as one instance reaches it.
type view struct {
	*memory
	mu   sync.Mutex
	away error
	link *link // with which it is frozen, nil for none
}

func (v *view) Read(ctx context.Context) ([]byte, error) {
	if v.link != nil {
		v.link.thaw()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.away != nil {
		return nil, v.away
	}
	return v.memory.Read(ctx)
}

func (v *view) set(away error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.away = away
}

// state is what the database of a fleet holds.
type state struct {
	mu        sync.Mutex
	instances map[string]fleet.Instance
	notes     map[string]string
	holders   map[string]string
	leases    map[string]time.Time
	gen       int64
	calls     int
}

// link is a fleet as one process reaches it.
type link struct {
	*state
	own  sync.Mutex
	away error
	skew time.Duration // by how much the database's clock differs

	asked  bool      // who is live, since the clock was
	freeze bool      // at the next look at the clock behind that: between judging and acting
	frozen time.Time // until then the process stands still
}

func database() *state {
	return &state{instances: map[string]fleet.Instance{}, notes: map[string]string{}, holders: map[string]string{}, leases: map[string]time.Time{}}
}

func (s *state) link() *link { return &link{state: s} }

func (l *link) set(away error) {
	l.own.Lock()
	defer l.own.Unlock()
	l.away = away
}

// thaw lets the process wait while it is frozen.
func (l *link) thaw() {
	l.own.Lock()
	until := l.frozen
	l.own.Unlock()
	time.Sleep(time.Until(until))
}

// do runs f on the database.
func (l *link) do(f func()) error {
	l.thaw()
	l.own.Lock()
	defer l.own.Unlock()
	if l.away != nil {
		return l.away
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	return nil
}

func (l *link) Report(_ context.Context, i fleet.Instance) error {
	return l.do(func() {
		i.Seen = time.Now()
		l.instances[i.ID] = i
	})
}

func (l *link) Leave(_ context.Context, id string) error {
	return l.do(func() { delete(l.instances, id) })
}

func (l *link) Instances(context.Context) (list []fleet.Instance, err error) {
	err = l.do(func() {
		l.asked = true
		for _, id := range slices.Sorted(maps.Keys(l.instances)) {
			if i := l.instances[id]; time.Since(i.Seen) <= fleet.LiveFor {
				list = append(list, i)
			}
		}
	})
	return list, err
}

func (l *link) Silent(context.Context) (list []fleet.Instance, err error) {
	err = l.do(func() {
		for _, i := range l.instances {
			if ago := time.Since(i.Seen); ago > fleet.LiveFor && ago < time.Hour {
				list = append(list, i)
			}
		}
	})
	return list, err
}

func (l *link) Sweep(context.Context) (int, error) { return 0, l.do(func() {}) }

func (l *link) Generation(context.Context) (gen int64, err error) {
	err = l.do(func() { gen = l.gen })
	return gen, err
}

func (l *link) Call(context.Context) (gen int64, err error) {
	err = l.do(func() {
		l.gen++
		l.calls++
		gen = l.gen
	})
	return gen, err
}

func (l *link) Lead(_ context.Context, name, holder string, now time.Time, lease time.Duration) (until time.Time, err error) {
	err = l.do(func() {
		if l.holders[name] == holder || !now.Before(l.leases[name]) {
			l.holders[name], l.leases[name] = holder, now.Add(lease)
			until = now.Add(lease - 5*time.Second)
		}
	})
	return until, err
}

func (l *link) Release(_ context.Context, name, holder string) error {
	return l.do(func() {
		if l.holders[name] == holder {
			delete(l.holders, name)
			delete(l.leases, name)
		}
	})
}

func (l *link) SetNote(_ context.Context, name, text string) error {
	return l.do(func() { l.notes[name] = text })
}

func (l *link) Note(_ context.Context, name string) (text string, err error) {
	err = l.do(func() { text = l.notes[name] })
	return text, err
}

func (l *link) Clock(context.Context) (now time.Time, err error) {
	err = l.do(func() {
		if l.asked && l.freeze {
			l.frozen, l.freeze = time.Now().Add(10*time.Minute), false
		}
		l.asked = false
		now = time.Now().Add(l.skew)
	})
	l.thaw()
	return now, err
}

// journal keeps what is logged.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) logger() *slog.Logger { return slog.New(j) }

func (j *journal) Enabled(context.Context, slog.Level) bool { return true }
func (j *journal) WithAttrs([]slog.Attr) slog.Handler       { return j }
func (j *journal) WithGroup(string) slog.Handler            { return j }
func (j *journal) Handle(_ context.Context, r slog.Record) error {
	line := r.Message
	r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
	return nil
}

// of returns the lines of an event.
func (j *journal) of(name string) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(j.lines), func(l string) bool { return l != name && !strings.HasPrefix(l, name+" ") })
}

// count fails the test unless an event was logged so often.
func (j *journal) count(t testing.TB, name string, want int) {
	t.Helper()
	if got := j.of(name); len(got) != want {
		t.Errorf("%d of %s, want %d: %q", len(got), name, want, got)
	}
}

// instance is one that runs.
type instance struct {
	*keys.Keeper
	ring *keyring.Ring
	sign *keyring.Purpose
	src  *view
	link *link
	log  *journal
	stop func() // and leave
	die  func() // without a word
}

// run starts an instance as the service does: it reads the keys, reports, reads again.
// It ends with the test.
func run(t testing.TB, m *memory, s *state, change func(*keys.Options)) *instance {
	t.Helper()
	i := &instance{src: &view{memory: m}, log: &journal{}}
	if s != nil {
		i.link = s.link()
	}
	i.src.link = i.link
	ring, err := keyring.Load(t.Context(), i.src)
	must(t, err)
	i.ring, i.sign = ring, ring.Purpose("test")
	opts := keys.Options{Ring: ring, Source: i.src, Lifetime: lifetime, Log: i.log.logger()}
	if s != nil {
		opts.Fleet = i.link
	}
	if change != nil {
		change(&opts)
	}
	i.Keeper, err = keys.New(opts)
	must(t, err)
	must(t, i.Begin(t.Context()))
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		i.Run(ctx)
	}()
	i.stop = func() { cancel(); <-done }
	i.die = func() { i.link.set(errAway); i.stop() }
	t.Cleanup(i.stop)
	return i
}

// accepts tells whether an instance accepts what another one signs now.
func accepts(signs, meets *keyring.Ring) bool {
	id, tag := signs.Purpose("test").Sign([]byte("cookie"))
	return meets.Purpose("test").Verify(id, []byte("cookie"), tag[:])
}

// signed returns a cookie as a function that asks who accepts it.
func signed(ring *keyring.Ring) func(*keyring.Ring) bool {
	id, tag := ring.Purpose("test").Sign([]byte("cookie"))
	return func(meets *keyring.Ring) bool { return meets.Purpose("test").Verify(id, []byte("cookie"), tag[:]) }
}

func (i *instance) memory() *memory { return i.src.memory }

// anybody is a fleet that lets everybody lead, as no database does.
type anybody struct{ *link }

func (anybody) Lead(_ context.Context, _, _ string, now time.Time, lease time.Duration) (time.Time, error) {
	return now.Add(lease), nil
}

// freezes has the process stand still right before it acts.
func (l *link) freezes() {
	l.own.Lock()
	defer l.own.Unlock()
	l.freeze = true
}

// at returns until when the process stands still, or stood.
func (l *link) at() time.Time {
	l.own.Lock()
	defer l.own.Unlock()
	return l.frozen
}

// written returns how often the source was written to.
func (m *memory) written() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.writes
}

// asked returns how often the source was read.
func (m *memory) asked() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reads
}
