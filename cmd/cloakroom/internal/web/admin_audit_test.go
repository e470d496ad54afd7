package web_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// stories are some events of bob's and of an attacker's.
func stories(t *testing.T, h *house) (ada *visitor, bob string) {
	t.Helper()
	bob = h.add("bob").ID
	attacker := &visitor{h: h}
	for range 6 {
		attacker.do("POST", "/auth/login", `{"username":"bob","password":"wrong wrong wrong"}`)
	}
	ada = h.signIn("ada")
	ada.do("POST", "/auth/admin/users/"+bob+"/unlock", "")
	ada.do("POST", "/auth/admin/users/"+bob+"/roles", `{"roles":["staff"]}`)
	if err := h.audit.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	return ada, bob
}

type entriesDoc struct {
	Entries []struct {
		Seq                        int64
		Time                       time.Time
		Kind, User, Account, Actor string
		Suspicious                 bool
	}
	Next int64
}

func entriesOf(t *testing.T, res *httptest.ResponseRecorder) (doc entriesDoc) {
	t.Helper()
	if err := json.Unmarshal(res.Body.Bytes(), &doc); err != nil || res.Code != 200 {
		t.Fatalf("%d %s: %v", res.Code, res.Body, err)
	}
	return doc
}

func TestAuditLogIsFilteredAndPaged(t *testing.T) {
	h := newHouse(t, false)
	ada, bob := stories(t, h)
	all := entriesOf(t, ada.do("GET", "/auth/admin/audit", ""))
	if len(all.Entries) < 8 {
		t.Fatalf("%d entries", len(all.Entries))
	}
	var paged []int64
	for before := ""; ; {
		doc := entriesOf(t, ada.do("GET", "/auth/admin/audit?limit=3"+before, ""))
		for _, e := range doc.Entries {
			paged = append(paged, e.Seq)
		}
		if doc.Next == 0 {
			break
		}
		before = fmt.Sprintf("&before=%d", doc.Next)
	}
	for i, e := range all.Entries {
		if i > 0 && e.Time.After(all.Entries[i-1].Time) {
			t.Error("not the newest first")
		}
		if i < len(paged) && paged[i] != e.Seq {
			t.Errorf("page %d: %d, want %d", i/3, paged[i], e.Seq)
		}
	}
	if len(paged) != len(all.Entries) {
		t.Errorf("%d entries on pages, %d in all", len(paged), len(all.Entries))
	}
	now := time.Now().UTC()
	for filter, n := range map[string]int{
		"kind=roles_set":                1,
		"kind=roles_set&user=bob":       1,
		"kind=roles_set&user=" + bob:    1,
		"kind=roles_set&user=BOB":       1,
		"kind=roles_set&user=ada":       1, // who did it
		"kind=roles_set&user=nobody":    0,
		"kind=roles_set&addr=192.0.2.1": 1,
		"kind=roles_set&addr=192.0.2.2": 0,
		"kind=roles_set&from=" + url.QueryEscape(now.Add(time.Hour).Format(time.RFC3339)):         0,
		"kind=roles_set&to=" + url.QueryEscape(now.Add(time.Hour).Format("2006-01-02T15:04")):     1,
		"kind=roles_set&to=" + url.QueryEscape(now.Add(-time.Hour).Format("2006-01-02T15:04:05")): 0,
		"kind=roles_set&suspicious=true": 0,
	} {
		if doc := entriesOf(t, ada.do("GET", "/auth/admin/audit?"+filter, "")); len(doc.Entries) != n {
			t.Errorf("%s: %d, want %d", filter, len(doc.Entries), n)
		}
	}
	for _, bad := range []string{"from=yesterday", "to=x", "before=x", "before=-1", "limit=0", "limit=1001", "suspicious=maybe"} {
		want(t, bad, ada.do("GET", "/auth/admin/audit?"+bad, ""), 400)
	}
	page := ada.page("/auth/admin/audit?kind=roles_set&user=bob").Body.String()
	for _, text := range []string{
		"Roles set", `<a href="/auth/admin/users/` + bob + `">bob</a>`, `by <a href="/auth/admin/users/` + ada.id + `">ada</a>`,
		`href="/auth/admin/audit/export.csv?kind=roles_set&amp;user=bob"`, `<option value="roles_set" selected>`,
	} {
		if !strings.Contains(page, text) {
			t.Errorf("the page lacks %s", text)
		}
	}
}

func TestAuditLogIsExported(t *testing.T) {
	h := newHouse(t, false)
	ada, bob := stories(t, h)
	h.log.take(t)
	res := ada.do("GET", "/auth/admin/audit/export.jsonl?user=bob", "")
	want(t, "jsonl", res, 200)
	n := 0
	for line := range strings.Lines(res.Body.String()) {
		var e struct{ Seq int64 }
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Seq == 0 {
			t.Errorf("%s: %v", line, err)
		}
		n++
	}
	if n < 3 || !regexp.MustCompile(`^attachment; filename="cloakroom-audit-\d{8}-\d{6}\.jsonl"$`).MatchString(res.Header().Get("Content-Disposition")) {
		t.Errorf("%d lines, %v", n, res.Header())
	}
	exported := 0
	for _, line := range h.log.take(t) {
		if line["msg"] == "audit_exported" {
			exported++
			if line["actor"] != ada.id || int(line["count"].(float64)) != n {
				t.Errorf("%v", line)
			}
		}
	}
	if exported != 1 {
		t.Errorf("%d events", exported)
	}
	res = ada.do("GET", "/auth/admin/audit/export.csv?kind=roles_set", "")
	rows, err := csv.NewReader(res.Body).ReadAll()
	if err != nil || len(rows) != 2 || res.Header().Get("Content-Type") != "text/csv; charset=utf-8" {
		t.Errorf("%d rows, %v, %v", len(rows), err, res.Header())
	}
	if len(rows) == 2 && !strings.Contains(strings.Join(rows[1], ","), bob) {
		t.Errorf("%v", rows)
	}
	res = ada.do("GET", "/auth/admin/audit/export.jsonl?kind=stop", "")
	if want(t, "nothing", res, 200); res.Body.Len() != 0 || res.Header().Get("Content-Disposition") == "" {
		t.Errorf("%v %s", res.Header(), res.Body)
	}
	want(t, "a bad filter", ada.do("GET", "/auth/admin/audit/export.csv?from=x", ""), 400)
}

// TestNoOtherSiteExports: an export stands in the log under the administrator's name, so that
// no link on another site makes one.
func TestNoOtherSiteExports(t *testing.T) {
	h := newHouse(t, false)
	ada, _ := stories(t, h)
	from := func(path, site string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", "/auth/admin/audit/"+path, nil)
		r.Header.Set("Sec-Fetch-Site", site)
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		r.Header.Set("Sec-Fetch-Dest", "document")
		return ada.send(r)
	}
	h.log.take(t)
	for _, site := range []string{"cross-site", "same-site"} {
		for _, path := range []string{"export.jsonl", "export.csv"} {
			want(t, site, from(path, site), 403)
		}
	}
	for _, line := range h.log.take(t) {
		if line["msg"] == "audit_exported" {
			t.Errorf("%v", line)
		}
	}
	want(t, "our own", from("export.csv", "same-origin"), 200)
	want(t, "typed", from("export.csv", "none"), 200)
}

// TestWhatWasTypedIsNobody: who types an ID or "console" where a name belongs is not shown as
// that account, or as the console.
func TestWhatWasTypedIsNobody(t *testing.T) {
	h := newHouse(t, false)
	ada, bob := stories(t, h)
	attacker := &visitor{h: h}
	attacker.do("POST", "/auth/login", `{"username":"`+ada.id+`","password":"wrong wrong wrong"}`)
	attacker.do("POST", "/auth/login", `{"username":"console","password":"wrong wrong wrong"}`)
	if err := h.audit.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	page := ada.page("/auth/admin/audit?kind=login_refused").Body.String()
	if strings.Contains(page, "the console") || strings.Contains(page, `/auth/admin/users/`+ada.id+`"`) {
		t.Errorf("what was typed passes for somebody:\n%s", page)
	}
	if !strings.Contains(page, `/auth/admin/users/`+bob+`"`) || !strings.Contains(page, ada.id) {
		t.Errorf("the page lacks who was meant:\n%s", page)
	}
}

func TestSuspiciousActivityStandsOut(t *testing.T) {
	h := newHouse(t, false)
	ada, bob := stories(t, h)
	body := ada.do("GET", "/auth/admin/suspicious", "").Body.String()
	var doc struct {
		Total int
		Kinds []struct {
			What  string
			Count int
		}
		Sources  []struct{ What string }
		Accounts []struct{ What string }
		Entries  []struct{ Suspicious bool }
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Total == 0 || len(doc.Kinds) == 0 || len(doc.Sources) != 1 || len(doc.Accounts) != 1 || doc.Accounts[0].What != bob || len(doc.Entries) == 0 {
		t.Errorf("%s", body)
	}
	page := ada.page("/auth/admin/suspicious").Body.String()
	for _, text := range []string{`class="marked"`, ">bob</a>", "user=" + bob} {
		if !strings.Contains(page, text) {
			t.Errorf("the page lacks %s:\n%s", text, page)
		}
	}
}

// The pages of the administration are as accessible as the others.
func TestAdminPagesAreAccessible(t *testing.T) {
	h := newHouse(t, false)
	ada, bob := stories(t, h)
	for _, path := range []string{
		"/auth/admin", "/auth/admin/users?q=nobody-at-all", "/auth/admin/users/" + bob, "/auth/admin/users/" + ada.id, "/auth/admin/sessions", "/auth/admin/audit",
		"/auth/admin/audit?kind=stop", "/auth/admin/suspicious",
	} {
		res := ada.page(path)
		want(t, path, res, 200)
		accessible(t, path, res.Body.String())
	}
	res := ada.form("/auth/admin/users/"+bob+"/reset", nil)
	accessible(t, "the link", res.Body.String())
	res = ada.form("/auth/admin/users/"+bob+"/remove", url.Values{"name": {"not-bob"}})
	if want(t, "remove", res, 400); !strings.Contains(res.Body.String(), `<details class="act" open><summary class="button danger">Remove`) {
		t.Errorf("%s", res.Body)
	}
	accessible(t, "the name not repeated", res.Body.String())
}

func accessible(t *testing.T, name, page string) {
	t.Helper()
	if n := strings.Count(page, "<h1"); n != 1 {
		t.Errorf("%s: %d headings of the first rank", name, n)
	}
	ids := make(map[string]int)
	for _, m := range regexp.MustCompile(` id="([^"]+)"`).FindAllStringSubmatch(page, -1) {
		if ids[m[1]]++; ids[m[1]] > 1 {
			t.Errorf("%s: two are called %s", name, m[1])
		}
	}
	for _, m := range regexp.MustCompile(`<(?:input|select) [^>]*>`).FindAllString(page, -1) {
		if strings.Contains(m, `type="hidden"`) || strings.Contains(m, `type="checkbox"`) {
			continue // a box stands within its label
		}
		id := regexp.MustCompile(` id="([^"]+)"`).FindStringSubmatch(m)
		if id == nil || !strings.Contains(page, `<label for="`+id[1]+`">`) {
			t.Errorf("%s: no label for %s", name, m)
		}
	}
	for _, m := range regexp.MustCompile(`aria-(?:describedby|labelledby)="([^"]+)"`).FindAllStringSubmatch(page, -1) {
		for id := range strings.FieldsSeq(m[1]) {
			if ids[id] == 0 {
				t.Errorf("%s: nothing is called %s", name, id)
			}
		}
	}
	for _, odd := range []string{"%!", "<no value>", "style=", "onclick", "<script"} {
		if strings.Contains(page, odd) {
			t.Errorf("%s: %s stands in the page", name, odd)
		}
	}
}
