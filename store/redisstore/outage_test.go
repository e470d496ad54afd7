package redisstore_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/cloakroom-dev/cloakroom/internal/faultproxy"
	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/redisstore"
)

// patience is what a call may take on a slow machine once its context has ended: less
// than the client takes to give up a connection.
const patience = 3 * time.Second

// calls are all that a store does, about one session.
func calls(s *redisstore.Store, r store.Record) map[string]func(ctx context.Context) error {
	return map[string]func(ctx context.Context) error{
		"Get":      func(ctx context.Context) error { _, err := s.Get(ctx, r.ID); return err },
		"create":   func(ctx context.Context) error { return s.Put(ctx, record("user")) },
		"update":   func(ctx context.Context) error { return s.Put(ctx, r) },
		"Touch":    func(ctx context.Context) error { return s.Touch(ctx, r.ID, r.Seen, r.Expires) },
		"End":      func(ctx context.Context) error { return s.End(ctx, record("").ID, 0, why(), r.Deadline) },
		"ListUser": func(ctx context.Context) error { _, err := s.ListUser(ctx, "user"); return err },
		"EndUser": func(ctx context.Context) error {
			_, err := s.EndUser(ctx, "user", r.ID, why(), r.Deadline)
			return err
		},
		"KnownKeys":   func(ctx context.Context) error { _, err := s.KnownKeys(ctx); return err },
		"RememberKey": func(ctx context.Context) error { return s.RememberKey(ctx, "key", r.Created) },
	}
}

// TestPromise07_FrozenServer: no call waits longer than its context for a server
// that has stopped answering, none is left behind, and all is well once the server
// goes on.
func TestPromise07_FrozenServer(t *testing.T) {
	server := services.Start(t, services.RedisKind)
	s := openAt(t, server.URL(), nil)
	r := put(t, s, record("user"))
	before := runtime.NumGoroutine()
	for kind, end := range map[string]func() (context.Context, context.CancelFunc){
		"deadline": func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(t.Context(), 30*time.Millisecond)
		},
		"cancel": func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			time.AfterFunc(30*time.Millisecond, cancel)
			return ctx, cancel
		},
	} {
		for name, call := range calls(s, r) {
			server.Freeze(t)
			for range 2 { // while the connection seems to be there, and then
				ctx, cancel := end()
				start := time.Now()
				err := call(ctx)
				if took := time.Since(start); took > patience {
					t.Errorf("%s took %v at a frozen server, with a %s after 30ms", name, took, kind)
				}
				if err == nil || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrEnded) {
					t.Errorf("%s at a frozen server: %v", name, err)
				}
				cancel()
			}
			server.Thaw(t)
			until(t, "the server is heard again", func() bool { _, err := s.Get(t.Context(), r.ID); return err == nil })
		}
	}
	until(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before+4 })
}

// TestPromise07_CancelledBeforeItsDeadline: a call whose visitor goes away ends then,
// and not at its deadline, even if every call before it had one.
func TestPromise07_CancelledBeforeItsDeadline(t *testing.T) {
	server := services.Start(t, services.RedisKind)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	s, err := redisstore.Open(ctx, server.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r := record("user")
	if err := s.Put(ctx, r); err != nil {
		t.Fatal(err)
	}
	server.Freeze(t)
	start := time.Now()
	time.AfterFunc(30*time.Millisecond, cancel)
	if _, err := s.Get(ctx, r.ID); !errors.Is(err, context.Canceled) {
		t.Errorf("Get: %v", err)
	}
	if took := time.Since(start); took > patience {
		t.Errorf("Get took %v, and was cancelled after 30ms", took)
	}
	server.Thaw(t)
}

// TestPromise07_FrozenCrowd: the same of more calls than the client has room for,
// at once and one crowd after the other, over one connection and over some.
func TestPromise07_FrozenCrowd(t *testing.T) {
	for _, conns := range []int{1, 4} {
		server := services.Start(t, services.RedisKind)
		s := openAt(t, server.URL(), &redisstore.Options{MaxConns: conns})
		r := put(t, s, record("user"))
		before := runtime.NumGoroutine()
		server.Freeze(t)
		for _, crowd := range []int{3000, 600, 600, 600} {
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			var began atomic.Int32
			for range crowd {
				wg.Go(func() {
					began.Add(1)
					if _, err := s.Get(ctx, r.ID); err == nil {
						t.Error("a frozen server answered")
					}
				})
			}
			until(t, "all calls have begun", func() bool { return int(began.Load()) == crowd })
			start := time.Now()
			cancel()
			wg.Wait()
			if took := time.Since(start); took > patience {
				t.Errorf("%d calls took %v to end", crowd, took)
			}
		}
		server.Thaw(t)
		until(t, "the server is heard again", func() bool { _, err := s.Get(t.Context(), r.ID); return err == nil })
		until(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before+4*conns })
		s.Close()
	}
}

// TestPromise07_Killed: calls at a server that is gone fail at once, and work again
// when it is back, scripts and all, without anybody doing anything.
func TestPromise07_Killed(t *testing.T) {
	server := services.Start(t, services.RedisKind, "--appendonly", "yes", "--appendfsync", "always")
	s := openAt(t, server.URL(), nil)
	r := put(t, s, record("user"))
	for range 2 {
		server.Kill(t)
		for name, call := range calls(s, r) {
			start := time.Now()
			if err := call(t.Context()); err == nil || errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s at a server that is gone: %v", name, err)
			}
			if took := time.Since(start); took > patience {
				t.Errorf("%s took %v", name, took)
			}
		}
		server.Start(t)
		until(t, "the server is heard again", func() bool { _, err := s.Get(t.Context(), r.ID); return err == nil })
		r = put(t, s, r)
		for name, call := range calls(s, r) {
			if err := call(t.Context()); err != nil && !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s afterwards: %v", name, err)
			}
			if name == "update" {
				r.Version++
			}
		}
		if got, err := s.Get(t.Context(), r.ID); err != nil {
			t.Fatal(err)
		} else {
			r.Version = got.Version
		}
	}
}

// executions returns how many commands and scripts a server has run.
func executions(t testing.TB, admin rueidis.Client) map[string]int {
	t.Helper()
	all, err := do(t, admin, "INFO", "commandstats").ToString()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for line := range strings.Lines(all) {
		name, rest, ok := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		if n, _, ok2 := strings.Cut(rest, ","); ok && ok2 {
			for _, c := range n {
				counts[name] = counts[name]*10 + int(c-'0')
			}
		}
	}
	return counts
}

// TestPromise01_LostAnswer: what was sent and not answered is never sent again,
// neither on this connection nor on the next.
func TestPromise01_LostAnswer(t *testing.T) {
	for i, name := range []string{"create", "update", "Touch", "End", "EndUser", "create", "update", "Touch", "End", "EndUser"} {
		t.Run(name, func(t *testing.T) {
			server := services.Start(t, services.RedisKind)
			link := faultproxy.New(t, server.Addr())
			s := openAt(t, server.URLAt(link.Addr()), nil)
			r := put(t, s, record("user"))
			for _, call := range calls(s, r) { // so that the server knows the scripts
				_ = call(t.Context())
			}
			r, err := s.Get(t.Context(), r.ID)
			if err != nil {
				t.Fatal(err)
			}
			admin := client(t, server.URL())
			do(t, admin, "CONFIG", "RESETSTAT")
			ran := func() int { n := executions(t, admin); return n["evalsha"] + n["eval"] }
			link.Set(faultproxy.Fault{DropAnswers: true})
			short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			if i < 5 { // nobody waits any more when the connection is cut
				if err := calls(s, r)[name](short); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a call without an answer: %v", err)
				}
			} else { // somebody does
				answer := make(chan error, 1)
				_, before := link.Bytes()
				go func() { answer <- calls(s, r)[name](t.Context()) }()
				until(t, "the script has run and its answer was swallowed", func() bool {
					_, down := link.Bytes()
					return ran() > 0 && down > before
				})
				link.Heal()
				if err := <-answer; err == nil || errors.Is(err, store.ErrConflict) {
					t.Errorf("a call whose connection was cut: %v", err)
				}
			}
			link.Heal() // which cuts the connection
			until(t, "the server is heard again", func() bool { _, err := s.Get(t.Context(), r.ID); return err == nil })
			if n := ran(); n != 1 {
				t.Errorf("the script was run %d times", n)
			}
		})
	}
}

// TestOneCommand: a read is one command, and so is every change.
func TestOneCommand(t *testing.T) {
	server := services.Start(t, services.RedisKind)
	s, admin := openAt(t, server.URL(), nil), client(t, server.URL())
	r := put(t, s, record("user"))
	all := calls(s, r)
	for _, call := range all { // so that the server knows the scripts
		_ = call(t.Context())
	}
	r, err := s.Get(t.Context(), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	for name, call := range calls(s, r) {
		before := executions(t, admin)
		if err := call(t.Context()); err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
		after := executions(t, admin)
		sent := map[string]int{}
		for _, command := range []string{"eval", "evalsha", "get", "mget", "hgetall", "script|load", "ping", "multi"} {
			if n := after[command] - before[command]; n > 0 {
				sent[command] = n
			}
		}
		want := map[string]string{"Get": "get", "KnownKeys": "hgetall"}[name]
		if want == "" {
			want = "evalsha"
		}
		if len(sent) != 1 || sent[want] != 1 {
			t.Errorf("%s sent %v, want one %s", name, sent, want)
		}
	}
}

// TestASVS_13_1_2_Limit: a call for which there is no room waits as long as its
// context lasts, and gets room when another has ended.
func TestASVS_13_1_2_Limit(t *testing.T) {
	server := services.Start(t, services.RedisKind)
	s := openAt(t, server.URL(), nil)
	r := put(t, s, record("user"))
	server.Freeze(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for range 512 {
		wg.Go(func() { _, _ = s.Get(ctx, r.ID) })
	}
	until(t, "there is no room", func() bool { return s.UnderWay() == 512 })
	short, stop := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer stop()
	if _, err := s.Get(short, r.ID); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a call that finds no room: %v", err)
	}
	waiting := make(chan error, 1)
	go func() { _, err := s.Get(t.Context(), r.ID); waiting <- err }()
	server.Thaw(t)
	select {
	case err := <-waiting:
		if err != nil && !strings.Contains(err.Error(), "no answer") {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the call never got room")
	}
	cancel()
	wg.Wait()
	until(t, "all room is free", func() bool { return s.UnderWay() == 0 })
	until(t, "the server is heard", func() bool { _, err := s.Get(t.Context(), r.ID); return err == nil })
}

// TestClose: after Close calls fail, and none waits; a client of the program's own
// stays open.
func TestClose(t *testing.T) {
	url := services.Redis(t)
	c := client(t, url)
	own, err := redisstore.New(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*redisstore.Store{own, openAt(t, url, nil)} {
		s.Close()
		s.Close()
		for name, call := range calls(s, record("user")) {
			if err := call(t.Context()); err == nil || errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s after Close: %v", name, err)
			}
		}
	}
	if err := c.Do(t.Context(), c.B().Ping().Build()).Error(); err != nil {
		t.Error(err)
	}
}
