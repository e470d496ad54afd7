package auth_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
)

// sealedApp is a Manager of sealed sessions with a guard over it.
type sealedApp struct {
	m     *cloakroom.Manager
	auth  *auth.Auth
	users *accounts
	log   bytes.Buffer
}

func newSealedApp(t *testing.T, u auth.User) *sealedApp {
	t.Helper()
	a := &sealedApp{users: &accounts{users: map[string]*account{u.ID: {User: u}}}}
	ring, err := keyring.New(keyring.Generate())
	if err != nil {
		t.Fatal(err)
	}
	if a.m, err = cloakroom.NewSealed(ring, memstore.New(nil), &cloakroom.Options{Logger: slog.New(slog.NewTextHandler(&a.log, nil))}); err != nil {
		t.Fatal(err)
	}
	if a.auth, err = auth.New(a.m, a.users, nil); err != nil {
		t.Fatal(err)
	}
	return a
}

// browser keeps the session's cookie.
type browser struct {
	app    *sealedApp
	cookie string
}

// get asks a handler, behind the guard or not, and keeps what the answer sets.
func (b *browser) get(guarded bool, f http.HandlerFunc) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "/", nil)
	if b.cookie != "" {
		r.Header.Set("Cookie", b.cookie)
	}
	var h http.Handler = f
	if guarded {
		h = b.app.auth.RequireLogin(f)
	}
	w := httptest.NewRecorder()
	b.app.m.Handler(h).ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		if strings.HasSuffix(c.Name, "-seen") {
			continue
		}
		if b.cookie = c.Name + "=" + c.Value; c.MaxAge < 0 {
			b.cookie = ""
		}
	}
	return w
}

func (b *browser) signIn(t *testing.T, u auth.User) {
	t.Helper()
	w := b.get(false, func(w http.ResponseWriter, r *http.Request) {
		if err := b.app.auth.SignIn(r, u, "test"); err != nil {
			auth.WriteError(w, r, err)
		}
	})
	if w.Code != http.StatusOK || b.cookie == "" {
		t.Fatalf("login is answered %d %s", w.Code, w.Body)
	}
}

func serve(http.ResponseWriter, *http.Request) {}

// An end of all other sealed sessions raises the epoch and then takes it. What comes
// from the same browser in between is refused, and ends nothing.
func TestPromise09_AGuardInTheMiddleOfAnEndOfOthers(t *testing.T) {
	alice := auth.User{ID: "u1", Name: "alice", Epoch: 1}
	a := newSealedApp(t, alice)
	if !a.m.Sealed() {
		t.Fatal("the Manager says that its sessions are stored")
	}
	b, other := &browser{app: a}, &browser{app: a}
	b.signIn(t, alice)
	other.signIn(t, alice)
	between := *b
	w := b.get(true, func(w http.ResponseWriter, r *http.Request) {
		a.users.change("u1", func(u *account) { u.Epoch = 2 })
		w2 := between.get(true, func(http.ResponseWriter, *http.Request) { t.Error("a session of another epoch is let through") })
		if w2.Code != http.StatusUnauthorized || len(w2.Result().Cookies()) != 0 {
			t.Errorf("in between the answer is %d and sets %v", w2.Code, w2.Result().Cookies())
		}
		cloakroom.FromContext(r.Context()).SetEpoch(2)
	})
	if w.Code != http.StatusOK {
		t.Errorf("the end of others is answered %d %s", w.Code, w.Body)
	}
	if w := b.get(true, serve); w.Code != http.StatusOK {
		t.Errorf("afterwards this session is answered %d", w.Code)
	}
	for range 2 {
		if w := other.get(true, serve); w.Code != http.StatusUnauthorized {
			t.Errorf("afterwards another is answered %d", w.Code)
		}
	}
	if !strings.Contains(a.log.String(), "msg=access_refused user=u1") || !strings.Contains(a.log.String(), "reason=epoch") || strings.Contains(a.log.String(), "session_ended") {
		t.Errorf("log is %s", a.log.String())
	}
	// A login takes the refused session's place.
	now := alice
	now.Epoch = 2
	other.signIn(t, now)
	if w := other.get(true, serve); w.Code != http.StatusOK {
		t.Errorf("after a login the answer is %d", w.Code)
	}
}

// A user who is disabled or gone has nothing to lose: there the session is ended.
func TestPromise09_SealedSessionsOfADisabledUser(t *testing.T) {
	for name, change := range map[string]func(*accounts){
		"disabled": func(a *accounts) { a.users["u1"].Disabled = true },
		"gone":     func(a *accounts) { delete(a.users, "u1") },
	} {
		alice := auth.User{ID: "u1", Name: "alice"}
		a := newSealedApp(t, alice)
		b := &browser{app: a}
		b.signIn(t, alice)
		kept := *b
		a.users.set(change)
		if w := b.get(true, serve); w.Code != http.StatusUnauthorized || b.cookie != "" {
			t.Errorf("%s: answer is %d and leaves %q", name, w.Code, b.cookie)
		}
		a.users.set(func(a *accounts) { a.users["u1"] = &account{User: alice} })
		if w := kept.get(true, serve); w.Code != http.StatusUnauthorized {
			t.Errorf("%s: afterwards a copy is answered %d", name, w.Code)
		}
	}
}

// A login page asks Decide whether somebody is signed in: the session alone does not
// know that it has been refused.
func TestDecideOfARefusedSealedSession(t *testing.T) {
	alice := auth.User{ID: "u1", Name: "alice"}
	a := newSealedApp(t, alice)
	b := &browser{app: a}
	b.signIn(t, alice)
	a.users.change("u1", func(u *account) { u.Epoch++ })
	for range 2 {
		b.get(false, func(w http.ResponseWriter, r *http.Request) {
			if d := a.auth.Decide(r.Context(), auth.Rule{}); d.Allowed || !errors.Is(d.Err, auth.ErrUnauthenticated) {
				t.Errorf("decision is %+v", d)
			}
		})
	}
}

// Roles that do not fit a full sealed session are no error on every page from then
// on: the session ends, and the user signs in anew.
func TestPromise12_RolesThatDoNotFitASealedSession(t *testing.T) {
	alice := auth.User{ID: "u1", Name: "alice"}
	a := newSealedApp(t, alice)
	b := &browser{app: a}
	b.signIn(t, alice)
	b.get(true, func(w http.ResponseWriter, r *http.Request) {
		note.Set(cloakroom.FromContext(r.Context()), strings.Repeat("x", 2300))
	})
	cookie := b.cookie
	a.users.change("u1", func(u *account) { u.Roles = []string{"clerk"} })
	if w := b.get(true, serve); w.Code != http.StatusOK || b.cookie == cookie {
		t.Errorf("a role more: %d", w.Code)
	}
	alice.Roles = nil
	for i := range 30 {
		alice.Roles = append(alice.Roles, strings.Repeat(string(rune('a'+i)), 62))
	}
	a.users.change("u1", func(u *account) { u.Roles = alice.Roles })
	kept := *b
	if w := b.get(true, serve); w.Code != http.StatusUnauthorized || b.cookie != "" {
		t.Errorf("thirty roles more: %d %s", w.Code, w.Body)
	}
	if w := kept.get(true, serve); w.Code != http.StatusUnauthorized {
		t.Errorf("a copy: %d", w.Code)
	}
	if !strings.Contains(a.log.String(), "msg=session_ended user=u1") || !strings.Contains(a.log.String(), "reason=roles") {
		t.Errorf("log is %s", a.log.String())
	}
	b.signIn(t, alice)
	if w := b.get(true, serve); w.Code != http.StatusOK {
		t.Errorf("after a login: %d", w.Code)
	}
}
