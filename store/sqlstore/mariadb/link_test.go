package mariadb_test

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/link"
	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/mariadb"
)

// refused fails the test unless Open refuses the URL in one line that says so and
// that does not hold the password.
func refused(t *testing.T, url, password, says string, opts *mariadb.Options) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	db, err := mariadb.Open(ctx, url, opts)
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
	for _, params := range []string{"", "?tls=false"} {
		refused(t, "mysql://app:hunter2hunter2@0.0.0.0:"+port+"/db"+params, "hunter2hunter2", "tls=true", nil)
	}
	for _, params := range []string{"?tls=skip-verify", "?tls=preferred"} { // there is no such thing
		refused(t, "mysql://app:hunter2hunter2@0.0.0.0:"+port+"/db"+params, "hunter2hunter2", "tls is true or false", &mariadb.Options{AllowPlaintext: true})
	}
	if len(came) > 0 {
		t.Error("it was dialled before it was refused")
	}
	refused(t, "mysql://app:hunter2hunter2@0.0.0.0:"+port+"/db", "hunter2hunter2", "", &mariadb.Options{AllowPlaintext: true})
	if len(came) == 0 {
		t.Error("AllowPlaintext did not dial")
	}
}

// TestASVS_12_3_2_ServerIsVerified: a server with a certificate of another host
// or of another CA, or with none, is not talked to.
func TestASVS_12_3_2_ServerIsVerified(t *testing.T) {
	s, dir := services.StartTLS(t, services.MariaDBKind, "--bind-address=0.0.0.0")
	url := func(host, ca string) string {
		return strings.Replace(s.URL(), "127.0.0.1", host, 1) + "?tls=true&ca=" + filepath.Join(dir, ca)
	}
	for _, u := range []string{url("127.0.0.1", "ca.pem"), url("localhost", "ca.pem"), url("127.0.0.2", "ca.pem") + "&server-name=localhost"} {
		db := open(t, u, nil)
		var name, cipher string
		if err := db.Reader().QueryRowContext(t.Context(), "SHOW STATUS LIKE 'Ssl_cipher'").Scan(&name, &cipher); err != nil || cipher == "" {
			t.Errorf("%s: cipher %q, %v", u[strings.Index(u, "?"):], cipher, err)
		}
	}
	refused(t, url("127.0.0.1", "other-ca.pem"), s.Password, "certificate", nil)
	refused(t, url("127.0.0.2", "ca.pem"), s.Password, "certificate is valid for", nil)
	refused(t, url("127.0.0.1", "ca.pem")+"&server-name=elsewhere.example", s.Password, "certificate is valid for", nil)
	refused(t, url("127.0.0.1", "nowhere.pem"), s.Password, "parameter ca", nil)
	refused(t, services.MariaDB(t)+"?tls=true", "no password", "TLS", nil) // a server that has none
}

// TestPromise11_NoPasswordInErrors: whatever is wrong, the password is not said.
func TestPromise11_NoPasswordInErrors(t *testing.T) {
	real := services.MariaDB(t)
	const secret = "hunter2/@:%hunter2"
	const escaped = "hunter2%2F%40%3A%25hunter2"
	at := func(rest string) string { return "mysql://app:" + escaped + "@" + rest }
	host := real[strings.LastIndex(real, "@")+1:]
	for url, says := range map[string]string{
		"":                                    "not a URL",
		"postgres://app:" + escaped + "@h":    "not a URL",
		"mysql:app:" + secret:                 "not a URL",
		"mysql://app:" + secret + "@h:1/d":    "not a URL",
		at("h:port/d"):                        "not a URL",
		"mysql://app:hunter2/@h/d":            "not a URL",
		"mysql://app:12?hunter2@h/d":          "not a URL",
		"mysql://app:12/hunter2@h/d":          "not a URL",
		"mysql://app:12#hunter2@h/d":          "not a URL",
		at("127.0.0.1:0/d"):                   "port",
		at("127.0.0.1:99999/d"):               "port",
		at("127.0.0.1:1/d?hunter2"):           "unknown parameter",
		at("h:0?x=1"):                         "name one database behind the host, as in mysql://user:password@host:3306/database?tls=true; unknown",
		at("[::1%25lo]/d"):                    "add tls=true",
		at("2130706433/d"):                    "add tls=true",
		at("127.0.0.1:1/"):                    "name one database",
		at("127.0.0.1:1/a/b"):                 "name one database",
		at("/d"):                              "name a host",
		at("h/d?socket=/s"):                   "not both",
		at("127.0.0.1:1/d"):                   "connection refused",
		at("127.0.0.1:1/d?tls=nonsense"):      "tls is true or false",
		at("127.0.0.1:1/d?tls=false&ca=/no"):  "contradicts",
		at("127.0.0.1:1/d?ca=/no"):            "parameter ca",
		at("127.0.0.1:1/d?cert=/no"):          "both cert and key",
		at("127.0.0.1:1/d?cert=/no&key=/no"):  "parameters cert and key",
		at("127.0.0.1:1/d?charset=gbk"):       "unknown parameter",
		at("127.0.0.1:1/d?tls=true&tls=true"): "write it once",
		at("127.0.0.1:1/d?" + escaped):        "unknown parameter",
		at("no-such-host.invalid/d"):          "add tls=true",
		at("no-such-host.invalid/d?tls=true"): "no-such-host.invalid",
		at("d?socket=/no/such/socket"):        "name one database",
		at("/d?socket=/no/such/socket"):       "/no/such/socket",
		at(host):                              "the password is wrong",
		real + "x":                            "no right to the database",
	} {
		refused(t, url, "hunter2", says, nil)
	}
	refused(t, real, "hunter2", "MaxConns", &mariadb.Options{MaxConns: -1})
}

// TestCheckURL: it refuses what Open refuses, all of it, in the same line, and says
// how the server is reached.
func TestCheckURL(t *testing.T) {
	for _, c := range []struct {
		url  string
		opts mariadb.Options
		want []string
	}{
		{"mysql://app:hunter2@127.0.0.1:0/d", mariadb.Options{}, []string{"port"}},
		{"mysql://app:hunter2@127.0.0.1:99999/d", mariadb.Options{}, []string{"port"}},
		{"mysql://app:hunter2@192.0.2.1", mariadb.Options{MaxConns: 1025, ConnLifetime: -1, ConnectTimeout: -1},
			[]string{"MaxConns", "ConnLifetime", "ConnectTimeout", "one database", "tls=true"}},
	} {
		_, err := mariadb.CheckURL(c.url, &c.opts)
		_, openErr := mariadb.Open(t.Context(), c.url, &c.opts)
		if err == nil || openErr == nil || err.Error() != openErr.Error() {
			t.Errorf("%s: CheckURL says %v, Open %v", c.url, err, openErr)
			continue
		}
		for _, want := range append(c.want, "mariadb: ") {
			if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: %v, want one line with %q in it", c.url, err, want)
			}
		}
		if strings.Count(err.Error(), "; ") != len(c.want)-1 {
			t.Errorf("%s: %v, want %d faults", c.url, err, len(c.want))
		}
	}
	dir := services.TLS(t)
	pair := "&cert=" + filepath.Join(dir, "cert.pem") + "&key=" + filepath.Join(dir, "key.pem")
	for url, want := range map[string]link.Login{
		"mysql://app@[::1]/d":                     {User: "app", Local: true},
		"mysql://app:p%40w@/d?socket=/run/s":      {User: "app", Password: "p@w", Local: true},
		"mysql://app@192.0.2.1/d?tls=true" + pair: {User: "app", Certificate: true},
	} {
		if got, err := mariadb.CheckURL(url, nil); err != nil || got != want {
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
	url := "mysql://app:hunter2@" + l.Addr().String() + "/db"
	db, err := mariadb.Open(context.Background(), url, &mariadb.Options{ConnectTimeout: 50 * time.Millisecond})
	if err == nil {
		db.Close()
		t.Fatal("it was opened")
	}
}
