package redisstore_test

import (
	"testing"

	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/redisstore"
	"github.com/cloakroom-dev/cloakroom/store/storetest"
)

// open returns a Store of the test's own on the shared server.
func open(t testing.TB) *redisstore.Store {
	t.Helper()
	return openAt(t, services.Redis(t), &redisstore.Options{Prefix: services.Prefix(t) + ":"})
}

func openAt(t testing.TB, url string, opts *redisstore.Options) *redisstore.Store {
	t.Helper()
	s, err := redisstore.Open(t.Context(), url, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestStore holds the store to the contract.
func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t) })
}
