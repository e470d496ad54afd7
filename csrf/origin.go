package csrf

import (
	"net/http"
	"net/netip"
	"strconv"
	"strings"
)

// Why the first check refuses: the reasons of log lines, worded for who runs the
// program.
const (
	crossSite    = "cross-site request"
	sameSite     = "request from another origin of the same site"
	badSite      = "Sec-Fetch-Site is malformed"
	badOrigin    = "Origin is malformed"
	nullOrigin   = "Origin is null"
	otherScheme  = "Origin has another scheme: behind a proxy that ends TLS, PublicURL must be set"
	otherOrigin  = "Origin is another one: behind a proxy that changes Host, PublicURL must be set"
	notPublic    = "Origin is not that of PublicURL"
	unknownOwner = "Host is malformed"
)

// parseOrigin returns an origin, "scheme://host[:port]" of http or https, in the
// one spelling that browsers send (RFC 6454 §6.2): lower case, no default port,
// an IPv6 address as net/netip writes it. It is false for everything else, such as
// "null", a path, a user or a name that is not ASCII.
func parseOrigin(s string) (string, bool) {
	scheme, hostport, ok := strings.Cut(s, "://")
	if !ok {
		return "", false
	}
	switch {
	case equalFold(scheme, "https"):
		return makeOrigin("https", hostport)
	case equalFold(scheme, "http"):
		return makeOrigin("http", hostport)
	}
	return "", false
}

// makeOrigin is parseOrigin for a scheme in lower case and a host with or without
// a port, as the Host header has it.
func makeOrigin(scheme, hostport string) (string, bool) {
	host, port, ok := splitHost(hostport)
	if !ok {
		return "", false
	}
	if port == 0 || port == 80 && scheme == "http" || port == 443 && scheme == "https" {
		return scheme + "://" + host, true
	}
	return scheme + "://" + host + ":" + strconv.Itoa(port), true
}

// splitHost parts host and port; port 0 means that there is none.
func splitHost(s string) (host string, port int, ok bool) {
	var rest string
	if strings.HasPrefix(s, "[") {
		literal, after, closed := strings.Cut(s[1:], "]")
		addr, err := netip.ParseAddr(literal)
		if !closed || err != nil || !addr.Is6() || addr.Zone() != "" {
			return "", 0, false
		}
		host, rest = "["+addr.String()+"]", after
	} else {
		i := strings.IndexByte(s, ':')
		if i < 0 {
			i = len(s)
		}
		if host, rest = s[:i], s[i:]; !isHost(host) {
			return "", 0, false
		}
		host = strings.ToLower(host) // ASCII only, see isHost
	}
	if rest == "" {
		return host, 0, true
	}
	digits, ok := strings.CutPrefix(rest, ":")
	n, err := strconv.ParseUint(digits, 10, 16) // no sign, no space, at most 65535
	if !ok || err != nil || n == 0 {
		return "", 0, false
	}
	return host, int(n), true
}

// isHost reports a name or an IPv4 address. Browsers send names in ASCII, those
// in other scripts as "xn--…". The characters are told one by one because
// strings.ToLower folds some that are not ASCII, as the Kelvin sign.
func isHost(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_':
		default:
			return false
		}
	}
	return s != "" && len(s) <= 255
}

// equalFold compares with a word of lower-case ASCII letters.
func equalFold(s, word string) bool {
	if len(s) != len(word) {
		return false
	}
	for i := range len(s) {
		if s[i]|0x20 != word[i] {
			return false
		}
	}
	return true
}

// safe reports the methods that change nothing (RFC 9110 §9.2.1). Methods are
// case-sensitive, and Go's server hands "post" and "get" on as they came: both are
// checked.
func safe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// header returns the value of a header that may occur once.
func header(r *http.Request, name string) (value string, present, ok bool) {
	switch v := r.Header[name]; len(v) {
	case 0:
		return "", false, true
	case 1:
		return v[0], true, v[0] != ""
	}
	return "", true, false
}

// checkOrigin tells why a request is a cross-origin one, and "" where it is not.
//
// A browser says so by Sec-Fetch-Site, and by the Origin that it sends with every
// request but GET and HEAD. net/http's CrossOriginProtection believes the first
// alone where it is there, and compares only the Origin's host with ours where it
// is not; here both have to agree, and the scheme counts: what a page of
// http://host sends may have been written by anybody on the network.
func (p *Protection) checkOrigin(r *http.Request) (reason string) {
	site, fromBrowser, ok := header(r, "Sec-Fetch-Site")
	if !ok {
		return badSite
	}
	origin, named, ok := header(r, "Origin")
	if !ok {
		return badOrigin
	}
	if named {
		if origin == "null" {
			return nullOrigin // of a sandbox or a redirect: it may be anybody's
		}
		if origin, ok = parseOrigin(origin); !ok {
			return badOrigin
		}
		if p.trusted[origin] && knownSite(site, fromBrowser) {
			return ""
		}
	}
	switch {
	case !fromBrowser, site == "same-origin", site == "none":
		if !named {
			return ""
		}
		return p.checkOurs(r, origin)
	case site == "same-site":
		return sameSite
	case site == "cross-site":
		return crossSite
	}
	return badSite
}

// knownSite reports a value of Sec-Fetch-Site that exists (Fetch Metadata §2.1),
// or none.
func knownSite(site string, present bool) bool {
	switch site {
	case "same-origin", "same-site", "cross-site", "none":
		return true
	}
	return !present
}

// checkOurs compares a parsed origin with the one that the request was sent to.
func (p *Protection) checkOurs(r *http.Request, origin string) (reason string) {
	ours := p.public
	if ours == "" {
		scheme := "http"
		if r.TLS != nil {
			scheme = "https"
		}
		var ok bool
		if ours, ok = makeOrigin(scheme, r.Host); !ok {
			return unknownOwner
		}
	}
	switch {
	case origin == ours:
		return ""
	case p.public != "":
		return notPublic
	case sameHost(origin, ours):
		return otherScheme
	}
	return otherOrigin
}

// sameHost reports two origins that differ in scheme, and in the port that comes
// with it, only.
func sameHost(a, b string) bool {
	aScheme, a, _ := strings.Cut(a, "://")
	bScheme, b, _ := strings.Cut(b, "://")
	return aScheme != bScheme && a == b
}
