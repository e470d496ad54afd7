package main_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/services"
)

// deployment is one way to keep sessions and accounts where several instances
// find them.
type deployment struct {
	name  string
	flags []string // --store and --users

	lists bool // the sessions can be listed
}

// deployments are all of them, each with a database or a prefix of its own.
func deployments(t *testing.T) []deployment {
	pg, maria := services.Postgres(t), services.MariaDB(t)
	redis := services.Redis(t) + "?prefix=" + services.Prefix(t)
	memcache := services.Memcached(t) + "/" + services.Prefix(t)
	return []deployment{
		{"postgres", []string{"--store", pg, "--users", pg}, true},
		{"mariadb", []string{"--store", maria, "--users", maria}, true},
		{"redis", []string{"--store", redis, "--users", services.Postgres(t)}, true},
		{"memcached", []string{"--store", memcache, "--users", services.MariaDB(t)}, true},
		{"sealed", []string{"--store", "sealed:", "--users", services.Postgres(t)}, false},
	}
}

// keyFile makes a key file as docs/operations.md says, and returns the flag.
func keyFile(t *testing.T) string {
	t.Helper()
	key, err := exec.Command(binary, "key", "new").Output()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "keys")
	if err := writeFile(path, key); err != nil {
		t.Fatal(err)
	}
	return "--keys=file:" + path
}

// runCommand runs a command to its end and returns what it printed and its exit code.
func runCommand(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs strings.Builder
	cmd := exec.Command(binary, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = t.TempDir(), &out, &errs
	timer := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return out.String(), errs.String(), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), 0
}

// at is the same browser at another instance.
func (c *client) at(s *server) *client {
	return &client{t: c.t, s: s, http: c.http, base: s.URL, csrf: c.csrf}
}

// TestPromise01_AcrossInstances and what else holds across two instances that
// share a store: who signs in at one is signed in at the other, who signs out at
// one is signed out at the other, a restart of each in turn signs nobody out.
func TestPromise01_AcrossInstances(t *testing.T) {
	for _, d := range deployments(t) {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{keyFile(t)}, d.flags...)
			dirs := []string{t.TempDir(), t.TempDir()}
			a := start(t, dirs[0], args...)
			c := a.setup()
			b := start(t, dirs[1], args...)
			if got := c.at(b).session().User.Name; got != "ada" {
				t.Fatalf("signed in at one instance, %q at the other", got)
			}

			// Signing out at one ends it at both, for a kept cookie as well.
			phone := b.client().login("ada", goodPassword)
			kept := jar(t, b, phone)
			phone.at(a).session()
			phone.at(a).want(phone.at(a).do("POST", "/auth/logout", "{}", "X-CSRF-Token", phone.csrf), 204)
			phone.http.Jar = kept
			phone.want(phone.do("GET", "/auth/session", ""), 401)
			phone.at(a).want(phone.at(a).do("GET", "/auth/session", ""), 401)

			// Ending the others at one ends them at both.
			phone = b.client()
			phone.login("ada", goodPassword)
			if n := len(c.at(b).sessions()); d.lists && n != 2 || !d.lists && n != 1 {
				t.Errorf("%d sessions in the list", n)
			}
			c.session()
			c.want(c.at(a).do("POST", "/auth/sessions/end-others", "{}", "X-CSRF-Token", c.csrf), 204)
			phone.want(phone.do("GET", "/auth/session", ""), 401)
			c.at(b).session()

			// A restart of one after the other, by SIGTERM and by SIGKILL.
			for i, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGKILL} {
				running := []*server{a, b}
				running[i].end(sig)
				c.at(running[1-i]).session()
				running[i] = start(t, dirs[i], args...)
				a, b = running[0], running[1]
				c.at(a).session()
				c.at(b).session()
			}
		})
	}
}

// jar copies the cookies of a client.
func jar(t *testing.T, s *server, c *client) *keptJar {
	t.Helper()
	r := c.want(c.do("GET", "/auth/session", ""), 200).Request
	return &keptJar{r.Cookies()}
}

// sessions reads the list of sessions.
func (c *client) sessions() (list []struct {
	Handle, Device, Address string
	Current                 bool
}) {
	c.t.Helper()
	var doc struct {
		Sessions *[]struct {
			Handle, Device, Address string
			Current                 bool
		}
	}
	a := c.want(c.do("GET", "/auth/sessions", ""), 200)
	if err := json.Unmarshal([]byte(a.body), &doc); err != nil || doc.Sessions == nil {
		c.t.Fatalf("%s: %v", a.body, err)
	}
	return *doc.Sessions
}

// TestPromise10_InstancesNeedACommonKey: an instance with another key, or with
// none, refuses to start beside one that runs, and signs nobody out.
func TestPromise10_InstancesNeedACommonKey(t *testing.T) {
	for _, d := range deployments(t) {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			keys, dir := keyFile(t), t.TempDir()
			a := start(t, dir, append([]string{keys}, d.flags...)...)
			c := a.setup()

			serve := append([]string{"serve", "--listen=127.0.0.1:0"}, d.flags...)
			_, msg, code := runCommand(t, append(serve, keyFile(t))...)
			if code != 2 || !strings.Contains(msg, "lacks the key") || strings.Count(msg, "\n") != 1 {
				t.Errorf("another key: exit code %d, %s", code, msg)
			}
			_, msg, code = runCommand(t, serve...)
			if code != 2 || !strings.Contains(msg, "is not there, and with it the key") {
				t.Errorf("no key: exit code %d, %s", code, msg)
			}
			a.end(syscall.SIGTERM)
			a = start(t, dir, append([]string{keys}, d.flags...)...)
			c.at(a).session()

			// To end all sessions lets go of the key only where it has been lost.
			other := keyFile(t)
			for _, with := range []string{keys, other} {
				if _, msg, code := runCommand(t, append([]string{"session", "end", "--all", with}, d.flags...)...); code != 0 {
					t.Fatalf("session end --all: exit code %d, %s", code, msg)
				}
				c.at(a).want(c.at(a).do("GET", "/auth/session", ""), 401)
				if with == keys {
					_, msg, code := runCommand(t, append(serve, other)...)
					if code != 2 || !strings.Contains(msg, "lacks the key") {
						t.Errorf("another key after the end of all: exit code %d, %s", code, msg)
					}
				}
			}
			a.end(syscall.SIGTERM)
			start(t, t.TempDir(), append([]string{other}, d.flags...)...)
		})
	}
}

// TestPromise10_NoKeyIsMadeForASharedStore: the first instance does not make one
// up either.
func TestPromise10_NoKeyIsMadeForASharedStore(t *testing.T) {
	t.Parallel()
	for _, d := range deployments(t) {
		_, msg, code := runCommand(t, append([]string{"serve", "--listen=127.0.0.1:0"}, d.flags...)...)
		if code != 2 || !strings.Contains(msg, `"cloakroom key new >`) || strings.Count(msg, "\n") != 1 {
			t.Errorf("%s: exit code %d, %s", d.name, code, msg)
		}
	}
}

// TestPromise10_OfTwoKeysAtOnceOneWins: instances with different keys that start
// at the same moment on a new store do not both run.
func TestPromise10_OfTwoKeysAtOnceOneWins(t *testing.T) {
	for _, d := range deployments(t) {
		t.Run(d.name, func(t *testing.T) {
			var wg sync.WaitGroup
			up := make([]bool, 2)
			keys := []string{keyFile(t), keyFile(t)}
			run := func(i int) bool {
				var out, errs buffer
				cmd := exec.Command(binary, append([]string{"serve", "--listen=127.0.0.1:0", keys[i]}, d.flags...)...)
				cmd.Dir, cmd.Stdout, cmd.Stderr = t.TempDir(), &out, &errs
				if err := cmd.Start(); err != nil {
					t.Error(err)
					return false
				}
				exited := make(chan struct{})
				go func() { cmd.Wait(); close(exited) }()
				defer func() { cmd.Process.Kill(); <-exited }()
				for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
					select {
					case <-exited:
						if !strings.Contains(errs.String(), "lacks the key") {
							t.Errorf("instance %d: %s", i, errs.String())
						}
						return false
					default:
					}
					if readyLine.MatchString(out.String()) {
						return true
					}
				}
				t.Errorf("instance %d neither runs nor ends: %s", i, errs.String())
				return false
			}
			for i := range up {
				wg.Go(func() { up[i] = run(i) })
			}
			wg.Wait()
			if up[0] && up[1] {
				t.Fatal("both run: each signs out whom the other signs in")
			}
			for i := range up { // whoever won may start again
				if up[i] && !run(i) {
					t.Error("the one that won is refused now")
				}
			}
		})
	}
}

// TestCommandsOnEveryStore: the commands work beside a running service.
func TestCommandsOnEveryStore(t *testing.T) {
	for _, d := range deployments(t) {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			where := append([]string{keyFile(t)}, d.flags...)
			s := start(t, t.TempDir(), where...)
			c := s.setup()
			run := func(args ...string) (string, int) {
				t.Helper()
				out, msg, code := runCommand(t, append(args, where...)...)
				if strings.Contains(msg, "panic") {
					t.Fatal(msg)
				}
				return out + msg, code
			}
			if out, code := run("user", "list"); code != 0 || !strings.Contains(out, "ada") {
				t.Errorf("user list: %d %s", code, out)
			}
			out, code := run("session", "list", "--json")
			if d.lists && (code != 0 || !strings.Contains(out, `"ada"`)) || !d.lists && code != 2 {
				t.Errorf("session list: %d %s", code, out)
			}
			if out, code := run("session", "end", "--user", "ada"); code != 0 {
				t.Errorf("session end: %d %s", code, out)
			}
			c.want(c.do("GET", "/auth/session", ""), 401)
			add := exec.Command(binary, append([]string{"user", "add", "bob", "--password-stdin", "--keep-password"}, where...)...)
			add.Dir, add.Stdin = t.TempDir(), strings.NewReader(goodPassword)
			if out, err := add.CombinedOutput(); err != nil {
				t.Fatalf("user add: %v %s", err, out)
			}
			bob := s.client().login("bob", goodPassword)
			if out, code := run("user", "disable", "bob"); code != 0 {
				t.Errorf("user disable: %d %s", code, out)
			}
			bob.want(bob.do("GET", "/auth/session", ""), 401)
		})
	}
}

// TestASVS_12_3_1_LinksToOtherHostsNeedTLS: a store on another host is refused
// before a packet leaves, and so is one whose options would lower that.
func TestASVS_12_3_1_LinksToOtherHostsNeedTLS(t *testing.T) {
	t.Parallel()
	const host = "192.0.2.1" // RFC 5737: nobody's
	for _, args := range [][]string{
		{"--store", "redis://app:" + goodSecret + "@" + host + "/0"},
		{"--store", "memcache://" + host},
		{"--store", "postgres://app:" + goodSecret + "@" + host + "/db"},
		{"--store", "postgres://app:" + goodSecret + "@" + host + "/db?sslmode=require"},
		{"--store", "mysql://app:" + goodSecret + "@" + host + "/db"},
		{"--users", "postgres://app:" + goodSecret + "@" + host + "/db?sslmode=disable"},
		{"--users", "mysql://app:" + goodSecret + "@" + host + "/db"},
	} {
		_, msg, code := runCommand(t, append([]string{"serve", "--listen=127.0.0.1:0", keyFile(t)}, args...)...)
		if code != 2 || !strings.Contains(msg, "TLS") && !strings.Contains(msg, "encrypted") || strings.Count(msg, "\n") != 1 || strings.Contains(msg, goodSecret) {
			t.Errorf("%v: exit code %d, %s", args, code, msg)
		}
	}
}

// TestPromise12_FaultsOfPlacesAreListedAtOnce: those of both places, and those of
// the other settings.
func TestPromise12_FaultsOfPlacesAreListedAtOnce(t *testing.T) {
	_, msg, code := runCommand(t, "serve", "--listen=0.0.0.0:8080",
		"--store=redis://user@127.0.0.1/0", "--users=postgres://app:"+goodSecret+"@127.0.0.1/db?sslmode=never")
	for _, want := range []string{"cloakroom: store: ", "cloakroom: users: ", "cloakroom: listen: "} {
		if !strings.Contains(msg, want) {
			t.Errorf("no line %q in:\n%s", want, msg)
		}
	}
	if code != 2 || strings.Count(msg, "\n") != 3 || strings.Contains(msg, goodSecret) {
		t.Errorf("exit code %d:\n%s", code, msg)
	}
}

// goodSecret is a password that no message may repeat.
const goodSecret = "k7Jq2Zr9"

// TestStoreFromAFile: a place with a password comes from a file.
func TestStoreFromAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	if err := writeFile(path, []byte(services.Redis(t)+"?prefix="+services.Prefix(t)+"\n")); err != nil {
		t.Fatal(err)
	}
	s := start(t, t.TempDir(), keyFile(t), "--store-file="+path)
	s.setup()
}

// TestStoreIsDownAtTheStart: the start fails, in one line without the password.
func TestStoreIsDownAtTheStart(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"--store", "redis://:" + goodSecret + "@127.0.0.1:1/0"},
		{"--store", "memcache://127.0.0.1:1"},
		{"--store", "postgres://app:" + goodSecret + "@127.0.0.1:1/db?sslmode=disable"},
		{"--users", "mysql://app:" + goodSecret + "@127.0.0.1:1/db"},
	} {
		_, msg, code := runCommand(t, append([]string{"serve", "--listen=127.0.0.1:0", keyFile(t)}, args...)...)
		if code != 1 || !strings.Contains(msg, "127.0.0.1:1") || strings.Count(msg, "\n") != 1 || strings.Contains(msg, goodSecret) {
			t.Errorf("%v: exit code %d, %s", args, code, msg)
		}
	}
}

// keptJar sends the same cookies for ever.
type keptJar struct{ cookies []*http.Cookie }

func (j *keptJar) SetCookies(*url.URL, []*http.Cookie) {}
func (j *keptJar) Cookies(*url.URL) []*http.Cookie     { return j.cookies }

// TestRisksAreTold: what is allowed and may sign people out is a line at the start.
func TestRisksAreTold(t *testing.T) {
	t.Parallel()
	redis := services.Redis(t) + "?prefix=" + services.Prefix(t)
	s := start(t, t.TempDir(), keyFile(t), "--store="+redis)
	if line := s.logged(riskLine); !strings.Contains(line, "accounts are not") {
		t.Error(line)
	}
	// The tests' own PostgreSQL runs without fsync.
	pg := services.Postgres(t)
	s = start(t, t.TempDir(), keyFile(t), "--store="+pg, "--users="+pg)
	if line := s.logged(riskLine); !strings.Contains(line, "fsync is off") {
		t.Error(line)
	}
	if n := len(riskLine.FindAllString(s.stderr.String(), -1)); n != 1 {
		t.Errorf("%d risks of one database", n)
	}
}

var riskLine = regexp.MustCompile(`(?m)^.*"msg":"risky_setting".*"reason":"([^"]*)".*$`)
