package memcachestore_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/memcachestore"
)

const day = 24 * time.Hour

// serve starts a server of the test's own.
func serve(t testing.TB, args ...string) *services.Server {
	t.Helper()
	return services.Start(t, services.MemcachedKind, args...)
}

// now is the time of a test, in milliseconds as stores keep them.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// why is the reason for which sessions end here.
func why() store.Ended { return store.Ended{Reason: store.Logout, At: now()} }

var made atomic.Uint64

// record returns a session of a user that may be created.
func record(userID string) store.Record {
	n := now()
	i := made.Add(1)
	return store.Record{
		ID: sha256.Sum256(strconv.AppendUint(nil, i, 10)), UserID: userID,
		Created: n, Seen: n, Expires: n.Add(30 * time.Minute), Deadline: n.Add(day),
		Info: fmt.Appendf(nil, "info %d", i), Data: fmt.Appendf(nil, "data %d", i),
	}
}

// put stores a record and returns it with its new version.
func put(t testing.TB, st store.Store, r store.Record) store.Record {
	t.Helper()
	if err := st.Put(context.Background(), r); err != nil {
		t.Fatalf("Put: %v", err)
	}
	r.Version++
	return r
}

// want fails the test if err is not what it should be.
func want(t testing.TB, call string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: %v, want %v", call, err, want)
	}
}

// listed returns how many sessions of a user a list shows.
func listed(t testing.TB, st store.UserStore, userID string) int {
	t.Helper()
	list, err := st.ListUser(context.Background(), userID)
	if err != nil {
		t.Fatalf("ListUser: %v", err)
	}
	return len(list)
}

// key returns the key of a session.
func key(prefix string, id store.ID) string { return prefix + ":s:" + id.String() }

// userKey returns the key of the list of a user's sessions.
func userKey(prefix, userID string) string {
	sum := sha256.Sum256([]byte(userID))
	return prefix + ":u:" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// say sends a command to a server past the store, and returns the lines of the
// answer up to one that ends it.
func say(t testing.TB, addr, command string) []string {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(nc, command+"\r\n"); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for in := bufio.NewReader(nc); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatalf("%q: %v", command, err)
		}
		line = strings.TrimSuffix(line, "\r\n")
		lines = append(lines, line)
		switch word, _, _ := strings.Cut(line, " "); word {
		case "END", "STORED", "DELETED", "NOT_FOUND", "OK", "HD", "EN", "ERROR", "SERVER_ERROR", "CLIENT_ERROR":
			return lines
		}
	}
}

// overwrite sets an item past the store.
func overwrite(t testing.TB, addr, key string, value []byte) {
	t.Helper()
	got := say(t, addr, fmt.Sprintf("set %s 0 0 %d\r\n%s", key, len(value), value))
	if got[0] != "STORED" {
		t.Fatalf("set: %q", got)
	}
}

// stored reads an item past the store, "" if there is none.
func stored(t testing.TB, addr, key string) string {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(nc, "get %s\r\n", key)
	var flags, size int
	in := bufio.NewReader(nc)
	if _, err := fmt.Fscanf(in, "VALUE "+key+" %d %d\r\n", &flags, &size); err != nil {
		return ""
	}
	value := make([]byte, size)
	if _, err := io.ReadFull(in, value); err != nil {
		t.Fatal(err)
	}
	return string(value)
}

// ttl returns for how many seconds a server still keeps an item; -1 is for ever.
func ttl(t testing.TB, addr, key string) int {
	t.Helper()
	got := say(t, addr, "mg "+key+" t")
	n, err := strconv.Atoi(strings.TrimPrefix(got[0], "HD t"))
	if err != nil {
		t.Fatalf("mg %s: %q", key, got)
	}
	return n
}

// stats returns one of the server's counters.
func stats(t testing.TB, addr, name string) int {
	t.Helper()
	for _, line := range say(t, addr, "stats") {
		if value, ok := strings.CutPrefix(line, "STAT "+name+" "); ok {
			n, err := strconv.Atoi(value)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no counter %s", name)
	return 0
}

// quiet fails the test if goroutines are left that were not there before.
func quiet(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		deadline := time.Now().Add(5 * time.Second)
		for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
			time.Sleep(5 * time.Millisecond)
		}
		if n := runtime.NumGoroutine(); n > before {
			buf := make([]byte, 1<<20)
			t.Errorf("%d goroutines are left, %d were there before:\n%s", n, before, buf[:runtime.Stack(buf, true)])
		}
	})
}

// freeze stops a server, and returns when it answers no more.
func freeze(t *testing.T, srv *services.Server) {
	t.Helper()
	srv.Freeze(t)
	for begin := time.Now(); time.Since(begin) < 10*time.Second; {
		nc, err := net.Dial("tcp", srv.Addr())
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(nc, "version\r\n")
		nc.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		_, err = nc.Read(make([]byte, 1))
		nc.Close()
		if err != nil {
			return
		}
	}
	t.Fatal("a frozen server goes on answering")
}

// within returns a context that ends soon.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

var _ store.UserStore = (*memcachestore.Store)(nil)
