package main_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/sqlite"
)

// account reads somebody's account from the service's database in dir.
func account(t *testing.T, dir, name string) auth.User {
	t.Helper()
	db, err := sqlite.Open(filepath.Join(dir, "cloakroom-data", "cloakroom.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	users, err := sqlusers.New(t.Context(), db)
	var u auth.User
	if err == nil {
		u, err = users.ByName(t.Context(), name)
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return u
}

// madeUp returns the cookie of a sealed session of somebody's that whoever has the keys
// makes without the service.
func madeUp(t *testing.T, keys *keyring.Ring, u auth.User) string {
	t.Helper()
	m, err := cloakroom.NewSealed(keys, memstore.New(nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	m.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cloakroom.FromContext(r.Context()).Login(cloakroom.Identity{UserID: u.ID, Epoch: u.Epoch, Method: "password", Roles: u.Roles})
	})).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	cookie, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
	return cookie
}

// TestAttack_A15_AForgedSessionEndsWithItsKey: with a key that leaked somebody makes a sealed
// session of the administrator's, and uses it while the key is retiring, at instances that
// seal it anew under the one that signs. The end of the key ends it, and what was begun under
// the next goes on.
func TestAttack_A15_AForgedSessionEndsWithItsKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addUser(t, dir, "ada", "--role=admin")
	addUser(t, dir, "bob")
	var callers [2]caller
	for i := range callers {
		callers[i] = newCaller(start(t, dir, "--store=sealed:").URL)
	}
	path := filepath.Join(dir, "cloakroom-data", "keys")
	leaked, err := keyring.Load(t.Context(), keyring.File(path))
	if err != nil {
		t.Fatal(err)
	}
	old := leaked.Active().String()
	forged := madeUp(t, leaked, account(t, dir, "ada"))
	must(t, dir, "key", "rotate", "--store=sealed:")
	honest, _, err := callers[0].signIn("bob")
	if err != nil {
		t.Fatal(err)
	}
	cookies := []string{forged}
	for i := range 6 {
		a, err := callers[i%2].ask("GET", "/auth/session", cookies[len(cookies)-1], "", "")
		if err != nil || a.status != http.StatusOK || !strings.Contains(a.body, `"ada"`) {
			t.Fatalf("a session that was made up is answered %d %s, %v: this proves nothing", a.status, a.body, err)
		}
		if a.cookie != "" {
			cookies = append(cookies, a.cookie)
		}
	}
	if len(cookies) != 2 {
		t.Fatalf("it was sealed anew %d times", len(cookies)-1)
	}
	out := must(t, dir, "key", "retire", "--now", "--store=sealed:", old)
	if !strings.Contains(out, "ended: the sessions that were ever under it") || strings.Contains(out, "have moved") {
		t.Errorf("it says %s", out)
	}
	for i, c := range callers {
		for n, cookie := range cookies {
			if a, err := c.ask("GET", "/auth/session", cookie, "", ""); err != nil || a.status != http.StatusUnauthorized {
				t.Errorf("instance %d answers cookie %d, which a leaked key was at, %d %s, %v", i, n, a.status, a.body, err)
			}
		}
		if a, err := c.look(&honest); err != nil || a.status != http.StatusOK {
			t.Errorf("instance %d answers a session of the next key %d, %v", i, a.status, err)
		}
	}
	// Nor does it come back when the key's line is deleted by hand.
	kept, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(kept), old) {
		t.Fatalf("the key is not in the file: %v", err)
	}
	var rest []string
	for line := range strings.Lines(string(kept)) {
		if !strings.Contains(line, " "+old+" ") {
			rest = append(rest, line)
		}
	}
	if err := os.WriteFile(path, []byte(strings.Join(rest, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newCaller(start(t, dir, "--store=sealed:").URL)
	if a, err := c.ask("GET", "/auth/session", cookies[1], "", ""); err != nil || a.status != http.StatusUnauthorized {
		t.Errorf("where the key is not in the file it is answered %d, %v", a.status, err)
	}
	if a, err := c.look(&honest); err != nil || a.status != http.StatusOK {
		t.Errorf("where the key is not in the file a session of the next one is answered %d, %v", a.status, err)
	}
}
