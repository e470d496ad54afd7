package memcachestore_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/store/memcachestore"
)

// anID is one of a session.
var anID = strings.Repeat("A", 43)

// A sample has the sizes of sessions, of ours alone and of no tombstone, on all servers,
// and no more of them than were asked for; and it is no use of them.
func TestCheckSizes(t *testing.T) {
	t.Parallel()
	one, two := serve(t), serve(t)
	servers := "memcache://" + one.Addr() + "," + two.Addr()
	url := servers + "/a%25b"
	s, other := open(t, url, nil), open(t, servers+"/a", nil)
	start := now()
	var key string
	for i := range 40 {
		r := record("ann")
		r.Created, r.Info, r.Data = start.Add(time.Duration(i)*time.Millisecond), make([]byte, i), make([]byte, 1000*i)
		put(t, s, r)
		key = "a%b:s:" + r.ID.String()
	}
	r := record("ann")
	r.Data = make([]byte, 99_999)
	put(t, other, r)
	ended := put(t, s, record("bob"))
	if err := s.End(t.Context(), ended.ID, 0, why(), start.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	list, err := memcachestore.CheckSizes(t.Context(), url, nil, 200)
	for range 20 { // an item that the server moves meanwhile is not named
		if err != nil || len(list) >= 40 {
			break
		}
		list, err = memcachestore.CheckSizes(t.Context(), url, nil, 200)
	}
	slices.SortFunc(list, func(a, b memcachestore.Size) int { return a.Created.Compare(b.Created) })
	if err != nil || len(list) != 40 {
		t.Fatalf("%d sessions, %v", len(list), err)
	}
	for i, size := range list {
		if want := (memcachestore.Size{Created: start.Add(time.Duration(i) * time.Millisecond), Info: i, Data: 1000 * i}); size != want {
			t.Errorf("%+v, want %+v", size, want)
		}
	}
	// The tombstone may be one of the six that are drawn.
	if list, err := memcachestore.CheckSizes(t.Context(), url, nil, 6); err != nil || len(list) != 6 && len(list) != 5 {
		t.Errorf("%d sessions, %v, want 6", len(list), err)
	}
	hit := ""
	for _, addr := range []string{one.Addr(), two.Addr()} {
		hit += strings.Join(say(t, addr, "mg "+key+" h u"), " ")
	}
	if !strings.Contains(hit, "HD h0") {
		t.Errorf("the session has been used: %q", hit)
	}
}

// An item that the server moves while it walks is named twice, and counts once.
func TestCheckSizesCountsOnce(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	addr := fake(t, func(question string) string {
		if strings.HasPrefix(question, "mg ") {
			asked.Add(1)
			return "EN\r\n"
		}
		return strings.Repeat("key=cloakroom%3As%3A"+anID+" exp=1 la=1\r\n", 3) + "END\r\n"
	})
	if _, err := memcachestore.CheckSizes(t.Context(), "memcache://"+addr, nil, 10); err != nil || asked.Load() != 1 {
		t.Errorf("asked %d times, %v", asked.Load(), err)
	}
}

// What is no Memcached, does not end or does not answer is an error, in time.
func TestCheckSizesIsBounded(t *testing.T) {
	t.Parallel()
	off := serve(t, "-o", "no_lru_crawler")
	if _, err := memcachestore.CheckSizes(t.Context(), off.URL(), nil, 10); err == nil || !strings.Contains(err.Error(), "crawler is turned off") {
		t.Errorf("%v", err)
	}
	for name, c := range map[string]struct {
		answer func(question string) string
		want   string
	}{
		"endless":        {func(string) string { return strings.Repeat("key=other%3As exp=1 la=1\r\n", 10_000) }, ""},
		"of ours":        {func(string) string { return strings.Repeat("key=cloakroom%3As%3A"+anID+" exp=1\r\n", 10_000) }, "1.6"},
		"busy":           {func(string) string { return "BUSY currently processing crawler request\r\n" }, "deadline exceeded"},
		"another server": {func(string) string { return "HTTP/1.1 400 Bad Request\r\n" }, "1.6"},
		"one long line":  {func(string) string { return strings.Repeat("key=", 10_000) }, "buffer full"},
		"old": {func(question string) string {
			if strings.HasPrefix(question, "mg ") {
				return "ERROR\r\n"
			}
			return "key=cloakroom%3As%3A" + anID + " exp=1\r\nEND\r\n"
		}, "1.6"},
		"a value of any size": {func(question string) string {
			if strings.HasPrefix(question, "mg ") {
				return "VA 99999999999 \r\n"
			}
			return "key=cloakroom%3As%3A" + anID + " exp=1\r\nEND\r\n"
		}, "1.6"},
		"silent": {func(string) string { return "" }, "deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			if strings.Contains(c.want, "deadline") {
				ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
				defer cancel()
			}
			_, err := memcachestore.CheckSizes(ctx, "memcache://"+fake(t, c.answer), nil, 10)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// fake is a server that answers each line, again and again where it has more to say.
func fake(t *testing.T, answer func(string) string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				r := bufio.NewReader(nc)
				for {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					text := answer(line)
					for n := 1; n > 0 || len(text) > 1<<16; n-- {
						if _, err := nc.Write([]byte(text)); err != nil && !errors.Is(err, net.ErrClosed) {
							return
						}
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// What somebody else's key has in it, line ends and commands too, is not asked for.
func TestCheckSizesAsksForNoKeyOfOthers(t *testing.T) {
	srv := serve(t)
	s := open(t, srv.URL(), nil)
	r := put(t, s, record("ann"))
	key := "cloakroom:s:x\r\nflush_all\r\nmg y"
	if got := say(t, srv.Addr(), "ms "+base64.StdEncoding.EncodeToString([]byte(key))+" 1 b\r\nz"); !slices.Equal(got, []string{"HD"}) {
		t.Fatal(got)
	}
	if list, err := memcachestore.CheckSizes(t.Context(), srv.URL(), nil, 200); len(list) != 1 || err != nil {
		t.Errorf("%v, %v", list, err)
	}
	_, err := s.Get(t.Context(), r.ID)
	want(t, "the session afterwards", err, nil)
}
