package password_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/cloakroom-dev/cloakroom/password"
)

// verifies stores a password and tells what it and others are taken for.
func verifies(t *testing.T, pw string, want map[string]bool) {
	t.Helper()
	h := newHasher(t, nil)
	phc, err := h.Hash(ctx, pw)
	if err != nil {
		t.Fatal(err)
	}
	for other, want := range want {
		if ok, err := h.Verify(ctx, phc, other); err != nil || ok != want {
			t.Errorf("%q against the hash of %q: %t, %v", other, pw, ok, err)
		}
	}
}

func TestNIST_3_1_1_2_2_SixtyFourAreAllowed(t *testing.T) {
	for _, pw := range []string{
		"x" + strings.Repeat("aB3 ", 16)[:63], strings.Repeat("😀🗝", 32), "Ж" + strings.Repeat("王小明", 21), strings.Repeat("é", 500) + "word",
	} {
		if n := utf8.RuneCountInString(pw); n < 64 {
			t.Fatalf("%q has only %d", pw, n)
		}
		if got := reason(t, nil, pw); got != "" {
			t.Errorf("%q: %s", pw, got)
		}
		cut := []rune(pw)
		verifies(t, pw, map[string]bool{pw: true, string(cut[:len(cut)-1]): false})
	}
}

// Every character of ASCII that prints, and the space, wherever it stands.
func TestNIST_3_1_1_2_3_AllOfASCII(t *testing.T) {
	base := []byte("qz7 mvk wprt hx")
	for c := byte(' '); c <= '~'; c++ {
		for i := range base {
			pw := slices.Clone(base)
			pw[i] = c
			if got := reason(t, nil, string(pw)); got != "" {
				t.Errorf("%q: %s", pw, got)
			}
		}
	}
	var all strings.Builder
	for c := byte(' '); c <= '~'; c++ {
		all.WriteByte(c)
	}
	pw := all.String() + " " // blanks at both ends
	verifies(t, pw, map[string]bool{pw: true, strings.TrimSpace(pw): false, strings.TrimRight(pw, " "): false, strings.TrimLeft(pw, " "): false})
}

// A code point counts as one, however many bytes it has.
func TestNIST_3_1_1_2_4_CodePointsAreCounted(t *testing.T) {
	for _, one := range []string{"😀", "é", "王", "я", "𝔸", "ก", "ع"} {
		// The others differ, so that no rule about repetition is met.
		rest := "qz7 mvk wprt hx"
		for n := 1; n < 15; n++ {
			short, enough := strings.Repeat(one, n)+rest[:14-n], strings.Repeat(one, n)+rest[:15-n]
			if got := reason(t, nil, short); got != password.TooShort {
				t.Errorf("14 code points %q: %q", short, got)
			}
			if got := reason(t, nil, enough); got != "" {
				t.Errorf("15 code points %q: %q", enough, got)
			}
		}
	}
}

func TestNIST_3_1_1_2_5_NoRulesAboutKinds(t *testing.T) {
	for _, pw := range []string{
		"quietly under lanterns", "QUIETLYUNDERLANTERNS", "73019482650183746", "!?;:.,-_#+*~<>|^&%", "               7x", "квадратноеозерошум", "宝物庫の鍵は誰も知らない話だよ",
	} {
		if got := reason(t, nil, pw); got != "" {
			t.Errorf("%q: %s", pw, got)
		}
	}
	source, err := os.ReadFile("policy.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"IsUpper", "IsLower", "IsDigit", "IsPunct", "IsSymbol", "regexp"} {
		if strings.Contains(string(source), word) {
			t.Errorf("the policy looks at kinds of characters: %s", word)
		}
	}
}

// Whatever is left out, added or altered anywhere is another password.
func TestNIST_3_1_1_2_9_EveryByteCounts(t *testing.T) {
	h := newHasher(t, nil)
	var seen []string
	h.Wrap(func(password.KDF) password.KDF { // what is hashed, without the cost
		return func(pw, _ []byte, _, _ uint32, _ uint8, size uint32) []byte {
			seen = append(seen, string(pw))
			return make([]byte, size)
		}
	})
	pw := strings.Repeat("one password, ", 20)
	hashed := map[string]bool{}
	for i := range len(pw) {
		for _, other := range []string{pw[:i], pw[:i] + pw[i+1:], pw[:i] + "\x00" + pw[i+1:], pw[:i] + "É" + pw[i:]} {
			if other == "" {
				continue
			}
			if _, err := h.Hash(ctx, other); err != nil {
				t.Fatal(err)
			}
			if got := seen[len(seen)-1]; got != other || got == pw {
				t.Fatalf("%q was hashed as %q", other, got)
			}
			hashed[other] = true
		}
	}
	if len(hashed) < 800 {
		t.Errorf("only %d passwords", len(hashed))
	}
	verifies(t, pw, map[string]bool{pw: true, pw[:72]: false, pw[:len(pw)-1]: false, pw[1:]: false, pw + " ": false})
}

// NFC, and no other form: what looks alike in NFKC is another password.
func TestNIST_3_1_1_2_norm_NFCBeforeHashing(t *testing.T) {
	verifies(t, "caf\u00e9 \u00e5ngstr\u00f6m \u1ed5 \uac00", map[string]bool{
		"cafe\u0301 a\u030angstro\u0308m o\u0302\u0309 \u1100\u1161": true,  // NFD
		"cafe \u00e5ngstr\u00f6m \u1ed5 \uac00":                      false, // without an accent
	})
	verifies(t, "\ufb01le under lanterns", map[string]bool{"file under lanterns": false, "\ufb01le under lanterns": true})
	verifies(t, "full width ａｂｃ", map[string]bool{"full width abc": false})
	verifies(t, "five \u2075 fives", map[string]bool{"five 5 fives": false})
}

// A new password is looked up on the list, and among the words of its context,
// before anything is hashed.
func TestNIST_3_1_1_2_blk1_TheListAndTheContext(t *testing.T) {
	p := &password.Policy{Context: []string{"lanternfish"}}
	for pw, want := range map[string]password.Reason{
		"passwordpassword": password.Blocklisted, "PassWordPassWord": password.Blocklisted, "qwertyuiop[]asdf": password.Blocklisted,
		"lanternfish2026": password.InContext, "LanternFish1234!": password.InContext, "lanternfishlanternfish": password.InContext,
		"adalovelaceadalovelace": password.InContext, "quietly under lanterns": "",
	} {
		if got := reason(t, p, pw, "adalovelace"); got != want {
			t.Errorf("%q: %q, want %q", pw, got, want)
		}
	}
	all := entries(t)
	for i := 0; i < len(all); i += 997 {
		if pw := all[i]; utf8.RuneCountInString(pw) >= password.DefaultMinLength {
			if got := reason(t, nil, strings.ToUpper(pw)); got != password.Blocklisted {
				t.Errorf("%q of the list: %q", pw, got)
			}
		}
	}
}

// The list is long enough for the limit of 100 wrong passwords in a row, a hundred
// times over, and short enough to be at hand without waiting.
func TestNIST_3_1_1_2_blk4_LongEnoughAndNotExcessive(t *testing.T) {
	n := 0
	for _, pw := range entries(t) {
		if utf8.RuneCountInString(pw) >= password.DefaultMinLength {
			n++
		}
	}
	info, err := os.Stat("blocklist.gz")
	if err != nil {
		t.Fatal(err)
	}
	if n < 100*100 || info.Size() > 1<<20 {
		t.Errorf("%d entries that the length lets pass, %d bytes", n, info.Size())
	}
	password.LoadBlocklist()
	begin := time.Now()
	for range 1000 {
		reason(t, nil, "quietly under lanterns")
	}
	if took := time.Since(begin) / 1000; took > 10*time.Millisecond { // it takes some microseconds
		t.Errorf("a look at the list takes %v", took)
	}
	doc, err := os.ReadFile("policy.go")
	if err != nil || !strings.Contains(strings.ReplaceAll(string(doc), "\n//", ""), fmt.Sprintf("%d,%03d have 15 code", n/1000, n%1000)) {
		t.Errorf("the documentation does not say that there are %d, %v", n, err)
	}
}

// What people mistype is wrong: nothing is trimmed, and no case is turned round.
func TestNIST_3_1_1_2_typo_NothingIsForgiven(t *testing.T) {
	verifies(t, "Quietly under Lanterns", map[string]bool{
		"qUIETLY UNDER lANTERNS": false, "quietly under Lanterns": false, "Quietly under Lanterns ": false, " Quietly under Lanterns": false,
		"Quietly under Lantern": false, "Quietly under Lanternss": false, "Quietly  under Lanterns": false, "Quietly under Lanterns": true,
	})
}

func TestNIST_3_1_1_2_hash_SaltedAndCostly(t *testing.T) {
	h := newHasher(t, nil)
	calls := record(h)
	phc, err := h.Hash(ctx, "quietly under lanterns")
	if err != nil {
		t.Fatal(err)
	}
	p, salt, key, err := password.ParsedSize(phc)
	if err != nil || !strings.HasPrefix(phc, "$argon2id$v=19$") || p.Check() != nil || p.Memory < 19456 || p.Time < 2 || salt < 16 || key < 32 {
		t.Errorf("%s: %+v, salt of %d bytes, key of %d, %v", phc, p, salt, key, err)
	}
	if len(*calls) != 1 || (*calls)[0].memory != p.Memory || (*calls)[0].time != p.Time || (*calls)[0].salt != salt {
		t.Errorf("computed was %+v", *calls)
	}
	for _, weak := range []password.Params{{Memory: 8, Time: 1, Threads: 1}, {Memory: 19455, Time: 2, Threads: 1}, {Memory: 19456, Time: 1, Threads: 1}} {
		if _, err := password.New(&password.Options{Params: weak}); err == nil {
			t.Errorf("%+v are taken", weak)
		}
	}
}

// The cost grows with the hardware: where the parameters were raised, what is
// stored of a password that was just given is computed anew.
func TestNIST_3_1_1_2_cost_ItIsRaisedOverTime(t *testing.T) {
	now, later := newHasher(t, nil), newHasher(t, &password.Options{Params: password.Params{Memory: 24576, Time: 2, Threads: 1}})
	const pw = "quietly under lanterns"
	phc, err := now.Hash(ctx, pw)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := later.Verify(ctx, phc, pw); !ok || err != nil || !later.NeedsRehash(phc) || now.NeedsRehash(phc) {
		t.Fatalf("Verify is %t, %v; NeedsRehash %t", ok, err, later.NeedsRehash(phc))
	}
	raised, err := later.Renew(ctx, phc, pw)
	if err != nil {
		t.Fatal(err)
	}
	if p, _, _, err := password.ParsedSize(raised); err != nil || p.Memory != 24576 || later.NeedsRehash(raised) {
		t.Errorf("%s, %v", raised, err)
	}
	if password.Measure(password.DefaultParams, 1) <= 0 {
		t.Error("the cost cannot be measured")
	}
}

// Salts are all different, and have 128 bits where 32 are asked for.
func TestNIST_3_1_1_2_salt_NoneTwice(t *testing.T) {
	h := newHasher(t, nil)
	salts := make(map[string]bool)
	h.Wrap(func(password.KDF) password.KDF {
		return func(_, salt []byte, _, _ uint32, _ uint8, size uint32) []byte {
			if len(salt) != 16 || salts[string(salt)] {
				t.Fatalf("salt %x", salt)
			}
			salts[string(salt)] = true
			return make([]byte, size)
		}
	})
	var ones [8]int
	for range 100_000 {
		if _, err := h.Hash(ctx, "x"); err != nil {
			t.Fatal(err)
		}
	}
	for s := range salts {
		for i := range ones {
			ones[i] += int(s[i]) >> i & 1
		}
	}
	for i, n := range ones { // 50,000 expected, deviation 158
		if n < 49_000 || n > 51_000 {
			t.Errorf("bit %d of byte %[1]d is set in %d of 100,000", i, n)
		}
	}
}

// Each hash says by what it was made, so that a table may hold several kinds.
func TestNIST_3_1_1_2_ref_EachHashSaysHowItWasMade(t *testing.T) {
	h := newHasher(t, nil)
	kinds := make(map[string]bool)
	for _, v := range fewer(vectors(t)) {
		if !v.usable() || !v.Verifies {
			continue
		}
		kind := v.Hash[:strings.IndexAny(v.Hash[1:], "$:")+1]
		if kinds[kind] {
			continue
		}
		kinds[kind] = true
		if ok, err := h.Verify(ctx, v.Hash, v.Password); !ok || err != nil || !password.Recognized(v.Hash) {
			t.Errorf("%s: %t, %v", v.Hash, ok, err)
		}
	}
	if len(kinds) < 5 {
		t.Errorf("only %v", kinds)
	}
	if ok, err := h.Verify(ctx, "$unknown$v=1$abc$def", "x"); ok || err != nil || password.Recognized("$unknown$v=1$abc$def") {
		t.Errorf("of an unknown kind: %t, %v", ok, err)
	}
}
