package redisstore_test

import (
	"crypto/rand"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/redisstore"
)

// record returns a session that may be created.
func record(userID string) store.Record {
	now := time.Now().Truncate(time.Millisecond).UTC()
	r := store.Record{
		UserID: userID, Created: now, Seen: now, Expires: now.Add(30 * time.Minute), Deadline: now.Add(24 * time.Hour),
		Info: make([]byte, 120), Data: make([]byte, 400),
	}
	_, _ = rand.Read(r.ID[:])
	return r
}

func put(tb testing.TB, s store.Store, r store.Record) store.Record {
	tb.Helper()
	if err := s.Put(tb.Context(), r); err != nil {
		tb.Fatal(err)
	}
	r.Version++
	return r
}

func why() store.Ended {
	return store.Ended{Reason: store.Logout, At: time.Now().Truncate(time.Millisecond).UTC()}
}

// clientOption is how Open sets up its client.
func clientOption(tb testing.TB, url string) rueidis.ClientOption {
	tb.Helper()
	o, err := rueidis.ParseURL(url)
	if err != nil {
		tb.Fatal(err)
	}
	o.ForceSingleClient, o.PipelineMultiplex, o.AlwaysPipelining = true, -1, true
	o.MaxFlushDelay, o.DisableRetry, o.DisableCache = 20*time.Microsecond, true, true
	return o
}

func client(tb testing.TB, url string) rueidis.Client {
	tb.Helper()
	c, err := rueidis.NewClient(clientOption(tb, url))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	return c
}

// rawCAS is the least that a compare-and-set can be: the version in a hash would
// be a second command.
var rawCAS = rueidis.NewLuaScript(`
local v = redis.call('GETRANGE', KEYS[1], 0, 21)
if string.sub(v, 3, 22) ~= ARGV[1] then return 3 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 0`)

// BenchmarkStore measures each call beside the least that one can do with the same
// client: ns/op of Get over that of RawGet, and of Put and Touch over RawCAS, are
// the figures. Serial is one goroutine, Parallel fifty.
func BenchmarkStore(b *testing.B) {
	url := services.Redis(b)
	c := client(b, url)
	s, err := redisstore.New(c, &redisstore.Options{Prefix: services.Prefix(b) + ":"})
	if err != nil {
		b.Fatal(err)
	}
	ctx := b.Context()
	raw := "raw:" + services.Prefix(b)
	value := "R1" + strings.Repeat("0", 640)
	calls := map[string]func(r *store.Record) error{
		"RawGet": func(*store.Record) error {
			_, err := c.Do(ctx, c.B().Get().Key(raw).Build()).AsBytes()
			return err
		},
		"Get": func(r *store.Record) error {
			_, err := s.Get(ctx, r.ID)
			return err
		},
		"RawCAS": func(r *store.Record) error {
			version := "0000000000" + strconv.Itoa(1000000000)
			return rawCAS.Exec(ctx, c, []string{raw}, []string{version, value, "1800000"}).Error()
		},
		"Put": func(r *store.Record) error {
			err := s.Put(ctx, *r)
			r.Version++
			return err
		},
		"Touch": func(r *store.Record) error {
			r.Seen, r.Expires = r.Seen.Add(time.Millisecond), r.Expires.Add(time.Millisecond)
			return s.Touch(ctx, r.ID, r.Seen, r.Expires)
		},
	}
	value = "R1" + "00000000001000000000" + value[22:]
	if err := c.Do(ctx, c.B().Set().Key(raw).Value(value).Build()).Error(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Do(ctx, c.B().Del().Key(raw).Build()) })
	for _, name := range []string{"RawGet", "Get", "RawCAS", "Put", "Touch"} {
		call := calls[name]
		b.Run("Serial/"+name, func(b *testing.B) {
			r := put(b, s, record("user"))
			b.ReportAllocs()
			for b.Loop() {
				if err := call(&r); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("Parallel/"+name, func(b *testing.B) {
			b.SetParallelism(25) // times the processors
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				r := record("user " + rand.Text())
				if err := s.Put(ctx, r); err != nil {
					b.Error(err)
				}
				r.Version = 1
				for pb.Next() {
					if err := call(&r); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
