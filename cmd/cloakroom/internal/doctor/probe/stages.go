package probe

import (
	"slices"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/finding"
)

// A stage is a piece of the way and what is looked at on it. Whoever has come to its end
// has looked at all of it; what goes wrong before keeps the rest from being looked at.
type stage struct {
	checks []string
	behind bool // the login of an account, which takes one
}

// The stages, in the order in which they are walked.
var (
	addressStage = &stage{checks: []string{"url-address", "url-path", "url-ca"}}
	reachStage   = &stage{checks: []string{
		"url-dns", "url-refused", "url-unreachable", "url-timeout", "url-not-http", "url-http2", "url-broken-off",
		"url-tls-plain", "url-tls-handshake", "url-tls-early", "url-tls-expired", "url-tls-host", "url-tls-chain", "url-tls-untrusted",
		"url-redirect-loop", "url-redirect-elsewhere", "url-redirect-malformed", "url-inner-address",
		"url-gateway", "url-rate-limit", "url-proxy-login", "url-prefix", "url-other-application",
	}}
	pageStage = &stage{checks: []string{
		"url-families", "url-tls-old", "url-tls-expires", "url-plain-http", "url-public-url", "url-clock", "url-content",
		"url-csp", "url-csp-form", "url-cache-control", "url-referrer-policy", "url-headers", "url-hsts",
	}}
	cookieStage = &stage{checks: []string{
		"url-setup", "url-cookie-stripped", "url-cookie-renamed", "url-cookie-refused", "url-cookie-domain", "url-cookie-path",
		"url-cookie-secure", "url-cookie-samesite", "url-cookie-httponly", "url-cookie-lifetime", "url-cookie-twice", "url-cookie-many", "url-cookie-shared",
	}}
	formStage = &stage{checks: []string{
		"url-unavailable", "url-internal", "url-keys-differ", "url-request-cookie", "url-blocked", "url-method", "url-body-lost",
		"url-post-redirected", "url-status", "url-error-pages", "url-throttled", "url-fetch-metadata", "url-origin-header", "url-login-refused",
	}}
	limitStage = &stage{checks: []string{"url-cached", "url-origin-stripped", "url-header-limit", "url-body-limit"}}

	loginStage   = &stage{behind: true, checks: []string{"url-login-not-tried", "url-credentials"}}
	sessionStage = &stage{behind: true, checks: []string{"url-session-lost", "url-must-change", "url-client-address", "url-forged-address"}}
	logoutStage  = &stage{behind: true, checks: []string{"url-csrf-header", "url-cookie-stripped-post", "url-logout"}}

	stages = []*stage{addressStage, reachStage, pageStage, cookieStage, formStage, limitStage, loginStage, sessionStage, logoutStage}
)

// Why a check was not made.
const (
	noAccount = "nobody signed in at the address of --url; with --user and --password-stdin somebody does"
	outOfTime = "the visit of --url had no time left for it, as the answers before were slow"
	cutShort  = "the visit of --url was over before, with what it found"
)

// passed notes that the end of a stage was reached.
func (r *run) passed(s *stage) { r.walked = append(r.walked, s) }

// spare notes checks that say nothing here: neither were they made, nor are they missing.
func (r *run) spare(checks ...string) { r.spared = append(r.spared, checks...) }

// missed notes checks that could not be made though the way went on, and why.
func (r *run) missed(why string, checks ...string) {
	for _, check := range checks {
		r.unclear[check] = why
	}
}

// result puts together what was found and what was looked at.
func (r *run) result() finding.Result {
	res := finding.Result{Findings: r.findings()}
	for _, s := range stages {
		for _, check := range s.checks {
			why, unclear := r.unclear[check]
			spared := slices.Contains(r.spared, check)
			switch {
			case r.told[check], slices.Contains(r.walked, s) && !spared && !unclear:
				res.Checked = append(res.Checked, check)
			case spared:
			case unclear:
				res.NotChecked = append(res.NotChecked, finding.NotChecked{Check: check, Reason: why})
			case s.behind && r.User == "":
				res.NotChecked = append(res.NotChecked, finding.NotChecked{Check: check, Reason: noAccount})
			case r.late:
				res.NotChecked = append(res.NotChecked, finding.NotChecked{Check: check, Reason: outOfTime})
			default:
				res.NotChecked = append(res.NotChecked, finding.NotChecked{Check: check, Reason: cutShort})
			}
		}
	}
	for _, f := range res.Findings {
		if !slices.Contains(res.Checked, f.Check) {
			res.Checked = append(res.Checked, f.Check) // that the look was broken off
		}
	}
	return res
}
