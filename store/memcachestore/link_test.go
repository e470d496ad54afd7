package memcachestore_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/link"
	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/store/memcachestore"
)

// Every fault of a URL is told at once, in one line, and no password with it.
func TestOpenTellsEveryFault(t *testing.T) {
	for url, words := range map[string][]string{
		"":                                                    {"memcache://"},
		"redis://localhost":                                   {"memcache://"},
		"memcache:localhost":                                  {"memcache://"},
		"memcache://":                                         {"no host"},
		"memcache://localhost:0":                              {"port"},
		"memcache://localhost:70000,[::1":                     {"host 1 of the list: not a port", "host 2 of the list: not an address in brackets"},
		"memcache://me:hunter2/@localhost":                    {"cannot be parsed"},
		"memcache://me:12?hunter2@localhost":                  {"cannot be parsed"},
		"memcache://me:12#hunter2@localhost":                  {"cannot be parsed"},
		"memcache://me:hunter2":                               {"host 1 of the list"},
		"memcache://localhost?hunter2":                        {"unknown parameter"},
		"memcache://[::1%25lo]":                               {"brackets"},
		"memcache://2130706433":                               {"memcaches://"},
		"memcache://::1":                                      {"brackets"},
		"memcache://localhost,,127.0.0.1":                     {"not a host"},
		"memcache://localhost,localhost:11211":                {"twice"},
		"memcache://local host/a b":                           {"not a host", "prefix"},
		"memcache://localhost?tls=true&a=b":                   {"unknown parameter"},
		"memcache://localhost?socket=":                        {"with a value"},
		"memcache://localhost?socket=/a":                      {"do not go together"},
		"memcache:///p?socket=a":                              {"absolute"},
		"memcache://localhost?%zz":                            {"behind ?"},
		"memcache://localhost#x":                              {"%23"},
		"memcache://me@localhost":                             {"go together"},
		"memcache://me:hunter2%20@localhost:x":                {"no spaces", "port"},
		"memcache://me:hunter2%zz@localhost":                  {"malformed"},
		"memcaches://localhost?ca=/none&cert=/x&server-name=": {"parameter ca:", "cert and key", "server-name"},
		"memcache://me:hunter2@10.0.0.1,10.0.0.2/ä":           {"10.0.0.1:11211 is not", "memcaches://", "10.0.0.2", "prefix"},
	} {
		_, err := memcachestore.Open(t.Context(), url, nil)
		if err == nil {
			t.Errorf("%s: no error", url)
			continue
		}
		for _, word := range append(words, "memcachestore: ") {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: %v, want %q in it", url, err, word)
			}
		}
		if _, check := memcachestore.CheckURL(url, nil); check == nil || check.Error() != err.Error() {
			t.Errorf("%s: CheckURL says %v, Open %v", url, check, err)
		}
		if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q", url, err)
		}
	}
}

// The faults of the options are told with those of the URL, by Open and CheckURL.
func TestCheckURL(t *testing.T) {
	for conns, fault := range map[int]bool{-1: true, 0: false, 1: false, 1024: false, 1025: true} {
		_, err := memcachestore.CheckURL("memcache://localhost", &memcachestore.Options{MaxConns: conns})
		if (err != nil) != fault {
			t.Errorf("%d connections: %v", conns, err)
		}
	}
	opts := &memcachestore.Options{MaxConns: -1}
	_, err := memcachestore.CheckURL("memcache://localhost:0", opts)
	_, openErr := memcachestore.Open(t.Context(), "memcache://localhost:0", opts)
	if err == nil || openErr == nil || err.Error() != openErr.Error() || strings.Contains(err.Error(), "\n") ||
		!strings.Contains(err.Error(), "MaxConns") || !strings.Contains(err.Error(), "port") {
		t.Errorf("CheckURL says %v, Open %v", err, openErr)
	}
	dir := services.TLS(t)
	pair := "cert=" + filepath.Join(dir, "cert.pem") + "&key=" + filepath.Join(dir, "key.pem")
	for url, want := range map[string]link.Login{
		"memcache://127.0.0.1,[::1]:1,localhost": {Local: true},
		"memcache:///p?socket=/run/sock":         {Local: true},
		"memcache://shop:se%2Fcr%3Aet@localhost": {User: "shop", Password: "se/cr:et", Local: true},
		"memcaches://127.0.0.1,192.0.2.1":        {},
		"memcaches://192.0.2.1?" + pair:          {Certificate: true},
	} {
		if got, err := memcachestore.CheckURL(url, nil); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", url, got, err, want)
		}
	}
}

// A link to another machine is encrypted, or was permitted not to be.
func TestASVS_12_3_1_PlaintextIsRefused(t *testing.T) {
	for _, host := range []string{"192.0.2.1", "192.0.2.1:11211", "example.com", "localhost.example.com", "[2001:db8::1]", "127.0.0.1,192.0.2.1", "0.0.0.0"} {
		_, err := memcachestore.Open(within(t, 10*time.Millisecond), "memcache://"+host, nil)
		if err == nil || !strings.Contains(err.Error(), "memcaches://") {
			t.Errorf("%s: %v", host, err)
		}
		_, err = memcachestore.Open(within(t, 10*time.Millisecond), "memcache://"+host, &memcachestore.Options{AllowPlaintext: true})
		if err == nil || strings.Contains(err.Error(), "memcaches://") {
			t.Errorf("%s, permitted: %v", host, err)
		}
	}
	srv := serve(t)
	for _, host := range []string{srv.Addr(), strings.Replace(srv.Addr(), "127.0.0.1", "localhost", 1)} {
		open(t, "memcache://"+host, nil)
	}
}

// Over TLS the server must be who it is taken for.
func TestASVS_12_3_2_ServerIsVerified(t *testing.T) {
	srv, dir := services.StartTLS(t, services.MemcachedKind)
	good := "memcaches://" + srv.Addr() + "/p?ca=" + filepath.Join(dir, "ca.pem")
	st := open(t, good, nil)
	r := put(t, st, record("user"))
	put(t, st, r)
	want(t, "Get", second(st.Get(t.Context(), r.ID)), nil)
	open(t, good+"&cert="+filepath.Join(dir, "cert.pem")+"&key="+filepath.Join(dir, "key.pem"), nil)
	open(t, strings.Replace(good, "127.0.0.1", "localhost", 1), nil)

	refused := func(name, url string) {
		t.Helper()
		if _, err := memcachestore.Open(t.Context(), url, nil); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
	}
	refused("an authority that nobody knows", "memcaches://"+srv.Addr())
	refused("another authority", "memcaches://"+srv.Addr()+"?ca="+filepath.Join(dir, "other-ca.pem"))
	refused("another name", good+"&server-name=other.example")
	refused("a link without TLS", "memcache://"+srv.Addr())

	// The certificate of another host, of the same authority.
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "wrong.pem"), filepath.Join(dir, "wrong-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(io.Discard, nc); nc.Close() }()
		}
	}()
	_, err = memcachestore.Open(within(t, 5*time.Second), "memcaches://"+l.Addr().String()+"?ca="+filepath.Join(dir, "ca.pem"), nil)
	if e := new(tls.CertificateVerificationError); !errors.As(err, &e) {
		t.Errorf("the certificate of another host: %v", err)
	}
}

// openTo makes a directory that the server's user can use.
func openTo(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "memcached")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// spawn starts a server that does not answer everybody, and waits until it
// listens.
func spawn(t *testing.T, network, addr string, args ...string) {
	t.Helper()
	cmd := exec.Command("memcached", append([]string{"-u", "nobody", "-U", "0"}, args...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		nc, err := net.Dial(network, addr)
		if err == nil {
			nc.Close()
			return
		}
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("memcached %v: %v", args, err)
		}
	}
}

// A server with -Y asks for a user and a password, and is refused to who has none.
func TestASVS_13_2_1_Password(t *testing.T) {
	users := filepath.Join(openTo(t), "users")
	if err := os.WriteFile(users, []byte("shop:se/cr:et\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // for a port that is free
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(addr)
	spawn(t, "tcp", addr, "-l", "127.0.0.1", "-p", port, "-Y", users)
	st := open(t, "memcache://shop:se%2Fcr%3Aet@"+addr, nil)
	r := put(t, st, record("user"))
	want(t, "Get", second(st.Get(t.Context(), r.ID)), nil)
	for _, user := range []string{"", "shop:wrong@", "else:se%2Fcr%3Aet@"} {
		if _, err := memcachestore.Open(t.Context(), "memcache://"+user+addr, nil); err == nil || strings.Contains(err.Error(), "wrong@") {
			t.Errorf("%q: %v", user, err)
		}
	}
	// A server that asks for none does not keep what it was told.
	plain := serve(t)
	other := open(t, "memcache://shop:secret@"+plain.Addr(), nil)
	put(t, other, record("user"))
	if got := stored(t, plain.Addr(), "cloakroom-login"); got != "" {
		t.Errorf("the server keeps %q", got)
	}
}

// A Unix socket needs no network at all.
func TestUnixSocket(t *testing.T) {
	path := filepath.Join(openTo(t), "sock")
	spawn(t, "unix", path, "-s", path, "-a", "777")
	st := open(t, "memcache:///p?socket="+path, nil)
	r := put(t, st, record("user"))
	want(t, "Get", second(st.Get(t.Context(), r.ID)), nil)
}

// A server that says more than it was asked is not listened to.
func TestAttack_A56_UnaskedAnswers(t *testing.T) {
	srv := serve(t)
	st := open(t, srv.URL(), nil)
	alice, bob := put(t, st, record("")), put(t, st, record(""))
	// A proxy that answers a get of alice's with bob's, as a line would that has
	// got out of step.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go swapKeys(nc, srv.Addr(), key("cloakroom", alice.ID), key("cloakroom", bob.ID))
		}
	}()
	crossed := open(t, "memcache://"+l.Addr().String(), nil)
	if got, err := crossed.Get(t.Context(), alice.ID); err == nil {
		t.Errorf("alice got %q", got.Data)
	}
	if got, err := crossed.Get(t.Context(), bob.ID); err != nil || string(got.Data) != string(bob.Data) {
		t.Errorf("bob got %q, %v", got.Data, err)
	}
}

// swapKeys hands on what a client says, with one key in the place of another.
func swapKeys(nc net.Conn, addr, from, to string) {
	defer nc.Close()
	up, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer up.Close()
	go func() {
		io.Copy(nc, up)
		nc.Close()
	}()
	b := make([]byte, 4096)
	for {
		n, err := nc.Read(b)
		if err != nil {
			return
		}
		io.WriteString(up, strings.ReplaceAll(string(b[:n]), from, to))
	}
}
