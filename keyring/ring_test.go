package keyring_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

// keyOf makes a key of 32 chosen bytes the way somebody else would: by writing
// its line.
func keyOf(t testing.TB, secret [32]byte) keyring.Key {
	t.Helper()
	id := sha256.Sum256(append([]byte("cloakroom key id\x00"), secret[:]...))
	return mustParse(t, fmt.Sprintf("cloakroom-key-v1 %s 2026-01-02T03:04:05Z active %s",
		hex.EncodeToString(id[:4]), base64.RawURLEncoding.EncodeToString(secret[:])))
}

func mustNew(t testing.TB, active keyring.Key, others ...keyring.Key) *keyring.Ring {
	t.Helper()
	r, err := keyring.New(active, others...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// fill copies s as often as it fits.
func fill(s string) (b [32]byte) {
	for n := 0; n < len(b); {
		n += copy(b[n:], s)
	}
	return b
}

// pad copies s once.
func pad(s string) (b [32]byte) {
	copy(b[:], s)
	return b
}

// unhex returns 32 bytes of hexadecimal.
func unhex(t testing.TB, s string) [32]byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return [32]byte(b)
}

func TestASVS_11_2_3_WeakSecretsAreRefused(t *testing.T) {
	random := [32]byte(secretOf(t, keyring.Generate()))
	half, tail := random, random
	copy(half[16:], half[:16])
	clear(tail[24:])
	var up, down, odd [32]byte
	for i := range up {
		up[i], down[i], odd[i] = byte(i), byte(255-i), byte(7*i+3)
	}
	words, err := base64.RawURLEncoding.DecodeString("change-me-before-going-to-production-please")
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string][32]byte{
		"zero bytes":               {},
		"all bytes ff":             fill("\xff"),
		"all bytes 41":             fill("A"),
		"two bytes by turns":       fill("\x01\xfe"),
		"half of a key, doubled":   half,
		"short key, padded":        tail,
		"counting up":              up,
		"counting down":            down,
		"counting by seven":        odd,
		"few different bytes":      unhex(t, "0102030102010203020103020103010203030201020103020301020301020103"),
		"a passphrase":             fill("correct horse battery staple. "),
		"a passphrase, padded":     pad("correct horse battery"),
		"text with umlauts":        pad("für größere Öfen über Überlänge"),
		"hexadecimal as text":      fill("8f3a2b1c9d0e7f6a5b4c3d2e1f0a9b8c"),
		"typed base64":             [32]byte(words),
		"NIST SP 800-38A":          unhex(t, "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"),
		"RFC 8032":                 unhex(t, "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"),
		"RFC 7515":                 unhex(t, "0323354b2b0fa5bc837e0665777ba68f5ab328e6f054c928a90f84b2d2502ebf"),
		"SHA-256 of nothing":       sha256.Sum256(nil),
		"SHA-256 of a sample":      sha256.Sum256([]byte("your-very-secret-key")),
		"echo changeme, sha256sum": sha256.Sum256([]byte("changeme\n")),
	} {
		t.Run(name, func(t *testing.T) {
			weak := keyOf(t, secret)
			if _, err := keyring.New(weak); err == nil {
				t.Error("New took it as the active key")
			} else if strings.Contains(err.Error(), base64.RawURLEncoding.EncodeToString(secret[:])[:10]) {
				t.Errorf("error shows the secret: %v", err)
			}
			if _, err := keyring.New(keyring.Generate(), weak.AsNext()); err == nil {
				t.Error("New took it as a next key")
			}
			if _, err := keyring.Read(strings.NewReader(weak.Text())); err == nil || !strings.Contains(err.Error(), "line 1: secret ") {
				t.Errorf("Read: %v", err)
			}
			if err := mustNew(t, keyring.Generate()).Replace(weak); err == nil {
				t.Error("Replace took it")
			}
		})
	}
}

func TestNewTellsEveryFault(t *testing.T) {
	a, b := keyring.Generate(), keyring.Generate()
	_, err := keyring.New(a.AsNext(), b, keyring.Key{}, keyring.Generate().AsRetiring(time.Time{}),
		a.AsNext(), keyring.Generate().AsRetiring(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)))
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		"key:" + a.ID().String() + " is to sign, but its state is next",
		"key:" + b.ID().String() + ": key is active as well",
		"key:none: there is no key",
		"retires without a time",
		"key:" + a.ID().String() + ": key has the same id",
		"between the years 0 and 9999",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %q:\n%v", want, err)
		}
	}
	for _, k := range []keyring.Key{{}, a.AsNext(), a.AsRetiring(time.Now().Add(time.Hour))} {
		if _, err := keyring.New(k); err == nil {
			t.Errorf("%v in state %v is accepted as the active key", k, k.State())
		}
	}
}

// twoOfOneID returns two different secrets whose IDs are the same four bytes: found by
// searching, as an attacker could who may choose a key.
var twoOfOneID = sync.OnceValues(func() (one, two [32]byte) {
	byID := make(map[[4]byte]uint64)
	for i := uint64(0); ; i++ {
		secret := sha256.Sum256(fmt.Appendf(nil, "collision %d", i))
		id := sha256.Sum256(append([]byte("cloakroom key id\x00"), secret[:]...))
		if first, ok := byID[[4]byte(id[:4])]; ok {
			return sha256.Sum256(fmt.Appendf(nil, "collision %d", first)), secret
		}
		byID[[4]byte(id[:4])] = i
	}
})

func TestTwoKeysOfOneIDAreRefused(t *testing.T) {
	first, second := twoOfOneID()
	one, two := keyOf(t, first), keyOf(t, second)
	if one.ID() != two.ID() || one.Text() == two.Text() {
		t.Fatal("found no two keys of one id")
	}
	if _, err := keyring.New(one, two.AsNext()); err == nil || !strings.Contains(err.Error(), "same id") {
		t.Errorf("New: %v", err)
	}
	if _, err := keyring.New(keyring.Generate(), one.AsNext(), two.AsRetiring(time.Now().Add(time.Hour))); err == nil {
		t.Error("New took them as others")
	}
	if _, err := keyring.New(one, one.AsNext()); err == nil {
		t.Error("New took one key twice")
	}
	_, err := keyring.Read(strings.NewReader(one.Text() + "\n\n" + two.AsNext().Text()))
	if err == nil || !strings.Contains(err.Error(), "line 3: key has the same id as the one of line 1") {
		t.Errorf("Read: %v", err)
	}
}

func TestRingIsBounded(t *testing.T) {
	others := make([]keyring.Key, keyring.MaxKeys)
	for i := range others {
		others[i] = keyring.Generate().AsNext()
	}
	if _, err := keyring.New(keyring.Generate(), others...); err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("a ring of %d keys: %v", 1+len(others), err)
	}
	mustNew(t, keyring.Generate(), others[1:]...)
}

// Whatever keys a ring holds and in whatever order they are written, the active
// one signs and is named first.
func TestActiveKeyAlwaysSigns(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		active := keyring.Generate()
		var others []keyring.Key
		for range rnd.IntN(8) {
			k := keyring.Generate().AsNext()
			if rnd.IntN(2) == 0 {
				k = k.AsRetiring(time.Now().Add(time.Duration(rnd.IntN(200)-100) * time.Hour))
			}
			others = append(others, k)
		}
		lines := []string{active.Text()}
		for _, k := range others {
			lines = append(lines, k.Text())
		}
		rnd.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
		read, err := keyring.Read(strings.NewReader(strings.Join(lines, "\n")))
		if err != nil {
			t.Fatal(err)
		}
		for _, ring := range []*keyring.Ring{mustNew(t, active, others...), read} {
			p := ring.Purpose("test")
			id, tag := p.Sign([]byte("message"))
			sealed, _ := keyring.SealedBy(p.Seal(nil, nil))
			sealedFor, _ := keyring.SealedBy(p.SealFor(make([]byte, 32), nil, nil))
			if id != active.ID() || sealed != id || sealedFor != id || ring.Active() != id || ring.Keys()[0].ID != id {
				t.Fatalf("the active key is %v, but %v signed", active, id)
			}
			if !p.Verify(id, []byte("message"), tag[:]) {
				t.Fatal("what the active key signed is not verified")
			}
			if len(ring.Keys()) != 1+len(others) {
				t.Fatalf("ring has %d keys, want %d", len(ring.Keys()), 1+len(others))
			}
			for _, k := range others {
				if !ring.Has(k.ID()) {
					t.Fatalf("ring does not have %v", k)
				}
			}
			if ring.Has(keyring.KeyID{}) || ring.Has(keyring.Generate().ID()) {
				t.Fatal("ring has a key that it was not given")
			}
		}
	}
}

func TestKeysDescribesEachKey(t *testing.T) {
	a, n, r := keyring.Generate(), keyring.Generate().AsNext(), keyring.Generate().AsRetiring(time.Now().Add(-time.Hour))
	got := mustNew(t, a, r, n).Keys()
	want := []keyring.KeyInfo{
		{ID: a.ID(), Created: a.Created(), State: keyring.Active},
		{ID: r.ID(), Created: r.Created(), State: keyring.Retiring, Until: r.Until()},
		{ID: n.ID(), Created: n.Created(), State: keyring.Next},
	}
	for i := range want {
		if len(got) != len(want) || got[i] != want[i] {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	}
}

// Promise 10: keys rotate without signing anyone out, and taking a key away
// ends what it signed. This is the whole life of a key.
func TestPromise10_RotationSignsNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lifetime = 24 * time.Hour
		secret, msg := make([]byte, 32), []byte("message")
		old, young := keyring.Generate(), keyring.Generate()
		here, there := mustNew(t, old), mustNew(t, old) // two instances
		p, q := here.Purpose("test"), there.Purpose("test")

		id, tag := p.Sign(msg)
		sealed, sealedFor := p.Seal(msg, nil), p.SealFor(secret, msg, nil)
		accepted := func(p *keyring.Purpose) bool {
			t.Helper()
			ok := p.Verify(id, msg, tag[:])
			_, err := p.Open(sealed, nil)
			_, errFor := p.OpenFor(secret, sealedFor, nil)
			if (err == nil) != ok || (errFor == nil) != ok {
				t.Fatalf("Verify says %v, Open %v, OpenFor %v", ok, err, errFor)
			}
			return ok
		}
		replace := func(r *keyring.Ring, active keyring.Key, others ...keyring.Key) {
			t.Helper()
			if err := r.Replace(active, others...); err != nil {
				t.Fatal(err)
			}
		}

		// The new key is made known, one instance after the other.
		replace(here, old, young.AsNext())
		if newID, _ := p.Sign(msg); newID != old.ID() {
			t.Fatal("a next key signs")
		}
		replace(there, old, young.AsNext())

		// It becomes active here first; there, it is accepted already.
		retiring := old.AsRetiring(time.Now().Add(lifetime))
		replace(here, young, retiring)
		youngID, youngTag := p.Sign(msg)
		if youngID != young.ID() || !q.Verify(youngID, msg, youngTag[:]) {
			t.Fatal("an instance that knows a key as next refuses what it signed")
		}
		if !accepted(p) || !accepted(q) {
			t.Fatal("what the old key signed is refused after the rotation")
		}
		replace(there, young, retiring)

		// Its time passes: refused to the second.
		time.Sleep(time.Until(retiring.Until()) - time.Nanosecond)
		if !accepted(p) {
			t.Fatal("a retiring key is refused before its time")
		}
		time.Sleep(time.Nanosecond)
		if accepted(p) || accepted(q) {
			t.Fatal("a retired key is accepted after its time")
		}
		if !here.Has(old.ID()) {
			t.Fatal("a ring does not know the key any more that has retired in it")
		}

		// Taking a key away ends what it signed, also after a mere second.
		replace(here, old)
		if !accepted(p) || p.Verify(youngID, msg, youngTag[:]) {
			t.Fatal("a key that was taken away is accepted")
		}
	})
}

func TestReplaceChangesNothingOnAnError(t *testing.T) {
	k := keyring.Generate()
	ring := mustNew(t, k)
	p := ring.Purpose("test")
	id, tag := p.Sign(nil)
	for _, err := range []error{
		ring.Replace(keyring.Key{}),
		ring.Replace(keyring.Generate().AsNext()),
		ring.Replace(keyring.Generate(), keyring.Generate()),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), "keyring: replace keys: ") {
			t.Errorf("Replace: %v", err)
		}
	}
	if ring.Active() != k.ID() || len(ring.Keys()) != 1 || !p.Verify(id, nil, tag[:]) {
		t.Error("a refused Replace changed the ring")
	}
}

func TestReplaceWithTakesOverAllKeys(t *testing.T) {
	a, b := keyring.Generate(), keyring.Generate()
	ring, other := mustNew(t, a), mustNew(t, b, a.AsNext())
	p := ring.Purpose("test")
	id, tag := p.Sign(nil)
	ring.ReplaceWith(other)
	if ring.Active() != b.ID() || !p.Verify(id, nil, tag[:]) {
		t.Error("the keys of the other ring are not in use")
	}
	if err := other.Replace(keyring.Generate()); err != nil {
		t.Fatal(err)
	}
	if ring.Active() != b.ID() {
		t.Error("a later change of the other ring changed this one")
	}
}

// Promise 10: requests that run while keys rotate never fail. Every goroutine
// signs and verifies while the ring changes under it.
func TestPromise10_ReplaceUnderLoadFailsNoRequest(t *testing.T) {
	a, b := keyring.Generate(), keyring.Generate()
	until := time.Now().Add(time.Hour)
	ring := mustNew(t, a, b.AsNext())
	p := ring.Purpose("test")
	secret, msg, ad := make([]byte, 32), []byte("message"), []byte("additional")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				id, tag := p.Sign(msg)
				if !p.Verify(id, msg, tag[:16]) {
					t.Error("a signature is refused while keys rotate")
					return
				}
				if got, err := p.OpenFor(secret, p.SealFor(secret, msg, ad), ad); err != nil || string(got) != string(msg) {
					t.Errorf("sealed for a secret while keys rotate: %q, %v", got, err)
					return
				}
				if got, err := p.Open(p.Seal(msg, ad), ad); err != nil || string(got) != string(msg) {
					t.Errorf("sealed while keys rotate: %q, %v", got, err)
					return
				}
				if ring.Keys()[0].State != keyring.Active {
					t.Error("the first key is not active")
					return
				}
			}
		})
	}
	for i := range 100 {
		var err error
		if i%2 == 0 {
			err = ring.Replace(b, a.AsRetiring(until))
		} else {
			err = ring.Replace(a, b.AsRetiring(until))
		}
		if err != nil {
			t.Error(err)
		}
		time.Sleep(time.Millisecond / 2)
	}
	close(stop)
	wg.Wait()
}

func TestZeroRingPanicsWithAdvice(t *testing.T) {
	for name, f := range map[string]func(){
		"Sign":        func() { new(keyring.Ring).Purpose("test").Sign(nil) },
		"Verify":      func() { new(keyring.Ring).Purpose("test").Verify(keyring.KeyID{}, nil, make([]byte, 16)) },
		"Keys":        func() { new(keyring.Ring).Keys() },
		"ReplaceWith": func() { new(keyring.Ring).ReplaceWith(new(keyring.Ring)) },
	} {
		func() {
			defer func() {
				if s, _ := recover().(string); !strings.Contains(s, "has to come from New") {
					t.Errorf("%s on the zero Ring: panic %q", name, s)
				}
			}()
			f()
		}()
	}
}
