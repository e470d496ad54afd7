package password_test

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cloakroom-dev/cloakroom/password"
)

// reason returns why the policy refuses a password, "" where it does not.
func reason(t testing.TB, p *password.Policy, pw string, words ...string) password.Reason {
	t.Helper()
	err := p.Check(pw, words...)
	if err == nil {
		return ""
	}
	var refused *password.PolicyError
	if !errors.As(err, &refused) {
		t.Fatalf("error is %v", err)
	}
	if len(pw) > 3 && pw != "password" && strings.Contains(err.Error(), pw) {
		t.Errorf("%q repeats the password", err)
	}
	return refused.Reason
}

// entries are those of the embedded list.
func entries(t testing.TB) []string {
	t.Helper()
	f, err := os.Open("blocklist.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

func TestASVS_6_2_1_FifteenCodePoints(t *testing.T) {
	for pw, want := range map[string]password.Reason{
		"":                      password.TooShort,
		"fourteen lette":        password.TooShort,
		"fifteen letters":       "",
		strings.Repeat("😀", 14): password.TooShort,
		strings.Repeat("😀", 15): "",
		"😀😀😀😀😀😀😀seven l":        password.TooShort,
		"fourteen lette\u0301":  password.TooShort, // one code point with the e, after NFC
		"fourteen let\u0301te":  "",                // no such letter: fifteen
		strings.Repeat("ａ", 7) + "ﬁ" + "1234567": "", // compatibility characters stay what they are
	} {
		if got := reason(t, nil, pw); got != want {
			t.Errorf("%q: reason is %q, want %q", pw, got, want)
		}
	}
	var refused *password.PolicyError
	if err := new(password.Policy).Check("short"); !errors.As(err, &refused) || refused.Min != 15 || !strings.Contains(err.Error(), "15") {
		t.Errorf("error is %v", err)
	}
}

func TestNIST_3_1_1_2_1a_FifteenAloneAndEightAtLeast(t *testing.T) {
	for least, want := range map[int]int{0: 15, 15: 15, 8: 8, 20: 20, 1: 8, -5: 8} {
		p := &password.Policy{MinLength: least}
		pw := strings.Repeat("né z", 10)
		short, long := string([]rune(pw)[:want-1]), string([]rune(pw)[:want])
		if got := reason(t, p, short); got != password.TooShort {
			t.Errorf("MinLength %d: %d code points: %q", least, want-1, got)
		}
		if got := reason(t, p, long); got != "" {
			t.Errorf("MinLength %d: %d code points: %q", least, want, got)
		}
	}
	p := &password.Policy{MinLength: 8} // the list has the short ones as well
	for _, pw := range []string{"password", "12345678", "Baseball", "SUPERMAN"} {
		if got := reason(t, p, pw); got != password.Blocklisted {
			t.Errorf("%q: %q", pw, got)
		}
	}
}

func TestASVS_6_2_4_EveryHundredthEntryIsRefused(t *testing.T) {
	all := entries(t)
	long := 0
	for i, s := range all {
		if !utf8.ValidString(s) || s == "" || i > 0 && all[i-1] >= s {
			t.Fatalf("entry %d, %q, is out of order", i, s)
		}
		if utf8.RuneCountInString(s) < 15 {
			continue
		}
		if long++; long%100 != 1 {
			continue
		}
		for _, pw := range []string{s, strings.ToUpper(s)} {
			if got := reason(t, nil, pw); got != password.Blocklisted {
				t.Errorf("%q: reason is %q", pw, got)
			}
		}
		if got := reason(t, nil, s+" zyx"); got != "" {
			t.Errorf("%q: reason is %q", s+" zyx", got)
		}
	}
	if len(all) != 78_692 || long != 60_783 { // as the documentation says
		t.Errorf("%d entries, %d long enough", len(all), long)
	}
	if first, last := reason(t, &password.Policy{MinLength: 8}, all[0]), reason(t, &password.Policy{MinLength: 8}, all[len(all)-1]); first == "" || last == "" {
		t.Errorf("first and last entry: %q, %q", first, last)
	}
}

func TestASVS_6_2_12_WhatLeaksAndWhatGuessersMakeOfIt(t *testing.T) {
	for _, pw := range []string{
		"passwordpassword", "1qaz2wsx3edc4rfv", "123456789123456", "Qwertyuiop12345", "12345678987654321", "q1w2e3r4t5y6u7i8o9p0",
		"password password", "Password1234567890", "monkeymonkeymonkey", "aaaaaaaaaaaaaaa", "111111111111111", "ThisIsMyPassword",
		"this is my password", "iloveyousomuch123", "correcthorsebatterystaple", "CorrectHorseBatteryStaple1", "let-me-in-please",
		"abcdefghijklmnop", "asdfghjklasdfghjkl", "letmeinletmeinletmein", "password12345678",
		"Mi.Contraseña2024", "MI.CONTRASEN\u0303A2024",
	} {
		if got := reason(t, nil, pw); got != password.Blocklisted {
			t.Errorf("%q: reason is %q", pw, got)
		}
	}
}

func TestNIST_3_1_1_2_blk2_TheWholePasswordIsCompared(t *testing.T) {
	for _, pw := range []string{
		"my password sits tall", "not passwordpassword", "passwordpassword nay", "a monkey and 12345678", "qwertyuiop the whale",
	} {
		if got := reason(t, nil, pw); got != "" {
			t.Errorf("%q: reason is %q", pw, got)
		}
	}
}

func TestASVS_6_2_5_AnyComposition(t *testing.T) {
	for _, pw := range []string{
		"only lower case letters", "ONLY UPPER CASE LETTERS", "830274650192837", "               x", "x y z a b c d e f",
		"كلمة المرور الطويلة", "пароль для дверей", "とても長い秘密の言葉だよ、君には", "🔐🗝🚪🏠🌳🐈🐕🎈🎉🍰🍎🍐🍊🍋🍌", "!\"#$%&'()*+,-./:;",
		"tab\tand\x7fothers too",
	} {
		if got := reason(t, nil, pw); got != "" {
			t.Errorf("%q: reason is %q", pw, got)
		}
	}
	// Each printable character, in every position.
	for c := rune(0x20); c < 0x7f; c++ {
		for at := range 16 {
			pw := []rune("vkdu wqmx tzbe hn")
			pw[at] = c
			if got := reason(t, nil, string(pw)); got != "" {
				t.Fatalf("%q: reason is %q", string(pw), got)
			}
		}
	}
}

func TestASVS_6_2_9_SixtyFourAndMoreArePermitted(t *testing.T) {
	for pw, want := range map[string]password.Reason{
		strings.Repeat("🔐🗝", 32):                    "",
		strings.Repeat("ab c", 16):                  "",
		strings.Repeat("x y", 341) + "z":            "",
		strings.Repeat("x y", 341) + "zz":           password.TooLong,
		strings.Repeat("\xff", 10<<20):              password.TooLong,
		strings.Repeat("alice", password.MaxLength): password.TooLong,
	} {
		if got := reason(t, nil, pw, "alice"); got != want {
			t.Errorf("%d bytes: reason is %q, want %q", len(pw), got, want)
		}
	}
}

func TestASVS_6_2_11_ContextWordsAndWhatIsMadeOfThem(t *testing.T) {
	p := &password.Policy{Context: []string{"Cloakroom", "sign-in.example.com", "Straße & Söhne"}}
	words := []string{"Alice.Liddell", "alice@wonderland.example"}
	for _, pw := range []string{
		"alice.liddell!!", "AliceLiddell2024", "alice alice alice", "alicealicealice", "Alice1234567890", "12345alice67890",
		"alice@wonderland.example", "wonderlandwonderland", "wonderland-2026", "lleddil.ecila 99", "ALICE@EXAMPLE.COM",
		"cloakroom123456", "Cloakroom-2026!!", "cloakroomalice!", "moorkaolc123456", "cloakroompassword", "MyCloakroomPassword1!",
		"password for cloakroom", "sign-in.example.com", "example.com/2024", "strassesöhne2024", "STRASSE & SÖHNE", "Straße So\u0308hne 12",
	} {
		if got := reason(t, p, pw, words...); got != password.InContext {
			t.Errorf("%q: reason is %q", pw, got)
		}
	}
	for _, pw := range []string{
		"alice chases the rabbit", "cloakrooms are for coats", "the example of a stair", "malice aforethought", "😀😀😀😀😀😀😀😀😀😀alice",
	} {
		if got := reason(t, p, pw, words...); got != "" {
			t.Errorf("%q: reason is %q", pw, got)
		}
	}
	// Words that are in everything, or nowhere.
	for _, word := range []string{"", " ", "a", "42", "...", "\xff\xff\xff", strings.Repeat("w", 1000), "12345"} {
		if got := reason(t, nil, "a 42 83746 ... 12345 wv", word); got != "" {
			t.Errorf("with %.20q: reason is %q", word, got)
		}
	}
	for word, pw := range map[string]string{"12345678901234567": "12345678901234567", "ab": "abababababababab", "007": "007007007007007"} {
		if got := reason(t, nil, pw, word); got != password.InContext {
			t.Errorf("%q of %q: reason is %q", pw, word, got)
		}
	}
}

// The longest password with words that overlap everywhere is judged as quickly as
// others: in as many steps as it has bytes, for each word.
func TestAttack_A21_ContextIsJudgedInBoundedTime(t *testing.T) {
	words := make([]string, 100)
	for i := range words {
		words[i] = strings.Repeat("a", i+3)
	}
	if got := reason(t, nil, strings.Repeat("a", password.MaxLength-1)+"x", words...); got != "" {
		t.Errorf("reason is %q", got)
	}
}

func TestNIST_3_1_1_2_blk3_ReasonsAreGivenInWords(t *testing.T) {
	p := &password.Policy{Context: []string{"cloakroom"}}
	seen := map[string]bool{}
	for pw, want := range map[string]string{
		"short": "at least 15 characters", strings.Repeat("x", 1025): "at most 1024 bytes",
		"passwordpassword": "guessers try first", "cloakroom123456": "made of a name",
	} {
		err := p.Check(pw)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v", err)
			continue
		}
		seen[err.Error()] = true
	}
	if len(seen) != 4 {
		t.Errorf("%v", seen)
	}
}

// A list that nobody can search is none: what is found must not depend on where
// it stands.
func TestBlocklistIsSearchedWhole(t *testing.T) {
	all := entries(t)
	for _, s := range all {
		if !password.OnList(s) {
			t.Fatalf("%q is not found", s)
		}
		if password.OnList(s + "\x00") {
			t.Fatalf("%q is found", s+"\x00")
		}
	}
	for _, s := range []string{"", "\n", all[0] + "\n" + all[1], "\x00", "\U0010ffff", all[5][:3]} {
		if password.OnList(s) {
			t.Errorf("%q is found", s)
		}
	}
}

func BenchmarkPolicy(b *testing.B) {
	p := &password.Policy{Context: []string{"cloakroom", "login.example.com"}}
	_ = p.Check("the first one loads the list")
	for b.Loop() {
		if err := p.Check("correct horse, battery and staple", "alice", "alice@example.org"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBlocklistLoads(b *testing.B) {
	for b.Loop() {
		password.LoadBlocklist()
	}
}

func ExamplePolicy() {
	p := &password.Policy{Context: []string{"Cloakroom"}}
	for _, pw := range []string{"Tr0ub4dor&3", "cloakroom-2026!", "a coat left in the rain"} {
		err := p.Check(pw, "alice")
		var refused *password.PolicyError
		if errors.As(err, &refused) {
			fmt.Printf("%s: %v\n", refused.Reason, err)
		} else {
			fmt.Println(err)
		}
	}
	// Output:
	// too_short: The password is too short: it needs at least 15 characters
	// context: The password is easy to guess here: it is made of a name
	// <nil>
}
