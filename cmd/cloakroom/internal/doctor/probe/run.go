package probe

import (
	"context"
	"crypto/x509"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/finding"
)

// run is one replay.
type run struct {
	Options
	asked  *url.URL // scheme and host of the URL
	origin string   // where the login page was found in the end
	plain  bool     // the cookies are called without __Host- and are not Secure
	list   []told
	told   map[string]bool
	walked []*stage // to their ends
	spared []string // checks that do not apply
	// unclear says of checks why they could not be made.
	unclear map[string]string
	secrets *secrets
	timeUp  func() bool // whether the time of the whole run is over
	late    bool        // it was, before the end of the way
	keys    [2]string   // that two cookies of two visitors are sealed with, if not the same
}

// told is a finding in the making.
type told struct {
	check         string
	level         finding.Level
	what, why, do words
}

// begin judges what needs no network, and reports whether there is somewhere to go.
func (r *run) begin() bool {
	r.net.setDefaults()
	r.net.secrets = r.secrets
	r.told, r.unclear = map[string]bool{}, map[string]string{}
	if r.Prefix == "" {
		r.Prefix = "/auth"
	}
	u, err := url.Parse(r.URL)
	const form = "write scheme and host, as --url https://login.example.org; a name in another script as xn--…"
	switch {
	case err != nil || !plain(u):
		r.fail("url-address", "the URL is not the address of a site", "nothing was looked at", form)
		return false
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		r.fail("url-address", "the URL has a user, a query or a fragment", "visitors come without, and nothing was looked at", form)
		return false
	}
	path := strings.TrimSuffix(u.Path, "/")
	if path != "" && path != r.Prefix && !strings.HasPrefix(path, r.Prefix+"/") {
		r.fail("url-path", "the URL has the path "+quote(path)+", and the service lives under "+own(r.Prefix),
			"the service's links, forms and redirects name paths from the root of the host: below another path they lead nowhere",
			"make the proxy pass "+own(r.Prefix)+" at the root of the host, or set prefix to the whole path, as prefix="+shown(path+r.Prefix))
		return false
	}
	r.asked = &url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host)}
	r.plain = strings.HasPrefix(r.Service.PublicURL, "http://")
	return r.readCA()
}

// readCA reads the file of authorities.
func (r *run) readCA() bool {
	if r.CA == "" {
		r.spare("url-ca")
		return true
	}
	pem, err := os.ReadFile(r.CA)
	if err == nil && r.net.roots == nil {
		if r.net.roots, err = x509.SystemCertPool(); err != nil {
			r.net.roots, err = x509.NewCertPool(), nil
		}
	}
	if err != nil || !r.net.roots.AppendCertsFromPEM(pem) {
		r.fail("url-ca", "the file of authorities "+quote(r.CA)+" holds no certificate that can be read",
			"without it the address cannot be verified, and nothing was looked at", "name a file in PEM form, which begins with -----BEGIN CERTIFICATE-----")
		return false
	}
	return true
}

func (r *run) fail(check string, what, why, do words) { r.say(finding.Error, check, what, why, do) }
func (r *run) warn(check string, what, why, do words) { r.say(finding.Warning, check, what, why, do) }

// say notes a finding, once for each check: what comes after the first mostly follows
// from it.
func (r *run) say(level finding.Level, check string, what, why, do words) {
	if !r.told[check] {
		r.told[check] = true
		r.list = append(r.list, told{check, level, what, why, do})
	}
}

// failed tells whether there is an error among what was found.
func (r *run) failed() bool {
	return slices.ContainsFunc(r.list, func(t told) bool { return t.level == finding.Error })
}

// findings are the list as it is told.
func (r *run) findings() []finding.Finding {
	var list []finding.Finding
	for _, t := range r.list {
		list = append(list, finding.Finding{Check: t.check, Level: t.level, What: r.text(t.what), Why: r.text(t.why), Do: r.text(t.do)})
	}
	return list
}

// walk replays the login, and ends where a browser would.
func (r *run) walk(ctx context.Context) {
	addrs, ok := r.resolve(ctx)
	if !ok {
		return
	}
	b := newBrowser(&r.net, netip.Addr{})
	defer b.close()
	page, ready := r.arrive(ctx, b)
	if page == nil {
		return
	}
	r.passed(reachStage)
	r.families(ctx, addrs, page)
	r.judgeTLS(page)
	if !trustworthy(page.url) {
		r.plainHTTP(page)
		return
	}
	r.judgeOrigin(page)
	r.judgeHeaders(page)
	r.passed(pageStage)
	if !ready {
		return // before setup there is no form, and no cookie
	}
	has := r.judgeCookie(page, visitorCookie)
	if r.strangers(ctx, page) {
		r.passed(cookieStage)
	}
	if !has || r.worst() {
		return // a browser would send the form without it, and we know what comes
	}
	if r.reload(ctx, b, page) && r.guess(ctx, b, page) {
		r.passed(formStage)
		if r.limits(ctx, b, page) {
			r.passed(limitStage)
		}
		if r.User != "" {
			r.signIn(ctx, page)
		}
	}
}

// worst tells whether one of the findings hides what a request behind it would say.
func (r *run) worst() bool {
	for _, check := range []string{"url-cookie-shared", "url-cached"} {
		if r.told[check] {
			return true
		}
	}
	return false
}

// judgeOrigin compares the address with what the service takes for its own.
func (r *run) judgeOrigin(page *answer) {
	const why = "the service compares the Origin of every form with public-url: logins are refused (403 Cross-origin request), and links in invitations lead elsewhere"
	public, err := url.Parse(r.Service.PublicURL)
	do := "set public-url=" + shown(r.origin) + " and restart the service; if people sign in at the other address, ask for that one with --url"
	switch {
	case r.Service.PublicURL == "" && page.url.Scheme == "https" && !r.Service.TLS:
		r.fail("url-public-url", "visitors come to "+shown(r.origin)+", and public-url is not set: the service takes itself for a site of plain http", why, do)
	case r.Service.PublicURL != "" && err == nil && origin(public) != r.origin:
		r.fail("url-public-url", "visitors come to "+shown(r.origin)+", and public-url is "+shown(origin(public)), why, do)
	}
}
