package web_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
)

// rules are the rows of the table in docs/roles.md: what becomes of each visitor, by
// method and path.
func rules(t *testing.T) (visitors []string, rows map[string][]string) {
	t.Helper()
	doc, err := os.ReadFile("../../../../docs/roles.md")
	if err != nil {
		t.Fatal(err)
	}
	rows = make(map[string][]string)
	for line := range strings.Lines(string(doc)) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| ---") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i, c := range cells {
			cells[i] = strings.Trim(c, " `")
		}
		if cells[0] == "method" {
			visitors = cells[2:]
			continue
		}
		rule := cells[0] + " " + cells[1]
		if rows[rule] != nil || len(cells) != len(visitors)+2 {
			t.Errorf("docs/roles.md: %s stands there twice, or lacks a cell", rule)
		}
		rows[rule] = cells[2:]
	}
	if len(visitors) != 7 || len(rows) == 0 {
		t.Fatalf("docs/roles.md: %d visitors, %d rules", len(visitors), len(rows))
	}
	return visitors, rows
}

// verdict is what a guard made of a request, in the words of the table.
func verdict(res *httptest.ResponseRecorder) string {
	detail := ""
	if m := regexp.MustCompile(`"detail":"([^"]*)"`).FindStringSubmatch(res.Body.String()); m != nil {
		detail = m[1]
	}
	switch {
	case res.Code == 401 && detail == "Not authenticated":
		return "401"
	case res.Code == 401 && detail == "Recent authentication required":
		return "proof"
	case res.Code == 403 && detail == "Forbidden":
		return "403"
	case res.Code == 403 && detail == "Password change required":
		return "change"
	case res.Code == 401, res.Code == 403:
		return "another refusal: " + detail
	case res.Code >= 500:
		return "a fault"
	}
	return "yes"
}

// guests are the visitors of the table. Each is asked for anew before a request, as the
// one before may have signed them out.
type guests struct {
	h     *house
	known map[string]*visitor
}

func (g *guests) visitor(who string) *visitor {
	h, name := g.h, strings.NewReplacer(" ", "-", ",", "").Replace(who)
	switch who {
	case "anonymous":
		return &visitor{h: h}
	case "disabled":
		// Whose account is disabled behind the back of a session that lives.
		u := h.account(name, sqlusers.NewUser{Name: name, Password: h.phc})
		if err := h.users.SetDisabled(h.t.Context(), u, false); err != nil {
			h.t.Fatal(err)
		}
		v := h.signIn(name)
		if err := h.users.SetDisabled(h.t.Context(), u, true); err != nil {
			h.t.Fatal(err)
		}
		return v
	}
	v := g.known[who]
	if v == nil || v.token() == "" {
		n := sqlusers.NewUser{Name: name, Password: h.phc, MustChange: who == "must change"}
		switch {
		case strings.HasPrefix(who, "admin"):
			n.Roles = []string{sqlusers.Admin}
		case who == "other role":
			n.Roles = []string{"staff", "administrator", "Admin", "admin2"}
		}
		h.account(name, n)
		v = h.signIn(name)
		v.csrf = v.token()
		g.known[who] = v
	}
	v.late = strings.Contains(who, "old proof")
	return v
}

// token returns the token of the session's forms, "" if nobody is signed in.
func (v *visitor) token() string {
	late := v.late
	v.late = false
	defer func() { v.late = late }()
	res := v.page("/auth/password")
	m := regexp.MustCompile(`name="csrf_token" value="([^"]+)"`).FindStringSubmatch(res.Body.String())
	if res.Code != 200 || m == nil {
		return ""
	}
	return m[1]
}

// account returns the ID of the user of this name, who is made if there is none.
func (h *house) account(name string, n sqlusers.NewUser) string {
	h.t.Helper()
	if u, err := h.users.ByName(h.t.Context(), name); err == nil {
		return u.ID
	}
	u, err := h.users.Create(h.t.Context(), n)
	if err != nil {
		h.t.Fatal(err)
	}
	return u.ID
}

func TestASVS_8_2_1_EveryAddressHasARuleAndKeepsIt(t *testing.T) {
	h := newHouse(t, false)
	visitors, rows := rules(t)
	g := &guests{h, make(map[string]*visitor)}
	met := make(map[string]bool)
	hashed := regexp.MustCompile(`^/auth/(style|show)\..*`)
	for pattern, methods := range h.site.Routes() {
		for _, method := range methods {
			if method == http.MethodHead {
				continue
			}
			rule := method + " " + hashed.ReplaceAllString(strings.TrimSuffix(pattern, "{$}"), "/auth/$1")
			cells := rows[rule]
			if cells == nil {
				t.Errorf("%s has no rule in docs/roles.md", rule)
				continue
			}
			met[rule] = true
			for i, who := range visitors {
				v := g.visitor(who)
				target := h.account("target", sqlusers.NewUser{Name: "target", Password: h.phc, Roles: []string{"staff"}})
				before := h.read(target)
				path := strings.NewReplacer("{$}", "", "{id}", target, "{handle}", "AAAAAAAAAAAAAAAA").Replace(pattern)
				body := ""
				if method != http.MethodGet {
					body = `{}`
				}
				res := v.do(method, path, body)
				if got := verdict(res); got != cells[i] {
					t.Errorf("%s by %q: %s (%d), the rule is %s: %.200s", rule, who, got, res.Code, cells[i], res.Body)
				}
				if cells[i] == "yes" {
					continue
				}
				if after, err := h.users.ByID(t.Context(), target); err != nil || after.Epoch != before.Epoch || after.Disabled != before.Disabled ||
					!slices.Equal(after.Roles, before.Roles) || after.Name != before.Name || after.MustChange != before.MustChange {
					t.Errorf("%s by %q was refused and done: %+v became %+v, %v", rule, who, before, after, err)
				}
			}
		}
	}
	for rule := range rows {
		if !met[rule] {
			t.Errorf("docs/roles.md has a rule for %s, which is no address", rule)
		}
	}
	// What has no address is nobody's, and what has no such method neither.
	for _, who := range visitors {
		v := g.visitor(who)
		for _, path := range []string{"/auth/admin/", "/auth/admin/users/", "/auth/administrator", "/auth/admin/users/x/password", "/auth/ADMIN", "/auth/admin/config", "/admin"} {
			want(t, who+" asks for "+path, v.do("GET", path, ""), 404)
		}
		want(t, who+" puts", v.do("PUT", "/auth/admin/users", `{}`), 405)
	}
}
