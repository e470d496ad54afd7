package main_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/internal/services"
)

// TestASVS_13_2_1_StoresOnOtherHostsAskWhoComes: a store on another host that
// takes anybody is refused, with nothing sent to it, by the service and by the
// commands; and used where the operator says that something else guards it.
func TestASVS_13_2_1_StoresOnOtherHostsAskWhoComes(t *testing.T) {
	const elsewhere = "192.0.2.1" // RFC 5737: nobody's
	keys, pg := keyFile(t), services.Postgres(t)
	for _, args := range [][]string{
		{"--store", "redis://" + elsewhere + "/0", "--users", pg},
		{"--store", "rediss://" + elsewhere + "/0", "--users", pg},
		{"--store", "memcache://" + elsewhere, "--users", pg},
		{"--store", "postgres://app:app@" + elsewhere + "/db"},
		{"--users", "mysql://root:root@" + elsewhere + "/db"},
	} {
		for _, command := range [][]string{{"serve", "--listen=127.0.0.1:0"}, {"user", "list"}} {
			_, msg, code := runCommand(t, append(append(command, keys, "--allow-plaintext=true"), args...)...)
			if code != 2 || !strings.Contains(msg, "allow-anonymous=true") || strings.Count(msg, "\n") != 1 || strings.Contains(msg, "root:root") {
				t.Errorf("%v %v: exit code %d, %s", command, args, code, msg)
			}
		}
	}

	// One that is there and takes anybody, through an address of this machine
	// that is not loopback.
	redis := services.Start(t, services.RedisKind, "--protected-mode", "no", "--bind", "0.0.0.0")
	tell(t, redis, "CONFIG SET requirepass \"\"")
	addr := strings.Replace(redis.Addr(), "127.0.0.1", outside(t), 1)
	where := []string{keys, "--users", pg, "--store", "redis://" + addr + "/0", "--allow-plaintext=true"}
	_, msg, code := runCommand(t, append([]string{"serve", "--listen=127.0.0.1:0"}, where...)...)
	if code != 2 || !strings.Contains(msg, "takes whoever comes") {
		t.Errorf("exit code %d, %s", code, msg)
	}
	s := start(t, t.TempDir(), append(where, "--allow-anonymous=true")...)
	s.setup()
	if _, msg, code := runCommand(t, append([]string{"session", "list", "--allow-anonymous=true"}, where...)...); code != 0 {
		t.Errorf("exit code %d, %s", code, msg)
	}
}

// tell sends a command to a Redis, as its administrator.
func tell(t *testing.T, redis *services.Server, command string) string {
	t.Helper()
	conn, err := net.Dial("tcp", redis.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "AUTH %s\r\n%s\r\nQUIT\r\n", redis.Password, command)
	b, err := io.ReadAll(conn)
	answer, ok := strings.CutPrefix(string(b), "+OK\r\n")
	if err != nil || !ok || strings.HasPrefix(answer, "-") {
		t.Fatalf("%s: %q, %v", command, b, err)
	}
	return strings.TrimSuffix(answer, "+OK\r\n")
}

// outside returns an address that reaches this machine and is not loopback.
func outside(t *testing.T) string {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	return "0.0.0.0" // reaches this machine, and is judged by what it says
}
