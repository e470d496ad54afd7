package auth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/password"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/throttle"
)

func TestLoginAndLogout(t *testing.T) {
	a := newApp(t, nil)
	c := a.client(t)
	if r := c.get("/private"); r.StatusCode != 401 || r.detail() != "Not authenticated" {
		t.Errorf("before login: %d %s", r.StatusCode, r.body)
	}
	r := c.login(" Alice"[1:], rightPassword)
	if r.StatusCode != 303 || r.Header.Get("Location") != "/home" || c.token() == "" {
		t.Fatalf("login: %d %v", r.StatusCode, r.Header)
	}
	if r := c.get("/private"); r.StatusCode != 200 || r.body != "alice true [admin staff]" {
		t.Errorf("after login: %d %s", r.StatusCode, r.body)
	}
	infos, err := a.m.List(context.Background(), "u1")
	if err != nil || len(infos) != 1 || infos[0].Method != "password" {
		t.Errorf("sessions: %+v, %v", infos, err)
	}
	token := c.token()
	if r := c.do("POST", "/logout", nil); r.StatusCode != 204 || c.token() != "" {
		t.Errorf("logout: %d %v", r.StatusCode, r.Header)
	}
	if r := c.with(token, "GET", "/private"); r.StatusCode != 401 {
		t.Errorf("after logout: %d %s", r.StatusCode, r.body)
	}
	if n := a.sessions(t, "u1"); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
	if r := c.do("POST", "/logout", nil); r.StatusCode != 204 {
		t.Errorf("logout of nobody: %d %s", r.StatusCode, r.body)
	}
}

// A proof of identity changes the token, and the old one is nobody at once; what
// the visitor had put down stays (ASVS 7.2.4).
func TestPromise03_LoginChangesTheToken(t *testing.T) {
	a := newApp(t, nil)
	c := a.client(t)
	c.get("/note?set=milk")
	anonymous := c.token()
	if anonymous == "" {
		t.Fatal("no session")
	}
	c.mustLogin("bob")
	first := c.token()
	c.mustLogin("bob") // again, as before something delicate
	second := c.token()
	if anonymous == first || first == second {
		t.Fatal("the token is the old one")
	}
	for name, token := range map[string]string{"anonymous": anonymous, "first": first} {
		if r := c.with(token, "GET", "/private"); r.StatusCode != 409 || r.detail() != "Session renewed" || len(r.Cookies()) != 0 {
			t.Errorf("with the %s token: %d %s", name, r.StatusCode, r.body)
		}
	}
	if r := c.get("/note"); r.body != "milk" {
		t.Errorf("the note is %q", r.body)
	}
	if n := a.sessions(t, "u2"); n != 1 {
		t.Errorf("%d sessions", n)
	}
	c.mustLogin("alice")
	if r := c.get("/note"); r.body != "" {
		t.Errorf("another user reads the note %q", r.body)
	}
}

// A failed login changes nothing: neither the session nor who is signed in.
func TestAFailedLoginChangesNothing(t *testing.T) {
	a := newApp(t, nil)
	c := a.client(t)
	c.mustLogin("bob")
	token := c.token()
	if r := c.login("alice", "wrong"); r.StatusCode != 401 || len(r.Cookies()) != 0 {
		t.Errorf("%d %v", r.StatusCode, r.Header)
	}
	if r := c.get("/private"); r.StatusCode != 200 || !strings.HasPrefix(r.body, "bob") || c.token() != token {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
}

// refusals are logins that must look the same to whoever tries them.
var refusals = []struct{ name, user, pw string }{
	{"unknown", "zoe", rightPassword},
	{"unknown e-mail", "zoe@example.com", rightPassword},
	{"wrong password", "alice", "wrong"},
	{"disabled, right password", "dora", rightPassword},
	{"disabled, wrong password", "dora", "wrong"},
	{"without a password", "nopw", rightPassword},
	{"unusable hash", "broken", rightPassword},
	{"no possible name", "al ice", rightPassword},
	{"no name", "", rightPassword},
	{"locked, right password", "lock", rightPassword},
	{"locked, wrong password", "lock", "wrong"},
	{"hostile name", "alice\r\n\u202e", rightPassword},
	{"another case of the password", "alice", strings.ToUpper(rightPassword)},
	{"blank behind the password", "alice", rightPassword + " "},
}

// Whether an account exists must not follow from status, headers, body, or the
// work that is done.
func TestASVS_6_3_8_RefusedLoginsAreAlike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newHandler(t, &setup{auth: auth.Options{Throttle: patient(t, nil)}}) // else most would be throttled
		a.lock(t, "lock")
		time.Sleep(throttle.DefaultForget) // until nothing but the lock is left
		for _, accept := range []string{"application/json", navigation[1]} {
			var want string
			for _, c := range refusals {
				before := a.hasher.Stats().Done
				r := a.guest("192.0.2.1").do("POST", "/login", url.Values{"username": {c.user}, "password": {c.pw}}, "Accept", accept)
				if n := a.hasher.Stats().Done - before; n != 1 {
					t.Errorf("%s: %d hashes were computed, want 1", c.name, n)
				}
				got := fmt.Sprint(r.StatusCode, r.Header, r.body)
				if want == "" {
					want = got
					if r.StatusCode != 401 || accept == "application/json" && r.detail() != "Invalid credentials" || len(r.Cookies()) != 0 {
						t.Errorf("%s: %s", c.name, got)
					}
				}
				if got != want {
					t.Errorf("%s:\n%s\nwant, as for %s:\n%s", c.name, got, refusals[0].name, want)
				}
				if !errors.Is(a.result, auth.ErrBadCredentials) || a.result.Error() != auth.ErrBadCredentials.Error() || a.user.ID != "" {
					t.Errorf("%s: error is %v, user %+v", c.name, a.result, a.user)
				}
			}
		}
	})
}

// A password that is refused for its length costs no hash, and that for every
// name alike.
func TestAttack_A35_LengthIsRefusedForAllAlike(t *testing.T) {
	a := newApp(t, nil)
	for _, pw := range []string{"", strings.Repeat("x", password.MaxLength+1), strings.Repeat("x", 1<<20)} {
		for _, user := range []string{"alice", "zoe", "dora", "nopw", "al ice"} {
			if r := a.client(t).login(user, pw); r.StatusCode != 401 || r.detail() != "Invalid credentials" {
				t.Errorf("%s with %d bytes: %d %s", user, len(pw), r.StatusCode, r.body)
			}
		}
	}
	if n := a.hasher.Stats().Done; n != 0 {
		t.Errorf("%d hashes were computed", n)
	}
}

// An old hash takes another time than that of an unknown user. It is replaced at
// the first login, and from then on takes the same.
func TestAttack_A35_OldHashesAreReplacedAtLogin(t *testing.T) {
	old, err := password.New(&password.Options{Params: password.Params{Memory: 12288, Time: 3, Threads: 1}})
	if err != nil {
		t.Fatal(err)
	}
	oldHash, err := old.Hash(context.Background(), rightPassword)
	if err != nil {
		t.Fatal(err)
	}
	for name, wrap := range map[string]func(*accounts) auth.Users{
		"SetPassword": nil,
		"ReplaceHash": func(u *accounts) auth.Users { return replacer{u} },
	} {
		t.Run(name, func(t *testing.T) {
			a := newApp(t, &setup{wrap: wrap})
			a.users.change("u2", func(u *account) { u.Password = oldHash })
			c := a.client(t)
			c.mustLogin("bob")
			if h := a.users.hash("u2"); h == oldHash || a.hasher.NeedsRehash(h) {
				t.Errorf("the hash is %s", h)
			}
			if r := c.get("/private"); r.StatusCode != 200 {
				t.Errorf("hashing anew ended the session: %d", r.StatusCode)
			}
			a.client(t).mustLogin("bob")
			if n := a.hasher.Stats().Done; n != 3 { // verify and hash, and verify
				t.Errorf("%d hashes were computed", n)
			}

			// One that cannot be stored fails no login.
			a.users.change("u2", func(u *account) { u.Password = oldHash })
			a.users.onSet = func(string, string) { a.users.set(func(u *accounts) { u.fail = errBoom }) }
			a.log.take()
			a.client(t).mustLogin("bob")
			if l := a.log.lines(t, "rehash_failed"); len(l) != 1 || l[0]["user"] != "u2" {
				t.Errorf("log: %v", l)
			}
		})
	}
}

// A login that hashes anew must not bring back the password that was changed
// while it did.
func TestPromise02_RehashNeverUndoesAChangeOfPassword(t *testing.T) {
	old, err := password.New(&password.Options{Params: password.Params{Memory: 12288, Time: 3, Threads: 1}})
	if err != nil {
		t.Fatal(err)
	}
	oldHash, err := old.Hash(context.Background(), "the old password")
	if err != nil {
		t.Fatal(err)
	}
	change := func(u *accounts) {
		u.change("u2", func(u *account) { u.Password, u.Epoch = rightHash(), u.Epoch+1 })
	}
	replace := &setup{wrap: func(u *accounts) auth.Users { return replacer{u} }}
	for name, c := range map[string]struct {
		with *setup
		late bool // the change comes right before the write
	}{
		"SetPassword":       {nil, false}, // what comes later than the second look is not seen
		"ReplaceHash":       {replace, false},
		"ReplaceHash, late": {replace, true},
	} {
		t.Run(name, func(t *testing.T) {
			a := newApp(t, c.with)
			a.users.change("u2", func(u *account) { u.Password = oldHash })
			if c.late {
				a.users.onSet = func(string, string) { change(a.users) }
			} else {
				a.users.afterName = func(auth.User) { change(a.users) }
			}
			a.client(t).login("bob", "the old password")
			a.users.afterName, a.users.onSet = nil, nil
			if a.users.hash("u2") != rightHash() {
				t.Error("the old password is back")
			}
			if r := a.client(t).login("bob", "the old password"); r.StatusCode != 401 {
				t.Errorf("the old password signs in: %d", r.StatusCode)
			}
			a.client(t).mustLogin("bob")
		})
	}
}

// What raises the epoch while a login computes its hash wins: the session that
// the login makes is nobody's.
func TestPromise01_LoginAgainstEnding(t *testing.T) {
	for name, event := range map[string]func(*account){
		"password changed": func(u *account) { u.Password, u.Epoch = "$argon2id$other", u.Epoch+1 },
		"disabled":         func(u *account) { u.Disabled, u.Epoch = true, u.Epoch+1 },
		"disabled alone":   func(u *account) { u.Disabled = true },
		"all ended":        func(u *account) { u.Epoch++ },
	} {
		t.Run(name, func(t *testing.T) {
			a := newApp(t, nil)
			a.users.afterName = func(u auth.User) { a.users.change(u.ID, event) }
			c := a.client(t)
			c.login("bob", rightPassword)
			token := c.token()
			if token == "" {
				t.Fatal("the race did not happen: no session was made")
			}
			if r := c.with(token, "GET", "/private"); r.StatusCode != 401 || r.detail() != "Not authenticated" {
				t.Errorf("the slow login is signed in: %d %s", r.StatusCode, r.body)
			}
			if got := a.reached(); got != nil {
				t.Errorf("it reached %q", got)
			}
			if n := a.sessions(t, "u2"); n != 0 {
				t.Errorf("%d sessions are left", n)
			}
			// And it stays so, whatever becomes of the account.
			a.users.change("u2", func(u *account) { u.Disabled, u.Epoch = false, 0 })
			if r := c.with(token, "GET", "/private"); r.StatusCode != 401 {
				t.Errorf("it came back: %d", r.StatusCode)
			}
		})
	}
}

// Every login that was read before all sessions were ended yields nothing, also
// where many run at once.
func TestPromise01_ManyLoginsAgainstEnding(t *testing.T) {
	a := newApp(t, nil)
	const n = 12
	var read sync.WaitGroup
	read.Add(n)
	raised := make(chan struct{})
	a.users.afterName = func(auth.User) { read.Done(); <-raised }
	var wg sync.WaitGroup
	for range n {
		c := a.client(t)
		wg.Go(func() {
			c.login("bob", rightPassword)
			if r := c.get("/private"); r.StatusCode != 401 {
				t.Errorf("%d %s", r.StatusCode, r.body)
			}
		})
	}
	read.Wait()
	a.users.change("u2", func(u *account) { u.Epoch++ })
	if _, err := a.m.EndUser(context.Background(), "u2", store.ID{}); err != nil {
		t.Error(err)
	}
	close(raised)
	wg.Wait()
	if got := a.reached(); got != nil {
		t.Errorf("%d requests reached the handler", len(got))
	}
}

func TestPromise07_LoginWithoutUsersIsUnavailable(t *testing.T) {
	a := newApp(t, &setup{auth: auth.Options{UsersTimeout: 50e6}})
	for name, f := range map[string]func(*accounts){
		"error": func(u *accounts) { u.fail = errBoom },
		"hang":  func(u *accounts) { u.hang = true },
	} {
		a.users.set(f)
		for _, user := range []string{"alice", "zoe"} {
			r := a.client(t).login(user, rightPassword)
			if r.StatusCode != 503 || r.detail() != "Unavailable" || r.Header.Get("Retry-After") != "1" || len(r.Cookies()) != 0 {
				t.Errorf("%s: %s: %d %v %s", name, user, r.StatusCode, r.Header, r.body)
			}
			if !errors.Is(a.result, auth.ErrUnavailable) {
				t.Errorf("%s: error is %v", name, a.result)
			}
		}
		a.users.set(func(u *accounts) { u.fail, u.hang = nil, false })
		a.client(t).mustLogin("alice")
	}
}

func TestPromise07_LoginThatCannotBeSavedFails(t *testing.T) {
	a := newApp(t, nil)
	a.store.set(errBoom, nil)
	c := a.client(t)
	r := c.login("alice", rightPassword)
	if r.StatusCode != 503 || c.token() != "" || !errors.Is(a.result, cloakroom.ErrUnavailable) || a.user.ID != "" {
		t.Errorf("%d %v, %v", r.StatusCode, r.Header, a.result)
	}
	if l := a.log.lines(t, "login"); len(l) != 0 {
		t.Errorf("log says it happened: %v", l)
	}
	a.store.set(nil, nil)
	c.mustLogin("alice")
}

// Too many logins at once: the excess is told to come back.
func TestAttack_A21_BusyLoginsAreToldToComeBack(t *testing.T) {
	a := newApp(t, &setup{hasher: password.Options{Parallel: 1, Queue: 1}})
	var wg sync.WaitGroup
	var mu sync.Mutex
	status := map[int]int{}
	for range 12 {
		c := a.client(t)
		wg.Go(func() {
			r := c.login("alice", rightPassword)
			mu.Lock()
			defer mu.Unlock()
			status[r.StatusCode]++
			if r.StatusCode == 503 && (r.detail() != "Unavailable" || r.Header.Get("Retry-After") == "" || len(r.Cookies()) != 0) {
				t.Errorf("%v %s", r.Header, r.body)
			}
		})
	}
	wg.Wait()
	if status[303] < 2 || status[503] == 0 || status[303]+status[503] != 12 {
		t.Errorf("statuses %v", status)
	}
	a.client(t).mustLogin("alice")
}

// A Location after login leads here, whatever the form says.
func TestAttack_A27_LoginLeadsNowhereElse(t *testing.T) {
	a := newApp(t, nil)
	c := a.client(t)
	for i, next := range targets(t) {
		if i%8 != 0 { // each costs a hash; FuzzNext and others see them all
			continue
		}
		r := c.do("POST", "/login", url.Values{"username": {"bob"}, "password": {rightPassword}, "next": {next.text}})
		to := r.Header.Get("Location")
		if where, _ := browse(to); r.StatusCode != 303 || where != "own" || !next.pass && to != "/home" {
			t.Errorf("next=%+q: %d %q", next.text, r.StatusCode, to)
		}
	}
}

// However a name is typed, a login reaches the account of its canonical form or
// none, and never another one.
func TestAttack_A36_ALoginNeverReachesAnotherAccount(t *testing.T) {
	a := newApp(t, nil)
	for i, p := range pairs {
		first, err := auth.CanonicalName(p.a)
		if err != nil {
			continue
		}
		id := fmt.Sprintf("pair%d", i)
		a.users.set(func(u *accounts) {
			u.users = map[string]*account{id: {User: auth.User{ID: id, Name: p.a, Password: rightHash()}, canonical: first}}
		})
		if i%4 == 0 {
			if a.client(t).login(p.a, rightPassword); a.user.ID != id {
				t.Errorf("%+q does not sign in: %v", p.a, a.result)
			}
		}
		r := a.client(t).login(p.b, rightPassword)
		switch {
		case p.same && (r.StatusCode != 303 || a.user.ID != id):
			t.Errorf("%+q does not reach %+q: %d", p.b, p.a, r.StatusCode)
		case !p.same && (r.StatusCode != 401 || a.user.ID != ""):
			t.Errorf("%+q reaches the account of %+q: %d", p.b, p.a, r.StatusCode)
		}
	}
}

// Hashes leave this package for the Users only.
func TestPromise11_UsersAreShownWithoutTheirHash(t *testing.T) {
	a := newApp(t, nil)
	c := a.client(t)
	c.mustLogin("alice")
	if a.user.ID != "u1" || a.user.Password != "" {
		t.Errorf("Login returned %+v", a.user)
	}
	h := a.m.Handler(a.auth.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, ok := auth.UserFrom(r.Context())
		if d := a.auth.Decide(r.Context(), auth.Rule{}); !ok || u.ID != "u1" || u.Password != "" || d.User.Password != "" {
			t.Errorf("UserFrom: %+v, Decide: %+v", u, d)
		}
	})))
	r, w := request("GET", "/", c.token())
	h.ServeHTTP(w, r)
	if w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if _, ok := auth.UserFrom(context.Background()); ok {
		t.Error("there is a user without a guard")
	}
}
