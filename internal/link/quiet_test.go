//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package link_test

import (
	"net"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/link"
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
	if !quiet(near) {
		t.Fatal("a new connection is not quiet")
	}
	// A driver may have left a reader in the background.
	reading := make(chan error)
	go func() { _, err := near.Read(make([]byte, 1)); reading <- err }()
	time.Sleep(20 * time.Millisecond)
	answered := make(chan bool)
	go func() { answered <- quiet(near) }()
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
	until(t, "said something", func() bool { return !quiet(near) })
	if _, err := near.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if !quiet(near) {
		t.Error("not quiet once it was read")
	}
	far.Close()
	until(t, "has ended", func() bool { return !quiet(near) })
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

// quiet is Quiet where it is known.
func quiet(c net.Conn) bool {
	is, known := link.Quiet(c)
	return is && known
}

// TestQuietOfWhatIsNoSocket: of a connection in memory nothing is known.
func TestQuietOfWhatIsNoSocket(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	if _, known := link.Quiet(near); known {
		t.Error("something is known of a pipe")
	}
}
