package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
)

// imported is a hash that another program wrote.
type imported struct{ Source, Scheme, Password, Hash string }

// weak tells a hash that is not worth to be taken over: its owner gets a reset link.
func (i imported) weak() bool { return i.Scheme == "apr1" || i.Scheme == "{SHA}" }

func importedHashes(t *testing.T) []imported {
	t.Helper()
	b, err := os.ReadFile("testdata/hashes.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Hashes []imported }
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Hashes) < 30 {
		t.Fatalf("%d hashes", len(file.Hashes))
	}
	return file.Hashes
}

// put gives an account a hash, whatever it is.
func (p people) put(id, hash string) {
	p.t.Helper()
	if n, err := p.db.Exec(p.t.Context(), "UPDATE cloakroom_user SET password = ? WHERE id = ?", []byte(hash), []byte(id)); n != 1 || err != nil {
		p.t.Fatal(n, err)
	}
}

// current is what the service's own hashes begin with.
const current = "$argon2id$v=19$m=19456,t=2,p=1$"

// TestImportedHashesSignIn: the users of a program that has passlib, Django, Werkzeug or
// htpasswd -B sign in with the passwords that they have, and no others; from then on
// their hashes are the service's own, and the same passwords let them in. What is too
// weak lets nobody in (ASVS 11.4.2).
func TestImportedHashesSignIn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addUser(t, dir, "ada", "--role=admin")
	p, all := peopleOf(t, dir), importedHashes(t)
	if !*prove { // hashes of others take up to half a second
		all = fewerImported(all)
	}
	s := start(t, dir, "--trusted-proxies=127.0.0.1")
	c := newCaller(s.URL)
	for i, h := range all {
		name, what := fmt.Sprintf("user%d", i), h.Source+" "+h.Scheme
		if h.weak() {
			_, err := p.users.Create(t.Context(), sqlusers.NewUser{Name: name, Password: h.Hash})
			if !errors.Is(err, sqlusers.ErrNoHash) {
				t.Errorf("%s is taken for a hash: %v", what, err)
			}
			p.put(p.add(name, ""), h.Hash)
		} else {
			p.add(name, h.Hash)
		}
		login := func(pw string, want int) {
			t.Helper()
			a, err := c.ask("POST", "/auth/login", "", "", credentials(name, pw), "X-Forwarded-For", strangerNumber(i))
			if err != nil || a.status != want {
				t.Errorf("%s: %d, want %d: %s %v", what, a.status, want, a.body, err)
			}
		}
		login(h.Password+"x", http.StatusUnauthorized)
		if got := p.hash(name); got != h.Hash {
			t.Errorf("%s: a wrong password has changed the hash to %s", what, got)
		}
		if h.weak() {
			login(h.Password, http.StatusUnauthorized)
			if got := p.hash(name); got != h.Hash {
				t.Errorf("%s became %s", what, got)
			}
			continue
		}
		login(h.Password, http.StatusOK)
		fresh := p.hash(name)
		if !strings.HasPrefix(fresh, current) {
			t.Errorf("%s became %s", what, fresh)
		}
		login(h.Password, http.StatusOK)
		login(h.Password+"x", http.StatusUnauthorized)
		if got := p.hash(name); got != fresh {
			t.Errorf("%s: hashed twice", what)
		}
	}
}

// fewerImported is one hash of each scheme, whoever wrote it: package password verifies all.
func fewerImported(all []imported) (few []imported) {
	seen := map[string]bool{}
	for _, h := range all {
		if !seen[h.Scheme] {
			few = append(few, h)
		}
		seen[h.Scheme] = true
	}
	return few
}

// TestAttack_A20_BcryptPrefixAtTheService: bcrypt sees 72 bytes of a password. Who knows
// these, or hangs something on them, is nobody for it.
func TestAttack_A20_BcryptPrefixAtTheService(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addUser(t, dir, "ada", "--role=admin")
	p := peopleOf(t, dir)
	s := start(t, dir)
	for i, seventyTwo := range []string{strings.Repeat("a", 72), strings.Repeat("é", 36)} {
		hash, err := bcrypt.GenerateFromPassword([]byte(seventyTwo), 10)
		if err != nil {
			t.Fatal(err)
		}
		// As Python's bcrypt, PHP's and htpasswd write it of anything that begins so.
		stored := strings.Replace(string(hash), "$2a$", "$2y$", 1)
		name := fmt.Sprintf("user%d", i)
		p.add(name, stored)
		c := s.client()
		for _, pw := range []string{seventyTwo + "b", seventyTwo + "\x00", seventyTwo[:71], seventyTwo + strings.Repeat("b", 900)} {
			c.want(c.do("POST", "/auth/login", credentials(name, pw)), 401)
		}
		if got := p.hash(name); got != stored {
			t.Errorf("a password that only begins like it has changed the hash to %s", got)
		}
		c.login(name, seventyTwo)
		if got := p.hash(name); !strings.HasPrefix(got, current) {
			t.Errorf("the hash is %s", got)
		}
		// The service's own hashes see all of it.
		c = s.client()
		c.want(c.do("POST", "/auth/login", credentials(name, seventyTwo+"b")), 401)
	}
}
