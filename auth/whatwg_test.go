package auth_test

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// browse reads an address as a browser on https://own.example/auth/login does
// that is told to go there: the basic URL parser of the WHATWG URL Standard
// (https://url.spec.whatwg.org/#concept-basic-url-parser), as far as it decides
// where the browser ends. It shares nothing with package net/url and nothing
// with auth.Next.
//
// where is "own" for this scheme, host and port without credentials, "other" for
// any other address, and "none" for what is no address. path is set for own.
func browse(input string) (where, path string) {
	input = strings.TrimFunc(input, func(r rune) bool { return r <= ' ' })
	input = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(input)

	scheme, rest := "https", input
	if s, r, ok := cutScheme(input); ok {
		scheme, rest = s, r
		switch scheme {
		case "http", "ws", "wss", "ftp": // special authority slashes state
			return authority(scheme, strings.TrimLeft(rest, `/\`))
		case "https": // special relative or authority state
			if strings.HasPrefix(rest, "//") {
				return authority(scheme, strings.TrimLeft(rest, `/\`))
			}
		default:
			return "other", ""
		}
	}
	// Relative state, and relative slash state.
	if rest == "" || !isSlash(rest[0]) {
		if rest == "" || rest[0] == '?' || rest[0] == '#' {
			return "own", "/auth/login"
		}
		return "own", pathState("/auth/" + rest)
	}
	if len(rest) > 1 && isSlash(rest[1]) {
		return authority(scheme, strings.TrimLeft(rest, `/\`))
	}
	return "own", pathState(rest)
}

func isSlash(c byte) bool { return c == '/' || c == '\\' }

// cutScheme is the scheme start state and the scheme state.
func cutScheme(s string) (scheme, rest string, ok bool) {
	for i := range len(s) {
		c := s[i] | 0x20
		switch {
		case c >= 'a' && c <= 'z' && s[i] >= 'A':
		case i > 0 && (s[i] >= '0' && s[i] <= '9' || s[i] == '+' || s[i] == '-' || s[i] == '.'):
		case i > 0 && s[i] == ':':
			return strings.ToLower(s[:i]), s[i+1:], true
		default:
			return "", s, false
		}
	}
	return "", s, false
}

// authority is the authority state and those behind it, of a special URL.
func authority(scheme, s string) (where, path string) {
	rest := ""
	if i := strings.IndexAny(s, `/\?#`); i >= 0 {
		s, rest = s[:i], s[i:]
	}
	credentials := false
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		credentials, s = true, s[i+1:]
	}
	host, port := s, ""
	if end := strings.IndexByte(s, ']') + 1; strings.Contains(s[end:], ":") {
		i := end + strings.IndexByte(s[end:], ':')
		host, port = s[:i], s[i+1:]
	}
	host, ok := parseHost(host)
	if !ok {
		return "none", ""
	}
	if port != "" {
		n := 0
		for _, c := range port {
			if c < '0' || c > '9' || n > 65535 {
				return "none", ""
			}
			n = n*10 + int(c-'0')
		}
		if n > 65535 {
			return "none", ""
		}
		port = strconv.Itoa(n)
	}
	if scheme != "https" || host != "own.example" || credentials || port != "" && port != "443" {
		return "other", ""
	}
	if rest == "" || !isSlash(rest[0]) {
		rest = "/" + rest
	}
	return "own", pathState(rest)
}

// parseHost is the host parser. Of domain to ASCII it does what matters to tell
// one host from another.
func parseHost(s string) (string, bool) {
	if addr, ok := strings.CutPrefix(s, "["); ok {
		addr, ok = strings.CutSuffix(addr, "]")
		ip, err := netip.ParseAddr(addr)
		return ip.String(), ok && err == nil && ip.Is6() && ip.Zone() == ""
	}
	var b []byte
	for i := 0; i < len(s); i++ {
		if n, err := strconv.ParseUint(s[min(i+1, len(s)):min(i+3, len(s))], 16, 8); s[i] == '%' && i+2 < len(s) && err == nil {
			b = append(b, byte(n))
			i += 2
			continue
		}
		b = append(b, s[i])
	}
	host := norm.NFKC.String(strings.ToLower(norm.NFKC.String(strings.ToValidUTF8(string(b), "\ufffd"))))
	host = strings.NewReplacer("\u3002", ".", "\u00ad", "", "\u200b", "").Replace(host)
	bad := func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`#/:<>?@[\]^|%`, r) }
	return host, host != "" && !strings.ContainsFunc(host, bad)
}

// pathState is the path state of a special URL: where backslashes separate, and
// dots, escaped or not, are taken away.
func pathState(s string) string {
	if i := strings.IndexAny(s, "?#"); i >= 0 {
		s = s[:i]
	}
	parts := strings.Split(strings.ReplaceAll(s[1:], `\`, "/"), "/")
	var out []string
	for i, p := range parts {
		last := i == len(parts)-1
		switch strings.ReplaceAll(strings.ToLower(p), "%2e", ".") {
		case "..":
			out = out[:max(0, len(out)-1)]
			if last {
				out = append(out, "")
			}
		case ".":
			if last {
				out = append(out, "")
			}
		default:
			out = append(out, p)
		}
	}
	return "/" + strings.Join(out, "/")
}

// decodeOnce is what a server behind us might read a path as.
func decodeOnce(target string) (string, bool) {
	if i := strings.IndexAny(target, "?#"); i >= 0 {
		target = target[:i]
	}
	p, err := url.PathUnescape(target)
	return p, err == nil
}
