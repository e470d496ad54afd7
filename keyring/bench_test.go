package keyring_test

import (
	"testing"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

// What a request does at most: the sizes of a cookie and of a small session.
const (
	cookieSize  = 80
	sessionSize = 1 << 10
)

// The hot path of every request. The messages are built on the stack, as a
// caller would: they must not escape either.
func TestHotPathAllocates(t *testing.T) {
	p := mustNew(t, keyring.Generate(), keyring.Generate().AsNext()).Purpose("test")
	var whole [cookieSize]byte
	id, tag := p.Sign(whole[:])
	sealed, sealedFor := p.Seal(make([]byte, sessionSize), nil), p.SealFor(testSecret, make([]byte, sessionSize), nil)
	msg := make([]byte, sessionSize)
	for _, test := range []struct {
		name string
		most float64
		f    func()
	}{
		{"Verify", 0, func() {
			var m [cookieSize]byte
			if !p.Verify(id, m[:], tag[:16]) {
				t.Error("not verified")
			}
		}},
		{"Sign", 0, func() {
			var m [cookieSize]byte
			p.Sign(m[:])
		}},
		// The result.
		{"Seal", 1, func() { p.Seal(msg, nil) }},
		{"Open", 1, func() { p.Open(sealed, nil) }},
		// The result, the expanded key, the mode.
		{"SealFor", 3, func() { p.SealFor(testSecret, msg, nil) }},
		{"OpenFor", 3, func() {
			var ad [200]byte
			if _, err := p.OpenFor(testSecret, sealedFor, ad[:0]); err != nil {
				t.Error(err)
			}
		}},
		{"SealedBy", 0, func() { keyring.SealedBy(sealed) }},
	} {
		got := testing.AllocsPerRun(200, test.f)
		if got > test.most && !raceEnabled {
			t.Errorf("%s allocates %v times, at most %v are allowed", test.name, got, test.most)
		}
	}
}

func benchPurpose(b *testing.B) *keyring.Purpose {
	b.ReportAllocs()
	return mustNew(b, keyring.Generate(), keyring.Generate().AsNext()).Purpose("bench")
}

func BenchmarkSign(b *testing.B) {
	p, msg := benchPurpose(b), make([]byte, cookieSize)
	for b.Loop() {
		p.Sign(msg)
	}
}

func BenchmarkVerify(b *testing.B) {
	p, msg := benchPurpose(b), make([]byte, cookieSize)
	id, tag := p.Sign(msg)
	for b.Loop() {
		p.Verify(id, msg, tag[:16])
	}
}

func BenchmarkVerifyParallel(b *testing.B) {
	p, msg := benchPurpose(b), make([]byte, cookieSize)
	id, tag := p.Sign(msg)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p.Verify(id, msg, tag[:16])
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	p, msg := benchPurpose(b), make([]byte, sessionSize)
	for b.Loop() {
		p.Seal(msg, testSecret)
	}
}

func BenchmarkOpen(b *testing.B) {
	p := benchPurpose(b)
	sealed := p.Seal(make([]byte, sessionSize), testSecret)
	for b.Loop() {
		p.Open(sealed, testSecret)
	}
}

func BenchmarkSealFor(b *testing.B) {
	p, msg := benchPurpose(b), make([]byte, sessionSize)
	for b.Loop() {
		p.SealFor(testSecret, msg, testSecret)
	}
}

func BenchmarkOpenFor(b *testing.B) {
	p := benchPurpose(b)
	sealed := p.SealFor(testSecret, make([]byte, sessionSize), testSecret)
	for b.Loop() {
		p.OpenFor(testSecret, sealed, testSecret)
	}
}

// The first use of a purpose after a change of the ring.
func BenchmarkPurpose(b *testing.B) {
	ring := mustNew(b, keyring.Generate(), keyring.Generate().AsNext())
	b.ReportAllocs()
	for b.Loop() {
		ring.Purpose("bench", "__Host-session", "").Sign(nil)
	}
}
