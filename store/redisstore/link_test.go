package redisstore_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/link"
	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/redisstore"
	"github.com/cloakroom-dev/cloakroom/store/storetest"
)

// refused opens a URL, which must fail in one line that names no password.
func refused(t *testing.T, address, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err := redisstore.Open(ctx, address, nil)
	if err == nil {
		s.Close()
		t.Fatalf("%s was opened", address)
	}
	if !strings.HasPrefix(err.Error(), "redisstore: ") {
		t.Errorf("Open: %q", err)
	}
	text := err.Error()
	if !strings.Contains(text, want) || strings.Contains(text, "\n") || strings.Contains(text, "sec") || strings.Contains(text, "ret") {
		t.Errorf("Open: %q, want one line with %q and no password", text, want)
	}
}

// TestASVS_12_3_1_PlaintextToAnotherHost: a link that leaves the machine is TLS.
func TestASVS_12_3_1_PlaintextToAnotherHost(t *testing.T) {
	for _, host := range []string{"192.0.2.1", "redis.example", "192.0.2.1:6380", "[2001:db8::1]", "localhost.example", "0.0.0.0"} {
		refused(t, "redis://:sec%2Fret@"+host+"/0", "rediss://")
	}
	// Allowed, it is tried, and the context ends the attempt.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := redisstore.Open(ctx, "redis://:secret@192.0.2.1/0", &redisstore.Options{AllowPlaintext: true})
	if err == nil || strings.Contains(err.Error(), "rediss://") {
		t.Errorf("Open with AllowPlaintext: %v", err)
	}
	address := services.Redis(t)
	for _, host := range []string{"localhost", "127.0.0.1"} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		u.Host = host + ":" + u.Port()
		openAt(t, u.String(), nil)
	}
}

// TestASVS_12_3_2_Certificates: the server's certificate is verified, and for its
// host.
func TestASVS_12_3_2_Certificates(t *testing.T) {
	server, dir := services.StartTLS(t, services.RedisKind)
	ca := "?ca=" + filepath.Join(dir, "ca.pem")
	base := "rediss://:" + server.Password + "@" + server.Addr() + "/0"
	s := openAt(t, base+ca, nil)
	put(t, s, record("user"))
	openAt(t, base+ca+"&server-name=localhost", nil)
	refused(t, base, "certificate")
	refused(t, base+"?ca="+filepath.Join(dir, "other-ca.pem"), "certificate")
	refused(t, base+ca+"&server-name=other.example", "certificate")
	refused(t, strings.Replace(base, "rediss", "redis", 1), "redisstore: open")

	pem := services.TLS(t)
	for _, path := range []string{filepath.Dir(pem), filepath.Join(pem, "wrong.pem"), filepath.Join(pem, "wrong-key.pem")} {
		if err := os.Chmod(path, 0o755); err != nil { // for the server's user
			t.Fatal(err)
		}
	}
	server, _ = services.StartTLS(t, services.RedisKind, "--tls-cert-file", filepath.Join(pem, "wrong.pem"),
		"--tls-key-file", filepath.Join(pem, "wrong-key.pem"))
	refused(t, "rediss://:"+server.Password+"@"+server.Addr()+"/0?ca="+filepath.Join(pem, "ca.pem"), "certificate")
}

// TestOpen_Faults: every fault of a URL is one line, without the password.
func TestOpen_Faults(t *testing.T) {
	for address, want := range map[string]string{
		"":                                          "scheme",
		"http://:secret@localhost":                  "scheme",
		"redis:secret":                              "unexpected part",
		"redis://:sec/ret@localhost":                "parsed",
		"redis://:sec%zzret@localhost":              "parsed",
		"redis://secret@localhost":                  "password",
		"redis://:secret@localhost/x":               "database number",
		"redis://:secret@localhost/0/1":             "database number",
		"redis://:secret@localhost/-1":              "database number",
		"redis://:secret@localhost/0?db=1":          "two database numbers",
		"redis://:secret@localhost:0":               "port",
		"redis://:secret@:6379":                     "no host",
		"redis://:secret@localhost?timeout=1":       "unknown parameter",
		"redis://:secret@localhost?db=1&db=2":       "once",
		"redis://:secret@localhost?ca=":             "once",
		"redis://:secret@localhost?ca=x":            "rediss://",
		"redis://:12?secret@localhost":              "cannot be parsed",
		"redis://:12#secret@localhost":              "cannot be parsed",
		"redis://:12/secret@localhost":              "cannot be parsed",
		"redis://:secret@localhost#x":               "unexpected part",
		"redis://:secret@[::1%25lo]/0":              "rediss://",
		"redis://:secret@2130706433/0":              "rediss://",
		"redis://:secret@localhost?prefix={x}":      "no brace",
		"rediss://:secret@localhost?ca=/nowhere":    "parameter ca",
		"rediss://:secret@localhost?ca=/dev/null":   "no certificate",
		"rediss://:secret@localhost?cert=/nowhere":  "both cert and key",
		"rediss://:secret@localhost?cert=/n&key=/n": "cert and key",
		"unix://:secret@host/path":                  "absolute path",
		"unix://:secret@/path?ca=x":                 "no TLS",
		"unix://:secret@/nowhere":                   "redisstore: open",
		"redis://:secret@localhost:1":               "refused",
	} {
		t.Run(address, func(t *testing.T) { refused(t, address, want) })
	}
	if _, err := redisstore.New(client(t, services.Redis(t)), &redisstore.Options{Prefix: "{x}"}); err == nil {
		t.Error("New took a prefix with a brace")
	}
	if _, err := redisstore.New(nil, nil); err == nil {
		t.Error("New took no client")
	}
	refused(t, strings.Replace(services.Redis(t), "redis://:", "redis://:secret", 1), "WRONGPASS")
}

// TestCheckURL: it refuses what Open refuses, all of it, in the same line, and says
// how the server is reached.
func TestCheckURL(t *testing.T) {
	long := strings.Repeat("x", 65)
	for _, c := range []struct {
		url  string
		opts redisstore.Options
		want []string
	}{
		{"redis://localhost", redisstore.Options{MaxConns: -1}, []string{"MaxConns"}},
		{"redis://localhost", redisstore.Options{MaxConns: 65, Prefix: "{x}"}, []string{"MaxConns", "brace"}},
		{"redis://localhost?prefix=" + long, redisstore.Options{}, []string{"64 bytes"}},
		{"redis://localhost", redisstore.Options{Prefix: long}, []string{"64 bytes"}},
		{"redis://localhost?prefix=a", redisstore.Options{Prefix: "b"}, []string{"not that of the options"}},
		{"redis://192.0.2.1", redisstore.Options{Prefix: "{", MaxConns: 65}, []string{"rediss://", "brace", "MaxConns"}},
	} {
		_, err := redisstore.CheckURL(c.url, &c.opts)
		s, openErr := redisstore.Open(t.Context(), c.url, &c.opts)
		if err == nil || openErr == nil || err.Error() != openErr.Error() || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: CheckURL says %v, Open %v", c.url, err, openErr)
			if openErr == nil {
				s.Close()
			}
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q in it", c.url, err, want)
			}
		}
	}
	for url, want := range map[string]link.Login{
		"redis://localhost?prefix=a":      {Local: true},
		"redis://:p%40w@[::1]:1/0":        {Password: "p@w", Local: true},
		"unix:///run/sock":                {Local: true},
		"rediss://app:secret@192.0.2.1/0": {User: "app", Password: "secret"},
	} {
		if got, err := redisstore.CheckURL(url, nil); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", url, got, err, want)
		}
	}
}

// TestOpen_Silent: a server that takes a connection and says nothing is told as
// such, and not as the end of a context that goes on.
func TestOpen_Silent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, err := redisstore.Open(t.Context(), "redis://:secret@"+l.Addr().String(), nil)
	if err == nil {
		s.Close()
		t.Fatal("it was opened")
	}
	if !strings.Contains(err.Error(), "no answer within 2s") || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Open: %v", err)
	}
}

// TestACL_Documented: the package's comment names the rights that ACL returns.
func TestACL_Documented(t *testing.T) {
	source, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(strings.ReplaceAll(string(source), "//", "")), " ")
	if !strings.Contains(text, "ACL SETUSER cloakroom on >PASSWORD "+redisstore.ACL("")+" #") {
		t.Errorf("doc.go does not have %q", redisstore.ACL(""))
	}
}

// TestOpen_Forms: a Unix socket, a database of another number, a prefix.
func TestOpen_Forms(t *testing.T) {
	server := services.Start(t, services.RedisKind, "--unixsocketperm", "777")
	ctx := t.Context()
	socket := "://:" + server.Password + "@" + filepath.Join(server.Dir, "sock")
	a := openAt(t, "unix"+socket+"?db=3", nil)
	r := put(t, a, record("user"))
	for address, want := range map[string]bool{
		"redis+unix" + socket + "?db=3":                                            true,
		"redis://:" + server.Password + "@" + server.Addr() + "/3":                 true,
		"redis://:" + server.Password + "@" + server.Addr() + "?db=3":              true,
		"redis://default:" + server.Password + "@" + server.Addr() + "/3":          true,
		"redis://:" + server.Password + "@" + server.Addr():                        false,
		"redis://:" + server.Password + "@" + server.Addr() + "/3?prefix=another:": false,
	} {
		s := openAt(t, address, nil)
		if _, err := s.Get(ctx, r.ID); (err == nil) != want {
			t.Errorf("%s: %v, want it found: %v", address, err, want)
		}
	}
}

// TestASVS_13_2_2_LeastPrivilege: the whole contract is kept by a user who has the
// documented rights, and he has no others.
func TestASVS_13_2_2_LeastPrivilege(t *testing.T) {
	server := services.Start(t, services.RedisKind)
	admin := client(t, server.URL())
	rule := append([]string{"cloakroom", "on", ">rights"}, strings.Fields(redisstore.ACL("mine:"))...)
	if err := admin.Do(t.Context(), admin.B().Arbitrary("ACL", "SETUSER").Args(rule...).Build()).Error(); err != nil {
		t.Fatal(err)
	}
	address := "redis://cloakroom:rights@" + server.Addr() + "/0"
	n := 0
	storetest.Run(t, func(t *testing.T) store.Store {
		n++
		return openAt(t, address, &redisstore.Options{Prefix: "mine:" + services.Prefix(t) + ":"})
	})
	s := openAt(t, address, &redisstore.Options{Prefix: "mine:"})
	if err := s.RememberKey(t.Context(), "key", why().At); err != nil {
		t.Error(err)
	}
	if _, err := s.KnownKeys(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.ForgetKeys(t.Context()); err != nil {
		t.Error(err)
	}
	c := client(t, address)
	for _, line := range []string{
		"GET other", "SET mines 1", "GET mine", "DEL other", "KEYS *", "SCAN 0", "FLUSHALL", "FLUSHDB", "CONFIG GET *",
		"ACL LIST", "SHUTDOWN", "MONITOR", "PUBLISH x y", "SCRIPT FLUSH", "INFO",
		"EVAL return(redis.call('GET','other')) 0", "EVAL return(redis.call('KEYS','*')) 0", "REPLICAOF NO ONE", "RANDOMKEY",
	} {
		words := strings.Fields(line)
		err := c.Do(t.Context(), c.B().Arbitrary(words...).Build()).Error()
		if err == nil || !strings.Contains(err.Error(), "NOPERM") && !strings.Contains(err.Error(), "The user executing the script can't") {
			t.Errorf("%s: %v, want it denied", line, err)
		}
	}
}

// TestPromise11_QuotingServer: a server that quotes what it was sent, as some do
// with a command that they do not know, does not put the password into an error.
func TestPromise11_QuotingServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 4096)
				for {
					n, err := c.Read(b)
					if err != nil {
						return
					}
					said := strings.ReplaceAll(string(b[:n]), "\r\n", " ")
					_, _ = c.Write([]byte(strings.Repeat("-ERR you said "+said+"\r\n", strings.Count(string(b[:n]), "*"))))
				}
			}()
		}
	}()
	refused(t, "redis://:secret@"+l.Addr().String()+"/0", "you said")
}
