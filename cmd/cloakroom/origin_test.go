package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
)

// linkOf runs a command that prints a link, and returns what stands before /auth in it,
// and what was said on standard error.
func linkOf(t *testing.T, dir string, args ...string) (origin, said string) {
	t.Helper()
	var errs strings.Builder
	cmd := exec.Command(binary, args...)
	cmd.Dir, cmd.Stderr = dir, &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v: %s", args, err, errs.String())
	}
	before, _, ok := strings.Cut(string(out), "/auth/")
	if i := strings.LastIndex(before, "\n"); i >= 0 {
		before = before[i+1:]
	}
	if !ok || strings.Contains(errs.String(), "token") {
		t.Fatalf("%v: %s%s", args, out, errs.String())
	}
	return before, errs.String()
}

// Links lead to the instance that runs, wherever it listens; what the settings of the
// command say is believed all the same.
func TestLinksLeadToTheRunningInstance(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir)
	addUser(t, dir, "bob")
	for _, args := range [][]string{{"setup-link"}, {"user", "add", "carol", "--invite"}, {"user", "invite", "carol"}, {"user", "reset", "bob"}} {
		if origin, said := linkOf(t, dir, args...); origin != s.URL || !strings.Contains(said, s.URL+"/auth, where an instance says that it runs") || strings.Count(said, "\n") != 1 {
			t.Errorf("%v: %s, want %s: %s", args, origin, s.URL, said)
		}
	}
	at := strings.TrimPrefix(s.URL, "http://")
	for _, listen := range []string{at, strings.Replace(at, "127.0.0.1", "localhost", 1)} {
		if origin, said := linkOf(t, dir, "user", "reset", "bob", "--listen", listen); origin != "http://"+listen || said != "" {
			t.Errorf("%s: %s: %s", listen, origin, said)
		}
	}
	for flag, want := range map[string]string{"--public-url=https://login.example.org": "https://login.example.org", "--listen=127.0.0.1:1": "http://127.0.0.1:1"} {
		origin, said := linkOf(t, dir, "user", "reset", "bob", flag)
		if origin != want || !strings.Contains(said, "instance says that it is at "+s.URL+"/auth") || strings.Count(said, "\n") != 1 {
			t.Errorf("%s: %s: %s", flag, origin, said)
		}
	}
}

// Whoever writes to the database may claim any address there. A link, which has a secret
// in it, leads to none beyond this machine; and what is claimed is told as a claim, if it
// is an address at all.
func TestLinksLeadToNoAddressOfTheDatabase(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addUser(t, dir, "bob")
	db, err := sqlite.Open(filepath.Join(dir, "cloakroom-data", "cloakroom.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	f, err := fleet.Open(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	const otherwise, guess = "http://127.0.0.1:8080", "the link is a guess: "
	for _, c := range []struct {
		name string
		rows []fleet.Instance
		want string
		said string // "" for nothing
	}{
		{"nobody runs", nil, otherwise, guess},
		{"at the default address", []fleet.Instance{{URL: "http://127.0.0.1:8080/auth"}}, otherwise, ""},
		{"another site", []fleet.Instance{{URL: "https://evil.example/auth"}}, otherwise, "says that it is at https://evil.example/auth; if that is the service's address"},
		{"another site beside one here", []fleet.Instance{{URL: "https://evil.example/auth"}, {URL: "http://127.0.0.1:9000/auth"}}, otherwise, guess},
		{"two here", []fleet.Instance{{URL: "http://127.0.0.1:9001/auth"}, {URL: "http://127.0.0.1:9000/auth"}}, "http://127.0.0.1:9000", "where an instance says"},
		{"two here, one at the default address", []fleet.Instance{{URL: "http://127.0.0.1:9001/auth"}, {URL: "http://127.0.0.1:8080/auth"}}, otherwise, ""},
		{"plain http elsewhere", []fleet.Instance{{URL: "http://evil.example/auth"}}, otherwise, guess},
		{"the name of an address", []fleet.Instance{{URL: "https://127.0.0.1.evil.example/auth"}}, otherwise, guess},
		{"a user", []fleet.Instance{{URL: "http://127.0.0.1:80@evil.example/auth"}}, otherwise, guess},
		{"no prefix", []fleet.Instance{{URL: "http://localhost:9000"}}, otherwise, guess},
		{"more than a path", []fleet.Instance{{URL: "http://localhost:9000/auth?next=/auth"}}, otherwise, guess},
		{"an escaped path", []fleet.Instance{{URL: "http://localhost:9000/auth%2f..%2fevil"}}, otherwise, guess},
		{"a terminal's command", []fleet.Instance{{URL: "http://localhost:80/auth\x1b[2J"}}, otherwise, guess},
		{"no URL", []fleet.Instance{{URL: "javascript:alert(1)//127.0.0.1"}}, otherwise, guess},
		{"an address elsewhere", []fleet.Instance{{URL: "http://192.0.2.1:80/auth"}}, otherwise, guess},
		{"a name elsewhere", []fleet.Instance{{URL: "http://evil.example:80/auth"}}, otherwise, guess},
		{"another machine's own", []fleet.Instance{{Addr: "not-" + host + " 127.0.0.1:9000", URL: "http://127.0.0.1:9000/auth"}}, otherwise, guess},
		{"this machine's own", []fleet.Instance{{Addr: host + " 127.0.0.1:9000", URL: "http://127.0.0.1:9000/auth"}}, "http://127.0.0.1:9000", "where an instance says"},
		{"all addresses", []fleet.Instance{{URL: "http://localhost:9000/auth"}}, "http://localhost:9000", "where an instance says"},
		{"TLS here", []fleet.Instance{{Addr: "127.0.0.1:9000", URL: "https://localhost/auth"}}, "https://localhost", "where an instance says"},
	} {
		for i, row := range c.rows {
			row.ID, row.Started = string(rune('a'+i)), time.Now()
			if err := f.Report(t.Context(), row); err != nil {
				t.Fatal(err)
			}
		}
		origin, said := linkOf(t, dir, "user", "reset", "bob")
		if origin != c.want || !strings.Contains(said, c.said) || c.said == "" && said != "" || strings.Contains(said, "\x1b") {
			t.Errorf("%s: %s, want %s: %q", c.name, origin, c.want, said)
		}
		for i := range c.rows {
			if err := f.Leave(t.Context(), string(rune('a'+i))); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// What only the running service was told, TLS and a prefix, is in the link as well.
func TestLinksHaveSchemeAndPrefixOfTheInstance(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addUser(t, dir, "bob")
	s := start(t, dir, "--prefix=/staff/login")
	data := "--data=" + filepath.Join(dir, "cloakroom-data")
	out, said, code := runCommand(t, "user", "reset", "bob", data)
	if code != 0 || !strings.Contains(out, s.URL+"/staff/login/reset") || !strings.Contains(said, "where an instance says") {
		t.Errorf("exit code %d, %s%s", code, out, said)
	}
	if out, said, _ := runCommand(t, "user", "reset", "bob", data, "--prefix=/staff"); !strings.Contains(out, "/staff/reset") || !strings.Contains(said, "instance says that it is at "+s.URL+"/staff/login") {
		t.Errorf("%s%s", out, said)
	}
}
