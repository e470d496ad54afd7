package vault_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/keyring/vault"
)

// Each mistake in a place has its words, and no value is repeated: hunter2canary
// stands for a secret in the wrong part of it.
func TestPromise12_FaultsOfPlace(t *testing.T) {
	t.Parallel()
	const ok = "&token-file=/f"
	for place, words := range map[string]string{
		"":        "MOUNT/PATH",
		"secret":  "no path",
		"secret/": "MOUNT/PATH",
		"https://host/hunter2canary?auth=token" + ok: "no path",
		"https://host":                                      "MOUNT/PATH",
		"https://host//secret/hunter2canary":                "MOUNT/PATH",
		"https://host/secret/../sys/hunter2canary":          "MOUNT/PATH",
		"https://host/secret/%2e%2e/hunter2canary":          "MOUNT/PATH",
		"https://host/secret/a%00hunter2canary":             "MOUNT/PATH",
		"https://host/secret/a%3fhunter2canary":             "MOUNT/PATH",
		"https://host/secret/a%5chunter2canary":             "MOUNT/PATH",
		"https://host/v1/secret/data/hunter2canary":         "leave out v1/",
		"https://host/secret/data/hunter2canary":            "data/",
		"https:///secret/hunter2canary":                     "no host",
		"https:secret/hunter2canary":                        "no host",
		"https:/host/secret/hunter2canary":                  "no host",
		"https://hunter2canary@host/secret/x?auth=token":    "has a user",
		"https://a:hunter2canary@host/secret/x?auth=token":  "has a user",
		"https://host/secret/x?token-file=a@hunter2canary":  "cannot be parsed",
		"https://host:hunter2canary/secret/x":               "cannot be parsed",
		"https://host/secret/%zzhunter2canary":              "cannot be parsed",
		"hunter2canary://host/secret/x":                     "another scheme",
		"unix:///run/hunter2canary/x":                       "scheme",
		"http://hunter2canary.example/secret/x":             "a link to another host needs TLS",
		"http://127.0.0.1/secret/x?ca=hunter2canary":        "need TLS",
		"https://host/secret/x?token=hunter2canary":         "unknown parameter",
		"https://host/secret/x?hunter2canary=1":             "unknown parameter",
		"https://host/secret/x?auth=hunter2canary":          "auth is none of",
		"https://host/secret/x?auth=":                       "parameter auth:",
		"https://host/secret/x?auth=token&auth=token":       "parameter auth:",
		"https://host/secret/x":                             "token-file, or VAULT_TOKEN",
		"https://host/secret/x?role-id=hunter2canary" + ok:  "role-id goes with auth=approle",
		"https://host/secret/x?role=hunter2canary" + ok:     "role goes with auth=kubernetes",
		"https://host/secret/x?mount=hunter2canary" + ok:    "mount goes with",
		"https://host/secret/x?auth=approle" + ok:           "token-file goes with auth=token",
		"https://host/secret/x?auth=approle&role-id=a":      "secret-id-file, or VAULT_SECRET_ID",
		"https://host/secret/x?auth=approle&mount=..":       "mount is not valid",
		"https://host/secret/x?auth=kubernetes":             "needs role",
		"https://host/secret/x?namespace=a%0ahunter2canary": "namespace is not valid",
		"https://host/secret/x?kv-mount=hunter2canary":      "kv-mount is not",
		"https://host/secret/x?ca=/hunter2canary":           "ca: the file cannot be read",
		"https://host/secret/x?cert=/hunter2canary":         "cert: the file cannot be read",
		"https://host/secret/x#a%00hunter2canary":           "behind #",
		"secret/x#keys?auth=approle&role-id=hunter2canary":  "query stands before the #",
		"secret/hunter2canary":                              "VAULT_ADDR is not set",
	} {
		s, err := vault.Open(place, env(nil))
		if err == nil {
			t.Errorf("%q: opened as %v", place, s)
			continue
		}
		if text := err.Error(); !strings.HasPrefix(text, "vault: ") || !strings.Contains(text, words) || strings.Contains(text, "hunter2canary") {
			t.Errorf("%q: want %q and no value: %v", place, words, err)
		}
	}
}

// All that is wrong is told at once, a fault a line, in the same order.
func TestPromise12_AllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	place := "http://user@vault.example/v1/x?auth=kubernetes&role-id=a&token-file=b&namespace=%00&ca=/none&unknown=1#%01"
	opts := env(map[string]string{"VAULT_SKIP_VERIFY": "1"})
	_, first := vault.Open(place, opts)
	if first == nil {
		t.Fatal("opened")
	}
	lines := strings.Split(first.Error(), "\n")
	if len(lines) != 10 || slices.Contains(lines, "") {
		t.Errorf("%d faults:\n%v", len(lines), first)
	}
	for range 20 {
		if _, err := vault.Open(place, opts); err.Error() != first.Error() {
			t.Fatalf("another order:\n%v", err)
		}
	}
}

// Verification cannot be turned off, and what the environment says is not repeated.
func TestASVS_12_3_2_NoWayAroundVerification(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"1", "true", "T", "yes", "hunter2canary"} {
		_, err := vault.Open("https://host/secret/x?token-file=/f", env(map[string]string{"VAULT_SKIP_VERIFY": value}))
		told(t, err, "VAULT_SKIP_VERIFY", "VAULT_CACERT")
	}
	for _, value := range []string{"", "0", "false", "FALSE", "f"} {
		if _, err := vault.Open("https://host/secret/x?token-file=/f", env(map[string]string{"VAULT_SKIP_VERIFY": value})); err != nil {
			t.Errorf("VAULT_SKIP_VERIFY=%s: %v", value, err)
		}
	}
	for name, value := range map[string]string{"VAULT_CACERT": "/hunter2canary", "VAULT_CLIENT_CERT": "/hunter2canary", "VAULT_ADDR": "https://u:%zzhunter2canary@host"} {
		_, err := vault.Open("secret/x?token-file=/f", env(map[string]string{"VAULT_ADDR": "https://host", name: value}))
		told(t, err, name)
		if err != nil && strings.Contains(err.Error(), "hunter2canary") {
			t.Error(err)
		}
	}
	none := file(t, "no certificate")
	for _, place := range []string{"ca=" + none, "cert=" + none, "cert=" + none + "&key=" + none} {
		_, err := vault.Open("https://host/secret/x?token-file=/f&"+place, env(nil))
		told(t, err, "there is no certificate")
		if err != nil && strings.Contains(err.Error(), none) {
			t.Error(err)
		}
	}
}

// Only this machine is spoken to in plain text, unless the options say otherwise.
func TestASVS_12_3_1_PlainText(t *testing.T) {
	t.Parallel()
	for host, ok := range map[string]bool{"127.0.0.1:8200": true, "localhost": true, "[::1]:8200": true, "10.0.0.1": false, "vault": false, "0.0.0.0": false, "127.1": false} {
		place := "http://" + host + "/secret/x?token-file=/f"
		if _, err := vault.Open(place, env(nil)); (err == nil) != ok {
			t.Errorf("%s: %v", host, err)
		}
		opts := env(nil)
		opts.AllowPlaintext = true
		if _, err := vault.Open(place, opts); err != nil {
			t.Errorf("%s with AllowPlaintext: %v", host, err)
		}
	}
}

// String shows what is needed to tell sources apart, and no more.
func TestString(t *testing.T) {
	t.Parallel()
	for place, want := range map[string]string{
		"https://host:8200/secret/cloakroom?auth=approle&role-id=r&secret-id-file=/f": "vault:https://host:8200/secret/cloakroom#keys",
		"https://host/secret/data/x?kv-mount=secret&token-file=/f#b%20c":              "vault:https://host/secret/data/x#b c",
		"https://host/kv/team/web?auth=kubernetes&role=r&namespace=n#prod":            "vault:https://host/kv/team/web#prod",
	} {
		s, err := vault.Open(place, env(nil))
		if err != nil || s.String() != want {
			t.Errorf("%s: %v, %v", place, s, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	for _, s := range []string{
		"https://host:8200/secret/cloakroom?auth=approle&role-id=r&secret-id-file=/f#keys", "secret/cloakroom", "http://[::1]/a/b?token-file=x#y",
		"https://host/a/b/c?kv-mount=a/b&namespace=n", "x?y#z", "https:/a", "://", "a:b", "%2e%2e/x",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, place string) {
		for _, opts := range []*vault.Options{env(nil), env(map[string]string{"VAULT_ADDR": "https://host", "VAULT_TOKEN": "t"})} {
			s, err := vault.Open(place, opts)
			if err == nil {
				text := s.String()
				if !strings.HasPrefix(text, "vault:http") || strings.ContainsAny(text, "\n\r\x00") || strings.Contains(text, "/../") {
					t.Errorf("%q: %q", place, text)
				}
				continue
			}
			// Pieces of what was typed are found by capital letters and digits in a row.
			for _, piece := range strings.FieldsFunc(place, func(r rune) bool { return r < '5' || r > '9' }) {
				if len(piece) >= 4 && strings.Contains(err.Error(), piece) {
					t.Errorf("%q: %q shows %q", place, err, piece)
				}
			}
		}
	})
}

func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		`{"data": {"data": {"keys": "k"}, "metadata": {"version": 1}}}`, `{"data": null}`, `{"errors": []}`, `[]`, "", "\x00", `{"data":{"data":{"keys":9999},"metadata":{"version":1e3}}}`,
	} {
		f.Add(http.StatusOK, s)
		f.Add(http.StatusNotFound, s)
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 100 || status > 999 {
			return
		}
		text, err := vault.Parse(status, []byte(body), "keys")
		if (err == nil) == (len(text) == 0) {
			t.Errorf("%q, %v", text, err)
		}
		if err == nil {
			return
		}
		for _, piece := range strings.FieldsFunc(body, func(r rune) bool { return r < '5' || r > '9' }) {
			if len(piece) >= 4 && strings.Contains(err.Error(), piece) {
				t.Errorf("%d %q: %q shows %q", status, body, err, piece)
			}
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("more than a line: %q", err)
		}
	})
}
