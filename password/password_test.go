package password_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/password"
)

var ctx = context.Background()

func newHasher(t testing.TB, opts *password.Options) *password.Hasher {
	t.Helper()
	h, err := password.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// call is one computation of a hash.
type call struct {
	password string
	salt     int
	time     uint32
	memory   uint32
	threads  uint8
	size     uint32
}

// record notes every hash that h computes. It is for tests without concurrency.
func record(h *password.Hasher) *[]call {
	var calls []call
	h.Wrap(func(kdf password.KDF) password.KDF {
		return func(pw, salt []byte, time, memory uint32, threads uint8, size uint32) []byte {
			calls = append(calls, call{string(pw), len(salt), time, memory, threads, size})
			return kdf(pw, salt, time, memory, threads, size)
		}
	})
	return &calls
}

func TestHashVerifies(t *testing.T) {
	h := newHasher(t, nil)
	phc, err := h.Hash(ctx, "correct horse battery staple")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(phc, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("hash is %s", phc)
	}
	if again, _ := h.Hash(ctx, "correct horse battery staple"); again == phc {
		t.Error("two hashes of one password are the same")
	}
	for pw, want := range map[string]bool{
		"correct horse battery staple":  true,
		"correct horse battery staple ": false,
		"correct horse battery stapl":   false,
	} {
		if ok, err := h.Verify(ctx, phc, pw); err != nil || ok != want {
			t.Errorf("Verify(%q) = %t, %v", pw, ok, err)
		}
	}
	if h.NeedsRehash(phc) || h.Check(phc) != nil {
		t.Error("a new hash is not good enough")
	}
}

// What bcrypt did with long passwords, and others with upper case and blanks,
// must not happen here (ASVS 6.2.8).
func TestASVS_6_2_8_PasswordIsVerifiedExactlyAsReceived(t *testing.T) {
	h := newHasher(t, nil)
	var b strings.Builder
	for i := range 100 {
		b.WriteByte("aB3 xyZ"[i%7])
	}
	pw := " " + b.String()[:98] + " "
	phc, err := h.Hash(ctx, pw)
	if err != nil {
		t.Fatal(err)
	}
	for name, other := range map[string]string{
		"72 bytes":       pw[:72],
		"all but one":    pw[:99],
		"one more":       pw + "x",
		"NUL and more":   pw + "\x00x",
		"upper case":     strings.ToUpper(pw),
		"lower case":     strings.ToLower(pw),
		"trimmed":        strings.TrimSpace(pw),
		"trimmed front":  pw[1:],
		"compatible (ﬁ)": strings.Replace(pw, "a", "ａ", 1),
	} {
		if ok, err := h.Verify(ctx, phc, other); ok || err != nil {
			t.Errorf("%s: Verify is %t, %v", name, ok, err)
		}
	}
	if ok, err := h.Verify(ctx, phc, pw); !ok || err != nil {
		t.Errorf("the password itself: Verify is %t, %v", ok, err)
	}
}

// A hash of 72 bytes must not let in what only begins with them, nor a byte that
// ends strings elsewhere hide what follows it.
func TestAttack_A20_NothingIsCut(t *testing.T) {
	h := newHasher(t, nil)
	for _, pw := range []string{strings.Repeat("a", 72), strings.Repeat("é", 36), "before\x00after"} {
		phc, err := h.Hash(ctx, pw)
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range []string{pw + "anything", pw + "\x00", pw[:len(pw)-1], "before", "before\x00other"} {
			if ok, err := h.Verify(ctx, phc, other); ok || err != nil {
				t.Errorf("the hash of %q lets %q in: %t, %v", pw, other, ok, err)
			}
		}
	}
}

func TestASVS_6_2_9_SixtyFourCharactersOfAnyKind(t *testing.T) {
	h := newHasher(t, nil)
	for name, pw := range map[string]string{
		"four bytes each":  strings.Repeat("🔐", 64),
		"the longest":      strings.Repeat("x", password.MaxLength),
		"one byte":         "0",
		"no UTF-8":         "\xff\xfe\x80",
		"with NUL":         "a\x00b",
		"blanks":           "   ",
		"grows under NFC":  strings.Repeat("\u0958", 341), // each of 3 bytes becomes 6
		"long combination": "a" + strings.Repeat("\u0301", 500),
	} {
		phc, err := h.Hash(ctx, pw)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if ok, err := h.Verify(ctx, phc, pw); !ok || err != nil {
			t.Errorf("%s: Verify is %t, %v", name, ok, err)
		}
	}
}

// A password is refused for its length before any hash is computed, whatever is
// stored: a megabyte costs nothing and says nothing.
func TestASVS_6_2_9_LengthIsBoundedBeforeHashing(t *testing.T) {
	h := newHasher(t, nil)
	calls := record(h)
	for pw, want := range map[string]error{
		"": password.ErrEmpty,
		strings.Repeat("x", password.MaxLength+1): password.ErrTooLong,
		strings.Repeat("x", 10<<20):               password.ErrTooLong,
	} {
		if _, err := h.Hash(ctx, pw); !errors.Is(err, want) {
			t.Errorf("Hash of %d bytes: %v", len(pw), err)
		}
		for _, stored := range []string{"", "garbage", "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA"} {
			if ok, err := h.Verify(ctx, stored, pw); ok || !errors.Is(err, want) {
				t.Errorf("Verify of %d bytes against %q: %t, %v", len(pw), stored, ok, err)
			}
		}
	}
	if len(*calls) != 0 {
		t.Errorf("%d hashes were computed", len(*calls))
	}
}

// The one documented exception from "exactly as received": NIST SP 800-63B-4
// §3.1.1.2 asks for a normalization, as one keyboard sends é as one code point
// and another as two. Compatibility characters stay different.
func TestNFCIsTheOneNormalization(t *testing.T) {
	h := newHasher(t, nil)
	phc, err := h.Hash(ctx, "caf\u00e9 \u00c5ngstr\u00f6m")
	if err != nil {
		t.Fatal(err)
	}
	for pw, want := range map[string]bool{
		"caf\u00e9 \u00c5ngstr\u00f6m":      true,
		"cafe\u0301 A\u030angstro\u0308m":   true,
		"caf\u00e9 \u212bngstr\u00f6m":      true, // the Ångström sign is canonically Å
		"cafe Angstrom":                     false,
		"\uff43af\u00e9 \u00c5ngstr\u00f6m": false, // full-width c
	} {
		if ok, err := h.Verify(ctx, phc, pw); err != nil || ok != want {
			t.Errorf("Verify(%+q) = %t, %v", pw, ok, err)
		}
	}
}

// Accounts that nobody can sign in to cost what others cost.
func TestASVS_6_3_8_UnusableHashesCostTheSame(t *testing.T) {
	for _, params := range []password.Params{password.DefaultParams, {Memory: 12288, Time: 3, Threads: 2}} {
		h := newHasher(t, &password.Options{Params: params})
		good, err := h.Hash(ctx, "correct horse")
		if err != nil {
			t.Fatal(err)
		}
		calls := record(h)
		for _, stored := range []string{
			good, "", "!", "garbage", "$argon2id$", strings.Repeat("$", 10_000),
			"$argon2d$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
			"$argon2id$v=19$m=262144,t=4,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA", // more than Memory
			"$argon2id$v=19$m=262145,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
			"$2b$31$bVURjH0eZ8PCW2sel4AvjuYqbrwuqVEkA9VmFLQQ/0z4pWfEVnMi.",
			"$apr1$.qjZTDuV$ZfHVJ20c4K95.WGgcpsDx.", "{SHA}q/eq1kOINtvlJqojGr3i0O73TUI=",
			"$sealed$v=1$AAAA", "$sealed$v=1$" + strings.Repeat("A", 100),
		} {
			*calls = nil
			if ok, err := h.Verify(ctx, stored, "wrong horse"); ok || err != nil {
				t.Errorf("%.40q: Verify is %t, %v", stored, ok, err)
			}
			want := call{"wrong horse", 16, params.Time, params.Memory, params.Threads, 32}
			if len(*calls) != 1 || (*calls)[0] != want {
				t.Errorf("%.40q: computed %v, want one %v", stored, *calls, want)
			}
		}
	}
}

func TestNeedsRehash(t *testing.T) {
	h := newHasher(t, nil)
	const salt, key = "c2FsdHNhbHRzYWx0c2FsdA", "a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2U"
	for stored, want := range map[string]bool{
		"": false,
		"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + key:                 false,
		"$argon2id$v=19$m=19456,t=3,p=1$" + salt + "$" + key:                 true,
		"$argon2id$v=19$m=9216,t=2,p=1$" + salt + "$" + key:                  true,
		"$argon2id$v=19$m=65536,t=2,p=1$" + salt + "$" + key:                 true, // stronger, and slower than others
		"$argon2id$v=19$m=19456,t=2,p=2$" + salt + "$" + key:                 true,
		"$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$" + key:                  true, // short salt
		"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$a2V5a2V5a2V5a2V5a2V5aw": true, // short key
		"$2b$10$bVURjH0eZ8PCW2sel4AvjuYqbrwuqVEkA9VmFLQQ/0z4pWfEVnMi.":       true,
	} {
		if got := h.NeedsRehash(stored); got != want {
			t.Errorf("%s: NeedsRehash is %t", stored, got)
		}
	}
}

func TestPromise12_NewReturnsEveryFault(t *testing.T) {
	_, err := password.New(&password.Options{
		Params: password.Params{Memory: 1024, Time: 2, Threads: 1}, Parallel: -1, Queue: -1, Wait: -1,
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"weaker", "Parallel", "Queue", "Wait"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %q", want, err)
		}
	}
	for name, o := range map[string]password.Options{
		"half of the parameters": {Params: password.Params{Memory: 19456}},
		"no threads":             {Params: password.Params{Memory: 19456, Time: 2}},
		"threads":                {Params: password.Params{Memory: 19456, Time: 2, Threads: 65}},
		"one pass":               {Params: password.Params{Memory: 19456, Time: 1, Threads: 1}},
		"little memory":          {Params: password.Params{Memory: 19455, Time: 2, Threads: 1}},
		"many passes":            {Params: password.Params{Memory: 7167, Time: 20, Threads: 1}},
		"too much memory":        {Params: password.Params{Memory: 1 << 19, Time: 1, Threads: 1}, Memory: 1 << 20},
		"too much work":          {Params: password.Params{Memory: 19456, Time: 1000, Threads: 1}},
		"more than the memory":   {Params: password.Params{Memory: 1 << 17, Time: 1, Threads: 1}, Memory: 1 << 16},
		"parallel over memory":   {Parallel: 7},
		"parallel":               {Parallel: 1025, Memory: 1 << 31},
		"queue":                  {Queue: 1 << 21},
	} {
		if _, err := password.New(&o); err == nil {
			t.Errorf("%s: no error", name)
		} else if strings.ContainsAny(err.Error(), "\n") {
			t.Errorf("%s: one fault, %d lines: %v", name, strings.Count(err.Error(), "\n")+1, err)
		}
	}
	for _, p := range []password.Params{
		{Memory: 47104, Time: 1, Threads: 1}, {Memory: 12288, Time: 3, Threads: 1}, {Memory: 9216, Time: 4, Threads: 4},
		{Memory: 7168, Time: 5, Threads: 1}, {Memory: 7168, Time: 10, Threads: 1}, {Memory: 65536, Time: 3, Threads: 4},
	} {
		if _, err := password.New(&password.Options{Params: p}); err != nil {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

func TestPromise11_ErrorsDoNotRepeatTheHash(t *testing.T) {
	h := newHasher(t, nil)
	for _, stored := range []string{
		"plain text canary", "$argon2id$v=19$m=1,t=1,p=1$Y2FuYXJ5Y2FuYXJ5$Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5",
		"$argon2id$v=19$m=19456,t=2,p=1$Y2FuYXJ5$Y2FuYXJ5", "$argon2id$v=19$m=19456,t=2,p=1$Y2FuYXJ5Y2FuYXJ5$Y2FuYXJ5",
	} {
		err := h.Check(stored)
		if err == nil {
			t.Errorf("%s is usable", stored)
		} else if strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "Y2Fu") {
			t.Errorf("%s: error is %q", stored, err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	h := newHasher(b, nil)
	phc, err := h.Hash(ctx, "correct horse")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if ok, err := h.Verify(ctx, phc, "correct horse"); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func Example() {
	h, err := password.New(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	phc, err := h.Hash(ctx, "correct horse battery staple")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(phc[:30])

	ok, err := h.Verify(ctx, phc, "correct horse battery staple")
	fmt.Println(ok, err)
	ok, err = h.Verify(ctx, phc, "Correct Horse Battery Staple")
	fmt.Println(ok, err)
	// Output:
	// $argon2id$v=19$m=19456,t=2,p=1
	// true <nil>
	// false <nil>
}
