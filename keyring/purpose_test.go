package keyring_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"slices"
	"testing"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

// A sealing is one of the two ways to seal, so that a test covers both.
type sealing struct {
	name string
	seal func(p *keyring.Purpose, msg, ad []byte) []byte
	open func(p *keyring.Purpose, sealed, ad []byte) ([]byte, error)
}

var testSecret = []byte("a secret of one session, 32 byte")

var sealings = []sealing{
	{"Seal", (*keyring.Purpose).Seal, (*keyring.Purpose).Open},
	{"SealFor",
		func(p *keyring.Purpose, msg, ad []byte) []byte { return p.SealFor(testSecret, msg, ad) },
		func(p *keyring.Purpose, sealed, ad []byte) ([]byte, error) { return p.OpenFor(testSecret, sealed, ad) }},
}

// refused fails unless the error is ErrOpen alone, and no data came with it.
func refused(t *testing.T, what string, msg []byte, err error) {
	t.Helper()
	if err != keyring.ErrOpen || msg != nil {
		t.Fatalf("%s: got %d bytes and error %v", what, len(msg), err)
	}
}

func TestWhatIsSignedIsVerified(t *testing.T) {
	p := mustNew(t, keyring.Generate()).Purpose("test")
	for _, n := range []int{0, 1, 127, 128, 129, 1000, 1 << 20} {
		msg := bytes.Repeat([]byte{7}, n)
		id, tag := p.Sign(msg)
		for size := range 40 {
			long := append(tag[:], make([]byte, 8)...)
			if got, want := p.Verify(id, msg, long[:size]), size >= 16 && size <= 32; got != want {
				t.Errorf("message of %d bytes, tag of %d: %v", n, size, got)
			}
		}
		if p.Verify(id, msg, nil) || p.Verify(keyring.KeyID{}, msg, tag[:]) || p.Verify(keyring.Generate().ID(), msg, tag[:]) {
			t.Error("verified without a tag or a key")
		}
		if n > 0 && (p.Verify(id, msg[1:], tag[:]) || p.Verify(id, nil, tag[:])) {
			t.Error("another message was verified")
		}
	}
}

func TestWhatIsSealedIsOpened(t *testing.T) {
	k := keyring.Generate()
	p := mustNew(t, k).Purpose("test")
	for _, s := range sealings {
		for _, n := range []int{0, 1, 1000, 1 << 20} {
			for _, ad := range [][]byte{nil, []byte("additional"), make([]byte, 100<<10)} {
				msg := bytes.Repeat([]byte{7}, n)
				sealed := s.seal(p, msg, ad)
				got, err := s.open(p, sealed, ad)
				if err != nil || !bytes.Equal(got, msg) {
					t.Fatalf("%s of %d bytes: got %d bytes and %v", s.name, n, len(got), err)
				}
				if len(sealed) != n+33 {
					t.Errorf("%s makes %d bytes of %d", s.name, len(sealed), n)
				}
				if id, ok := keyring.SealedBy(sealed); !ok || id != k.ID() {
					t.Errorf("SealedBy says %v, %v", id, ok)
				}
				if n > 16 && bytes.Contains(sealed, msg[:16]) {
					t.Error("the message lies open")
				}
			}
		}
		if bytes.Equal(s.seal(p, nil, nil), s.seal(p, nil, nil)) {
			t.Errorf("%s gave the same twice: the nonce is not random", s.name)
		}
	}
	other := bytes.Clone(testSecret)
	other[31]++
	msg, err := p.OpenFor(other, p.SealFor(testSecret, nil, nil), nil)
	refused(t, "another secret", msg, err)
}

func TestASVS_9_1_1_EveryFlippedBitAndEveryTruncationIsRefused(t *testing.T) {
	p := mustNew(t, keyring.Generate()).Purpose("test")
	msg, ad := []byte("who says so"), []byte("additional")
	// flips calls f with each bit of b flipped, and then with each truncation.
	flips := func(b []byte, f func(what string, b []byte)) {
		for i := range len(b) * 8 {
			c := bytes.Clone(b)
			c[i/8] ^= 1 << (i % 8)
			f(fmt.Sprintf("bit %d flipped", i), c)
		}
		for n := range b {
			f(fmt.Sprintf("cut to %d bytes", n), b[:n])
			f(fmt.Sprintf("first %d bytes missing", n+1), b[n+1:])
		}
		f("one byte more", append(bytes.Clone(b), 0))
	}
	id, tag := p.Sign(msg)
	flips(msg, func(what string, b []byte) {
		if p.Verify(id, b, tag[:]) || p.Verify(id, b, tag[:16]) {
			t.Errorf("message with %s was verified", what)
		}
	})
	flips(id[:], func(what string, b []byte) {
		var other keyring.KeyID
		copy(other[:], b)
		if other != id && p.Verify(other, msg, tag[:]) {
			t.Errorf("key id with %s was verified", what)
		}
	})
	for _, size := range []int{16, 24, 32} {
		flips(tag[:size], func(what string, b []byte) {
			// A shorter beginning of a tag is a tag, down to 16 bytes.
			if p.Verify(id, msg, b) && !(len(b) >= 16 && bytes.HasPrefix(tag[:], b)) {
				t.Errorf("tag of %d bytes with %s was verified", size, what)
			}
		})
	}
	for _, s := range sealings {
		sealed := s.seal(p, msg, ad)
		flips(sealed, func(what string, b []byte) {
			got, err := s.open(p, b, ad)
			refused(t, s.name+", message with "+what, got, err)
		})
		flips(ad, func(what string, b []byte) {
			got, err := s.open(p, sealed, b)
			refused(t, s.name+", additional data with "+what, got, err)
		})
	}
	sealed := p.SealFor(testSecret, msg, ad)
	flips(testSecret, func(what string, b []byte) {
		got, err := p.OpenFor(b, sealed, ad)
		refused(t, "secret with "+what, got, err)
	})
}

// matrix makes something with each purpose and shows it to each: only its own
// may accept it.
func matrix(t *testing.T, purposes map[string]*keyring.Purpose) {
	t.Helper()
	msg, ad := []byte("message"), []byte("additional")
	for madeBy, p := range purposes {
		id, tag := p.Sign(msg)
		for shownTo, q := range purposes {
			if got := q.Verify(id, msg, tag[:]); got != (p == q) {
				t.Errorf("signed for %s, shown to %s: %v", madeBy, shownTo, got)
			}
			if got := q.Verify(id, msg, tag[:16]); got != (p == q) {
				t.Errorf("signed for %s, cut, shown to %s: %v", madeBy, shownTo, got)
			}
			for i, s := range sealings {
				for j, o := range sealings {
					got, err := o.open(q, s.seal(p, msg, ad), ad)
					if (err == nil) != (p == q && i == j) || err != nil && (err != keyring.ErrOpen || got != nil) {
						t.Errorf("%s for %s, shown to %s by %s: %v", s.name, madeBy, shownTo, o.name, err)
					}
				}
			}
		}
	}
}

func TestASVS_9_2_2_NoPurposeAcceptsWhatAnotherMade(t *testing.T) {
	ring := mustNew(t, keyring.Generate())
	purposes := make(map[string]*keyring.Purpose)
	for _, label := range []string{
		"session cookie", "session data", "session info", "csrf token", "pre-login cookie", "remember-me",
		"password reset", "identity header", "sealed session", "sign", "seal", "data", "Session cookie",
		"session cookie ", "session", "cookie",
	} {
		purposes[label] = ring.Purpose(label)
	}
	matrix(t, purposes)
}

// Sign hands out HMACs of whatever it is given. Were its key the one that
// SealFor derives with, signing a session's secret would give away the key of
// its data.
func TestASVS_9_2_2_ASignatureIsNoKey(t *testing.T) {
	p := mustNew(t, keyring.Generate()).Purpose("test")
	_, key := p.Sign(testSecret)
	block, err := aes.NewCipher(key[:])
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		t.Fatal(err)
	}
	sealed := p.SealFor(testSecret, []byte("message"), nil)
	if msg, err := gcm.Open(nil, nil, sealed[5:], sealed[:5]); err == nil {
		t.Errorf("opened with a signature as key: %q", msg)
	}
}

func TestASVS_9_2_3_NoAudienceAcceptsWhatAnotherMade(t *testing.T) {
	ring := mustNew(t, keyring.Generate())
	purposes := make(map[string]*keyring.Purpose)
	// Among them what would be one if names were merely put in a row.
	for _, context := range [][]string{
		{}, {""}, {"", ""}, {"", "", ""},
		{"__Host-session", ""}, {"", "__Host-session"}, {"__Host-session"}, {"__Host-session", "a.example"},
		{"__Host-session", "b.example"}, {"__Host-sessiona", ".example"}, {"__Host-sessiona.example"},
		{"a.example", "__Host-session"}, {"__Host-session", "a.example", ""}, {"__Host-session\x00", "a.example"},
		{"\x00\x00\x00\x00\x00\x00\x00\x01a"}, {"a"}, {"\x00\x00\x00\x00\x00\x00\x00\x00"},
	} {
		purposes[fmt.Sprintf("%q", context)] = ring.Purpose("session cookie", context...)
	}
	// The label is no context either.
	purposes["label and context in one"] = ring.Purpose("session cookie__Host-session")
	matrix(t, purposes)
}

func TestAttack_A16_ForeignDeploymentsAndPurposesAreRefused(t *testing.T) {
	k := keyring.Generate()
	production, staging, elsewhere := mustNew(t, k), mustNew(t, k), mustNew(t, keyring.Generate())
	purposes := make(map[string]*keyring.Purpose)
	for _, label := range []string{"session cookie", "csrf token"} {
		for _, cookie := range []string{"__Host-session", "__Host-admin"} {
			// One key in two deployments: the audience tells them apart.
			purposes[label+cookie+"production"] = production.Purpose(label, cookie, "https://example.com")
			purposes[label+cookie+"staging"] = staging.Purpose(label, cookie, "https://staging.example.com")
			// Another key with the same names.
			purposes[label+cookie+"elsewhere"] = elsewhere.Purpose(label, cookie, "https://example.com")
		}
	}
	matrix(t, purposes)

	// Another deployment's key under our key's ID: what the ID says is no proof.
	p, q := production.Purpose("test"), elsewhere.Purpose("test")
	_, tag := q.Sign([]byte("message"))
	if p.Verify(k.ID(), []byte("message"), tag[:]) {
		t.Error("signed by another key, but verified under the id of ours")
	}
	for _, s := range sealings {
		id := k.ID()
		forged := s.seal(q, nil, nil)
		copy(forged[1:], id[:])
		got, err := s.open(p, forged, nil)
		refused(t, s.name+" by another key under our id", got, err)
	}
}

func TestEqualPurposesAreOne(t *testing.T) {
	k := keyring.Generate()
	p := mustNew(t, k).Purpose("session cookie", "__Host-session", "a")
	q := mustNew(t, keyring.Generate(), k.AsNext()).Purpose("session cookie", "__Host-session", "a")
	id, tag := p.Sign([]byte("message"))
	if !q.Verify(id, []byte("message"), tag[:]) {
		t.Error("two instances with the same key do not understand each other")
	}
	for _, s := range sealings {
		if _, err := s.open(q, s.seal(p, nil, nil), nil); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
	}
}

// What was never sealed is not read in another way instead.
func TestAttack_A14_WhatIsNotSealedIsNeverReturned(t *testing.T) {
	p := mustNew(t, keyring.Generate()).Purpose("test")
	id, tag := p.Sign([]byte(`{"user":"admin"}`))
	genuine := p.Seal([]byte(`{"user":"admin"}`), nil)
	version0, version2 := bytes.Clone(genuine), bytes.Clone(genuine)
	version0[0], version2[0] = 0, 2
	for name, b := range map[string][]byte{
		"nothing":                nil,
		"JSON":                   []byte(`{"user":"admin","roles":["admin"],"expires":"2099-01-01"}`),
		"JSON behind a header":   slices.Concat(genuine[:5], []byte(`{"user":"admin","roles":["admin"]}`)),
		"signed, not sealed":     slices.Concat([]byte{1}, id[:], tag[:], []byte(`{"user":"admin"}`)),
		"version 0":              version0,
		"version 2":              version2,
		"header alone":           genuine[:5],
		"header and nonce alone": genuine[:17],
		"zero bytes":             slices.Concat(genuine[:5], make([]byte, 64)),
	} {
		for _, s := range sealings {
			got, err := s.open(p, b, nil)
			refused(t, s.name+": "+name, got, err)
		}
	}
}

func TestSealedByJudgesTheShape(t *testing.T) {
	k := keyring.Generate()
	sealed := mustNew(t, k).Purpose("test").Seal(nil, nil)
	for n := range len(sealed) + 1 {
		if id, ok := keyring.SealedBy(sealed[:n]); ok != (n >= 5) || ok != (id == k.ID()) {
			t.Errorf("the first %d bytes name the key %v, %t", n, id, ok)
		}
	}
	if _, ok := keyring.SealedBy(make([]byte, 5)); ok {
		t.Error("nothing names a key")
	}
	sealed[0]++
	if id, ok := keyring.SealedBy(sealed[:5]); ok || id != (keyring.KeyID{}) {
		t.Error("the beginning of another version has the shape of this one")
	}
	if id, ok := keyring.SealedBy(sealed); ok || id != (keyring.KeyID{}) {
		t.Error("another version has the shape of this one")
	}
}

// A secret that can be guessed makes no session's own key.
func TestShortSecretsAreAProgrammersMistake(t *testing.T) {
	p := mustNew(t, keyring.Generate()).Purpose("test")
	for _, f := range []func(){
		func() { p.SealFor(nil, nil, nil) },
		func() { p.SealFor(make([]byte, 15), nil, nil) },
		func() { mustNew(t, keyring.Generate()).Purpose("") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		}()
	}
	for n := range 16 {
		got, err := p.OpenFor(make([]byte, n), p.SealFor(make([]byte, 16), nil, nil), nil)
		refused(t, "short secret", got, err)
	}
}

// Handed-out bytes belong to the caller: nothing is shared with a pool.
func TestResultsAreTheCallersOwn(t *testing.T) {
	p := mustNew(t, keyring.Generate()).Purpose("test")
	msg, ad := []byte("message"), []byte("additional")
	for _, s := range sealings {
		sealed := s.seal(p, msg, ad)
		kept := bytes.Clone(sealed)
		got, err := s.open(p, sealed, ad)
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			s.seal(p, []byte("another"), []byte("other additional data, and more of it"))
			s.open(p, sealed, ad)
		}
		if !bytes.Equal(sealed, kept) || string(got) != "message" || string(msg) != "message" || string(ad) != "additional" {
			t.Errorf("%s: a later call changed bytes of an earlier one", s.name)
		}
	}
}
