package agekeys_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/keyring/agekeys"
)

// New keys are encrypted as the old ones were, and found by whoever reads anew.
func TestWrite(t *testing.T) {
	for name, f := range forms(t) {
		if name == "hybrid" {
			continue // its identity lies beside one of the other kind: see below
		}
		for _, armored := range []bool{false, true} {
			path := save(t, "keys.age", encrypt(t, []byte(keyring.Generate().Text()), armored, f.to))
			if err := os.Chmod(path, 0o640); err != nil {
				t.Fatal(err)
			}
			place := path + "?" + f.param
			if name == "X25519" {
				place += "&recipients-file=" + save(t, "recipients", []byte("# us\n"+f.to.(*age.X25519Recipient).String()+"\r\n"))
			}
			rotate(t, place)
			text, err := os.ReadFile(path)
			if err != nil || bytes.HasPrefix(text, []byte(armor.Header)) != armored || bytes.Contains(text, []byte("cloakroom-key-v1")) {
				t.Errorf("%s: armored %v, now %.60q, %v", name, armored, text, err)
			}
			if name == "passphrase" && !armored && !bytes.Contains(text, []byte(" 10\n")) {
				t.Error("another work factor")
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
				t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
			}
		}
	}
}

// rotate announces a key, and reads it with a source of its own.
func rotate(t *testing.T, place string) {
	t.Helper()
	k := keyring.Generate()
	keys, err := keyring.Edit(t.Context(), open(t, place), func(keys []keyring.Key) ([]keyring.Key, error) { return keyring.Announce(keys, k) })
	if err != nil {
		t.Error(err)
		return
	}
	ring, err := keyring.Load(t.Context(), open(t, place))
	if err != nil || !ring.Has(k.ID()) || len(ring.Keys()) != len(keys) {
		t.Errorf("%v, %v", ring, err)
	}
}

func TestWriteToIdentities(t *testing.T) {
	a, b, pq := x25519(t), x25519(t), hybrid(t)
	text := []byte(keyring.Generate().Text())
	for _, tc := range []struct {
		name       string
		to         []age.Recipient
		identities []string
		recipients string // of the file, "" for none
		want       string // of the error
	}{
		{"to one", []age.Recipient{a.Recipient()}, []string{a.String()}, "", ""},
		{"to one of two", []age.Recipient{a.Recipient()}, []string{a.String(), b.String()}, "", ""},
		{"to both", []age.Recipient{a.Recipient(), b.Recipient()}, []string{a.String(), b.String()}, "", ""},
		{"hybrid", []age.Recipient{pq.Recipient()}, []string{pq.String()}, "", ""},
		{"another could open it", []age.Recipient{a.Recipient(), b.Recipient()}, []string{a.String()}, "", "to others than the identities"},
		{"another could, and an identity could not", []age.Recipient{a.Recipient(), b.Recipient()}, []string{a.String(), x25519(t).String()}, "", "to others than the identities"},
		{"grease", []age.Recipient{a.Recipient(), grease{}}, []string{a.String()}, "", ""},
		{"all are named", []age.Recipient{a.Recipient(), b.Recipient()}, []string{a.String()}, a.Recipient().String() + "\n" + b.Recipient().String(), ""},
		{"mixed", []age.Recipient{a.Recipient()}, []string{a.String(), pq.String()}, "", "cannot be mixed"},
		{"mixed, one kind is named", []age.Recipient{a.Recipient()}, []string{a.String(), pq.String()}, pq.Recipient().String(), ""},
		{"not to ours", []age.Recipient{a.Recipient()}, []string{a.String()}, b.Recipient().String(), "no identity opens"},
		{"no recipient", []age.Recipient{a.Recipient()}, []string{a.String()}, "# none", "there is no recipient"},
		{"an identity for a recipient", []age.Recipient{a.Recipient()}, []string{a.String()}, a.String(), "recipients file: line 1: no recipient"},
	} {
		sealed := encrypt(t, text, false, tc.to...)
		path := save(t, "keys.age", sealed)
		place := path + "?identity-file=" + save(t, "identities", []byte(strings.Join(tc.identities, "\n")))
		if tc.recipients != "" {
			place += "&recipients-file=" + save(t, "recipients", []byte(tc.recipients))
		}
		if tc.want == "" {
			rotate(t, place)
			continue
		}
		err := open(t, place).Write(t.Context(), text, []byte("new"))
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), a.String()[20:]) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, sealed) {
			t.Errorf("%s: the file has changed, %v", tc.name, err)
		}
	}
}

// grease is a recipient that is there to be ignored, as other programs add some.
type grease struct{}

func (grease) Wrap([]byte) ([]*age.Stanza, error) {
	return []*age.Stanza{{Type: "yl2c-grease", Args: []string{"x"}, Body: []byte("hunter2")}}, nil
}

// TestWriteIsCompareAndSet: what somebody else has written is not overwritten, whether
// they were before us or between our look and our hand.
func TestWriteIsCompareAndSet(t *testing.T) {
	id := x25519(t)
	identity := save(t, "identity", []byte(id.String()))
	seal := func(text string) []byte { return encrypt(t, []byte(text), false, id.Recipient()) }
	inner := &meddled{memory: memory{seal("one")}}
	w, err := agekeys.New(inner, &agekeys.Options{IdentityFile: identity})
	if err != nil || w.ReadOnly() {
		t.Fatal(err)
	}
	if err := w.Write(t.Context(), []byte("zero"), []byte("two")); !errors.Is(err, keyring.ErrChanged) {
		t.Errorf("written over what was never read: %v", err)
	}
	theirs := seal("theirs")
	inner.meddle = func() { inner.text = theirs }
	if err := w.Write(t.Context(), []byte("one"), []byte("two")); !errors.Is(err, keyring.ErrChanged) || !bytes.Equal(inner.text, theirs) {
		t.Errorf("written over what somebody else was faster with: %v", err)
	}
	inner.meddle = nil
	if err := w.Write(t.Context(), []byte("theirs"), []byte("two")); err != nil {
		t.Error(err)
	}
	if text, err := w.Read(t.Context()); err != nil || string(text) != "two" {
		t.Errorf("%q, %v", text, err)
	}
	if err := w.Write(t.Context(), []byte("two"), make([]byte, 65<<10)); err == nil || !strings.Contains(err.Error(), "64 KiB") {
		t.Errorf("more is written than could be read: %v", err)
	}

	// The file by itself, too.
	path := save(t, "keys.age", seal("one"))
	place := path + "?identity-file=" + identity
	x, y := open(t, place), open(t, place)
	for _, s := range []keyring.Writer{x, y} {
		if _, err := s.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Write(t.Context(), []byte("one"), []byte("two")); err != nil {
		t.Error(err)
	}
	if err := y.Write(t.Context(), []byte("one"), []byte("three")); !errors.Is(err, keyring.ErrChanged) {
		t.Error(err)
	}
	if text, err := y.Read(t.Context()); err != nil || string(text) != "two" {
		t.Errorf("%q, %v", text, err)
	}
}

// TestReadOnly: around what can only be read, nothing is written, and that can be asked.
func TestReadOnly(t *testing.T) {
	id := x25519(t)
	sealed := memory{encrypt(t, []byte("one"), false, id.Recipient())}
	for _, inner := range []keyring.Source{&sealed, &pinned{meddled{memory: sealed}}} {
		src, err := agekeys.New(inner, &agekeys.Options{IdentityFile: save(t, "identity", []byte(id.String()))})
		if err != nil {
			t.Fatal(err)
		}
		if text, err := src.Read(t.Context()); err != nil || string(text) != "one" || !src.ReadOnly() {
			t.Errorf("%T: %q, %v, read only %v", inner, text, err, src.ReadOnly())
		}
		if err := src.Write(t.Context(), []byte("one"), []byte("two")); err == nil || !strings.Contains(err.Error(), "can only be read") {
			t.Errorf("%T: %v", inner, err)
		}
	}
}

// pinned is a Writer that says it is none, as a source at one version does.
type pinned struct{ meddled }

func (*pinned) ReadOnly() bool { return true }

// Of many who edit the file at once, all get through.
func TestManyEditAtOnce(t *testing.T) {
	id := x25519(t)
	path := save(t, "keys.age", encrypt(t, []byte(keyring.Generate().Text()), true, id.Recipient()))
	place := path + "?identity-file=" + save(t, "identity", []byte(id.String()))
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			_, err := keyring.Edit(t.Context(), open(t, place), func(keys []keyring.Key) ([]keyring.Key, error) {
				return append(keys, keyring.Generate().AsNext()), nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	ring, err := keyring.Load(t.Context(), open(t, place))
	if err != nil || len(ring.Keys()) != 7 {
		t.Errorf("%v, %v", ring, err)
	}
}

// meddled is a Writer that somebody else changes at the last moment.
type meddled struct {
	memory
	meddle func()
}

func (m *meddled) Write(_ context.Context, old, text []byte) error {
	if m.meddle != nil {
		m.meddle()
	}
	if !bytes.Equal(m.text, old) {
		return keyring.ErrChanged
	}
	m.text = slices.Clone(text)
	return nil
}
