package cloakroom_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
)

// browser serves the examples: it returns what a browser would show of a path.
func browser(app http.Handler) func(path string) string {
	srv := httptest.NewTLSServer(app)
	client := srv.Client()
	client.Jar, _ = cookiejar.New(nil)
	return func(path string) string {
		resp, err := client.Get(srv.URL + path)
		if err != nil {
			log.Fatal(err)
		}
		defer resp.Body.Close()
		page, err := io.ReadAll(resp.Body)
		if err != nil {
			log.Fatal(err)
		}
		return string(page)
	}
}

// exampleKeys are keys that are gone when the program ends.
func exampleKeys() *keyring.Ring {
	keys, err := keyring.New(keyring.Generate())
	if err != nil {
		log.Fatal(err)
	}
	return keys
}

// Sessions in memory, with keys in a file that is made at the first start.
func ExampleNew() {
	dir, err := os.MkdirTemp("", "example") // a directory that lasts, in a program
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	keys, err := keyring.OpenFile(filepath.Join(dir, "keys"))
	if err != nil {
		log.Fatal(err)
	}
	m, err := cloakroom.New(memstore.New(nil), keys, nil)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go m.Sweep(ctx, time.Minute)

	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, cloakroom.FromContext(r.Context()).UserID())
	})
	srv := &http.Server{Addr: "127.0.0.1:8080", Handler: m.Handler(mux)}
	fmt.Println(srv.Addr)
	// Output: 127.0.0.1:8080
}

// Everything that is wrong with the options is told at once.
func ExampleNew_faults() {
	_, err := cloakroom.New(memstore.New(nil), exampleKeys(), &cloakroom.Options{
		Insecure: true,
		Lifetime: 500 * 24 * time.Hour,
	})
	fmt.Println(err)
	// Output:
	// cloakroom: CookieName "__Host-session" needs Secure: with Insecure use a name like "session"
	// cloakroom: Lifetime 12000h0m0s is out of bounds: between a second and 400 days
}

// A handler reads and writes the session of its visitor. It is saved, and its
// cookie set, before the first byte of the response leaves.
func ExampleManager_Handler() {
	visits := cloakroom.NewKey[int]("visits")
	m, err := cloakroom.New(memstore.New(nil), exampleKeys(), nil)
	if err != nil {
		log.Fatal(err)
	}
	app := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := cloakroom.FromContext(r.Context())
		n := visits.Update(s, func(n int) int { return n + 1 })
		fmt.Fprintf(w, "visit %d", n)
	}))

	browse := browser(app)
	fmt.Println(browse("/"))
	fmt.Println(browse("/"))
	// Output:
	// visit 1
	// visit 2
}

// Keys are typed names. A program declares them once.
func ExampleKey() {
	type item struct{ Name string }
	cart := cloakroom.NewKey[[]item]("cart")
	m, err := cloakroom.New(memstore.New(nil), exampleKeys(), nil)
	if err != nil {
		log.Fatal(err)
	}
	browse := browser(m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := cloakroom.FromContext(r.Context())
		switch r.URL.Path {
		case "/add":
			cart.Update(s, func(items []item) []item { return append(items, item{r.FormValue("item")}) })
		case "/buy":
			items, _ := cart.Pop(s)
			s.Flash(fmt.Sprint("thank you for ", len(items), " things"))
		}
		items, ok := cart.Get(s)
		fmt.Fprint(w, items, ok, s.Flashes())
	})))
	fmt.Println(browse("/"))
	fmt.Println(browse("/add?item=coat"))
	fmt.Println(browse("/add?item=hat"))
	fmt.Println(browse("/buy"))
	// Output:
	// [] false []
	// [{coat}] true []
	// [{coat} {hat}] true []
	// [] false [thank you for 2 things]
}

// A login gives the session a new token and starts its deadlines anew; what the
// visitor had stored before is kept.
func ExampleSession_Login() {
	m, err := cloakroom.New(memstore.New(nil), exampleKeys(), nil)
	if err != nil {
		log.Fatal(err)
	}
	browse := browser(m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := cloakroom.FromContext(r.Context())
		switch r.URL.Path {
		case "/login":
			// First: password, passkey, whatever proves who this is.
			s.Login(cloakroom.Identity{UserID: "u1", Method: "password", Roles: []string{"clerk"}})
		case "/logout":
			if err := s.End(r.Context()); err != nil {
				cloakroom.WriteError(w, r, err)
				return
			}
		}
		fmt.Fprintf(w, "%q %q", s.UserID(), s.Identity().Roles)
	})))
	fmt.Println(browse("/"))
	fmt.Println(browse("/login"))
	fmt.Println(browse("/"))
	fmt.Println(browse("/logout"))
	// Output:
	// "" []
	// "u1" ["clerk"]
	// "u1" ["clerk"]
	// "" []
}

// Commit saves at a point of the handler's choosing and says what came of it,
// before anything else happens that could not be undone.
func ExampleSession_Commit() {
	paid := cloakroom.NewKey[bool]("paid")
	m, err := cloakroom.New(memstore.New(nil), exampleKeys(), nil)
	if err != nil {
		log.Fatal(err)
	}
	browse := browser(m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := cloakroom.FromContext(r.Context())
		paid.Set(s, true)
		if err := s.Commit(r.Context()); err != nil {
			cloakroom.WriteError(w, r, err)
			return
		}
		fmt.Fprint(w, "sent the goods")
	})))
	fmt.Println(browse("/"))
	// Output: sent the goods
}

// What a user sees of their sessions, and how they end one.
func ExampleManager_List() {
	ctx := context.Background()
	m, err := cloakroom.New(memstore.New(nil), exampleKeys(), nil)
	if err != nil {
		log.Fatal(err)
	}
	browse := browser(m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cloakroom.FromContext(r.Context()).Login(cloakroom.Identity{UserID: "u1", Method: "password"})
	})))
	browse("/login")
	sessions, err := m.List(ctx, "u1")
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range sessions {
		fmt.Println(s.Device, s.Method, len(s.ID.Handle()))
		if err := m.End(ctx, s.ID); err != nil {
			log.Fatal(err)
		}
	}
	sessions, err = m.List(ctx, "u1")
	fmt.Println(len(sessions), err)
	// Output:
	// Go-http-client/1.1 password 16
	// 0 <nil>
}
