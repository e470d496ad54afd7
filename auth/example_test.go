package auth_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/password"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
)

// oneUser is the Users of a program for one. Package sqlusers has one for many.
type oneUser struct{ user auth.User }

func (u *oneUser) ByName(_ context.Context, name string) (auth.User, error) {
	if name != u.user.Name {
		return auth.User{}, auth.ErrNoUser
	}
	return u.user, nil
}

func (u *oneUser) ByID(_ context.Context, id string) (auth.User, error) {
	if id != u.user.ID {
		return auth.User{}, auth.ErrNoUser
	}
	return u.user, nil
}

func (u *oneUser) SetPassword(_ context.Context, _, phc string, raiseEpoch bool) error {
	u.user.Password = phc
	if raiseEpoch {
		u.user.Epoch++
	}
	return nil
}

// newExample returns a Manager and an Auth with one user, ada, whose password is
// "correct horse".
func newExample() (*cloakroom.Manager, *auth.Auth) {
	hasher, err := password.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	phc, err := hasher.Hash(context.Background(), "correct horse")
	if err != nil {
		log.Fatal(err)
	}
	keys, err := keyring.New(keyring.Generate())
	if err != nil {
		log.Fatal(err)
	}
	manager, err := cloakroom.New(memstore.New(nil), keys, &cloakroom.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		log.Fatal(err)
	}
	users := &oneUser{auth.User{ID: "u1", Name: "ada", Password: phc, Roles: []string{"staff"}}}
	guard, err := auth.New(manager, users, &auth.Options{Hasher: hasher})
	if err != nil {
		log.Fatal(err)
	}
	return manager, guard
}

// visitor is a browser that follows no redirect.
func visitor(s *httptest.Server) *http.Client {
	c := s.Client()
	c.Jar, _ = cookiejar.New(nil)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c
}

func show(resp *http.Response, err error) {
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	fmt.Println(strings.TrimSpace(fmt.Sprint(resp.StatusCode, " ", resp.Header.Get("Location"), string(body))))
}

func Example() {
	manager, guard := newExample()

	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		if _, err := guard.Login(r, r.PostFormValue("username"), r.PostFormValue("password")); err != nil {
			auth.WriteError(w, r, err)
			return
		}
		http.Redirect(w, r, auth.Next(r.PostFormValue("next"), "/profile"), http.StatusSeeOther)
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		if err := guard.Logout(r); err != nil {
			auth.WriteError(w, r, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.Handle("GET /profile", guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := auth.UserFrom(r.Context())
		fmt.Fprintf(w, "Hello, %s", user.Name)
	})))
	mux.Handle("GET /admin", guard.RequireRole("admin")(http.NotFoundHandler()))

	server := httptest.NewTLSServer(manager.Handler(mux)) // and csrf around the mux
	defer server.Close()
	browser := visitor(server)

	show(browser.Get(server.URL + "/profile"))
	show(browser.PostForm(server.URL+"/login", url.Values{"username": {"Ada"}, "password": {"correct mule"}}))
	show(browser.PostForm(server.URL+"/login", url.Values{"username": {"Ada"}, "password": {"correct horse"}}))
	show(browser.Get(server.URL + "/profile"))
	show(browser.Get(server.URL + "/admin"))
	show(browser.Post(server.URL+"/logout", "", nil))
	show(browser.Get(server.URL + "/profile"))
	// Output:
	// 401 {"type":"about:blank","title":"Unauthorized","status":401,"detail":"Not authenticated"}
	// 401 {"type":"about:blank","title":"Unauthorized","status":401,"detail":"Invalid credentials"}
	// 303 /profile
	// 200 Hello, ada
	// 403 {"type":"about:blank","title":"Forbidden","status":403,"detail":"Forbidden"}
	// 204
	// 401 {"type":"about:blank","title":"Unauthorized","status":401,"detail":"Not authenticated"}
}

// A handler that shows more to some decides by itself.
func ExampleAuth_Decide() {
	manager, guard := newExample()
	h := manager.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			if _, err := guard.Login(r, "ada", "correct horse"); err != nil {
				auth.WriteError(w, r, err)
				return
			}
		}
		d := guard.Decide(r.Context(), auth.Rule{Roles: []string{"staff"}, Recent: 5 * time.Minute})
		fmt.Fprintln(w, d.Allowed, d.User.Name, d.Err)
	}))
	for _, method := range []string{"GET", "POST"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, "/", nil))
		fmt.Print(w.Body)
	}
	// Output:
	// false  auth: not authenticated
	// true ada <nil>
}

// A browser is sent to the login page, and from there back to where it wanted to go.
func ExampleAuth_RequireLogin() {
	manager, guard := newExample()
	h := manager.Handler(guard.RequireLogin(http.NotFoundHandler()))

	r := httptest.NewRequest("GET", "/orders?page=2", nil)
	r.Header.Set("Accept", "text/html,*/*;q=0.8")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Header().Get("Location"))
	// Output:
	// 303 /login?next=%2Forders%3Fpage%3D2
}

// What does harm asks for a proof of identity that is not old, beside the role.
func ExampleAuth_RequireRecent() {
	manager, guard := newExample()
	recent := guard.RequireRecent(5 * time.Minute)
	h := manager.Handler(guard.RequireRole("admin")(recent(http.NotFoundHandler())))

	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("DELETE", "/users/7", nil))
	fmt.Println(w.Code)
	// Output:
	// 401
}

// A page for what asks for a recent proof, one for a new password, and browsers that
// are known.
func ExampleAuth_ChangePassword() {
	manager, guard := newExample()

	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		user, err := guard.Login(r, r.PostFormValue("username"), r.PostFormValue("password"))
		if err != nil {
			auth.WriteError(w, r, err)
			return
		}
		guard.KnowDevice(w, r, user)
		http.Redirect(w, r, "/profile", http.StatusSeeOther)
	})
	mux.HandleFunc("POST /reauth", func(w http.ResponseWriter, r *http.Request) {
		if err := guard.Reauthenticate(r, r.PostFormValue("password")); err != nil {
			auth.WriteError(w, r, err)
			return
		}
		http.Redirect(w, r, auth.Next(r.PostFormValue("next"), "/profile"), http.StatusSeeOther)
	})
	// Also those may come here who must change their password before anything else.
	mux.Handle("POST /password", guard.RequireLoginToChange(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := guard.ChangePassword(r, r.PostFormValue("current"), r.PostFormValue("new")); err != nil {
			auth.WriteError(w, r, err)
			return
		}
		http.Redirect(w, r, "/profile", http.StatusSeeOther)
	})))

	server := httptest.NewTLSServer(manager.Handler(mux)) // and csrf around the mux
	defer server.Close()
	browser := visitor(server)

	show(browser.PostForm(server.URL+"/login", url.Values{"username": {"ada"}, "password": {"correct horse"}}))
	show(browser.PostForm(server.URL+"/reauth", url.Values{"password": {"correct horse"}, "next": {"/keys"}}))
	show(browser.PostForm(server.URL+"/password", url.Values{"current": {"correct mule"}, "new": {"battery staple horse"}}))
	show(browser.PostForm(server.URL+"/password", url.Values{"current": {"correct horse"}, "new": {"battery"}}))
	show(browser.PostForm(server.URL+"/password", url.Values{"current": {"correct horse"}, "new": {"battery staple horse"}}))
	// Output:
	// 303 /profile
	// 303 /keys
	// 401 {"type":"about:blank","title":"Unauthorized","status":401,"detail":"Invalid credentials"}
	// 422 {"type":"about:blank","title":"Unprocessable Entity","status":422,"detail":"The password is too short: it needs at least 15 characters","reason":"too_short"}
	// 303 /profile
}

// Where somebody sets a password without having one: at setup, or by an invitation.
func ExampleAuth_CheckPassword() {
	_, guard := newExample()
	err := guard.CheckPassword("hunter2", auth.User{Name: "grace"})
	fmt.Println(auth.Status(err), err)
	// Output: 422 The password is too short: it needs at least 15 characters
}
