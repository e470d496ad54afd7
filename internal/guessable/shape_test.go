package guessable_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/internal/guessable"
)

// What openssl rand prints looks like a secret, but for about one in ten thousand.
func TestLooksLikeKey(t *testing.T) {
	missed, all := 0, 0
	// Hardly any random secret is without a digit; those that are look like one as well.
	for _, text := range []string{
		"TbqRJyyIHbZrAFhXFmCRpQWsVtWAuYaZkLdEfGhIjKz", "kQzVtYwApLrNxEgHuBcSdMfJoIiKqWeRtYuZxCvBnMaSdF",
		"TbqRJyyI/bZrAFhXFmCRpQWsV/tWAuYaZkLdEfGhIjKz=",
	} {
		if !guessable.LooksLikeKey(text) || !guessable.HoldsKey(text) {
			t.Errorf("%s does not look like a secret", text)
		}
	}
	for i := range 20000 {
		b := make([]byte, 32+i%33)
		rand.Read(b)
		for _, text := range []string{base64.StdEncoding.EncodeToString(b), base64.RawURLEncoding.EncodeToString(b), hex.EncodeToString(b)} {
			all++
			if !guessable.LooksLikeKey(text) {
				missed++
			}
		}
	}
	if missed > all/2000 {
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
		`C:\ProgramData\docker\9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\keys`,
		"/private/var/folders/7x/4k3jq0wd1xn5t8v9m2z6c0y40000gn/T/TestFoo123/001/keys",
		"/var/folders/zz/zyxvpxvq6csfxvn_n0000000000000/T/keys1",
		"/nix/store/s66mzxpvicwk07gjbjfw9izjfa797vsw-cloakroom-2.12.1/keys",
		"/tmp/TestPromise10FollowTakesNoStrangersKeys1234567890/001/keys", "tmp/TestPromise10FollowTakesNoStrangersKeys1234567890/001/keys",
		"/mnt/NAS/Backup2026/Cloakroom/SessionKeys/Production/keys", "/srv/App1/Shared/Config/Secrets/SessionKeysProduction",
		"/run/credentials/cloakroom.service/keys", "/dev/shm/Cloakroom/Session1/Keys/Production/Europe", "/proc/self/fd/3",
		"/opt/MyCompany/Login2/SessionKeys/ProductionEuropeWest1", "/data/K8sClusterA1/Namespace2/SecretStore3/keys",
		"age-secret-key-1.txt", "age-secret-key-prod.txt", "/etc/AGE-SECRET-KEY.txt", "age-secret-key-1-of-2",
		"MyCompany-Production-Session-Keys-Europe-One-of-Two", "AWS-Production-EU-Session-Keys-of-the-Login-Page", "CloakroomLoginProductionSessionKeysOfEuropeWest",
		"/Users/MaxMustermann/Documents/Projects/Login/Production/keys", "Projects/CloakroomLogin/Production/SessionKeys/Europe/keys",
		"00000000-0000-0000-0000-000000000000", "my-very-long-file-name-for-session-keys-of-production-1",
		"./Tbq0J0yI6bZr3FhX2mC5pQ8sVtW1uYaZkLdEfGhIjK0", "./Tbq0J0yI/bZr3FhX2mC5pQ8sVtW1uYaZkLdEfGhIjK0", "Tbq0J0yI6bZr3FhX2mC5pQ8sVtW1uYaZkLdEfGhIjK0.key",
	} {
		if guessable.LooksLikeKey(path) {
			t.Errorf("%s looks like a secret", path)
		}
	}
}

// TestPromise11_HoldsKey: keys are told from names, wherever in a name they stand.
func TestPromise11_HoldsKey(t *testing.T) {
	const rounds = 2000
	missed := 0
	for range rounds {
		var b [32]byte
		rand.Read(b[:])
		for _, around := range []string{"", "projects/p/secrets/", "prod/"} {
			if !guessable.HoldsKey(around + hex.EncodeToString(b[:])) {
				t.Fatalf("hex of 32 bytes behind %q is taken for a name", around)
			}
		}
		for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawURLEncoding} {
			if !guessable.HoldsKey(e.EncodeToString(b[:])) || !guessable.HoldsKey("secret/"+base64.RawURLEncoding.EncodeToString(b[:])) {
				missed++
			}
		}
	}
	if missed > rounds/200 {
		t.Errorf("%d of %d keys are taken for names", missed, 2*rounds)
	}
	for _, text := range []string{
		"cloakroom-key-v1 x", "a/cloakroom-key-v1", "age/AGE-SECRET-KEY-1QQ", "age/age-secret-key-1qq", "AGE-SECRET-KEY-PQ-1QQ", "-----BEGIN EC PRIVATE KEY-----",
		"83b6d230fe9d02ce740de0631bb5406fb8fef6f4558947385d543238a22a962d-keys", "Tbq0J0yI6bZr3FhX2mC5pQ8sVtW1uYaZkLdEfGhIjK0",
	} {
		if !guessable.HoldsKey(text) {
			t.Errorf("%q is taken for a name", text)
		}
		if last := text[strings.LastIndex(text, "/")+1:]; !guessable.LooksLikeKey(last) {
			t.Errorf("%q is taken for the name of a file", last)
		}
	}
	for _, text := range []string{
		"", "keys", "prod/cloakroom", "MyCompany-Production-Session-Keys-Europe-1-x", "projects/my-project-123456/locations/europe-west3/secrets/Cloakroom_Session_Keys_2026/versions/7",
		"arn:aws:secretsmanager:eu-central-1:123456789012:secret:Prod/Web/Cloakroom2/Session-Keys-AbC9eF", "secret/550e8400-e29b-41d4-a716-446655440000/0123456789abcdef0123456789abcdef",
		"prod/eu-west-1/Team-A/app/v2/session-keys/x1", "prod/eu/west/1/TeamA/app/session/keys/of/web", "MyCompany-AWS-Session-Keys-of-the-EU-Login-Page/x",
		"rds!cluster-0a1b2c3d-4e5f-6789-abcd-ef0123456789", "da39a3ee5e6b4b0d3255bfef95601890afd80709",
	} {
		if guessable.HoldsKey(text) {
			t.Errorf("%q is taken for a key", text)
		}
	}
}

// ASVS 16.2.5: a key is found between the signs of a place, behind the name of a variable,
// and in a line of which the first word was lost.
func TestASVS_16_2_5_HasKey(t *testing.T) {
	const secret = "2XNsS8XiAUmurEV4RqjuXgG-sFEOUHnvL92EaxuzMTc"
	for _, text := range []string{
		secret, "env:" + secret, "file:" + secret, "vault:" + secret, "x:" + secret, secret + ":x", "KEYS=" + secret, "'" + secret + "'",
		"8faa4fc4 2026-11-21T16:21:14Z active " + secret, "file:active " + secret, "active\t" + secret, "a\n" + secret,
		"-----BEGIN EC PRIVATE KEY-----\nx", "file:age-secret-key-1qqqq",
	} {
		if !guessable.HasKey(text) {
			t.Errorf("%q is taken for a name", text)
		}
	}
	for _, text := range []string{
		"", "C:/ProgramData/Cloakroom2026/Keys/Production/Session/keys", `C:\ProgramData\Cloakroom2026\Keys`, "/home/Max Muster/Projects 2026/keys",
		"./" + secret, "arn:aws:secretsmanager:eu-central-1:123456789012:secret:Prod/Web/Session-Keys-AbC9eF", "sha256:da39a3ee5e6b4b0d",
	} {
		if guessable.HasKey(text) {
			t.Errorf("%q is taken for a key", text)
		}
	}
}
