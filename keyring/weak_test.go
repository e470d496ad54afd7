package keyring_test

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

// madeOf lists what people make of a phrase where random bytes are asked for.
func madeOf(phrase string) map[string][]byte {
	p := []byte(phrase)
	s256, line := sha256.Sum256(p), sha256.Sum256([]byte(phrase+"\n"))
	s384, s512, s1, m5 := sha512.Sum384(p), sha512.Sum512(p), sha1.Sum(p), md5.Sum(p)
	var wide []byte
	for _, u := range utf16.Encode([]rune(phrase)) {
		wide = append(wide, byte(u), byte(u>>8))
	}
	forms := map[string][]byte{
		"itself":                 p,
		"SHA-256":                s256[:],
		"SHA-256 of a line":      line[:],
		"SHA-256 as text":        []byte(hex.EncodeToString(s256[:])),
		"SHA-384":                s384[:],
		"SHA-512":                s512[:],
		"SHA-1":                  s1[:],
		"MD5":                    m5[:],
		"MD5 twice":              append(m5[:], m5[:]...),
		"MD5 as text":            []byte(hex.EncodeToString(m5[:])),
		"SHA-1, hexadecimal, 32": []byte(hex.EncodeToString(s1[:]))[:32],
		"hexadecimal as text":    []byte(hex.EncodeToString(p)),
		"base64 as text":         []byte(base64.StdEncoding.EncodeToString(p)),
		"UTF-16":                 wide,
	}
	for _, n := range []int{32, 64} {
		for _, pad := range []string{"\x00", "0", "1234567890"} {
			padded := append(bytes.Clone(p), bytes.Repeat([]byte(pad), n)...)[:n]
			forms["padded with "+pad+" to "+string(rune('0'+n/32))] = padded
		}
		if len(p) > 0 {
			forms["repeated to "+string(rune('0'+n/32))] = bytes.Repeat(p, n/len(p)+1)[:n]
		}
	}
	return forms
}

// encodings are the ways to write bytes down. The first is a text as it stands.
var encodings = []func([]byte) string{
	func(b []byte) string { return string(b) },
	hex.EncodeToString,
	base64.StdEncoding.EncodeToString,
	base64.RawURLEncoding.EncodeToString,
	func(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) },
	base64.URLEncoding.EncodeToString,
	base64.RawStdEncoding.EncodeToString,
	func(b []byte) string { return wrap(base64.StdEncoding.EncodeToString(b), 64) },
}

// No form of a sample is a secret, neither bare nor in a key line.
func TestAttack_A47_SampleKeysAreRefused(t *testing.T) {
	t.Parallel()
	phrases := keyring.SamplePhrases()
	if len(phrases) < 500 {
		t.Errorf("the list has %d samples, 500 at least are known", len(phrases))
	}
	refuse := func(what, text string) {
		t.Helper()
		if _, err := keyring.Read(strings.NewReader(text)); err == nil {
			t.Errorf("%s is accepted", what)
		} else if !strings.Contains(err.Error(), "cloakroom key new") && strings.TrimSpace(text) != "" {
			t.Errorf("%s: error does not say what to do: %v", what, err)
		}
	}
	for i, phrase := range phrases {
		if raceEnabled && i%10 > 0 {
			continue // there are no races here, and the detector is slow
		}
		for form, b := range madeOf(phrase) {
			refuse(phrase+", "+form, string(b))
			// All encodings have their turn, each with many a phrase.
			refuse(phrase+", "+form+", encoded", encodings[1+i%7](b))
			if len(b) == 32 {
				refuse(phrase+", "+form+", in a key line", keyOf(t, [32]byte(b)).Text())
			}
		}
		refuse(phrase+", upper case", strings.ToUpper(phrase))
	}
	for _, secret := range keyring.SampleSecrets() {
		b := unhex(t, secret)
		for _, encode := range encodings[1:] {
			refuse(secret, encode(b[:]))
		}
		refuse(secret+", in a key line", keyOf(t, b).Text())
	}
}

// A sample is called what it is.
func TestAttack_A47_SamplesAreNamedAsSuch(t *testing.T) {
	for _, text := range []string{
		"changeme", "CHANGEME", "your-very-secret-key", "my-secret-key", "correct horse battery staple",
		"057ba03d6c44104863dc7361fe4578965d1887360f90a0895882e58a6248fc86", // SHA-256 of changeme
		"09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
		"cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=",
	} {
		_, err := keyring.Read(strings.NewReader(text))
		if err == nil || !strings.Contains(err.Error(), "line 1: secret is published as a sample, everybody knows it; make a key with cloakroom key new") {
			t.Errorf("%s: %v", text, err)
		}
		// Who changes keys does not make a key line of it either.
		if _, err := keyring.ReadKeys(strings.NewReader(text)); err == nil {
			t.Errorf("%s: ReadKeys takes it", text)
		}
	}
}

// What people type in the place of random bytes is refused, in whatever case.
func TestASVS_11_2_3_TypedSecretsAreRefused(t *testing.T) {
	for _, text := range []string{
		"CorrectHorseBatteryStapleCorrectHorseBattery",
		"ThisIsMyVerySecretKeyThatNobodyShouldKnow123",
		"KeepThisSecretKeySafeAndNeverShareItAnywhere",
		"Our-Production-Session-Secret-Key-2026-Cloak",
		"Our_Production_Session_Secret_Key_2026_Cloak",
		"keepthissecretkeysafeandnevershareitanywhere",
		"KEEPTHISSECRETKEYSAFEANDNEVERSHAREITANYWHERE",
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789ab",
		"zyxwvutsrqponmlkjihgfedcbaZYXWVUTSRQPONMLKJIHGFEDCBA987654321000",
		"QwErTyUiOpAsDfGhJkLzXcVbNm1234567890QwErTyUi",
		"qwertyuiopASDFGHJKLzxcvbnm1234567890QWERTYUIOPas",
		"abc123ABC456def789DEF012ghi345GHI678jkl901JK",
		"aB3dE6gH9aB3dE6gH9aB3dE6gH9aB3dE6gH9aB3dE6gH",
		"Xk9Xk9Xk9Xk9Xk9Xk9Xk9Xk9Xk9Xk9Xk9Xk9Xk9Xk9Xk",
		strings.Repeat("Zk81", 11),
		"1234567890123456789012345678901234567890123456789012345678901234",
		"abcdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcd",
		"123456789abcdef0123456789abcdef0fedcba9876543210fedcba9876543210",
		"deadbeefcafebabedeadbeef0badcafedeadbeefcafebabedeadbeef0badcafe",
		"00112233445566778899aabbccddeeffffeeddccbbaa99887766554433221100",
		"8f3a2b1c9d0e7f6a" + strings.Repeat("0", 48),
		"31415926535897932384626433832795028841971693993751058209749445923",
	} {
		_, err := keyring.Read(strings.NewReader(text))
		if err == nil || !strings.Contains(err.Error(), "; make a key with cloakroom key new, or a secret with openssl rand -base64 32") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Random secrets are not refused by mistake, however they are written.
func TestRandomSecretsAreAccepted(t *testing.T) {
	t.Parallel()
	for i := range 3000 {
		if raceEnabled && i%5 > 0 {
			continue // see above
		}
		b := random(32 + i%33)
		if _, err := keyring.Read(strings.NewReader(encodings[1+i%6](b))); err != nil {
			t.Fatalf("%x: %v", b, err)
		}
	}
}
