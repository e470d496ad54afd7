package password

import (
	"crypto/rand"
	"slices"
	"time"

	"golang.org/x/crypto/argon2"
)

// Measure computes n hashes, one at least, with these parameters, one after the
// other, and returns how long one of them took: the median. Parameters that no
// Hasher takes, see [Params.Check], are measured as zero.
func Measure(p Params, n int) time.Duration {
	if p.Check() != nil {
		return 0
	}
	pw, salt := make([]byte, 16), make([]byte, saltSize)
	rand.Read(pw)
	rand.Read(salt)
	took := make([]time.Duration, max(n, 1))
	for i := range took {
		start := time.Now()
		argon2.IDKey(pw, salt, p.Time, p.Memory, p.Threads, keySize)
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// Check returns why no Hasher makes hashes with these parameters: they are not
// within the bounds, or weaker than the least that the OWASP Password Storage
// Cheat Sheet asks for (ASVS 11.4.2).
func (p Params) Check() error { return p.check() }

// Parallel returns how many hashes a Hasher with these parameters and the other
// defaults computes at a time, on this machine.
func (p Params) Parallel() int {
	o := Options{Params: p}
	o.setDefaults()
	return o.Parallel
}
