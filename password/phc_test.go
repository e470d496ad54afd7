package password_test

import (
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/password"
)

const goodPHC = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2U"

var badPHC = []string{
	"", "$", "$argon2id$", "garbage", "plain text",
	goodPHC + "$", goodPHC + "\n", " " + goodPHC, goodPHC + "=", goodPHC + "\x00",
	strings.Replace(goodPHC, "argon2id", "argon2i", 1),
	strings.Replace(goodPHC, "argon2id", "Argon2id", 1),
	strings.Replace(goodPHC, "v=19", "v=16", 1),
	strings.Replace(goodPHC, "$v=19", "", 1),
	strings.Replace(goodPHC, "m=19456", "m=019456", 1),
	strings.Replace(goodPHC, "m=19456", "m=+19456", 1),
	strings.Replace(goodPHC, "m=19456", "m=19_456", 1),
	strings.Replace(goodPHC, "m=19456", "m=0x4c00", 1),
	strings.Replace(goodPHC, "m=19456", "m=-1", 1),
	strings.Replace(goodPHC, "m=19456", "m=", 1),
	strings.Replace(goodPHC, "m=19456", "m=4294967297", 1),
	strings.Replace(goodPHC, "m=19456", "m=18446744073709551617", 1),
	strings.Replace(goodPHC, "m=19456", "m=7", 1),      // under 8 a lane
	strings.Replace(goodPHC, "m=19456", "m=262145", 1), // over 256 MiB
	strings.Replace(goodPHC, "m=19456,t=2", "t=2,m=19456", 1),
	strings.Replace(goodPHC, "t=2", "t=0", 1),
	strings.Replace(goodPHC, "t=2", "t=54", 1), // over the work bound
	strings.Replace(goodPHC, "t=2", "t=4294967295", 1),
	strings.Replace(goodPHC, "p=1", "p=0", 1),
	strings.Replace(goodPHC, "p=1", "p=65", 1),
	strings.Replace(goodPHC, "p=1", "p=257", 1),
	strings.Replace(goodPHC, "p=1", "p=1,keyid=x", 1),
	strings.Replace(goodPHC, "p=1", "p=1,t=2", 1),
	strings.Replace(goodPHC, "c2FsdHNhbHRzYWx0c2FsdA", "", 1),
	strings.Replace(goodPHC, "c2FsdHNhbHRzYWx0c2FsdA", "c2FsdA", 1),                   // 4 bytes
	strings.Replace(goodPHC, "c2FsdHNhbHRzYWx0c2FsdA", "c2FsdHNhbHRzYWx0c2FsdB", 1),   // stray bits
	strings.Replace(goodPHC, "c2FsdHNhbHRzYWx0c2FsdA", "c2FsdHNhbHRzYWx0c2FsdA==", 1), // padding
	strings.Replace(goodPHC, "c2FsdHNhbHRzYWx0c2FsdA", "c2FsdHNh\nbHRzYWx0c2FsdA", 1), // skipped by base64
	strings.Replace(goodPHC, "c2FsdHNhbHRzYWx0c2FsdA", "c2FsdHNh\r\nbHRzYWx0c2FsdA", 1),
	strings.Replace(goodPHC, "c2FsdHNhbHRzYWx0c2FsdA", strings.Repeat("AAAA", 22), 1), // 66 bytes
	strings.Replace(goodPHC, "$a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2U", "", 1),
	strings.Replace(goodPHC, "a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2U", "a2V5a2V5a2V5a2V5a2V5", 1), // 15 bytes
	strings.Replace(goodPHC, "a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2U", strings.Repeat("-_-_", 8), 1),
	strings.Replace(goodPHC, "a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2U", strings.Repeat("AAAA", 22), 1),
	"argon2" + goodPHC,
}

func TestPHCIsReadInOneSpelling(t *testing.T) {
	h := newHasher(t, nil)
	for _, s := range []string{
		goodPHC,
		strings.Replace(goodPHC, "m=19456,t=2,p=1", "m=131072,t=8,p=64", 1),
		strings.Replace(goodPHC, "m=19456,t=2,p=1", "m=8,t=1,p=1", 1),
	} {
		if err := h.Check(s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
		if again, err := password.Reformat(s); again != s {
			t.Errorf("%s came back as %s, %v", s, again, err)
		}
	}
	for _, s := range badPHC {
		if _, err := password.Reformat(s); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
}

// FuzzPHC looks for a string that is taken in two spellings or outside the
// bounds, both of which a stored hash from elsewhere might try.
func FuzzPHC(f *testing.F) {
	f.Add(goodPHC)
	for _, s := range badPHC {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, salt, key, err := password.ParsedSize(s)
		if err != nil {
			return
		}
		if again, err := password.Reformat(s); err != nil || again != s {
			t.Errorf("%q came back as %q, %v", s, again, err)
		}
		if p.Memory > 256<<10 || p.Memory < 8*uint32(p.Threads) || p.Threads < 1 || p.Threads > 64 ||
			p.Time < 1 || uint64(p.Time)*uint64(p.Memory) > 1<<20 {
			t.Errorf("%q is outside the bounds", s)
		}
		if salt < 8 || salt > 64 || key < 16 || key > 64 || len(s) > 256 {
			t.Errorf("%q: salt of %d bytes, key of %d", s, salt, key)
		}
	})
}
