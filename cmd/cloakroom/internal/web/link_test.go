package web_test

import (
	"maps"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
)

// link makes a link for ada.
func (w *world) link(kind sqlusers.LinkKind) string {
	w.t.Helper()
	token, err := w.users.NewLink(w.t.Context(), w.account("ada").ID, kind, time.Now(), time.Hour)
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

func TestASVS_6_4_3_ResetLinks(t *testing.T) {
	w := newWorld(t)
	signedIn := w.in()
	token := w.link(sqlusers.LinkReset)
	p := w.person()
	p.host = "evil.example"
	for range 3 { // a GET claims nothing
		r := httptest.NewRequest("GET", "/auth/reset?token="+token, nil)
		r.Header.Set("X-Forwarded-Host", "evil.example")
		res := p.send(r)
		if res.Code != 200 || strings.Contains(res.Body.String(), "evil.example") || !strings.Contains(res.Body.String(), "<strong>ada</strong>") {
			t.Fatalf("%d %s", res.Code, res.Body)
		}
		if res.Header().Get("Referrer-Policy") != "strict-origin" || strings.Contains(res.Header().Get("Set-Cookie"), "__Host-session") {
			t.Errorf("%v", res.Header())
		}
	}
	page := "/auth/reset?token=" + token
	res := p.post(page, "/auth/reset", url.Values{"token": {token}, "password": {"ada ada ada ada"}})
	if res.Code != 422 || !strings.Contains(res.Body.String(), `aria-invalid="true"`) || !strings.Contains(w.log.String(), "password_refused") {
		t.Errorf("%d %s", res.Code, res.Body)
	}
	res = p.post(page, "/auth/reset", url.Values{"token": {token}, "password": {otherPassword}})
	p.want(res, 303, "/auth/login?done=password")
	if !strings.Contains(p.get("/auth/login?done=password").Body.String(), "Your password is set") {
		t.Error("no word about it")
	}
	if p.jar["__Host-session"] != "" {
		t.Error("a link has made a session")
	}
	if signedIn.get("/auth/profile").Code != 303 {
		t.Error("a session of before goes on")
	}
	for _, path := range []string{"/auth/reset", "/auth/invite"} {
		if res := p.get(path + "?token=" + token); res.Code != 410 || !strings.Contains(res.Body.String(), "Ask an administrator") {
			t.Errorf("a second time: %d %s", res.Code, res.Body)
		}
		w.cookie = nil
		if gone := w.do("POST", path, `{"token":"`+token+`","password":"`+otherPassword+`"}`, false); gone.Code != 410 || !strings.Contains(gone.Body.String(), "Link not valid") {
			t.Errorf("a second time: %d %s", gone.Code, gone.Body)
		}
	}
	if w.person().login("ada", otherPassword).Code != 303 {
		t.Error("the new password is not right")
	}
	for _, want := range []string{`"msg":"link_used"`, `"msg":"link_refused"`} {
		if !strings.Contains(w.log.String(), want) {
			t.Errorf("no %s in the log", want)
		}
	}
	if strings.Contains(w.log.String(), token) {
		t.Error("the token is in the log")
	}
}

func TestInviteForPrograms(t *testing.T) {
	w := newWorld(t)
	w.cookie = nil
	token := w.link(sqlusers.LinkInvite)
	if res := w.do("POST", "/auth/invite", `{"token":"`+token+`","password":"short"}`, false); res.Code != 422 || !strings.Contains(res.Body.String(), `"reason":"too_short"`) {
		t.Errorf("%d %s", res.Code, res.Body)
	}
	if res := w.do("POST", "/auth/invite?token="+token, `{"password":"`+otherPassword+`"}`, false); res.Code != 400 {
		t.Errorf("ASVS 14.2.1: a token in the URL of a POST: %d", res.Code)
	}
	if res := w.do("POST", "/auth/invite", `{"token":"`+token+`","password":"`+otherPassword+`"}`, false); res.Code != 204 {
		t.Errorf("%d %s", res.Code, res.Body)
	}
}

var masked = regexp.MustCompile(`value="[^"]*"`)

func TestASVS_6_3_8_NobodyIsGivenAway(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	hash := w.account("ada").Password
	for _, n := range []sqlusers.NewUser{{Name: "gone", Password: hash}, {Name: "invited"}, {Name: "eve", Password: hash}} {
		u, err := w.users.Create(ctx, n)
		if err != nil {
			t.Fatal(err)
		}
		if n.Name == "gone" {
			if err := w.users.SetDisabled(ctx, u.ID, true); err != nil {
				t.Fatal(err)
			}
		}
	}
	type answer struct {
		code         int
		body, header string
	}
	answers := map[string]answer{}
	for name, pw := range map[string]string{"eve": "a wrong password", "nobody": "a wrong password", "gone": goodPassword, "invited": "a wrong password", "bad name": "a wrong password"} {
		res := w.person().login(name, pw)
		h := res.Header().Clone()
		h.Del("X-Request-Id")
		names := slices.Sorted(maps.Keys(h))
		answers[name] = answer{res.Code, masked.ReplaceAllString(res.Body.String(), "value"), strings.Join(names, " ")}
	}
	want := answers["nobody"]
	if want.code != 401 {
		t.Errorf("%d", want.code)
	}
	for name, got := range answers {
		if got != want {
			t.Errorf("%s: %+v\nwant %+v", name, got, want)
		}
	}
}

// After five wrong passwords the next is not looked at, and everybody is told when
// it will be.
func TestNIST_3_2_2_c_TooManyAttemptsInWords(t *testing.T) {
	for _, name := range []string{"ada", "nobody"} {
		w := newWorld(t)
		w.cookie = nil
		p := w.person()
		for range 5 {
			if res := p.login(name, "a wrong password"); res.Code != 401 {
				t.Fatalf("%d", res.Code)
			}
		}
		res := p.login(name, goodPassword)
		if res.Code != 429 || !regexp.MustCompile(`^(29|30)$`).MatchString(res.Header().Get("Retry-After")) ||
			!regexp.MustCompile(`Wait (29|30) seconds`).MatchString(res.Body.String()) {
			t.Errorf("%s: %d %v\n%s", name, res.Code, res.Header(), res.Body)
		}
		doc := w.do("POST", "/auth/login", `{"username":"`+name+`","password":"x"}`, false)
		if doc.Code != 429 || doc.Header().Get("Retry-After") == "" || !strings.Contains(doc.Body.String(), "Too many attempts") {
			t.Errorf("%s: %d %v %s", name, doc.Code, doc.Header(), doc.Body)
		}
	}
}
