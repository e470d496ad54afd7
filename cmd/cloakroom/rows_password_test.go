package main_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// change asks for another password, as a program does.
func (c *client) change(current, fresh string) answer {
	c.t.Helper()
	body, _ := json.Marshal(map[string]string{"current": current, "new": fresh})
	return c.do("POST", "/auth/password", string(body), "X-CSRF-Token", c.csrf)
}

// refusedFor wants an answer that refuses a new password for a reason, in words as well.
func refusedFor(t *testing.T, a answer, reason string) {
	t.Helper()
	var doc struct{ Reason, Detail string }
	if err := json.Unmarshal([]byte(a.body), &doc); a.StatusCode != 422 || err != nil || doc.Reason != reason || len(doc.Detail) < 20 {
		t.Errorf("%s, want 422 for %s: %s", name(a), reason, a.body)
	}
}

// Words that everybody would try here are no passwords: the product's, its host's, the
// user's, and those that the operator names, whichever way one sets it.
func TestASVS_6_1_2_WordsOfTheContextAreBanned(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir, "--banned-words=lanternfish,acme-labs", "--public-url=https://quaysidehost.example")
	link, err := url.Parse(strings.Replace(s.await(linkLine), "https://quaysidehost.example", s.URL, 1))
	if err != nil {
		t.Fatal(err)
	}
	words := []string{"lanternfish2026", "LanternFish-2026!", "lanternfishlanternfish", "acme-labs-acme-labs", "cloakroom123456", "Cloakroom!Cloakroom!", "quaysidehost2026", "adalovelace2026", "2026-adalovelace"}
	for _, pw := range words {
		c := s.client()
		refusedFor(t, c.do("POST", "/auth/setup", fmt.Sprintf(`{"token":%q,"username":"adalovelace","password":%q}`, link.Query().Get("token"), pw)), "context")
	}
	c := s.client()
	c.want(c.do("POST", "/auth/setup", fmt.Sprintf(`{"token":%q,"username":"adalovelace","password":%q}`, link.Query().Get("token"), goodPassword)), 201)
	c.session()
	for _, pw := range words {
		refusedFor(t, c.change(goodPassword, pw), "context")
	}
	_, out := command(t, dir, "user", "reset", "adalovelace", "--public-url=https://quaysidehost.example")
	m := regexp.MustCompile(`token=([A-Za-z0-9_-]+)`).FindStringSubmatch(out)
	if m == nil {
		t.Fatal(out)
	}
	for _, pw := range words {
		refusedFor(t, s.client().do("POST", "/auth/reset", fmt.Sprintf(`{"token":%q,"password":%q}`, m[1], pw)), "context")
	}
	// The list itself begins with the product, and takes the operator's words.
	doc, err := os.ReadFile("../../docs/security-policy.md")
	if err != nil || !strings.Contains(string(doc), "`--banned-words`") || !strings.Contains(string(doc), "6.1.2") {
		t.Errorf("the list is not documented: %v", err)
	}
}

// pathways are the addresses in the documented table of how somebody signs in.
func pathways(t *testing.T) (all []string) {
	t.Helper()
	doc, err := os.ReadFile("../../docs/security-policy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(doc), "## How somebody signs in\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, m := range regexp.MustCompile("(?m)^\\| [^|]*`POST (/[^`]+)` \\|[^|]+\\| (single factor|makes the first)").FindAllStringSubmatch(section, -1) {
		if !slices.Contains(all, m[1]) {
			all = append(all, m[1])
		}
	}
	slices.Sort(all)
	return all
}

// Every address gets all that could sign somebody in: name and password, and each kind of
// link. Those that hand out a session are the documented ones, and no other.
func TestASVS_6_1_3_EveryPathwayIsDocumented(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir)
	setup, err := url.Parse(s.await(linkLine))
	if err != nil {
		t.Fatal(err)
	}
	addUser(t, dir, "bob", "--role=admin2")
	addUser(t, dir, "dora")
	tokens := map[string]string{"setup": setup.Query().Get("token")}
	for kind, args := range map[string][]string{"invite": {"user", "add", "carol", "--invite"}, "reset": {"user", "reset", "dora"}} {
		_, out := command(t, dir, args...)
		m := regexp.MustCompile(`token=([A-Za-z0-9_-]+)`).FindStringSubmatch(out)
		if m == nil {
			t.Fatal(out)
		}
		tokens[kind] = m[1]
	}
	all := routes(t, s.client())
	var opened []string
	used := make(map[string]bool)
	note := func(r route, a answer) {
		if len(issued([]answer{a})) > 0 && !slices.Contains(opened, r.path) {
			opened = append(opened, r.path)
		}
	}
	bodies := func(token string) string {
		b, _ := json.Marshal(map[string]string{"username": "bob", "name": "bob", "user": "bob", "password": goodPassword, "current": goodPassword, "new": goodPassword, "token": token, "code": token})
		return string(b)
	}
	for _, kind := range []string{"invite", "reset", "setup"} {
		for _, r := range all {
			for _, method := range r.methods {
				if method == "GET" {
					note(r, s.client().do("GET", r.path+"?token="+tokens[kind]+"&code="+tokens[kind], "", "Accept", htmlAccept, "Authorization", "Basic Ym9iOmNvcnJlY3QgaG9yc2UgYmF0dGVyeSBzdGFwbGU="))
					continue
				}
				if kind == "setup" && strings.HasSuffix(r.path, "/setup") {
					continue // last of all: it leaves no link valid
				}
				body := bodies(tokens[kind])
				links := r.path == "/auth/invite" || r.path == "/auth/reset" // one is as good as the other
				if links {
					body = strings.Replace(body, `"password":"`, `"password":"another `, 1) // not the one of before
				}
				a := s.client().do(method, r.path, body)
				note(r, a)
				used[kind] = used[kind] || links && a.StatusCode == 204
			}
		}
	}
	if !used["invite"] || !used["reset"] {
		t.Errorf("the links were not taken: %v", used)
	}
	c := s.client()
	a := c.do("POST", "/auth/setup", fmt.Sprintf(`{"token":%q,"username":"ada","password":%q}`, tokens["setup"], goodPassword))
	c.want(a, 201)
	note(route{path: "/auth/setup"}, a)
	// And whoever is signed in: what gives them another session.
	for _, who := range []string{"bob", "ada"} {
		for _, r := range all {
			for _, method := range r.changes() {
				if strings.HasSuffix(r.path, "/end-all") || method == "DELETE" && strings.HasSuffix(r.path, "/admin/sessions") {
					continue
				}
				in := s.client().login(who, goodPassword)
				fresh := goodPassword
				if strings.HasSuffix(r.path, "/password") {
					fresh = "another " + goodPassword
				}
				body := strings.Replace(bodies("x"), `"new":"`+goodPassword, `"new":"`+fresh, 1)
				a := in.do(method, r.path, body, "X-CSRF-Token", in.csrf)
				note(r, a)
				if fresh != goodPassword && a.StatusCode == 204 {
					in.session()
					in.want(in.change(fresh, goodPassword), 204)
				}
			}
		}
	}
	slices.Sort(opened)
	if want := pathways(t); len(want) < 4 || !slices.Equal(opened, want) {
		t.Errorf("sessions came from\n%q, documented are\n%q", opened, want)
	}
}

func TestASVS_6_2_2_UsersChangeTheirPassword(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	s.setup()
	addUser(t, dir, "bob")
	const next, last = "quietly under lanterns", "lanterns over the quay"
	c := s.client().login("bob", goodPassword)
	c.want(c.change(goodPassword, next), 204)
	stranger := s.client()
	stranger.want(stranger.do("POST", "/auth/login", credentials("bob", goodPassword)), 401)
	s.client().login("bob", next)
	// In a browser, with the page that everybody finds from the profile.
	b := s.client()
	page := b.want(b.page("/auth/login"), 200)
	b.want(b.form("/auth/login", url.Values{"csrf_token": {csrfOf(t, page.body)}, "username": {"bob"}, "password": {next}}), 303)
	profile := b.want(b.page("/auth/profile"), 200)
	if !strings.Contains(profile.body, `href="/auth/password"`) {
		t.Errorf("the profile does not lead to the page:\n%s", profile.body)
	}
	page = b.want(b.page("/auth/password"), 200)
	b.want(b.form("/auth/password", url.Values{"csrf_token": {csrfOf(t, page.body)}, "current": {next}, "new": {last}}), 303)
	s.client().login("bob", last)
	stranger.want(stranger.do("POST", "/auth/login", credentials("bob", next)), 401)
}

// Each of these is taken as a new password and then opens the account; nothing that is
// nearly it does.
func TestASVS_6_2_5_AnyCompositionOverHTTP(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir)
	s.setup()
	addUser(t, dir, "bob")
	c := s.client().login("bob", goodPassword)
	current := goodPassword
	for _, pw := range []string{
		"      two words", "quietlyunderlanterns", "7301948265018374", "😀🗝🚪🧥🎩🧣🧤👛👜💼🎒👞👟🥾👠", "مفتاح خزانة المعاطف", "宝物庫の鍵は誰も知らない話だよ", `"'<>&;%00\u0000-{}$`,
	} {
		c.want(c.change(current, pw), 204)
		c.session()
		stranger := s.client()
		stranger.want(stranger.do("POST", "/auth/login", credentials("bob", pw)), 200)
		current = pw
	}
}

// A password of a hundred bytes, and all that is nearly it.
func TestASVS_6_2_8_NothingIsCutOverHTTP(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir, "--trusted-proxies=127.0.0.1")
	s.setup()
	addUser(t, dir, "bob")
	pw := " " + strings.Repeat("aB3 xyZ", 14) + " "
	c := s.client().login("bob", goodPassword)
	c.want(c.change(goodPassword, pw), 204)
	form := func(c *client, pw string) int {
		page := c.page("/auth/login")
		return c.form("/auth/login", url.Values{"csrf_token": {csrfOf(t, page.body)}, "username": {"bob"}, "password": {pw}}).StatusCode
	}
	for i, near := range []string{pw[:72], pw[:99], pw[1:], pw + "x", pw + "\x00", strings.ToLower(pw), strings.ToUpper(pw), strings.TrimSpace(pw), strings.ReplaceAll(pw, " ", "  ")} {
		if near == pw {
			t.Fatal(i)
		}
		if code, out := command(t, dir, "user", "unlock", "bob"); code != 0 { // the throttle is not meant here
			t.Fatal(out)
		}
		a := s.client().do("POST", "/auth/login", credentials("bob", near), "X-Forwarded-For", fmt.Sprintf("192.0.2.%d", i))
		if a.StatusCode != 401 {
			t.Errorf("%q: %d", near, a.StatusCode)
		}
		if code := form(s.client(), near); code != 401 {
			t.Errorf("%q in a form: %d", near, code)
		}
	}
	command(t, dir, "user", "unlock", "bob")
	s.client().login("bob", pw)
	if code := form(s.client(), pw); code != 303 {
		t.Errorf("the password itself in a form: %d", code)
	}
}

// Sixty-four characters of four bytes are taken, 1,025 bytes are not, and of ten million
// nobody reads more than a beginning.
func TestASVS_6_2_9_LengthsOverHTTP(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir)
	s.setup()
	addUser(t, dir, "bob")
	long := strings.Repeat("😀🗝", 32)
	c := s.client().login("bob", goodPassword)
	c.want(c.change(goodPassword, long), 204)
	c.session()
	s.client().login("bob", long)
	refusedFor(t, c.change(long, strings.Repeat("x", 1025)), "too_long")
	c.want(c.change(long, strings.Repeat("quay ", 204)+"last"), 204) // 1,024 bytes
	s.client().login("bob", strings.Repeat("quay ", 204)+"last")

	// Announced, the answer comes before a byte of it was sent.
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	begin := time.Now()
	fmt.Fprintf(conn, "POST /auth/login HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: 10485760\r\n\r\n", strings.TrimPrefix(s.URL, "http://"))
	status := make([]byte, 12)
	if _, err := io.ReadFull(conn, status); err != nil || string(status) != "HTTP/1.1 413" {
		t.Errorf("%q, %v", status, err)
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("413 after %v", took)
	}
	// Not announced, it comes as soon as there is too much.
	big := s.client()
	if a := big.want(big.do("POST", "/auth/login", credentials("bob", strings.Repeat("x", 100<<10))), 413); a.Header.Get("Connection") != "close" && !a.Close {
		t.Error("the connection is kept for the rest")
	}
}

// Ten years later the password opens the account as it did, without a word about its age;
// where it is known to others, it opens nothing but the page to change it.
func TestASVS_6_2_10_NoPasswordGrowsOld(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir)
	s.setup()
	addUser(t, dir, "bob")
	s.sql(`UPDATE cloakroom_user SET created = created - 315576000000000, updated = updated - 315576000000000`)
	c := s.client().login("bob", goodPassword)
	c.want(c.do("GET", "/auth/sessions", ""), 200)
	if code, out := command(t, dir, "user", "require-change", "bob"); code != 0 {
		t.Fatal(out)
	}
	c.want(c.do("GET", "/auth/session", ""), 401)
	c = s.client()
	c.want(c.do("POST", "/auth/login", credentials("bob", goodPassword)), 200)
	a := c.want(c.do("GET", "/auth/session", ""), 403)
	if !strings.Contains(a.body, "Password change required") {
		t.Errorf("%s", a.body)
	}
	page := c.want(c.page("/auth/password"), 200)
	c.csrf = csrfOf(t, page.body)
	refusedFor(t, c.change(goodPassword, goodPassword), "unchanged")
	c.want(c.change(goodPassword, "quietly under lanterns"), 204)
	c.session()
}

// The same by the other standard: time alone asks for nothing.
func TestNIST_3_1_1_2_6a_NoChangeByTheCalendar(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addUser(t, dir, "ada", "--role=admin")
	s := start(t, dir)
	for _, years := range []int{1, 5, 10, 40} {
		s.sql(fmt.Sprintf(`UPDATE cloakroom_user SET created = created - %d, updated = updated - %[1]d`, years*31557600*1_000_000))
		s.client().login("ada", goodPassword)
	}
	_, help := command(t, dir, "serve", "--help")
	for _, word := range []string{"password-age", "expire", "rotate", "max-age"} {
		if strings.Contains(help, word) {
			t.Errorf("there is a setting of this kind: %s", word)
		}
	}
}

// The list is a part of the program: no outage takes it away, at no way to set a password.
func TestASVS_6_2_12_TheListCannotBeDown(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir)
	ada := s.setup()
	addUser(t, dir, "bob")
	c := s.client().login("bob", goodPassword)
	for _, pw := range []string{"passwordpassword", "PASSWORDPASSWORD", "qwertyuiopqwertyuiop", "123456789123456789"} {
		refusedFor(t, c.change(goodPassword, pw), "blocklisted")
	}
	id := c.session().User.ID
	a := ada.want(ada.do("POST", "/auth/admin/users/"+id+"/reset", "{}", "X-CSRF-Token", ada.csrf), 201)
	token := regexp.MustCompile(`token=([A-Za-z0-9_-]+)`).FindStringSubmatch(a.body)
	if token == nil {
		t.Fatal(a.body)
	}
	refusedFor(t, s.client().do("POST", "/auth/reset", fmt.Sprintf(`{"token":%q,"password":"passwordpassword"}`, token[1])), "blocklisted")
	program, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile("../../password/blocklist.gz")
	if err != nil || !strings.Contains(string(program), string(list)) {
		t.Errorf("the list is not in the program: %v", err)
	}
	// The database may fail, the list is asked all the same: nothing bad is let pass.
	s.sql("ALTER TABLE cloakroom_user RENAME TO gone")
	if a := c.change(goodPassword, "passwordpassword"); a.StatusCode < 400 {
		t.Errorf("without a database: %d", a.StatusCode)
	}
	s.sql("ALTER TABLE gone RENAME TO cloakroom_user")
}

// columns are the names of all columns of the service's database.
func (s *server) columns() (all []string) {
	s.t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(s.cmd.Dir, "cloakroom-data", "cloakroom.db")+"?_pragma=busy_timeout(5000)&mode=ro")
	if err != nil {
		s.t.Fatal(err)
	}
	defer db.Close()
	return query(s.t, db, `SELECT m.name || '.' || p.name FROM sqlite_master m JOIN pragma_table_info(m.name) p WHERE m.type = 'table'`)
}

// noneOf looks for words in columns, in the names of fields, and in all that the pages say.
func noneOf(t *testing.T, words *regexp.Regexp) {
	t.Helper()
	s := start(t, t.TempDir())
	ada := s.setup()
	columns := s.columns()
	for _, c := range columns {
		if words.MatchString(c) {
			t.Errorf("column %s", c)
		}
	}
	pages := 0
	for _, r := range routes(t, s.client()) {
		for _, c := range []*client{ada, s.client()} {
			if !r.has("GET") {
				continue
			}
			a := c.page(r.path)
			if !isPage(a) {
				continue
			}
			pages++
			for _, m := range regexp.MustCompile(`<(?:input|select|textarea)[^>]* name="([^"]*)"`).FindAllStringSubmatch(a.body, -1) {
				if words.MatchString(m[1]) {
					t.Errorf("%s: field %s", name(a), m[1])
				}
			}
		}
	}
	if len(columns) < 20 || pages < 10 {
		t.Errorf("only %d columns and %d pages", len(columns), pages)
	}
}

func TestASVS_6_4_2_NoHintsAndNoQuestions(t *testing.T) {
	noneOf(t, regexp.MustCompile(`(?i)hint|question|answer|maiden|reminder|birth`))
}

func TestNIST_3_1_1_2_7_NoHints(t *testing.T) {
	t.Parallel()
	noneOf(t, regexp.MustCompile(`(?i)hint|reminder|clue`))
	// What is said to whoever guesses is the same for all passwords.
	dir := t.TempDir()
	s := start(t, dir)
	s.setup()
	addUser(t, dir, "bob")
	bodies := make(map[string]bool)
	for _, guess := range []string{"x", goodPassword[:10], strings.ToUpper(goodPassword), goodPassword + "1"} {
		a := s.client().do("POST", "/auth/login", credentials("bob", guess))
		bodies[strconv.Itoa(a.StatusCode)+a.body] = true
	}
	if len(bodies) != 1 {
		t.Errorf("answers differ: %v", bodies)
	}
}

func TestNIST_3_1_1_2_8_NoQuestions(t *testing.T) {
	t.Parallel()
	noneOf(t, regexp.MustCompile(`(?i)question|answer|maiden|mother|pet|school|birth`))
	// There is no way back in but a link that an administrator makes.
	for _, r := range routes(t, start(t, t.TempDir()).client()) {
		if regexp.MustCompile(`forgot|recover|question|remind`).MatchString(r.pattern) {
			t.Errorf("route %s", r.pattern)
		}
	}
}

// No page hinders pasting, or has a script that looks at the clipboard or the keys.
func TestNIST_3_1_1_2_paste_PastingIsAllowed(t *testing.T) {
	files, err := filepath.Glob("internal/web/templates/*.html")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range append(files, "internal/web/show.js") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if found := regexp.MustCompile(`(?i)\bon[a-z]+="|paste|clipboard|keydown|keypress|beforeinput|preventDefault|readonly`).Find(text); found != nil {
			t.Errorf("%s: %s", file, found)
		}
	}
	n := 0
	passwordFields(t, func(a answer, input string) {
		n++
		if strings.Contains(input, "maxlength") || strings.Contains(input, `autocomplete="off"`) {
			t.Errorf("%s: %s", name(a), input)
		}
	})
	if n == 0 {
		t.Error("no field for a password on the tour")
	}
}

// Each account has a limit of its own on wrong passwords, whoever sends them.
func TestNIST_3_1_1_2_rate_WrongPasswordsAreLimited(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir, "--trusted-proxies=127.0.0.1")
	s.setup()
	addUser(t, dir, "bob")
	addUser(t, dir, "carol")
	for i := range 9 {
		a := s.client().do("POST", "/auth/login", credentials("bob", "guess "+strconv.Itoa(i)), "X-Forwarded-For", fmt.Sprintf("198.51.%d.7", i))
		want := 401
		if i >= 5 {
			want = 429
		}
		if sec, _ := strconv.Atoi(a.Header.Get("Retry-After")); a.StatusCode != want || want == 429 && (sec < 1 || sec > 30) {
			t.Errorf("guess %d: %d, Retry-After %q", i+1, a.StatusCode, a.Header.Get("Retry-After"))
		}
	}
	right := s.client().do("POST", "/auth/login", credentials("bob", goodPassword), "X-Forwarded-For", "203.0.113.9")
	if right.StatusCode != 429 {
		t.Errorf("the right one at once after: %d", right.StatusCode)
	}
	s.client().login("carol", goodPassword) // another account is not touched
}

// Links that administrators make and hand over, by whatever way, set a password and sign
// nobody in: no address and no mailbox is a factor.
func TestASVS_6_3_6_LinksSignNobodyIn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir)
	s.setup()
	addUser(t, dir, "bob")
	for kind, args := range map[string][]string{"invite": {"user", "add", "carol", "--invite"}, "reset": {"user", "reset", "bob"}} {
		_, out := command(t, dir, args...)
		m := regexp.MustCompile(`token=([A-Za-z0-9_-]+)`).FindStringSubmatch(out)
		if m == nil {
			t.Fatal(out)
		}
		c := s.client()
		page := c.want(c.page("/auth/"+kind+"?token="+m[1]), 200)
		a := c.form("/auth/"+kind, url.Values{"csrf_token": {csrfOf(t, page.body)}, "token": {m[1]}, "password": {"quietly under lanterns"}})
		c.want(a, 303)
		if got := issued([]answer{page, a}); len(got) > 0 || !strings.HasPrefix(a.Header.Get("Location"), "/auth/login") {
			t.Errorf("%s: %d sessions, on to %s", kind, len(got), a.Header.Get("Location"))
		}
		c.want(c.do("GET", "/auth/session", ""), 401)
	}
	s.client().login("bob", "quietly under lanterns")
}
