package redisstore_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/redisstore"
)

// sized stores a session with so many bytes of Info and Data.
func sized(t *testing.T, s *redisstore.Store, i byte, created time.Time, info, data int) store.ID {
	t.Helper()
	r := store.Record{
		ID: store.ID{i, 1}, UserID: strings.Repeat("u", int(i)), Created: created, Seen: created,
		Expires: created.Add(time.Hour), Deadline: created.Add(time.Hour),
		Info: make([]byte, info), Data: make([]byte, data),
	}
	if err := s.Put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	return r.ID
}

// A sample has the sizes of sessions, of ours alone and of no tombstone, and no more of
// them than were asked for; the server is asked for nothing that writes or takes long.
func TestSample(t *testing.T) {
	server := services.Start(t, services.RedisKind)
	admin := client(t, server.URL())
	s := openAt(t, server.URL(), &redisstore.Options{Prefix: "a*[b]?\\:"})
	other := openAt(t, server.URL(), &redisstore.Options{Prefix: "aab?\\:"})
	now := time.Now().UTC().Truncate(time.Millisecond)
	for i := range byte(30) {
		sized(t, s, i, now.Add(time.Duration(i)*time.Millisecond), int(i), 1000*int(i))
	}
	sized(t, other, 100, now, 1, 99_999)
	gone := sized(t, s, 101, now, 1, 99_999)
	if err := s.End(t.Context(), gone, 0, why(), now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	for _, words := range [][]string{{"SET", "a*[b]?\\:s:x", "no record"}, {"HSET", "a*[b]?\\:s:y", "a", "b"}, {"CONFIG", "RESETSTAT"}} {
		if err := do(t, admin, words...).Error(); err != nil {
			t.Fatal(err)
		}
	}
	list, err := s.Sample(t.Context(), 100)
	slices.SortFunc(list, func(a, b redisstore.Size) int { return a.Created.Compare(b.Created) })
	if err != nil || len(list) != 30 {
		t.Fatalf("%d sessions, %v", len(list), err)
	}
	for i, size := range list {
		if want := (redisstore.Size{Created: now.Add(time.Duration(i) * time.Millisecond), Info: i, Data: 1000 * i}); size != want {
			t.Errorf("%+v, want %+v", size, want)
		}
	}
	if list, err := s.Sample(t.Context(), 7); err != nil || len(list) != 7 {
		t.Errorf("%d sessions, %v, want 7", len(list), err)
	}
	all, err := do(t, admin, "INFO", "commandstats").ToString()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(all) {
		stat, ok := strings.CutPrefix(line, "cmdstat_")
		name, _, _ := strings.Cut(stat, ":")
		if ok && !slices.Contains([]string{"scan", "getrange", "strlen", "config|resetstat", "info"}, name) {
			t.Errorf("the server was asked for %s", name)
		}
	}
}

// However many other keys the database has, a sample ends.
func TestSampleIsBounded(t *testing.T) {
	server := services.Start(t, services.RedisKind)
	admin := client(t, server.URL())
	if err := do(t, admin, "EVAL", "for i = 1, 150000 do redis.call('SET', 'other:' .. i, '') end return 1", "0").Error(); err != nil {
		t.Fatal(err)
	}
	s := openAt(t, server.URL(), nil)
	if list, err := s.Sample(t.Context(), 10); err != nil || len(list) > 0 {
		t.Errorf("%v, %v", list, err)
	}
	if got := info(t, admin, "cmdstat_scan"); !strings.HasPrefix(got, "calls=200,") {
		t.Errorf("SCAN: %s, want 200 calls", got)
	}
}
