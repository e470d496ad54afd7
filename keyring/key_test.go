package keyring_test

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

// mustParse returns the key of a line.
func mustParse(t testing.TB, line string) keyring.Key {
	t.Helper()
	k, err := keyring.ParseKey(line)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// secretOf returns the secret bytes of a key.
func secretOf(t testing.TB, k keyring.Key) []byte {
	t.Helper()
	f := strings.Fields(k.Text())
	b, err := base64.RawURLEncoding.DecodeString(f[len(f)-1])
	if err != nil || len(b) != 32 {
		t.Fatalf("text of a key ends with no secret of 32 bytes: %v", err)
	}
	return b
}

func TestGeneratedKeysAreActiveAndDiffer(t *testing.T) {
	before := time.Now().Add(-time.Second)
	seen := make(map[string]bool)
	for range 1000 {
		k := keyring.Generate()
		if k.State() != keyring.Active || !k.Until().IsZero() {
			t.Fatalf("generated key is %v until %v", k.State(), k.Until())
		}
		if c := k.Created(); c.Before(before) || c.After(time.Now()) || c.Location() != time.UTC || c.Nanosecond() != 0 {
			t.Fatalf("generated key was created %v", c)
		}
		if seen[k.Text()] {
			t.Fatal("two generated keys are the same")
		}
		seen[k.Text()] = true
	}
}

func TestKeyTextReadsBack(t *testing.T) {
	until := time.Date(2031, 2, 3, 4, 5, 6, 789, time.FixedZone("", 3600))
	for _, k := range []keyring.Key{
		keyring.Generate(),
		keyring.Generate().AsNext(),
		keyring.Generate().AsRetiring(until),
		keyring.Generate().AsRetiring(until).AsActive(),
	} {
		got := mustParse(t, k.Text())
		if got.Text() != k.Text() || got.ID() != k.ID() || got.State() != k.State() ||
			!got.Until().Equal(k.Until()) || !got.Created().Equal(k.Created()) {
			t.Errorf("a key changed between Text and ParseKey:\n%s\n%s", k.Text(), got.Text())
		}
		if k.State() == keyring.Retiring && !k.Until().Equal(time.Date(2031, 2, 3, 3, 5, 6, 0, time.UTC)) {
			t.Errorf("until is %v", k.Until())
		}
	}
	var zero keyring.Key
	if zero.Text() != "" || zero.ID() != (keyring.KeyID{}) || zero.State() != 0 || zero.State().String() != "none" {
		t.Error("the zero Key has a text, an id or a state")
	}
}

func TestParseKeyTellsTheFaultAndNeverTheLine(t *testing.T) {
	const (
		id      = "02b7c461"
		created = "2026-01-02T03:04:05Z"
		secret  = "JaTqg-EbArufkrokWa1SEBbOGb9OnlMBeS2bvpShSE8"
		canary  = "CanaryCanary"
	)
	line := func(fields ...string) string { return strings.Join(fields, " ") }
	for _, test := range []struct{ name, line, want string }{
		{"nothing", "", "begin with cloakroom-key-v1"},
		{"secret alone", secret, "begin with cloakroom-key-v1"},
		{"newer version", line("cloakroom-key-v2", id, created, "active", secret), "another version"},
		{"other marker", line("cloakroom-key", id, created, "active", secret), "begin with"},
		{"marker in capitals", line("CLOAKROOM-KEY-V1", id, created, "active", secret), "begin with"},
		{"no state", line("cloakroom-key-v1", id, created, secret), "want id, time, state"},
		{"unknown state", line("cloakroom-key-v1", id, created, canary, secret), "want id, time, state"},
		{"state in capitals", line("cloakroom-key-v1", id, created, "Active", secret), "want id, time, state"},
		{"retiring without a time", line("cloakroom-key-v1", id, created, "retiring", secret), "want id, time, state"},
		{"active with a time", line("cloakroom-key-v1", id, created, "active", "until", created, secret), "want id, time, state"},
		{"field too many", line("cloakroom-key-v1", id, created, "active", secret, canary), "want id, time, state"},
		{"no time", line("cloakroom-key-v1", id, canary, "active", secret), "time of making: want a time"},
		{"fraction of a second", line("cloakroom-key-v1", id, "2026-01-02T03:04:05.5Z", "active", secret), "time of making"},
		{"other zone", line("cloakroom-key-v1", id, "2026-01-02T03:04:05+01:00", "active", secret), "time of making"},
		{"impossible day", line("cloakroom-key-v1", id, "2026-02-30T03:04:05Z", "active", secret), "time of making"},
		{"no end", line("cloakroom-key-v1", id, created, "retiring", "until", canary, secret), "end of retiring: want a time"},
		{"short secret", line("cloakroom-key-v1", id, created, "active", secret[:42]), "32 bytes in base64url"},
		{"31 bytes", line("cloakroom-key-v1", id, created, "active", base64.RawURLEncoding.EncodeToString(make([]byte, 31))), "32 bytes"},
		{"33 bytes", line("cloakroom-key-v1", id, created, "active", base64.RawURLEncoding.EncodeToString(make([]byte, 33))), "32 bytes"},
		{"padding", line("cloakroom-key-v1", id, created, "active", secret+"="), "32 bytes in base64url"},
		{"line end in the secret", line("cloakroom-key-v1", id, created, "active", secret[:20]+"\r"+secret[20:]), "32 bytes"},
		{"second spelling", line("cloakroom-key-v1", id, created, "active", secret[:42]+"9"), "32 bytes in base64url"},
		{"other alphabet", line("cloakroom-key-v1", id, created, "active", strings.Replace(secret, "-", "+", 1)), "32 bytes"},
		{"other id", line("cloakroom-key-v1", "12b7c461", created, "active", secret), "do not belong together"},
		{"id in capitals", line("cloakroom-key-v1", "02B7C461", created, "active", secret), "do not belong together"},
		{"no id", line("cloakroom-key-v1", canary, created, "active", secret), "do not belong together"},
	} {
		t.Run(test.name, func(t *testing.T) {
			k, err := keyring.ParseKey(test.line)
			if err == nil || k != (keyring.Key{}) {
				t.Fatalf("accepted as %v", k)
			}
			if !strings.HasPrefix(err.Error(), "keyring: parse key: ") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %q, want it to say %q", err, test.want)
			}
			for _, s := range []string{canary, secret[:12], secret[30:]} {
				if strings.Contains(err.Error(), s) {
					t.Errorf("error %q shows a part of the line", err)
				}
			}
		})
	}
}

// The ID is the checksum of a line: a badly copied secret is another key, and
// would sign everybody out.
func TestEveryFlippedBitOfASecretIsRefused(t *testing.T) {
	k := keyring.Generate()
	f := strings.Fields(k.Text())
	for i := range 32 * 8 {
		b := secretOf(t, k)
		b[i/8] ^= 1 << (i % 8)
		f[4] = base64.RawURLEncoding.EncodeToString(b)
		if _, err := keyring.ParseKey(strings.Join(f, " ")); err == nil {
			t.Fatalf("bit %d of the secret was flipped and the line accepted", i)
		}
	}
	for n := range k.Text() {
		if _, err := keyring.ParseKey(k.Text()[:n]); err == nil {
			t.Fatalf("the first %d bytes of a line were accepted", n)
		}
	}
}

func TestKeyIDReadsBack(t *testing.T) {
	id := keyring.Generate().ID()
	got, err := keyring.ParseKeyID(id.String())
	if err != nil || got != id {
		t.Errorf("ParseKeyID(%q) = %v, %v", id.String(), got, err)
	}
	for _, s := range []string{"", "02b7c4", "02b7c46", "02b7c46100", "02B7C461", "02b7c46g", " 02b7c461", keyring.Generate().Text()} {
		if _, err := keyring.ParseKeyID(s); err == nil || s != "" && strings.Contains(err.Error(), s) {
			t.Errorf("ParseKeyID(%d bytes): %v", len(s), err)
		}
	}
}

// spellings are the forms in which a dump could show the secret.
func spellings(secret []byte) []string {
	decimal := strings.Trim(fmt.Sprint(secret[:6]), "[]")
	var goSyntax []string
	for _, b := range secret[:6] {
		goSyntax = append(goSyntax, fmt.Sprintf("0x%x", b))
	}
	return []string{
		string(secret[:6]),
		decimal,
		strings.ReplaceAll(decimal, " ", ","),
		strings.Join(goSyntax, ", "),
		hex.EncodeToString(secret[:6]),
		strings.ToUpper(hex.EncodeToString(secret[:6])),
		fmt.Sprintf("% x", secret[:6]),
		base64.RawURLEncoding.EncodeToString(secret[:6]),
		base64.StdEncoding.EncodeToString(secret[:6]),
		base64.StdEncoding.EncodeToString([]byte(base64.RawURLEncoding.EncodeToString(secret[:6]))),
	}
}

// Promise 11: no secret leaks, whichever way a key gets into an output.
func TestPromise11_PrintedAndMarshalledKeysShowNoSecret(t *testing.T) {
	k := keyring.Generate()
	ring, err := keyring.New(k, keyring.Generate().AsNext())
	if err != nil {
		t.Fatal(err)
	}
	p := ring.Purpose("test")
	p.Sign(nil)
	type public struct {
		Key   keyring.Key
		Point *keyring.Key
		Ring  *keyring.Ring
		Keys  []keyring.Key
	}
	type private struct {
		key     keyring.Key
		pointer *keyring.Key
		ring    *keyring.Ring
		purpose *keyring.Purpose
		keys    map[string]keyring.Key
	}
	values := map[string]any{
		"key": k, "pointer": &k, "ring": ring, "purpose": p, "infos": ring.Keys(),
		"slice": []keyring.Key{k}, "map": map[string]keyring.Key{"k": k},
		"public":  public{k, &k, ring, []keyring.Key{k}},
		"private": private{k, &k, ring, p, map[string]keyring.Key{"k": k}},
		"error":   fmt.Errorf("bad key: %v", k),
	}
	sinks := map[string]func(w io.Writer, v any){
		"json":     func(w io.Writer, v any) { json.NewEncoder(w).Encode(v) },
		"xml":      func(w io.Writer, v any) { xml.NewEncoder(w).Encode(v) },
		"gob":      func(w io.Writer, v any) { gob.NewEncoder(w).Encode(v) },
		"slogtext": func(w io.Writer, v any) { slog.New(slog.NewTextHandler(w, nil)).Info("m", "v", v) },
		"slogjson": func(w io.Writer, v any) { slog.New(slog.NewJSONHandler(w, nil)).Info("m", "v", v) },
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%o", "%U", "%p", "%8.3v"} {
		sinks[verb] = func(w io.Writer, v any) { fmt.Fprintf(w, verb, v) }
	}
	forms := spellings(secretOf(t, k))
	for vname, v := range values {
		for sname, sink := range sinks {
			var out bytes.Buffer
			sink(&out, v)
			for _, form := range forms {
				if strings.Contains(out.String(), form) {
					t.Errorf("%s of %s shows the secret", sname, vname)
				}
			}
			// Neither is nothing shown: an operator needs to know which key it is.
			if (vname == "key" || vname == "ring") && sname != "gob" && sname != "%p" && !strings.Contains(out.String(), k.ID().String()) {
				t.Errorf("%s of %s shows no id: %s", sname, vname, out.String())
			}
		}
	}
}

func TestKeyAndRingAreShownByTheirID(t *testing.T) {
	k := mustParse(t, "cloakroom-key-v1 02b7c461 2026-01-02T03:04:05Z active JaTqg-EbArufkrokWa1SEBbOGb9OnlMBeS2bvpShSE8")
	ring := keyring.NewUnjudged(k)
	j, err := json.Marshal(map[string]any{"key": k, "ring": ring, "keys": ring.Keys()})
	if err != nil {
		t.Fatal(err)
	}
	for got, want := range map[string]string{
		k.String():                               "key:02b7c461",
		k.GoString():                             "key:02b7c461",
		fmt.Sprintf("%#v", k):                    "key:02b7c461",
		k.LogValue().String():                    "key:02b7c461",
		ring.String():                            "keyring:02b7c461",
		ring.GoString():                          "keyring:02b7c461",
		fmt.Sprintf("%x", ring):                  "keyring:02b7c461",
		ring.LogValue().String():                 "keyring:02b7c461",
		fmt.Sprint(keyring.Key{}):                "key:none",
		fmt.Sprint(new(keyring.Ring)):            "keyring:none",
		fmt.Sprint((*keyring.Ring)(nil)):         "keyring:none",
		fmt.Sprint(keyring.Next, keyring.Active): "next active",
		string(j):                                `{"key":"key:02b7c461","keys":[{"ID":"02b7c461","Created":"2026-01-02T03:04:05Z","State":"active","Until":"0001-01-01T00:00:00Z"}],"ring":"keyring:02b7c461"}`,
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
