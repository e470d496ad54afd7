package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/link"
	"github.com/cloakroom-dev/cloakroom/internal/secretfile"
)

// setListen takes host:port. The port may be 0: the ready line says which one
// it became.
func setListen(c *Config, text string) error {
	if err := checkAddr(text); err != nil {
		return err
	}
	c.Listen = text
	return nil
}

func setAdminListen(c *Config, text string) error {
	if text == "" {
		return nil
	}
	if err := checkAddr(text); err != nil {
		return err
	}
	if !loopbackAddr(text) {
		return errors.New("not a loopback address: write 127.0.0.1:PORT, and put a proxy in front if it must be seen elsewhere")
	}
	c.AdminListen = text
	return nil
}

func checkAddr(text string) error {
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		return errors.New("not an address: write host:port, as 127.0.0.1:8080")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return errors.New("no port at the end: write host:port, with a port from 0 to 65535")
	}
	return nil
}

// loopbackAddr tells whether nobody but this machine reaches host:port. A name
// other than localhost is taken for an address of the outside: what it resolves
// to may change behind our back.
func loopbackAddr(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && link.Local(host)
}

func setData(c *Config, text string) error {
	if text == "" {
		return errors.New("empty: name a directory")
	}
	if err := secretfile.CheckPath(text, "directory"); err != nil {
		return err
	}
	c.Data = text
	return nil
}

func setTLSCert(c *Config, path string) error {
	if err := secretfile.CheckPath(path, "file"); err != nil {
		return err
	}
	c.TLSCert = path
	return nil
}

func setTLSKey(c *Config, path string) error {
	if err := secretfile.CheckPath(path, "file"); err != nil {
		return err
	}
	c.TLSKey = path
	return nil
}

// setPrefix takes a path of plain segments. Nothing that needs escaping is
// allowed in, so that the prefix reads the same in a URL, in a cookie's path and
// in a proxy's configuration.
func setPrefix(c *Config, text string) error {
	const form = "write a path like /auth, of letters, digits, '-', '_' and '.', without a slash at the end"
	rest, ok := strings.CutPrefix(text, "/")
	if !ok {
		return errors.New("no path: " + form)
	}
	if len(text) > maxPrefix {
		return errors.New("over 200 characters: " + form)
	}
	for segment := range strings.SplitSeq(rest, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return errors.New("an empty or relative segment: " + form)
		}
		for _, b := range []byte(segment) {
			if !letterOrDigit(b) && b != '-' && b != '_' && b != '.' {
				return errors.New("a character that does not belong there: " + form)
			}
		}
	}
	c.Prefix = text
	return nil
}

// ParseBase takes what the addresses of the pages begin with: an origin as ParseOrigin
// takes it, with a prefix behind it.
func ParseBase(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("not a URL")
	}
	var c Config
	if err := setPrefix(&c, u.EscapedPath()); err != nil {
		return nil, err
	}
	u.Path, u.RawPath = "", ""
	if u, err = ParseOrigin(u.String()); err != nil {
		return nil, err
	}
	u.Path = c.Prefix
	return u, nil
}

func letterOrDigit(b byte) bool {
	return '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
}

// plainScheme tells whether s has the shape of a URL's scheme (RFC 3986 §3.1),
// and so may be repeated in a message.
func plainScheme(s string) bool {
	for i, b := range []byte(s) {
		if letter := 'a' <= b && b <= 'z'; !letter && (i == 0 || b != '+' && b != '-' && b != '.' && (b < '0' || b > '9')) {
			return false
		}
	}
	return s != "" && len(s) <= 20
}

// maxPrefix bounds the prefix: a login page's address must fit into a next.
const maxPrefix = 200

// setPublicURL takes https://host[:port], and http:// for loopback alone.
func setPublicURL(c *Config, text string) error {
	if text == "" {
		return nil
	}
	u, err := ParseOrigin(text)
	if err == nil {
		c.PublicURL = u
	}
	return err
}

// ParseOrigin reads scheme and host as the setting public-url takes them.
func ParseOrigin(text string) (*url.URL, error) {
	const form = "write scheme and host alone, as https://login.example.org"
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "" {
		return nil, errors.New("not a URL: " + form)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery || u.Path != "" && u.Path != "/" {
		return nil, errors.New("more than scheme and host: " + form)
	}
	if !plainHost(u.Hostname()) || !plainPort(u) {
		return nil, errors.New("not a host, perhaps with a port, in ASCII: " + form)
	}
	switch u.Scheme {
	case "https":
	case "http":
		if !link.Local(u.Hostname()) {
			return nil, errors.New("http beyond loopback: a session over plain http is anybody's: write https://")
		}
	default:
		return nil, errors.New("neither https nor http: " + form)
	}
	return &url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host)}, nil
}

// plainHost reports whether a host is an address, or a name in the ASCII that
// browsers send: xn--… for names in other scripts.
func plainHost(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Zone() == ""
	}
	for _, b := range []byte(host) {
		if !letterOrDigit(b) && b != '-' && b != '.' && b != '_' {
			return false
		}
	}
	return host != "" && len(host) <= 253
}

// plainPort reports whether a URL has no port, or one of 1 to 65535.
func plainPort(u *url.URL) bool {
	if u.Port() == "" {
		return !strings.HasSuffix(u.Host, ":")
	}
	n, err := strconv.Atoi(u.Port())
	return err == nil && n >= 1 && n <= 65535
}

// setTrustedProxies takes addresses and networks.
func setTrustedProxies(c *Config, text string) error {
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		if ip, err := netip.ParseAddr(part); err == nil && ip.Zone() == "" {
			ip = ip.Unmap()
			c.TrustedProxies = append(c.TrustedProxies, netip.PrefixFrom(ip, ip.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(part)
		if err != nil {
			return errors.New("neither address nor network: write them with commas, as 127.0.0.1,10.0.0.0/8")
		}
		if p.Addr().Is4In6() {
			return errors.New("an IPv4 network written as IPv6: write 10.0.0.0/8, not ::ffff:10.0.0.0/104")
		}
		if p != p.Masked() {
			return errors.New("a network with bits behind its length: write 10.0.0.0/8, not 10.1.2.3/8")
		}
		c.TrustedProxies = append(c.TrustedProxies, p)
	}
	return nil
}

func setIdleTimeout(c *Config, text string) (err error) {
	if text == "" {
		return nil
	}
	c.IdleTimeout, err = duration(text)
	return err
}

func setLifetime(c *Config, text string) (err error) {
	c.Lifetime, err = duration(text)
	return err
}

// maxLifetime is the longest a browser keeps a cookie (RFC 6265bis §5.5).
const maxLifetime = 400 * 24 * time.Hour

func duration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, errors.New("not a duration: write it like 30m or 24h (seven days are 168h)")
	}
	if d < time.Second || d > maxLifetime {
		return 0, fmt.Errorf("out of bounds: from 1s to %dh", maxLifetime/time.Hour)
	}
	return d, nil
}

// setStoreTimeout takes 10ms to 30s: less is a store that never answers, more is a
// request that nobody waits for.
func setStoreTimeout(c *Config, text string) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return errors.New("not a duration: write it like 250ms")
	}
	if d < 10*time.Millisecond || d > 30*time.Second {
		return errors.New("out of bounds: from 10ms to 30s")
	}
	c.StoreTimeout = d
	return nil
}

func setMaxConnections(c *Config, text string) error {
	if text == "" {
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 1024 {
		return errors.New("not a number from 1 to 1024: write one")
	}
	c.MaxConnections = n
	return nil
}

func setAllowPlaintext(c *Config, text string) (err error) {
	c.AllowPlaintext, err = trueOrFalse(text)
	return err
}

func setAllowAnonymous(c *Config, text string) (err error) {
	c.AllowAnonymous, err = trueOrFalse(text)
	return err
}

func trueOrFalse(text string) (bool, error) {
	if text != "true" && text != "false" {
		return false, errors.New("neither true nor false: write one of them")
	}
	return text == "true", nil
}

func setLogFormat(c *Config, text string) error {
	if text != "text" && text != "json" {
		return errors.New("no such format: write text or json")
	}
	c.LogFormat = text
	return nil
}

func setLogLevel(c *Config, text string) error {
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, text) {
		return errors.New("no such level: write debug, info, warn or error")
	}
	c.LogLevel = text
	return nil
}

// check judges what the settings say together.
func (c *Config) check(faults *Faults) {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		faults.add("tls-cert and tls-key: only one of them is set: set both, or neither")
	}
	if c.IdleTimeout > c.Lifetime {
		faults.add("idle-timeout: longer than lifetime: shorten it, or lengthen lifetime")
	}
	if c.TLS() && c.PlainCookie() {
		faults.add("public-url: http, but tls-cert is set: write https://, or remove one of them")
	}
	if c.MaxSessions > 0 && c.Store.Scheme == Sealed {
		faults.add("max-sessions: sessions in cookies cannot be counted: leave it out, or choose another store")
	}
	c.checkPlace("store", c.Store, faults)
	c.checkPlace("users", c.Users, faults)
	c.checkKeys(faults)
	loopback := loopbackAddr(c.Listen)
	switch {
	case c.PlainCookie() && !loopback:
		faults.add("public-url: http, but listen is not a loopback address: listen on 127.0.0.1, or give an https:// public-url")
	case !loopback && !c.HTTPS():
		faults.add("listen: not a loopback address, and no TLS: set tls-cert and tls-key, or, if a proxy ends TLS in front, set public-url to its https:// address")
	}
}
