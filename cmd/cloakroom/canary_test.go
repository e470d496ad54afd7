package main_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/canary"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// secretIn returns the secret of a key line.
func secretIn(t *testing.T, line string) []byte {
	t.Helper()
	line = strings.TrimSpace(line)
	secret, err := base64.RawURLEncoding.DecodeString(line[strings.LastIndexByte(line, ' ')+1:])
	if err != nil || len(secret) != 32 {
		t.Fatalf("no key line: %v", err)
	}
	return secret
}

// splitFlag returns name and value of --name=value.
func splitFlag(flag string) (name, value string) {
	name, value, _ = strings.Cut(strings.TrimPrefix(flag, "--"), "=")
	return name, value
}

// leaks is everything that has been let out, and the keys that none of it may show.
type leaks struct {
	t  *testing.T
	mu sync.Mutex

	search canary.Search
	out    []output
}

type output struct{ what, text string }

// keys makes the secrets of a text of keys known, and says how many there are.
func (l *leaks) keys(name, text string) (n int) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "cloakroom-key-v1 ") {
			l.search.Add(name+" "+strings.Fields(line)[1], secretIn(l.t, line))
			n++
		}
	}
	return n
}

// keep collects what has been let out.
func (l *leaks) keep(what string, text ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range text {
		l.out = append(l.out, output{what, t})
	}
}

// judge searches all of it, which is at least so many bytes.
func (l *leaks) judge(least int) {
	l.t.Helper()
	n := 0
	for _, o := range l.out {
		n += len(o.text)
		for _, f := range l.search.Find([]byte(o.text)) {
			from := max(0, f.At-80)
			l.t.Errorf("%s: %v, behind %q", o.what, f, o.text[from:f.At])
		}
	}
	if n < least || len(l.search.Secrets()) == 0 {
		l.t.Errorf("only %d bytes, %d keys", n, len(l.search.Secrets()))
	}
}

// run runs a command with variables beside those that any process has. What it prints is
// kept, standard output but where it is there to show keys.
func (l *leaks) run(dir string, env []string, showsKeys bool, args ...string) (stdout, stderr string, code int) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 30*time.Second)
	defer cancel()
	var out, errs strings.Builder
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errs
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GORACE=" + os.Getenv("GORACE")}, env...)
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		l.t.Fatal(err)
	}
	l.keep(fmt.Sprintf("%.60q", args), errs.String())
	if !showsKeys {
		l.keep(fmt.Sprintf("%.60q", args), out.String())
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// misplaced are the ways in which somebody gives a key where none belongs: as it stands
// in a file, and bare. The name of a secret at AWS may look like a bare one.
func misplaced(dir, secret string) (flags [][]string) {
	for _, flag := range []string{
		"--keys=", "--keys=file:", "--keys=file://", "--keys=env:", "--keys=dotenv:", "--keys=dotenv:.env#", "--keys=age:",
		"--keys=age:" + dir + "/keys?identity-file=", "--keys=age:" + dir + "/keys?passphrase=", "--keys=age:" + dir + "/keys?identity=",
		"--keys=vault:", "--keys=vault:https://:", "--keys=vault:https://127.0.0.1:1/", "--keys=gcp-sm:", "--keys=gcp-sm:projects/p/secrets/s/versions/", "--keys=raw:", "--keys=key:",
		"--keys-file=", "--keys-file=env:", "--keys-file=x:", "--keys-file=8faa4fc4 2026-11-21T16:21:14Z active ", "--keys=file:active ", "--config=x:",
		"--data=", "--store=sqlite:", "--store-file=", "--users-file=x:", "--tls-cert=", "--tls-key=", "--keys-interval=", "--key-rotation=", "--pepper=", "--public-url=", "--public-url=https://:", "--listen=", "--log-level=",
		"--store=", "--store=redis://:", "--users=postgres://u:", "--trusted-proxies=",
		"--secret-key=", "--key=", "--", "-", "",
	} {
		flags = append(flags, []string{"serve", "--listen=127.0.0.1:0", flag + secret})
	}
	for _, args := range [][]string{
		{}, {"key"}, {"key", "new"}, {"key", "list"}, {"key", "rotate"}, {"key", "retire"}, {"key", "retire", "--now"},
		{"doctor", "--url=http://localhost:1", "--ca"}, {"doctor", "--tls-cert=cert.pem", "--tls-key"},
		{"serve", "--listen=127.0.0.1:0", "--tls-key=key.pem", "--tls-cert"}, {"user", "add"}, {"user", "disable"}, {"session", "end"}, {"audit", "export"}, {"doctor"}, {"setup-link"}, {"version"},
	} {
		flags = append(flags, append(args, secret))
	}
	flags = append(flags, []string{"key", "env:" + secret}, []string{"user", "postgres://u:" + secret + "@db.example.org"})
	for _, cmd := range [][]string{{"doctor"}, {"doctor", "--json"}, {"key", "list"}, {"key", "rotate", "--print"}, {"key", "rotate"}} {
		for _, flag := range []string{"--keys=", "--keys=file:", "--keys-file=", "--keys=env:", "--store=redis://:"} {
			flags = append(flags, append(slices.Clone(cmd), flag+secret))
		}
	}
	return flags
}

// TestASVS_16_2_5_KeysInWrongPlaces, and with it promise 11: a key that was given in the
// place of something else is refused, and shown by no message.
func TestASVS_16_2_5_KeysInWrongPlaces(t *testing.T) {
	t.Parallel()
	l := &leaks{t: t}
	dir := t.TempDir()
	k := keyring.Generate()
	for base64.StdEncoding.EncodeToString(secretIn(t, k.Text()))[0] == '/' { // which begins a path
		k = keyring.Generate()
	}
	l.keys("key", k.Text())
	secret := secretIn(t, k.Text())
	texts := []string{k.Text(), base64.RawURLEncoding.EncodeToString(secret), base64.StdEncoding.EncodeToString(secret), hex.EncodeToString(secret)}
	type try struct{ env, args []string }
	var tries []try
	for i, text := range texts {
		for j, args := range misplaced(dir, text) {
			if (i+j)%2 == 0 { // a process takes its time
				tries = append(tries, try{nil, args})
			}
		}
		for j, name := range []string{"CLOAKROOM_KEYS", "CLOAKROOM_KEYS_FILE", "CLOAKROOM_KEY", "CLOAKROOM_SECRET_KEY", "CLOAKROOM_STORE", "CLOAKROOM_LOG_LEVEL", "CLOAKROOM_CONFIG"} {
			if (i+j)%2 == 0 {
				tries = append(tries, try{[]string{name + "=" + text}, []string{[]string{"serve", "doctor"}[i/2], "--listen=127.0.0.1:0"}})
			}
		}
		for n, toml := range []string{
			"keys = %q\n", "keys-file = %q\n", "secret-key = %q\n", "[keys]\nactive = %q\n", "keys = [%q]\n", "keys = %s\n", "%s\n",
			"listen = \"127.0.0.1:0\"\n%s = 1\n", "keys = \"file:keys\nsecret = %q\n", "keys = %q\nkeys = %[1]q\n", "[[%s]]\n", "log-level = %q\n",
		} {
			path := filepath.Join(dir, fmt.Sprintf("%d-%d.toml", i, n))
			if err := writeFile(path, fmt.Appendf(nil, toml, text)); err != nil {
				t.Fatal(err)
			}
			if cmd := [][]string{{"serve", "--listen=127.0.0.1:0"}, {"doctor"}, {"key", "list"}, nil}[(i+n)%4]; cmd != nil {
				tries = append(tries, try{nil, append(cmd, "--config="+path)})
			}
		}
	}
	var wg sync.WaitGroup
	next := make(chan try)
	for range 3 {
		wg.Go(func() {
			for try := range next {
				out, msg, code := l.run(dir, try.env, false, try.args...)
				if code == 0 || strings.Contains(out, "ready") || out+msg == "" {
					t.Errorf("%.80q: exit code %d: %s%s", try.args, code, out, msg)
				}
			}
		})
	}
	for _, try := range tries {
		next <- try
	}
	close(next)
	wg.Wait()
	t.Logf("%d tries", len(tries))
	l.judge(len(tries) * 40)
}
