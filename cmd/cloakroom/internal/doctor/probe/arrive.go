package probe

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
)

// What tells the pages of the service from others'.
var (
	titleMark  = " · Cloakroom</title>"
	setupMark  = "cloakroom setup-link"
	errorMark  = `id="error" role="alert"`
	formAction = regexp.MustCompile(`<form [^>]*method="?post"?[^>]* action="?([^" >]*)"?`)
	formToken  = regexp.MustCompile(`name="?csrf_token"? value="?([A-Za-z0-9_-]+)"?`)
)

// ours tells whether the service made an answer, as far as a proxy left any sign of it.
func (a *answer) ours(prefix string) bool {
	if strings.HasPrefix(a.Header.Get("Content-Type"), "application/problem+json") {
		return strings.Contains(a.body, `"type":"about:blank"`)
	}
	return strings.Contains(a.body, titleMark) || strings.Contains(a.body, `action="`+prefix+`/login"`)
}

// token returns the CSRF token of the page's form, "" for none.
func (a *answer) token() string {
	if m := formToken.FindStringSubmatch(a.body); m != nil {
		return m[1]
	}
	return ""
}

// at is an address of the service under an origin that has been visited.
func (r *run) at(u *url.URL, path string) *url.URL {
	return &url.URL{Scheme: u.Scheme, Host: u.Host, Path: r.Prefix + path}
}

// arrive opens the login page, and returns it if it is one.
func (r *run) arrive(ctx context.Context, b *browser) (*answer, bool) {
	start := r.at(r.asked, "/login")
	hops, err := b.navigate(ctx, &request{method: http.MethodGet, url: start})
	if err != nil {
		r.lost(hops, err, start)
		return nil, false
	}
	page := hops[len(hops)-1]
	r.origin = origin(page.url)
	switch {
	case page.StatusCode == http.StatusOK && page.token() != "" && strings.Contains(page.body, `name="password"`):
		return page, true
	case page.StatusCode == http.StatusOK && strings.Contains(page.body, setupMark):
		r.warn("url-setup", "nobody can sign in yet: there is no account", "of the way to the login page nothing was found wrong, and what comes behind was not looked at",
			"make the first administrator with the link of: cloakroom setup-link")
		return page, false
	}
	r.strange(page)
	return nil, false
}

// strange tells what an answer is that is not the one which belongs there.
func (r *run) strange(a *answer) {
	at, status := name(a.url), a.Status
	if a.Proto == "" || len(status) > 60 {
		status = http.StatusText(a.StatusCode)
	}
	ours := a.ours(r.Prefix)
	said := at + " answers " + quote(status)
	switch {
	case a.StatusCode == http.StatusServiceUnavailable && ours:
		r.fail("url-unavailable", "the service answers, and has no answer from its store or its accounts: 503", "nobody can sign in; whoever has a session keeps it",
			"see store_failed and users_failed in the service's log, and what else doctor says of the stores")
	case a.StatusCode >= 500 && ours:
		r.fail("url-internal", said+", from the service itself", whyNobody, "see the event panic in the service's log")
	case a.StatusCode == http.StatusInternalServerError:
		r.fail("url-gateway", said+": the proxy itself fails", whyNobody, "see the proxy's error log (nginx: mostly a directory for temporary files or a cache that it may not write)")
	case a.StatusCode > 500:
		r.fail("url-gateway", said+": the proxy has no answer from the service", whyNobody,
			"see that the service runs where the proxy looks for it (setting listen; nginx: proxy_pass), that it is not slower than the proxy's patience, and the proxy's error log"+gatewayHints[a.StatusCode])
	case a.StatusCode == 429 && !ours:
		r.fail("url-rate-limit", said+": the proxy limits how many requests an address sends", "whoever signs in needs a handful of requests, and an office full of people shares one address",
			"raise the limit for "+own(r.Prefix)+": the service itself slows down wrong passwords")
	case a.StatusCode == 401 && !ours, a.StatusCode == 407:
		r.fail("url-proxy-login", said+": the proxy asks for a password of its own", "visitors have to sign in twice, and the Authorization header or a second cookie goes with every request",
			"let "+own(r.Prefix)+" pass without it (nginx: location "+own(r.Prefix)+"/ { auth_basic off; … })")
	case a.StatusCode == 403 && ours:
		r.fail("url-fetch-metadata", "the login page is refused as a part of another site's page: the request's Sec-Fetch headers are not those that were sent", "browsers are refused likewise",
			"let the proxy pass Sec-Fetch-Site, Sec-Fetch-Mode and Sec-Fetch-Dest as they come")
	case a.StatusCode == 403:
		r.fail("url-blocked", said+", and not from the service: a rule of the proxy or a firewall in front refuses it", whyNobody+", unless the rule means only this machine",
			"allow "+own(r.Prefix)+" in the proxy's rules (nginx: allow, deny), or start the probe from where visitors are")
	case (a.StatusCode == 404 || a.StatusCode == 405) && ours:
		r.fail("url-prefix", "the service answers at "+at+", and knows no such page: it gets another path than the visitor's, or its prefix is not "+own(r.Prefix), whyNobody+": links, forms and redirects name paths under prefix",
			"pass the path on as it is (nginx: proxy_pass http://127.0.0.1:8080; without a path or a slash behind), and let the setting prefix be what visitors see")
	default:
		r.fail("url-other-application", said+", and it is not a page of the service: another application, or the proxy itself, answers there", whyNobody,
			"pass "+own(r.Prefix)+" on to the service (nginx: location "+own(r.Prefix)+"/ { proxy_pass http://127.0.0.1:8080; }), in the part of the proxy's configuration that is for this host name")
	}
}

// gatewayHints are what else a proxy means by a status.
var gatewayHints = map[int]words{
	http.StatusBadGateway:         " (nginx: where it says that a header is too big, proxy_buffer_size 8k)",
	http.StatusServiceUnavailable: "; where it limits how many requests an address sends, raise the limit for this location (nginx: limit_req and limit_conn answer 503)",
}

// lost tells why the way to a page ended nowhere.
func (r *run) lost(hops []*answer, err error, start *url.URL) {
	if len(hops) == 0 {
		r.broken(err, start)
		return
	}
	last := hops[len(hops)-1]
	to, _ := last.leads()
	switch {
	case errors.Is(err, errLoop), errors.Is(err, errTooMany):
		r.loop(hops, to, err)
	case errors.Is(err, errElsewhere) && inner(to.Hostname()):
		r.innerAddress(last.url, to)
	case errors.Is(err, errElsewhere):
		r.fail("url-redirect-elsewhere", name(last.url)+" is redirected to another site, "+name(to), "the service's own redirects stay on its host: a login of the proxy's, or a rule meant for another host, stands in front",
			"let "+own(r.Prefix)+" pass to the service without it; if that address is where people sign in, ask for it: --url "+shown(origin(to)))
	case errors.Is(err, errLocation):
		r.fail("url-redirect-malformed", name(last.url)+" is redirected to "+quote(strings.SplitN(r.secrets.blank(last.Header.Get("Location")), "?", 2)[0])+", which is not the address of a page", whyNobody,
			"correct the proxy's redirect")
	default:
		r.broken(err, to)
	}
}

// innerAddress is for links and redirects that name what only the proxy can reach.
func (r *run) innerAddress(from, to *url.URL) {
	r.fail("url-inner-address", name(from)+" is redirected to "+name(to)+", an address behind the proxy", "visitors cannot reach it. The service's own redirects name paths alone: something put its inner address in front of one",
		"pass the name that visitors use (nginx: proxy_set_header Host $host; Apache: ProxyPreserveHost On), and turn off whatever makes redirects absolute")
}

// inner tells whether a host is one that visitors cannot reach.
func inner(host string) bool {
	ip, err := netip.ParseAddr(host)
	return loopback(host) || err != nil && !strings.Contains(host, ".") ||
		err == nil && (ip.IsPrivate() || ip.IsLoopback() || ip.IsUnspecified() || ip.IsLinkLocalUnicast()) ||
		strings.HasSuffix(host, ".internal") || strings.HasSuffix(host, ".local")
}

// loop names the two addresses that disagree.
func (r *run) loop(hops []*answer, to *url.URL, err error) {
	a, b := hops[len(hops)-1].url, to
	for i, h := range hops { // back to where the circle begins
		if h.url.String() == to.String() && i+1 < len(hops) {
			a, b = h.url, hops[i+1].url
			break
		}
	}
	what := name(a) + " is redirected to " + name(b) + ", and that back again"
	const why = "browsers give up with \"too many redirects\". The service redirects nobody away from its login page: both come from what stands in front of it"
	do := words("find the rule for each of the two addresses in the proxies' configurations, and take one away")
	switch {
	case errors.Is(err, errTooMany):
		what = "after 20 redirects there is no page yet: the last leads from " + name(a) + " to " + name(b)
		do = "find the rule in the proxies' configurations that adds to the address each time, and let it leave alone what it has changed already"
	case *a == *b:
		what = name(a) + " is redirected to itself"
		do = "mostly the first proxy ends TLS and the second sends plain http to https: let the first speak https to the second (Cloudflare: SSL mode Full), or the second believe X-Forwarded-Proto"
	case a.Scheme != b.Scheme && a.Host == b.Host:
		do = "one rule sends http to https and another sends it back: keep the first, in the proxy that ends TLS, and let what is behind it redirect no more, or let it believe X-Forwarded-Proto"
	case strings.TrimSuffix(a.Path, "/") == strings.TrimSuffix(b.Path, "/") && a.Host == b.Host:
		do = "one rule adds a slash at the end and another takes it away: the service's paths have none"
	case strings.TrimPrefix(a.Hostname(), "www.") == strings.TrimPrefix(b.Hostname(), "www."):
		do = "one rule adds www. and another takes it away: keep the one that leads to the host of public-url"
	}
	r.fail("url-redirect-loop", what, why, do)
}
