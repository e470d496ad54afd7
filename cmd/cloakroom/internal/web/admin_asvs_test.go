package web_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/admin"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/auditlog"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/web"
	"github.com/cloakroom-dev/cloakroom/store"
)

func TestASVS_6_4_1_InitialLinksAreRandomShortLivedAndSingleUse(t *testing.T) {
	h := newHouse(t, false)
	ada := h.signIn("ada")
	res := ada.do("POST", "/auth/admin/users", `{"name":"bob"}`)
	first := tokenOf(t, linkOf(t, res, "invite"))
	bob := regexp.MustCompile(`"id":"([^"]+)"`).FindStringSubmatch(res.Body.String())[1]
	second := tokenOf(t, linkOf(t, ada.do("POST", "/auth/admin/users/"+bob+"/invite", ""), "invite"))
	for _, token := range []string{first, second} {
		if raw, err := base64.RawURLEncoding.DecodeString(token); err != nil || len(raw)*8 < 128 {
			t.Errorf("%q has less than 128 bits: %v", token, err)
		}
	}
	now := time.Now()
	claim := func(token string, at time.Time) error {
		_, err := h.users.ClaimLink(t.Context(), token, at, h.phc)
		return err
	}
	if first == second || !errors.Is(claim(first, now), sqlusers.ErrLinkGone) {
		t.Error("a newer link leaves the older one in force")
	}
	if !errors.Is(claim(second, now.Add(admin.InviteAge+time.Second)), sqlusers.ErrLinkGone) {
		t.Error("the link outlives its time")
	}
	if err := claim(second, now); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(claim(second, now), sqlusers.ErrLinkGone) {
		t.Error("the link works twice")
	}
}

// Whatever a request says of its host, the link that an administrator gets leads to
// where the service is: else whoever can have one requested gets the token.
func TestASVS_6_4_3_TheLinkNeverComesFromTheRequest(t *testing.T) {
	h := newHouse(t, false)
	bob := h.add("bob")
	ada := h.signIn("ada")
	for i, header := range []http.Header{
		{"Host": {"evil.example"}},
		{"X-Forwarded-Host": {"evil.example"}, "X-Forwarded-Proto": {"http"}},
		{"Forwarded": {"host=evil.example;proto=http"}},
		{"X-Host": {"evil.example"}, "X-Original-Url": {"https://evil.example/"}, "X-Forwarded-Prefix": {"//evil.example"}},
	} {
		ada.header = header
		if header.Get("Host") != "" {
			ada.header = http.Header{"Host": header["Host"], "Sec-Fetch-Site": {"same-origin"}}
		}
		res := ada.do("POST", "/auth/admin/users/"+bob.ID+"/reset", "")
		link := linkOf(t, res, "reset")
		page := ada.form("/auth/admin/users/"+bob.ID+"/reset", nil).Body.String()
		added := ada.do("POST", "/auth/admin/users", fmt.Sprintf(`{"name":"new-%d"}`, i))
		for _, got := range []string{link, linkOf(t, added, "invite")} {
			if !strings.HasPrefix(got, adminBase+"/") {
				t.Errorf("%v: the link is %s", header, got)
			}
		}
		if !strings.Contains(page, adminBase+"/reset?token=") || strings.Contains(page, "evil.example") {
			t.Errorf("%v: %s", header, page)
		}
		ada.header = nil
	}
	// An hour at most, once, and the newest alone.
	link := linkOf(t, ada.do("POST", "/auth/admin/users/"+bob.ID+"/reset", ""), "reset")
	token, now := tokenOf(t, link), time.Now()
	if _, err := h.users.CheckLink(t.Context(), token, now.Add(time.Hour+time.Second)); !errors.Is(err, sqlusers.ErrLinkGone) {
		t.Errorf("after an hour: %v", err)
	}
	bobHere := h.signIn("bob")
	if _, err := h.users.ClaimLink(t.Context(), token, now, h.phc); err != nil {
		t.Fatal(err)
	}
	if bobHere.alive() {
		t.Error("a session outlives the reset")
	}
}

// No address of the administration takes a password, under whatever name, and none
// shows one.
func TestASVS_6_4_6_NoAdministratorChoosesAPassword(t *testing.T) {
	h := newHouse(t, false)
	bob := h.add("bob")
	ada := h.signIn("ada")
	n := 0
	for path, methods := range h.site.Routes() {
		if !strings.HasPrefix(path, "/auth/admin") {
			continue
		}
		path = strings.NewReplacer("{id}", bob.ID, "{handle}", "AAAAAAAAAAAAAAAA").Replace(path)
		for _, method := range methods {
			if method == http.MethodGet || method == http.MethodHead {
				continue
			}
			n++
			for _, field := range []string{"password", "new", "new_password", "Password", "phc", "hash", "passwd", "current"} {
				body := fmt.Sprintf(`{%q:"a password of the administrator","name":"bob","roles":[]}`, field)
				if res := ada.do(method, path, body); res.Code != 400 && res.Code != 404 {
					t.Errorf("%s %s takes %s: %d %s", method, path, field, res.Code, res.Body)
				}
				if method == http.MethodPost {
					if res := ada.form(path, url.Values{field: {"a password of the administrator"}, "name": {"bob"}}); res.Code != 400 {
						t.Errorf("%s takes %s by a form: %d", path, field, res.Code)
					}
				}
			}
		}
	}
	if n < 14 {
		t.Errorf("only %d changes", n)
	}
	if after := h.read(bob.ID); after.Password != bob.Password || after.Disabled || after.Epoch != bob.Epoch {
		t.Errorf("%+v", after)
	}
}

// Fields that are none of the form's change nothing.
func TestASVS_8_2_3_FieldsOfAnAccountAreNotAssignedEnMasse(t *testing.T) {
	h := newHouse(t, false)
	bob := h.add("bob")
	ada := h.signIn("ada")
	for _, extra := range []string{
		`"id":"chosen"`, `"disabled":true`, `"epoch":0`, `"must_change":false`, `"created":"2000-01-01T00:00:00Z"`,
		`"canonical":"ada"`, `"admin":true`, `"has_password":true`, `"link":{}`, `"Roles":["admin"]`, `"user_id":"x"`,
	} {
		for path, body := range map[string]string{
			"/auth/admin/users":                       `{"name":"mallory",` + extra + `}`,
			"/auth/admin/users/" + bob.ID + "/rename": `{"name":"mallory",` + extra + `}`,
			"/auth/admin/users/" + bob.ID + "/roles":  `{"roles":["x"],` + extra + `}`,
		} {
			want(t, path+" "+extra, ada.do("POST", path, body), 400)
		}
	}
	want(t, "a field in the address", ada.do("POST", "/auth/admin/users?next=/x", `{"name":"mallory"}`), 400)
	if after := h.read(bob.ID); after.Name != "bob" || len(after.Roles) > 0 || after.Epoch != bob.Epoch {
		t.Errorf("%+v", after)
	}
	if _, err := h.users.ByName(t.Context(), "mallory"); err == nil {
		t.Error("mallory was made")
	}
}

func TestASVS_3_2_2_TextFromOutsideIsEscaped(t *testing.T) {
	h := newHouse(t, false)
	const name, agent = `<img/src=x/onerror=1>`, `<script>alert(1)</script>`
	evil := h.add(name, "a")
	v := &visitor{h: h, header: http.Header{"User-Agent": {agent}, "X-Forwarded-For": {"<b>1</b>"}}}
	v.do("POST", "/auth/login", `{"username":"`+name+`","password":"`+goodPassword+`"}`)
	(&visitor{h: h}).do("POST", "/auth/login", `{"username":"\"><svg/onload=1>","password":"wrong wrong wrong"}`)
	ada := h.signIn("ada")
	if err := h.audit.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"/auth/admin/users", "/auth/admin/users?q=" + url.QueryEscape(`"><svg/onload=1>`), "/auth/admin/users?role=" + url.QueryEscape(`"><svg/onload=1>`),
		"/auth/admin/users/" + evil.ID, "/auth/admin/audit", "/auth/admin/audit?user=" + url.QueryEscape(`"><svg/onload=1>`),
		"/auth/admin/audit?addr=" + url.QueryEscape(`"><svg/onload=1>`), "/auth/admin/suspicious",
	} {
		res := ada.page(path)
		want(t, path, res, 200)
		for _, tag := range []string{"<img", "<script>", "<svg/", "<b>"} {
			if strings.Contains(res.Body.String(), tag) {
				t.Errorf("%s: %s stands in the page", path, tag)
			}
		}
	}
	if body := ada.page("/auth/admin/users").Body.String(); !strings.Contains(body, html.EscapeString(name)) {
		t.Errorf("the name is missing:\n%s", body)
	}
	res := ada.form("/auth/admin/users", url.Values{"name": {`a "><svg/onload=1>`}, "roles": {`"><svg/onload=1>`}})
	if want(t, "a bad name", res, 400); strings.Contains(res.Body.String(), "<svg/") || !strings.Contains(res.Body.String(), "&#34;&gt;&lt;svg/onload=1&gt;") {
		t.Errorf("%s", res.Body)
	}
}

func TestASVS_16_3_2_RefusalsAreLogged(t *testing.T) {
	h := newHouse(t, false)
	h.add("bob")
	ada, bob := h.signIn("ada"), h.signIn("bob")
	h.log.take(t)
	bob.do("GET", "/auth/admin/users", "")
	bob.do("DELETE", "/auth/admin/sessions", "")
	ada.late = true
	n := 0
	for _, line := range h.log.take(t) {
		if line["msg"] == "access_refused" && line["user"] == bob.id && line["reason"] == "role" && line["level"] == "WARN" {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d lines", n)
	}
	// They are in the audit log that administrators read, too.
	if err := h.audit.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	ada.late = false
	body := ada.do("GET", "/auth/admin/audit?kind=access_refused&user=bob", "").Body.String()
	if strings.Count(body, `"kind":"access_refused"`) != 2 {
		t.Errorf("%s", body)
	}
}

// Nothing that is asked of the administration has a hash, key, token or ID of a
// session in its answer.
func TestAttack_A50_NoHashOrSecretInAnyBody(t *testing.T) {
	h := newHouse(t, false)
	bob := h.add("bob", "staff")
	h.signIn("bob")
	ada := h.signIn("ada")
	ada.do("POST", "/auth/admin/users/"+bob.ID+"/disable", "")
	ada.do("POST", "/auth/admin/users/"+bob.ID+"/enable", "")
	h.signIn("bob")
	token := tokenOf(t, linkOf(t, ada.do("POST", "/auth/admin/users/"+bob.ID+"/reset", ""), "reset"))
	secrets := []string{"$argon2", bob.Password, token, goodPassword, ada.cookie.Value}
	recs, err := h.store.Scan(t.Context(), store.ID{}, 100)
	if err != nil || len(recs) == 0 {
		t.Fatal(err)
	}
	for _, rec := range recs {
		secrets = append(secrets, rec.ID.String())
	}
	if err := h.audit.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	n := 0
	for path, methods := range h.site.Routes() {
		if !strings.HasPrefix(path, "/auth/admin") || !slices.Contains(methods, http.MethodGet) {
			continue
		}
		n++
		path = strings.ReplaceAll(path, "{id}", bob.ID)
		for _, body := range []string{ada.do("GET", path, "").Body.String(), ada.page(path).Body.String()} {
			for _, secret := range secrets {
				if strings.Contains(body, secret) {
					t.Errorf("%s shows %.12s…", path, secret)
				}
			}
			if strings.Contains(body, `"password":"`) || strings.Contains(body, `"epoch"`) {
				t.Errorf("%s: %s", path, body)
			}
		}
	}
	if n < 7 {
		t.Errorf("only %d pages", n)
	}
	for _, line := range h.log.take(t) {
		for _, secret := range secrets {
			if text := fmt.Sprint(line); strings.Contains(text, secret) {
				t.Errorf("the log has %.12s…: %s", secret, text)
			}
		}
	}
}

// The last of 100,000 users costs what the first does, and what a few cost: the page
// is measured against the same page of a service with 200.
func TestUsersPagesStayFastWith100000(t *testing.T) {
	few, many := newHouse(t, false), newHouse(t, false)
	fill := func(h *house, n int) {
		_, err := h.db.Exec(t.Context(), `WITH RECURSIVE n(i) AS (VALUES(0) UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?)
			INSERT INTO cloakroom_user (id, name, canonical, roles, admin, password, epoch, disabled, created, updated)
			SELECT CAST(printf('id-%06d', i) AS BLOB), CAST(printf('user-%06d', i) AS BLOB), CAST(printf('user-%06d', i) AS BLOB),
				CAST('["staff"]' AS BLOB), 0, CAST('' AS BLOB), 1, 0, 0, 0 FROM n`, n)
		if err != nil {
			t.Fatal(err)
		}
	}
	fill(few, 200)
	fill(many, 100_000)
	cost := func(h *house, path string) time.Duration {
		ada := h.signIn("ada")
		best := time.Hour
		for range 7 {
			began := time.Now()
			res := ada.do("GET", path, "")
			best = min(best, time.Since(began))
			if res.Code != 200 || strings.Count(res.Body.String(), `"id"`) < 10 {
				t.Fatalf("%s: %d %.300s", path, res.Code, res.Body)
			}
		}
		return best
	}
	base := cost(few, "/auth/admin/users")
	for _, path := range []string{
		"/auth/admin/users", "/auth/admin/users?after=user-099900", "/auth/admin/users?role=staff&after=user-050000", "/auth/admin/users?state=enabled&after=user-099000",
	} {
		ratio := float64(cost(many, path)) / float64(base)
		t.Logf("%s: %.2f times the page of 200 users", path, ratio)
		if ratio > 8 {
			t.Errorf("%s of 100,000 costs %.1f times the page of 200", path, ratio)
		}
	}
	// A part of a name is looked for in all of them: a second at the very most.
	t.Logf("a part of a name among 100,000: %v", cost(many, "/auth/admin/users?q=9999"))
}

func TestPagesOfUsersMeetEveryUserOnce(t *testing.T) {
	h := newHouse(t, false)
	for i := range 23 {
		h.add(fmt.Sprintf("user-%02d", i))
	}
	ada := h.signIn("ada")
	seen, after := make(map[string]int), ""
	for range 10 {
		body := ada.do("GET", "/auth/admin/users?limit=5&q=user&after="+url.QueryEscape(after), "").Body.String()
		for _, m := range regexp.MustCompile(`"name":"([^"]+)"`).FindAllStringSubmatch(body, -1) {
			seen[m[1]]++
		}
		m := regexp.MustCompile(`"next":"([^"]+)"`).FindStringSubmatch(body)
		if m == nil {
			break
		}
		after = m[1]
	}
	if len(seen) != 23 {
		t.Errorf("%d users: %v", len(seen), seen)
	}
	for name, n := range seen {
		if n != 1 {
			t.Errorf("%s stands there %d times", name, n)
		}
	}
	for _, bad := range []string{"?state=odd", "?limit=0", "?limit=201", "?limit=x"} {
		want(t, bad, ada.do("GET", "/auth/admin/users"+bad, ""), 400)
	}
	page := ada.page("/auth/admin/users?limit=5&q=user&state=enabled").Body.String()
	if !strings.Contains(page, `href="/auth/admin/users?after=user-04&amp;limit=5&amp;q=user&amp;state=enabled"`) {
		t.Errorf("no way on:\n%s", page)
	}
}

// Every kind of entry has words, and every text a use in a name space of its own.
func TestEveryKindOfEventHasWords(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../../../internal/event/names.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	ast.Inspect(file, func(node ast.Node) bool {
		if lit, ok := node.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			name, _ := strconv.Unquote(lit.Value)
			if auditlog.Kept(name) {
				if n++; web.KindWords(name) == name {
					t.Errorf("no words for %s", name)
				}
			}
		}
		return true
	})
	if n < 30 {
		t.Errorf("%d kinds", n)
	}
	for name := range web.AdminTexts() {
		if _, twice := web.CommonTexts()[name]; twice {
			t.Errorf("%s is a text twice", name)
		}
	}
}
