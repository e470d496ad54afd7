package remote_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/internal/remote"
)

// TestPromise11_HasKey: keys are told from names, wherever in a name they stand.
func TestPromise11_HasKey(t *testing.T) {
	const rounds = 2000
	missed := 0
	for range rounds {
		var b [32]byte
		rand.Read(b[:])
		for _, around := range []string{"", "projects/p/secrets/", "prod/"} {
			if !remote.HasKey(around + hex.EncodeToString(b[:])) {
				t.Fatalf("hex of 32 bytes behind %q is taken for a name", around)
			}
		}
		for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawURLEncoding} {
			if !remote.HasKey(e.EncodeToString(b[:])) || !remote.HasKey("secret/"+base64.RawURLEncoding.EncodeToString(b[:])) {
				missed++
			}
		}
	}
	if missed > rounds/20 {
		t.Errorf("%d of %d keys are taken for names", missed, 2*rounds)
	}
	for _, text := range []string{
		"cloakroom-key-v1 x", "a/cloakroom-key-v1", "age/AGE-SECRET-KEY-1QQ",
		"83b6d230fe9d02ce740de0631bb5406fb8fef6f4558947385d543238a22a962d-keys", "Tbq0J0yI6bZr3FhX2mC5pQ8sVtW1uYaZkLdEfGhIjK0",
	} {
		if !remote.HasKey(text) {
			t.Errorf("%q is taken for a name", text)
		}
	}
	for _, text := range []string{
		"", "keys", "prod/cloakroom", "MyCompany-Production-Session-Keys-Europe-1-x", "projects/my-project-123456/locations/europe-west3/secrets/Cloakroom_Session_Keys_2026/versions/7",
		"arn:aws:secretsmanager:eu-central-1:123456789012:secret:Prod/Web/Cloakroom2/Session-Keys-AbC9eF", "secret/550e8400-e29b-41d4-a716-446655440000/0123456789abcdef0123456789abcdef",
		"prod/eu-west-1/Team-A/app/v2/session-keys/x1", "prod/eu/west/1/TeamA/app/session/keys/of/web", "rds!cluster-0a1b2c3d-4e5f-6789-abcd-ef0123456789", "da39a3ee5e6b4b0d3255bfef95601890afd80709",
	} {
		if remote.HasKey(text) {
			t.Errorf("%q is taken for a key", text)
		}
	}
}

// TestPromise11_KeyInAPlace: a place that holds a key is refused, and nothing of it is
// kept or repeated.
func TestPromise11_KeyInAPlace(t *testing.T) {
	const key = "83b6d230fe9d02ce740de0631bb5406fb8fef6f4558947385d543238a22a962d"
	for _, text := range []string{key, "projects/p/secrets/" + key, "n#" + key, "n#%38" + key[1:], "n?region=" + key, "n?region=%38" + key[1:], "n?" + key} {
		p, faults := remote.Cut(text, "region")
		if got := fmt.Sprint(p, faults); len(faults) != 1 || strings.Contains(got, key) || !strings.Contains(got, "looks of a key") {
			t.Errorf("%s: %s", text, got)
		}
	}
}
