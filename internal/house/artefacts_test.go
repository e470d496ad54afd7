package house_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

var (
	// keyLine is a key as a key file has it.
	keyLine = regexp.MustCompile(`cloakroom-key-v[0-9]+[ \t]+[0-9a-f]{8}[ \t][^"'\n]{0,80}?[ \t][A-Za-z0-9_-]{43}`)

	// bareSecret is one of 32 bytes in hexadecimal or base64, by itself.
	bareSecret = regexp.MustCompile(`(?:^|[^A-Za-z0-9_+/-])([0-9a-fA-F]{64}|[A-Za-z0-9_+/-]{43}=?)(?:$|[^A-Za-z0-9_+/=-])`)
)

// usable returns the secrets in a text that a service would run on: key lines, and where
// they are asked for bare ones.
func usable(text []byte, bare bool) (found []string) {
	takes := func(s string) bool {
		_, err := keyring.Read(strings.NewReader(s))
		return err == nil
	}
	for _, line := range keyLine.FindAllString(string(text), -1) {
		k, err := keyring.ParseKey(line)
		if err != nil {
			continue // the secret of a line that is wrong is looked at below
		}
		if _, err := keyring.New(k.AsActive()); err == nil {
			found = append(found, line)
		}
	}
	if !bare {
		return found
	}
	for _, m := range bareSecret.FindAllSubmatch(text, -1) {
		if s := string(m[1]); takes(s) {
			found = append(found, s)
		}
	}
	return found
}

// TestASVS_13_3_1_NoKeyInTheRepository: what looks like a key in the repository, its
// tests and golden files is one that every ring refuses, but for what is told here. Tests
// and their data are full of hashes of that length: there, key lines alone are looked for.
func TestASVS_13_3_1_NoKeyInTheRepository(t *testing.T) {
	told := map[string]string{
		"csrf/testdata/v1.golden": "tokens of the first version, which a ring has to verify for ever",
		"testdata/v1.json":        "likewise, cookies and records",
		"testdata/sealed-v1.json": "likewise, sealed sessions",
	}
	files, lines := 0, 0
	top := root(t)
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(top, path)
		if d.IsDir() {
			if d.Name() == ".git" || strings.HasPrefix(d.Name(), "cloakroom-data") || d.Name() == "node_modules" {
				return filepath.SkipDir
			}
			return nil
		}
		if d.Name() == "go.sum" || !d.Type().IsRegular() {
			return nil // sums of modules
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		lines += len(keyLine.FindAll(text, -1))
		inTests := strings.HasSuffix(name, "_test.go") || slices.Contains(strings.Split(name, string(filepath.Separator)), "testdata")
		for _, secret := range usable(text, !inTests) {
			if told[filepath.ToSlash(name)] == "" {
				t.Errorf("%s holds %.10s… of %d characters, which a ring takes for a key: make it at test time, or add it to those that are refused", name, secret, len(secret))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 500 || lines < 20 {
		t.Errorf("only %d files, %d key lines", files, lines)
	}
	// What the search is for, it finds.
	k := keyring.Generate().Text()
	bare := k[strings.LastIndexByte(k, ' ')+1:]
	for _, text := range []string{k, "KEYS='" + k + "'", `{"key": "` + k + `\n"}`, bare, "SECRET_KEY=" + bare + "=\n", "key: \"" + bare + "\""} {
		if !slices.ContainsFunc(usable([]byte(text), true), func(s string) bool { return strings.Contains(s, bare) }) {
			t.Errorf("not found in %d characters", len(text))
		}
	}
}
