package main_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
)

// TestAttack_A43_AnOldCopyOfTheKeysIsLeftAlone: after a rotation somebody names a copy of the
// keys from before. It shares a key with the service, and lacks the one that signs: neither a
// rotation nor a retirement is begun there, and the audit log stays genuine, whether the
// service runs or not.
func TestAttack_A43_AnOldCopyOfTheKeysIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addUser(t, dir, "ada")
	s := start(t, dir)
	kept, err := os.ReadFile(filepath.Join(dir, "cloakroom-data", "keys"))
	if err != nil {
		t.Fatal(err)
	}
	backup := filepath.Join(dir, "backup")
	if err := writeFile(backup, kept); err != nil {
		t.Fatal(err)
	}
	old := keysOf(t, dir, "active")[0]
	must(t, dir, "key", "rotate")
	tries := [][]string{{"rotate", "--wait=3s"}, {"rotate", "--next"}, {"rotate", "--rollback"}, {"retire", "--now", old}}
	refused := func(want string) {
		t.Helper()
		for _, args := range tries {
			code, out := command(t, dir, append([]string{"key", "--keys=file:backup"}, args...)...)
			if code == 0 || !strings.Contains(out, want) || strings.Contains(out, "is accepted") {
				t.Errorf("%v: exit code %d: %s", args, code, out)
			}
			if args[0] == "retire" && !strings.Contains(out, old+" is not retired: ") {
				t.Errorf("it does not say what to do: %s", out)
			}
		}
		if now, err := os.ReadFile(backup); err != nil || !bytes.Equal(now, kept) {
			t.Errorf("the copy is changed, %v", err)
		}
		must(t, dir, "audit", "verify")
	}
	refused("no instance that runs signs with a key of file:backup, and nothing is changed: ")
	s.end(os.Interrupt)
	refused(" lacks the key ")
	// What is printed changes nothing, and asks nobody.
	must(t, dir, "key", "retire", "--now", "--print", "--keys=file:backup", old)
	must(t, dir, "key", "retire", "--now", old)
	must(t, dir, "key", "rotate")
	must(t, dir, "audit", "verify")
}

// TestPromise10_WhoLagsLocksNobodyOut: an instance that is behind the source, by a rotation, by
// one that broke off, or by a rollback, signs with a key that the source has in another state.
// It is waited for and named, as one that follows too late, and a key can be retired.
func TestPromise10_WhoLagsLocksNobodyOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addUser(t, dir, "ada")
	f, err := fleet.Open(t.Context(), peopleOf(t, dir).db)
	if err != nil {
		t.Fatal(err)
	}
	// is what each instance says that it has.
	is := func(said ...string) {
		t.Helper()
		for _, id := range []string{"one", "two"} {
			if err := f.Leave(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		for i, keys := range said {
			if err := f.Report(t.Context(), fleet.Instance{ID: []string{"one", "two"}[i], Keys: keys}); err != nil {
				t.Fatal(err)
			}
		}
	}
	const lags, foreign = "not every instance has followed", "no instance that runs signs with a key of "
	try := func(want string, args ...string) {
		t.Helper()
		if code, out := command(t, dir, append([]string{"key", "--wait=1ms"}, args...)...); code != 1 || !strings.Contains(out, want) {
			t.Errorf("%v: exit code %d, want %q: %s", args, code, want, out)
		}
	}
	a := keysOf(t, dir, "active")[0]
	is(a + " active")
	try(lags, "rotate", "--next")
	b := keysOf(t, dir, "next")[0]
	try(lags, "rotate") // a rotation that broke off behind its first step
	is()
	must(t, dir, "key", "rotate")
	is(a + " active, " + b + " next")
	try(lags, "rotate") // and behind its second
	try(lags, "rotate", "--next")
	is("00000000 active", a+" active")
	try(lags, "rotate", "--next")
	is("00000000 active", "")
	try(foreign, "rotate", "--next")
	is("")
	try(lags, "rotate", "--next")
	is("00000000 active, " + b + " next, " + a + " retiring until 2026-01-01T00:00:00Z")
	try(foreign, "rotate", "--next")
	try(foreign, "retire", "--now", a)
	is()
	must(t, dir, "key", "rotate", "--rollback")
	is(b + " active, " + a + " retiring until 2099-01-01T00:00:00Z")
	try(lags, "rotate", "--rollback")
	try(lags, "retire", "--now", a)
	try(lags, "retire", "--now", a) // again, as it says
	must(t, dir, "audit", "verify")
}
