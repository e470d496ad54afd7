package keysource_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keysource"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// environ returns a function that finds variables in a list of names and values.
func environ(kv ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := 0; i < len(kv); i += 2 {
			if kv[i] == name {
				return kv[i+1], true
			}
		}
		return "", false
	}
}

var line = keyring.Generate().Text()

func TestPlaces(t *testing.T) {
	lookup := environ("SECRET_KEYS", line, "VAULT_ADDR", "https://vault.example:8200", "VAULT_TOKEN", "hvs.hunter2hunter2")
	for _, tc := range []struct {
		text, scheme, name, path string
		interval                 time.Duration
		writable                 bool
		files                    []string
	}{
		{"file:a b/keys", keysource.File, "file:a b/keys", "a b/keys", time.Second, true, []string{"a b/keys"}},
		{"file:/etc/cloakroom/00000000-0000-0000-0000-000000000000", keysource.File, "file:/etc/cloakroom/00000000-0000-0000-0000-000000000000", "/etc/cloakroom/00000000-0000-0000-0000-000000000000", time.Second, true, []string{"/etc/cloakroom/00000000-0000-0000-0000-000000000000"}},
		{"env:SECRET_KEYS", keysource.Env, "env:SECRET_KEYS", "", 0, false, nil},
		{"dotenv:.env#KEYS", keysource.Dotenv, "dotenv:.env#KEYS", "", time.Second, true, []string{".env"}},
		{"age:keys.age?identity-file=/run/id", keysource.Age, "age:keys.age", "", time.Second, true, []string{"/run/id"}},
		{"age:keys.age?passphrase-file=p", keysource.Age, "age:keys.age", "", time.Second, true, []string{"p"}},
		{"vault:secret/cloakroom", keysource.Vault, "vault:https://vault.example:8200/secret/cloakroom#keys", "", time.Minute, true, nil},
		{"vault:secret/cloakroom?token-file=/run/token", keysource.Vault, "vault:https://vault.example:8200/secret/cloakroom#keys", "", time.Minute, true, []string{"/run/token"}},
		{"aws-sm:MyCompany-Production-Session-Keys-Europe-1-x?region=eu-central-1#KEYS", keysource.AWS, "aws-sm:MyCompany-Production-Session-Keys-Europe-1-x?region=eu-central-1#KEYS", "", time.Minute, true, nil},
		{"aws-sm:keys?region=eu-central-1&version-stage=AWSPREVIOUS", keysource.AWS, "aws-sm:keys?region=eu-central-1&version-stage=AWSPREVIOUS", "", time.Minute, false, nil},
		{"gcp-sm:projects/p/secrets/s", keysource.GCP, "gcp-sm:projects/p/secrets/s", "", time.Minute, true, nil},
		{"gcp-sm:projects/p/secrets/s/versions/latest#f", keysource.GCP, "", "", time.Minute, true, nil},
		{"gcp-sm:projects/p/secrets/s/versions/3", keysource.GCP, "", "", time.Minute, false, nil},
	} {
		p, err := keysource.Parse(tc.text, lookup)
		if err != nil {
			t.Errorf("%s: %v", tc.text, err)
			continue
		}
		if tc.name != "" && p.String() != tc.name || p.Scheme != tc.scheme || p.Path() != tc.path || p.Interval() != tc.interval ||
			p.Writable() != tc.writable || !slices.Equal(p.Files(), tc.files) || p.Remote() != (tc.interval == time.Minute) {
			t.Errorf("%s: %s %s %q %v %v %v", tc.text, p.Scheme, p, p.Path(), p.Interval(), p.Writable(), p.Files())
		}
		src, err := p.Open()
		if err != nil {
			t.Errorf("%s: %v", tc.text, err)
		}
		for _, v := range []any{p, &p, src, struct{ P keysource.Place }{p}} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
				if got := fmt.Sprintf(verb, v); strings.Contains(got, line) || strings.Contains(got, "hunter2") || strings.Contains(got, fmt.Sprintf("%x", "hunter2")) {
					t.Errorf("%s: %s prints %s", tc.text, verb, got)
				}
			}
		}
	}
	if p, err := keysource.FromFile("/run/secrets/keys"); err != nil || p.Path() != "/run/secrets/keys" || p.Scheme != keysource.Mounted || p.Writable() || p.String() != "mounted file:/run/secrets/keys" {
		t.Errorf("%v, %v", p, err)
	}
	// Behind a directory a key may be a name. It is not shown, there or where it is missing.
	const hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	for _, text := range []string{"file:/nonexistent/" + hash, "file:./" + hash} {
		p, err := keysource.Parse(text, lookup)
		if err != nil || strings.Contains(p.String(), hash) || !strings.Contains(p.Path(), hash) {
			t.Errorf("%v, %v", p, err)
			continue
		}
		src, err := p.Open()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := keyring.Load(t.Context(), src); err == nil || strings.Contains(err.Error(), hash) {
			t.Errorf("%v", err)
		}
	}
	for text, want := range map[string]string{"env:SECRET_KEYS": "SECRET_KEYS", "dotenv:a#b/.env#KEYS": "KEYS", "file:a#b": ""} {
		if p, err := keysource.Parse(text, lookup); err != nil || p.Name() != want {
			t.Errorf("%s: %q, %v", text, p.Name(), err)
		}
	}
	if p := keysource.InFile("d/keys"); p.Path() != "d/keys" || p.String() != "file:d/keys" || !p.Writable() {
		t.Errorf("%v", p)
	}
	if _, err := (keysource.Place{}).Open(); err == nil || (keysource.Place{}).Writable() || (keysource.Place{}).Files() != nil {
		t.Error("no place is opened")
	}
}

// TestPromise12_EveryFaultOfAPlace: all faults at once, a line each, and nothing of what
// was given.
func TestPromise12_EveryFaultOfAPlace(t *testing.T) {
	bare := line[strings.LastIndexByte(line, ' ')+1:]
	const slashed = "xTbq0J0yI/bZr3FhX2mC5+Q8sVtW1/YaZkLdEfGhIjK="
	const hex = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	for _, tc := range []struct {
		text string
		want []string
	}{
		{"hunter2hunter2", []string{"no scheme: for a file write file:PATH; this version takes file:PATH, env:NAME"}},
		{"hunter2:hunter2", []string{"not supported: this version takes file:PATH, env:NAME"}},
		{"keys-file:hunter2", []string{"not supported"}},
		{"FILE:hunter2", []string{"not supported"}},
		{line, []string{"a key itself"}},
		{bare, []string{"a key itself"}},
		{hex, []string{"a key itself"}},
		{"file:" + hex, []string{"a key itself"}},
		{"file:" + line, []string{"a key itself"}},
		{"env:" + bare, []string{"a key itself"}},
		{"dotenv:.env#" + strings.ReplaceAll(bare, "-", "_"), []string{"a key itself"}},
		{"vault:" + line, []string{"a key itself"}},
		{"file:" + slashed, []string{"a key itself"}},
		{"file:/" + slashed[1:], []string{"a key itself"}},
		{"dotenv:" + slashed + "#X", []string{"a key itself"}},
		{"age:" + slashed + "?identity-file=id", []string{"a key itself"}},
		{slashed, []string{"a key itself"}},
		{"age:k?identity-file=AGE-SECRET-KEY-1HUNTER2", []string{"a key itself"}},
		{"age:k?identity=" + bare, []string{"a key itself"}},
		{"file:", []string{"no path: write file:PATH"}},
		{"file://hunter2", []string{"no path"}},
		{"file:a\nhunter2", []string{"no path"}},
		{"env:", []string{"no name of a variable"}},
		{"env:hunter2 hunter2", []string{"no name of a variable"}},
		{"env:hunter2hunter2", []string{"the variable that it names is not set"}},
		{"file:postgres://app:hunter2@db.example.org/app", []string{"takes the path of a file, and this looks like a URL"}},
		{"dotenv:https://u:hunter2@h/.env#KEYS", []string{"takes the path of a file, and this looks like a URL"}},
		{"age:https://u:hunter2@h/keys?identity-file=id", []string{"takes the path of a file, and this looks like a URL"}},
		{"file:active " + bare, []string{"a key itself"}},
		{"file:x:" + bare, []string{"a key itself"}},
		{"age:k?identity-file=age-secret-key-1hunter2", []string{"a key itself"}},
		{"dotenv:hunter2", []string{"no name: write PATH#NAME"}},
		{"dotenv:#hunter2-", []string{"no path", "behind the #"}},
		{"age:hunter2", []string{"nothing says what opens the keys"}},
		{"age:?hunter2=hunter2", []string{"no path", "unknown parameter", "nothing says what opens the keys"}},
	} {
		_, err := keysource.Parse(tc.text, environ())
		if err == nil {
			t.Errorf("%q is taken", tc.text)
			continue
		}
		lines := strings.Split(err.Error(), "\n")
		if len(lines) != len(tc.want) {
			t.Errorf("%q: %d lines, want %d: %v", tc.text, len(lines), len(tc.want), err)
			continue
		}
		for i, want := range tc.want {
			if !strings.HasPrefix(lines[i], want) && !strings.Contains(lines[i], want) {
				t.Errorf("%q: line %d: %q, want %q", tc.text, i+1, lines[i], want)
			}
		}
		for _, secret := range []string{"hunter2", bare, hex, "HUNTER2", slashed[20:]} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%q: shows it: %v", tc.text, err)
			}
		}
	}
	if _, err := keysource.FromFile(line); err == nil || strings.Contains(err.Error(), bare) {
		t.Error(err)
	}
	for _, text := range []string{slashed, "env:" + slashed, "vault:" + slashed, "02b7c461 2026-01-02T03:04:05Z active " + slashed, "redis://:" + slashed[20:] + "@h"} {
		if _, err := keysource.FromFile(text); err == nil || strings.Contains(err.Error(), slashed[20:]) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := keysource.FromFile(""); err == nil {
		t.Error("a mounted file without a path")
	}
}

// The faults of places at managers of secrets come without the names of packages, and
// all of them.
func TestFaultsOfManagers(t *testing.T) {
	for _, text := range []string{"vault:", "aws-sm:", "gcp-sm:", "vault:?auth=hunter2", "aws-sm:hunter2 hunter2?region=hunter2", "gcp-sm:hunter2?x=hunter2"} {
		_, err := keysource.Parse(text, environ())
		if err == nil {
			t.Errorf("%q is taken", text)
			continue
		}
		for l := range strings.SplitSeq(err.Error(), "\n") {
			if l == "" || strings.Contains(l, "hunter2") || strings.HasPrefix(l, "vault: ") || strings.HasPrefix(l, "awssecrets: ") || strings.HasPrefix(l, "gcpsecrets: ") {
				t.Errorf("%q: %q", text, l)
			}
		}
	}
}

// The environment is that of the command, not of the process.
func TestReadsTheGivenEnvironment(t *testing.T) {
	k := keyring.Generate()
	t.Setenv("SECRET_KEYS", keyring.Generate().Text())
	p, err := keysource.Parse("env:SECRET_KEYS", environ("SECRET_KEYS", k.Text()))
	if err != nil {
		t.Fatal(err)
	}
	src, err := p.Open()
	if err != nil {
		t.Fatal(err)
	}
	if ring, err := keyring.Load(t.Context(), src); err != nil || ring.Active() != k.ID() {
		t.Errorf("%v, %v", ring, err)
	}
}

func TestReadsFiles(t *testing.T) {
	k := keyring.Generate()
	dir := t.TempDir()
	for name, text := range map[string]string{"keys": k.Text(), ".env": "KEYS=" + k.Text()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mounted, err := keysource.FromFile(filepath.Join(dir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	places := []keysource.Place{mounted}
	for _, text := range []string{"file:" + dir + "/keys", "dotenv:" + dir + "/.env#KEYS"} {
		p, err := keysource.Parse(text, environ())
		if err != nil {
			t.Fatal(err)
		}
		places = append(places, p)
	}
	for _, p := range places {
		src, err := p.Open()
		if err != nil {
			t.Fatal(err)
		}
		if ring, err := keyring.Load(t.Context(), src); err != nil || ring.Active() != k.ID() {
			t.Errorf("%v: %v, %v", p, ring, err)
		}
	}
}

func TestVariable(t *testing.T) {
	for text, want := range map[string]string{"env:A_1": "A_1", "env:": "", "env:A-B": "", "file:A": "", "A": ""} {
		if name, ok := keysource.Variable(text); ok != (want != "") || ok && name != want {
			t.Errorf("%q: %q, %v", text, name, ok)
		}
	}
}

// FuzzParse: whatever is given for a place, no fault shows a piece of it.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"file:Q", "env:Q", "dotenv:Q#Q", "age:Q?identity-file=Q", "age:Q?Q=Q", "vault:https://Q:Q@h/Q/Q?auth=Q#Q", "vault:Q/Q?role-id=Q",
		"aws-sm:arn:Q#Q", "aws-sm:Q?region=Q", "gcp-sm:projects/Q/secrets/Q?endpoint=https://Q", "gcp-sm:Q%zzQ", "Q:Q", "Q",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		const canary = "kn4tterBox"
		p, err := keysource.Parse(strings.ReplaceAll(text, "Q", canary), environ())
		if err == nil {
			if p.String() == "" || p.Interval() < 0 {
				t.Errorf("%q: %q", text, p)
			}
			return
		}
		if strings.Contains(err.Error(), canary) {
			t.Errorf("%q: shows it: %v", text, err)
		}
		for l := range strings.SplitSeq(err.Error(), "\n") {
			if l == "" || len(l) > 400 {
				t.Errorf("%q: a line of %d bytes: %q", text, len(l), l)
			}
		}
	})
}

// What looks like a key is repeated by no message; names and paths are none.
func TestHasKey(t *testing.T) {
	k := keyring.Generate().Text()
	for _, text := range []string{
		k, "keys/" + k, "Tbq0J0yI6bZr3FhX2mC5pQ8sVtW1uYaZkLdEfGhIjK0", "Tbq0J0yI/bZr3FhX2mC5+Q8sVtW1uYaZkLdEfGhIjK0=",
		"83b6d230fe9d02ce740de0631bb5406fb8fef6f4558947385d543238a22a962d", "AGE-SECRET-KEY-1QQ",
	} {
		if !keysource.HasKey(text) {
			t.Errorf("%q is taken for a name", text)
		}
	}
	for _, text := range []string{
		"", "keys", "rotaet", "cloakroom.toml", "/etc/Cloakroom2/configuration/of/Production.toml", "/run/Secrets/cloakroom/keys/of/the/login0",
		"./Tbq0J0yI6bZr3FhX2mC5pQ8sVtW1uYaZkLdEfGhIjK0", "the-longest-name-of-any-setting-that-there-could-be-1",
	} {
		if keysource.HasKey(text) {
			t.Errorf("%q is taken for a key", text)
		}
	}
}

// Bare leaves out the names of packages, of every line, and nothing else.
func TestBare(t *testing.T) {
	err := errors.Join(errors.New("keyring: read keys: line 1: a"), errors.New("agekeys: b: vault: c"))
	if got, want := keysource.Bare(err), "line 1: a\nb: vault: c"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
