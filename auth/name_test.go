package auth_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/cloakroom-dev/cloakroom/auth"
)

// pairs are names that some program somewhere takes for one. Where both have a
// canonical form, same says whether it is the same; "" refused says which of the
// two, by its number, has none.
var pairs = []struct {
	a, b    string
	same    bool
	refused string
}{
	// Case, width and composition are one name.
	{"alice", "ALICE", true, ""},
	{"alice", "aLiCe", true, ""},
	{"alice", "Ａlice", true, ""},
	{"alice", "ａｌｉｃｅ", true, ""},
	{"alice@example.com", "Alice@Example.COM", true, ""},
	{"alice@example.com", "alice＠example.com", true, ""},
	{"ren\u00e9", "rene\u0301", true, ""},
	{"ren\u00e9", "REN\u00c9", true, ""},
	{"ren\u00e9", "RENE\u0301", true, ""},
	{"\u00e5ngstr\u00f6m", "A\u030angstro\u0308m", true, ""},
	{"stra\u00dfe", "STRA\u1e9eE", true, ""},
	{"\u0436\u0443\u043a", "\u0416\u0423\u041a", true, ""},
	{"\u0390\u03b1", "\u03b9\u0308\u0301\u03b1", true, ""},
	{"\u1e9b\u0323", "\u017f\u0323\u0307", false, "both"},
	{"\uac00", "\u1100\u1161", true, ""},
	{"\u30a2\u30d1", "\uff71\uff8a\uff9f", true, ""},
	{"user1", "user１", true, ""},
	{"q\u0323\u0307", "q\u0307\u0323", true, ""},
	{"\u1ed5", "o\u0302\u0309", true, ""},
	{"\u01c6", "\u01c4", false, "both"},

	// Characters that only stand for others: folded by some, kept by others.
	{"kelvin", "\u212aelvin", false, "second"},
	{"mike", "mi\u212ae", false, "second"},
	{"\u00e5", "\u212b", false, "second"},
	{"\u03c9", "\u2126", false, "second"},
	{"mike.strasse", "mi\u017fe", false, "second"},
	{"sam", "\u017fam", false, "second"},
	{"admin", "\u1d43dmin", false, "second"},
	{"admin", "\u2090dmin", false, "second"},
	{"admin", "\u24d0dmin", false, "second"},
	{"admin", "\U0001d41admin", false, "second"},
	{"file", "\ufb01le", false, "second"},
	{"1st", "\u00b9st", false, "second"},
	{"one", "\u2460ne", false, "second"},
	{"no", "\u2116", false, "second"},
	{"lj", "\u01c9", false, "second"},
	{"a...", "a\u2026", false, "second"},
	{"a-b", "a\u2011b", false, "second"},
	{"tel", "\u2121", false, "second"},
	{"a", "\u00aa", false, "second"},
	{"a/c", "\u2100", false, "second"},

	// What shows nothing, or turns the line around.
	{"alice", "al\u200bice", false, "second"},
	{"alice", "alice\u200d", false, "second"},
	{"alice", "\ufeffalice", false, "second"},
	{"alice", "alice\u00ad", false, "second"},
	{"alice", "\u202ealice", false, "second"},
	{"alice", "\u2066alice\u2069", false, "second"},
	{"alice", "alice\u200f", false, "second"},
	{"alice", "ali\u2060ce", false, "second"},
	{"alice", "alice\x00", false, "second"},
	{"alice", "alice\n", false, "second"},
	{"alice", "alice ", false, "second"},
	{"alice", " alice", false, "second"},
	{"alice", "ali\u00a0ce", false, "second"},
	{"alice", "ali\u3000ce", false, "second"},
	{"alice", "alice\u3164", false, "second"},
	{"alice", "alice\u0085", false, "second"},
	{"alice", "alice\u034f", false, "second"},
	{"alice", "alice\ufe0f", false, "second"},
	{"alice", "alice\U000e0041", false, "second"},
	{"alice", "alice\xff", false, "second"},

	// Two names, and they stay two.
	{"stra\u00dfe", "strasse", false, ""},
	{"istanbul", "\u0130stanbul", false, ""},
	{"istanbul", "\u0131stanbul", false, ""},
	{"\u03c3\u03b1\u03c2", "\u03c3\u03b1\u03c3", false, ""},
	{"paypal", "p\u0430ypal", false, ""},
	{"rene", "ren\u00e9", false, ""},
	{"alice", "alice.", false, ""},
	{"alice@example.com", "alice@example.com.", false, ""},
	{"alice@example.com", "alice@ex\u0430mple.com", false, ""},
	{"o", "\u00f8", false, ""},
}

func TestAttack_A36_NamesOfOneFormAreOneAccount(t *testing.T) {
	if len(pairs) < 60 {
		t.Fatalf("%d pairs", len(pairs))
	}
	for _, p := range pairs {
		a, errA := auth.CanonicalName(p.a)
		b, errB := auth.CanonicalName(p.b)
		if got := map[[2]bool]string{{true, true}: "", {false, true}: "first", {true, false}: "second", {false, false}: "both"}[[2]bool{errA == nil, errB == nil}]; got != p.refused {
			t.Errorf("%+q and %+q: refused is %q, want %q (%v, %v)", p.a, p.b, got, p.refused, errA, errB)
			continue
		}
		if p.refused == "" && (a == b) != p.same {
			t.Errorf("%+q and %+q became %+q and %+q", p.a, p.b, a, b)
		}
	}
}

func TestNamesThatAreRefusedSayWhy(t *testing.T) {
	for name, want := range map[string]string{
		"":                              "auth: user name is empty",
		strings.Repeat("a", 257):        "auth: user name is over 256 bytes",
		strings.Repeat("é", 129):        "auth: user name is over 256 bytes",
		"canary\xff":                    "auth: user name is not UTF-8",
		"canary\r\n":                    "auth: user name has a control character",
		"canary\x1b[31m":                "auth: user name has a control character",
		"canary canary":                 "auth: user name has a blank",
		"canary\u202e":                  "auth: user name has an invisible character",
		"canary\ufb01":                  "auth: user name has a character that only stands for another",
		"canary\U0001f44d":              "auth: user name has a character that is not allowed in it, or not where it stands",
		"canary\u05d0":                  "auth: user name has a character that is not allowed in it, or not where it stands",
		strings.Repeat("\u0390", 128):   "",
		strings.Repeat("a", 256):        "",
		strings.Repeat("\u023a", 127):   "auth: user name is over 256 bytes in its canonical form",
		"alice@example.com":             "",
		"o'brien+tag_1.x-y@exämple.com": "",
		"王小明":                           "",
		"नमस्ते":                        "",
		"אבג":                           "",
	} {
		_, err := auth.CanonicalName(name)
		var ne *auth.NameError
		switch {
		case want == "" && err != nil:
			t.Errorf("%+q: %v", name, err)
		case want == "":
		case err == nil || err.Error() != want:
			t.Errorf("%+q: error is %v, want %s", name, err, want)
		case !errors.As(err, &ne):
			t.Errorf("%+q: error is a %T", name, err)
		}
	}
}

// FuzzCanonicalName looks for a name whose canonical form is not its own, or
// holds what no log line and no comparison should see.
func FuzzCanonicalName(f *testing.F) {
	for _, p := range pairs {
		f.Add(p.a)
		f.Add(p.b)
	}
	f.Fuzz(func(t *testing.T, name string) {
		c, err := auth.CanonicalName(name)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\r\n") || c != "" {
				t.Errorf("%+q: %+q, %q", name, c, err)
			}
			return
		}
		if again, err := auth.CanonicalName(c); err != nil || again != c {
			t.Errorf("%+q became %+q, and that %+q, %v", name, c, again, err)
		}
		if c == "" || len(c) > auth.MaxName || !utf8.ValidString(c) {
			t.Errorf("%+q became %+q", name, c)
		}
		for _, r := range c {
			if unicode.IsControl(r) || unicode.IsSpace(r) || unicode.Is(unicode.Bidi_Control, r) || unicode.ToLower(r) != r {
				t.Errorf("%+q became %+q with %U", name, c, r)
			}
		}
	})
}

func ExampleCanonicalName() {
	for _, name := range []string{"Alice@Example.com", "Ｂｏｂ", "alice bob"} {
		c, err := auth.CanonicalName(name)
		fmt.Printf("%q %v\n", c, err)
	}
	// Output:
	// "alice@example.com" <nil>
	// "bob" <nil>
	// "" auth: user name has a blank
}
