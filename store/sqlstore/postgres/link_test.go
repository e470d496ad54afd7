package postgres_test

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/link"
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
		"postgres://app:hunter2/@h/d":                    "not a URL",
		"postgres://app:12?hunter2@h/d":                  "not a URL",
		"postgres://app:12/hunter2@h/d":                  "not a URL",
		"postgres://app:12#hunter2@h/d":                  "not a URL",
		at("127.0.0.1:99999/d"):                          "port",
		at("127.0.0.1:0/d"):                              "port",
		"postgres://h:1/d?sslmode=no&password=%68unter2": "sslmode",
		at("[::1%25lo]/d?sslmode=disable"):               "sslmode=verify-full",
		at("2130706433/d?sslmode=disable"):               "sslmode=verify-full",
		"postgres://app@/d?host=%40x&sslmode=disable":    "sslmode=verify-full",
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
}

// TestCheckURL: it refuses what Open refuses, all of it, in the same line, and says
// how the servers are reached.
func TestCheckURL(t *testing.T) {
	t.Setenv("PGPASSFILE", "/nonexistent")
	for _, c := range []struct {
		url  string
		opts postgres.Options
		want []string
	}{
		{"postgres://app:hunter2@127.0.0.1:0/d", postgres.Options{}, []string{"port"}},
		{"postgres://app:hunter2@127.0.0.1/d?sslmode=no", postgres.Options{MaxConns: -1}, []string{"MaxConns", "sslmode"}},
		{"postgres://app:hunter2@192.0.2.1,127.0.0.1,192.0.2.2/d", postgres.Options{MaxConns: 1025, ConnLifetime: -1, ConnectTimeout: -1},
			[]string{"MaxConns", "ConnLifetime", "ConnectTimeout", `"192.0.2.1"`, `"192.0.2.2"`}},
	} {
		_, err := postgres.CheckURL(c.url, &c.opts)
		_, openErr := postgres.Open(t.Context(), c.url, &c.opts)
		if err == nil || openErr == nil || err.Error() != openErr.Error() {
			t.Errorf("%s: CheckURL says %v, Open %v", c.url, err, openErr)
			continue
		}
		for _, want := range append(c.want, "postgres: ") {
			if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: %v, want one line with %q in it", c.url, err, want)
			}
		}
		if strings.Count(err.Error(), "; ") != len(c.want)-1 {
			t.Errorf("%s: %v, want %d faults", c.url, err, len(c.want))
		}
	}
	dir := services.TLS(t)
	verified := "?sslmode=verify-full&sslrootcert=" + filepath.Join(dir, "ca.pem")
	pair := "&sslcert=" + filepath.Join(dir, "cert.pem") + "&sslkey=" + filepath.Join(dir, "key.pem")
	for url, want := range map[string]link.Login{
		"postgres://app@127.0.0.1,localhost/d":              {User: "app", Local: true},
		"postgres:///d?host=/run/p&user=app&password=p%40w": {User: "app", Password: "p@w", Local: true},
		"postgres://app@127.0.0.1,192.0.2.1/d" + verified:   {User: "app"},
		"postgres://app@192.0.2.1/d" + verified + pair:      {User: "app", Certificate: true},
	} {
		if got, err := postgres.CheckURL(url, nil); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", url, got, err, want)
		}
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
