package link_test

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/internal/link"
)

// TestASVS_12_3_1_Local: what leaves the machine, and what does not. Notations
// that only some resolvers read, and zones, do.
func TestASVS_12_3_1_Local(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LOCALHOST": true, "127.0.0.1": true, "127.9.9.9": true, "::1": true, "::ffff:127.0.0.1": true,
		"": false, "0.0.0.0": false, "::": false, "10.0.0.1": false, "localhost.example": false, "localhost.": false, "db": false,
		"127.0.0.1.example": false, "127.1": false, "2130706433": false, "0x7f.0.0.1": false, "0x7f000001": false, "0177.0.0.1": false,
		"127.0.0.01": false, "::1%lo": false, "fe80::1%lo": false, "[::1]": false, "/run/sock": false, "@abstract": false,
	} {
		if link.Local(host) != want {
			t.Errorf("%q: local is %t", host, !want)
		}
	}
}

// TestPromise11_Check: an @ too many, or behind the authority, makes a URL one that
// is not understood, and nothing of it is repeated.
func TestPromise11_Check(t *testing.T) {
	for _, raw := range []string{
		"x://u:12/hunter2@h", "x://u:12?hunter2@h", "x://u:12#hunter2@h", "x://u:a@b/hunter2@h", "x://u:hunter2@b@h/p", "x://u:12?ca=hunter2@h",
		"x://u:hunter2/@h", "x://u:%zzhunter2@h", "x://u:hunter2 @h\n", "x://h:hunter2",
	} {
		_, err := link.Parse(raw)
		if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", raw, err)
		}
	}
	for _, raw := range []string{"x://u:a%40b@h/p%40?q=%40", "x://u:a@h/p", "x:///p", "x://h"} {
		if _, err := link.Parse(raw); err != nil {
			t.Errorf("%q: %v", raw, err)
		}
	}
}

// TestQuery: known parameters once, with a value; of others not even the name is
// repeated.
func TestQuery(t *testing.T) {
	for raw, want := range map[string]string{
		"": "", "a=1": "", "a=1&b=%40": "",
		"hunter2": "takes a, b", "a=1&hunter2=x": "takes a, b", "a=": "parameter a:", "a": "parameter a:", "a=1&a=2": "parameter a:", "%zz": "cannot be read", "a=hunter2;b": "cannot be read",
		"x=1&a=&b=&y": "takes a, b; parameter a:",
	} {
		_, err := link.Query(raw, "a", "b")
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", raw, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "\n")):
			t.Errorf("%q: %v, want one line with %q", raw, err, want)
		}
	}
}

// TestTLS: every fault at once; the host is verified, whatever stands in the URL.
func TestTLS(t *testing.T) {
	c, err := link.TLS(url.Values{}, "h")
	if err != nil || c.ServerName != "h" || c.InsecureSkipVerify || c.MinVersion < 0x0303 {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err = link.TLS(url.Values{"server-name": {"n"}}, "h"); err != nil || c.ServerName != "n" {
		t.Errorf("%+v, %v", c, err)
	}
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for raw, want := range map[string]string{
		"ca=/nowhere&cert=/x":    "parameter ca: open /nowhere: no such file or directory; a client certificate needs both cert and key",
		"ca=" + empty:            "no certificate in " + empty,
		"key=/x":                 "both cert and key",
		"cert=/no&key=/no":       "parameters cert and key: ",
		"cert=/no&key=/no&ca=/n": "; parameters",
	} {
		query, err := url.ParseQuery(raw)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := link.TLS(query, "h"); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want one line with %q", raw, err, want)
		}
	}
}

// TestPromise11_Redact: no secret, one line, and words stay words.
func TestPromise11_Redact(t *testing.T) {
	for _, c := range []struct{ text, secret, want string }{
		{"you said hunter2", "hunter2", "you said xxxxx"},
		{"you said a%2Fb+c%40", "a/b c@", "you said xxxxx"},
		{"you said a%2Fb%20c@", "a/b c@", "you said xxxxx"},
		{"two\n lines", "", "two lines"},
		{"dial tcp 127.0.0.1:1", "p", "dial tcp 127.0.0.1:1"},
		{"dial tcp 127.0.0.1:1", "127", "dial tcp 127.0.0.1:1"},
		{"a pass is said", "pass", "a xxxxx is said"},
	} {
		if got := link.Redact(c.text, c.secret); got != c.want {
			t.Errorf("%q without %q: %q, want %q", c.text, c.secret, got, c.want)
		}
	}
}
