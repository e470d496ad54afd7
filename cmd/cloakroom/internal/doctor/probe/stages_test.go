package probe_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/doctor/probe"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/finding"
)

// Every check belongs to one stage of the way, so that each is among what was looked at
// or among what was not.
func TestEveryCheckHasAStage(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	says := regexp.MustCompile(`(?:fail|warn|say)\((?:level, )?"(url-[a-z-0-9]+)"`)
	all := slices.Concat(probe.Stages()...)
	seen := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range says.FindAllStringSubmatch(string(text), -1) {
			seen++
			if m[1] != "url-cancelled" && !slices.Contains(all, m[1]) { // which is no check of the way
				t.Errorf("%s: %s is in no stage", file, m[1])
			}
		}
	}
	if slices.Sort(all); len(slices.Compact(slices.Clone(all))) != len(all) || seen < len(all) {
		t.Errorf("%d checks in stages, %d in use: %q", len(all), seen, all)
	}
}

// notChecked are the names of what was not looked at, for a reason.
func notChecked(r finding.Result, reason string) []string {
	var names []string
	for _, n := range r.NotChecked {
		if n.Reason == reason {
			names = append(names, n.Check)
		}
	}
	return names
}

// Without an account what comes behind the login is not looked at, which is said, and is
// no fault; with one all is.
func TestWhatWasLookedAt(t *testing.T) {
	t.Parallel()
	s := newService(t, settings{hashes: true})
	o := probe.Options{URL: s.url.String()}
	stages := probe.Stages()
	behind := slices.Concat(stages[len(stages)-3:]...)

	r := probe.Run(t.Context(), o)
	if got := notChecked(r, probe.NoAccount); !slices.Equal(got, behind) || len(r.NotChecked) != len(got) || len(r.Findings) > 0 {
		t.Errorf("without an account: %+v", r)
	}
	for _, check := range []string{"url-refused", "url-csp", "url-cookie-shared", "url-status", "url-body-limit"} {
		if !slices.Contains(r.Checked, check) {
			t.Errorf("%s is not among %q", check, r.Checked)
		}
	}
	// Plain http to an address of this machine has neither a name nor TLS.
	for _, check := range append([]string{"url-dns", "url-tls-old", "url-hsts", "url-ca"}, behind...) {
		if slices.Contains(r.Checked, check) {
			t.Errorf("%s is among %q", check, r.Checked)
		}
	}

	o.User, o.Password = "ada", goodPassword
	if r = probe.Run(t.Context(), o); len(r.NotChecked) > 0 || !slices.Contains(r.Checked, "url-session-lost") || !slices.Contains(r.Checked, "url-logout") {
		t.Errorf("with an account: %+v", r)
	}

	o.Password = "not the password of ada"
	r = probe.Run(t.Context(), o)
	if got := notChecked(r, probe.CutShort); !slices.Contains(r.Checked, "url-credentials") || !slices.Contains(got, "url-session-lost") || len(notChecked(r, probe.NoAccount)) > 0 {
		t.Errorf("with a wrong password: %+v", r)
	}

	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	r = probe.Run(t.Context(), probe.Options{URL: closed.URL})
	if got := notChecked(r, probe.CutShort); !slices.Contains(got, "url-csp") || !slices.Contains(got, "url-timeout") ||
		slices.Contains(r.Checked, "url-timeout") || !slices.Contains(r.Checked, "url-refused") || len(notChecked(r, probe.NoAccount)) == 0 {
		t.Errorf("nobody listens: %+v", r)
	}
}
