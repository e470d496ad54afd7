// Webapp is a whole application with a login of its own: accounts and sessions in
// a SQLite file, pages of html/template, forms that nobody can forge.
//
//	go run ./examples/webapp -user ada -password 'three plain words' -roles admin
//
// makes the first user and listens on http://127.0.0.1:8080/. From then on
//
//	go run ./examples/webapp
//
// is enough. Others can read a command line: in earnest, ask for the password.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"html/template"
	"log"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/csrf"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/password"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address to listen on")
	name := flag.String("user", "", "name of the first user; not read once there is one")
	pw := flag.String("password", "", "password of the first user, of 15 characters at least")
	roles := flag.String("roles", "", "roles of the first user, separated by blanks")
	flag.Parse()

	ctx := context.Background()
	keys, err := keyring.OpenFile("webapp.keys")
	check(err)
	db, err := sqlite.Open("webapp.db", nil)
	check(err)
	hasher, err := password.New(nil)
	check(err)
	users, err := sqlusers.New(ctx, db)
	check(err)
	check(firstUser(ctx, users, hasher, *name, *pw, *roles))
	sessions, err := cloakroom.New(db.Store(), keys, nil)
	check(err)
	go sessions.Sweep(ctx, 0)
	guard, err := auth.New(sessions, users, &auth.Options{Hasher: hasher})
	check(err)
	protection, err := csrf.New(sessions, nil)
	check(err)

	l, err := net.Listen("tcp", *listen)
	check(err)
	log.Printf("listening on http://%s", l.Addr())
	handler := http.MaxBytesHandler(sessions.Handler(protection.Handler(routes(guard))), 64<<10)
	srv := http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(srv.Serve(l))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// firstUser makes a user where there is none.
func firstUser(ctx context.Context, users *sqlusers.Users, hasher *password.Hasher, name, pw, roles string) error {
	if some, err := users.List(ctx, "", 1); err != nil || len(some) > 0 {
		return err
	}
	if name == "" {
		return errors.New("there is no user yet: start once with -user NAME -password PASSWORD, of 15 characters at least, and perhaps -roles admin")
	}
	if err := new(password.Policy).Check(pw, name); err != nil {
		return err
	}
	phc, err := hasher.Hash(ctx, pw)
	if err == nil {
		_, err = users.Create(ctx, sqlusers.NewUser{Name: name, Roles: strings.Fields(roles), Password: phc})
	}
	return err
}

const home = "/account/"

func routes(guard *auth.Auth) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", http.RedirectHandler(home, http.StatusSeeOther))
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		show(w, r, http.StatusOK, "login", page{Next: auth.Next(r.FormValue("next"), home)})
	})
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		// Whoever wrote the link to the form must not choose where it leads.
		next := auth.Next(r.PostFormValue("next"), home)
		_, err := guard.Login(r, r.PostFormValue("username"), r.PostFormValue("password"))
		switch {
		case errors.Is(err, auth.ErrBadCredentials):
			show(w, r, http.StatusUnauthorized, "login", page{Next: next, Wrong: true})
		case err != nil:
			auth.WriteError(w, r, err)
		default:
			http.Redirect(w, r, next, http.StatusSeeOther)
		}
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		if err := guard.Logout(r); err != nil {
			auth.WriteError(w, r, err)
			return
		}
		http.Redirect(w, r, "/login", http.StatusSeeOther)
	})
	shows := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user, _ := auth.UserFrom(r.Context())
			show(w, r, http.StatusOK, name, page{User: user})
		})
	}
	mux.Handle("GET "+home, guard.RequireLogin(shows("account")))
	mux.Handle("GET /admin/", guard.RequireRole("admin")(shows("admin")))
	return mux
}

//go:embed pages.html
var source string

var pages = template.Must(template.New("").Parse(source))

// page is what the templates see.
type page struct {
	User  auth.User
	Next  string        // where to go after signing in
	Wrong bool          // name and password did not belong together
	CSRF  template.HTML // stands in every form
}

func show(w http.ResponseWriter, r *http.Request, status int, name string, p page) {
	p.CSRF = csrf.Field(r.Context()) // before the header leaves: it may set a cookie
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; form-action 'self'; frame-ancestors 'none'")
	w.WriteHeader(status)
	if err := pages.ExecuteTemplate(w, name, p); err != nil {
		log.Print(err)
	}
}
