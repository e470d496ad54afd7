package probe

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"github.com/cloakroom-dev/cloakroom/internal/link"
)

// Bounds of a browser (RFC 6265bis §5.6).
const (
	maxPair      = 4096 // bytes of name and value
	maxAttribute = 1024 // bytes of an attribute's value; a longer one is not seen
	maxLifetime  = 400 * 24 * time.Hour
	maxCookies   = 180 // of one site, as Chromium and Firefox
)

// setCookie is a Set-Cookie line as a browser reads it.
type setCookie struct {
	name, value      string
	domain           string // without the dot in front; "" for none
	path             string // "" for none that counts
	sameSite         string // "Strict", "Lax", "None", or "" for none or nonsense
	secure, httpOnly bool
	partitioned      bool
	lasting          bool      // it has a Max-Age or an Expires
	expires          time.Time // if lasting
}

// readSetCookie reads a line (RFC 6265bis §5.6). Whether it is stored is for the jar.
func readSetCookie(line string, now time.Time) (c setCookie, err error) {
	if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return c, refuse("it has a control character in it")
	}
	pair, rest, _ := strings.Cut(line, ";")
	name, value, ok := strings.Cut(pair, "=")
	if !ok {
		name, value = "", pair
	}
	c.name, c.value = strings.Trim(name, " \t"), strings.Trim(value, " \t")
	if strings.Contains(c.name+c.value, "\t") { // which the RFC lets pass, and Chromium does not
		return c, refuse("it has a control character in it")
	}
	maxAge := false
	for part := range strings.SplitSeq(rest, ";") {
		key, value, _ := strings.Cut(part, "=")
		key, value = strings.ToLower(strings.Trim(key, " \t")), strings.Trim(value, " \t")
		if len(value) > maxAttribute {
			continue
		}
		switch key {
		case "domain":
			c.domain = strings.ToLower(strings.TrimPrefix(value, "."))
		case "path":
			if c.path = value; !strings.HasPrefix(value, "/") {
				c.path = ""
			}
		case "secure":
			c.secure = true
		case "httponly":
			c.httpOnly = true
		case "partitioned":
			c.partitioned = true
		case "samesite":
			c.sameSite = map[string]string{"strict": "Strict", "lax": "Lax", "none": "None"}[strings.ToLower(value)]
		case "max-age":
			if n, err := strconv.ParseInt(value, 10, 64); err == nil && !strings.HasPrefix(value, "+") {
				maxAge, c.lasting = true, true
				c.expires = now.Add(time.Duration(min(max(n, -1), int64(maxLifetime/time.Second))) * time.Second)
			}
		case "expires":
			if at, ok := cookieDate(value); ok && !maxAge { // Max-Age goes before, wherever it stands
				c.lasting, c.expires = true, at
			}
		}
	}
	if len(c.name)+len(c.value) > maxPair {
		return c, refuse("it has " + number(len(c.name)+len(c.value)) + " bytes, and browsers take " + number(maxPair))
	}
	return c, nil
}

// cookie is a cookie that the jar keeps.
type cookie struct {
	setCookie
	host     string // the domain it is for
	site     string // that of host
	scheme   string // of the page that it came with
	hostOnly bool
}

// jar keeps cookies as Chromium does.
type jar struct{ cookies []*cookie }

// set takes the line of an answer from u. The error says why a browser does not, in
// words that go on from "browsers refuse it because ".
func (j *jar) set(u *url.URL, line string, now time.Time) error {
	s, err := readSetCookie(line, now)
	if err != nil {
		return err
	}
	c := &cookie{setCookie: s, host: strings.ToLower(u.Hostname()), scheme: u.Scheme, hostOnly: true}
	if s.domain != "" && s.domain != c.host {
		if err := covers(s.domain, c.host); err != nil {
			return err
		}
		c.host, c.hostOnly = s.domain, false
	} else if s.domain != "" && !isAddress(c.host) && !isPublicSuffix(c.host) {
		c.hostOnly = false
	}
	if c.path == "" {
		c.path = defaultPath(u)
	}
	if err := s.allowed(u); err != nil {
		return err
	}
	c.site = site(c.host)
	same := func(o *cookie) bool { return o.name == c.name && o.host == c.host && o.path == c.path }
	for _, o := range j.cookies { // RFC 6265bis §5.7, "leave secure cookies alone"
		if o.secure && !trustworthy(u) && o.name == c.name && (o.host == c.host || covers(o.host, c.host) == nil) {
			return refuse("http must not replace a cookie that is Secure")
		}
	}
	j.cookies = slices.DeleteFunc(j.cookies, same)
	if !c.lasting || c.expires.After(now) {
		j.cookies = append(j.cookies, c)
		j.purge(c.site)
	}
	return nil
}

// purge makes room where a site has too many: the oldest goes, and before it the oldest
// that is not Secure (RFC 6265bis §5.7).
func (j *jar) purge(site string) {
	count, oldest, open := 0, -1, -1
	for i, c := range j.cookies {
		if c.site != site {
			continue
		}
		if count++; oldest < 0 {
			oldest = i
		}
		if open < 0 && !c.secure {
			open = i
		}
	}
	if open >= 0 {
		oldest = open
	}
	if count > maxCookies {
		j.cookies = slices.Delete(j.cookies, oldest, oldest+1)
	}
}

// outdo notes which cookies of an answer had to make room for others of it.
func (j *jar) outdo(a *answer, now time.Time) {
	if len(a.cookies) <= maxCookies {
		return
	}
	kept := map[string]bool{}
	for _, c := range j.cookies {
		kept[c.name+"="+c.value] = true
	}
	for i, c := range a.cookies {
		if a.refused[i] == nil && !kept[c.name+"="+c.value] && (!c.lasting || c.expires.After(now)) {
			a.refused[i] = refuse("the answer sets " + number(len(a.cookies)) + " cookies, and they keep " + number(maxCookies) + " of a site")
		}
	}
}

// allowed judges what does not depend on the other cookies (RFC 6265bis §4.1.3, §5.7).
func (s *setCookie) allowed(u *url.URL) error {
	name := strings.ToLower(s.name)
	if s.name == "" {
		name = strings.ToLower(s.value)
	}
	host, secure := strings.HasPrefix(name, "__host-"), strings.HasPrefix(name, "__secure-")
	switch {
	case s.secure && !trustworthy(u):
		return refuse("it is Secure and the address is plain http")
	case s.name == "" && (host || secure): // its value would be read as a name
		return refuse("it has no name")
	case (host || secure) && !s.secure:
		return refuse("its name promises Secure, and it is not")
	case host && s.domain != "":
		return refuse("it has a Domain, which a name with __Host- forbids")
	case host && s.path != "/":
		return refuse("a name with __Host- demands Path=/")
	case s.sameSite == "None" && !s.secure:
		return refuse("it is SameSite=None and not Secure")
	case s.partitioned && !s.secure:
		return refuse("it is Partitioned and not Secure")
	}
	return nil
}

// header returns the Cookie header of a request. sameSite says that our own page, or
// the visitor's own hand, sends it; follows that it is a navigation by GET.
func (j *jar) header(u *url.URL, sameSite, follows bool, now time.Time) string {
	var out []string
	host := strings.ToLower(u.Hostname())
	sorted := slices.Clone(j.cookies) // in the order in which they came
	slices.SortStableFunc(sorted, func(a, b *cookie) int { return len(b.path) - len(a.path) })
	for _, c := range sorted {
		switch {
		case c.hostOnly && c.host != host, !c.hostOnly && c.host != host && covers(c.host, host) != nil:
		case !pathMatches(c.path, u.EscapedPath()), c.secure && !trustworthy(u):
		case c.partitioned && c.scheme != u.Scheme: // each site has its own, and the scheme is part of one
		case c.lasting && !c.expires.After(now):
		case !sameSite && c.sameSite == "Strict", !sameSite && !follows && c.sameSite != "None":
		default:
			out = append(out, c.name+"="+c.value)
		}
	}
	return strings.Join(out, "; ")
}

// get returns the cookie of this name, nil for none.
func (j *jar) get(name string) *cookie {
	for _, c := range j.cookies {
		if c.name == name {
			return c
		}
	}
	return nil
}

// covers tells why a cookie for domain cannot be one of host, another name.
func covers(domain, host string) error {
	switch {
	case isAddress(host) || !strings.HasSuffix(host, "."+domain):
		return refuse("its Domain is not that of the address, " + shown(host))
	case isPublicSuffix(domain):
		return refuse("its Domain is a public suffix, which has many owners")
	}
	return nil
}

func isPublicSuffix(domain string) bool {
	suffix, _ := publicsuffix.PublicSuffix(domain)
	return suffix == domain
}

// site returns what browsers take for one site: the name that somebody registered, or
// the whole host where there is none.
func site(host string) string {
	host = strings.ToLower(host)
	if isAddress(host) {
		return host
	}
	if s, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil {
		return s
	}
	return host
}

func defaultPath(u *url.URL) string {
	path := u.EscapedPath()
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return "/"
}

func pathMatches(cookie, path string) bool {
	if path == "" {
		path = "/"
	}
	return path == cookie || strings.HasPrefix(path, cookie) && (strings.HasSuffix(cookie, "/") || path[len(cookie)] == '/')
}

// trustworthy tells whether browsers treat an address as encrypted: this machine's
// own are as good (Secure Contexts §3.1).
func trustworthy(u *url.URL) bool { return u.Scheme == "https" || loopback(u.Hostname()) }

func loopback(host string) bool {
	return link.Local(host) || strings.HasSuffix(strings.ToLower(host), ".localhost")
}
