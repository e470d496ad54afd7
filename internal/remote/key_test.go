package remote_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/internal/remote"
)

// TestPromise11_KeyInAPlace: a place that holds a key is refused, and nothing of it is
// kept or repeated.
func TestPromise11_KeyInAPlace(t *testing.T) {
	const key = "83b6d230fe9d02ce740de0631bb5406fb8fef6f4558947385d543238a22a962d"
	for _, text := range []string{key, "projects/p/secrets/" + key, "n#" + key, "n#%38" + key[1:], "n?region=" + key, "n?region=%38" + key[1:], "n?" + key} {
		p, faults := remote.Cut(text, "region")
		if got := fmt.Sprint(p, faults); len(faults) != 1 || strings.Contains(got, key) || !strings.Contains(got, "looks like a key") {
			t.Errorf("%s: %s", text, got)
		}
	}
}
