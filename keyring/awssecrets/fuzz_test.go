package awssecrets_test

import (
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/keyring/awssecrets"
)

// FuzzOpen: a place that is taken comes out as one that means the same; the faults of
// another show nothing of it.
func FuzzOpen(f *testing.F) {
	f.Add("prod/cloakroom?region=eu-central-1#keys")
	f.Add("arn:aws:secretsmanager:eu-central-1:123456789012:secret:n-AbCdEf?version-stage=blue#a%20b")
	f.Add("?region=&x#%zz")
	f.Fuzz(func(t *testing.T, place string) {
		src, err := awssecrets.Open(place, nil)
		if err != nil {
			// But for the words of the error's own, one of which it may be.
			text := strings.ReplaceAll(err.Error(), "arn:aws:secretsmanager:eu-central-1:123456789012:secret:NAME-AbCdEf", "")
			if len(place) > 20 && strings.Contains(text, place) {
				t.Errorf("%q is repeated: %v", place, err)
			}
			return
		}
		text, ok := strings.CutPrefix(src.String(), "aws-sm:")
		again, err := awssecrets.Open(text, nil)
		if !ok || err != nil || again.String() != src.String() {
			t.Errorf("%q comes out as %q: %v", place, src, err)
		}
	})
}
