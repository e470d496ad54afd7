package probe

import (
	"context"
	"crypto/x509"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/finding"
)

// run is one replay.
type run struct {
	Options
	asked  *url.URL // scheme and host of the URL
	origin string   // where the login page was found in the end
	plain  bool     // the cookies are called without __Host- and are not Secure
	list   []finding.Finding
	told   map[string]bool
	secret []string // that no finding may repeat
}

// begin judges what needs no network, and reports whether there is somewhere to go.
func (r *run) begin() bool {
	r.net.setDefaults()
	r.told = map[string]bool{}
	r.secret = append(r.secret, r.Password)
	if r.Prefix == "" {
		r.Prefix = "/auth"
	}
	u, err := url.Parse(r.URL)
	const form = "write scheme and host, as --url https://login.example.org"
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "" || u.Scheme != "http" && u.Scheme != "https":
		r.fail("url-address", "the URL is no address of a site", "nothing was looked at", form)
		return false
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		r.fail("url-address", "the URL has a user, a query or a fragment", "visitors come without, and nothing was looked at", form)
		return false
	}
	path := strings.TrimSuffix(u.Path, "/")
	if path != "" && path != r.Prefix && !strings.HasPrefix(path, r.Prefix+"/") {
		r.fail("url-path", "the URL has the path "+quote(path)+", and the service lives under "+r.Prefix,
			"the service's links, forms and redirects name paths from the root of the host: below another path they lead nowhere",
			"make the proxy pass "+r.Prefix+" at the root of the host, or set prefix to the whole path, as prefix="+quote(path+r.Prefix))
		return false
	}
	r.asked = &url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host)}
	r.plain = strings.HasPrefix(r.Service.PublicURL, "http://")
	return r.readCA()
}

// readCA reads the file of authorities.
func (r *run) readCA() bool {
	if r.CA == "" {
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

func (r *run) fail(check, what, why, do string) { r.say(finding.Error, check, what, why, do) }
func (r *run) warn(check, what, why, do string) { r.say(finding.Warning, check, what, why, do) }

// say notes a finding, once for each check: what comes after the first mostly follows
// from it.
func (r *run) say(level finding.Level, check, what, why, do string) {
	if !r.told[check] {
		r.told[check] = true
		r.list = append(r.list, finding.Finding{Check: check, Level: level, What: what, Why: why, Do: do})
	}
}

// hide adds what no finding may repeat.
func (r *run) hide(secrets ...string) { r.secret = append(r.secret, secrets...) }

// findings are the list without a secret in it, wherever an answer may have put one.
func (r *run) findings() []finding.Finding {
	for i := range r.list {
		f := &r.list[i]
		for _, text := range []*string{&f.What, &f.Why, &f.Do} {
			for _, s := range r.secret {
				if len(s) >= 4 { // a shorter one is a part of many words
					*text = strings.NewReplacer(s, "…", url.QueryEscape(s), "…", url.PathEscape(s), "…").Replace(*text)
				}
			}
		}
	}
	return r.list
}

// quote writes outside text on one line, in ASCII and not too long.
func quote(s string) string {
	const most = 120
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strconv.QuoteToASCII(s)
}

// name is an address without what may be a secret in it.
func name(u *url.URL) string {
	n := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	s := strings.Trim(strconv.QuoteToASCII(n.String()), `"`)
	if len(s) > 200 {
		s = s[:200] + "..."
	}
	return s
}

// walk replays the login.
func (r *run) walk(ctx context.Context) {
}
