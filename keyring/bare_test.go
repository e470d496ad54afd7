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
