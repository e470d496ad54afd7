package main_test

import (
	"net/url"
	"regexp"
	"testing"
)

// Links that are valid sign nobody in either by being followed: not from a mail, not from
// another site, not by a program that looks what is behind them; and they are as good
// afterwards as before.
func TestASVS_7_6_2_ValidLinksAreNotEnough(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir)
	setup, err := url.Parse(s.await(linkLine))
	if err != nil {
		t.Fatal(err)
	}
	addUser(t, dir, "bob")
	tokens := map[string]string{"/auth/setup": setup.Query().Get("token")}
	for path, args := range map[string][]string{"/auth/invite": {"user", "add", "carol", "--invite"}, "/auth/reset": {"user", "reset", "bob"}} {
		_, out := command(t, dir, args...)
		m := regexp.MustCompile(`token=([A-Za-z0-9_-]+)`).FindStringSubmatch(out)
		if m == nil {
			t.Fatal(out)
		}
		tokens[path] = m[1]
	}
	all := routes(t, s.client())
	for path, token := range tokens {
		q := "?" + url.Values{"token": {token}, "auto": {"1"}, "next": {"/auth/profile"}}.Encode()
		for _, how := range [][]string{
			{"Accept", htmlAccept, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Referer", "https://mail.example/"},
			{"Accept", htmlAccept, "Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-User", "?1"}, {"Accept", "application/json"}, {},
		} {
			for _, r := range all {
				for _, method := range []string{"GET", "HEAD"} {
					victim := s.client()
					a := victim.do(method, r.path+q, "", how...)
					if len(issued([]answer{a})) > 0 {
						t.Errorf("%s with the token of %s: a session", name(a), path)
					}
					if r.path == path && a.StatusCode != 200 {
						t.Errorf("%s: the link is not valid any more", name(a))
					}
				}
			}
			// What another site can post: a form, without our token.
			victim := s.client()
			form := url.Values{"token": {token}, "username": {"eve"}, "password": {"quietly under lanterns"}}
			victim.want(victim.do("POST", path, form.Encode(), "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"), 403)
			victim.want(victim.do("POST", path, form.Encode()), 403)
			victim.want(victim.do("GET", "/auth/session", ""), 401)
		}
	}
}
