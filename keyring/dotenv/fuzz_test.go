package dotenv_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/joho/godotenv"

	"github.com/cloakroom-dev/cloakroom/keyring/dotenv"
)

// FuzzScan: the scanner finds the names that godotenv finds, and no error shows a piece
// of the file. What it can replace changes no other value.
func FuzzScan(f *testing.F) {
	for _, seed := range []string{
		"KEYS=abc\nB=2", "export KEYS='a b'#c\r\n", "KEYS=\"a\\\"b\nc\" # d\nA: 1", "A=\"1\"KEYS=2", "KEYS", "KEYS=a # b # c",
		"\ufeffKEYS=\u00a0x\u0085", "A=$KEYS\nKEYS=x", "KEYS=''\n", "KEYS='\\''\n'", "a b=c\n=d\n", "KEYS=\x01", "export\nKEYS=1",
		"KEYS=a\nexport\u00a0KEYS=b", "export\u0085KEYS=b", "KEYS=\"a\\st\"",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.HasPrefix(text, "\xff\xfe") || strings.HasPrefix(text, "\xfe\xff") || strings.Contains(text, "\x01") {
			return
		}
		const canary = "Kn4tterbox"
		text = strings.ReplaceAll(text, "Q", canary)
		path := save(t, text)
		values, parseErr := godotenv.Unmarshal(strings.ReplaceAll(strings.TrimPrefix(text, "\ufeff"), "$", "\x01"))
		if names, ok := dotenv.Names([]byte(text)); ok && parseErr == nil {
			slices.Sort(names)
			if want := slices.Sorted(maps.Keys(values)); !slices.Equal(names, want) {
				t.Errorf("%q: the scanner finds %q, godotenv %q", text, names, want)
			}
		}
		src := open(t, path+"#KEYS")
		old, err := src.Read(t.Context())
		if err != nil {
			if strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q: shows a piece of it: %v", text, err)
			}
			return
		}
		if parseErr != nil || string(old) != values["KEYS"] {
			t.Errorf("%q: %q, want %q, %v", text, old, values["KEYS"], parseErr)
		}
		const next = "# new\ncloakroom\n"
		if err := src.Write(t.Context(), old, []byte(next)); err != nil {
			return
		}
		written, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		after, err := godotenv.Unmarshal(strings.ReplaceAll(strings.TrimPrefix(string(written), "\ufeff"), "$", "\x01"))
		values["KEYS"] = next
		if err != nil || !maps.Equal(after, values) {
			t.Errorf("%q: now %q: %q, want %q, %v", text, written, after, values, err)
		}
	})
}

func FuzzOpen(f *testing.F) {
	f.Add(".env#KEYS")
	f.Add("#")
	f.Fuzz(func(t *testing.T, place string) {
		const canary = "Kn4tterbox"
		src, err := dotenv.Open(strings.ReplaceAll(place, "K", canary))
		if (src == nil) == (err == nil) {
			t.Fatalf("%v, %v", src, err)
		}
		if err != nil && strings.Contains(err.Error(), canary) {
			t.Errorf("shows what it was given: %v", err)
		}
	})
}
