package agekeys_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/keyring/agekeys"
)

// TestPromise11_FaultsShowNothing: each fault of what is read has its line, with what to
// do, and no piece of what was read.
func TestPromise11_FaultsShowNothing(t *testing.T) {
	id, other, pq := x25519(t), x25519(t), hybrid(t)
	line := keyring.Generate().Text()
	sealed := encrypt(t, []byte(line), false, id.Recipient())
	armored := encrypt(t, []byte(line), true, id.Recipient())
	locked := encrypt(t, []byte(line), false, byPassword(t, password, 10))
	costly := encrypt(t, []byte(line), false, byPassword(t, password, 11))
	change := func(b []byte, old, new string) []byte {
		if !bytes.Contains(b, []byte(old)) {
			t.Fatalf("no %q in it", old)
		}
		return bytes.Replace(b, []byte(old), []byte(new), 1)
	}
	flip := func(b []byte, at int) []byte {
		b = bytes.Clone(b)
		b[at] ^= 1
		return b
	}
	mine, pass := id.String()+"\n", password
	for _, tc := range []struct {
		name       string
		sealed     []byte
		identities string // "": there is a passphrase
		passphrase string
		want       string
	}{
		{"other identity", sealed, other.String() + "\n" + pq.String(), "", "none of the identities opens the keys"},
		{"other passphrase", locked, "", "x", "the passphrase is wrong"},
		{"a space too many", locked, "", pass + " ", "the passphrase is wrong"},
		{"identity for a passphrase", locked, mine, "", "give a passphrase file"},
		{"passphrase for an identity", sealed, "", pass, "give an identity file"},
		{"work factor", costly, "", pass, "work factor is over 10"},
		{"work factor of nonsense", change(costly, " 11\n", " 99999999999999999999\n"), "", pass, "work factor is over 10"},
		{"work factor below", change(costly, " 11\n", " 0\n"), "", pass, "cut off or changed"},
		{"work factor changed", change(locked, " 10\n", " 9\n"), "", pass, "the passphrase is wrong"},
		{"not encrypted", []byte(line), mine, "", "the keys are not encrypted"},
		{"not encrypted, after comments", []byte("# mine\n" + line), mine, "", "the keys are not encrypted"},
		{"no age file", []byte(password), mine, "", "not encrypted with age"},
		{"another file", append([]byte("\x7fELF"), password...), mine, "", "not encrypted with age"},
		{"identity for keys", []byte(id.String()), mine, "", "not encrypted with age"},
		{"empty", []byte(" \n"), mine, "", "is empty"},
		{"another version", change(sealed, "/v1", "/v2"), mine, "", "another version"},
		{"too large", bytes.Repeat(sealed, 3000), mine, "", "more than 256 KiB"},
		{"too much in it", encrypt(t, make([]byte, 70<<10), false, id.Recipient()), mine, "", "more than 64 KiB"},
		{"intro cut", sealed[:10], mine, "", "cut off or changed"},
		{"header cut", sealed[:60], mine, "", "cut off or changed"},
		{"header without keys", sealed[:bytes.Index(sealed, []byte("---"))], mine, "", "cut off or changed"},
		{"nonce cut", sealed[:len(sealed)-len(line)-20], mine, "", "cut off or changed"},
		{"end cut", sealed[:len(sealed)-1], mine, "", "cut off or changed"},
		{"payload changed", flip(sealed, len(sealed)-1), mine, "", "cut off or changed"},
		{"MAC changed", change(sealed, "--- ", "--- AAAA"), mine, "", "cut off or changed"},
		{"something behind", append(bytes.Clone(sealed), password...), mine, "", "cut off or changed"},
		{"armor cut", armored[:len(armored)-40], mine, "", "the armor"},
		{"armor of something else", []byte("-----BEGIN PRIVATE KEY-----\n" + password), mine, "", "the armor"},
		{"armor with garbage", change(armored, "YWdl", "YW!l"), mine, "", "the armor"},
		{"armor around something else", []byte("-----BEGIN AGE ENCRYPTED FILE-----\naHVudGVyMmh1bnRlcjI=\n-----END AGE ENCRYPTED FILE-----\n"), mine, "", "not encrypted with age"},
		{"no identity", sealed, "# none\n", "", "there is no identity"},
		{"no such identity", sealed, "# mine\n" + password, "", "identity file: line 2: no identity"},
		{"a recipient for an identity", sealed, id.Recipient().String(), "", "line 1: no identity"},
		{"an identity cut", sealed, mine[:40], "", "line 1: an identity that was cut"},
		{"a plugin", sealed, "AGE-PLUGIN-YUBIKEY-1Q" + password, "", "line 1: an identity of a plugin"},
		{"SSH", sealed, "-----BEGIN OPENSSH PRIVATE KEY-----\n" + password, "", "an SSH key that was cut or changed"},
		{"identities encrypted", sealed, string(encrypt(t, []byte(mine), true, id.Recipient())), "", "the identities are encrypted themselves"},
		{"identities encrypted, binary", sealed, string(encrypt(t, []byte(mine), false, id.Recipient())), "", "the identities are encrypted themselves"},
		{"no passphrase", locked, "", "\n", "passphrase file: it is empty"},
	} {
		o := agekeys.Options{MaxWorkFactor: 10}
		if tc.identities != "" {
			o.IdentityFile = save(t, "identities", []byte(tc.identities))
		} else {
			o.PassphraseFile = save(t, "passphrase", []byte(tc.passphrase))
		}
		src, err := agekeys.New(&memory{tc.sealed}, &o)
		if err != nil {
			t.Fatal(err)
		}
		_, err = src.Read(t.Context())
		switch {
		case err == nil:
			t.Errorf("%s: no error", tc.name)
		case !strings.Contains(err.Error(), tc.want):
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		case strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "agekeys: "):
			t.Errorf("%s: not one line of ours: %v", tc.name, err)
		}
		if err != nil {
			for _, secret := range []string{"hunter2", line[60:], id.String()[20:], "AAAA"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%s: shows what it has read: %v", tc.name, err)
				}
			}
		}
	}
}

// A work factor that is too high costs nothing at all.
func TestCostlyPassphrasesAreNotTried(t *testing.T) {
	sealed := encrypt(t, []byte("x"), false, byPassword(t, password, 10))
	sealed = bytes.Replace(sealed, []byte(" 10\n"), []byte(" 19\n"), 1)
	src, err := agekeys.New(&memory{sealed}, &agekeys.Options{PassphraseFile: save(t, "passphrase", []byte(password))})
	if err != nil {
		t.Fatal(err)
	}
	agekeys.Turns <- struct{}{}
	defer func() { <-agekeys.Turns }()
	if _, err := src.Read(t.Context()); err == nil || !strings.Contains(err.Error(), "work factor is over 18") {
		t.Error(err)
	}
}

// TestASVS_13_3_1_FilesAreNobodyElses: what opens the keys is read by its owner alone,
// and what is encrypted is changed by its owner alone.
func TestASVS_13_3_1_FilesAreNobodyElses(t *testing.T) {
	id := x25519(t)
	keys := save(t, "keys.age", encrypt(t, []byte("x"), false, id.Recipient()))
	identity := save(t, "identity", []byte(id.String()))
	for mode, want := range map[os.FileMode]string{
		0o600: "", 0o400: "", 0o640: "identity file: ", 0o604: "identity file: ", 0o620: "identity file: ", 0o602: "identity file: ",
	} {
		if err := os.Chmod(identity, mode); err != nil {
			t.Fatal(err)
		}
		_, err := open(t, keys+"?identity-file="+identity).Read(t.Context())
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "run chmod 600")) {
			t.Errorf("identity of mode %04o: %v", mode, err)
		}
	}
	if err := os.Chmod(identity, 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, ok := range map[os.FileMode]bool{0o600: true, 0o644: true, 0o664: false, 0o646: false} {
		if err := os.Chmod(keys, mode); err != nil {
			t.Fatal(err)
		}
		_, err := open(t, keys+"?identity-file="+identity).Read(t.Context())
		if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "run chmod go-w") {
			t.Errorf("keys of mode %04o: %v", mode, err)
		}
	}
	// Only where the keys are missing is there nothing.
	if _, err := open(t, keys+"x?identity-file="+identity).Read(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not fs.ErrNotExist", err)
	}
	if _, err := open(t, keys+"?identity-file="+identity+"x").Read(t.Context()); errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is fs.ErrNotExist", err)
	}
	for place, want := range map[string]string{
		keys + "x?identity-file=" + identity:       "make them with: cloakroom key new | age",
		keys + "?identity-file=" + identity + "x":  "there is no such file as identity-file says",
		t.TempDir() + "?identity-file=" + identity: "regular file",
	} {
		if err := os.Chmod(keys, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := open(t, place).Read(t.Context()); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestASVS_16_2_5_NoSecretInThePlaceOfAPath: who writes the passphrase itself into a place
// does not find it in a log.
func TestASVS_16_2_5_NoSecretInThePlaceOfAPath(t *testing.T) {
	keys := save(t, "keys.age", []byte("sealed"))
	for param, want := range map[string]string{
		"passphrase-file=hunter2-hunter2":                                      "there is no such file as passphrase-file says; write its path",
		"identity-file=hunter2-hunter2":                                        "there is no such file as identity-file says; write its path",
		"passphrase-file=" + strings.Repeat("hunter2", 100):                    "what passphrase-file says cannot be read",
		"passphrase-file=" + strings.ReplaceAll(keys, "%", "%25") + "/hunter2": "what passphrase-file says cannot be read",
	} {
		_, err := open(t, keys+"?"+param).Read(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %q", param, err, want)
		}
	}
}

func TestOpenNamesEveryFault(t *testing.T) {
	for place, want := range map[string][]string{
		"":                                       {"no path", ""},
		"keys":                                   {"nothing says what opens the keys"},
		"keys?":                                  {"nothing says"},
		"keys?identity-file=a&passphrase-file=b": {"both an identity file and a passphrase file"},
		"keys?passphrase-file=b&recipients-file=c": {"a passphrase goes with no other recipient"},
		"keys?identity-file=":                      {"parameter identity-file: write it once", ""},
		"keys?identity-file=a&identity-file=b":     {"parameter identity-file: write it once"},
		"?hunter2=hunter2&passphrase=x":            {"no path", "unknown parameter", "unknown parameter", "nothing says what opens the keys"},
		"?passphrase-file=b&recipients-file=c":     {"no path", "a passphrase goes with no other recipient"},
		"keys?identity-file=%zz":                   {"parameter identity-file"},
		"keys?identity-file=a%0ab":                 {"parameter identity-file"},
		"ke%00ys?identity-file=a":                  {"no path"},
		"//host/keys?identity-file=a":              {"no path"},
	} {
		_, err := agekeys.Open(place, nil)
		if err == nil {
			t.Errorf("%q is taken", place)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: shows it: %v", place, err)
		}
		lines := strings.Split(err.Error(), "\n")
		if want[len(want)-1] == "" {
			want = want[:len(want)-1] // there may be more
		} else if len(lines) != len(want) {
			t.Errorf("%q: %d lines, want %d: %v", place, len(lines), len(want), err)
			continue
		}
		for i, w := range want {
			if !strings.Contains(lines[i], w) || !strings.HasPrefix(lines[i], "agekeys: ") {
				t.Errorf("%q: line %d: %q, want %q", place, i, lines[i], w)
			}
		}
	}
	_, err := agekeys.Open("?identity-file=a", &agekeys.Options{MaxWorkFactor: 23, PassphraseFile: "b"})
	for _, want := range []string{"no path", "both an identity file and a passphrase file", "work factor has to be from 1 to 22"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := agekeys.Open("keys", &agekeys.Options{IdentityFile: "a"}); err != nil {
		t.Error(err)
	}
}

func TestContextsAreHonoured(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	id := x25519(t)
	src := open(t, save(t, "k", encrypt(t, []byte("x"), false, id.Recipient()))+"?identity-file="+save(t, "i", []byte(id.String())))
	if _, err := src.Read(ctx); err == nil {
		t.Error("read")
	}
	if err := src.Write(ctx, []byte("x"), []byte("y")); err == nil {
		t.Error("written")
	}
}

func FuzzRead(f *testing.F) {
	text, err := os.ReadFile("testdata/identities")
	if err != nil {
		f.Fatal(err)
	}
	path := f.TempDir() + "/identities"
	if err := os.WriteFile(path, text, 0o600); err != nil {
		f.Fatal(err)
	}
	for _, name := range []string{"x25519.age", "x25519.asc", "hybrid.age", "passphrase.age"} {
		b, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("age-encryption.org/v1\n-> X25519 a\n\n--- b\n"))
	f.Fuzz(func(t *testing.T, sealed []byte) {
		src, err := agekeys.New(&memory{sealed}, &agekeys.Options{IdentityFile: path})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := src.Read(t.Context()); err != nil && (strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "agekeys: ")) {
			t.Errorf("not one line of ours: %q", err)
		}
	})
}

func FuzzOpen(f *testing.F) {
	f.Add("keys.age?identity-file=a&recipients-file=b")
	f.Add("keys.age?passphrase-file=%2frun")
	f.Add("?&=&")
	f.Fuzz(func(t *testing.T, place string) {
		const canary = "Kn4tterbox"
		src, err := agekeys.Open(strings.ReplaceAll(place, "K", canary), nil)
		if (src == nil) == (err == nil) {
			t.Fatalf("%v, %v", src, err)
		}
		if err != nil && strings.Contains(err.Error(), canary) {
			t.Errorf("shows what it was given: %v", err)
		}
	})
}
