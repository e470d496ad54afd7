package secretfile_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/internal/secretfile"
)

// What openssl rand prints looks like a secret, but for about one in a thousand.
func TestLooksLikeSecret(t *testing.T) {
	missed, all := 0, 0
	for i := range 20000 {
		b := make([]byte, 32+i%33)
		rand.Read(b)
		for _, text := range []string{base64.StdEncoding.EncodeToString(b), base64.RawURLEncoding.EncodeToString(b), hex.EncodeToString(b)} {
			all++
			if !secretfile.LooksLikeSecret(text) {
				missed++
			}
		}
	}
	if missed > all/500 {
		t.Errorf("%d of %d random secrets do not look like one", missed, all)
	}
}

// Names and paths that people have do not look like secrets.
func TestPathsAreNoSecrets(t *testing.T) {
	for _, path := range []string{
		"", "k", "keys", "cloakroom-data/keys", "./keys", "../keys", "~/keys", "/run/secrets/keys", "/run/secrets/SESSION_KEYS", "/etc/cloakroom/keys",
		`C:\ProgramData\Cloakroom2026\Keys\Production\Session\keys`, `C:/ProgramData/Cloakroom2026/Keys/Production/Session/keys`,
		`\\fileserver01\Share\Cloakroom\Production\SessionKeys\keys`,
		"/home/Max/Projects/CloakroomLogin2026/data/Production/keys", "home/Max/Projects/CloakroomLogin2026/data/Production/keys",
		"/Users/MaxMustermann/Documents/Projects/Login2026/keys", "Users/MaxMustermann/Documents/Projects/Login2026/keys",
		"Projects/CloakroomLogin2026/Production/SessionKeys/Europe1/keys", "Releases/V1R2/Cloakroom/Production/Data/SessionKeys",
		"/var/lib/docker/overlay2/9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08/merged/Run/keys",
		"/var/lib/kubelet/pods/4f0b2c1e-8f55-4f0f-9b3a-0d8f4f6d8c11/volumes/kubernetes.io~secret/keys/Session1",
		"/private/var/folders/7x/4k3jq0wd1xn5t8v9m2z6c0y40000gn/T/TestFoo123/001/keys",
		"/var/folders/zz/zyxvpxvq6csfxvn_n0000000000000/T/keys1",
		"/nix/store/s66mzxpvicwk07gjbjfw9izjfa797vsw-cloakroom-2.12.1/keys",
		"/tmp/TestPromise10FollowTakesNoStrangersKeys1234567890/001/keys", "tmp/TestPromise10FollowTakesNoStrangersKeys1234567890/001/keys",
		"/mnt/NAS/Backup2026/Cloakroom/SessionKeys/Production/keys", "/srv/App1/Shared/Config/Secrets/SessionKeysProduction",
		"/run/credentials/cloakroom.service/keys", "/dev/shm/Cloakroom/Session1/Keys/Production/Europe", "/proc/self/fd/3",
		"/opt/MyCompany/Login2/SessionKeys/ProductionEuropeWest1", "/data/K8sClusterA1/Namespace2/SecretStore3/keys",
		"00000000-0000-0000-0000-000000000000", "my-very-long-file-name-for-session-keys-of-production-1",
		"./Tbq0J0yI6bZr3FhX2mC5pQ8sVtW1uYaZkLdEfGhIjK0", "./Tbq0J0yI/bZr3FhX2mC5pQ8sVtW1uYaZkLdEfGhIjK0", "Tbq0J0yI6bZr3FhX2mC5pQ8sVtW1uYaZkLdEfGhIjK0.key",
	} {
		if secretfile.LooksLikeSecret(path) {
			t.Errorf("%s looks like a secret", path)
		}
	}
}

// ASVS 16.2.5: a secret in the place of a path, or in a path, is not repeated.
func TestASVS_16_2_5_NoSecretInThePlaceOfAPath(t *testing.T) {
	for path, want := range map[string]string{
		"Tbq0J0yI/bZr3FhX2mC5+Q8sVtW1uYaZkLdEfGhIjK0=":                               "open …: ",
		"/etc/keys/83b6d230fe9d02ce740de0631bb5406fb8fef6f4558947385d543238a22a962d": "open /etc/keys/…: ",
		"./Tbq0J0yI6bZr3FhX2mC5pQ8sVtW1uYaZkLdEfGhIjK0":                              "open ./…: ",
		"/nonexistent/Tbq0J0yI/bZr3FhX2mC5+Q8sVtW1uYaZkLdEfGhIjK0=":                  "open /…: ",
		"/nonexistent/keys": "",
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
