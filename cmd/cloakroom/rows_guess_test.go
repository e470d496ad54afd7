package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// guess is a wrong login of bob from an address.
func guess(s *server, from string, i int) answer {
	return s.client().do("POST", "/auth/login", credentials("bob", "guess number "+strconv.Itoa(i)), "X-Forwarded-For", from)
}

// With five wrong passwords behind it the account is shut to strangers, from wherever
// they come; to the owner's own browser it is not. A login from a new browser stands out
// once somebody has guessed, and what happens during a session is as documented: an old
// proof asks for another, another address and browser decide nothing.
func TestASVS_8_2_4_UnusualLoginsAndSessions(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, "--trusted-proxies=127.0.0.1")
	ada := s.setup()
	addUser(t, dir, "bob")
	known := s.client().login("bob", goodPassword)
	for i := range 5 {
		if a := guess(s, fmt.Sprintf("192.0.%d.1", i), i); a.StatusCode != 401 {
			t.Fatalf("guess %d: %d", i, a.StatusCode)
		}
	}
	stranger := s.client()
	stranger.want(stranger.do("POST", "/auth/login", credentials("bob", goodPassword), "X-Forwarded-For", "203.0.113.5"), 429)
	known.want(known.do("POST", "/auth/login", credentials("bob", goodPassword), "X-CSRF-Token", known.csrf, "X-Forwarded-For", "203.0.113.6"), 200)
	known.session()
	// The owner elsewhere, once the administrator has let them: it stands out.
	for i := range 2 {
		guess(s, "192.0.2.77", i)
	}
	if code, out := command(t, dir, "user", "unlock", "bob"); code != 0 {
		t.Fatal(out)
	}
	for i := range 2 {
		guess(s, "192.0.2.78", i)
	}
	fresh := s.client()
	fresh.want(fresh.do("POST", "/auth/login", credentials("bob", goodPassword), "X-Forwarded-For", "203.0.113.7"), 200)
	a := ada.want(ada.do("GET", "/auth/admin/suspicious", ""), 200)
	if !strings.Contains(a.body, `"new_device"`) || !strings.Contains(a.body, "203.0.113.7") || !strings.Contains(a.body, `"throttled"`) {
		t.Errorf("what stands out: %s", a.body)
	}
	if !regexp.MustCompile(`"level":"WARN","msg":"new_device"[^\n]*"after failures"`).MatchString(s.stderr.String()) {
		t.Error("no line about it")
	}
	// The session goes on under another address and browser, as the policy says.
	known.want(known.do("GET", "/auth/session", "", "X-Forwarded-For", "198.51.100.200", "User-Agent", "another/1.0"), 200)
}

// Whoever stands between has no rights to lend: a trusted proxy that names somebody, and
// sends along the cookie of somebody else, is answered as that cookie's owner.
func TestASVS_8_3_3_TheSenderDecidesNotTheProxy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir, "--trusted-proxies=127.0.0.1")
	ada := s.setup()
	addUser(t, dir, "bob")
	id := ada.session().User.ID
	bob := s.client().login("bob", goodPassword)
	for _, header := range []string{"X-Forwarded-User", "X-Remote-User", "Remote-User", "X-Auth-Request-User", "X-Cloakroom-User", "X-Cloakroom-Roles", "X_Remote_User", "X-User-Roles", "X-Original-User", "On-Behalf-Of"} {
		for _, value := range []string{"ada", id, "admin"} {
			bob.want(bob.do("GET", "/auth/admin/users", "", header, value), 403)
			if got := bob.do("GET", "/auth/session", "", header, value); !strings.Contains(got.body, `"name":"bob"`) {
				t.Errorf("%s: %s: %s", header, value, got.body)
			}
			nobody := s.client()
			nobody.want(nobody.do("GET", "/auth/session", "", header, value), 401)
		}
	}
	// And the log names who did it, not the address it came through.
	ada.want(ada.do("POST", "/auth/admin/users", `{"name":"carol","roles":""}`, "X-CSRF-Token", ada.csrf, "X-Forwarded-For", "203.0.113.9", "X-Remote-User", "bob"), 400)
	ada.want(ada.do("POST", "/auth/admin/users", `{"name":"carol"}`, "X-CSRF-Token", ada.csrf, "X-Forwarded-For", "203.0.113.9", "X-Remote-User", "bob"), 201)
	code, out := command(t, dir, "audit", "export", "--kind=user_added")
	if code != 0 || !strings.Contains(out, `"actor":"`+id+`"`) || !strings.Contains(out, "203.0.113.9") {
		t.Errorf("%d %s", code, out)
	}
}

// A thousand addresses of one sender are one: of wrong logins that each claim another, no
// more are looked at than one network may have.
func TestAttack_A31_MadeUpAddressesAreOneSource(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	s.setup()
	c := newCaller(s.URL)
	statuses := map[int]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	next := make(chan int)
	for range 8 {
		wg.Go(func() {
			for i := range next {
				at := fmt.Sprintf("198.%d.%d.7", i%200, i/7)
				a, err := c.ask("POST", "/auth/login", "", "", credentials("nobody"+strconv.Itoa(i), "guess"),
					"X-Forwarded-For", at+", 10.0.0.1", "X-Real-Ip", at, "Forwarded", "for="+at, "True-Client-Ip", at, "X-Client-Ip", at, "Cf-Connecting-Ip", at)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				statuses[a.status]++
				mu.Unlock()
			}
		})
	}
	for i := range 1000 {
		next <- i
	}
	close(next)
	wg.Wait()
	if statuses[401] > 100 || statuses[401] < 90 || statuses[401]+statuses[429]+statuses[503] != 1000 {
		t.Errorf("statuses %v: at most 100 of a network are looked at", statuses)
	}
	if log := s.stderr.String(); strings.Contains(log, `"addr":"198.`) || !strings.Contains(log, `"addr":"127.0.0.1"`) {
		t.Error("the log believes an address")
	}
}

// A kill of the process between two guesses forgets nothing.
func TestAttack_A34_KilledBeforeTheLastGuess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addUser(t, dir, "ada", "--role=admin")
	addUser(t, dir, "bob")
	s := start(t, dir, "--trusted-proxies=127.0.0.1")
	for i := range 4 {
		if a := guess(s, fmt.Sprintf("192.0.%d.1", i), i); a.StatusCode != 401 {
			t.Fatalf("guess %d: %d", i, a.StatusCode)
		}
		s.cmd.Process.Kill()
		<-s.exited
		s = start(t, dir, "--trusted-proxies=127.0.0.1")
	}
	if a := guess(s, "192.0.100.1", 5); a.StatusCode != 401 {
		t.Errorf("the fifth: %d", a.StatusCode)
	}
	s.cmd.Process.Kill()
	<-s.exited
	s = start(t, dir, "--trusted-proxies=127.0.0.1")
	if a := guess(s, "192.0.101.1", 6); a.StatusCode != 429 {
		t.Errorf("one more after them: %d", a.StatusCode)
	}
}

// Whatever names are tried beside it, an account's count stays; names that are nobody's
// are counted in as much room as others; and asking who is signed in for their password
// counts as a login does.
func TestAttack_A34_OtherNamesAndOtherWays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir, "--trusted-proxies=127.0.0.1")
	s.setup()
	addUser(t, dir, "bob")
	addUser(t, dir, "carol")
	for i := range 5 {
		guess(s, "192.0.2.1", i)
	}
	for i := range 60 {
		s.client().do("POST", "/auth/login", credentials(fmt.Sprintf("nobody-%d", i), "guess"), "X-Forwarded-For", fmt.Sprintf("198.18.%d.%d", i/200, i%200))
	}
	if a := s.client().do("POST", "/auth/login", credentials("bob", goodPassword), "X-Forwarded-For", "203.0.113.1"); a.StatusCode != 429 {
		t.Errorf("bob after 60 other names: %d", a.StatusCode)
	}
	db := s.contents()
	if strings.Contains(db, "nobody-17") {
		t.Error("a name that is nobody's stands in the database")
	}
	for _, way := range []struct{ path, body string }{
		{"/auth/reauth", `{"password":"guess %d of many"}`},
		{"/auth/password", `{"current":"guess %d of many","new":"quietly under lanterns"}`},
	} {
		if code, out := command(t, dir, "user", "unlock", "carol"); code != 0 {
			t.Fatal(out)
		}
		c := s.client()
		c.want(c.do("POST", "/auth/login", credentials("carol", goodPassword), "X-Forwarded-For", "203.0.113.2"), 200)
		c.session()
		last := 0
		for i := range 8 {
			last = c.do("POST", way.path, fmt.Sprintf(way.body, i), "X-CSRF-Token", c.csrf, "X-Forwarded-For", "203.0.113.2").StatusCode
		}
		if last != 429 {
			t.Errorf("%s: %d after eight wrong passwords", way.path, last)
		}
	}
}

// Sixty pairs of names that some program takes for one: here the second is refused, or is
// another account, and a login with it never opens the first one's.
func TestAttack_A36_PairsOfNamesAtTheService(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir, "--trusted-proxies=127.0.0.1")
	ada := s.setup()
	pairs := [][2]string{
		{"alice", "ALICE"}, {"bert", "ｂｅｒｔ"}, {"carl@x.example", "Carl@X.example"}, {"dora@x.example", "dora＠x.example"}, {"rené", "rene\u0301"}, {"åse", "a\u030ase"},
		{"жук", "ЖУК"}, {"user1", "user１"}, {"가나", "\u1100\u1161나"}, {"アパ", "ｱﾊﾟ"}, {"ọ̇la", "o\u0307\u0323la"}, {"straße", "STRAẞE"},
		{"kelvin", "\u212aelvin"}, {"mike", "mi\u212ae"}, {"sam", "\u017fam"}, {"ohm\u03c9", "ohm\u2126"}, {"file", "\ufb01le"}, {"first", "\ufb01rst"}, {"one", "\u2460ne"}, {"tel", "\u2121"},
		{"no1", "\u21161"}, {"eva", "\u2091va"}, {"fred", "\u24d5red"}, {"gus", "\U0001d420us"}, {"hal...", "hal\u2026"}, {"ida-b", "ida\u2011b"}, {"x1", "x\u00b9"}, {"ana", "\u00aana"}, {"a/c", "\u2100"}, {"lju", "\u01c9u"},
		{"kim", "ki\u200bm"}, {"lea", "lea\u200d"}, {"max", "\ufeffmax"}, {"ned", "ned\u00ad"}, {"oto", "\u202eoto"}, {"pia", "\u2066pia\u2069"}, {"quin", "quin\u200f"}, {"rob", "ro\u2060b"}, {"sue", "sue\x00"}, {"tom", "tom\n"},
		{"uwe", "uwe "}, {"vic", " vic"}, {"wim", "wi\u00a0m"}, {"xan", "xa\u3000n"}, {"yul", "yul\u3164"}, {"zoe", "zoe\u0085"}, {"abe", "abe\u034f"}, {"ben", "ben\ufe0f"}, {"cem", "cem\U000e0041"}, {"dan", "dan\t"},
		{"strasse", "stra\u00dfe2"}, {"istanbul", "\u0130stanbul"}, {"izmir", "\u0131zmir"}, {"paypal", "p\u0430ypal"}, {"rene2", "ren\u00e92"}, {"eli", "eli."}, {"flo@x.example", "flo@x.example."}, {"gil@x.example", "gil@\u0445.example"}, {"ole", "\u00f8le"}, {"\u03c3\u03b1\u03c2", "\u03c3\u03b1\u03c3"},
	}
	if len(pairs) < 60 {
		t.Fatalf("%d pairs", len(pairs))
	}
	make := func(name string) (answer, string) {
		body, _ := json.Marshal(map[string]string{"name": name})
		a := ada.do("POST", "/auth/admin/users", string(body), "X-CSRF-Token", ada.csrf)
		var doc struct{ User struct{ ID string } }
		json.Unmarshal([]byte(a.body), &doc)
		return a, doc.User.ID
	}
	refused := 0
	for _, p := range pairs {
		first, id := make(p[0])
		if first.StatusCode != 201 || id == "" {
			t.Errorf("%+q: %d %s", p[0], first.StatusCode, first.body)
			continue
		}
		second, other := make(p[1])
		switch second.StatusCode {
		case 400, 409:
			refused++
		case 201:
			if other == id {
				t.Errorf("%+q and %+q are one account", p[0], p[1])
			}
		default:
			t.Errorf("%+q: %d %s", p[1], second.StatusCode, second.body)
		}
	}
	if refused < 45 {
		t.Errorf("only %d were refused", refused)
	}
	// With passwords: whoever may sign in by the second name is the first, or a third.
	s.sql(`UPDATE cloakroom_user SET password = (SELECT password FROM cloakroom_user WHERE CAST(name AS TEXT) = 'ada') WHERE CAST(canonical AS TEXT) IN ('alice', 'kelvin', 'sam', 'file', 'strasse', 'istanbul', 'paypal', 'kim', 'uwe')`)
	for _, p := range pairs {
		switch p[0] {
		case "alice", "kelvin", "sam", "file", "strasse", "istanbul", "paypal", "kim", "uwe":
			c := s.client()
			body, _ := json.Marshal(map[string]string{"username": p[1], "password": goodPassword})
			a := c.do("POST", "/auth/login", string(body), "X-Forwarded-For", "203.0.113."+strconv.Itoa(len(p[1])))
			if a.StatusCode == 200 {
				if got := c.session().User.Name; p[0] != "alice" || got != "alice" {
					t.Errorf("%+q opened the account of %q", p[1], got)
				}
			} else if a.StatusCode != 401 && a.StatusCode != 400 || p[0] == "alice" {
				t.Errorf("%+q: %d", p[1], a.StatusCode)
			}
		}
	}
}

// Many logins at once, with passwords of a megabyte and of 64 characters: nobody waits for
// the former, the latter are bounded, and whoever is signed in reads on.
func TestAttack_A21_LongAndManyAtOnce(t *testing.T) {
	s := start(t, t.TempDir(), "--log-level=error")
	c := s.setup()
	n := 500
	if len(buildFlags) > 0 {
		n = 100 // all of it is slow under the race detector
	}
	long, short := credentials("ada", strings.Repeat("x", 1<<20)), credentials("nobody", strings.Repeat("x", 64))
	base := s.peak()
	statuses := map[int]int{}
	var mu sync.Mutex
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	http1 := &http.Client{Timeout: time.Minute, Transport: transport}
	seen := watch(c, func() {
		var wg sync.WaitGroup
		for i := range n {
			body := long
			if i%5 == 0 {
				body = short
			}
			wg.Go(func() {
				status := 0
				res, err := http1.Post(s.URL+"/auth/login", "application/json", strings.NewReader(body))
				if err == nil {
					res.Body.Close()
					status = res.StatusCode
				}
				mu.Lock()
				defer mu.Unlock()
				// A client that is still sending may find the connection closed.
				if status == 0 && body == long {
					status = 413
				}
				statuses[status]++
			})
		}
		wg.Wait()
	})
	if statuses[413] != n-n/5 || statuses[413]+statuses[401]+statuses[429]+statuses[503] != n || seen.failed > 0 {
		t.Errorf("statuses %v; %d pages failed meanwhile", statuses, seen.failed)
	}
	if base > 0 && len(buildFlags) == 0 {
		if grown := s.peak() - base; grown > hashingBound+64<<10 {
			t.Errorf("%d MiB more", grown>>10)
		}
	}
	t.Logf("%v; signed-in pages meanwhile: %s", statuses, seen)
}

// Logins beyond the bounds are told to come back, and the service goes on.
func TestASVS_15_2_2_ExcessOfLoginsIsTurnedAway(t *testing.T) {
	dir := t.TempDir()
	addUser(t, dir, "ada", "--role=admin")
	s := start(t, dir, "--log-level=error", "--trusted-proxies=127.0.0.1")
	c := s.client().login("ada", goodPassword)
	n := 400
	if len(buildFlags) > 0 {
		n = 60
	}
	base := s.peak()
	var all crowd
	seen := watch(c, func() {
		all = signIn(s, n, func(i int) (string, string) { return "ada", fmt.Sprintf("192.0.%d.%d", i/200, i%200) })
	})
	if seen.failed > 0 || all.statuses[200] == 0 || all.statuses[200]+all.statuses[503]+all.statuses[429] != n {
		t.Errorf("%v; %d pages failed meanwhile", all.statuses, seen.failed)
	}
	for _, after := range all.retryAfter {
		if notSeconds(after) {
			t.Errorf("Retry-After %q", after)
		}
	}
	if base > 0 && len(buildFlags) == 0 && s.peak()-base > hashingBound {
		t.Errorf("%d MiB more", (s.peak()-base)>>10)
	}
	s.client().login("ada", goodPassword) // and all is as before
}

// A link is for the account it was made for, whatever is asked for at the same moment:
// two for two users, used at once by both, set each the own user's password, once.
func TestAttack_A58_LinksOfTwoUsersAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir, "--trusted-proxies=127.0.0.1")
	s.setup()
	names := []string{"bob", "carol"}
	for _, n := range names {
		addUser(t, dir, n)
	}
	for round := range 3 {
		tokens := make(map[string]string)
		for _, n := range names {
			_, out := command(t, dir, "user", "reset", n)
			m := regexp.MustCompile(`token=([A-Za-z0-9_-]+)`).FindStringSubmatch(out)
			if m == nil {
				t.Fatal(out)
			}
			tokens[n] = m[1]
		}
		done := make(map[string]int)
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range 8 {
			who := names[i%2]
			wg.Go(func() {
				body := fmt.Sprintf(`{"token":%q,"password":"round %d of the links of %s","username":%q}`, tokens[who], round, who, names[(i+1)%2])
				a := s.client().do("POST", "/auth/reset", body)
				mu.Lock()
				defer mu.Unlock()
				if a.StatusCode == 204 {
					done[who]++
				} else if a.StatusCode != 410 {
					t.Errorf("%d %s", a.StatusCode, a.body)
				}
			})
		}
		wg.Wait()
		for i, n := range names {
			if done[n] != 1 {
				t.Errorf("the link of %s was used %d times", n, done[n])
			}
			pw := fmt.Sprintf("round %d of the links of %s", round, n)
			s.client().login(n, pw)
			other := s.client()
			other.want(other.do("POST", "/auth/login", credentials(names[1-i], pw), "X-Forwarded-For", fmt.Sprintf("192.0.%d.%d", round, i)), 401)
		}
	}
}

// No origin may read an answer with credentials, and no preflight is answered with leave
// to send one: not to our own host over http, not to a neighbour, not to "null".
func TestAttack_A60_NoOriginIsLetIn(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	ada := s.setup()
	host := strings.TrimPrefix(s.URL, "http://")
	for _, r := range routes(t, s.client()) {
		for _, origin := range []string{"https://evil.example", "null", "https://" + host + ".evil.example", "https://" + host, "http://" + host, "http://localhost", "*", ""} {
			for _, method := range []string{"OPTIONS", "GET"} {
				a := ada.do(method, r.path, "", "Origin", origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "x-csrf-token,content-type")
				for h := range a.Header {
					if strings.HasPrefix(h, "Access-Control-") {
						t.Errorf("%s for %q: %s", name(a), origin, h)
					}
				}
				if method == "OPTIONS" && a.StatusCode < 400 {
					t.Errorf("%s for %q", name(a), origin)
				}
			}
		}
	}
}

// Over real TLS, and behind a proxy that ends it, no header is missing on any answer; a
// proxy that is not trusted changes nothing of it.
func TestAttack_A49_NoHeaderIsMissingOverTLS(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		serve func(t *testing.T) *server
		https bool
		proto []string
	}{
		"TLS":                 {func(t *testing.T) *server { return overTLS(t) }, true, nil},
		"a trusted proxy":     {func(t *testing.T) *server { return start(t, t.TempDir(), "--trusted-proxies=127.0.0.1") }, true, []string{"X-Forwarded-Proto", "https"}},
		"one that is not":     {func(t *testing.T) *server { return start(t, t.TempDir()) }, false, []string{"X-Forwarded-Proto", "https"}},
		"a trusted plain one": {func(t *testing.T) *server { return start(t, t.TempDir(), "--trusted-proxies=127.0.0.1") }, false, []string{"X-Forwarded-Proto", "http"}},
		"a public https name": {func(t *testing.T) *server {
			return start(t, t.TempDir(), "--public-url=https://app.example", "--trusted-proxies=127.0.0.1")
		}, true, []string{"X-Forwarded-Proto", "https"}},
		"nobody between at all": {func(t *testing.T) *server { return start(t, t.TempDir()) }, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := tc.serve(t)
			c := s.client()
			for _, a := range []answer{
				c.do("GET", "/auth/login", "", append([]string{"Accept", htmlAccept}, tc.proto...)...),
				c.do("GET", "/auth/session", "", tc.proto...),
				c.do("GET", "/nowhere", "", tc.proto...),
				c.do("BREW", "/auth/login", "", tc.proto...),
				c.do("POST", "/auth/login", credentials("nobody", "x"), tc.proto...),
				c.do("POST", "/auth/login", "{", tc.proto...),
				c.do("POST", "/auth/login", "a=b", append([]string{"Origin", "https://evil.example"}, tc.proto...)...),
				c.do("GET", "/", "", append([]string{"Accept", htmlAccept}, tc.proto...)...),
			} {
				for _, wrong := range headerRows(a, tc.https) {
					t.Errorf("%s %d: %s", a.Request.URL.Path, a.StatusCode, wrong)
				}
			}
		})
	}
}

// Nothing that is stored for a password, a session or a link comes out again, at whatever
// address and in whatever list.
func TestAttack_A50_NoSecretInAnyAnswerOfTheAdministration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir)
	ada := s.setup()
	addUser(t, dir, "bob")
	bob := s.client().login("bob", goodPassword)
	id := bob.session().User.ID
	made := ada.want(ada.do("POST", "/auth/admin/users/"+id+"/reset", "{}", "X-CSRF-Token", ada.csrf), 201)
	m := regexp.MustCompile(`token=([A-Za-z0-9_-]+)`).FindStringSubmatch(made.body)
	if m == nil {
		t.Fatal(made.body)
	}
	secrets := []string{"$argon2", "$2b$", "argon2id", goodPassword, m[1], url.QueryEscape(m[1]), ada.secret().Value, bob.secret().Value}
	n := 0
	for _, r := range routes(t, s.client()) {
		path := strings.ReplaceAll(r.pattern, "{$}", "")
		path = strings.ReplaceAll(path, "{id}", id)
		if !r.has("GET") || strings.Contains(path, "{") {
			continue
		}
		for _, q := range []string{"", "?q=bob", "?user=bob&limit=200", "?fields=password,hash", "?format=full&debug=1"} {
			for _, accept := range []string{htmlAccept, "application/json"} {
				a := ada.do("GET", path+q, "", "Accept", accept)
				n++
				for _, secret := range secrets {
					if strings.Contains(a.body, secret) {
						t.Errorf("%s%s as %s: %s", name(a), q, accept, secret[:4])
					}
				}
			}
		}
	}
	for _, args := range [][]string{{"user", "list"}, {"user", "list", "--json"}, {"audit", "export"}, {"session", "list"}, {"session", "list", "--json"}} {
		_, out := command(t, dir, args...)
		for _, secret := range secrets {
			if strings.Contains(out, secret) {
				t.Errorf("%q prints %s", args, secret[:4])
			}
		}
	}
	if n < 100 {
		t.Errorf("only %d answers", n)
	}
}
