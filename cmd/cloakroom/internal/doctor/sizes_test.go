package doctor_test

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/memcachestore"
	"github.com/cloakroom-dev/cloakroom/store/redisstore"
)

// sessionsAt opens a store that nobody else uses, and returns its URL.
type sessionsAt func(t *testing.T, w *servers) (st store.Store, url string)

func redisSessions(t *testing.T, w *servers) (store.Store, string) {
	t.Helper()
	url := w.redis.URL() + prefix(t)
	st, err := redisstore.Open(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st, url
}

func cacheSessions(t *testing.T, w *servers) (store.Store, string) {
	t.Helper()
	url := w.cache.URL() + "/" + services.Prefix(t)
	st, err := memcachestore.Open(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st, url
}

// withSessions is a site with fifteen young and fifteen old sessions of these sizes, and
// one that is larger, unless that is 0.
func (w *servers) withSessions(t *testing.T, open sessionsAt, young, old, one int) *site {
	t.Helper()
	st, url := open(t, w)
	now := time.Now().UTC().Truncate(time.Millisecond)
	put := func(n, size int, age time.Duration) {
		t.Helper()
		for range n {
			r := store.Record{UserID: "ann", Created: now.Add(-age), Seen: now, Expires: now.Add(time.Hour), Deadline: now.Add(day), Data: make([]byte, size)}
			rand.Read(r.ID[:])
			if err := st.Put(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(15, young, time.Minute)
	put(15, old, 10*time.Hour)
	if one > 0 {
		put(1, one, time.Hour)
	}
	return w.on(t, url, w.postgresURL)
}
