package password_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/password"
)

const passphrase = "a coat left in the rain"

// peppered returns a Hasher with a pepper of a ring.
func peppered(t testing.TB, ring *keyring.Ring) *password.Hasher {
	t.Helper()
	return newHasher(t, &password.Options{Pepper: ring.Purpose("password")})
}

func newRing(t testing.TB, active keyring.Key, others ...keyring.Key) *keyring.Ring {
	t.Helper()
	ring, err := keyring.New(active, others...)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// A dump of the database says neither what was hashed nor how, and without the
// key of the very purpose nobody can try a password.
func TestNIST_3_1_1_2_pepper_ADumpCannotBeTried(t *testing.T) {
	key := keyring.Generate()
	ring := newRing(t, key)
	h := peppered(t, ring)
	stored, err := h.Hash(ctx, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(stored, "$sealed$v=1$") || strings.Contains(stored, "argon2") || len(stored) > 255 {
		t.Errorf("stored is %s", stored)
	}
	if ok, err := h.Verify(ctx, stored, passphrase); !ok || err != nil {
		t.Errorf("the password: %t, %v", ok, err)
	}
	if ok, err := h.Verify(ctx, stored, passphrase+"x"); ok || err != nil {
		t.Errorf("another: %t, %v", ok, err)
	}
	if h.NeedsRehash(stored) || h.Check(stored) != nil || !password.Recognized(stored) {
		t.Errorf("a new hash is not good enough: %v", h.Check(stored))
	}
	for name, other := range map[string]*password.Hasher{
		"no pepper":       newHasher(t, nil),
		"another key":     peppered(t, newRing(t, keyring.Generate())),
		"another purpose": newHasher(t, &password.Options{Pepper: ring.Purpose("something else")}),
	} {
		calls := record(other)
		if ok, err := other.Verify(ctx, stored, passphrase); ok || err != nil || len(*calls) != 1 {
			t.Errorf("%s: %t, %v after %d computations, want a false one", name, ok, err, len(*calls))
		}
		if err := other.Check(stored); err == nil || strings.Contains(err.Error(), stored[20:40]) || !other.NeedsRehash(stored) {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := other.Rewrap(stored); err == nil {
			t.Errorf("%s: wrapped anew: %s", name, got)
		}
	}
}

// Every byte of what is stored is protected.
func TestSealedHashesCannotBeChanged(t *testing.T) {
	ring := newRing(t, keyring.Generate())
	h := peppered(t, ring)
	stored, err := h.Hash(ctx, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	for i := range stored {
		for _, c := range "A0/$\n" {
			changed := stored[:i] + string(c) + stored[i+1:]
			if changed != stored && h.Check(changed) == nil {
				t.Errorf("%s is usable", changed)
			}
		}
	}
	// Sealed by the same key, but not as a hash.
	for _, msg := range []string{"", "x", passphrase, stored, strings.Repeat("$", 1000)} {
		sealed := password.SealWith(ring.Purpose("password"), msg)
		if ok, err := h.Verify(ctx, sealed, passphrase); ok || err != nil || h.Check(sealed) == nil {
			t.Errorf("%.20q sealed: %t, %v", msg, ok, err)
		}
		if _, err := h.Rewrap(sealed); err == nil {
			t.Errorf("%.20q sealed was wrapped anew", msg)
		}
	}
	for _, s := range []string{"$sealed$v=1$", "$sealed$v=2$AAAAAAAAAAAA", "$sealed$", "$sealed$v=1$" + strings.Repeat("A", 1<<20), "$sealed$v=1$AAAAAAA="} {
		if h.Check(s) == nil || password.Recognized(s) {
			t.Errorf("%.40q is usable", s)
		}
	}
}

// When the key is replaced, a login seals the same hash anew: nobody notices and
// nothing is hashed. What nobody signs in to, a program can seal by itself.
func TestNIST_3_1_1_2_pepper_ANewKeyWrapsWithoutHashing(t *testing.T) {
	old, next := keyring.Generate(), keyring.Generate()
	ring := newRing(t, old)
	h := peppered(t, ring)
	stored, err := h.Hash(ctx, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	if err := ring.Replace(next, old.AsRetiring(time.Now().Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	if ok, err := h.Verify(ctx, stored, passphrase); !ok || err != nil {
		t.Fatalf("%t, %v", ok, err)
	}
	if !h.NeedsRehash(stored) {
		t.Error("a hash under the former key is good enough")
	}
	calls := record(h)
	renewed, err := h.Renew(ctx, stored, passphrase)
	if err != nil || len(*calls) != 0 {
		t.Errorf("%v after %d computations", err, len(*calls))
	}
	rewrapped, err := h.Rewrap(stored)
	if err != nil {
		t.Error(err)
	}
	if err := ring.Replace(next); err != nil { // the former key is gone
		t.Fatal(err)
	}
	for _, s := range []string{renewed, rewrapped} {
		if ok, err := h.Verify(ctx, s, passphrase); !ok || err != nil || h.NeedsRehash(s) {
			t.Errorf("sealed anew: %t, %v, needs rehash: %t", ok, err, h.NeedsRehash(s))
		}
		if again, err := h.Rewrap(s); err != nil || again != s {
			t.Errorf("sealed once more: %v", err)
		}
	}
	if ok, _ := h.Verify(ctx, stored, passphrase); ok {
		t.Error("what was not sealed anew opens without its key")
	}
}

// Hashes from before there was a pepper go on to work and are sealed at login;
// those of other programs are made anew as well.
func TestPlainHashesBecomeSealed(t *testing.T) {
	plain := newHasher(t, nil)
	own, err := plain.Hash(ctx, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	h := peppered(t, newRing(t, keyring.Generate()))
	calls := record(h)
	for _, v := range []struct {
		stored, password string
		hashes           int
	}{
		{own, passphrase, 0},
		{"pbkdf2_sha1$260000$Cpt2OFy9JmmZFBTE0MAFmX$kVVBbkEmjrapSxchJfDW77/2U8o=", "correct horse battery staple", 1},
	} {
		if ok, err := h.Verify(ctx, v.stored, v.password); !ok || err != nil {
			t.Fatalf("%s: %t, %v", v.stored, ok, err)
		}
		if !h.NeedsRehash(v.stored) {
			t.Errorf("%s is good enough", v.stored)
		}
		*calls = nil
		renewed, err := h.Renew(ctx, v.stored, v.password)
		if err != nil || len(*calls) != v.hashes || !strings.HasPrefix(renewed, "$sealed$") || h.NeedsRehash(renewed) {
			t.Errorf("%s became %s, %v after %d computations", v.stored, renewed, err, len(*calls))
		}
		if ok, err := h.Verify(ctx, renewed, v.password); !ok || err != nil {
			t.Errorf("%s: %t, %v", renewed, ok, err)
		}
		// A program can seal what another wrote as well.
		wrapped, err := h.Rewrap(v.stored)
		if ok, err2 := h.Verify(ctx, wrapped, v.password); err != nil || !ok || err2 != nil {
			t.Errorf("%s: %v, %t, %v", wrapped, err, ok, err2)
		}
	}
	if same, err := plain.Rewrap(own); err != nil || same != own {
		t.Errorf("without a pepper: %s, %v", same, err)
	}
	if same, err := plain.Renew(ctx, own, passphrase); err != nil || same != own {
		t.Errorf("without a pepper: %s, %v", same, err)
	}
}

// A pepper is turned off without locking anybody out: what it has sealed still opens,
// and is plain from the next login on, with nothing hashed. Then it may go.
func TestNIST_3_1_1_2_pepper_IsTurnedOff(t *testing.T) {
	old, key := keyring.Generate(), keyring.Generate()
	ring := newRing(t, old)
	first, err := peppered(t, ring).Hash(ctx, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	if err := ring.Replace(key, old.AsRetiring(time.Now().Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	second, err := peppered(t, ring).Hash(ctx, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	off := newHasher(t, &password.Options{Pepper: ring.Purpose("password"), Unsealed: true})
	plain := newHasher(t, nil)
	calls := record(off)
	for _, stored := range []string{first, second} {
		*calls = nil
		if ok, err := off.Verify(ctx, stored, passphrase); !ok || err != nil || off.Check(stored) != nil {
			t.Fatalf("a sealed hash: %t, %v", ok, err)
		}
		if ok, err := off.Verify(ctx, stored, "another"); ok || err != nil {
			t.Errorf("another password: %t, %v", ok, err)
		}
		if !off.NeedsRehash(stored) {
			t.Error("a sealed hash is good enough")
		}
		*calls = nil
		renewed, err := off.Renew(ctx, stored, passphrase)
		wrapped, err2 := off.Rewrap(stored)
		if err != nil || err2 != nil || renewed != wrapped || len(*calls) != 0 {
			t.Errorf("%s and %s, %v, %v after %d computations", renewed, wrapped, err, err2, len(*calls))
		}
		if ok, err := plain.Verify(ctx, renewed, passphrase); !ok || err != nil || plain.NeedsRehash(renewed) || off.NeedsRehash(renewed) {
			t.Errorf("without a pepper, %s: %t, %v", renewed, ok, err)
		}
		if again, err := off.Rewrap(renewed); err != nil || again != renewed {
			t.Errorf("once more: %s, %v", again, err)
		}
	}
	made, err := off.Hash(ctx, passphrase)
	if err != nil || !strings.HasPrefix(made, "$argon2id$") || off.NeedsRehash(made) {
		t.Errorf("a new hash: %s, %v", made, err)
	}
	alone := newHasher(t, &password.Options{Unsealed: true})
	if alone.NeedsRehash(made) || !alone.NeedsRehash(second) {
		t.Error("without a pepper Unsealed means something")
	}
}

func ExampleHasher_Renew() {
	ring, err := keyring.New(keyring.Generate())
	if err != nil {
		fmt.Println(err)
		return
	}
	h, err := password.New(&password.Options{Pepper: ring.Purpose("password")})
	if err != nil {
		fmt.Println(err)
		return
	}
	// As Django stored it.
	stored := "pbkdf2_sha1$260000$Cpt2OFy9JmmZFBTE0MAFmX$kVVBbkEmjrapSxchJfDW77/2U8o="
	ok, err := h.Verify(ctx, stored, "correct horse battery staple")
	if ok && h.NeedsRehash(stored) {
		stored, err = h.Renew(ctx, stored, "correct horse battery staple") // to be stored
	}
	fmt.Println(stored[:12], h.NeedsRehash(stored), err)
	// Output:
	// $sealed$v=1$ false <nil>
}

// What is stored says which key it is sealed with, to whoever has only the database, and
// the beginning of it is enough.
func TestSealedWith(t *testing.T) {
	key := keyring.Generate()
	h := peppered(t, newRing(t, key))
	id := key.ID()
	want := password.PepperKey(append([]byte{1}, id[:]...))
	if got, ok := h.PepperKey(); !ok || got != want {
		t.Errorf("new hashes are sealed with %x, %t, want %x", got, ok, want)
	}
	for range 8 { // the nonce begins in the middle of a character
		stored, err := h.Rewrap("$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{stored, stored[:19]} {
			if got, ok := password.SealedWith(s); !ok || got != want {
				t.Errorf("%s is sealed with %x, %t, want %x", s, got, ok, want)
			}
		}
	}
	for _, s := range []string{"", "$argon2id$v=19$m=19456", "$sealed$v=1$", "$sealed$v=1$AQEBAQ", "$sealed$v=2$AQEBAQEBAQ", "$sealed$v=1$AQEBA\nQEBAQ"} {
		if got, ok := password.SealedWith(s); ok {
			t.Errorf("%q is sealed with %x", s, got)
		}
	}
	if got, ok := newHasher(t, &password.Options{Pepper: newRing(t, key).Purpose("password"), Unsealed: true}).PepperKey(); ok {
		t.Errorf("hashes that are not sealed are sealed with %x", got)
	}
}

// fresh is a pepper that takes whatever it can open for sealed well.
type fresh struct{ password.Pepper }

func (fresh) Fresh([]byte) bool { return true }

// What is sealed with the key of tomorrow stays, where the pepper says so.
func TestAKeyOfTomorrowIsFresh(t *testing.T) {
	today, tomorrow := keyring.Generate(), keyring.Generate()
	stored, err := peppered(t, newRing(t, tomorrow)).Rewrap("$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	if err != nil {
		t.Fatal(err)
	}
	both := newRing(t, today, tomorrow.AsNext())
	if !peppered(t, both).NeedsRehash(stored) {
		t.Error("a hash under another key stays")
	}
	h := newHasher(t, &password.Options{Pepper: fresh{both.Purpose("password")}})
	if h.NeedsRehash(stored) {
		t.Error("a hash under the key of tomorrow goes")
	}
	if got, err := h.Rewrap(stored); got != stored || err != nil {
		t.Errorf("it has become %q, %v", got, err)
	}
}
