package cloakroom_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// fleet is several instances with sealed sessions, each of which has read the keys at a
// time of its own, and what ought to become of their visitors.
type fleet struct {
	*site
	t        *testing.T
	random   *rand.Rand
	keys     []keyring.Key // as the source has them
	rings    []*keyring.Ring
	managers []*cloakroom.Manager
	visitors []*guest
	done     []string
}

// guest is a visitor, and which keys the session has been under since its life began.
type guest struct {
	visitor
	name     string
	under    map[keyring.KeyID]bool
	deadline time.Time
	last     time.Time // request
	had      []moment
}

// moment is what a visitor's browser had after a response.
type moment struct {
	visitor
	under map[keyring.KeyID]bool
}

func newFleet(t *testing.T, seed uint64) *fleet {
	s := newSealedSite(t, nil)
	f := &fleet{site: s, t: t, random: rand.New(rand.NewPCG(seed, 21)), keys: []keyring.Key{s.key}}
	for range 3 {
		ring := newRing(t, s.key)
		m, err := newSealed(s.spy, ring, &cloakroom.Options{Logger: s.Logger()})
		if err != nil {
			t.Fatal(err)
		}
		f.rings, f.managers = append(f.rings, ring), append(f.managers, m)
	}
	for range 4 {
		g := &guest{visitor: visitor{tb: t, m: f.managers[0]}}
		f.visitors = append(f.visitors, g)
		f.login(g)
	}
	return f
}

// follow has instances read the keys.
func (f *fleet) follow(some ...int) {
	for _, i := range some {
		at := slices.IndexFunc(f.keys, func(k keyring.Key) bool { return k.State() == keyring.Active })
		if err := f.rings[i].Replace(f.keys[at], slices.Delete(slices.Clone(f.keys), at, at+1)...); err != nil {
			f.t.Fatal(err)
		}
	}
}

// rotate takes a step of a rotation, forward or back, which one instance or two are slow
// to follow.
func (f *fleet) rotate() {
	f.follow(0, 1, 2)
	var keys []keyring.Key
	var err error
	switch f.random.IntN(4) {
	case 0:
		if keys, err = keyring.Rollback(f.keys, time.Now()); err == nil {
			f.note("rollback")
		}
	case 1:
		keys = keyring.Prune(f.keys, time.Now())
	default:
		if keys, err = keyring.Announce(f.keys, keyring.Generate()); err == nil {
			f.note("announce")
		} else if keys, err = keyring.Activate(f.keys, time.Now().Add(lifetime+10*time.Minute)); err == nil {
			f.note("activate")
		}
	}
	if err == nil {
		f.keys = keys
	}
	f.follow(f.random.Perm(3)[:f.random.IntN(3)]...)
}

func (f *fleet) note(format string, args ...any) {
	f.done = append(f.done, fmt.Sprintf(format, args...))
}

func (f *fleet) login(g *guest) {
	g.visit(func(s *cloakroom.Session) { s.Login(cloakroom.Identity{UserID: "u1"}) })
	*g = guest{visitor: g.visitor, name: "u1", under: map[keyring.KeyID]bool{}, deadline: time.Now().Add(lifetime)}
	f.came(g)
}

// came notes what a response has brought.
func (f *fleet) came(g *guest) {
	g.under[keyring.KeyID(bytesOf(f.t, g.cookie)[18:22])] = true
	g.last = time.Now()
	g.had = append(g.had, moment{g.visitor, maps.Clone(g.under)})
}

// request is one of somebody's, somewhere. Who has been away for too long signs in.
func (f *fleet) request() {
	g := f.visitors[f.random.IntN(len(f.visitors))]
	i := f.random.IntN(3)
	g.m = f.managers[i]
	if now := time.Now(); now.Sub(g.last) >= idle*9/10 || !now.Before(g.deadline) {
		g.cookie, g.seen = "", ""
		f.login(g)
		return
	}
	if user := g.user(); user != g.name {
		f.t.Fatalf("at instance %d the session is %q's, after %q", i, user, f.done)
	}
	f.came(g)
	f.note("at %d", i)
	switch f.random.IntN(12) {
	case 0, 1:
		g.visit(uses["write"])
	case 2:
		g.visit(uses["renew"])
	case 3:
		g.visit(uses["roles"])
	case 4:
		f.login(g)
	}
	f.came(g)
}

// step lets some time pass, in which the instances read the keys, and does something.
func (f *fleet) step() {
	time.Sleep(time.Duration(f.random.Int64N(int64(4 * time.Minute))))
	switch f.random.IntN(40) {
	case 0:
		f.rotate()
	case 1:
		time.Sleep(time.Duration(f.random.Int64N(int64(idle))))
	case 2, 3, 4, 5:
		f.follow(f.random.IntN(3))
	default:
		f.request()
	}
}

// However keys are exchanged, forward and back, and however late an instance reads them,
// nobody with a sealed session is signed out: neither who writes nor who only reads.
func TestPromise10_RotationsSignOutNobodyWithASealedSession(t *testing.T) {
	for seed := range uint64(3) {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t, seed)
			for range 1200 {
				f.step()
			}
		})
	}
}

// A15: on the day that a key leaks, whatever it was at ends with it: each state of each
// session, honest or forged, at each instance that has read of it. All others go on.
func TestAttack_A15_TheEndOfAKeyEndsAllThatItWasAt(t *testing.T) {
	ended, went := 0, 0
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t, seed)
			for range 60 + f.random.IntN(200) {
				f.step()
			}
			f.follow(0, 1, 2)
			leaked := f.keys[f.random.IntN(len(f.keys))]
			var claims []keyring.KeyID
			for _, k := range f.keys {
				if f.random.IntN(2) == 0 && k.ID() != leaked.ID() {
					claims = append(claims, ascending(k)...)
				}
			}
			if f.rings[0].Accepts(leaked.ID()) {
				slices.SortFunc(claims, func(a, b keyring.KeyID) int { return slices.Compare(a[:], b[:]) })
				forged := &guest{visitor: visitor{tb: t, m: f.managers[0], cookie: forge(t, leaked, claims...)}, name: "ada",
					under: map[keyring.KeyID]bool{}, deadline: time.Now().Add(lifetime)}
				f.came(forged)
				f.visitors = append(f.visitors, forged)
			}
			for range 50 {
				f.step()
			}
			keys, err := keyring.Retire(f.keys, leaked.ID(), time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if f.keys = keys; f.random.IntN(2) == 0 {
				f.keys = keyring.Prune(keys, time.Now())
			}
			f.follow(0, 1, 2)
			for _, g := range f.visitors {
				e, w := f.afterwards(g, leaked.ID())
				ended, went = ended+e, went+w
			}
		})
	}
	t.Logf("%d states ended and %d went on", ended, went)
	if ended < 300 || went < 100 {
		t.Errorf("%d states ended and %d went on: this proves little", ended, went)
	}
}

// afterwards checks each state that a visitor's session has had, and how many of them
// ended with the key and went on.
func (f *fleet) afterwards(g *guest, leaked keyring.KeyID) (ended, went int) {
	for i, was := range g.had {
		for n, m := range f.managers {
			for _, seen := range []string{"", was.seen, g.seen} {
				probe := was.visitor
				probe.m, probe.seen = m, seen
				user := probe.user()
				switch {
				case was.under[leaked] && user != "":
					f.t.Fatalf("state %d of %d is %q's at instance %d, after %q", i+1, len(g.had), user, n, f.done)
				case was.under[leaked]:
					ended++
				case user != "":
					went++
				case i == len(g.had)-1 && seen == g.seen && time.Since(g.last) < idle*9/10 && time.Now().Before(g.deadline):
					f.t.Fatalf("the session that the key never was at has ended at instance %d, after %q", n, f.done)
				}
			}
		}
	}
	return ended, went
}
