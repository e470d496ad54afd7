package main_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

// sampleKeyLines writes each phrase of testdata/samplekeys.txt in the shapes in
// which people make 32 bytes of it, as lines like the good one.
func sampleKeyLines(t *testing.T, good string) []string {
	t.Helper()
	f, err := os.Open("testdata/samplekeys.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	phrases := 0
	var lines []string
	for sc := bufio.NewScanner(f); sc.Scan(); {
		phrase := sc.Text()
		if phrase == "" || phrase[0] == '#' {
			continue
		}
		phrases++
		for _, secret := range shapes(phrase) {
			lines = append(lines, keyLine(good, secret))
		}
		// And as it is: no key line at all, or too short a secret.
		lines = append(lines, phrase, good[:strings.LastIndexByte(good, ' ')+1]+base64.RawURLEncoding.EncodeToString([]byte(phrase)))
	}
	if phrases < 100 || len(lines) < 500 {
		t.Fatalf("only %d phrases, %d lines", phrases, len(lines))
	}
	return lines
}

// shapes are 32 bytes each.
func shapes(phrase string) (all [][32]byte) {
	if raw, err := hex.DecodeString(phrase); err == nil && len(raw) == 32 {
		return [][32]byte{[32]byte(raw)} // bytes that only look random
	}
	padded := func(with byte) (secret [32]byte) {
		for i := range secret {
			secret[i] = with
		}
		copy(secret[:], phrase)
		return secret
	}
	repeated := padded(0)
	for i := range repeated {
		repeated[i] = phrase[i%len(phrase)]
	}
	all = append(all, padded(0), padded(' '), padded('='), padded('0'), repeated,
		sha256.Sum256([]byte(phrase)), sha256.Sum256([]byte(phrase+"\n")))
	asHex := hex.EncodeToString([]byte(phrase))
	asHex += strings.Repeat("0", max(0, 32-len(asHex)))
	return append(all, [32]byte([]byte(asHex)[:32]))
}

// keyLine is a line that is right in all but its secret.
func keyLine(good string, secret [32]byte) string {
	part := strings.Fields(good)
	id := sha256.Sum256(append([]byte("cloakroom key id\x00"), secret[:]...))
	part[1] = hex.EncodeToString(id[:4])
	part[len(part)-1] = base64.RawURLEncoding.EncodeToString(secret[:])
	return strings.Join(part, " ")
}

// The lines of this test are refused for their secret, and not because they are
// written in a wrong way.
func TestAttack_A47_TheCorpusIsWellWritten(t *testing.T) {
	code, good := command(t, t.TempDir(), "key", "new")
	if code != 0 {
		t.Fatal(good)
	}
	good = strings.TrimSpace(good)
	secret, err := base64.RawURLEncoding.DecodeString(good[strings.LastIndexByte(good, ' ')+1:])
	if err != nil || keyLine(good, [32]byte(secret)) != good {
		t.Errorf("%v: %s", err, keyLine(good, [32]byte(secret)))
	}
	lines := sampleKeyLines(t, good)
	slices.Sort(lines)
	if n := len(slices.Compact(lines)); n < 500 {
		t.Errorf("only %d different lines", n)
	}
}

// The keys that guides and defaults show are refused, one by one, in each shape in
// which they may stand in a key file; so is what is too short, and a file that is
// not there.
func TestAttack_A47_TheServiceStartsWithNoSampleKey(t *testing.T) {
	t.Parallel()
	good := func() string {
		code, out := command(t, t.TempDir(), "key", "new")
		if code != 0 {
			t.Fatal(out)
		}
		return strings.TrimSpace(out)
	}()
	lines := sampleKeyLines(t, good)
	dir := t.TempDir()
	file := filepath.Join(dir, "keys")
	for i, line := range lines {
		if _, err := keyring.Read(strings.NewReader(line)); err == nil {
			t.Errorf("%q is taken", line)
		}
		if i%48 != 0 && i > 10 && i < len(lines)-6 {
			continue // a start takes its time
		}
		if err := os.WriteFile(file, []byte(line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		code, out := command(t, dir, "serve", "--listen=127.0.0.1:0", "--keys=file:"+file)
		if code != 2 || strings.Contains(out, "ready") || !strings.Contains(out, "key") || strings.Count(out, "\n") != 1 {
			t.Errorf("%q: exit code %d: %s", line, code, out)
		}
		if secret := line[strings.LastIndexByte(line, ' ')+1:]; len(secret) > 8 && strings.Contains(out, secret) {
			t.Errorf("the key is told: %s", out)
		}
	}
	// The same line with a key that was made is taken.
	if err := os.WriteFile(file, []byte(good+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, dir, "--keys=file:"+file).setup()
	if code, out := command(t, dir, "serve", "--listen=127.0.0.1:0", "--keys=file:"+dir+"/nowhere/keys"); code == 0 || strings.Count(out, "\n") != 1 {
		t.Errorf("a key file that is not there: exit code %d: %s", code, out)
	}
}
