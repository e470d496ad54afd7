package keyring_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

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

// What can be guessed is refused in every form in which a key is read; what can be, is
// for package guessable to tell.
func TestAttack_A47_GuessableKeysAreRefusedInEveryForm(t *testing.T) {
	for name, b := range map[string][32]byte{
		"SHA-256 of a sample": sha256.Sum256([]byte("changeme")), "a series": unhex(t, strings.Repeat("0001020304050607", 4)),
		"a phrase": fill("correct horse battery staple. "), "a guide's": unhex(t, "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7"),
	} {
		forms := map[string]string{"a key line": keyOf(t, b).Text()}
		for i, encode := range encodings[1:] {
			forms[string(rune('1'+i))] = encode(b[:])
		}
		for form, text := range forms {
			if _, err := keyring.Read(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), "cloakroom key new") {
				t.Errorf("%s, as %s: %v", name, form, err)
			}
		}
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
	for i := range 600 {
		if raceEnabled && i%5 > 0 {
			continue // see above
		}
		b := random(32 + i%33)
		if _, err := keyring.Read(strings.NewReader(encodings[1+i%6](b))); err != nil {
			t.Fatalf("%x: %v", b, err)
		}
	}
}
