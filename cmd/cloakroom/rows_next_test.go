package main_test

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/cloakroom-dev/cloakroom/auth"
)

var update = flag.Bool("update", false, "write the golden files anew")

// goal is a line of the corpus of package auth: where a login is asked to lead.
type goal struct {
	pass  bool
	where string // "own", "other" or "none", as that package's reader sees it
	text  string
}

func goals(t *testing.T) (all []goal) {
	t.Helper()
	f, err := os.Open("../../auth/testdata/next.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		part := strings.Split(sc.Text(), "\t")
		if len(part) != 3 {
			continue
		}
		text, err := strconv.Unquote(part[2])
		if err != nil {
			t.Fatalf("%s: %v", sc.Text(), err)
		}
		all = append(all, goal{part[0] == "pass", part[1], text})
	}
	if len(all) < 120 {
		t.Fatalf("only %d strings", len(all))
	}
	return all
}

// resolve is how a browser resolves each of the texts on a page of
// https://own.example: the standard's own function, the parser that links and
// redirects go through.
const resolve = `(texts => texts.map(text => {
	const base = new URL("https://own.example/auth/login");
	let u;
	try { u = new URL(text, base) } catch { return { where: "none", path: "" } }
	const own = u.origin === base.origin && u.protocol === base.protocol && !u.username && !u.password;
	return own ? { where: "own", path: u.pathname + u.search + u.hash } : { where: "other", path: "" };
}))`

type verdict struct{ Where, Path string }

// whatChromiumSays resolves the corpus in a real Chromium.
func whatChromiumSays(t *testing.T, all []goal) []verdict {
	t.Helper()
	texts := make([]string, len(all))
	for i, g := range all {
		texts[i] = strings.ToValidUTF8(g.text, "\ufffd") // as a browser decodes it
	}
	arg, err := json.Marshal(texts)
	if err != nil {
		t.Fatal(err)
	}
	got, err := chromedp.Run(chromium(t, true), chromedp.Evaluate[[]verdict](resolve+"("+string(arg)+")"))
	if err != nil || len(got) != len(all) {
		t.Fatalf("%d verdicts of %d, %v", len(got), len(all), err)
	}
	return got
}

// Whatever a real Chromium would take elsewhere is refused; and what passes, it
// takes to the very path that was written. Its verdicts stand in a golden file.
func TestAttack_A27_ChromiumAgreesWithNext(t *testing.T) {
	all := goals(t)
	var golden strings.Builder
	elsewhere, here := 0, 0
	for i, v := range whatChromiumSays(t, all) {
		g := all[i]
		fmt.Fprintf(&golden, "%s\t%s\n", v.Where, strconv.QuoteToASCII(g.text))
		passes := auth.Next(g.text, "/fallback") == g.text && g.text != "/fallback"
		switch {
		case v.Where != "own":
			elsewhere++
			if passes {
				t.Errorf("%+q passes, and Chromium says %s", g.text, v.Where)
			}
		case passes:
			here++
			before, _, _ := strings.Cut(g.text, "?")
			before, _, _ = strings.Cut(before, "#")
			if path, _, _ := strings.Cut(v.Path, "?"); !strings.HasPrefix(unquoted(path)+"#", unquoted(before)+"#") {
				t.Errorf("%+q passes, and Chromium makes it %+q", g.text, v.Path)
			}
		}
		if passes != g.pass {
			t.Errorf("%+q: passes %v, in the corpus %v", g.text, passes, g.pass)
		}
		// Of no host and another one it may think in its own way.
		if (v.Where == "own") != (g.where == "own") {
			t.Errorf("%+q: Chromium says %s, the corpus %s", g.text, v.Where, g.where)
		}
	}
	if elsewhere < 100 || here < 40 {
		t.Errorf("%d lead elsewhere, %d here", elsewhere, here)
	}
	goldenFile(t, "testdata/next.chromium", golden.String())
}

// unquoted undoes the escapes that Chromium adds to a path, such as that of a
// quotation mark.
func unquoted(path string) string {
	path, _, _ = strings.Cut(path, "#")
	return strings.NewReplacer("%22", `"`, "%3C", "<", "%3E", ">", "%7B", "{", "%7D", "}", "%60", "`").Replace(path)
}

func goldenFile(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
		for i := range min(len(g), len(w)) {
			if g[i] != w[i] {
				t.Errorf("%s:%d: %s, want %s", file, i+1, g[i], w[i])
			}
		}
		t.Errorf("%s: %d lines, want %d", file, len(g), len(w))
	}
}

// visited notes where a browser went.
type visited struct {
	mu  sync.Mutex
	got []string // "https own.example"
}

func (v *visited) add(s string) { v.mu.Lock(); v.got = append(v.got, s); v.mu.Unlock() }

func (v *visited) take() (all []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	all, v.got = v.got, nil
	return all
}

// A real Chromium is sent to strings of the corpus by a Location header, as they
// are: where it goes is what its resolver said. All of those that pass, and a
// third of the others.
func TestAttack_A27_ChromiumFollowsTheLocation(t *testing.T) {
	all := goals(t)
	var seen visited
	handler := func(scheme string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if n, err := strconv.Atoi(r.URL.Query().Get("corpus")); err == nil && r.Host == "own.example" && scheme == "https" && r.URL.Path == "/auth/login" {
				w.Header()["Location"] = []string{all[n].text}
				w.WriteHeader(http.StatusSeeOther)
				return
			}
			if r.Header.Get("Upgrade-Insecure-Requests") == "1" { // a page, and nothing that the browser asks for on its own
				seen.add(scheme + " " + r.Host)
			}
		})
	}
	secure := httptest.NewUnstartedServer(handler("https"))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // such as that of ws:
	secure.StartTLS()
	defer secure.Close()
	plain := httptest.NewServer(handler("http"))
	defer plain.Close()
	ctx := chromium(t, true, chromedp.Flag("host-resolver-rules", fmt.Sprintf("MAP *:443 %s, MAP *:80 %s, MAP * %s",
		hostPort(secure.URL), hostPort(plain.URL), hostPort(secure.URL))))
	const home = "https own.example"
	stayed, left := 0, 0
	for i, g := range all {
		if !g.pass && i%3 != 0 {
			continue
		}
		if strings.ContainsAny(g.text, "\r\n") {
			continue // net/http writes none into a header
		}
		seen.take()
		// An error is a place where the browser does not go: javascript:, a host
		// that is none.
		_ = chromedp.Do(ctx, chromedp.Navigate("https://own.example/auth/login?corpus="+strconv.Itoa(i)))
		went := seen.take()
		stays := len(went) == 1 && went[0] == home
		away := slices.ContainsFunc(went, func(place string) bool { return place != home })
		switch {
		case away:
			left++
		case stays:
			stayed++
		}
		// A request that net/http itself refuses, as for a bad escape, is in neither.
		if g.pass && !stays || away && g.where == "own" || stays && g.where != "own" && g.text != "" {
			t.Errorf("%+q, of which the resolver says %s and which passes %v: Chromium goes to %q", g.text, g.where, g.pass, went)
		}
	}
	if stayed < 60 || left < 15 {
		t.Errorf("it stayed %d times and went away %d times", stayed, left)
	}
}

func hostPort(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	return net.JoinHostPort(u.Hostname(), u.Port())
}

// The login form and the page of who is signed in, with every string of the
// corpus: what is refused ends at the profile, what passes where it says.
func TestASVS_3_7_2_EveryNextOfTheCorpus(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	s.setup()
	in := s.client().login("ada", goodPassword)
	visitor := s.client()
	carried := 0
	for i, g := range goals(t) {
		at := "/auth/login?next=" + url.QueryEscape(g.text)
		want := "/auth/profile"
		if g.pass {
			want = g.text
		}
		if a := in.want(in.page(at), 303); a.Header.Get("Location") != want {
			t.Errorf("signed in, next %+q: Location %+q, want %+q", g.text, a.Header.Get("Location"), want)
		}
		page := visitor.want(visitor.page(at), 200)
		if carries := strings.Contains(page.body, `name="next"`); carries != g.pass {
			t.Errorf("next %+q: the form carries it: %v", g.text, carries)
		} else if carries {
			carried++
		}
		if i%12 != 0 {
			continue // a login takes its time
		}
		c := s.client()
		form := url.Values{"csrf_token": {csrfOf(t, c.page(at).body)}, "username": {"ada"}, "password": {goodPassword}, "next": {g.text}}
		a := c.form("/auth/login", form)
		if a.StatusCode == 400 && strings.ToValidUTF8(g.text, "") != g.text {
			continue // no text at all
		}
		if a.StatusCode != 303 || a.Header.Get("Location") != want {
			t.Errorf("login with next %+q: %d, Location %+q, want %+q", g.text, a.StatusCode, a.Header.Get("Location"), want)
		}
	}
	if carried < 40 {
		t.Errorf("only %d are carried along", carried)
	}
}

// A real Chromium signs in with hostile links and ends at the profile.
func TestASVS_3_7_2_ChromiumEndsAtTheProfile(t *testing.T) {
	s := start(t, t.TempDir())
	s.setup()
	b := &browser{t, chromium(t, false), strings.Replace(s.URL, "127.0.0.1", "localhost", 1)}
	for _, next := range []string{"//evil.example", `/\evil.example`, "/\t/evil.example", "https:evil.example", "javascript:alert(1)", "/.//evil.example", "\x01//evil.example"} {
		b.open(b.url + "/auth/login?next=" + url.QueryEscape(next))
		b.submit("Sign in", map[string]string{"username": "ada", "password": goodPassword})
		b.at("/auth/profile", "ada")
		b.click("header form button") // sign out
	}
}
