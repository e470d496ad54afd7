package faultproxy_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/faultproxy"
)

// long is longer than any call takes that is not held up.
const long = 20 * time.Second

// echo starts a server that sends back what it gets, and counts it.
func echo(t *testing.T) (addr string, got *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	got = new(atomic.Int64)
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				b := make([]byte, 4096)
				for {
					n, err := c.Read(b)
					got.Add(int64(n))
					if _, werr := c.Write(b[:n]); err != nil || werr != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); serving.Wait() })
	return l.Addr().String(), got
}

func dial(t *testing.T, p *faultproxy.Proxy) net.Conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", p.Addr(), long)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// say sends text and waits for it to come back.
func say(c net.Conn, text string, wait time.Duration) error {
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	return hear(c, text, wait)
}

func hear(c net.Conn, text string, wait time.Duration) error {
	_ = c.SetReadDeadline(time.Now().Add(wait))
	b := make([]byte, len(text))
	if _, err := io.ReadFull(c, b); err != nil {
		return err
	}
	if string(b) != text {
		return errors.New("other bytes came back")
	}
	return nil
}

func timedOut(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(long); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestCarries(t *testing.T) {
	addr, _ := echo(t)
	p := faultproxy.New(t, addr)
	c := dial(t, p)
	if err := say(c, "hello", long); err != nil {
		t.Fatal(err)
	}
	up, down := p.Bytes()
	if up != 5 || down != 5 || p.Connections() != 1 || p.Open() != 1 {
		t.Errorf("%d bytes up, %d down, %d connections, %d open", up, down, p.Connections(), p.Open())
	}
	_ = c.Close()
	eventually(t, "a closed connection is gone", func() bool { return p.Open() == 0 })
}

func TestCarriesMuch(t *testing.T) {
	addr, _ := echo(t)
	for _, f := range []faultproxy.Fault{{}, {Slice: 7}, {Slice: 1, Direction: faultproxy.Down}} {
		p := faultproxy.New(t, addr)
		p.Set(f)
		text := string(bytes.Repeat([]byte("cloakroom "), 2000))
		if err := say(dial(t, p), text, long); err != nil {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

func TestLatency(t *testing.T) {
	addr, got := echo(t)
	for _, way := range []faultproxy.Direction{faultproxy.Up, faultproxy.Down, faultproxy.Both} {
		p := faultproxy.New(t, addr)
		c := dial(t, p)
		got.Store(0)
		p.Set(faultproxy.Fault{Latency: time.Hour, Direction: way})
		if err := say(c, "late", 50*time.Millisecond); !timedOut(err) {
			t.Fatalf("%d: %v, want a timeout", way, err)
		}
		if arrived := got.Load() > 0; arrived != (way == faultproxy.Down) {
			t.Errorf("%d: the request arrived: %t", way, arrived)
		}
		p.Heal()
		if err := hear(c, "late", long); err != nil {
			t.Errorf("%d: after the heal: %v", way, err)
		}
	}
	p := faultproxy.New(t, addr)
	p.Set(faultproxy.Fault{Latency: 20 * time.Millisecond})
	begin := time.Now()
	if err := say(dial(t, p), "x", long); err != nil || time.Since(begin) < 40*time.Millisecond {
		t.Errorf("%v after %v, want two times 20 ms at least", err, time.Since(begin))
	}
}

func TestBlackhole(t *testing.T) {
	addr, got := echo(t)
	p := faultproxy.New(t, addr)
	old := dial(t, p)
	if err := say(old, "before", long); err != nil {
		t.Fatal(err)
	}
	got.Store(0)
	p.Set(faultproxy.Fault{Blackhole: true})
	for _, c := range []net.Conn{old, dial(t, p)} {
		if err := say(c, "lost", 50*time.Millisecond); !timedOut(err) {
			t.Errorf("%v, want a timeout", err)
		}
	}
	if got.Load() != 0 {
		t.Errorf("%d bytes came through", got.Load())
	}
	p.Heal()
	// What lost its beginning never delivers its end.
	if err := say(old, "after", long); err == nil || timedOut(err) {
		t.Errorf("a connection that has lost bytes: %v, want a reset", err)
	}
	if err := say(dial(t, p), "after", long); err != nil {
		t.Error(err)
	}
}

func TestDropAnswers(t *testing.T) {
	addr, got := echo(t)
	p := faultproxy.New(t, addr)
	p.Set(faultproxy.Fault{DropAnswers: true})
	c := dial(t, p)
	if _, err := io.WriteString(c, "done"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the request is through", func() bool { return got.Load() == 4 })
	if err := hear(c, "done", 50*time.Millisecond); !timedOut(err) {
		t.Errorf("%v, want a timeout", err)
	}
}

func TestResetAndRefuse(t *testing.T) {
	addr, got := echo(t)
	for _, f := range []faultproxy.Fault{{Reset: true}, {Refuse: true}} {
		p := faultproxy.New(t, addr)
		old := dial(t, p)
		if err := say(old, "before", long); err != nil {
			t.Fatal(err)
		}
		got.Store(0)
		p.Set(f)
		_ = old.SetReadDeadline(time.Now().Add(long))
		_, err := old.Read(make([]byte, 1))
		for _, err := range []error{err, cutOff(p)} {
			if err == nil || timedOut(err) || f.Reset != errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%+v: %v", f, err)
			}
		}
		if got.Load() != 0 {
			t.Errorf("%+v: %d bytes came through", f, got.Load())
		}
		p.Heal()
		if err := say(dial(t, p), "after", long); err != nil {
			t.Errorf("%+v: after the heal: %v", f, err)
		}
	}
}

func TestFlap(t *testing.T) {
	addr, _ := echo(t)
	p := faultproxy.New(t, addr)
	stop := p.Flap(faultproxy.Fault{Reset: true}, time.Millisecond, 5*time.Millisecond)
	var good, bad int
	for end := time.Now().Add(long); (good == 0 || bad == 0) && time.Now().Before(end); {
		if c, err := net.Dial("tcp", p.Addr()); err != nil {
			bad++
		} else if say(c, "x", long) != nil {
			bad++
			_ = c.Close()
		} else {
			good++
			_ = c.Close()
		}
	}
	stop()
	if good == 0 || bad == 0 {
		t.Errorf("%d got through, %d did not", good, bad)
	}
	if err := say(dial(t, p), "after", long); err != nil {
		t.Errorf("after the end: %v", err)
	}
}

func TestNoServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	p := faultproxy.New(t, l.Addr().String())
	if err := cutOff(p); err == nil || timedOut(err) {
		t.Errorf("%v, want an end of the connection", err)
	}
}

// cutOff returns how a new connection ends that is not let through. An RST may
// come so soon that the call itself tells.
func cutOff(p *faultproxy.Proxy) error {
	c, err := net.DialTimeout("tcp", p.Addr(), long)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(long))
	_, err = c.Read(make([]byte, 1))
	return err
}

// TestLeavesNothing looks that all goroutines end with the test, those of
// connections that are held up among them.
func TestLeavesNothing(t *testing.T) {
	base := runtime.NumGoroutine()
	t.Run("faults", func(t *testing.T) {
		addr, _ := echo(t)
		for _, f := range []faultproxy.Fault{{}, {Latency: time.Hour}, {Blackhole: true}, {DropAnswers: true}, {Slice: 1}} {
			p := faultproxy.New(t, addr)
			p.Set(f)
			for range 5 {
				_, _ = io.WriteString(dial(t, p), "held up")
			}
		}
	})
	eventually(t, "all goroutines have ended", func() bool { return runtime.NumGoroutine() <= base })
}
