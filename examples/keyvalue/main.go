// Keyvalue stores a value in one request and reads it in another.
//
//	go run ./examples/keyvalue
//	curl -b jar -c jar http://127.0.0.1:8080/set_session
//	curl -b jar -c jar http://127.0.0.1:8080/get_session
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

var key = cloakroom.NewKey[string]("key")

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
	mux.HandleFunc("GET /set_session", func(w http.ResponseWriter, r *http.Request) {
		key.Set(cloakroom.FromContext(r.Context()), "value")
		reply(w, map[string]any{"message": "Session set"})
	})
	mux.HandleFunc("GET /get_session", func(w http.ResponseWriter, r *http.Request) {
		var value any // null where there is none
		if v, ok := key.Get(cloakroom.FromContext(r.Context())); ok {
			value = v
		}
		reply(w, map[string]any{"key": value})
	})

	l, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("listening on http://%s", l.Addr())
	log.Fatal(http.Serve(l, sessions.Handler(mux)))
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}
