package memcachestore_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/cloakroom-dev/cloakroom/store/memcachestore"
)

// The floor: the same client, and what a program would do with it alone.
func BenchmarkRawGet(b *testing.B) {
	c := raw(b)
	for b.Loop() {
		if _, err := c.Get("key"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRawGetCompareAndSwap(b *testing.B) {
	c := raw(b)
	for b.Loop() {
		item, err := c.Get("key")
		if err != nil {
			b.Fatal(err)
		}
		if err := c.CompareAndSwap(item); err != nil {
			b.Fatal(err)
		}
	}
}

// raw connects a client to a server that has one item of a record's size.
func raw(b *testing.B) *memcache.Client {
	b.Helper()
	c := memcache.New(serve(b).Addr())
	if err := c.Set(&memcache.Item{Key: "key", Value: bytes.Repeat([]byte("x"), 500)}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	return c
}

func BenchmarkGet(b *testing.B) {
	st := open(b, serve(b).URL(), nil)
	r := record("user")
	r.Data = bytes.Repeat([]byte("x"), 400)
	put(b, st, r)
	for b.Loop() {
		if _, err := st.Get(b.Context(), r.ID); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPut(b *testing.B) {
	st := open(b, serve(b).URL(), nil)
	r := record("user")
	r.Data = bytes.Repeat([]byte("x"), 400)
	r = put(b, st, r)
	for b.Loop() {
		if err := st.Put(b.Context(), r); err != nil {
			b.Fatal(err)
		}
		r.Version++
	}
}

func BenchmarkTouch(b *testing.B) {
	st := open(b, serve(b).URL(), nil)
	r := record("user")
	r.Data = bytes.Repeat([]byte("x"), 400)
	r.Deadline = r.Deadline.Add(400 * day)
	r = put(b, st, r)
	for b.Loop() {
		r.Seen = r.Seen.Add(time.Millisecond)
		if err := st.Touch(b.Context(), r.ID, r.Seen, r.Expires); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkListUser(b *testing.B) {
	st := open(b, serve(b).URL(), nil)
	for range 10 {
		put(b, st, record("user"))
	}
	for b.Loop() {
		if listed(b, st, "user") != 10 {
			b.Fatal("not all are listed")
		}
	}
}

func BenchmarkGetParallel(b *testing.B) {
	st := open(b, serve(b).URL(), &memcachestore.Options{MaxConns: 16})
	r := put(b, st, record("user"))
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := st.Get(b.Context(), r.ID); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
