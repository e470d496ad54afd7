package config_test

import (
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
)

// TestASVS_16_2_5_SecretsInThePlaceOfPaths: a URL with a password, a key, and what a file
// holds are refused by every setting that takes a path, and repeated by none.
func TestASVS_16_2_5_SecretsInThePlaceOfPaths(t *testing.T) {
	const pem = "-----BEGIN EC PRIVATE KEY-----\nZebraq7quokka\n-----END EC PRIVATE KEY-----"
	for _, text := range []string{
		"postgres://app:Zebraq7quokka@db.example.org/app", pem, strings.ReplaceAll(pem, "\n", " "),
		"cloakroom-key-v1 Zebraq7quokka", "x:Zebraq7quokka2XNsS8XiAUmurEV4RqjuXgGsFEOUHnvL92EaxuzMTc",
	} {
		for _, setting := range []string{"data", "store-file", "users-file", "keys-file", "tls-cert", "tls-key", "config"} {
			fault := only(t, setting, text)
			if want := "--" + setting + ": "; !strings.HasPrefix(fault, want) || strings.Contains(fault, "Zebra") || strings.Contains(fault, "\n") {
				t.Errorf("%s: %q", setting, fault)
			}
			if strings.Contains(text, "://") && (!strings.Contains(fault, "takes the path of a ") || !strings.Contains(fault, "looks like a URL")) {
				t.Errorf("%s: %q says not what it takes", setting, fault)
			}
		}
		for _, setting := range []string{"store", "users"} {
			if fault := only(t, setting, "sqlite:"+text); strings.Contains(fault, "Zebra") {
				t.Errorf("%s: %q", setting, fault)
			}
		}
	}
	// Behind a directory a secret may be a name: it is used, and not shown.
	p := config.Place{Scheme: config.SQLite, Path: "/nonexistent/2XNsS8XiAUmurEV4RqjuXgG-sFEOUHnvL92EaxuzMTc"}
	if got := p.String(); got != "sqlite:/nonexistent/…" {
		t.Error(got)
	}
	if fault := only(t, "store-file", p.Path); !strings.Contains(fault, "/nonexistent/…: no such file") {
		t.Error(fault)
	}
}

// only returns the one fault of a setting.
func only(t *testing.T, setting, text string) string {
	t.Helper()
	_, err := config.Load(map[string]string{setting: text}, nil)
	faults, ok := err.(config.Faults)
	if !ok || len(faults) != 1 {
		t.Errorf("%s: %d faults, want one", setting, len(faults))
		return ""
	}
	return faults[0]
}
