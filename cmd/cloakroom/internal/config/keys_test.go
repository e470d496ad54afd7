package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keysource"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// TestASVS_13_3_1_SettingsOnKeys: every wrong use of the settings on keys has its
// message, and none repeats the value, which may be a key.
func TestASVS_13_3_1_SettingsOnKeys(t *testing.T) {
	line := keyring.Generate().Text()
	bare := line[strings.LastIndexByte(line, ' ')+1:]
	with := func(flags ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(flags); i += 2 {
			m[flags[i]] = flags[i+1]
		}
		return m
	}
	env := []string{"SECRET_KEYS=" + line, "CLOAKROOM_MINE=" + line, "EMPTY= "}
	for _, tc := range []struct {
		name  string
		flags map[string]string
		env   []string
		want  []string // none: it is fine
	}{
		{"a word", with("keys", secret), nil, []string{"--keys: no scheme: for a file write file:PATH; this version takes file:PATH"}},
		{"a key line", with("keys", line), nil, []string{"--keys: a key itself"}},
		{"a bare key", with("keys", bare), nil, []string{"--keys: a key itself"}},
		{"a key for a path", with("keys", "file:"+line), nil, []string{"--keys: a key itself"}},
		{"a key for a name", with("keys", "env:"+bare), nil, []string{"--keys: a key itself"}},
		{"a key for a mounted file", with("keys-file", line), nil, []string{"--keys-file: a key itself"}},
		{"unknown scheme", with("keys", secret+":x"), nil, []string{"--keys: not supported: this version takes file:PATH"}},
		{"the other setting as a scheme", with("keys", "keys-file:x"), nil, []string{"--keys: not supported"}},
		{"no path", with("keys", "file:"), nil, []string{"--keys: no path: write file:PATH"}},
		{"a URL", with("keys", "file:///etc/keys"), nil, []string{"--keys: no path: write file:PATH"}},
		{"no name", with("keys", "env:"), nil, []string{"--keys: no name of a variable"}},
		{"no name either", with("keys", "env:A-B"), nil, []string{"--keys: no name of a variable"}},
		{"not set", with("keys", "env:NOWHERE"), env[:1], []string{"--keys: environment variable NOWHERE is not set: put in"}},
		{"what may be no name", with("keys", "env:"+secret), env[:1], []string{"--keys: the variable that it names is not set"}},
		{"set to nothing", with("keys", "env:EMPTY"), env[2:], []string{"--keys: environment variable EMPTY is empty"}},
		{"that of a setting", with("keys", "env:CLOAKROOM_STORE"), []string{"CLOAKROOM_STORE=memory:"}, []string{"--keys: names the variable of a setting"}},
		{"one with our prefix", with("keys", "env:CLOAKROOM_MINE"), env[1:2], nil},
		{"another with our prefix", with("keys", "env:SECRET_KEYS"), env[:2], []string{`unknown variable "CLOAKROOM_MINE"`}},
		{"keys by environment", nil, []string{"CLOAKROOM_KEYS=env:CLOAKROOM_MINE", env[1]}, nil},
		{"nothing", with("keys", ""), nil, []string{"--keys: empty: name a place"}},
		{"no file", with("keys-file", ""), nil, []string{"--keys-file: empty: name a place"}},
		{"both", with("keys", "file:k", "keys-file", "k"), nil, []string{"--keys-file: keys is set as well"}},
		{"interval", with("keys-interval", "1ms"), nil, []string{"--keys-interval: out of bounds"}},
		{"interval of days", with("keys-interval", "2h"), nil, []string{"--keys-interval: out of bounds"}},
		{"interval without unit", with("keys-interval", "30"), nil, []string{"--keys-interval: not a duration"}},
		{"interval of what never changes", with("keys", "env:SECRET_KEYS", "keys-interval", "1m"), env[:1], []string{"keys-interval: what the environment holds never changes"}},
		{"rotation of minutes", with("key-rotation", "30m"), nil, []string{"--key-rotation: out of bounds"}},
		{"rotation of a lifetime", with("key-rotation", "3651d"), nil, []string{"--key-rotation: out of bounds"}},
		{"rotation below nothing", with("key-rotation", "-90d"), nil, []string{"--key-rotation: not a duration"}},
		{"rotation of no unit", with("key-rotation", "90"), nil, []string{"--key-rotation: not a duration"}},
		{"rotation of the environment", with("keys", "env:SECRET_KEYS", "key-rotation", "90d"), env[:1], []string{"key-rotation: new keys cannot be written to env:SECRET_KEYS"}},
		{"rotation too often", with("key-rotation", "1h", "lifetime", "31h"), nil, []string{"key-rotation: keys are needed for a lifetime after their own"}},
		{"rotation often", with("key-rotation", "1h", "lifetime", "29h"), nil, nil},
		{"rotation by days", with("key-rotation", "3650d"), nil, nil},
		{"all at once", with("keys", bare, "keys-interval", "x", "key-rotation", "y"), []string{"CLOAKROOM_KEYZ=" + bare},
			[]string{"CLOAKROOM_KEYZ", "--keys: a key", "--keys-interval", "--key-rotation"}},
	} {
		_, err := load(t, "", tc.flags, tc.env...)
		var lines []string
		if err != nil {
			lines = strings.Split(err.Error(), "\n")
			if text := err.Error(); strings.Contains(text, secret) || strings.Contains(text, bare) {
				t.Errorf("%s: repeats the value: %v", tc.name, err)
			}
		}
		if len(lines) != len(tc.want) {
			t.Errorf("%s: %d lines, want %d:\n%v", tc.name, len(lines), len(tc.want), err)
			continue
		}
		for i, want := range tc.want {
			if !strings.Contains(lines[i], want) {
				t.Errorf("%s: line %d: %q, want %q in it", tc.name, i+1, lines[i], want)
			}
		}
	}
}

func TestKeysInterval(t *testing.T) {
	env := "SECRET_KEYS=" + keyring.Generate().Text()
	for _, tc := range []struct {
		flags map[string]string
		want  time.Duration
	}{
		{nil, time.Second},
		{map[string]string{"keys-interval": "5m"}, 5 * time.Minute},
		{map[string]string{"keys-file": "k"}, time.Second},
		{map[string]string{"keys": keysource.Env + ":SECRET_KEYS"}, 0},
	} {
		c, err := load(t, "", tc.flags, env)
		if err != nil || c.KeysInterval != tc.want {
			t.Errorf("%v: %v, %v, want %v", tc.flags, c, err, tc.want)
		}
	}
}
