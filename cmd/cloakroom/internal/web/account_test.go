package web_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth"
)

const otherPassword = "wet umbrellas on brass hooks"

// person is a browser: it keeps cookies, and sends what stands in a page's form.
type person struct {
	*world
	jar  map[string]string
	host string
}

func (w *world) person() *person {
	return &person{world: w, jar: map[string]string{}, host: "example.com"}
}

// send sends a request with the browser's cookies and keeps those of the answer.
func (p *person) send(r *http.Request) *httptest.ResponseRecorder {
	p.t.Helper()
	r.Host = p.host
	if r.Header.Get("Accept") == "" {
		r.Header.Set("Accept", "text/html")
	}
	for name, value := range p.jar {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	res := httptest.NewRecorder()
	p.handler.ServeHTTP(res, r)
	for _, c := range res.Result().Cookies() {
		if p.jar[c.Name] = c.Value; c.MaxAge < 0 {
			delete(p.jar, c.Name)
		}
	}
	return res
}

func (p *person) get(path string) *httptest.ResponseRecorder {
	p.t.Helper()
	return p.send(httptest.NewRequest("GET", path, nil))
}

var formToken = regexp.MustCompile(`name="csrf_token" value="([^"]+)"`)

// post fills the form of a page and sends it to an address.
func (p *person) post(page, path string, values url.Values) *httptest.ResponseRecorder {
	p.t.Helper()
	m := formToken.FindStringSubmatch(p.get(page).Body.String())
	if m == nil {
		p.t.Fatalf("no form at %s", page)
	}
	values.Set("csrf_token", m[1])
	return p.form(path, values)
}

func (p *person) form(path string, values url.Values) *httptest.ResponseRecorder {
	p.t.Helper()
	r := httptest.NewRequest("POST", path, strings.NewReader(values.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return p.send(r)
}

func (p *person) login(name, pw string) *httptest.ResponseRecorder {
	p.t.Helper()
	return p.post("/auth/login", "/auth/login", url.Values{"username": {name}, "password": {pw}})
}

// in is a person who has signed in as ada.
func (w *world) in() *person {
	w.t.Helper()
	p := w.person()
	p.want(p.login("ada", goodPassword), 303, "/auth/profile")
	return p
}

func (p *person) want(res *httptest.ResponseRecorder, status int, to string) {
	p.t.Helper()
	if res.Code != status || res.Header().Get("Location") != to {
		p.t.Fatalf("%d to %q, want %d to %q\n%s", res.Code, res.Header().Get("Location"), status, to, res.Body)
	}
}

// json sends a document as a program with a session does.
func (p *person) json(method, path, body string) *httptest.ResponseRecorder {
	p.t.Helper()
	r := httptest.NewRequest("GET", "/auth/session", nil)
	r.Header.Set("Accept", "application/json")
	var doc struct {
		Token string `json:"csrf_token"`
	}
	_ = json.Unmarshal(p.send(r).Body.Bytes(), &doc)
	r = httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Accept", "application/json")
	r.Header.Set("X-CSRF-Token", doc.Token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return p.send(r)
}

func (w *world) account(name string) auth.User {
	w.t.Helper()
	u, err := w.users.ByName(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

func TestASVS_6_2_3_AChangeNeedsBothPasswords(t *testing.T) {
	w := newWorld(t)
	p := w.in()
	before := w.account("ada").Password
	for body, want := range map[string]string{
		`{"new":"` + otherPassword + `"}`:                                 `400`,
		`{"current":"` + goodPassword + `"}`:                              `400`,
		`{"current":"not mine at all","new":"` + otherPassword + `"}`:     `401 Invalid credentials`,
		`{"current":"` + goodPassword + `","new":"short"}`:                `422 too_short`,
		`{"current":"` + goodPassword + `","new":"passwordpassword"}`:     `422 blocklisted`,
		`{"current":"` + goodPassword + `","new":"` + goodPassword + `"}`: `422 unchanged`,
		`{"current":["` + goodPassword + `"],"new":"x"}`:                  `400`,
	} {
		res := p.json("POST", "/auth/password", body)
		status, word, _ := strings.Cut(want, " ")
		if fmt.Sprint(res.Code) != status || !strings.Contains(res.Body.String(), word) {
			t.Errorf("%s: %d %s, want %s", body, res.Code, res.Body, want)
		}
		if res.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %s", body, res.Header().Get("Content-Type"))
		}
	}
	if w.account("ada").Password != before {
		t.Error("the password is another one")
	}
	if res := p.json("POST", "/auth/password", `{"current":"`+goodPassword+`","new":"`+otherPassword+`"}`); res.Code != 204 {
		t.Errorf("%d %s", res.Code, res.Body)
	}
	if w.account("ada").Password == before {
		t.Error("the password is the same")
	}
}

func TestASVS_7_4_3_AChangeEndsTheOtherSessions(t *testing.T) {
	w := newWorld(t)
	here, there := w.in(), w.in()
	old := maps.Clone(here.jar)
	res := here.post("/auth/password", "/auth/password", url.Values{"current": {goodPassword}, "new": {otherPassword}})
	here.want(res, 303, "/auth/profile")
	if page := here.get("/auth/profile"); page.Code != 200 || !strings.Contains(page.Body.String(), "All your other sessions have ended") {
		t.Errorf("%d %s", page.Code, page.Body)
	}
	if there.get("/auth/profile").Code != 303 {
		t.Error("another session goes on")
	}
	late := w.person()
	late.jar = old
	if late.get("/auth/sessions").Code == 200 {
		t.Error("the token of before goes on")
	}
	if res := w.person().login("ada", goodPassword); res.Code != 401 {
		t.Errorf("the old password: %d", res.Code)
	}
	if res := w.person().login("ada", otherPassword); res.Code != 303 {
		t.Errorf("the new password: %d", res.Code)
	}
}

// aged lets every proof of identity be too old: Options.ReauthAfter is a nanosecond.
func aged(t *testing.T) *world {
	t.Helper()
	return newWorldWith(t, func(o *worldOptions) { o.reauthAfter = time.Nanosecond })
}

func TestASVS_7_5_2_SessionsAreEndedAfterAProof(t *testing.T) {
	w := aged(t)
	p, other := w.in(), w.in()
	list := p.json("GET", "/auth/sessions", "")
	var doc struct {
		Sessions []struct {
			Handle, Method string
			Current        bool
		}
	}
	if err := json.Unmarshal(list.Body.Bytes(), &doc); err != nil || len(doc.Sessions) != 3 {
		t.Fatalf("%v %s", err, list.Body)
	}
	for _, s := range doc.Sessions {
		if s.Method != "password" {
			t.Errorf("method %q", s.Method)
		}
		if s.Current {
			continue
		}
		if res := p.json("DELETE", "/auth/sessions/"+s.Handle, ""); res.Code != 401 || !strings.Contains(res.Body.String(), "Recent authentication required") {
			t.Errorf("one: %d %s", res.Code, res.Body)
		}
		p.want(p.post("/auth/sessions", "/auth/sessions/"+s.Handle+"/end", url.Values{}), 303, "/auth/reauth?next=%2Fauth%2Fsessions")
	}
	for _, path := range []string{"/auth/sessions/end-others", "/auth/sessions/end-all"} {
		if res := p.json("POST", path, "{}"); res.Code != 401 || !strings.Contains(res.Body.String(), "Recent authentication required") {
			t.Errorf("%s: %d %s", path, res.Code, res.Body)
		}
		p.want(p.post("/auth/sessions", path, url.Values{}), 303, "/auth/reauth?next=%2Fauth%2Fsessions")
	}
	if other.get("/auth/profile").Code != 200 {
		t.Error("a session has ended without a proof")
	}
	// Signing out asks for nothing.
	for _, s := range doc.Sessions {
		if s.Current {
			p.want(p.post("/auth/sessions", "/auth/sessions/"+s.Handle+"/end", url.Values{}), 303, "/auth/login")
		}
	}
	other.want(other.post("/auth/profile", "/auth/logout", url.Values{}), 303, "/auth/login")
}

func TestASVS_7_5_1_AProofRenewsTheTokenAndLeadsBack(t *testing.T) {
	w := newWorld(t)
	p := w.in()
	old := p.jar["__Host-session"]
	for _, c := range []struct {
		password string
		status   int
		to       string
	}{{"", 400, ""}, {"wrong and wrong again", 401, ""}, {goodPassword, 303, "/auth/sessions"}} {
		res := p.post("/auth/reauth", "/auth/reauth", url.Values{"password": {c.password}, "next": {"/auth/sessions"}})
		p.want(res, c.status, c.to)
		if c.status != 303 && (p.jar["__Host-session"] != old || !strings.Contains(res.Body.String(), `aria-describedby="error"`)) {
			t.Errorf("%q: %s", c.password, res.Body)
		}
	}
	if p.jar["__Host-session"] == old {
		t.Error("ASVS 7.2.4: the token is the same")
	}
	if res := p.post("/auth/reauth", "/auth/reauth", url.Values{"password": {goodPassword}, "next": {"//evil.example"}}); res.Header().Get("Location") != "/auth/profile" {
		t.Errorf("to %s", res.Header().Get("Location"))
	}
}

// The end of all sessions is confirmed at that moment, and holds for this one too.
func TestASVS_7_5_3_EndAllIsConfirmedAndEndsAll(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		w := newWorldOver(t, sealed)
		w.cookie = nil
		p, other := w.in(), w.in()
		copied := w.person()
		copied.jar = maps.Clone(p.jar)
		res := p.post("/auth/sessions", "/auth/sessions/end-all", url.Values{})
		p.want(res, 303, "/auth/login")
		if !strings.Contains(res.Header().Get("Clear-Site-Data"), "cache") {
			t.Error("ASVS 14.3.1: the browser keeps what it has")
		}
		for name, q := range map[string]*person{"this one": p, "another": other, "a copy": copied} {
			if q.get("/auth/profile").Code != 303 {
				t.Errorf("sealed %v: %s goes on", sealed, name)
			}
		}
	}
}

func TestAttack_A55_NoBodyIsReplayed(t *testing.T) {
	w := aged(t)
	p, other := w.in(), w.in()
	p.want(p.post("/auth/sessions", "/auth/sessions/end-others", url.Values{"marker": {"kept-nowhere"}}), 303, "/auth/reauth?next=%2Fauth%2Fsessions")
	page := p.get("/auth/reauth?next=%2Fauth%2Fsessions").Body.String()
	if strings.Contains(page, "marker") || strings.Contains(page, "end-others") {
		t.Errorf("the page carries the request along:\n%s", page)
	}
	res := p.post("/auth/reauth?next=%2Fauth%2Fsessions", "/auth/reauth", url.Values{"password": {goodPassword}, "next": {"/auth/sessions"}})
	p.want(res, 303, "/auth/sessions") // 303: by GET, whatever the method was
	p.get("/auth/sessions")
	if other.get("/auth/profile").Code != 200 {
		t.Error("what was asked for before the proof has been done after it")
	}
}

func TestAttack_A17_NobodyIsSignedInByAnotherSite(t *testing.T) {
	w := newWorld(t)
	for name, change := range map[string]func(*http.Request){
		"cross-site": func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		"origin":     func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") },
		"no token":   func(*http.Request) {},
	} {
		for _, path := range []string{"/auth/login", "/auth/reauth", "/auth/password", "/auth/reset"} {
			p := w.person()
			p.get("/auth/login")
			r := httptest.NewRequest("POST", path, strings.NewReader("username=ada&password="+url.QueryEscape(goodPassword)))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			change(r)
			if res := p.send(r); res.Code != 403 || len(res.Result().Cookies()) != 0 {
				t.Errorf("%s, %s: %d, %v", name, path, res.Code, res.Result().Cookies())
			}
		}
	}
}

func TestASVS_6_4_1_APasswordOfAnotherIsChangedFirst(t *testing.T) {
	w := newWorld(t)
	if err := w.users.RequireChange(t.Context(), w.account("ada").ID); err != nil {
		t.Fatal(err)
	}
	p := w.person()
	p.want(p.login("ada", goodPassword), 303, "/auth/profile")
	p.want(p.get("/auth/profile"), 303, "/auth/password?next=%2Fauth%2Fprofile")
	p.want(p.get("/auth/sessions"), 303, "/auth/password?next=%2Fauth%2Fsessions")
	p.want(p.get("/auth/login"), 303, "/auth/password")
	if res := p.json("GET", "/auth/session", ""); res.Code != 403 || !strings.Contains(res.Body.String(), "Password change required") {
		t.Errorf("%d %s", res.Code, res.Body)
	}
	page := p.get("/auth/password?next=%2Fauth%2Fsessions").Body.String()
	for _, want := range []string{"before you go on", `name="next" value="/auth/sessions"`, `action="/auth/logout"`} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s in\n%s", want, page)
		}
	}
	res := p.post("/auth/password", "/auth/password", url.Values{"current": {goodPassword}, "new": {otherPassword}, "next": {"/auth/sessions"}})
	p.want(res, 303, "/auth/sessions")
	if p.get("/auth/sessions").Code != 200 {
		t.Error("still kept out")
	}
}
