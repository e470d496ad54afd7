package main_test

import (
	_ "embed"
	"flag"
	"os"
	"path/filepath"
	"strings"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// shots is where pictures of all pages go: go test ./cmd/cloakroom -run Pages -shots DIR
var shots = flag.String("shots", "", "`directory` for pictures of the pages")

// axe is axe-core 4.10.3, which judges a page by the rules of WCAG. It stands here as
// it was published, under the Mozilla Public License 2.0: testdata/axe/LICENSE.
//
//go:embed testdata/axe/axe.min.js
var axe string

// findings runs axe over the page as it is now. best-practice is more than WCAG asks.
const findings = `axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}).then(r =>
	r.violations.map(v => v.id + ": " + v.help + ": " + v.nodes.map(n => n.html + " " + n.failureSummary).join("; ")).join("\n"))`

// overflow names what is wider than the window: nobody should have to scroll to the
// side in order to read (WCAG 1.4.10).
const overflow = `document.documentElement.scrollWidth <= innerWidth ? "" :
	[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 120)).join("\n")`

// small names what is too small to be met with a finger (WCAG 2.5.8 asks for 24, we
// for 44 in one direction at least); links in running text are left out.
const small = `[...document.querySelectorAll("button, input:not([type=hidden], [type=checkbox], [type=radio]), select, summary, a.button")]
	.filter(e => { const r = e.getBoundingClientRect(); return r.width > 0 && Math.round(r.height) < 44 }).map(e => e.outerHTML.slice(0, 120)).join("\n")`

// look has the page judged in light and dark, on a narrow screen and a wide one.
func (b *browser) look(name string) {
	b.t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{320, 1280} {
			b.as(scheme, width)
			for rule, script := range map[string]string{"wider than the window": overflow, "too small": small} {
				if found := b.eval(script); found != "" {
					b.t.Errorf("%s, %s, %d px: %s:\n%s", name, scheme, width, rule, found)
				}
			}
			// The page's own policy forbids scripts; what the debugger runs is not the page's.
			b.eval(axe + "; ''")
			if found := b.eval(findings); found != "" {
				b.t.Errorf("%s, %s, %d px:\n%s", name, scheme, width, found)
			}
			b.picture(name, scheme, width)
		}
	}
	b.as("light", 1280)
}

// as makes the browser prefer a color scheme on a screen of that width.
func (b *browser) as(scheme string, width int64) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
	})
	b.do("emulate "+scheme, err)
	_, err = chromedp.Call(b.ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: width, Height: 800, DeviceScaleFactor: 1,
	})
	b.do("emulate a screen", err)
}

func (b *browser) eval(script string) string {
	b.t.Helper()
	text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise))
	b.do("look", err)
	return strings.TrimSpace(text)
}

func (b *browser) picture(name, scheme string, width int64) {
	b.t.Helper()
	if *shots == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	b.do("picture", err)
	file := strings.ReplaceAll(name, " ", "-") + "-" + scheme + map[int64]string{320: "-narrow", 1280: "-wide"}[width] + ".png"
	if err := os.WriteFile(filepath.Join(*shots, file), png, 0o600); err != nil {
		b.t.Fatal(err)
	}
}
