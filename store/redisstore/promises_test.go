package redisstore_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/cloakroom-dev/cloakroom/internal/faultproxy"
	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/redisstore"
)

// do runs a command of an administrator.
func do(t testing.TB, c rueidis.Client, words ...string) rueidis.RedisResult {
	t.Helper()
	res := c.Do(t.Context(), c.B().Arbitrary(words...).Build())
	if err := res.NonRedisError(); err != nil {
		t.Fatalf("%v: %v", words, err)
	}
	return res
}

// info returns one line of INFO.
func info(t testing.TB, c rueidis.Client, name string) string {
	t.Helper()
	all, err := do(t, c, "INFO", "everything").ToString()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(all) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// until polls.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// TestPromise01_KilledAfterLogout: with an append-only file that is synchronised
// before the answer, what has ended has ended after kill -9 too; so has, with one
// that is synchronised every second, what was a moment ago.
func TestPromise01_KilledAfterLogout(t *testing.T) {
	for _, fsync := range []string{"always", "everysec"} {
		t.Run(fsync, func(t *testing.T) {
			server := services.Start(t, services.RedisKind, "--appendonly", "yes", "--appendfsync", fsync)
			s := openAt(t, server.URL(), nil)
			live, out, renewed := put(t, s, record("user")), put(t, s, record("user")), put(t, s, record("user"))
			gone := store.Ended{Reason: store.Renewed, At: why().At}
			if err := s.End(t.Context(), renewed.ID, renewed.Version, gone, renewed.Deadline); err != nil {
				t.Fatal(err)
			}
			if err := s.End(t.Context(), out.ID, 0, why(), out.Deadline); err != nil {
				t.Fatal(err)
			}
			if fsync == "everysec" {
				admin := client(t, server.URL())
				until(t, "the file is written", func() bool { return info(t, admin, "aof_buffer_length") == "0" })
			}
			server.Kill(t)
			server.Start(t)
			until(t, "the server answers", func() bool { _, err := s.Get(t.Context(), live.ID); return err == nil })
			for _, r := range []store.Record{out, renewed} {
				if _, err := s.Get(t.Context(), r.ID); !errors.Is(err, store.ErrEnded) {
					t.Errorf("Get after a restart: %v", err)
				}
				if err := s.Put(t.Context(), r); !errors.Is(err, store.ErrEnded) {
					t.Errorf("a late Put after a restart: %v", err)
				}
			}
			if list, err := s.ListUser(t.Context(), "user"); err != nil || len(list) != 1 || list[0].ID != live.ID {
				t.Errorf("ListUser after a restart: %d, %v", len(list), err)
			}
		})
	}
}

// TestLimit_NoPersistence shows what the package comment says of a server that
// keeps nothing: everybody is signed out, and nobody comes back.
func TestLimit_NoPersistence(t *testing.T) {
	server := services.Start(t, services.RedisKind)
	s := openAt(t, server.URL(), nil)
	live, out := put(t, s, record("user")), put(t, s, record("user"))
	if err := s.End(t.Context(), out.ID, 0, why(), out.Deadline); err != nil {
		t.Fatal(err)
	}
	server.Kill(t)
	server.Start(t)
	until(t, "the server answers", func() bool { _, err := s.Get(t.Context(), live.ID); return errors.Is(err, store.ErrNotFound) })
	for _, r := range []store.Record{live, out} {
		if err := s.Put(t.Context(), r); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a late Put: %v", err)
		}
	}
	put(t, s, record("user")) // with scripts that the new server had never seen
}

// TestLimit_Snapshots shows that a server which comes back in an earlier state
// brings back what has ended since.
func TestLimit_Snapshots(t *testing.T) {
	server := services.Start(t, services.RedisKind)
	s, admin := openAt(t, server.URL(), nil), client(t, server.URL())
	r := put(t, s, record("user"))
	if err := do(t, admin, "SAVE").Error(); err != nil {
		t.Fatal(err)
	}
	if err := s.End(t.Context(), r.ID, 0, why(), r.Deadline); err != nil {
		t.Fatal(err)
	}
	server.Kill(t)
	server.Start(t)
	until(t, "the session of the snapshot", func() bool { _, err := s.Get(t.Context(), r.ID); return err == nil })
}

// TestLimit_Eviction shows what a server does that evicts: visitors are signed out,
// and what has ended is never alive again, with or without its tombstone. A session
// whose user's index is gone is gone at its next change.
func TestLimit_Eviction(t *testing.T) {
	server := services.Start(t, services.RedisKind)
	s, admin := openAt(t, server.URL(), nil), client(t, server.URL())
	do(t, admin, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
	var out []store.Record
	for i := range 200 {
		r := put(t, s, record(fmt.Sprint("user ", i)))
		if err := s.End(t.Context(), r.ID, 0, why(), r.Deadline); err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	var live []store.Record
	for i := range 200 {
		live = append(live, put(t, s, record(fmt.Sprint("user ", i))))
	}
	do(t, admin, "CONFIG", "SET", "maxmemory", info(t, admin, "used_memory"))
	big := record("big")
	big.Data = make([]byte, 16<<10)
	until(t, "something of each kind is evicted", func() bool {
		_, _ = rand.Read(big.ID[:])
		put(t, s, big)
		lost := 0
		for _, r := range out {
			if _, err := s.Get(t.Context(), r.ID); errors.Is(err, store.ErrNotFound) {
				lost++
			}
		}
		return lost > 10
	})
	for _, r := range out {
		if err := s.Put(t.Context(), r); !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrEnded) {
			t.Fatalf("a late Put of an ended session: %v", err)
		}
	}
	do(t, admin, "CONFIG", "SET", "maxmemory", "0") // so that nothing changes from here on
	for _, r := range live {
		touch := s.Touch(t.Context(), r.ID, r.Seen, r.Expires.Add(time.Millisecond))
		list, err := s.ListUser(t.Context(), r.UserID)
		if err != nil || touch == nil && len(list) != 1 || touch != nil && !errors.Is(touch, store.ErrNotFound) {
			t.Fatalf("a session was touched with %v, and %d are listed: %v", touch, len(list), err)
		}
	}
}

// TestLimit_EvictedIndex: a session whose index was evicted can be read until its
// next touch or change, which finds it gone; and nothing but a login makes another.
func TestLimit_EvictedIndex(t *testing.T) {
	for name, change := range map[string]func(s store.Store, r store.Record) error{
		"touch":  func(s store.Store, r store.Record) error { return s.Touch(t.Context(), r.ID, r.Seen, r.Expires) },
		"update": func(s store.Store, r store.Record) error { return s.Put(t.Context(), r) },
	} {
		t.Run(name, func(t *testing.T) {
			url, prefix := services.Redis(t), services.Prefix(t)+":"
			s, c := openAt(t, url, &redisstore.Options{Prefix: prefix}), client(t, url)
			r, nobody := put(t, s, record("user")), put(t, s, record(""))
			keys, err := do(t, c, "KEYS", prefix+"u:*").AsStrSlice()
			if err != nil || len(keys) != 1 {
				t.Fatal(keys, err)
			}
			do(t, c, "DEL", keys[0])
			if _, err := s.Get(t.Context(), r.ID); err != nil {
				t.Errorf("Get: %v", err)
			}
			if err := change(s, r); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("a session that no list shows was changed: %v", err)
			}
			if _, err := s.Get(t.Context(), r.ID); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("Get: %v", err)
			}
			if err := change(s, nobody); err != nil {
				t.Errorf("a session without a user: %v", err)
			}
		})
	}
}

// TestLimit_OutOfMemory: a full server that does not evict refuses sessions and
// updates with an error that says nothing about the session; reads, touches and
// ends go on.
func TestLimit_OutOfMemory(t *testing.T) {
	server := services.Start(t, services.RedisKind)
	s, admin := openAt(t, server.URL(), nil), client(t, server.URL())
	var list []store.Record
	for range 5 {
		list = append(list, put(t, s, record("user")))
	}
	do(t, admin, "CONFIG", "SET", "maxmemory-policy", "noeviction")
	do(t, admin, "CONFIG", "SET", "maxmemory", "1mb") // less than it needs empty
	ctx := t.Context()
	for _, err := range []error{s.Put(ctx, record("user")), s.Put(ctx, list[0])} {
		if err == nil || !strings.Contains(err.Error(), "OOM") {
			t.Errorf("Put: %v, want the server's error", err)
		}
	}
	if _, err := s.Get(ctx, list[0].ID); err != nil {
		t.Error(err)
	}
	if err := s.Touch(ctx, list[0].ID, list[0].Seen.Add(time.Second), list[0].Expires.Add(time.Second)); err != nil {
		t.Error(err)
	}
	if got, err := s.ListUser(ctx, "user"); err != nil || len(got) != len(list) {
		t.Error(len(got), err)
	}
	if err := s.End(ctx, list[0].ID, 0, why(), list[0].Deadline); err != nil {
		t.Error(err)
	}
	if err := s.End(ctx, record("").ID, 0, why(), list[0].Deadline); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
	if n, err := s.EndUser(ctx, "user", store.ID{}, why(), list[0].Deadline); err != nil || n != 4 {
		t.Error(n, err)
	}
	do(t, admin, "CONFIG", "SET", "maxmemory", "0")
	put(t, s, record("user"))
}

// TestLimit_Failover shows that a replica which lags and takes over knows nothing of
// a logout that the primary had acknowledged, and that the documented setting makes
// a primary refuse what no replica hears of.
func TestLimit_Failover(t *testing.T) {
	primary := services.Start(t, services.RedisKind, "--repl-diskless-sync-delay", "0")
	link := faultproxy.New(t, primary.Addr())
	host, port, _ := strings.Cut(link.Addr(), ":")
	replica := services.Start(t, services.RedisKind, "--replicaof", host, port, "--masterauth", primary.Password)
	s, admin, second := openAt(t, primary.URL(), nil), client(t, primary.URL()), openAt(t, replica.URL(), nil)
	r, late := put(t, s, record("user")), put(t, s, record("user"))
	until(t, "the replica has both", func() bool {
		_, err1 := second.Get(t.Context(), r.ID)
		_, err2 := second.Get(t.Context(), late.ID)
		return err1 == nil && err2 == nil
	})
	link.Set(faultproxy.Fault{Blackhole: true})
	if err := s.End(t.Context(), r.ID, 0, why(), r.Deadline); err != nil {
		t.Fatal(err)
	}
	do(t, admin, "CONFIG", "SET", "min-replicas-max-lag", "1")
	do(t, admin, "CONFIG", "SET", "min-replicas-to-write", "1")
	var refusal error
	until(t, "the primary notices", func() bool {
		refusal = s.End(t.Context(), record("").ID, 0, why(), late.Deadline)
		return refusal != nil && !errors.Is(refusal, store.ErrNotFound)
	})
	if !strings.Contains(refusal.Error(), "NOREPLICAS") {
		t.Errorf("the primary says %v", refusal)
	}
	if err := s.End(t.Context(), late.ID, 0, why(), late.Deadline); err == nil {
		t.Error("a logout was acknowledged that no replica had heard of")
	}
	primary.Kill(t)
	do(t, client(t, replica.URL()), "REPLICAOF", "NO", "ONE")
	if _, err := second.Get(t.Context(), r.ID); err != nil {
		t.Errorf("Get on the replica: %v, expected the session that had ended", err)
	}
}

// TestPromise09_ManySessions: a user with more sessions than one script takes has
// all of them listed and ended, but for the one that is excepted.
func TestPromise09_ManySessions(t *testing.T) {
	const many = 1203
	s := open(t)
	var list []store.Record
	for range many {
		list = append(list, put(t, s, record("user")))
	}
	got, err := s.ListUser(t.Context(), "user")
	if err != nil || len(got) != many {
		t.Fatalf("%d of %d sessions are listed: %v", len(got), many, err)
	}
	if n, err := s.EndUser(t.Context(), "user", list[7].ID, why(), list[0].Deadline); n != many-1 || err != nil {
		t.Errorf("%d of %d were ended: %v", n, many-1, err)
	}
	got, err = s.ListUser(t.Context(), "user")
	if err != nil || len(got) != 1 || got[0].ID != list[7].ID {
		t.Errorf("%d sessions are listed afterwards: %v", len(got), err)
	}
}
