package gcpsecrets_test

import (
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/keyring/gcpsecrets"
)

// FuzzOpen: a place that is taken comes out as one that means the same; the faults of
// another show nothing of it.
func FuzzOpen(f *testing.F) {
	f.Add("projects/p/secrets/s?endpoint=https://localhost#keys")
	f.Add("projects/1/locations/europe-west3/secrets/s/versions/7#a%20b")
	f.Add("projects/p:q/secrets/?endpoint=http://h&x#%zz")
	f.Fuzz(func(t *testing.T, place string) {
		src, err := gcpsecrets.Open(place, nil)
		if err != nil {
			// But for the words of the error's own, one of which it may be.
			text := strings.ReplaceAll(err.Error(), "projects/PROJECT/secrets/SECRET", "")
			if len(place) > 20 && strings.Contains(text, place) {
				t.Errorf("%q is repeated: %v", place, err)
			}
			return
		}
		text, ok := strings.CutPrefix(src.String(), "gcp-sm:")
		again, err := gcpsecrets.Open(text, nil)
		if !ok || err != nil || again.String() != src.String() {
			t.Errorf("%q comes out as %q: %v", place, src, err)
		}
	})
}
