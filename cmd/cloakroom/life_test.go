package main_test

import (
	"os/exec"
	"testing"
)

// TestLifeOfASession lets a program in another language live through all of it:
// setup, logins, devices, ends, stop and kill.
func TestLifeOfASession(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal("python3 is missing: scripts/tools installs it from Debian's packages")
	}
	out, err := exec.CommandContext(t.Context(), python, "testdata/life.py", binary).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
