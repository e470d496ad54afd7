package postgres_test

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/postgres"
)

// refused fails the test unless Open refuses the URL in one line that says so and
// that does not hold the password.
func refused(t *testing.T, url, password, says string, opts *postgres.Options) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	db, err := postgres.Open(ctx, url, opts)
	if err == nil {
		db.Close()
		t.Errorf("%s was taken", strings.ReplaceAll(url, password, "…"))
		return
	}
	text := err.Error()
	if !strings.Contains(text, says) || strings.Contains(text, "\n") {
		t.Errorf("got %q, want one line with %q", text, says)
	}
	if strings.Contains(text, password) {
		t.Errorf("the error holds the password: %q", text)
	}
}

// TestASVS_12_3_1_NoPlaintextBeyondThisMachine: such a URL is refused before
// anything is sent. 0.0.0.0 is not a loopback address, and leads to this machine.
func TestASVS_12_3_1_NoPlaintextBeyondThisMachine(t *testing.T) {
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	came := make(chan bool, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
			came <- true
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, params := range []string{"", "?sslmode=disable", "?sslmode=allow", "?sslmode=prefer", "?sslmode=require", "?sslmode=verify-ca"} {
		refused(t, "postgres://app:hunter2hunter2@0.0.0.0:"+port+"/db"+params, "hunter2hunter2", "sslmode=verify-full", nil)
	}
	refused(t, "postgres://app:hunter2hunter2@127.0.0.1:1,0.0.0.0:"+port+"/db?sslmode=disable", "hunter2hunter2", "sslmode=verify-full", nil)
	if len(came) > 0 {
		t.Error("it was dialled before it was refused")
	}
	refused(t, "postgres://app:hunter2hunter2@0.0.0.0:"+port+"/db?sslmode=disable", "hunter2hunter2", "failed to connect",
		&postgres.Options{AllowPlaintext: true})
	if len(came) == 0 {
		t.Error("AllowPlaintext did not dial")
	}
}

// TestASVS_12_3_2_ServerIsVerified: a server with a certificate of another host
// or of another CA is not talked to.
func TestASVS_12_3_2_ServerIsVerified(t *testing.T) {
	s, dir := services.StartTLS(t, services.PostgresKind, "-c", "listen_addresses=127.0.0.1,127.0.0.2")
	pem := func(name string) string { return filepath.Join(dir, name) }
	url := func(host, ca string) string {
		return with(t, strings.Replace(s.URL(), "127.0.0.1", host, 1), "sslmode", "verify-full", "sslrootcert", pem(ca))
	}
	for _, host := range []string{"127.0.0.1", "localhost"} {
		db := open(t, url(host, "ca.pem"), nil)
		var encrypted bool
		query := "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
		if err := db.Reader().QueryRowContext(t.Context(), query).Scan(&encrypted); err != nil || !encrypted {
			t.Errorf("%s: encrypted: %t, %v", host, encrypted, err)
		}
	}
	refused(t, url("127.0.0.1", "other-ca.pem"), s.Password, "certificate", nil)
	refused(t, url("127.0.0.2", "ca.pem"), s.Password, "certificate is valid for", nil)
	refused(t, url("127.0.0.1", "nowhere.pem"), s.Password, "CA file", nil)
}

// TestPromise11_NoPasswordInErrors: whatever is wrong, the password is not said.
func TestPromise11_NoPasswordInErrors(t *testing.T) {
	real := services.Postgres(t)
	const secret = "hunter2/@:%hunter2"
	const escaped = "hunter2%2F%40%3A%25hunter2"
	at := func(rest string) string { return "postgres://app:" + escaped + "@" + rest }
	host := real[strings.LastIndex(real, "@")+1:]
	for url, says := range map[string]string{
		"":                                               "not a URL",
		"mysql://app:" + escaped + "@h":                  "not a URL",
		"postgres:app:" + secret:                         "not a URL",
		"postgres://app:" + secret + "@h:1/d":            "not a URL",
		at("h:port/d"):                                   "not a URL",
		at("127.0.0.1:1/d?sslmode=disable"):              "failed to connect",
		at("127.0.0.1:1/d?sslmode=nonsense"):             "sslmode",
		at("127.0.0.1:1/d?sslrootcert=/no"):              "", // whichever it meets first
		at("127.0.0.1:1/d?connect_timeout=x"):            "connect_timeout",
		at("no-such-host.invalid/d?sslmode=disable"):     "sslmode=verify-full",
		at("no-such-host.invalid/d?sslmode=verify-full"): "failed to connect",
		at(host): "the password is wrong",
		strings.Replace(real, "sslmode=disable", "x=y", 1):  "",
		"postgres://app@127.0.0.1:1/d?password=" + escaped:  "failed to connect",
		strings.Replace(real, "/cloakroom", "/no", 1) + "x": "",
	} {
		refused(t, url, "hunter2", says, nil)
	}
	refused(t, real, "hunter2", "MaxConns", &postgres.Options{MaxConns: -1})
	db := open(t, real, nil)
	if user, proof := db.Login(); user != "cloakroom" || !proof {
		t.Errorf("signs in as %q, with proof: %t", user, proof)
	}
}

// TestConnectTimeout: a server that takes a connection and says nothing is given
// up, be it nobody's patience that ends.
func TestConnectTimeout(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	url := "postgres://app:hunter2@" + l.Addr().String() + "/db?sslmode=disable"
	db, err := postgres.Open(context.Background(), url, &postgres.Options{ConnectTimeout: 50 * time.Millisecond})
	if err == nil {
		db.Close()
		t.Fatal("it was opened")
	}
}
