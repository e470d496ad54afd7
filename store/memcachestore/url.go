package memcachestore

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/cloakroom-dev/cloakroom/internal/link"
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
	tls            *tls.Config // nil: none; without a server name that of each host
	conns          int         // to each server
	log            *slog.Logger
}

// login is how the servers are reached and what is shown there.
func (c *config) login() link.Login {
	return link.Login{
		User: c.user, Password: c.password,
		Certificate: c.tls != nil && len(c.tls.Certificates) > 0,
		Local:       !slices.ContainsFunc(c.addrs, func(a address) bool { return !a.local() }),
	}
}

// An address is where a server listens.
type address struct {
	network string // tcp or unix
	addr    string // host:port or a path
	host    string
}

// faults gathers what is wrong with a URL, to tell it in one line. None of them
// repeats what was not understood, as it may be a piece of the password.
type faults []string

func (f *faults) add(format string, args ...any) { *f = append(*f, fmt.Sprintf(format, args...)) }

// resolve reads a URL together with options, and tells what is wrong with both in
// one line. Package net/url does not take several hosts with ports.
func resolve(s string, opts *Options) (*config, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	c := &config{conns: cmp.Or(o.MaxConns, defaultMaxConns), log: o.Logger}
	if c.log == nil {
		c.log = slog.Default()
	}
	var f faults
	if o.MaxConns < 0 || o.MaxConns > maxConns {
		f.add("MaxConns is %d, want 0 to %d", o.MaxConns, maxConns)
	}
	if err := link.Check(s); err != nil {
		f.add("%v", err)
	} else {
		c.parse(s, o.AllowPlaintext, &f)
	}
	if err := link.Join(f); err != nil {
		return nil, fmt.Errorf("memcachestore: %w", err)
	}
	return c, nil
}

// parse reads a URL.
func (c *config) parse(s string, plaintext bool, f *faults) {
	scheme, rest, ok := strings.Cut(s, "://")
	secure := scheme == "memcaches"
	if !ok || scheme != "memcache" && !secure {
		f.add("a URL like memcache://host:11211/prefix is wanted")
		return
	}
	if strings.Contains(rest, "#") {
		f.add("a URL with a # in it: write %%23")
	}
	rest, rawQuery, _ := strings.Cut(rest, "?")
	authority, prefix, _ := strings.Cut(rest, "/")
	known := []string{"socket"}
	if secure {
		known = link.Parameters
	}
	query, err := link.Query(rawQuery, known...)
	if err != nil {
		f.add("%v", err)
	}
	hosts := authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		c.user, c.password = parseUser(authority[:i], f)
		hosts = authority[i+1:]
	}
	c.addrs = parseHosts(hosts, query.Get("socket"), f)
	c.prefix = parsePrefix(prefix, f)
	if secure {
		// The name in the certificate is that of each host; see dialer.
		if c.tls, err = link.TLS(query, ""); err != nil {
			f.add("%v", err)
		}
	} else if !plaintext {
		for _, a := range c.addrs {
			if !a.local() {
				f.add("%s is not this machine and the link would not be encrypted: use memcaches://, or allow plaintext", a.addr)
			}
		}
	}
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
	for i, h := range strings.Split(list, ",") {
		host, port, err := splitHost(h)
		if err != nil {
			f.add("host %d of the list: %v", i+1, err)
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

// local tells whether nobody is on the way to a server.
func (a address) local() bool { return a.network == "unix" || link.Local(a.host) }
