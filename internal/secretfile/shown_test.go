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
		"AGE-SECRET-KEY-1QQ": "open …: ",
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
