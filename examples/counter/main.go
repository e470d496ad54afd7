// Counter counts each visitor's requests, also when they come in parallel.
//
//	go run ./examples/counter
//	curl -b jar -c jar http://127.0.0.1:8080/session_test
package main

import (
	"encoding/json"
	"flag"
	"log"
	"net"
	"net/http"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
)

var counter = cloakroom.NewKey[int]("test_counter")

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address to listen on")
	flag.Parse()

	// The sessions are in memory and end with the program, so the key may, too.
	keys, err := keyring.New(keyring.Generate())
	if err != nil {
		log.Fatal(err)
	}
	sessions, err := cloakroom.New(memstore.New(nil), keys, nil)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /session_test", sessionTest)

	l, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("listening on http://%s", l.Addr())
	log.Fatal(http.Serve(l, sessions.Handler(mux)))
}

func sessionTest(w http.ResponseWriter, r *http.Request) {
	s := cloakroom.FromContext(r.Context())
	counter.Update(s, func(n int) int { return n + 1 })

	// The number is final once it is saved: another request of the same visitor
	// may have come first, and then Update runs again on what that one left.
	if err := s.Commit(r.Context()); err != nil {
		cloakroom.WriteError(w, r, err)
		return
	}
	n, _ := counter.Get(s)
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]int{"test_counter": n})
}
