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

// TestASVS_16_4_2_AHandoverThatFailedIsNoSuccess: the key is retired, and whoever runs it is
// told that the audit log, which cannot be opened, has not been handed over, until it has.
func TestASVS_16_4_2_AHandoverThatFailedIsNoSuccess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addUser(t, dir, "ada")
	old := keysOf(t, dir, "active")[0]
	db := peopleOf(t, dir).db
	newer := func(by int) {
		if n, err := db.Exec(t.Context(), "UPDATE cloakroom_schema SET version = version + ? WHERE component = CAST('audit' AS BLOB)", by); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	newer(90)
	code, out := command(t, dir, "key", "retire", "--now", "--wait=100ms", old)
	for _, want := range []string{"retired: " + old + " is accepted no more", "ended: 0 sessions", "followed: ", "the audit log is not vouched for: auditlog: "} {
		if code != 1 || !strings.Contains(out, want) {
			t.Errorf("exit code %d, want 1 and %q: %s", code, want, out)
		}
	}
	newer(-90)
	if ids := keysOf(t, dir, "retired"); len(ids) != 1 || ids[0] != old {
		t.Errorf("retired is %v, want %s", ids, old)
	}
	must(t, dir, "key", "retire", "--now", old)
	must(t, dir, "audit", "verify")
}
