package promises_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/internal/services"
)

// A server that has no room throws sessions out, or takes no new ones. A visitor
// whose session is gone is signed out, and signs in anew if there is room; nobody
// meets anything but a page, a 401 or a 503, and none that was ended comes back.
func TestAttack_A52_AServerWithoutRoom(t *testing.T) {
	t.Parallel()
	servers := map[string]struct {
		kind   services.Kind
		args   []string
		evicts bool
	}{
		"memcached":               {services.MemcachedKind, []string{"-m", "2", "-I", "1m"}, true},
		"memcached, full":         {services.MemcachedKind, []string{"-m", "2", "-I", "1m", "-M"}, false},
		"redis":                   {services.RedisKind, []string{"--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru"}, true},
		"redis, soonest first":    {services.RedisKind, []string{"--maxmemory", "3mb", "--maxmemory-policy", "volatile-ttl", "--maxmemory-samples", "64"}, true},
		"redis, without evicting": {services.RedisKind, []string{"--maxmemory", "3mb", "--maxmemory-policy", "noeviction"}, false},
	}
	for name, on := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := services.Start(t, on.kind, on.args...).URL()
			here := redisPlace(server, "")
			if on.kind == services.MemcachedKind {
				here = memcachedPlace(server, "room")
			}
			w := newWorldAt(t, here, nil)
			first, ended := w.signIn(t, "first"), w.signIn(t, "ended")
			big := strings.Repeat("x", 60<<10)
			for _, c := range []string{first, ended} { // as large as those that come, since some servers evict like for like
				w.large(request{path: "/set?name=big", cookie: c}, big)
			}
			w.must(t, request{method: "POST", path: "/logout", cookie: ended})
			w.fill(t, big)
			for _, q := range []request{{method: "GET", path: "/me"}, {method: "POST", path: "/update"}, {method: "GET", path: "/list"}} {
				q.cookie = first
				a := w.do(q)
				if on.evicts && a.status != http.StatusUnauthorized || !on.evicts && !a.ok() && a.status != http.StatusServiceUnavailable {
					t.Errorf("%s: %v", q.path, a)
				}
				q.cookie = ended
				if a := w.do(q); a.status != http.StatusUnauthorized {
					t.Errorf("%s of the one that has ended: %v", q.path, a)
				}
			}
			a := w.do(request{at: 1, method: "POST", path: "/login", cookie: first, form: url.Values{"user": {"first"}}})
			if on.evicts && (!a.ok() || w.read(t, 0, a.cookie).User != "first") || !on.evicts && !a.ok() && a.status != http.StatusServiceUnavailable {
				t.Errorf("signing in anew: %v", a)
			}
			if !on.evicts { // what is there can be ended all the same
				if a := w.do(request{method: "POST", path: "/logout", cookie: first}); !a.ok() {
					t.Errorf("a logout: %v", a)
				} else if err := w.nobody(first); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// fill signs users in until the server has more than it can keep.
func (w *world) fill(t *testing.T, value string) {
	t.Helper()
	for i := range 120 {
		a := w.do(post("/login", "user", fmt.Sprint("filler", i)))
		if a.ok() {
			a = w.large(request{path: "/set?name=big", cookie: a.cookie}, value)
		}
		if a.err != nil || !a.ok() && a.status != http.StatusServiceUnavailable && a.status != http.StatusUnauthorized && a.status != http.StatusConflict {
			t.Fatalf("visitor %d: %v", i, a)
		}
	}
}
