package main_test

import (
	"strings"
	"testing"
)

// TestASVS_16_4_2_TheHandoverIsRemembered: who cuts the audit log off before the handover from
// the key that leaked gets nobody to vouch for what is left, unless the operator says so.
func TestASVS_16_4_2_TheHandoverIsRemembered(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addUser(t, dir, "ada")
	old := keysOf(t, dir, "active")[0]
	must(t, dir, "key", "retire", "--now", old)
	must(t, dir, "audit", "verify")
	db := peopleOf(t, dir).db
	for _, s := range []string{
		"DELETE FROM cloakroom_audit WHERE seq > 1",
		"UPDATE cloakroom_audit_head SET seq = 1, hash = (SELECT hash FROM cloakroom_audit WHERE seq = 1)",
	} {
		if _, err := db.Exec(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	code, out := command(t, dir, "key", "retire", "--now", old)
	if code != 1 || !strings.Contains(out, "was handed over from the key "+old+" before") || !strings.Contains(out, "with --vouch") {
		t.Errorf("exit code %d, want 1 and why: %s", code, out)
	}
	if code, out := command(t, dir, "audit", "verify"); code != 1 {
		t.Errorf("exit code %d, want 1: %s", code, out)
	}
	must(t, dir, "key", "retire", "--now", "--vouch", old)
	must(t, dir, "audit", "verify")
}
