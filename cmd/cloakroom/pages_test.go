package main_test

import (
	"net/url"
	"strings"
	"testing"
)

// local is an address as browsers take Secure cookies from it without TLS.
func local(address string) string { return strings.Replace(address, "127.0.0.1", "localhost", 1) }

// TestPagesInABrowser walks through the pages of an account as people do, and has each
// judged on the way. Those of the administration have tests of their own.
func TestPagesInABrowser(t *testing.T) {
	s := start(t, t.TempDir())
	b := &browser{t, chromium(t, true), local(s.URL)}
	b.open(b.url + "/auth/login")
	b.look("before setup")
	link := local(s.await(linkLine))
	b.open(link)
	b.look("setup")
	b.submit("Create", map[string]string{"username": "ada", "password": "too short"})
	b.at("/auth/setup", "at least 15")
	b.look("setup refused")
	b.submit("Create", map[string]string{"username": "ada", "password": goodPassword})
	b.at("/auth/profile", "ada")
	b.look("profile")
	b.open(link)
	b.look("link gone")
	b.open(b.url + "/auth/nowhere")
	b.look("not found")

	s.client().login("ada", goodPassword)
	phone := s.client()
	phone.want(phone.do("POST", "/auth/login", credentials("ada", goodPassword),
		"User-Agent", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1"), 200)
	b.open(b.url + "/auth/sessions")
	b.shows("/auth/sessions", "Safari on iOS")
	b.look("sessions")
	b.open(b.url + "/auth/reauth?next=%2Fauth%2Fsessions")
	b.look("reauth")
	b.submit("Continue", map[string]string{"password": "wrong password of mine"})
	b.look("reauth wrong")
	b.submit("Continue", map[string]string{"password": goodPassword})
	b.at("/auth/sessions", "this device")
	b.click(`form[action$="/end-others"] button`)
	b.shows("/auth/sessions", "other sessions have ended")
	phone.want(phone.do("GET", "/auth/session", ""), 401)

	b.open(b.url + "/auth/password")
	b.look("password")
	b.submit("Change", map[string]string{"current": "wrong password of mine", "new": "quite another one of mine"})
	b.shows("/auth/password", "not your current password")
	b.look("password wrong")
	b.submit("Change", map[string]string{"current": goodPassword, "new": "adaadaadaadaada"})
	b.shows("/auth/password", "name")
	b.look("password refused")
	b.eval(`document.querySelector("[data-shows]").click(); ""`)
	if shown := b.eval(`document.querySelector("#new").type`); shown != "text" {
		t.Errorf("the field of the new password is of the type %q after it was asked to be shown", shown)
	}
	b.submit("Change", map[string]string{"current": goodPassword, "new": "quite another one of mine"})
	b.shows("/auth/", "changed")
	b.look("password changed")
}

// TestSignInInABrowser is a login that goes wrong until it is throttled, a link, and a
// password that must be changed.
func TestSignInInABrowser(t *testing.T) {
	dir := t.TempDir()
	addUser(t, dir, "ada", "--role=admin")
	s := start(t, dir)
	b := &browser{t, chromium(t, true), local(s.URL)}
	b.open(b.url + "/auth/login?next=%2Fauth%2Fsessions")
	b.look("login")
	for range 5 {
		b.submit("Sign in", map[string]string{"username": "bob", "password": "wrong password of mine"})
		b.shows("/auth/login", "wrong")
	}
	b.look("login wrong")
	b.submit("Sign in", map[string]string{"username": "bob", "password": "wrong password of mine"})
	b.shows("/auth/login", "seconds")
	b.look("login throttled")

	code, out := command(t, dir, "user", "add", "carol", "--invite", "--public-url", b.url)
	if code != 0 {
		t.Fatal(out)
	}
	invite := out[strings.Index(out, b.url):]
	invite, _, _ = strings.Cut(invite, " ")
	b.open(invite)
	b.look("invite")
	b.submit("Save", map[string]string{"password": "password password"})
	b.look("invite refused")
	b.submit("Save", map[string]string{"password": goodPassword})
	b.shows("/auth/login", "password")
	b.look("invite taken")
	b.submit("Sign in", map[string]string{"username": "carol", "password": goodPassword})
	b.at("/auth/profile", "carol")

	if code, out := command(t, dir, "user", "require-change", "carol"); code != 0 {
		t.Fatal(out)
	}
	b.open(b.url + "/auth/profile")
	b.shows("/auth/login", "Sign in")
	b.submit("Sign in", map[string]string{"username": "carol", "password": goodPassword})
	b.shows("/auth/password", "a password of your own")
	b.look("password must")
	b.open(b.url + "/auth/sessions")
	b.shows("/auth/password?next="+url.QueryEscape("/auth/sessions"), "a password of your own")
	b.submit("Change", map[string]string{"current": goodPassword, "new": "quite another one of mine"})
	b.shows("/auth/sessions", "this device")
}
