package web_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/password"
)

// policyTable is the rows of the first table below a heading of the security policy,
// without its head; blanks around cells are gone.
func policyTable(t *testing.T, heading string) (rows [][]string) {
	t.Helper()
	doc, err := os.ReadFile("../../../../docs/security-policy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(doc), "\n## "+heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for line := range strings.Lines(section) {
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i, c := range cells {
			cells[i] = strings.TrimSpace(c)
		}
		rows = append(rows, cells)
	}
	if !ok || len(rows) < 4 {
		t.Fatalf("the security policy has no table below %q", heading)
	}
	return rows[2:]
}

// The rules for every address are written down, for every kind of visitor, and what is
// not written down is nobody's.
func TestASVS_8_1_1_TheRulesAreWrittenDown(t *testing.T) {
	h := newHouse(t, false)
	visitors, rows := rules(t)
	hashed := regexp.MustCompile(`^/auth/(style|show)\..*`)
	exist := make(map[string]bool)
	for pattern, methods := range h.site.Routes() {
		for _, method := range methods {
			if method != http.MethodHead {
				exist[method+" "+hashed.ReplaceAllString(strings.TrimSuffix(pattern, "{$}"), "/auth/$1")] = true
			}
		}
	}
	documented := slices.Sorted(maps.Keys(rows))
	if existing := slices.Sorted(maps.Keys(exist)); !slices.Equal(documented, existing) {
		t.Errorf("documented are\n%q, there are\n%q", documented, existing)
	}
	for _, who := range []string{"anonymous", "user", "other role", "admin", "disabled"} {
		if !slices.Contains(visitors, who) {
			t.Errorf("no column for %s", who)
		}
	}
	// What is under /auth/admin is for administrators, and nobody else's column says yes.
	for rule, cells := range rows {
		for i, who := range visitors {
			if strings.Contains(rule, "/auth/admin") && !strings.HasPrefix(who, "admin") && cells[i] == "yes" {
				t.Errorf("%s is open to %s", rule, who)
			}
		}
	}
	doc, err := os.ReadFile("../../../../docs/roles.md")
	if err != nil || !strings.Contains(strings.Join(strings.Fields(string(doc)), " "), "What has no address is answered 404, and another method 405, whoever asks") {
		t.Errorf("nothing is said about the rest: %v", err)
	}
}

// Every field of an account that is shown is in the table of who writes it, and the
// addresses that write it are for those who may.
func TestASVS_8_1_2_FieldsAndWhoWritesThem(t *testing.T) {
	h := newHouse(t, false)
	bob := h.add("bob")
	ada := h.signIn("ada")
	var doc struct{ User map[string]any }
	res := ada.do("GET", "/auth/admin/users/"+bob.ID, "")
	if err := json.Unmarshal(res.Body.Bytes(), &doc); err != nil || len(doc.User) < 8 {
		t.Fatalf("%v: %s", err, res.Body)
	}
	visitors, rows := rules(t)
	documented := make(map[string]bool)
	name := regexp.MustCompile("`([a-z_]+)`")
	route := regexp.MustCompile("`(POST /[^`]+)`")
	for _, row := range policyTable(t, "Who may write what") {
		if len(row) != 3 {
			t.Fatalf("%q", row)
		}
		for _, m := range name.FindAllStringSubmatch(row[0], -1) {
			documented[m[1]] = true
		}
		for _, m := range route.FindAllStringSubmatch(row[2], -1) {
			cells := rows[m[1]]
			if cells == nil {
				t.Errorf("%s: there is no address %s", row[0], m[1])
				continue
			}
			for i, who := range visitors {
				if row[1] == "administrators" && !strings.HasPrefix(who, "admin") && cells[i] == "yes" {
					t.Errorf("%s: %s is open to %s", row[0], m[1], who)
				}
			}
		}
	}
	for field := range doc.User {
		if !documented[field] {
			t.Errorf("nobody has said who writes %s", field)
		}
	}
	for field := range documented {
		if _, shown := doc.User[field]; !shown {
			t.Errorf("%s stands in the table and not in an account: %v", field, doc.User)
		}
	}
	// Whatever the table gives to others, a user cannot write.
	v := h.signIn("bob")
	before := h.read(bob.ID)
	var all []string
	for field := range documented {
		all = append(all, fmt.Sprintf(`%q:"1"`, field))
	}
	for rule := range rows {
		method, path, _ := strings.Cut(rule, " ")
		if method != "GET" && !strings.Contains(path, "logout") && !strings.Contains(path, "end") {
			v.do(method, strings.NewReplacer("{id}", bob.ID, "{handle}", "AAAAAAAAAAAAAAAA").Replace(path), "{"+strings.Join(all, ",")+"}")
		}
	}
	after := h.read(bob.ID)
	if after.Name != before.Name || len(after.Roles) > 0 || after.Disabled || after.MustChange || after.ID != before.ID || after.Password != before.Password {
		t.Errorf("%+v became %+v", before, after)
	}
}

// readers are the places in the sources where something of a request beside its path,
// query and body is looked at.
var readers = regexp.MustCompile(`Header(?:\.Get|\.Values)?[(\[]([^)\]]+)[)\]]|\.(UserAgent|Referer|RemoteAddr|TLS|BasicAuth|Host)\b`)

// What decisions may look at is written down; what the sources look at is that, and
// nothing else.
func TestASVS_8_1_3_WhatDecisionsLookAtIsWrittenDown(t *testing.T) {
	var text strings.Builder
	for _, row := range policyTable(t, "What decisions look at") {
		text.WriteString(strings.Join(row, " | ") + "\n")
	}
	for _, want := range []string{"token of the session", "last activity", "roles and epoch", "age of the proof", "wrong passwords", "known device", "network of the client",
		"`Origin`", "`Sec-Fetch-Site`", "address and browser", "time of day, place", "strength of the authentication"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no word about %s", want)
		}
	}
	// The headers that are read, and for what: those of the answer's form decide nothing.
	known := map[string]bool{
		`"Cookie"`: true, `"Origin"`: true, `"Sec-Fetch-Site"`: true, `"Sec-Fetch-Mode"`: true, `"Sec-Fetch-Dest"`: true, "HeaderName": true,
		`"Accept"`: true, `"Content-Type"`: true, `"X-Forwarded-For"`: true, `"X-Forwarded-Proto"`: true, "RequestID": true, "m.opts.SkipHeader": true,
		"UserAgent": true, "RemoteAddr": true, "TLS": true, "Host": true, `"X-CSRF-Token"`: true,
		"http.CanonicalHeaderKey(headerName": true, "name": true, // the token, and each of the two that say where from
	}
	answers := regexp.MustCompile(`\b(w|rw|cw|res|h|header|resp)\.Header\(\)|\.Header\(\)`)
	met := 0
	for _, dir := range []string{"../../../..", "../../../../auth", "../../../../csrf", "../../../../internal/problem", ".", "../audit", "../admin", ".."} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(source)) {
				code, _, _ := strings.Cut(line, "//")
				if strings.HasSuffix(file, "_test.go") || answers.MatchString(code) {
					continue
				}
				for _, m := range readers.FindAllStringSubmatch(code, -1) {
					what := m[1] + m[2]
					if strings.Contains(code, "r."+m[0]) || strings.Contains(code, "r"+m[0]) {
						met++
						if !known[what] {
							t.Errorf("%s looks at %s, of which the security policy says nothing: %s", file, what, strings.TrimSpace(line))
						}
					}
				}
			}
		}
	}
	if met < 12 {
		t.Errorf("only %d places", met)
	}
}

// How they decide: the numbers of the table are those of the code, and each line with one
// decides at it.
func TestASVS_8_1_4_HowDecisionsAreMadeIsWrittenDown(t *testing.T) {
	var text strings.Builder
	for _, row := range policyTable(t, "What decisions look at") {
		if len(row) != 3 || row[2] == "" {
			t.Errorf("%q does not say what follows", row)
		}
		text.WriteString(strings.Join(row, " | ") + "\n")
	}
	for _, want := range []string{
		fmt.Sprintf("after %v of the one, %v of the other, the session ends", cloakroom.DefaultIdleTimeout, cloakroom.DefaultLifetime),
		"after 15m0s: the password once more", "of another site: 403", "they decide nothing",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
	config, err := os.ReadFile("../config/config.go")
	if err != nil || !strings.Contains(string(config), `{"reauth-after", "15m"`) {
		t.Errorf("the default of reauth-after is another: %v", err)
	}
}

// The layers of the administration, taken away one by one: each of the others is not
// enough by itself.
func TestASVS_8_4_2_LayersOfTheAdministration(t *testing.T) {
	h := newHouse(t, false)
	target := h.add("target")
	h.add("bob")
	path := "/auth/admin/users/" + target.ID + "/disable"
	untouched := func(what string) {
		t.Helper()
		if h.read(target.ID).Disabled {
			t.Fatalf("%s was enough", what)
		}
	}
	// The place alone: a request from this machine, as all of these are.
	nobody := &visitor{h: h, header: http.Header{"X-Forwarded-For": {"127.0.0.1"}, "X-Real-Ip": {"127.0.0.1"}, "X-Remote-User": {"ada"}, "X-Forwarded-User": {"ada"}}}
	want(t, "whoever sits at the machine", nobody.do("POST", path, "{}"), 401)
	untouched("the place")
	// The session alone, without the role.
	bob := h.signIn("bob")
	want(t, "a user", bob.do("POST", path, "{}"), 403)
	untouched("a session")
	// The role without the token of the session, as another site would have it.
	ada := h.signIn("ada")
	token := ada.csrf
	ada.csrf = ""
	want(t, "an administrator without the token", ada.do("POST", path, "{}"), 403)
	ada.csrf = bob.csrf
	want(t, "an administrator with somebody else's token", ada.do("POST", path, "{}"), 403)
	untouched("the role")
	// Role and token, with a proof that is too old.
	ada.csrf, ada.late = token, true
	res := ada.do("POST", path, "{}")
	want(t, "an administrator of this morning", res, 401)
	if !strings.Contains(res.Body.String(), "Recent authentication required") {
		t.Errorf("%s", res.Body)
	}
	untouched("an old proof")
	// A role that was taken a moment ago.
	ada.late = false
	h.add("eve", sqlusers.Admin)
	eve := h.signIn("eve")
	if err := h.users.SetRoles(t.Context(), eve.id, nil); err != nil {
		t.Fatal(err)
	}
	want(t, "who was an administrator", eve.do("POST", path, "{}"), 403)
	untouched("a role of before")
	want(t, "an administrator", ada.do("POST", path, "{}"), 204)
	if !h.read(target.ID).Disabled {
		t.Error("with all of them it was not done")
	}
	doc, err := os.ReadFile("../../../../docs/security-policy.md")
	if err != nil || !strings.Contains(strings.Join(strings.Fields(string(doc)), " "), "A second factor is not among the layers yet.") {
		t.Errorf("the policy must say which layers there are: %v", err)
	}
}

// The one expensive function is documented with its limits, and they are those of the
// code.
func TestASVS_15_1_3_ExpensiveFunctionsAreDocumented(t *testing.T) {
	got := make(map[string]string)
	for _, row := range policyTable(t, "Expensive functions") {
		got[row[0]] = row[1]
	}
	source, err := os.ReadFile("../../../../password/password.go")
	if err != nil {
		t.Fatal(err)
	}
	godoc := strings.Join(strings.Fields(strings.ReplaceAll(string(source), "//", "")), " ")
	body, err := os.ReadFile("body.go")
	if err != nil {
		t.Fatal(err)
	}
	for limit, want := range map[string]struct{ number, says string }{
		"memory of all hashes of a moment": {"131072 KiB", "The default is 131072 (128 MiB)"},
		"hashes that wait":                 {"256, in turns by network", "Queue is how many may wait for their turn; the default is 256"},
		"time that one waits":              {"5s", "Wait is how long one waits at most; the default is 5 seconds"},
		"longest password that is hashed":  {fmt.Sprintf("%d bytes", password.MaxLength), ""},
		"hashes at a time":                 {"one less than processors, fewer where they would need over 64 MiB, at least one", "The default is one less than GOMAXPROCS, or less where that many new hashes would need over 64 MiB, and at least 1"},
	} {
		if got[limit] != want.number || !strings.Contains(godoc, want.says) {
			t.Errorf("%s is %q in the policy, want %q; the package says %q: %t", limit, got[limit], want.number, want.says, strings.Contains(godoc, want.says))
		}
	}
	if !strings.Contains(string(body), "const maxBody = 64 << 10") || !strings.HasPrefix(got["body of a request"], "65536 bytes") {
		t.Errorf("a body has at most %s", got["body of a request"])
	}
}

// What nobody expected is logged, with the request, and tells the visitor no more than
// where to look: a database, a store of sessions, a panic, a table that is not there.
func TestASVS_16_3_4_UnexpectedErrorsAreLogged(t *testing.T) {
	w := newWorld(t)
	for what, fault := range map[string]struct {
		set, clear func()
		events     []string
	}{
		"accounts": {func() { w.users.fault = func() error { return fmt.Errorf("disk on fire") } }, func() { w.users.fault = nil }, []string{"users_failed"}},
		"store":    {func() { w.store.fault = fmt.Errorf("wire cut") }, func() { w.store.fault = nil }, []string{"store_failed"}},
		"panic":    {func() { w.users.fault = func() error { panic("out of cheese") } }, func() { w.users.fault = nil }, []string{"panic"}},
	} {
		w.log.Reset()
		fault.set()
		res := w.do("GET", "/auth/session", "", false)
		fault.clear()
		id := res.Header().Get("X-Request-Id")
		if res.Code < 500 || id == "" {
			t.Errorf("%s: %d, request %q", what, res.Code, id)
		}
		var found []string
		for line := range strings.Lines(w.log.String()) {
			var e struct{ Level, Msg, Request, Addr, Err string }
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			if e.Level != "ERROR" {
				continue
			}
			found = append(found, e.Msg)
			if e.Request != id || e.Addr == "" || e.Err == "" {
				t.Errorf("%s: %s", what, line)
			}
		}
		if !slices.Equal(found, fault.events) {
			t.Errorf("%s: events %q, want %q\n%s", what, found, fault.events, w.log)
		}
	}
}
