package canary_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"html"
	"log/slog"
	"net/url"
	"os"
	"runtime"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/cloakroom-dev/cloakroom/internal/canary"
)

func secret() []byte {
	b := make([]byte, 32)
	rand.Read(b)
	return b
}

// slogged is what a logger writes of a value.
func slogged(v any, asJSON bool) string {
	var b bytes.Buffer
	var h slog.Handler = slog.NewTextHandler(&b, nil)
	if asJSON {
		h = slog.NewJSONHandler(&b, nil)
	}
	slog.New(h).Info("m", "v", v)
	return b.String()
}

// wide writes a text in UTF-16.
func wide(s string, low, high int) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		two := [2]byte{}
		two[low], two[high] = byte(u), byte(u>>8)
		b = append(b, two[:]...)
	}
	return string(b)
}

// encoded is s in each way in which it may get into an output.
func encoded(s []byte) map[string]string {
	text64, text16 := base64.RawURLEncoding.EncodeToString(s), hex.EncodeToString(s)
	var asGob bytes.Buffer
	_ = gob.NewEncoder(&asGob).Encode(s)
	asXML, _ := xml.Marshal(text64)
	asJSON := func(v any) string { b, _ := json.Marshal(v); return string(b) }
	array := [32]byte(s)
	forms := map[string]string{
		"bytes": string(s), "gob": asGob.String(), "xml": string(asXML), "xml of hex": strings.ToUpper(text16),
		"base64 std": base64.StdEncoding.EncodeToString(s), "base64 raw std": base64.RawStdEncoding.EncodeToString(s),
		"base64 url": base64.URLEncoding.EncodeToString(s), "base64 raw url": text64,
		"hex": text16, "percent": url.QueryEscape(string(s)), "path": url.PathEscape(string(s)), "html": html.EscapeString(text64),
		"json": asJSON(s), "json array": asJSON(array), "json of text": asJSON(text64), "json of hex": asJSON(text16),
		"slog text": slogged(s, false), "slog json": slogged(s, true), "slog text array": slogged(array, false), "slog json array": slogged(array, true),
		"hex of base64": hex.EncodeToString([]byte(text64)), "base64 of hex": base64.StdEncoding.EncodeToString([]byte(text16)),
		"utf-16 le": wide(text64, 0, 1), "utf-16 be": wide(text16, 1, 0),
		"bytes of text": fmt.Sprint([]byte(text64)), "json of error": asJSON(fmt.Sprintf("bad key %q", text64)),
		"part": text64[10:20], "part of hex": text16[20:34], "part of bytes": string(s[9:16]), "lines": text64[:20] + "\n" + text64[20:],
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%+q", "%x", "%X", "% x", "% X", "%d", "%08b"} {
		forms["slice "+verb] = fmt.Sprintf(verb, s)
		forms["array "+verb] = fmt.Sprintf(verb, array)
		forms["struct "+verb] = fmt.Sprintf(verb, struct{ k []byte }{s})
	}
	for skip := range 3 { // as part of something longer
		forms[fmt.Sprintf("base64 behind %d", skip)] = base64.StdEncoding.EncodeToString(append(make([]byte, skip), s...))
		forms[fmt.Sprintf("base64 of text behind %d", skip)] = base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("x", skip) + text64))
	}
	return forms
}

// Whatever form a secret has been planted in, it is found, in the middle of much else.
func TestFindsWhatIsPlanted(t *testing.T) {
	for range 20 {
		var s canary.Search
		key := secret()
		s.Add("key", key)
		s.Add("other", secret())
		for form, text := range encoded(key) {
			finds := s.Find([]byte(strings.Repeat("level=INFO msg=start ", 50) + text + "\n" + strings.Repeat("and more ", 20)))
			if len(finds) == 0 {
				t.Errorf("%s: not found in %q", form, text)
			}
			for _, f := range finds {
				if f.Secret != "key" || f.At < 1000 || !strings.HasPrefix(f.String(), "key as ") {
					t.Errorf("%s: %v", form, f)
				}
			}
		}
	}
}

// The stack of a crash shows the arguments of functions: bytes of arrays, and words.
func TestFindsWhatAStackShows(t *testing.T) {
	var s canary.Search
	key := secret()
	s.Add("key", key)
	for name, f := range map[string]func() string{
		"array": func() string { return byValue([32]byte(key)) },
		"word": func() string {
			return fmt.Sprintf("rax 0x%x", uint64(key[7])<<56|uint64(key[6])<<48|uint64(key[5])<<40|uint64(key[4])<<32|uint64(key[3])<<24|uint64(key[2])<<16|uint64(key[1])<<8|uint64(key[0]))
		},
	} {
		if text := f(); len(s.Find([]byte(text))) == 0 {
			t.Errorf("%s: not found in %s", name, text)
		}
	}
}

//go:noinline
func byValue(key [32]byte) string {
	b := make([]byte, 4096)
	b = b[:runtime.Stack(b, false)]
	return string(b) + strings.Repeat(" ", int(key[0]&1))
}

// What is no part of a secret is none, not even among megabytes of random bytes, this
// program itself, and four bytes of the secret.
func TestFindsNothingElse(t *testing.T) {
	var s canary.Search
	key := secret()
	for range 4 {
		s.Add("key", secret())
	}
	s.Add("key", key)
	noise := make([]byte, 1<<20)
	rand.Read(noise)
	self, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"nothing": "", "little": "abc", "short": hex.EncodeToString(key[:4]), "short text": base64.RawURLEncoding.EncodeToString(key)[3:8],
		"noise": string(noise), "noise in base64": base64.StdEncoding.EncodeToString(noise[:1<<18]), "noise in hex": hex.EncodeToString(noise[:1<<18]),
		"decimals": fmt.Sprint(noise[:1<<16]), "self": string(self),
	} {
		if finds := s.Find([]byte(text)); len(finds) > 0 {
			t.Errorf("%s: %v", name, finds)
		}
	}
	if len(s.Secrets()) != 5 || len(new(canary.Search).Find(noise)) != 0 {
		t.Errorf("%v", s.Secrets())
	}
}

func TestASecretThatIsTooShortPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("it is taken")
		}
	}()
	new(canary.Search).Add("short", make([]byte, 11))
}
