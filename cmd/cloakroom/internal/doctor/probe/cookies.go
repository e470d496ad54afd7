package probe

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/finding"
)

// The two cookies of a login, before their prefix.
const (
	visitorCookie = "csrf"    // before somebody signs in
	sessionCookie = "session" // afterwards
)

// shapes tell cookies whose name is another one.
var shapes = map[string]*regexp.Regexp{
	visitorCookie: regexp.MustCompile(`^[A-Za-z0-9_-]{98}$`),
	sessionCookie: regexp.MustCompile(`^[A-Za-z0-9_-]{71}$|^[A-Za-z0-9_-]{200,}$`),
}

// sameSites is the SameSite of each.
var sameSites = map[string]string{visitorCookie: "Strict", sessionCookie: "Lax"}

// cookieName is what the service calls a cookie.
func (r *run) cookieName(base string) string {
	if r.plain {
		return base
	}
	return "__Host-" + base
}

// find returns the place of a cookie in an answer, -1 for none.
func (a *answer) find(name string) int {
	for i, c := range a.cookies {
		if c.name == name {
			return i
		}
	}
	return -1
}

// judgeCookie compares a cookie with what the service sets, and tells whether the
// browser has it.
func (r *run) judgeCookie(a *answer, base string) bool {
	want := r.cookieName(base)
	if n := len(a.cookies); n > maxCookies {
		r.warn("url-cookie-many", "one answer sets "+number(n)+" cookies, and browsers keep "+number(maxCookies)+" of a site", "the oldest are lost, which signs visitors out here or in another application of the site; those that no browser keeps were not looked at",
			"find the application, or the rule of the proxy, that sets so many")
	}
	i := a.find(want)
	if i < 0 {
		r.missing(a, base)
		return false
	}
	r.attributes(&a.cookies[i], a.refused[i], base)
	if err := a.refused[i]; err != nil {
		r.dropped(want, err, a)
		return false
	}
	if slices.ContainsFunc(a.cookies[i+1:], func(c cookie) bool { return c.name == want }) {
		r.warn("url-cookie-twice", "the cookie "+own(want)+" comes twice in one answer", "browsers take the last, programs perhaps the first: some are signed out at once", "find what adds a second Set-Cookie line in the proxy")
	}
	return true
}

// missing is for a cookie that the service sets and that does not come.
func (r *run) missing(a *answer, base string) {
	want := r.cookieName(base)
	for i, c := range a.cookies {
		if shapes[base].MatchString(c.value) {
			r.fail("url-cookie-renamed", "the cookie "+own(want)+" comes as "+quote(a.cookies[i].name), "the service does not know it again under that name: every form is refused, and nobody stays signed in",
				"find what rewrites Set-Cookie in the proxy; where an application on the same host has a cookie of this name, rename that one. If nothing rewrites it, the service runs with another public-url than this command was told")
			return
		}
	}
	const do = "let the proxy pass Set-Cookie (nginx: no proxy_hide_header Set-Cookie and no proxy_ignore_headers; Varnish: no unset beresp.http.Set-Cookie; a CDN: no caching of "
	if base == sessionCookie {
		r.fail("url-cookie-stripped-post", "the service sets the cookie "+own(want)+" at a login, and it does not arrive", "whoever signs in is sent to the page to sign in again. The session of this try ends by its idle time", do+own(r.Prefix)+")")
		return
	}
	r.fail("url-cookie-stripped", "the service sets the cookie "+own(want)+" on the page to sign in, and it does not arrive", "without it every form is refused (403 CSRF token missing or wrong)", do+own(r.Prefix)+")")
}

// dropped is for a cookie that browsers refuse for a reason that no attribute tells.
func (r *run) dropped(name string, err error, a *answer) {
	for _, known := range []string{"url-plain-http", "url-cookie-domain", "url-cookie-path", "url-cookie-secure", "url-cookie-samesite"} {
		if r.told[known] {
			return
		}
	}
	if !trustworthy(a.url) {
		r.plainHTTP(a)
		return
	}
	r.fail("url-cookie-refused", "browsers refuse the cookie "+own(name)+" because "+because(err), "every form is refused, and nobody stays signed in", "find what rewrites Set-Cookie in the proxy, and let it pass as it is")
}

// plainHTTP is for a site whose cookies no browser keeps.
func (r *run) plainHTTP(a *answer) {
	what := "the login page is at " + name(a.url) + ", over plain http"
	if r.asked.Scheme == "https" {
		what = "visitors of " + shown(origin(r.asked)) + " are redirected to " + name(a.url) + ", which is plain http"
	}
	r.fail("url-plain-http", what, "browsers keep no Secure cookie from there, so nobody can sign in; and passwords would be read on the way",
		"give the proxy a certificate (certbot) and let it redirect http to https; then public-url=https://"+shown(a.url.Hostname())+". On this machine alone, http://localhost does")
}

// attributes compares what stands behind the value.
func (r *run) attributes(c *cookie, refused error, base string) {
	who := "the cookie " + own(r.cookieName(base))
	verdict, level := words(""), finding.Warning
	if refused != nil {
		verdict, level = ", and browsers refuse it because "+because(refused), finding.Error
	}
	const why = "nobody can sign in"
	if c.domain != "" {
		r.say(level, "url-cookie-domain", who+" has Domain="+quote(c.domain)+" on its way through the proxy"+verdict, either(refused, why, "every host below that domain gets the session, and can set one"),
			"take the Domain away (nginx: no Domain in proxy_cookie_path, and no proxy_cookie_domain; the service sets none)")
	}
	if c.path != "/" {
		r.say(level, "url-cookie-path", who+" has Path="+quote(c.path)+" in place of /"+verdict, either(refused, why, "the application beside the service does not get it, and two of one name fight"),
			"take the rewriting away (nginx: proxy_cookie_path off)")
	}
	if c.secure == r.plain {
		was, do := words("is not Secure any more"), words("take the rewriting away (nginx: no proxy_cookie_flags … nosecure)")
		if c.secure {
			was, do = "is Secure, and public-url is plain http", "take the rewriting away, or set public-url to the https address"
		}
		r.say(level, "url-cookie-secure", who+" "+was+verdict, either(refused, why, "it is sent over plain http as well, where anybody on the way reads it"), do)
	}
	if want := sameSites[base]; c.sameSite != want {
		r.sameSite(c, level, who+" has ", " in place of SameSite="+own(want)+verdict, refused)
	}
	if !c.httpOnly {
		r.warn("url-cookie-httponly", who+" is not HttpOnly any more", "a script that gets into a page of this host reads the session and sends it away",
			"take the rewriting away (nginx: no proxy_cookie_flags … nohttponly)")
	}
	if c.lasting {
		r.warn("url-cookie-lifetime", who+" has an Expires or Max-Age that the service did not set", "it outlives the browser on shared machines, or ends while the session lives", "take the rewriting away")
	}
}

func either(refused error, yes, no words) words {
	if refused != nil {
		return yes
	}
	return no
}

// sameSite is attributes for the one that comes in many ways.
func (r *run) sameSite(c *cookie, level finding.Level, who, want words, refused error) {
	got := "SameSite=" + own(c.sameSite) // the jar knows three
	if c.sameSite == "" {
		got = "no SameSite"
	}
	why := words("it is sent with requests that come from other sites: one of two defences against forgery is gone")
	switch {
	case refused != nil:
		why = "nobody can sign in"
	case c.sameSite == "Strict":
		why = "whoever comes by a link from another site, a mail or a chat seems signed out"
	}
	r.say(level, "url-cookie-samesite", who+got+want, why,
		"take the rewriting away (nginx: no proxy_cookie_flags … samesite; Apache: no Header edit Set-Cookie)")
}

// strangers visits the page a second time, as somebody else: what the first got must
// not come again. It reports whether there was an answer.
func (r *run) strangers(ctx context.Context, page *answer) bool {
	b := newBrowser(&r.net, netip.Addr{})
	defer b.close()
	second, err := b.send(ctx, &request{method: http.MethodGet, url: page.url})
	if err != nil {
		r.broken(err, page.url)
		return false
	}
	name := r.cookieName(visitorCookie)
	i, j := page.find(name), second.find(name)
	session := r.cookieName(sessionCookie)
	fix := "never cache " + own(r.Prefix) + " (nginx: proxy_cache off, and no proxy_ignore_headers; Varnish: return (pass); a CDN: a rule that bypasses its cache), and empty the cache now"
	switch {
	case i >= 0 && j >= 0 && page.refused[i] == nil && page.cookies[i].value == second.cookies[j].value:
		r.fail("url-cookie-shared", "a second visitor, without cookies, gets the cookie of another", "a cache hands one visitor's cookies to others: people find themselves signed in as somebody else, or not at all", fix)
	case page.find(session) >= 0, second.find(session) >= 0:
		r.fail("url-cookie-shared", "a visitor who has not signed in gets the cookie "+own(session), "a cache hands one visitor's cookies to others: people find themselves signed in as somebody else", fix)
	case page.cached() != "" || second.cached() != "":
		r.fail("url-cached", "the page to sign in comes out of a cache"+cmp.Or(page.cached(), second.cached())+", though it says Cache-Control: no-store", "a page of one visitor is shown to others, and its form is refused: its token belongs to another cookie", fix)
	}
	if i >= 0 && j >= 0 {
		a, b := keyOf(page.cookies[i].value), keyOf(second.cookies[j].value)
		if r.keys[0], r.keys[1] = a, b; a == b {
			r.keys = [2]string{}
		}
	}
	return true
}

// keyOf is the id of the key that a visitor's cookie is sealed with, which is no
// secret: it stands behind the salt of 16 bytes and a version.
func keyOf(value string) string {
	raw, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil || len(raw) < 21 {
		return ""
	}
	return hex.EncodeToString(raw[17:21])
}

// cached says by which header an answer tells that it comes out of a cache; "" if by
// none. It stands behind a word.
func (a *answer) cached() words {
	if age, err := strconv.Atoi(a.Header.Get("Age")); err == nil && age > 0 {
		return " (Age: " + shown(strconv.Itoa(age)) + ")"
	}
	for _, name := range []string{"X-Cache", "X-Cache-Status", "X-Proxy-Cache", "Cf-Cache-Status", "Cache-Status"} {
		said := a.Header.Get(name)
		value := strings.ToLower(said)
		for _, word := range []string{"hit", "stale", "updating", "revalidated"} {
			if strings.HasPrefix(value, word) || strings.Contains(value, "; "+word) {
				return " (" + own(name) + ": " + shown(said) + ")"
			}
		}
	}
	if a.again {
		return " (X-Request-Id: the same for two requests)"
	}
	return ""
}
