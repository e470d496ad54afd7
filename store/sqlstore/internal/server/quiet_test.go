//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package server_test

import (
	"net"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/store/sqlstore/internal/server"
)

// TestQuiet: a connection that has nothing to say, has something, and has ended.
func TestQuiet(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	if !server.Quiet(near) {
		t.Fatal("a new connection is not quiet")
	}
	// A driver may have left a reader in the background.
	reading := make(chan error)
	go func() { _, err := near.Read(make([]byte, 1)); reading <- err }()
	time.Sleep(20 * time.Millisecond)
	answered := make(chan bool)
	go func() { answered <- server.Quiet(near) }()
	select {
	case quiet := <-answered:
		if !quiet {
			t.Error("a connection that is read elsewhere is not quiet")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("waits for whoever reads")
	}
	far.Write([]byte("x"))
	if err := <-reading; err != nil {
		t.Fatal(err)
	}
	far.Write([]byte("y"))
	until(t, "said something", func() bool { return !server.Quiet(near) })
	if _, err := near.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if !server.Quiet(near) {
		t.Error("not quiet once it was read")
	}
	far.Close()
	until(t, "has ended", func() bool { return !server.Quiet(near) })
}

func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for range 1000 {
		if f() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("it %s, and is quiet", what)
}

// TestNear: what leaves the machine, and what does not.
func TestNear(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LOCALHOST": true, "127.0.0.1": true, "127.9.9.9": true, "::1": true, "/run/postgresql": true, "@abstract": true,
		"": false, "0.0.0.0": false, "::": false, "10.0.0.1": false, "localhost.example": false, "db": false, "127.0.0.1.example": false,
	} {
		if server.Near(host) != want {
			t.Errorf("%q: near is %t", host, !want)
		}
	}
}
