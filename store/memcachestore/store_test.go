package memcachestore_test

import (
	"context"
	"testing"

	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/memcachestore"
	"github.com/cloakroom-dev/cloakroom/store/storetest"
)

// open opens a store that closes with the test.
func open(t testing.TB, url string, opts *memcachestore.Options) *memcachestore.Store {
	t.Helper()
	st, err := memcachestore.Open(context.Background(), url, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// fresh opens an empty store on a server that others use as well.
func fresh(t testing.TB, url string) *memcachestore.Store {
	t.Helper()
	return open(t, url+"/"+services.Prefix(t), nil)
}

// The largest item of a server is 1 MiB by default, and store.MaxData with what
// stands around it is more: the largest are refused, everything else holds.
func TestStoreByDefault(t *testing.T) {
	srv := services.Start(t, services.MemcachedKind, "-I", "1m")
	storetest.Run(t, func(t *testing.T) store.Store { return fresh(t, srv.URL()) })
}

func TestStoreOfLargeItems(t *testing.T) {
	srv := services.Start(t, services.MemcachedKind, "-I", "2m")
	storetest.Run(t, func(t *testing.T) store.Store { return fresh(t, srv.URL()) })
}

func TestStoreOnThreeServers(t *testing.T) {
	url := "memcache://"
	for i := range 3 {
		if i > 0 {
			url += ","
		}
		url += services.Start(t, services.MemcachedKind).Addr()
	}
	storetest.Run(t, func(t *testing.T) store.Store { return fresh(t, url) })
}
