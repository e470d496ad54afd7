package main_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// chromium starts a browser with a new profile and returns its first tab.
func chromium(t *testing.T, scripting bool, extra ...chromedp.ExecAllocatorOption) context.Context {
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
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(dir), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.NoFirstRun, chromedp.IgnoreCertErrors, chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
	)
	opts = append(opts, extra...)
	ctx, cancelTime := context.WithTimeout(context.Background(), time.Minute)
	ctx, cancelBrowser := chromedp.NewExecAllocator(ctx, opts...)
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
	_, err = chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !scripting})
	if err != nil {
		t.Fatal(err)
	}
	return ctx
}

// TestChromium sets up, signs out and signs in with a real browser, over plain
// HTTP on localhost, where it takes Secure cookies, and over TLS; the pages need
// no scripts.
func TestChromium(t *testing.T) {
	for _, c := range []struct {
		name           string
		tls, scripting bool
	}{
		{"http", false, true}, {"http without scripts", false, false},
		{"https", true, true}, {"https without scripts", true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			var args []string
			if c.tls {
				selfSigned(t, dir)
				args = []string{"--tls-cert=cert.pem", "--tls-key=key.pem"}
			}
			s := start(t, dir, args...)
			local := func(address string) string { return strings.Replace(address, "127.0.0.1", "localhost", 1) }
			b := &browser{t, chromium(t, c.scripting), local(s.URL)}

			b.open(local(s.await(linkLine)))
			b.submit("Create", map[string]string{"username": "Ada", "password": goodPassword})
			b.at("/auth/profile", "ada")
			b.cookie()
			b.click("header form button") // sign out
			b.open(b.url + "/auth/sessions")
			b.at("/auth/login?next=%2Fauth%2Fsessions", "Sign in")
			b.submit("Sign in", map[string]string{"username": "ada", "password": "wrong password"})
			b.at("/auth/login", "Sign in")
			b.submit("Sign in", map[string]string{"username": "ada", "password": goodPassword})
			b.at("/auth/sessions", "This device")
		})
	}
}

// browser is one tab.
type browser struct {
	t   *testing.T
	ctx context.Context
	url string
}

func (b *browser) do(what string, err error) {
	b.t.Helper()
	if err != nil {
		html, _ := chromedp.Run(b.ctx, chromedp.OuterHTML(chromedp.CSS("html")))
		b.t.Fatalf("%s: %v\n%s", what, err, html)
	}
}

func (b *browser) open(url string) {
	b.t.Helper()
	b.do("open "+url, chromedp.Do(b.ctx, chromedp.Navigate(url)))
}

// click clicks a button that leads to another page, and waits for that.
func (b *browser) click(css string) {
	b.t.Helper()
	_, err := chromedp.RunResponse(b.ctx, chromedp.Click(chromedp.CSS(css)))
	b.do("click "+css, err)
}

// submit types into the fields of the page's form and clicks its button.
func (b *browser) submit(form string, fields map[string]string) {
	b.t.Helper()
	for name, value := range fields {
		field := chromedp.CSS("main input[name=" + name + "]")
		b.do(form+": "+name, chromedp.Do(b.ctx, chromedp.Clear(field), chromedp.SendKeys(field, value)))
	}
	b.click("main form button")
}

// at fails unless the tab shows this address and this text.
func (b *browser) at(path, text string) {
	b.t.Helper()
	location, err := chromedp.Run(b.ctx, chromedp.Location())
	b.do("location", err)
	body, err := chromedp.Run(b.ctx, chromedp.TextContent(chromedp.CSS("main")))
	b.do("text", err)
	if location != b.url+path || !strings.Contains(strings.ToLower(body), strings.ToLower(text)) {
		b.t.Fatalf("the browser is at %s, want %s%s with %q:\n%s", location, b.url, path, text, body)
	}
}

// cookie fails unless the browser has taken the session's cookie as we meant it.
func (b *browser) cookie() {
	b.t.Helper()
	got, err := chromedp.Call(b.ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{b.url}})
	b.do("cookies", err)
	for _, c := range got.Cookies {
		if c.Name == "__Host-session" {
			if !c.HTTPOnly || !c.Secure || !c.Session || c.SameSite != network.CookieSameSiteLax || c.Path != "/" {
				b.t.Fatalf("the browser understood %+v", c)
			}
			return
		}
	}
	b.t.Fatalf("the browser has no session cookie: %+v", got.Cookies)
}
