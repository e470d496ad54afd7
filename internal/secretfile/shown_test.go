package secretfile_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/internal/secretfile"
)

// ASVS 16.2.5: a secret in the place of a path, or in a path, is not repeated.
func TestASVS_16_2_5_NoSecretInThePlaceOfAPath(t *testing.T) {
	for path, want := range map[string]string{
		"Tbq0J0yI/bZr3FhX2mC5+Q8sVtW1uYaZkLdEfGhIjK0=":                               "open …: ",
		"/etc/keys/83b6d230fe9d02ce740de0631bb5406fb8fef6f4558947385d543238a22a962d": "open /etc/keys/…: ",
		"./Tbq0J0yI6bZr3FhX2mC5pQ8sVtW1uYaZkLdEfGhIjK0":                              "open ./…: ",
		"/nonexistent/Tbq0J0yI/bZr3FhX2mC5+Q8sVtW1uYaZkLdEfGhIjK0=":                  "open /…: ",
		"/nonexistent/keys": "",
		"/nonexistent/cloakroom-key-v1 02b7c461 2026-01-02T03:04:05Z active JaTqg": "open /nonexistent/…: ",
		"AGE-SECRET-KEY-1QQ":                                           "open …: ",
		"/nonexistent/age-secret-key-1qq":                              "open /nonexistent/…: ",
		"env:2XNsS8XiAUmurEV4RqjuXgG-sFEOUHnvL92EaxuzMTc":              "open env:…: ",
		"vault:2XNsS8XiAUmurEV4RqjuXgG-sFEOUHnvL92EaxuzMTc:x":          "open vault:…: ",
		"02b7c461 active 2XNsS8XiAUmurEV4RqjuXgG-sFEOUHnvL92EaxuzMTc":  "open 02b7c461 active …: ",
		"-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n":                   "open …: ",
		"nonexistent\nMHcCAQEE\n":                                      "open nonexistent…: ",
		"postgres://app:Zebraq7-quokka@db.example.org/app":             "open …: ",
		"postgres:/app:Zebraq7-quokka@db.example.org/app/cloakroom.db": "open …: ",
		"/nonexistent/Max Muster/of 2026: keys#1.txt":                  "",
	} {
		_, err := secretfile.Read(path, secretfile.Private, 100)
		switch {
		case !errors.Is(err, fs.ErrNotExist):
			t.Errorf("%s: %v", path, err)
		case want == "" && !strings.Contains(err.Error(), path):
			t.Errorf("%s is not named: %v", path, err)
		case want != "" && !strings.HasPrefix(err.Error(), want):
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
}

// ASVS 16.2.5: what is no path is told from paths, and not repeated.
func TestASVS_16_2_5_CheckPath(t *testing.T) {
	for text, want := range map[string]string{
		"postgres://app:Zebraq7-quokka@db.example.org/app":            "takes the path of a file, and this looks like a URL: ",
		"-----BEGIN EC PRIVATE KEY-----\nZebraq7-quokka\n":            "takes the path of a file, and this has several lines: ",
		"-----BEGIN EC PRIVATE KEY----- Zebraq7-quokka":               "a key, where the path of a file belongs: ",
		"cloakroom-key-v1 Zebraq7-quokka":                             "a key, where the path of a file belongs: ",
		"x:2XNsS8XiAUmurEV4RqjuXgG-sFEOUHnvL92EaxuzMTc":               "a key, where the path of a file belongs: ",
		"02b7c461 active 2XNsS8XiAUmurEV4RqjuXgG-sFEOUHnvL92EaxuzMTc": "a key, where the path of a file belongs: ",
	} {
		err := secretfile.CheckPath(text, "file")
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "Zebraq7") || strings.Contains(err.Error(), "2XNs") {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	for _, path := range []string{"", "keys", "./2XNsS8XiAUmurEV4RqjuXgG-sFEOUHnvL92EaxuzMTc", `C:\ProgramData\Cloakroom`, "C:/ProgramData/x", "/srv/a@b:/c d/keys"} {
		if err := secretfile.CheckPath(path, "file"); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}
