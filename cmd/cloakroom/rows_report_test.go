package main_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// TestASVS_3_4_7_BreachesOfThePolicyAreReported lets a real browser try what the policy
// forbids, and finds the report in the log, with the origin that was refused and nothing
// of the page's address.
func TestASVS_3_4_7_BreachesOfThePolicyAreReported(t *testing.T) {
	s := start(t, t.TempDir())
	b := &browser{t, chromium(t, true), local(s.URL)}
	b.open(b.url + "/auth/setup?token=secret-of-a-link")
	b.eval(`document.body.append(Object.assign(new Image(), {src: "https://elsewhere.example/x.png?secret=1"})); ""`)
	line := s.logged(regexp.MustCompile(`("msg":"policy_violated"[^\n]*)`))
	if !strings.Contains(line, `"directive":"img-src"`) || !strings.Contains(line, `"blocked":"https://elsewhere.example"`) || strings.Contains(line, "secret") {
		t.Errorf("the log has %s", line)
	}

	// Anybody can send a report: of one type, of a bounded size, and only a report.
	c := s.client()
	post := func(body, media string) int {
		r, err := http.NewRequest("POST", c.base+"/auth/csp-report", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", media)
		return c.send(r).StatusCode
	}
	const report = `{"csp-report":{"effective-directive":"script-src","blocked-uri":"inline"}}`
	for _, p := range []struct {
		body, media string
		want        int
	}{
		{report, "application/csp-report", 204}, {report, "application/json", 415}, {report, "", 415},
		{report, "text/plain", 415}, {"{}", "application/csp-report", 400}, {"[", "application/csp-report", 400},
		{`{"csp-report":{"blocked-uri":"` + strings.Repeat("a", 8<<10) + `"}}`, "application/csp-report", 413},
	} {
		if got := post(p.body, p.media); got != p.want {
			t.Errorf("%.40q as %q: %d, want %d", p.body, p.media, got, p.want)
		}
	}
}
