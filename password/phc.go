package password

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Params are the parameters of an argon2id hash.
type Params struct {
	Memory  uint32 // KiB
	Time    uint32 // passes over the memory
	Threads uint8  // lanes, which run in parallel where there are cores
}

// DefaultParams are those of new hashes: 19 MiB, two passes, one lane, OWASP's
// first choice for servers. It is read when a [Hasher] is made.
var DefaultParams = Params{Memory: 19456, Time: 2, Threads: 1}

// floors are the least memory in KiB for a number of passes: the settings that
// the OWASP Password Storage Cheat Sheet takes for equally strong. More passes
// than the last need no less memory.
var floors = [...]uint32{1: 47104, 2: 19456, 3: 12288, 4: 9216, 5: 7168}

// What is read from a stored hash. The bounds keep a hash that somebody managed
// to write into the database from taking the server's memory or time: 256 MiB,
// and as much work as four passes over 256 MiB, about half a second.
const (
	maxMemory  = 256 << 10 // KiB
	maxWork    = 1 << 20   // KiB times passes
	maxThreads = 64
	minSalt    = 8 // bytes
	maxSalt    = 64
	minKey     = 16
	maxKey     = 64
	maxPHC     = 256 // characters; the longest that is within the bounds has 207

	saltSize = 16 // of new hashes (RFC 9106 §3.1)
	keySize  = 32
)

// check returns what is wrong with the parameters of new hashes.
func (p Params) check() error {
	if err := p.bounds(); err != nil {
		return fmt.Errorf("password: Params: %w", err)
	}
	if least := floors[min(p.Time, uint32(len(floors)-1))]; p.Memory < least {
		return fmt.Errorf("password: Params: %d KiB with %d passes is weaker than OWASP's least, %d KiB", p.Memory, p.Time, least)
	}
	return nil
}

// bounds returns which bound of argon2id (RFC 9106 §3.1) or of this package the
// parameters miss.
func (p Params) bounds() error {
	switch {
	case p.Threads < 1 || p.Threads > maxThreads:
		return fmt.Errorf("%d threads, want 1 to %d", p.Threads, maxThreads)
	case p.Memory < 8*uint32(p.Threads) || p.Memory > maxMemory:
		return fmt.Errorf("%d KiB of memory, want %d to %d", p.Memory, 8*uint32(p.Threads), maxMemory)
	case p.Time < 1 || uint64(p.Time)*uint64(p.Memory) > maxWork:
		return fmt.Errorf("%d passes over %d KiB, want 1 to %d", p.Time, p.Memory, maxWork/p.Memory)
	}
	return nil
}

// phc is a hash with its parameters. Its fields come in and go out in one
// spelling: what parsePHC takes, String writes.
type phc struct {
	Params
	salt, key []byte
}

// ownPrefix begins what Hash returns without a pepper. Programs whose argon2 is
// not told to do otherwise write the same.
const ownPrefix = "$argon2id$"

// encoding is that of the PHC string format: standard alphabet, no padding, and
// no stray bits in the last character.
var encoding = base64.RawStdEncoding.Strict()

// String writes the PHC string.
func (p phc) String() string {
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", p.Memory, p.Time, p.Threads,
		encoding.EncodeToString(p.salt), encoding.EncodeToString(p.key))
}

// parsePHC reads what String wrote, within the bounds, and nothing else:
// parameters in their order, plain numbers, no option that this package would
// ignore.
func parsePHC(s string) (phc, error) {
	if len(s) > maxPHC {
		return phc{}, errForm
	}
	rest, ok := strings.CutPrefix(s, ownPrefix+"v=19$m=")
	if !ok {
		return phc{}, errForm
	}
	part := strings.Split(rest, "$")
	if len(part) != 3 {
		return phc{}, errForm
	}
	m, tp, ok1 := strings.Cut(part[0], ",t=")
	t, lanes, ok2 := strings.Cut(tp, ",p=")
	if !ok1 || !ok2 {
		return phc{}, errForm
	}
	var p phc
	memory, err1 := number(m, 32)
	time, err2 := number(t, 32)
	threads, err3 := number(lanes, 8)
	salt, err4 := decode(part[1])
	key, err5 := decode(part[2])
	if errors.Join(err1, err2, err3, err4, err5) != nil {
		return phc{}, errForm
	}
	p.Memory, p.Time, p.Threads = uint32(memory), uint32(time), uint8(threads)
	p.salt, p.key = salt, key
	if err := p.bounds(); err != nil {
		return phc{}, fmt.Errorf("password: stored hash: %w", err)
	}
	// A short salt can be one that many accounts share, and a short key one that
	// other passwords have as well.
	if len(salt) < minSalt || len(salt) > maxSalt {
		return phc{}, fmt.Errorf("password: stored hash: salt of %d bytes, want %d to %d", len(salt), minSalt, maxSalt)
	}
	if len(key) < minKey || len(key) > maxKey {
		return phc{}, fmt.Errorf("password: stored hash: key of %d bytes, want %d to %d", len(key), minKey, maxKey)
	}
	return p, nil
}

// number reads a decimal number without sign and leading zeros.
func number(s string, bits int) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, bits)
	if err != nil || strconv.FormatUint(n, 10) != s {
		return 0, errForm
	}
	return n, nil
}

// decode reads base64 of one spelling. The decoder of the standard library skips
// line ends, even a strict one.
func decode(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, errForm
	}
	return encoding.DecodeString(s)
}
