package backend

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
)

// A process is one start of an instance. It does what the results that it has had so far
// lead to, so that it can be run from its beginning and be stopped at any call.
type process struct {
	key  int
	past []answer // of the calls that it has made
	log  string   // the same, to tell states apart
	done bool
	err  error
}

type answer struct{ known []store.KnownKey }

// errHalt ends a run at the first call that has no answer yet.
var errHalt = errors.New("errHalt")

// replica is a registry as one process sees it.
type replica struct {
	of   *process
	r    registry
	next *int  // call
	live *bool // whether one more call may be made
}

func (r replica) call(what string, do func() []store.KnownKey) []store.KnownKey {
	p := r.of
	defer func() { *r.next++ }()
	if *r.next < len(p.past) {
		return p.past[*r.next].known
	}
	if !*r.live {
		panic(errHalt)
	}
	*r.live = false
	known := do()
	p.past = append(slices.Clip(p.past), answer{known})
	p.log += what + show(known)
	return known
}

func (r replica) RememberKey(ctx context.Context, id string, now time.Time) error {
	r.call("!", func() []store.KnownKey { _ = r.r.RememberKey(ctx, id, now); return nil })
	return nil
}

func (r replica) KnownKeys(ctx context.Context) ([]store.KnownKey, error) {
	return r.call("?", func() []store.KnownKey { known, _ := r.r.KnownKeys(ctx); return known }), nil
}

func (replica) ForgetKeys(context.Context) error { return nil }

// show writes down which keys are known, whenever those that are in use were.
func show(known []store.KnownKey) string {
	var all []string
	for _, k := range known {
		all = append(all, fmt.Sprint(k.ID, claim(k)))
	}
	slices.Sort(all)
	return strings.Join(all, ",") + ";"
}

// world is what there is at one moment.
type world struct {
	regs    []registry
	procs   []process
	ran     []bool // for each key, whether an instance has run with it
	crashes int    // left
}

func (w world) clone() world {
	regs := make([]registry, len(w.regs))
	for i, r := range w.regs {
		regs[i] = registry{}
		for k, v := range r {
			regs[i][k] = v
		}
	}
	return world{regs, slices.Clone(w.procs), slices.Clone(w.ran), w.crashes}
}

func (w world) String() string {
	s := fmt.Sprint(w.crashes, w.ran)
	for _, r := range w.regs {
		known, _ := r.KnownKeys(context.Background())
		s += "|" + show(known)
	}
	for _, p := range w.procs {
		s += fmt.Sprint("|", p.key, p.done, p.err != nil, p.log)
	}
	return s
}

// step makes the next call of a process, and all that it does until the one after that.
func (w world) step(ctx context.Context, i int, rings []*keyring.Ring) {
	p := &w.procs[i]
	next, live := 0, true
	b := &Backend{cfg: &config.Config{}}
	for _, r := range w.regs {
		b.registries = append(b.registries, replica{p, r, &next, &live})
	}
	defer func() {
		if e := recover(); e != nil && e != errHalt {
			panic(e)
		}
	}()
	p.err = begin(ctx, b, rings[p.key])
	p.done, p.past, p.log = true, nil, ""
	w.ran[p.key] = w.ran[p.key] || p.err == nil
}

// begin is what [Backend.Keys] does at a start, without a key file.
func begin(ctx context.Context, b *Backend, ring *keyring.Ring) error {
	known, err := b.knownKeys(ctx)
	if err != nil {
		return err
	}
	if len(known) > 0 && !has(ring, known[0].ID) {
		return b.lacks(known[0], false)
	}
	return b.remember(ctx, ring, known)
}

// later starts an instance with each of the keys alone, in this order, and returns which ran.
func (w world) later(ctx context.Context, rings []*keyring.Ring, order ...int) []bool {
	defer func(l int) { looks = l }(looks)
	looks = 64
	w = w.clone()
	ran := make([]bool, len(rings))
	for _, key := range order {
		b := &Backend{cfg: &config.Config{}}
		for _, r := range w.regs {
			b.registries = append(b.registries, r)
		}
		ran[key] = begin(ctx, b, rings[key]) == nil
	}
	return ran
}

// judge says what is wrong with the world at its end.
func (w world) judge(ctx context.Context, rings []*keyring.Ring) string {
	orders := [][]int{{0, 1}, {1, 0}}
	someone := false
	for _, order := range orders {
		after := w.later(ctx, rings, order...)
		both := 0
		for key := range rings {
			if w.ran[key] && !after[key] {
				return "who ran is refused"
			}
			if w.ran[key] || after[key] {
				both++
			}
		}
		if both > 1 {
			return "both run"
		}
		someone = someone || both == 1
	}
	if !someone {
		return "nobody can start"
	}
	return ""
}

// explore tries each order in which the processes can make their calls, with a crash of
// each before each of its calls, behind which it starts again.
func explore(t *testing.T, rings []*keyring.Ring, w world) (states int) {
	seen := make(map[string]bool)
	var visit func(w world) bool
	visit = func(w world) bool {
		s := w.String()
		if seen[s] {
			return true
		}
		seen[s] = true
		idle := true
		for i, p := range w.procs {
			if p.done {
				continue
			}
			idle = false
			next := w.clone()
			if next.step(t.Context(), i, rings); !visit(next) {
				return false
			}
			if w.crashes > 0 && p.log != "" {
				next := w.clone()
				next.crashes--
				next.procs[i] = process{key: p.key}
				if !visit(next) {
					return false
				}
			}
		}
		// Who crashed may stay away as well, so each moment is an end.
		if w.ran[0] && w.ran[1] {
			t.Errorf("both run: %v", w)
			return false
		}
		if fault := w.judge(t.Context(), rings); fault != "" && (idle || fault == "nobody can start" || fault == "who ran is refused") {
			t.Errorf("%s: %v", fault, w)
			return false
		}
		return true
	}
	visit(w)
	return len(seen)
}

// TestPromise10_InstancesAgreeOnAKey: whatever the order in which instances with different
// keys start on a new store, and wherever one dies, two never run, whoever ran can start
// again, and somebody always can.
func TestPromise10_InstancesAgreeOnAKey(t *testing.T) {
	defer func(l int, p time.Duration) { looks, pause = l, p }(looks, pause)
	pause = 0
	a, _ := newRing(t)
	b, _ := newRing(t)
	for _, c := range []struct {
		name                string
		keys                []int
		registries, crashes int
		looks               int // so that those who stay level end
	}{
		{"one registry", []int{0, 1}, 1, 1, 6},
		{"two registries", []int{0, 1}, 2, 1, 4},
		{"a replica", []int{0, 1, 1}, 1, 0, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			looks = c.looks
			w := world{ran: make([]bool, 2), crashes: c.crashes}
			for range c.registries {
				w.regs = append(w.regs, registry{})
			}
			for _, k := range c.keys {
				w.procs = append(w.procs, process{key: k})
			}
			t.Log(explore(t, []*keyring.Ring{a, b}, w), "states")
		})
	}
}
