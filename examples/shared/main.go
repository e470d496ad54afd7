// Shared knows who has signed in at the service, because it shares its database
// and its keys. It has no login of its own.
//
//	go run ./cmd/cloakroom serve
//	go run ./examples/shared
//
// Sign in at http://127.0.0.1:8080/auth/login, then open http://127.0.0.1:8081/.
// A browser sends its cookies to every port of a host; in earnest both stand
// behind one proxy, under one name.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"path/filepath"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8081", "address to listen on")
	data := flag.String("data", "cloakroom-data", "folder of the service")
	service := flag.String("service", "http://127.0.0.1:8080", "address of the service, where people sign in")
	flag.Parse()

	// Load and not OpenFile: other keys than the service's would be of no use.
	source := keyring.File(filepath.Join(*data, "keys"))
	keys, err := keyring.Load(context.Background(), source)
	if err != nil {
		log.Fatal(err)
	}
	go keys.Follow(context.Background(), source, nil) // the service's keys rotate
	db, err := sqlite.Open(filepath.Join(*data, "cloakroom.db"), nil)
	if err != nil {
		log.Fatal(err)
	}
	sessions, err := cloakroom.New(db.Store(), keys, nil)
	if err != nil {
		log.Fatal(err)
	}
	// The service sweeps the database.
	users, err := sqlusers.New(context.Background(), db)
	if err != nil {
		log.Fatal(err)
	}
	guard, err := auth.New(sessions, users, nil)
	if err != nil {
		log.Fatal(err)
	}

	mux := http.NewServeMux()
	mux.Handle("GET /login", http.RedirectHandler(*service+"/auth/login", http.StatusSeeOther))
	mux.Handle("GET /", guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := auth.UserFrom(r.Context())
		fmt.Fprintf(w, "Hello %s, you have signed in at the service.\n", user.Name)
	})))

	l, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("listening on http://%s", l.Addr())
	log.Fatal(http.Serve(l, sessions.Handler(mux)))
}
