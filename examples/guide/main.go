// Guide is the application of the login guides: one user, a login form, a profile
// and an admin page, all in JSON.
//
//	go run ./examples/guide
//	curl -b jar -c jar -d 'username=testuser&password=password123' http://127.0.0.1:8080/login
//	curl -b jar -c jar http://127.0.0.1:8080/profile
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address to listen on")
	roles := flag.String("roles", "", "roles of testuser, separated by commas")
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
	login, err := auth.New(sessions, newUsers(*roles), nil)
	if err != nil {
		log.Fatal(err)
	}

	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		reply(w, http.StatusOK, "message", "Login page. POST to /login to authenticate.")
	})
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		_, err := login.Login(r, r.PostFormValue("username"), r.PostFormValue("password"))
		switch {
		case errors.Is(err, auth.ErrBadCredentials):
			reply(w, http.StatusUnauthorized, "detail", "Invalid credentials")
		case err != nil:
			auth.WriteError(w, r, err)
		default:
			reply(w, http.StatusOK, "message", "Login successful!")
		}
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		if err := login.Logout(r); err != nil {
			auth.WriteError(w, r, err)
			return
		}
		reply(w, http.StatusOK, "message", "Logged out successfully.")
	})
	mux.Handle("GET /profile", guard(login, auth.Rule{}, func(w http.ResponseWriter, u auth.User) {
		reply(w, http.StatusOK, "message", "Welcome to your profile, "+u.Name+"!")
	}))
	mux.Handle("GET /admin", guard(login, auth.Rule{Roles: []string{"admin"}}, func(w http.ResponseWriter, u auth.User) {
		reply(w, http.StatusOK, "message", "Admin dashboard for "+u.Name+".")
	}))

	l, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("listening on http://%s", l.Addr())
	// The guide's forms have no token. Package csrf gives them one; this keeps
	// other sites' forms away at least.
	log.Fatal(http.Serve(l, sessions.Handler(http.NewCrossOriginProtection().Handler(mux))))
}

// guard answers as the guide does. RequireLogin and RequireRole answer with
// problem documents, and send browsers to the login page.
func guard(login *auth.Auth, rule auth.Rule, next func(http.ResponseWriter, auth.User)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch d := login.Decide(r.Context(), rule); {
		case d.Allowed:
			next(w, d.User)
		case errors.Is(d.Err, auth.ErrUnauthenticated):
			reply(w, http.StatusUnauthorized, "detail", "Not authenticated")
		case errors.Is(d.Err, auth.ErrForbidden):
			reply(w, http.StatusForbidden, "detail", "Forbidden")
		default:
			auth.WriteError(w, r, d.Err)
		}
	})
}

func reply(w http.ResponseWriter, status int, name, value string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]string{name: value})
}

// users are the accounts: one, in memory. Package sqlusers keeps them in a
// database.
type users struct {
	mu sync.Mutex
	u  auth.User
}

func newUsers(roles string) *users {
	u := auth.User{
		ID: "1", Name: "testuser",
		// Of "password123". A password in a program is for examples only.
		Password: "$argon2id$v=19$m=19456,t=2,p=1$Rfw7ISDlxGwR7+I/9Hta3A$MBWxS+lUkDkiqQfKn/xTq5WmWH+ECJfQljSVYFpHwjc",
	}
	if roles != "" {
		u.Roles = strings.Split(roles, ",")
	}
	return &users{u: u}
}

func (s *users) ByName(_ context.Context, name string) (auth.User, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name != s.u.Name {
		return auth.User{}, auth.ErrNoUser
	}
	return s.u, nil
}

func (s *users) ByID(_ context.Context, id string) (auth.User, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id != s.u.ID {
		return auth.User{}, auth.ErrNoUser
	}
	return s.u, nil
}

func (s *users) SetPassword(_ context.Context, id, phc string, raiseEpoch bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id != s.u.ID {
		return auth.ErrNoUser
	}
	s.u.Password = phc
	if raiseEpoch {
		s.u.Epoch++
	}
	return nil
}
