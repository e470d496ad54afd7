package memcachestore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/faultproxy"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/memcachestore"
)

// calls are all methods that ask a server, on a session and its user.
func calls(st *memcachestore.Store, r store.Record) map[string]func(ctx context.Context) error {
	return map[string]func(ctx context.Context) error{
		"Get": func(ctx context.Context) error { _, err := st.Get(ctx, r.ID); return err },
		"Put": func(ctx context.Context) error { return st.Put(ctx, r) },
		"create": func(ctx context.Context) error {
			return st.Put(ctx, record("user"))
		},
		"Touch": func(ctx context.Context) error {
			return st.Touch(ctx, r.ID, r.Seen.Add(time.Minute), r.Expires.Add(time.Minute))
		},
		"End":      func(ctx context.Context) error { return st.End(ctx, r.ID, 0, why(), r.Deadline) },
		"ListUser": func(ctx context.Context) error { _, err := st.ListUser(ctx, r.UserID); return err },
		"EndUser": func(ctx context.Context) error {
			_, err := st.EndUser(ctx, r.UserID, store.ID{}, why(), r.Deadline)
			return err
		},
		"KnownKeys":   func(ctx context.Context) error { _, err := st.KnownKeys(ctx); return err },
		"RememberKey": func(ctx context.Context) error { return st.RememberKey(ctx, "key", now()) },
		"ForgetKeys":  st.ForgetKeys,
	}
}

// A server that stands still answers nothing and refuses nothing. Every call ends
// with its context; when the server goes on, so does the store, and what was
// stored is as it was or as a call left it, and whole.
func TestPromise07_FrozenServer(t *testing.T) {
	quiet(t)
	srv := serve(t)
	st := open(t, srv.URL(), nil)
	r := put(t, st, record("user"))
	freeze(t, srv)
	for name, call := range calls(st, r) {
		begin := time.Now()
		err := call(within(t, 30*time.Millisecond))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want %v", name, err, context.DeadlineExceeded)
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("%s took %v", name, took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Millisecond, cancel)
		if err := call(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want %v", name, err, context.Canceled)
		}
	}
	srv.Thaw(t)
	other := put(t, st, record("user"))
	if got, err := st.Get(t.Context(), other.ID); err != nil || string(got.Data) != string(other.Data) {
		t.Errorf("Get after the thaw: %q, %v", got.Data, err)
	}
}

// A server that is killed is an outage, and no logout; one that is restarted has
// forgotten everything, and is used again by the next call: by a write too, as
// the dead connections are found before anything is sent.
func TestPromise07_KilledServer(t *testing.T) {
	quiet(t)
	srv := serve(t)
	st := open(t, srv.URL(), nil)
	r := put(t, st, record("user"))
	var wg sync.WaitGroup
	for range 8 { // several connections, all of which die
		wg.Go(func() { st.Get(t.Context(), r.ID) })
	}
	wg.Wait()
	srv.Kill(t)
	for name, call := range calls(st, r) {
		err := call(within(t, 5*time.Second))
		if err == nil || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrEnded) {
			t.Errorf("%s without a server: %v", name, err)
		}
	}
	srv.Start(t)
	anonymous := put(t, st, record("")) // one write, and no read before it
	put(t, st, anonymous)
	_, err := st.Get(t.Context(), r.ID)
	want(t, "Get after a restart", err, store.ErrNotFound)
	want(t, "a late update", st.Put(t.Context(), r), store.ErrNotFound)
	want(t, "a late touch", st.Touch(t.Context(), r.ID, r.Seen.Add(time.Minute), r.Expires), store.ErrNotFound)
}

// Connections that break while nobody uses them cost no call an error.
func TestPromise07_RestartedServerCostsNoError(t *testing.T) {
	for range 5 {
		srv := serve(t)
		st := open(t, srv.URL(), nil)
		put(t, st, record(""))
		srv.Kill(t)
		srv.Start(t)
		put(t, st, record(""))
	}
}

// One byte at a time is slow, and all right.
func TestOneByteAtATime(t *testing.T) {
	srv := serve(t)
	p := faultproxy.New(t, srv.Addr())
	st := open(t, "memcache://"+p.Addr(), nil)
	p.Set(faultproxy.Fault{Slice: 1})
	r := put(t, st, record("user"))
	r = put(t, st, r)
	if got, err := st.Get(t.Context(), r.ID); err != nil || got.Version != 2 || string(got.Data) != string(r.Data) {
		t.Errorf("Get: version %d, %q, %v", got.Version, got.Data, err)
	}
	want(t, "Touch", st.Touch(t.Context(), r.ID, r.Seen.Add(time.Minute), r.Expires.Add(time.Minute)), nil)
	if n := listed(t, st, "user"); n != 1 {
		t.Errorf("%d sessions on the list, want 1", n)
	}
	want(t, "End", st.End(t.Context(), r.ID, 0, why(), r.Deadline), nil)
}

// What was done and never answered is not done again: the version would be two
// ahead, or a second create would meet the first.
func TestAttack_A01_SwallowedAnswerIsNotAskedForAgain(t *testing.T) {
	quiet(t)
	srv := serve(t)
	p := faultproxy.New(t, srv.Addr())
	st := open(t, "memcache://"+p.Addr(), nil)
	direct := open(t, srv.URL(), nil)
	r := record("")
	for range 3 {
		put(t, direct, record("")) // the counter is not 0
	}
	writes := stats(t, srv.Addr(), "cmd_set")
	p.Set(faultproxy.Fault{DropAnswers: true})
	err := st.Put(within(t, 100*time.Millisecond), r)
	want(t, "a create whose answer is lost", err, context.DeadlineExceeded)
	p.Heal()
	if n := stats(t, srv.Addr(), "cmd_set") - writes; n != 1 {
		t.Errorf("the server got %d writes, want 1", n)
	}
	got, err := st.Get(t.Context(), r.ID)
	if err != nil || got.Version != 1 {
		t.Fatalf("Get: version %d, %v", got.Version, err)
	}
	r.Version = 1
	r = put(t, st, r)
	if n := stats(t, srv.Addr(), "cmd_set") - writes; n != 2 {
		t.Errorf("the server got %d writes, want 2", n)
	}
}

// A connection that breaks before the answer is there says nothing of what has
// become of the write. The server has done it; to send it again would do it twice.
func TestAttack_A01_BrokenWriteIsNotSentAgain(t *testing.T) {
	srv := serve(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var cut atomic.Bool // the next answer, and its connection
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go cutAnswer(nc, srv.Addr(), &cut)
		}
	}()
	st := open(t, "memcache://"+l.Addr().String(), nil)
	r := record("")
	writes := stats(t, srv.Addr(), "cmd_set")
	cut.Store(true)
	if err := st.Put(t.Context(), r); err == nil || errors.Is(err, store.ErrConflict) {
		t.Errorf("a create whose connection broke: %v", err)
	}
	if n := stats(t, srv.Addr(), "cmd_set") - writes; n != 1 {
		t.Errorf("the server got %d writes, want 1", n)
	}
	// A read on a connection that has been idle is asked again: it changes nothing,
	// and nobody need notice.
	want(t, "Get", second(st.Get(t.Context(), r.ID)), nil)
	cut.Store(true)
	got, err := st.Get(t.Context(), r.ID)
	if err != nil || got.Version != 1 {
		t.Errorf("Get: version %d, %v", got.Version, err)
	}
}

// cutAnswer carries a connection until an answer is to be cut.
func cutAnswer(nc net.Conn, addr string, cut *atomic.Bool) {
	defer nc.Close()
	up, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer up.Close()
	go io.Copy(up, nc)
	b := make([]byte, 4096)
	for {
		n, err := up.Read(b)
		if err != nil || cut.CompareAndSwap(true, false) {
			return
		}
		nc.Write(b[:n])
	}
}

// An answer that comes late is no answer to the next question: it would be
// somebody else's session. Readers of their own sessions, most of whom give up
// before the answer is there, get their own or an error.
func TestAttack_A56_LateAnswersAreNobodys(t *testing.T) {
	quiet(t)
	srv := serve(t)
	p := faultproxy.New(t, srv.Addr())
	st := open(t, "memcache://"+p.Addr(), &memcachestore.Options{MaxConns: 4})
	const visitors = 16
	list := make([]store.Record, visitors)
	for i := range list {
		r := record("")
		r.Data = fmt.Appendf(nil, "the values of visitor %d", i)
		list[i] = put(t, st, r)
	}
	p.Set(faultproxy.Fault{Latency: 5 * time.Millisecond})
	var answers, late atomic.Int64
	var wg sync.WaitGroup
	for i, r := range list {
		wg.Go(func() {
			for try := range 40 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+(i+try)%30)*time.Millisecond)
				got, err := st.Get(ctx, r.ID)
				cancel()
				switch {
				case err == nil && string(got.Data) == string(r.Data):
					answers.Add(1)
				case errors.Is(err, context.DeadlineExceeded):
					late.Add(1)
				default:
					t.Errorf("visitor %d got %q, %v", i, got.Data, err)
				}
			}
		})
	}
	wg.Wait()
	p.Heal()
	t.Logf("%d answers, %d given up", answers.Load(), late.Load())
	if late.Load() == 0 {
		t.Error("no answer was late")
	}
	for i, r := range list {
		if got, err := st.Get(t.Context(), r.ID); err != nil || string(got.Data) != string(r.Data) {
			t.Errorf("visitor %d gets %q, %v", i, got.Data, err)
		}
	}
}

// The connections are bounded: whoever finds them taken waits, until the context
// ends, and the server has never seen more.
func TestASVS_13_1_2_MaxConns(t *testing.T) {
	quiet(t)
	srv := serve(t)
	p := faultproxy.New(t, srv.Addr())
	st := open(t, "memcache://"+p.Addr(), &memcachestore.Options{MaxConns: 2})
	r := put(t, st, record(""))
	p.Set(faultproxy.Fault{Blackhole: true, Direction: faultproxy.Down})
	holding, free := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { st.Get(holding, r.ID) })
	}
	for begin := time.Now(); p.Open() < 2; {
		if time.Since(begin) > 10*time.Second {
			t.Fatal("the two do not connect")
		}
		time.Sleep(time.Millisecond)
	}
	for range 10 {
		_, err := st.Get(within(t, 20*time.Millisecond), r.ID)
		want(t, "Get when all connections are taken", err, context.DeadlineExceeded)
	}
	if n := p.Open(); n != 2 {
		t.Errorf("%d connections, at most 2 are allowed", n)
	}
	p.Heal()
	free()
	wg.Wait()
	for range 50 {
		wg.Go(func() {
			if _, err := st.Get(t.Context(), r.ID); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := p.Open(); n > 2 {
		t.Errorf("%d connections, at most 2 are allowed", n)
	}
}

// Close ends what is under way and leaves nothing behind.
func TestClose(t *testing.T) {
	const closed = "store is closed"
	quiet(t)
	srv := serve(t)
	p := faultproxy.New(t, srv.Addr())
	st := open(t, "memcache://"+p.Addr(), nil)
	r := put(t, st, record("user"))
	p.Set(faultproxy.Fault{Blackhole: true, Direction: faultproxy.Down})
	errs := make(chan error)
	list := calls(st, r)
	for _, call := range list {
		go func() { errs <- call(context.Background()) }()
	}
	for begin := time.Now(); p.Open() < len(list); time.Sleep(time.Millisecond) {
		if time.Since(begin) > 10*time.Second {
			t.Fatal("they do not connect")
		}
	}
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() { st.Close() })
	}
	both.Wait()
	for range calls(st, r) {
		if err := <-errs; err == nil || !strings.Contains(err.Error(), closed) {
			t.Errorf("a call that was under way: %v, want %s", err, closed)
		}
	}
	p.Heal()
	for name, call := range calls(st, r) {
		if err := call(t.Context()); err == nil || !strings.Contains(err.Error(), closed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	want(t, "a second Close", st.Close(), nil)
}
