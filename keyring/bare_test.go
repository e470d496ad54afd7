package keyring_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

// random returns n random bytes.
func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// wrap breaks a text into lines of n characters.
func wrap(s string, n int) string {
	var b strings.Builder
	for len(s) > n {
		b.WriteString(s[:n] + "\n")
		s = s[n:]
	}
	return b.String() + s + "\n"
}

// bareForms are the spellings of one secret that are read.
func bareForms(b []byte) map[string]string {
	std := base64.StdEncoding.EncodeToString(b)
	forms := map[string]string{
		"hexadecimal":            hex.EncodeToString(b),
		"hexadecimal, upper":     strings.ToUpper(hex.EncodeToString(b)),
		"base64":                 std,
		"base64, no padding":     base64.RawStdEncoding.EncodeToString(b),
		"base64url":              base64.URLEncoding.EncodeToString(b),
		"base64url, no padding":  base64.RawURLEncoding.EncodeToString(b),
		"white space around it":  " \t\r\n\n\t" + std + " \r\n\r\n",
		"comments, byte order":   "\ufeff# made by openssl\n\n" + std + "\n# end",
		"line end of an editor":  std + "\r\n",
		"line ends of old Macs":  "# mine\r" + std + "\r",
		"hexadecimal, with line": hex.EncodeToString(b) + "\n",
	}
	if n := len(std); n%64 > 0 && n > 64 && len(strings.TrimRight(std[n-n%64:], "=")) < 43 {
		forms["wrapped by openssl"] = wrap(std, 64)
		forms["wrapped by openssl, CRLF"] = strings.ReplaceAll(wrap(std, 64), "\n", "\r\n")
	}
	if n := len(std); n%76 > 0 && n > 76 && len(strings.TrimRight(std[n-n%76:], "=")) < 43 {
		forms["wrapped by base64"] = wrap(std, 76)
	}
	return forms
}

// What openssl rand and Python's secrets print is one active key, the same in every
// spelling. Nobody knows its age.
func TestBareSecretIsOneActiveKey(t *testing.T) {
	for _, n := range []int{32, 33, 34, 48, 63, 64, 65, 128, 1024} {
		b := random(n)
		want := b
		if n > 32 {
			sum := sha256.Sum256(append([]byte("cloakroom bare secret\x00"), b...))
			want = sum[:]
		}
		id := keyOf(t, [32]byte(want)).ID()
		for name, text := range bareForms(b) {
			ring, err := keyring.Read(strings.NewReader(text))
			if err != nil {
				t.Errorf("%d bytes, %s: %v", n, name, err)
				continue
			}
			infos := ring.Keys()
			if len(infos) != 1 || infos[0] != (keyring.KeyInfo{ID: id, State: keyring.Active}) {
				t.Errorf("%d bytes, %s: read as %+v, want the active key %v", n, name, infos, id)
			}
			keys, err := keyring.ReadKeys(strings.NewReader(text))
			if err != nil || len(keys) != 1 || keys[0].ID() != id || !keys[0].Created().IsZero() {
				t.Errorf("%d bytes, %s: ReadKeys: %v, %v", n, name, keys, err)
			}
		}
	}
}

// What is no bare secret, or not only one, is refused with what is wrong and what to do.
func TestBareSecretsThatAreRefused(t *testing.T) {
	const advice = "; make a key with cloakroom key new, or a secret with openssl rand -base64 32"
	b, key := random(48), keyring.Generate().Text()
	std, short := base64.StdEncoding.EncodeToString(b), base64.StdEncoding.EncodeToString(b[:31])
	// Both alphabets in one: a "-" in the place of a "+".
	mixed := base64.StdEncoding.EncodeToString(append([]byte{0xfb, 0xef, 0xbe}, b...))
	mixed = strings.Replace(mixed, "+", "-", 1)
	for _, test := range []struct{ text, want string }{
		{hex.EncodeToString(b[:31]), "line 1: secret is too short: 31 bytes, 32 at least are needed" + advice},
		{"\n# short\n" + short, "line 3: secret is too short: 31 bytes, 32 at least are needed" + advice},
		{hex.EncodeToString(random(1025)), "line 1: secret is too long: more than 1024 bytes" + advice},
		{hex.EncodeToString(b)[1:], "line 1: secret has an odd number of hexadecimal digits; it was cut or changed, copy it again" + advice},
		{std[:len(std)-3], "line 1: neither a key line nor 32 random bytes or more in hexadecimal or base64" + advice},
		{std + "=", "line 1: neither a key line nor 32 random bytes"},
		{mixed, "line 1: neither a key line nor 32 random bytes"},
		{"0x" + hex.EncodeToString(b), "line 1: "},
		{`"` + std + `"`, "line 1: this stands in quotes; if it is a secret, remove them" + advice},
		{"'", "line 1: this stands in quotes"},
		{"several words of ours", "line 1: neither a key line nor random bytes: words make no secret" + advice},
		{"Schlüsselbegriff", "line 1: neither a key line nor random bytes: words make no secret" + advice},
		{std + "\n\n" + std, "line 3: a second bare secret: nobody could tell which one signs; keep one, and exchange it with cloakroom key rotate (if it is one secret, put it on one line)"},
		{std + "\n" + hex.EncodeToString(b), "line 2: a second bare secret"},
		{std + "\r" + std, "line 2: a second bare secret"},
		{base64.RawStdEncoding.EncodeToString(b[:33]) + "\r" + base64.RawStdEncoding.EncodeToString(b[:33]), "line 2: a second bare secret"},
		{std + " " + std, "line 1: a second bare secret"},
		{std + "\t" + hex.EncodeToString(b), "line 1: a second bare secret"},
		{std + " " + std[:20], "line 1: neither a key line nor random bytes: words make no secret"},
		{wrap(base64.StdEncoding.EncodeToString(random(96)), 64), "line 2: a second bare secret"}, // each could be one
		{std + "\n" + std[:20] + "\n" + std[:20], "line 2: "},
		{std + "\n# but here\n" + std[:20], "line 3: "},
		{key + "\n" + std, "line 2: a bare secret cannot stand beside key lines; remove it or them"},
		{std + "\n" + key, "line 1: a bare secret cannot stand beside key lines"},
		{key + "\n" + short, "line 2: not a key line: it has to begin with cloakroom-key-v1"},
		{strings.Replace(key, "active", "aktiv", 1) + "\n" + std, "line 2: a bare secret cannot stand beside key lines"},
	} {
		ring, err := keyring.Read(strings.NewReader(test.text))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v, %v, want %s", test.text, ring, err, test.want)
		}
		if keys, keysErr := keyring.ReadKeys(strings.NewReader(test.text)); keysErr == nil {
			t.Errorf("%q: ReadKeys takes %v", test.text, keys)
		}
	}
}
