package memcachestore

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

const (
	defaultPort   = "11211"
	defaultPrefix = "cloakroom"

	// maxKey is the longest key that a server takes, and maxPrefix what is left
	// of it beside the longest of ours: a colon, "s:" and 43 characters.
	maxKey    = 250
	maxPrefix = maxKey - 1 - 2 - 43
)

// A config is a URL, taken apart.
type config struct {
	addrs          []address
	prefix         string
	user, password string
	tls            *tls.Config // nil: none
}

// anonymous tells of a store that shows nothing to its servers.
func (c *config) anonymous() bool {
	certificate := c.tls != nil && (len(c.tls.Certificates) > 0 || c.tls.GetClientCertificate != nil)
	return c.user == "" && !certificate && c.addrs[0].network != "unix"
}

// An address is where a server listens.
type address struct {
	network string // tcp or unix
	addr    string // host:port or a path
	host    string
}

// faults gathers what is wrong with a URL, to tell it in one line.
type faults []string

func (f *faults) add(format string, args ...any) { *f = append(*f, fmt.Sprintf(format, args...)) }

func (f faults) err() error {
	if len(f) == 0 {
		return nil
	}
	return errors.New(strings.Join(f, "; "))
}

// parseURL reads a URL. Package net/url does not take several hosts with ports,
// and its errors quote the whole URL, password and all.
func parseURL(s string, opts *Options) (config, error) {
	var (
		c config
		f faults
	)
	scheme, rest, ok := strings.Cut(s, "://")
	secure := scheme == "memcaches"
	if !ok || scheme != "memcache" && !secure {
		return c, errors.New("a URL like memcache://host:11211/prefix is wanted")
	}
	if strings.Contains(rest, "#") {
		f.add("a URL with a # in it: write %%23")
	}
	rest, rawQuery, _ := strings.Cut(rest, "?")
	authority, prefix, _ := strings.Cut(rest, "/")
	query := parseQuery(rawQuery, secure, &f)

	hosts := authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		c.user, c.password = parseUser(authority[:i], &f)
		hosts = authority[i+1:]
	}
	c.addrs = parseHosts(hosts, query.Get("socket"), &f)
	c.prefix = parsePrefix(prefix, &f)
	if secure {
		c.tls = tlsConfig(query, opts.TLS, &f)
	} else if !opts.AllowPlaintext {
		for _, a := range c.addrs {
			if !a.local() {
				f.add("%s is not this machine and the link would not be encrypted: use memcaches://, or allow plaintext", a.addr)
			}
		}
	}
	return c, f.err()
}

// parseQuery reads the query, in which nothing unknown may stand.
func parseQuery(raw string, secure bool, f *faults) url.Values {
	query, err := url.ParseQuery(raw)
	if err != nil {
		f.add("the query is malformed")
		return nil
	}
	known := []string{"socket"}
	if secure {
		known = []string{"ca", "cert", "key", "server-name"}
	}
	for name, values := range query {
		switch {
		case !slices.Contains(known, name):
			f.add("unknown parameter %q, known are %s", name, strings.Join(known, ", "))
		case len(values) != 1 || values[0] == "":
			f.add("parameter %q wants one value", name)
		}
	}
	return query
}

// parseUser reads user:password. memcached takes the two in one line, a space
// between them.
func parseUser(s string, f *faults) (user, password string) {
	rawUser, rawPassword, _ := strings.Cut(s, ":")
	user, err1 := url.PathUnescape(rawUser)
	password, err2 := url.PathUnescape(rawPassword)
	if err1 != nil || err2 != nil {
		f.add("user or password is malformed: percent-encode them")
		return "", ""
	}
	if user == "" || password == "" {
		f.add("user and password go together")
	}
	if strings.ContainsFunc(user+password, func(r rune) bool { return r <= ' ' || r == 0x7f }) || len(user)+len(password) > 1024 {
		f.add("user or password is nothing that memcached can take: no spaces, no control characters, 1,024 bytes at most")
	}
	return user, password
}

// parseHosts reads the list of servers, or takes the socket instead.
func parseHosts(list, socket string, f *faults) []address {
	if socket != "" {
		if list != "" {
			f.add("a socket and hosts do not go together")
		}
		if !strings.HasPrefix(socket, "/") {
			f.add("the path of the socket is not absolute")
		}
		return []address{{"unix", socket, ""}}
	}
	if list == "" {
		f.add("no host is given")
		return nil
	}
	var addrs []address
	for h := range strings.SplitSeq(list, ",") {
		host, port, err := splitHost(h)
		if err != nil {
			f.add("host %q: %v", h, err)
			continue
		}
		a := address{"tcp", net.JoinHostPort(host, port), host}
		if slices.Contains(addrs, a) {
			f.add("%s is there twice", a.addr)
			continue
		}
		addrs = append(addrs, a)
	}
	return addrs
}

// splitHost reads host[:port] and [address][:port].
func splitHost(s string) (host, port string, err error) {
	host, port = s, defaultPort
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') {
		host, port = s[:i], s[i+1:]
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		host, ok = strings.CutSuffix(inner, "]")
		if ip := net.ParseIP(host); !ok || ip == nil {
			return "", "", errors.New("not an address in brackets")
		}
	} else if strings.ContainsAny(host, ":[]") {
		return "", "", errors.New("write an IPv6 address in brackets")
	}
	if host == "" || strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`%@\"`, r) }) {
		return "", "", errors.New("not a host")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", "", errors.New("not a port")
	}
	return strings.ToLower(host), port, nil
}

// parsePrefix reads what stands before all keys.
func parsePrefix(s string, f *faults) string {
	prefix, err := url.PathUnescape(s)
	switch {
	case err != nil:
		f.add("the prefix is malformed")
	case prefix == "":
		return defaultPrefix
	case len(prefix) > maxPrefix:
		f.add("a prefix of %d bytes, at most %d leave room for the rest of a key", len(prefix), maxPrefix)
	case strings.ContainsFunc(prefix, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		f.add("a prefix is printable ASCII without spaces")
	}
	return prefix
}

// tlsConfig makes the configuration of a link from the caller's and the query.
func tlsConfig(query url.Values, base *tls.Config, f *faults) *tls.Config {
	t := &tls.Config{}
	if base != nil {
		t = base.Clone()
	}
	t.MinVersion = max(t.MinVersion, tls.VersionTLS12)
	if t.InsecureSkipVerify {
		f.add("a TLS configuration that does not verify the server is refused")
	}
	if ca := query.Get("ca"); ca != "" {
		t.RootCAs = x509.NewCertPool()
		if pem, err := os.ReadFile(ca); err != nil {
			f.add("ca: %v", err)
		} else if !t.RootCAs.AppendCertsFromPEM(pem) {
			f.add("ca: %s has no certificate", ca)
		}
	}
	cert, key := query.Get("cert"), query.Get("key")
	switch {
	case (cert == "") != (key == ""):
		f.add("cert and key go together")
	case cert != "":
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			f.add("cert and key: %v", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	if name := query.Get("server-name"); name != "" {
		t.ServerName = name
	}
	return t
}

// local tells whether nobody is on the way to a server.
func (a address) local() bool {
	if a.network == "unix" || a.host == "localhost" {
		return true
	}
	ip := net.ParseIP(a.host)
	return ip != nil && ip.IsLoopback()
}
