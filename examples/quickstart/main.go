// Quickstart is the README's program: it counts a visitor's visits, and still knows
// them after a restart.
//
//	go run ./examples/quickstart
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
)

var visits = cloakroom.NewKey[int]("visits")

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address to listen on")
	flag.Parse()
	keys, err := keyring.OpenFile("quickstart.keys")
	if err != nil {
		log.Fatal(err)
	}
	db, err := sqlite.Open("quickstart.db", nil)
	if err != nil {
		log.Fatal(err)
	}
	sessions, err := cloakroom.New(db.Store(), keys, nil)
	if err != nil {
		log.Fatal(err)
	}
	go sessions.Sweep(context.Background(), 0)
	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		s := cloakroom.FromContext(r.Context())
		fmt.Fprintln(w, "visit", visits.Update(s, func(n int) int { return n + 1 }))
	})
	log.Printf("listening on http://%s", *listen)
	log.Fatal(http.ListenAndServe(*listen, sessions.Handler(http.DefaultServeMux)))
}
