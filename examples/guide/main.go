// Guide is the application of the login guides, with what they leave to the reader:
// a table of users, roles, throttled logins, forgery kept out, a change of password.
// All of it is kept in one SQLite file.
//
//	echo 'a password of some words' | go run ./examples/guide -add ada -roles admin
//	go run ./examples/guide
//
// Where something else has port 8080, as the service has, give it another one:
// go run ./examples/guide -listen 127.0.0.1:8090
//
//	curl -b jar -c jar --json '{"username":"ada","password":"a password of some words"}' http://127.0.0.1:8080/login
//	curl -b jar -c jar http://127.0.0.1:8080/profile
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/csrf"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/password"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
	"github.com/cloakroom-dev/cloakroom/throttle"
	"github.com/cloakroom-dev/cloakroom/throttle/sqlthrottle"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address to listen on")
	add := flag.String("add", "", "add a user of this name, with the password on standard input, and end")
	roles := flag.String("roles", "", "roles of the user to add, separated by blanks")
	flag.Parse()

	ctx := context.Background()
	keys, err := keyring.OpenFile("guide.keys")
	check(err)
	db, err := sqlite.Open("guide.db", nil)
	check(err)
	users, err := sqlusers.New(ctx, db)
	check(err)
	hasher, err := password.New(nil)
	check(err)
	if *add != "" {
		check(addUser(ctx, users, hasher, *add, strings.Fields(*roles)))
		fmt.Println("added", *add)
		return
	}
	counters, err := sqlthrottle.Open(ctx, db)
	check(err)
	tries, err := throttle.New(counters, nil)
	check(err)
	sessions, err := cloakroom.New(db.Store(), keys, nil)
	check(err)
	go sessions.Sweep(ctx, 0)
	login, err := auth.New(sessions, users, &auth.Options{Hasher: hasher, Throttle: tries})
	check(err)
	protection, err := csrf.New(sessions, nil)
	check(err)

	l, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatalf("%v: choose another address with -listen", err)
	}
	log.Printf("listening on http://%s", l.Addr())
	handler := http.MaxBytesHandler(sessions.Handler(protection.Handler(routes(login))), 64<<10)
	log.Fatal((&http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}).Serve(l))
}

func routes(login *auth.Auth) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Username, Password string }
		if !read(w, r, &in) {
			return
		}
		user, err := login.Login(r, in.Username, in.Password)
		if err == nil {
			login.KnowDevice(w, r, user) // who guesses elsewhere does not lock this browser out
		}
		answer(w, r, "Login successful!", err)
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, "Logged out successfully.", login.Logout(r))
	})
	mux.Handle("GET /profile", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := auth.UserFrom(r.Context())
		reply(w, map[string]any{"name": user.Name, "roles": user.Roles, "csrf_token": csrf.Token(r.Context())})
	})))
	mux.Handle("POST /password", login.RequireLoginToChange(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Current, New string }
		if !read(w, r, &in) {
			return
		}
		answer(w, r, "Password changed.", login.ChangePassword(r, in.Current, in.New))
	})))
	mux.Handle("GET /admin", login.RequireRole("admin")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := auth.UserFrom(r.Context())
		answer(w, r, "Admin dashboard for "+user.Name+".", nil)
	})))
	return mux
}

// addUser makes an account whose password is the line on standard input.
func addUser(ctx context.Context, users *sqlusers.Users, hasher *password.Hasher, name string, roles []string) error {
	line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	pw := strings.TrimRight(line, "\r\n")
	if err := new(password.Policy).Check(pw, name); err != nil {
		return err
	}
	phc, err := hasher.Hash(ctx, pw)
	if err != nil {
		return err
	}
	_, err = users.Create(ctx, sqlusers.NewUser{Name: name, Roles: roles, Password: phc})
	return err
}

// read decodes the JSON of a request, and answers where there is none.
func read(w http.ResponseWriter, r *http.Request, v any) bool {
	err := json.NewDecoder(r.Body).Decode(v)
	if err != nil {
		http.Error(w, "not the JSON that is asked for", http.StatusBadRequest)
	}
	return err == nil
}

// answer says what was done, or why not.
func answer(w http.ResponseWriter, r *http.Request, done string, err error) {
	if err != nil {
		auth.WriteError(w, r, err)
		return
	}
	reply(w, map[string]any{"message": done})
}

func reply(w http.ResponseWriter, v map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // a client that went away has nobody to tell
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
