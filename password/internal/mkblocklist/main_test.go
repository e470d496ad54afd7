package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// The list that is embedded is the one that this program writes.
func TestListIsOfThisProgram(t *testing.T) {
	dir := t.TempDir()
	if err := run(dir); err != nil {
		t.Fatal(err)
	}
	var lists [2][]string
	for i, d := range []string{dir, "../.."} {
		gz, err := os.ReadFile(filepath.Join(d, "blocklist.gz"))
		if err != nil {
			t.Fatal(err)
		}
		if lists[i], err = lines(gz); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(lists[0], lists[1]) {
		t.Errorf("the list has %d entries, this program makes %d others: run go generate", len(lists[1]), len(lists[0]))
	}
}

// Entries are found only if they are written as passwords are compared.
func TestEntriesAreFolded(t *testing.T) {
	popular, err := lines(popularGZ)
	if err != nil {
		t.Fatal(err)
	}
	leaked, ruled := generate(popular)
	for _, s := range merge(leaked, ruled) {
		if norm.NFC.String(cases.Fold().String(s)) != s || s != strings.TrimRight(s, "\r\n") || !utf8.ValidString(s) {
			t.Errorf("%q is not folded", s)
		}
	}
	if len(leaked) != 17_950 || count(leaked, long) != 41 { // as the documentation of password.Policy says
		t.Errorf("%d from leaks, %d long enough", len(leaked), count(leaked, long))
	}
}

func TestRules(t *testing.T) {
	words := []string{"monkey", "dragon", "superman", "x1", "michaeljordan"}
	for name, v := range map[string]struct {
		made []string
		want []string
	}{
		"repeated": {repeated(words), []string{"monkeymonkeymonkey", "supermansuperman", "x1x1x1x1x1x1x1x1", "monkey monkey monkey", "dragondragondragon2024", "michaeljordanmichaeljordan"}},
		"ended":    {ended(words), []string{"monkey0123456789", "michaeljordan!", "superman1234567"}},
		"paired":   {paired(words), []string{"monkeydragon", "supermanmonkey"}},
		"walks":    {walks(), []string{"qwertyuiopasdfg", "1qaz2wsx3edc4rfv", "098765432109876", "12345678901234567890", "asdfasdfasdfasdf"}},
		"phrases":  {phrases(), []string{"iloveyousomuch", "i love you so much!", "let-me-in-please2025"}},
	} {
		for _, s := range v.want {
			if !slices.Contains(v.made, s) {
				t.Errorf("%s does not make %q", name, s)
			}
		}
	}
}
