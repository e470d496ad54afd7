package keys_test

import (
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keys"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// What the database says of instances is nobody's command line: only an ID as instances make
// it stands behind a flag.
func TestAttack_A43_NoRowIsACommand(t *testing.T) {
	of := func(ids ...string) error {
		e := &keys.SilentError{Key: keyring.Generate().ID()}
		for _, id := range ids {
			e.Silent = append(e.Silent, fleet.Instance{ID: id})
		}
		return e
	}
	for _, id := range []string{"$(touch /tmp/pwned)", "`id`", "", "web-2", web2 + "A", web2[1:], "web2" + web2[4:], web2[:25] + "1", web2[:25] + ";", web2[:25] + "\n", web2[:24] + "É"} {
		if text := of(id).Error(); strings.Contains(text, "--stopped") || !strings.HasSuffix(text, "run this again; and "+keys.Strange) {
			t.Errorf("%q: %s", id, text)
		}
	}
	if text := of(web2, "$(touch /tmp/pwned)").Error(); !strings.HasSuffix(text, "with --stopped "+web2+"; and "+keys.Strange) {
		t.Error(text)
	}
}

// However many there are, ten are named.
func TestAttack_A43_ManyAreCounted(t *testing.T) {
	list := make([]fleet.Instance, 40_000)
	for i := range list {
		list[i] = fleet.Instance{ID: web2, Addr: "10.0.0.2:8080", Keys: "ab12cd34 active", Failing: "vault: away"}
	}
	for _, err := range []error{
		&keys.SilentError{Key: keyring.Generate().ID(), Silent: list},
		&keys.LagError{Want: "ab12cd34 active", Behind: list},
	} {
		if text := err.Error(); len(text) > 3000 || !strings.Contains(text, "; and 39990 more: ") || strings.Count(text, "10.0.0.2:8080") != 10 {
			t.Errorf("%d bytes: %.3000s", len(text), text)
		}
	}
	if text := (&keys.LagError{Behind: list[:10]}).Error(); strings.Contains(text, "more") || strings.Count(text, "10.0.0.2:8080") != 10 {
		t.Error(text)
	}
}
