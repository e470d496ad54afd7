package web_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/admin"
)

// Each change does what it says, for programs and people, and says so in exactly one
// line with who did it and to whom.
func TestASVS_16_3_1_EveryActOfAdministrationIsOneEventWithActorAndUser(t *testing.T) {
	h := newHouse(t, false)
	ada := h.signIn("ada")
	for _, c := range []struct {
		act, body string
		event     string
		form      url.Values
		holds     func(before, after auth.User) bool
	}{
		{"disable", "", "user_disabled", nil, func(_, u auth.User) bool { return u.Disabled }},
		{"enable", "", "user_enabled", nil, func(_, u auth.User) bool { return !u.Disabled }},
		{"unlock", "", "user_unlocked", nil, func(_, u auth.User) bool { return true }},
		{"roles", `{"roles":["b","a"]}`, "roles_set", url.Values{"roles": {"a, b"}, "admin": {"yes"}},
			func(_, u auth.User) bool { return strings.HasPrefix(strings.Join(u.Roles, " "), "a ") }},
		{"rename", `{"name":"new-by-json"}`, "user_renamed", url.Values{"name": {"new-by-form"}},
			func(_, u auth.User) bool { return strings.HasPrefix(u.Name, "new-by-") }},
		{"require-change", "", "change_required", nil, func(b, u auth.User) bool { return u.MustChange && u.Epoch > b.Epoch }},
		{"end-sessions", "", "sessions_ended", nil, func(b, u auth.User) bool { return u.Epoch > b.Epoch }},
		{"reset", "", "reset_made", nil, func(b, u auth.User) bool { return u.Password == b.Password }},
		{"remove", `{"name":"VICTIM-1"}`, "user_removed", url.Values{"name": {"victim-2"}}, nil},
	} {
		for i, page := range []bool{false, true} {
			victim := h.add(fmt.Sprintf("victim-%d", i+1))
			if c.act == "enable" {
				if err := h.users.SetDisabled(t.Context(), victim.ID, true); err != nil {
					t.Fatal(err)
				}
			}
			before := h.read(victim.ID)
			h.log.take(t)
			path := "/auth/admin/users/" + victim.ID + "/" + c.act
			if page {
				res := ada.form(path, c.form)
				status := http.StatusSeeOther
				if c.act == "reset" {
					status = http.StatusCreated
				}
				want(t, c.act+" by a form", res, status)
			} else {
				res := ada.do("POST", path, c.body)
				status := http.StatusNoContent
				if c.act == "reset" {
					status = http.StatusCreated
				}
				want(t, c.act+" in JSON", res, status)
			}
			n := 0
			for _, line := range h.log.take(t) {
				if line["actor"] != nil {
					n++
					if line["msg"] != c.event || line["actor"] != ada.id || line["user"] != victim.ID || line["addr"] == "" {
						t.Errorf("%s: %v", c.act, line)
					}
				}
			}
			if n != 1 {
				t.Errorf("%s: %d events", c.act, n)
			}
			if c.holds == nil {
				if _, err := h.users.ByID(t.Context(), victim.ID); !errors.Is(err, auth.ErrNoUser) {
					t.Errorf("%s: %v", c.act, err)
				}
				continue
			}
			if after := h.read(victim.ID); !c.holds(before, after) {
				t.Errorf("%s: %+v became %+v", c.act, before, after)
			}
			if err := h.users.Remove(t.Context(), victim.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestASVS_7_4_2_DisablingAndRemovingEndEverySession(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		h := newHouse(t, sealed)
		ada := h.signIn("ada")
		for _, act := range []string{"disable", "remove"} {
			bob := h.add("bob")
			one, two, alice := h.signIn("bob"), h.signIn("bob"), ada
			method, path := "POST", "/auth/admin/users/"+bob.ID+"/"+act
			if act == "remove" {
				method, path = "DELETE", "/auth/admin/users/"+bob.ID
			}
			want(t, act, ada.do(method, path, ""), 204)
			if one.do("GET", "/auth/session", "").Code != 401 || two.do("GET", "/auth/session", "").Code != 401 {
				t.Errorf("sealed %t: %s: a session lives on", sealed, act)
			}
			if !alice.alive() {
				t.Errorf("%s ended somebody else's session", act)
			}
			stranger := &visitor{h: h}
			wrong := stranger.do("POST", "/auth/login", `{"username":"bob","password":"wrong wrong wrong"}`)
			right := stranger.do("POST", "/auth/login", `{"username":"bob","password":"`+goodPassword+`"}`)
			if right.Code != 401 || right.Body.String() != wrong.Body.String() {
				t.Errorf("after %s the right password answers %d %s, a wrong one %s", act, right.Code, right.Body, wrong.Body)
			}
			if act == "disable" {
				// Enabling brings no session back.
				want(t, "enable", ada.do("POST", "/auth/admin/users/"+bob.ID+"/enable", ""), 204)
				if one.alive() {
					t.Error("enabling brought a session back")
				}
				if err := h.users.Remove(t.Context(), bob.ID); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if h.add("bob"); one.alive() || two.alive() {
				t.Error("a new account of the same name took the old one's sessions")
			}
		}
	}
}

func TestASVS_7_4_5_AdministratorsEndSessionsOfOneAndOfEverybody(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		h := newHouse(t, sealed)
		h.add("alice")
		h.add("bob")
		ada, alice, bob, bob2 := h.signIn("ada"), h.signIn("alice"), h.signIn("bob"), h.signIn("bob")

		for _, path := range []string{"/auth/admin/users/" + alice.id + "/sessions", "/auth/admin/sessions"} {
			want(t, "by no administrator", bob.do("DELETE", path, ""), 403)
		}
		if !alice.alive() || !ada.alive() {
			t.Fatal("who is no administrator ended sessions")
		}
		h.log.take(t)
		want(t, "end bob's", ada.do("DELETE", "/auth/admin/users/"+bob.id+"/sessions", ""), 204)
		if bob.alive() || bob2.alive() || !alice.alive() {
			t.Errorf("sealed %t: bob %t %t, alice %t", sealed, bob.alive(), bob2.alive(), alice.alive())
		}
		bob = h.signIn("bob")
		want(t, "end all", ada.do("DELETE", "/auth/admin/sessions", ""), 204)
		if bob.alive() || alice.alive() || ada.alive() {
			t.Errorf("sealed %t: somebody is still signed in", sealed)
		}
		found := map[string]bool{}
		for _, line := range h.log.take(t) {
			if line["actor"] == ada.id {
				found[line["msg"].(string)] = true
			}
		}
		if !found["sessions_ended"] || !found["everyone_ended"] {
			t.Errorf("events: %v", found)
		}
		// By a form one is led to the page to sign in.
		ada = h.signIn("ada")
		res := ada.form("/auth/admin/sessions/end-all", nil)
		if want(t, "end all", res, 303); res.Header().Get("Location") != "/auth/login" || ada.alive() {
			t.Errorf("%v", res.Header())
		}
	}
}

func TestASVS_8_2_2_NobodyElsesObjects(t *testing.T) {
	h := newHouse(t, false)
	alice, bob := h.add("alice"), h.add("bob")
	ada, aliceHere, bobHere := h.signIn("ada"), h.signIn("alice"), h.signIn("bob")
	handle := func(id string) string {
		body := ada.do("GET", "/auth/admin/users/"+id, "").Body.String()
		_, rest, _ := strings.Cut(body, `"handle":"`)
		handle, _, _ := strings.Cut(rest, `"`)
		return handle
	}
	for what, path := range map[string]string{
		"bob's session at alice":       "/auth/admin/users/" + alice.ID + "/sessions/" + handle(bob.ID),
		"a session of nobody":          "/auth/admin/users/" + alice.ID + "/sessions/AAAAAAAAAAAAAAAA",
		"alice's session at no user":   "/auth/admin/users/nobody/sessions/" + handle(alice.ID),
		"the sessions of nobody":       "/auth/admin/users/nobody/sessions",
		"an account that is not there": "/auth/admin/users/nobody",
	} {
		want(t, what, ada.do("DELETE", path, ""), 404)
	}
	want(t, "alice's session, asked for by bob", bobHere.do("DELETE", "/auth/sessions/"+handle(alice.ID), ""), 404)
	for _, act := range []string{"disable", "enable", "unlock", "reset", "invite", "require-change", "end-sessions"} {
		want(t, act+" nobody", ada.do("POST", "/auth/admin/users/nobody/"+act, ""), 404)
		want(t, act+" nobody, by a form", ada.form("/auth/admin/users/nobody/"+act, nil), 404)
	}
	want(t, "roles of nobody", ada.do("POST", "/auth/admin/users/nobody/roles", `{"roles":[]}`), 404)
	want(t, "rename nobody", ada.do("POST", "/auth/admin/users/nobody/rename", `{"name":"x"}`), 404)
	if !aliceHere.alive() || !bobHere.alive() {
		t.Error("a session has ended")
	}
	want(t, "alice's session", ada.do("DELETE", "/auth/admin/users/"+alice.ID+"/sessions/"+handle(alice.ID), ""), 204)
	if aliceHere.alive() || !bobHere.alive() {
		t.Error("another session than alice's has ended")
	}
}

// What a page hides, or a script would check, changes nothing.
func TestASVS_8_3_1_TheServerDecides(t *testing.T) {
	h := newHouse(t, false)
	bob := h.add("bob")
	ada, bobHere := h.signIn("ada"), h.signIn("bob")
	for what, send := range map[string]func() int{
		"without the hidden field": func() int {
			return ada.form("/auth/admin/users/"+bob.ID+"/disable", url.Values{"csrf_token": {""}}).Code
		},
		"a button that the page does not show": func() int {
			return bobHere.form("/auth/admin/users/"+bob.ID+"/roles", url.Values{"roles": {"admin"}}).Code
		},
		"headers that claim a role": func() int {
			v := *bobHere
			v.header = http.Header{"X-Forwarded-User": {"ada"}, "X-Roles": {"admin"}, "X-Original-Url": {"/auth/admin"}, "X-Http-Method-Override": {"GET"}}
			return v.do("POST", "/auth/admin/users", `{"name":"mallory","roles":["admin"]}`).Code
		},
	} {
		token := ada.csrf
		if what == "without the hidden field" {
			ada.csrf = ""
		}
		if code := send(); code != 403 {
			t.Errorf("%s: %d", what, code)
		}
		ada.csrf = token
	}
	if u := h.read(bob.ID); u.Disabled || len(u.Roles) > 0 {
		t.Errorf("%+v", u)
	}
}

func TestASVS_8_3_2_RightsChangeAtTheNextRequest(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		h := newHouse(t, sealed)
		h.add("bob", sqlusers.Admin)
		ada, bob := h.signIn("ada"), h.signIn("bob")
		want(t, "before", bob.do("GET", "/auth/admin/users", ""), 200)
		want(t, "take the role away", ada.do("POST", "/auth/admin/users/"+bob.id+"/roles", `{"roles":[]}`), 204)
		want(t, "at once", bob.do("GET", "/auth/admin/users", ""), 403)
		want(t, "give it back", ada.do("POST", "/auth/admin/users/"+bob.id+"/roles", `{"roles":["admin"]}`), 204)
		want(t, "at once", bob.do("GET", "/auth/admin/users", ""), 200)
	}
}

func TestTheLastAdministratorStays(t *testing.T) {
	h := newHouse(t, false)
	ada := h.signIn("ada")
	at := "/auth/admin/users/" + ada.id
	for what, body := range map[string]string{"disable": "", "roles": `{"roles":["other"]}`, "remove": `{"name":"ada"}`} {
		res := ada.do("POST", at+"/"+what, body)
		if want(t, what, res, 409); !strings.Contains(res.Body.String(), "Last enabled administrator") {
			t.Errorf("%s: %s", what, res.Body)
		}
	}
	want(t, "remove", ada.do("DELETE", at, ""), 409)
	res := ada.form(at+"/disable", nil)
	if want(t, "disable by a form", res, 409); !strings.Contains(res.Body.String(), `<p class="error" role="alert">This is the last administrator`) {
		t.Errorf("%s", res.Body)
	}
	if u := h.read(ada.id); u.Disabled || len(u.Roles) != 1 || !ada.alive() {
		t.Errorf("%+v", u)
	}
	// With another one ada may go, and is signed out.
	h.add("eve", sqlusers.Admin)
	want(t, "disable oneself", ada.form(at+"/disable", nil), 303)
	if ada.alive() {
		t.Error("still signed in")
	}
}

// A browser whose proof is too old goes and gives one, and comes back to the page: what
// it posted is not sent again by itself.
func TestChangesNeedARecentProof(t *testing.T) {
	h := newHouse(t, false)
	bob := h.add("bob")
	ada := h.signIn("ada")
	ada.late = true
	user := "/auth/admin/users/" + bob.ID
	for path, form := range map[string]string{
		user + "/disable": user, user + "/remove": user, user + "/sessions/AAAAAAAAAAAAAAAA/end": user, user + "/reset": user,
		"/auth/admin/users": "/auth/admin/users", "/auth/admin/sessions/end-all": "/auth/admin/sessions",
	} {
		h.log.take(t)
		res := ada.form(path, url.Values{"name": {"bob"}})
		if want(t, path, res, 303); res.Header().Get("Location") != "/auth/reauth?next="+url.QueryEscape(form) {
			t.Errorf("%s leads to %s", path, res.Header().Get("Location"))
		}
		res = ada.do("POST", path, "")
		if want(t, path, res, 401); !strings.Contains(res.Body.String(), `"Recent authentication required"`) {
			t.Errorf("%s: %s", path, res.Body)
		}
	}
	want(t, "delete", ada.do("DELETE", user, ""), 401)
	if u := h.read(bob.ID); u.Disabled {
		t.Error("disabled")
	}
	want(t, "to look", ada.do("GET", user, ""), 200)
	if !ada.alive() {
		t.Error("signed out")
	}
}

func TestLinksOfAdministrators(t *testing.T) {
	h := newHouse(t, false)
	ada := h.signIn("ada")
	res := ada.do("POST", "/auth/admin/users", `{"name":"Bob","roles":["staff"]}`)
	want(t, "add", res, 201)
	link := linkOf(t, res, "invite")
	if !strings.HasPrefix(link, adminBase+"/invite?token=") {
		t.Errorf("the link is %s", link)
	}
	if !strings.Contains(res.Body.String(), `"name":"Bob","roles":["staff"]`) {
		t.Errorf("%s", res.Body)
	}
	canonical, _ := auth.CanonicalName("Bob")
	bob, err := h.users.ByName(t.Context(), canonical)
	if err != nil || bob.Password != "" {
		t.Fatalf("%+v %v", bob, err)
	}
	now := time.Now()
	for at, gone := range map[time.Time]bool{now: false, now.Add(admin.InviteAge - time.Minute): false, now.Add(admin.InviteAge + time.Minute): true} {
		if _, err := h.users.CheckLink(t.Context(), tokenOf(t, link), at); errors.Is(err, sqlusers.ErrLinkGone) != gone {
			t.Errorf("after %v: %v", at.Sub(now), err)
		}
	}
	if _, err := h.users.ClaimLink(t.Context(), tokenOf(t, link), now, h.phc); err != nil {
		t.Fatal(err)
	}
	want(t, "invite who has a password", ada.do("POST", "/auth/admin/users/"+bob.ID+"/invite", ""), 409)
	want(t, "the name again", ada.do("POST", "/auth/admin/users", `{"name":"BOB","roles":[]}`), 409)
	want(t, "no name", ada.do("POST", "/auth/admin/users", `{"roles":[]}`), 400)
	want(t, "a blank name", ada.do("POST", "/auth/admin/users", `{"name":"a b"}`), 400)
	want(t, "a bad role", ada.do("POST", "/auth/admin/users", `{"name":"x","roles":["a<b"]}`), 400)
	want(t, "roles as text", ada.do("POST", "/auth/admin/users", `{"name":"x","roles":"admin"}`), 400)
	want(t, "a role of two", ada.do("POST", "/auth/admin/users", `{"name":"x","roles":["a admin"]}`), 400)
	want(t, "null", ada.do("POST", "/auth/admin/users", `{"name":null}`), 400)
}
