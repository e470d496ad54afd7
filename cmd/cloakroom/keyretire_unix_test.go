//go:build unix

package main_test

import (
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestPromise10_AnInstanceThatDoesNotFollowIsNamed: one hangs while the key is retired. The
// command does not wait for it with what can be done at once, and says which it is; run
// again, it ends what is left.
func TestPromise10_AnInstanceThatDoesNotFollowIsNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addUser(t, dir, "ada", "--pepper=true")
	running, stuck := start(t, dir), start(t, dir)
	callers := [2]caller{newCaller(running.URL), newCaller(stuck.URL)}
	k, _, err := callers[0].signIn("ada")
	if err != nil {
		t.Fatal(err)
	}
	old := keysOf(t, dir, "active")[0]
	stuck.cmd.Process.Signal(syscall.SIGSTOP)
	code, out := command(t, dir, "key", "retire", "--now", "--wait=2s", old)
	addr := strings.TrimPrefix(stuck.URL, "http://")
	if code != 1 || !strings.Contains(out, addr) || strings.Contains(out, strings.TrimPrefix(running.URL, "http://")) || !strings.Contains(out, "ended: 1 session under it; ") {
		t.Errorf("exit code %d, want 1 and %s: %s", code, addr, out)
	}
	if a, err := callers[0].ask("GET", "/auth/session", k.cookie, "", ""); err != nil || a.status != http.StatusUnauthorized {
		t.Errorf("the instance that runs takes what a retired key has signed: %d, %v", a.status, err)
	}
	if code, out := command(t, dir, "key", "list"); code != 0 || !strings.Contains(out, "1 of 2: ") || !strings.Contains(out, addr) {
		t.Errorf("exit code %d: %s", code, out)
	}
	stuck.cmd.Process.Signal(syscall.SIGCONT)
	must(t, dir, "key", "retire", "--now", old)
	for i, c := range callers {
		if a, err := c.ask("GET", "/auth/session", k.cookie, "", ""); err != nil || a.status != http.StatusUnauthorized {
			t.Errorf("instance %d takes what a retired key has signed: %d, %v", i, a.status, err)
		}
		if _, a, err := c.signIn("ada"); err != nil || a.status != http.StatusOK {
			t.Errorf("signing in again at instance %d: %d, %v", i, a.status, err)
		}
	}
	must(t, dir, "audit", "verify")
}

// TestPromise10_AKilledRotationGoesOn: the command dies while it waits for an instance; the
// next makes no other key.
func TestPromise10_AKilledRotationGoesOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addUser(t, dir, "ada")
	s := start(t, dir, "--lifetime=72h")
	c := newCaller(s.URL)
	k, _, err := c.signIn("ada")
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Process.Signal(syscall.SIGSTOP)
	var out buffer
	cmd := exec.Command(binary, "key", "rotate")
	cmd.Dir, cmd.Stdout = dir, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); !strings.Contains(out.String(), "next: ") && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
	}
	cmd.Process.Kill()
	cmd.Wait()
	s.cmd.Process.Signal(syscall.SIGCONT)
	next := keysOf(t, dir, "next")
	if len(next) != 1 {
		t.Fatalf("next are %v", next)
	}
	must(t, dir, "key", "rotate")
	if active := keysOf(t, dir, "active"); fmt.Sprint(active) != fmt.Sprint(next) {
		t.Errorf("%v signs, want %v", active, next)
	}
	// The sessions say how long they live, where the command was not told.
	if out := must(t, dir, "key", "list"); !strings.Contains(out, time.Now().Add(72*time.Hour).UTC().Format(time.DateOnly)) {
		t.Errorf("the key before goes before its sessions do: %s", out)
	}
	if a, err := c.ask("GET", "/auth/session", k.cookie, "", ""); err != nil || a.status != http.StatusOK {
		t.Errorf("signed out: %d, %v", a.status, err)
	}
	must(t, dir, "audit", "verify")
}
