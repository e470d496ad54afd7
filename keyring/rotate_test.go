package keyring_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

// A rotating is the keys of a source on a random walk, with what they signed.
type rotating struct {
	t      *testing.T
	rng    *rand.Rand
	keys   []keyring.Key
	signed []signature
	leaked map[keyring.KeyID]bool
}

type signature struct {
	id     keyring.KeyID
	tag    [32]byte
	sealed []byte
	at     time.Time
}

// walkLife is how long what a key signs shall be accepted.
const walkLife = 24 * time.Hour

// ring reads the keys with their lines in any order.
func (w *rotating) ring() *keyring.Ring {
	w.t.Helper()
	text, err := keyring.Text(w.keys)
	if err != nil {
		w.t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	w.rng.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	r, err := keyring.Read(strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// sign has a ring sign, which has to be done by its active key.
func (w *rotating) sign(r *keyring.Ring, p *keyring.Purpose) signature {
	w.t.Helper()
	s := signature{at: time.Now(), sealed: p.Seal(nil, nil)}
	s.id, s.tag = p.Sign([]byte("message"))
	by, _ := keyring.SealedBy(s.sealed)
	if s.id != r.Active() || by != s.id || r.Keys()[0].ID != s.id || r.Keys()[0].State != keyring.Active {
		w.t.Fatalf("signed by %v, sealed by %v, active is %v", s.id, by, r.Active())
	}
	return s
}

func accepts(p *keyring.Purpose, s signature) bool {
	_, err := p.Open(s.sealed, nil)
	return p.Verify(s.id, []byte("message"), s.tag[:]) && err == nil
}

// step goes one step of a rotation, or none where that cannot be gone now.
func (w *rotating) step() (name string) {
	now, before := time.Now(), slices.Clone(w.keys)
	var after []keyring.Key
	var err error
	switch w.rng.IntN(7) {
	case 0, 1:
		name = "announce"
		after, err = keyring.Announce(w.keys, keyring.Generate())
	case 2, 3:
		name = "activate"
		after, err = keyring.Activate(w.keys, now.Add(walkLife+time.Second))
	case 4:
		name = "rollback"
		after, err = keyring.Rollback(w.keys, now)
	case 5:
		name = "prune"
		after = keyring.Prune(w.keys, now)
	case 6:
		name = "retire"
		id := w.keys[w.rng.IntN(len(w.keys))].ID()
		after, err = keyring.Retire(w.keys, id, now)
		w.leaked[id] = true
	}
	if !slices.Equal(before, w.keys) {
		w.t.Fatalf("%s changed the keys that it was given", name)
	}
	if err == nil {
		w.keys = after
	}
	return name
}

// check judges all that was signed by what is known of it.
func (w *rotating) check(p *keyring.Purpose, name string) {
	w.t.Helper()
	now := time.Now()
	for _, s := range w.signed {
		got := accepts(p, s)
		i := slices.IndexFunc(w.keys, func(k keyring.Key) bool { return k.ID() == s.id })
		switch {
		case w.leaked[s.id] || i < 0 || w.keys[i].State() == keyring.Retiring && !now.Before(w.keys[i].Until()):
			if got {
				w.t.Fatalf("after %s: accepted, though its key has ended", name)
			}
		case now.Before(s.at.Add(walkLife)) && !got:
			w.t.Fatalf("after %s: refused %v after it was signed", name, now.Sub(s.at))
		}
		if i < 0 && !w.leaked[s.id] && now.Before(s.at.Add(walkLife)) {
			w.t.Fatalf("after %s: its key is gone after %v", name, now.Sub(s.at))
		}
	}
}

// Whatever steps are gone, in whatever order the lines stand: the active key signs;
// what was signed is accepted as long as it shall be, and not after the end of its
// key; and two instances one step apart accept what the other signs.
func TestAttack_A15_RandomRotationsSignNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := make(map[string]int)
		walks := uint64(40)
		if raceEnabled {
			walks = 20 // there are no races here, and the detector is slow
		}
		for walk := range walks {
			w := &rotating{t: t, rng: rand.New(rand.NewPCG(walk, 1)), keys: []keyring.Key{keyring.Generate()}, leaked: make(map[keyring.KeyID]bool)}
			behind := w.ring()
			theirs := behind.Purpose("test")
			for range 25 {
				w.signed = append(w.signed, w.sign(behind, theirs))
				name := w.step()
				ring := w.ring()
				mine := ring.Purpose("test")
				ours, other := w.sign(ring, mine), w.sign(behind, theirs)
				switch {
				case w.leaked[other.id]:
					if accepts(mine, other) {
						t.Fatal("a key that leaked is accepted")
					}
				case name != "retire":
					if !accepts(theirs, ours) || !accepts(mine, other) {
						t.Fatalf("around %s one instance refuses what the other signed", name)
					}
				}
				done[name]++
				w.signed = append(w.signed, ours, other)
				w.check(mine, name)
				time.Sleep(time.Duration(w.rng.IntN(10)) * time.Hour)
				w.check(mine, name+" and a while")
				behind, theirs = ring, mine
			}
		}
		for _, name := range []string{"announce", "activate", "rollback", "prune", "retire"} {
			if done[name] < 25 {
				t.Errorf("%s was gone %d times only", name, done[name])
			}
		}
	})
}

// Retired at once means at once, also where a clock is behind.
func TestRetireEndsAKeyAtOnce(t *testing.T) {
	now := time.Now()
	a, b, c := keyring.Generate(), keyring.Generate().AsNext(), keyring.Generate().AsRetiring(now.Add(time.Hour))
	for name, test := range map[string]struct {
		id     keyring.KeyID
		active keyring.KeyID
		n      int
	}{
		"active":   {a.ID(), b.ID(), 3},
		"next":     {b.ID(), a.ID(), 3},
		"retiring": {c.ID(), a.ID(), 3},
	} {
		keys, err := keyring.Retire([]keyring.Key{a, b, c}, test.id, now)
		if err != nil {
			t.Fatal(err)
		}
		text, err := keyring.Text(keys)
		if err != nil {
			t.Fatal(err)
		}
		ring, err := keyring.Read(bytes.NewReader(text))
		if err != nil || ring.Active() != test.active || len(ring.Keys()) != test.n || !ring.Has(test.id) {
			t.Errorf("%s: %v, %v", name, ring.Keys(), err)
		}
		i := slices.IndexFunc(keys, func(k keyring.Key) bool { return k.ID() == test.id })
		if behind := now.Add(-5 * time.Minute); keys[i].Until().After(behind) {
			t.Errorf("%s: it ends %v from now", name, keys[i].Until().Sub(now))
		}
		again, err := keyring.Retire(keys, test.id, now.Add(time.Hour))
		if err != nil || !again[i].Until().Equal(keys[i].Until()) {
			t.Errorf("%s, again an hour later: until %v, %v", name, again[i].Until(), err)
		}
	}
	keys, err := keyring.Retire([]keyring.Key{a}, a.ID(), now)
	if err != nil || len(keys) != 2 || keys[1].State() != keyring.Active || keys[1].ID() == a.ID() {
		t.Errorf("without a next key: %v, %v", keys, err)
	}
	if _, err := keyring.Retire([]keyring.Key{a}, b.ID(), now); err == nil || !strings.Contains(err.Error(), "there is no key "+b.ID().String()) {
		t.Errorf("a key that is not there: %v", err)
	}
}

func TestStepsThatCannotBeGone(t *testing.T) {
	now := time.Now()
	a, b := keyring.Generate(), keyring.Generate()
	full := []keyring.Key{a}
	for range keyring.MaxKeys - 1 {
		full = append(full, keyring.Generate().AsRetiring(now.Add(time.Hour)))
	}
	ended := slices.Clone(full)
	ended[7] = ended[7].AsRetiring(now)
	for want, f := range map[string]func() ([]keyring.Key, error){
		"is next already; activate it": func() ([]keyring.Key, error) {
			return keyring.Announce([]keyring.Key{a, b.AsNext()}, keyring.Generate())
		},
		"64 keys, as many as may be":     func() ([]keyring.Key, error) { return keyring.Announce(full, b) },
		"no key is next; announce":       func() ([]keyring.Key, error) { return keyring.Activate([]keyring.Key{a}, now) },
		"no key is retiring; there is":   func() ([]keyring.Key, error) { return keyring.Rollback([]keyring.Key{a, b.AsNext()}, now) },
		"no key is retiring; there is n": func() ([]keyring.Key, error) { return keyring.Rollback([]keyring.Key{a, b.AsRetiring(now)}, now) },
	} {
		if keys, err := f(); err == nil || !strings.Contains(err.Error(), want) || keys != nil {
			t.Errorf("%s: %d keys, %v", want, len(keys), err)
		}
	}
	// A key that leaked is retired also where there is hardly room.
	keys, err := keyring.Retire(ended, a.ID(), now)
	if err == nil {
		_, err = keyring.Text(keys)
	}
	if err != nil || len(keys) != keyring.MaxKeys {
		t.Errorf("retired among as many as may be: %d keys, %v", len(keys), err)
	}
	// Where there is none the key goes that ends first; never the one that leaked.
	full[0] = a
	for i := range full[1:] {
		full[i+1] = full[i+1].AsRetiring(now.Add(time.Duration(i+10) * time.Minute))
	}
	full[9] = full[9].AsRetiring(now.Add(time.Minute))
	keys, err = keyring.Retire(full, a.ID(), now)
	if err == nil {
		_, err = keyring.Text(keys)
	}
	has := func(id keyring.KeyID) bool {
		return slices.ContainsFunc(keys, func(k keyring.Key) bool { return k.ID() == id })
	}
	if err != nil || len(keys) != keyring.MaxKeys || has(full[9].ID()) || !has(a.ID()) || !has(full[1].ID()) {
		t.Errorf("retired among as many as may be that go on: %d keys, %v", len(keys), err)
	}
	if keys := keyring.Prune(ended, now); len(keys) != keyring.MaxKeys-1 {
		t.Errorf("pruned, %d keys are left", len(keys))
	}
	if _, err := keyring.Text([]keyring.Key{a, a.AsNext()}); err == nil {
		t.Error("Text writes what no ring takes")
	}
}

// Rollback goes back to the key that was active last.
func TestRollbackKeepsBothKeys(t *testing.T) {
	now := time.Now()
	a, b := keyring.Generate(), keyring.Generate()
	keys, err := keyring.Announce([]keyring.Key{a}, b)
	if err == nil {
		keys, err = keyring.Activate(keys, now.Add(time.Hour))
	}
	if err == nil {
		keys, err = keyring.Rollback(keys, now)
	}
	if err != nil || len(keys) != 2 || keys[0].ID() != a.ID() || keys[0].State() != keyring.Active || keys[1].State() != keyring.Next {
		t.Fatalf("%v, %v", keys, err)
	}
	// And forward again, with the same key.
	keys, err = keyring.Activate(keys, now.Add(time.Hour))
	if err != nil || keys[1].State() != keyring.Active || keys[1].ID() != b.ID() || keys[0].State() != keyring.Retiring {
		t.Errorf("forward again: %v, %v", keys, err)
	}
}

// What people wrote into a key file stays there.
func TestEditKeepsComments(t *testing.T) {
	a, b, c := keyring.Generate(), keyring.Generate().AsNext(), keyring.Generate().AsRetiring(time.Now())
	path := writeKeys(t, "\ufeff# of the shop\r\n"+c.Text()+"\r\n\r\n  # next\n"+b.Text()+"\n# the one of 2026\n"+a.Text())
	d := keyring.Generate()
	until := time.Now().Add(time.Hour)
	_, err := keyring.Edit(t.Context(), keyring.File(path), func(keys []keyring.Key) ([]keyring.Key, error) {
		keys = keyring.Prune(keys, time.Now())
		slices.Reverse(keys)
		keys, err := keyring.Activate(keys, until)
		if err != nil {
			return nil, err
		}
		return keyring.Announce(keys, d)
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "# of the shop\n\n# next\n" + b.AsActive().Text() + "\n# the one of 2026\n" + a.AsRetiring(until).Text() + "\n" + d.AsNext().Text() + "\n"
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("written:\n%s\nwant:\n%s", got, want)
	}
}

// A memory is a Writer that somebody else may be faster at.
type memory struct {
	text   []byte
	writes int
	before func(m *memory) error // called before each write
}

func (m *memory) Read(context.Context) ([]byte, error) { return bytes.Clone(m.text), nil }

func (m *memory) Write(_ context.Context, old, text []byte) error {
	m.writes++
	if m.before != nil {
		if err := m.before(m); err != nil {
			return err
		}
	}
	if !bytes.Equal(m.text, old) {
		return keyring.ErrChanged
	}
	m.text = bytes.Clone(text)
	return nil
}

func TestEditBeginsAnewWhereOthersAreFaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := keyring.Generate(), keyring.Generate(), keyring.Generate()
		m := &memory{text: []byte(a.Text())}
		m.before = func(m *memory) error {
			if m.writes <= 3 {
				m.text = []byte(a.Text() + "\n" + b.AsRetiring(time.Now().Add(time.Hour+time.Duration(m.writes)*time.Second)).Text())
			}
			return nil
		}
		calls := 0
		announce := func(keys []keyring.Key) ([]keyring.Key, error) {
			calls++
			return keyring.Announce(keys, c)
		}
		keys, err := keyring.Edit(t.Context(), m, announce)
		if err != nil || len(keys) != 3 || calls != 4 || m.writes != 4 {
			t.Fatalf("%v, %v after %d calls", keys, err, calls)
		}
		// As it is: nothing is written.
		if keys, err = keyring.Edit(t.Context(), m, func(keys []keyring.Key) ([]keyring.Key, error) { return keys, nil }); err != nil || len(keys) != 3 || m.writes != 4 {
			t.Errorf("no change: %v, %v, %d writes", keys, err, m.writes-4)
		}
		// Always too late: it gives up.
		calls = 0
		m.before = func(*memory) error { return keyring.ErrChanged }
		retire := func(keys []keyring.Key) ([]keyring.Key, error) { calls++; return keys[:1], nil }
		start := time.Now()
		_, err = keyring.Edit(t.Context(), m, retire)
		if took := time.Since(start); !errors.Is(err, keyring.ErrChanged) || !strings.HasSuffix(err.Error(), "changed meanwhile, at each of 40 attempts; see what else writes there") || calls < 20 || took < 5*time.Second || took > time.Minute {
			t.Errorf("always too late: %v after %d calls and %v", err, calls, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err = keyring.Edit(ctx, m, retire); !errors.Is(err, keyring.ErrChanged) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the context ends: %v", err)
		}
		// Other errors come through at once.
		refused, full := errors.New("refused"), errors.New("disk full")
		if _, err = keyring.Edit(t.Context(), m, func([]keyring.Key) ([]keyring.Key, error) { return nil, refused }); err != refused {
			t.Errorf("f fails: %v", err)
		}
		m.before = func(*memory) error { return full }
		if _, err = keyring.Edit(t.Context(), m, retire); err != full {
			t.Errorf("Write fails: %v", err)
		}
		before := m.writes
		if _, err = keyring.Edit(t.Context(), m, func(keys []keyring.Key) ([]keyring.Key, error) { return append(keys, keys[0]), nil }); err == nil || m.writes != before {
			t.Errorf("keys that no ring takes: %v, %d writes", err, m.writes-before)
		}
	})
}

// A source with a bare secret becomes one with key lines when it is rotated. What the
// secret has signed goes on being accepted.
func TestEditOfABareSecretWritesKeyLines(t *testing.T) {
	for _, secret := range []string{encodings[2](random(32)), wrap(encodings[2](random(64)), 64)} {
		path := writeKeys(t, "# from openssl\n"+secret+"\n")
		ring, err := keyring.OpenFile(path)
		if err != nil {
			t.Fatal(err)
		}
		id, tag := ring.Purpose("test").Sign(nil)
		until := time.Now().Add(time.Hour)
		for _, step := range []func([]keyring.Key) ([]keyring.Key, error){
			func(keys []keyring.Key) ([]keyring.Key, error) { return keyring.Announce(keys, keyring.Generate()) },
			func(keys []keyring.Key) ([]keyring.Key, error) { return keyring.Activate(keys, until) },
		} {
			if _, err := keyring.Edit(t.Context(), keyring.File(path), step); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(path)
		if err != nil || strings.Contains(string(text), secret) || !strings.HasPrefix(string(text), "# from openssl\n") || !strings.Contains(string(text), "\ncloakroom-key-v1 "+id.String()+" 0001-01-01T00:00:00Z ") {
			t.Errorf("written:\n%s%v", text, err)
		}
		next, err := readFile(path)
		if err != nil || !next.Purpose("test").Verify(id, nil, tag[:]) || len(next.Keys()) != 2 {
			t.Errorf("%v, %v", next, err)
		}
		for _, k := range next.Keys() {
			if (k.ID == id) != k.Created.IsZero() {
				t.Errorf("%v was made at %v", k.ID, k.Created)
			}
		}
	}
}
