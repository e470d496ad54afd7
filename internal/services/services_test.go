package services_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/services"
)

// ask sends one line to a server and returns the first line of its answer.
func ask(t *testing.T, addr, line string) (string, error) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(300 * time.Millisecond))
	if _, err := conn.Write([]byte(line + "\r\n")); err != nil {
		return "", err
	}
	return bufio.NewReader(conn).ReadString('\n')
}

// TestServer freezes, kills and restarts a server of each kind.
func TestServer(t *testing.T) {
	for _, kind := range services.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s := services.Start(t, kind)
			pid := s.PID()
			if !strings.Contains(s.URL(), s.Addr()) || !strings.Contains(s.URLAt("127.0.0.1:1"), "127.0.0.1:1") {
				t.Errorf("URL %s, address %s", s.URL(), s.Addr())
			}
			if kind == services.MemcachedKind { // the others greet in their own ways
				if got, err := ask(t, s.Addr(), "version"); err != nil || !strings.HasPrefix(got, "VERSION") {
					t.Fatal(got, err)
				}
				s.Freeze(t)
				if got, err := ask(t, s.Addr(), "version"); err == nil {
					t.Errorf("a frozen server answers %q", got)
				}
				s.Thaw(t)
				if _, err := ask(t, s.Addr(), "version"); err != nil {
					t.Error(err)
				}
			}
			s.Kill(t)
			if conn, err := net.Dial("tcp", s.Addr()); err == nil {
				conn.Close()
				t.Error("a killed server takes connections")
			}
			s.Start(t)
			if s.PID() == pid {
				t.Error("the same process")
			}
		})
	}
}

// TestTLS: each server proves who it is.
func TestTLS(t *testing.T) {
	for _, kind := range []services.Kind{services.RedisKind, services.MemcachedKind} {
		t.Run(string(kind), func(t *testing.T) {
			s, dir := services.StartTLS(t, kind)
			pem, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
			if err != nil {
				t.Fatal(err)
			}
			pool := x509.NewCertPool()
			pool.AppendCertsFromPEM(pem)
			conn, err := tls.Dial("tcp", s.Addr(), &tls.Config{RootCAs: pool})
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			if conn, err := tls.Dial("tcp", s.Addr(), &tls.Config{RootCAs: x509.NewCertPool()}); err == nil {
				conn.Close()
				t.Error("an unknown authority was taken")
			}
		})
	}
	for _, kind := range []services.Kind{services.PostgresKind, services.MariaDBKind} {
		services.StartTLS(t, kind) // they speak TLS after a greeting of their own: their stores' tests do
	}
}

// TestDatabases: each is new and belongs to its test.
func TestDatabases(t *testing.T) {
	if a, b := services.Postgres(t), services.Postgres(t); a == b {
		t.Error("one database for two")
	}
	services.MariaDB(t)
	services.Redis(t)
	services.Memcached(t)
}

// TestMissing: where there is no server the test fails, and says in a line how to
// get one.
func TestMissing(t *testing.T) {
	if os.Getenv("ALONE") != "" {
		services.Redis(t)
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestMissing$")
	cmd.Env = append(os.Environ(), "ALONE=1", services.Env+"=")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no redis: run the tests with `make test`") {
		t.Errorf("%v: %s", err, out)
	}
}
