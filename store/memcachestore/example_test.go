package memcachestore_test

import (
	"context"
	"log"
	"time"

	"github.com/cloakroom-dev/cloakroom/store/memcachestore"
)

// A program whose sessions are in Memcached.
func ExampleOpen() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	st, err := memcachestore.Open(ctx, "memcache://127.0.0.1:11211/shop", nil)
	if err != nil {
		log.Print(err)
		return
	}
	defer st.Close()
	// manager, err := cloakroom.New(st, keys, nil)
}

// Two servers over TLS, which ask for a password and have a certificate of the
// house's own authority.
func ExampleOpen_tls() {
	const url = "memcaches://shop:secret@cache1.example.com,cache2.example.com/shop?ca=/etc/ssl/house.pem"
	st, err := memcachestore.Open(context.Background(), url, &memcachestore.Options{MaxConns: 16})
	if err != nil {
		log.Print(err)
		return
	}
	defer st.Close()
}
