package main_test

import (
	"encoding/json"
	"testing"
)

// TestASVS_6_4_1_AProgramCanChangeThePassword: who must change the password, and has
// no browser, finds the token for it, and gets in afterwards.
func TestASVS_6_4_1_AProgramCanChangeThePassword(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addUser(t, dir, "bob")
	if code, out := command(t, dir, "user", "require-change", "bob"); code != 0 {
		t.Fatal(out)
	}
	c := start(t, dir).client()
	c.want(c.do("POST", "/auth/login", credentials("bob", goodPassword)), 200)
	c.want(c.do("GET", "/auth/session", ""), 403)
	var doc struct {
		Must  bool   `json:"must_change"`
		Token string `json:"csrf_token"`
	}
	if err := json.Unmarshal([]byte(c.want(c.do("GET", "/auth/password", ""), 200).body), &doc); err != nil || !doc.Must {
		t.Fatalf("%+v %v", doc, err)
	}
	c.want(c.do("POST", "/auth/password", `{"current":"`+goodPassword+`","new":"quite another one of mine"}`, "X-CSRF-Token", doc.Token), 204)
	if name := c.session().User.Name; name != "bob" {
		t.Errorf("signed in is %q", name)
	}
}
