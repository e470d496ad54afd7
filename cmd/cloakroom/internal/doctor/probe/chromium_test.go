package probe_test

import (
	"context"
	"fmt"
	"html"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/doctor/probe"
)

// chromium starts a browser for which every name is the front's.
func chromium(t *testing.T, v *front) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Fatal("Chromium is missing: scripts/tools installs it from Debian's packages")
	}
	dir, err := os.MkdirTemp("", "chromium")
	if err != nil {
		t.Fatal(err)
	}
	rules := "MAP *:443 " + v.https.Listener.Addr().String() + ", MAP *:80 " + v.http.Listener.Addr().String()
	ctx, cancelTime := context.WithTimeout(context.Background(), time.Minute)
	ctx, cancelBrowser := chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(dir), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.NoFirstRun, chromedp.IgnoreCertErrors, chromedp.Flag("disable-quic", true),
		chromedp.Flag("host-resolver-rules", rules), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-features", "HttpsUpgrades,HttpsFirstBalancedModeAutoEnable"),
	)...)
	ctx, cancelTab := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		cancelTab()
		cancelBrowser()
		cancelTime()
		for range 50 { // its processes write there for a moment after the end
			if os.RemoveAll(dir) == nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
	return ctx
}

// switched is a front whose handler changes, and that notes how the first form came.
type switched struct {
	handler atomic.Pointer[http.Handler]
	form    atomic.Pointer[string]
}

func (s *switched) set(h http.Handler) { s.handler.Store(&h) }

// sent returns how the first form came since the last call.
func (s *switched) sent() string {
	if f := s.form.Swap(nil); f != nil {
		return *f
	}
	return "no form"
}

func (s *switched) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost && r.URL.Path == "/auth/login" { // a browser has business of its own as well
		var b strings.Builder
		for _, name := range []string{"Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest", "Sec-Fetch-User", "Content-Type", "Upgrade-Insecure-Requests"} {
			fmt.Fprintf(&b, "%s: %s\n", name, r.Header.Get(name))
		}
		fmt.Fprintf(&b, "%d cookies", len(r.Cookies()))
		text := b.String()
		s.form.CompareAndSwap(nil, &text)
	}
	(*s.handler.Load()).ServeHTTP(w, r)
}

// What the probe says of a fault is what happens to a real browser: it does not sign
// in, or it does where the probe has only warned.
func TestChromiumAgrees(t *testing.T) {
	t.Parallel()
	s := newService(t, settings{public: public, trusted: proxies})
	var handler switched
	v := newFront(t, &handler, &fault{})
	ctx := chromium(t, v)
	pick := func(name string) *fault {
		for _, f := range slices.Concat(healthy, redirectFaults, cookieFaults, requestFaults, headerFaults) {
			if f.name == name {
				return &f
			}
		}
		t.Fatalf("no fault is called %q", name)
		return nil
	}
	for _, c := range []struct {
		name, url string
		signsIn   bool
	}{
		{"plain http", "http://" + host, false}, // first: the others' HSTS would hide it
		{"healthy, with an account", public, true},
		{"a Domain is added", public, false},
		{"the Path is rewritten", public, false},
		{"no-referrer", public, false},
		{"a policy without forms", public, false},
		{"https to itself, as the second proxy sees http", public, false},
		{"the form is redirected by 301", public, false},
	} {
		f := pick(c.name)
		handler.set(visiting(s.proxy(f)))
		if _, err := chromedp.Call(ctx, network.ClearBrowserCookies, cdp.Empty{}); err != nil {
			t.Fatal(err)
		}
		handler.sent()
		got := signIn(ctx, c.url)
		theirs := handler.sent()
		o := probe.Options{URL: c.url, CA: theAuthority().pem(t), User: "ada", Password: goodPassword, Service: probe.Service{PublicURL: public, TrustedProxies: proxies}}
		list := probe.Run(t.Context(), o.In(v.world)).Findings
		if got != c.signsIn || strings.Join(checks(list), " ") != f.want {
			t.Errorf("%s: Chromium signs in: %t, want %t; the probe says:\n%s", c.name, got, c.signsIn, text(list))
		}
		if ours := handler.sent(); ours != theirs && ours != "no form" && theirs != "no form" {
			t.Errorf("%s: the probe's form:\n%s\nChromium's:\n%s", c.name, ours, theirs)
		}
	}
}

// signIn tells whether a browser gets from the login page to the profile.
func signIn(ctx context.Context, base string) bool {
	if err := chromedp.Do(ctx, chromedp.Navigate(base+"/auth/login")); err != nil {
		return false
	}
	err := chromedp.Do(ctx, chromedp.SendKeys(chromedp.CSS("main input[name=username]"), "ada"),
		chromedp.SendKeys(chromedp.CSS("main input[name=password]"), goodPassword))
	if err != nil {
		return false
	}
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	chromedp.RunResponse(short, chromedp.Click(chromedp.CSS("main form button")))
	at, err := chromedp.Run(ctx, chromedp.Location())
	return err == nil && at == base+"/auth/profile"
}

// lines are cookies of all kinds; %d is their number, for a name of their own.
var lines = []string{
	"a%d=1", "a%d=1; Secure", "a%d=1; Path=/", "a%d=1; Path=/set/deep", "a%d=1; Path=nonsense", "a%d=1; path=/; HTTPONLY",
	"__Host-a%d=1; Path=/; Secure", "__Host-a%d=1; Path=/", "__Host-a%d=1; Secure", "__Host-a%d=1; Path=/x; Secure",
	"__Host-a%d=1; Path=/; Secure; Domain=login.example.org", "__Host-a%d=1; Path=/; Secure; Domain=", "__HoSt-a%d=1; Path=/",
	"__Secure-a%d=1; Secure", "__Secure-a%d=1", "__Secure-a%d=1; Secure; Domain=example.org",
	"a%d=1; Domain=example.org", "a%d=1; Domain=.example.org", "a%d=1; Domain=org", "a%d=1; Domain=www.example.org",
	"a%d=1; Domain=xample.org", "a%d=1; Domain=login.example.org", "a%d=1; Domain=localhost", "a%d=1; Domain=example.org; Domain=example.com",
	"a%d=1; SameSite=None", "a%d=1; SameSite=None; Secure", "a%d=1; SameSite=Strict", "a%d=1; SameSite=nonsense",
	"a%d=1; Max-Age=0", "a%d=1; Max-Age=-5", "a%d=1; Max-Age=60", "a%d=1; Max-Age=x", "a%d=1; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
	"a%d=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "a%d=1; Expires=Fri, 01-Jan-2038 00:00:00 GMT", "a%d=1; Expires=01 jan 38 00:00:00", "a%d=1; Expires=nonsense",
	"a%d=1; Expires=Thu Jan  1 00:00:00 1970", "a%d=1; Partitioned; Secure; Path=/", "a%d=1; Partitioned",
	" a%d = 1 ; Path = / ", "a%d=" + strings.Repeat("x", 4000), "a%d=" + strings.Repeat("x", 4096), "a%d=1; Path=/" + strings.Repeat("x", 1100),
	"a%d=\"quoted; Path=/", "a%d=1=2", "a%d=x\ty",
}

// Of each cookie the jar says what Chromium does: whether it is kept, and sent back.
func TestJarIsChromiums(t *testing.T) {
	t.Parallel()
	set := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/set/it":
			for i, line := range lines {
				w.Header().Add("Set-Cookie", fmt.Sprintf(line, i))
			}
		}
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<main>"+html.EscapeString(r.Header.Get("Cookie"))+"</main>")
	})
	v := newFront(t, set, &fault{})
	ctx := chromium(t, v)
	for _, base := range []string{"http://localhost", "http://login.example.org", "https://login.example.org"} {
		var j probe.Jar
		u := parse(t, base+"/set/it")
		now := time.Now()
		why := map[string]error{}
		for i, line := range lines {
			line = fmt.Sprintf(line, i)
			why[line] = j.Set(u, line, now)
		}
		if _, err := chromedp.Call(ctx, network.ClearBrowserCookies, cdp.Empty{}); err != nil {
			t.Fatal(err)
		}
		if err := chromedp.Do(ctx, chromedp.Navigate(base+"/set/it")); err != nil {
			t.Fatal(err)
		}
		for _, to := range []string{base + "/set/again", base + "/elsewhere", "https://" + u.Host + "/set/again"} {
			if err := chromedp.Do(ctx, chromedp.Navigate(to)); err != nil {
				t.Fatal(err)
			}
			got, err := chromedp.Run(ctx, chromedp.TextContent(chromedp.CSS("main")))
			if err != nil {
				t.Fatal(err)
			}
			compare(t, to, got, j.Header(parse(t, to), true, true, now), why)
		}
	}
}

// compare tells the cookies that one of two headers has and the other has not.
func compare(t *testing.T, at, chromium, ours string, why map[string]error) {
	t.Helper()
	c, o := strings.Split(chromium, "; "), strings.Split(ours, "; ")
	for _, pair := range c {
		if !slices.Contains(o, pair) {
			t.Errorf("%s: Chromium sends %.60q, and the jar does not: %v", at, pair, why)
		}
	}
	for _, pair := range o {
		if !slices.Contains(c, pair) {
			t.Errorf("%s: the jar sends %.60q, and Chromium does not", at, pair)
		}
	}
}
