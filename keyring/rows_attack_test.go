package keyring_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

// A ring of several keys signs and seals with the active one, in whatever order the
// others are given; what it made before stays good when they are taken away. Flask
// 3.1.0 signed with the oldest of its keys (CVE-2025-47278).
func TestAttack_A15_TheActiveKeySignsWhateverTheOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	secret, msg := make([]byte, 32), []byte("message")
	for range 200 {
		active := keyring.Generate()
		var others []keyring.Key
		for range rng.IntN(5) {
			k := keyring.Generate()
			if rng.IntN(2) == 0 {
				k = k.AsNext()
			} else {
				k = k.AsRetiring(time.Now().Add(time.Hour))
			}
			others = append(others, k)
		}
		rng.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
		p := mustNew(t, active, others...).Purpose("test")
		id, tag := p.Sign(msg)
		sealed, sealedFor := p.Seal(msg, nil), p.SealFor(secret, msg, nil)
		by, ok := keyring.SealedBy(sealed)
		byFor, okFor := keyring.SealedBy(sealedFor)
		if id != active.ID() || by != active.ID() || byFor != active.ID() || !ok || !okFor {
			t.Fatalf("signed with %v, sealed with %v and %v, active is %v of %d", id, by, byFor, active.ID(), len(others)+1)
		}
		alone := mustNew(t, active).Purpose("test")
		if _, err := alone.Open(sealed, nil); err != nil || !alone.Verify(id, msg, tag[:]) {
			t.Fatalf("without the others it is not good any more: %v", err)
		}
	}
}
