package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// TestASVS_13_1_4_KeysBeyondTheirSchedule: docs/keys.md says how long a key is in use, and
// the doctor, as it is typed, ends with 1 where one has been there for longer; else with 0.
func TestASVS_13_1_4_KeysBeyondTheirSchedule(t *testing.T) {
	t.Parallel()
	cache, err := os.UserCacheDir() // the doctor likes no data where temporary files lie
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(cache, 0o700); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(cache, "cloakroom-keys-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "keys")
	part := strings.Fields(keyring.Generate().Text())
	save := func(age time.Duration) {
		part[2] = time.Now().Add(-age).UTC().Format("2006-01-02T15:04:05Z")
		if err := writeFile(path, []byte(strings.Join(part, " ")+"\n")); err != nil {
			t.Fatal(err)
		}
	}
	save(0)
	s := start(t, dir, "--keys=file:"+path)
	s.setup()
	s.end(syscall.SIGTERM)
	const day = 24 * time.Hour
	for _, c := range []struct {
		age  time.Duration
		flag string
		code int
	}{
		{0, "--key-rotation=0", 0},
		{364 * day, "--key-rotation=0", 0},
		{367 * day, "--key-rotation=0", 1},
		{89 * day, "--key-rotation=90d", 0},
		{100 * day, "--key-rotation=90d", 1},
	} {
		save(c.age)
		cmd := exec.Command(binary, "doctor", "--keys=file:"+path, c.flag)
		cmd.Dir = dir
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != c.code || strings.Contains(string(out), "key-age") != (code == 1) {
			t.Errorf("a key of %d days, %s: exit code %d, want %d\n%s", c.age/day, c.flag, code, c.code, out)
		}
	}
	page, err := os.ReadFile("../../docs/keys.md")
	if err != nil || !regexp.MustCompile(`(?m)^\| in use \| .*90 days.*a year, or after .key-rotation. \|$`).Match(page) {
		t.Errorf("docs/keys.md tells another schedule: %v", err)
	}
}

// TestASVS_12_3_4_NoOtherAuthority: with an authority of one's own (ca), a server whose
// certificate is of one that the system trusts is not talked to. Without, it is.
func TestASVS_12_3_4_NoOtherAuthority(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind      services.Kind
		flag, own string
		url       func(s *services.Server) string
	}{
		{services.RedisKind, "--store", "?ca=", func(s *services.Server) string { return "rediss://:" + s.Password + "@" + s.Addr() + "/0" }},
		{services.MemcachedKind, "--store", "?ca=", func(s *services.Server) string { return "memcaches://" + s.Addr() }},
		{services.MariaDBKind, "--users", "&ca=", func(s *services.Server) string { return s.URL() + "?tls=true" }},
		{services.PostgresKind, "--users", "&sslrootcert=", func(s *services.Server) string {
			return strings.ReplaceAll(s.URL(), "sslmode=disable", "sslmode=verify-full")
		}},
	} {
		t.Run(string(c.kind), func(t *testing.T) {
			t.Parallel()
			s, dir := services.StartTLS(t, c.kind)
			trusted := "SSL_CERT_FILE=" + filepath.Join(dir, "ca.pem") // by the system
			flag := c.flag + "=" + c.url(s)
			if ready, msg := runs(t, trusted, flag); !ready {
				t.Errorf("with an authority of the system: %s", msg)
			}
			ready, msg := runs(t, trusted, flag+c.own+filepath.Join(dir, "other-ca.pem"))
			if ready || !strings.Contains(msg, "certificate") || strings.Count(msg, "\n") != 1 {
				t.Errorf("with another one of ours: ready %t, %s", ready, msg)
			}
		})
	}
}

// runs tells whether a service with these settings gets ready, and what it said if not.
func runs(t *testing.T, env string, flag string) (ready bool, msg string) {
	t.Helper()
	var out, errs buffer
	cmd := exec.Command(binary, "serve", "--listen=127.0.0.1:0", keyFile(t), flag)
	cmd.Dir, cmd.Stdout, cmd.Stderr = t.TempDir(), &out, &errs
	cmd.Env = append(os.Environ(), env, "SSL_CERT_DIR="+cmd.Dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { cmd.Wait(); close(exited) }()
	defer func() { cmd.Process.Kill(); <-exited }()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		select {
		case <-exited:
			return false, errs.String()
		default:
		}
		if readyLine.MatchString(out.String()) {
			return true, ""
		}
	}
	return false, "neither ready nor ended: " + errs.String()
}

// TestASVS_13_3_1_NoKeyInTheBinary: the program as it is shipped holds no key that a
// service would run on. (Of bare ones nobody can tell: it is full of numbers of that length.)
func TestASVS_13_3_1_NoKeyInTheBinary(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`cloakroom-key-v[0-9]+[ \t]+[0-9a-f]{8}[ \t][^"'\n]{0,80}?[ \t][A-Za-z0-9_-]{43}`)
	for _, l := range line.FindAllString(string(text), -1) {
		if _, err := keyring.Read(strings.NewReader(l)); err == nil {
			t.Errorf("%.40s… is a key", l)
		}
	}
	if line.FindString(string(text)+keyring.Generate().Text()) == "" {
		t.Error("nothing is found at all")
	}
}
