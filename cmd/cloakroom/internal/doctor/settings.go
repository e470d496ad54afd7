package doctor

import (
	"context"
	"net"
	"net/netip"
	"strings"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/finding"
	"github.com/cloakroom-dev/cloakroom/internal/link"
	"github.com/cloakroom-dev/cloakroom/store/memcachestore"
	"github.com/cloakroom-dev/cloakroom/store/redisstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/mariadb"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/postgres"
)

var settingsChecks = []string{
	"config", "cookie-insecure", "public-url-missing", "listen-plain", "proxies-missing", "proxies-wide",
	"plaintext-link", "anonymous-store", "admin-listen", "audit-retention", "accounts-local", "store-volatile",
}

// settingsOf are the settings that a check needs. Of one that cannot be read there is
// the default, which nobody meant.
var settingsOf = map[string][]string{
	"cookie-insecure":    {"public-url"},
	"public-url-missing": {"public-url", "listen", "tls-cert", "tls-key"},
	"listen-plain":       {"public-url", "listen", "tls-cert", "tls-key"},
	"proxies-missing":    {"public-url", "trusted-proxies", "tls-cert", "tls-key"},
	"proxies-wide":       {"trusted-proxies"},
	"plaintext-link":     {"store", "store-file", "users", "users-file", "allow-plaintext"},
	"anonymous-store":    {"store", "store-file", "users", "users-file", "allow-anonymous"},
	"admin-listen":       {"admin-listen", "listen"},
	"audit-retention":    {"audit-retention"},
	"accounts-local":     {"store", "store-file", "users", "users-file"},
	"store-volatile":     {"store", "store-file"},
}

// unread returns a setting that a check needs and that cannot be read, "" for none.
func (e *examination) unread(check string) string {
	for _, name := range settingsOf[check] {
		if e.Settings.Bad[name] {
			return name
		}
	}
	return ""
}

// settings judges what the settings say. What the service would refuse is an error;
// the rest works, and may not be meant.
func (e *examination) settings(_ context.Context, l *notes) {
	c := e.cfg
	for _, fault := range e.Settings.Faults {
		const help = "see \"cloakroom serve --help\""
		what, do := split(fault, help)
		if !strings.Contains(what, " ") { // the name of the setting alone
			what, do = fault, help
		}
		l.find("config", finding.Error, do, "%s", what)
	}
	for check := range settingsOf {
		if name := e.unread(check); name != "" {
			l.skip("the setting "+name+" cannot be read", check)
		}
	}
	host, _, _ := net.SplitHostPort(c.Listen)
	if c.PlainCookie() {
		l.find("cookie-insecure", finding.Warning, "for people, set public-url to the https:// address under which they come",
			"public-url is %s", c.Origin())
	}
	if everywhere(host) && c.PublicURL == nil && c.TLS() && e.unread("public-url-missing") == "" {
		l.find("public-url-missing", finding.Warning, "set public-url to the https:// address under which browsers come",
			"listen is %s, and there is no public-url", c.Listen)
	}
	proxied := !c.TLS() && c.PublicURL != nil && c.PublicURL.Scheme == "https"
	if proxied && open(host) && e.unread("listen-plain") == "" {
		l.find("listen-plain", finding.Warning, "listen on 127.0.0.1, or on the address of the proxy's network; or set tls-cert and tls-key",
			"listen is %s, and there is no TLS", c.Listen)
	}
	if proxied && len(c.TrustedProxies) == 0 && e.unread("proxies-missing") == "" {
		l.find("proxies-missing", finding.Warning, "set trusted-proxies to the addresses from which the proxy connects, such as 127.0.0.1",
			"public-url is %s, TLS ends in front, and there are no trusted-proxies", c.Origin())
	}
	for _, p := range c.TrustedProxies {
		if wide(p) {
			l.find("proxies-wide", finding.Error, "set trusted-proxies to the proxy's own addresses", "trusted-proxies has %s", p)
		}
	}
	if c.AdminListen != "" && c.AdminListen == c.Listen && !strings.HasSuffix(c.Listen, ":0") {
		l.find("admin-listen", finding.Error, "give admin-listen another port", "admin-listen and listen are both %s", c.Listen)
	}
	switch {
	case e.unread("audit-retention") != "":
	case c.AuditRetention == 0:
		l.find("audit-retention", finding.Warning, "set audit-retention=400d", "the audit log is kept for ever")
	case c.AuditRetention < 30*day:
		l.find("audit-retention", finding.Warning, "set audit-retention=400d", "the audit log is kept for %d days", c.AuditRetention/day)
	}
	e.links(l)
}

// links judges the way to servers, and what they are for.
func (e *examination) links(l *notes) {
	c := e.cfg
	for _, at := range []struct {
		setting string
		place   config.Place
	}{{"store", c.Store}, {"users", c.Users}} {
		login, ok := loginOf(at.place)
		if !ok || login.Local || e.Settings.Bad[at.setting] {
			continue
		}
		if c.AllowPlaintext && !encrypted(at.place) {
			l.find("plaintext-link", finding.Warning, "take TLS in the URL of "+at.setting+", and allow-plaintext away",
				"%s: the link to %s is not encrypted", at.setting, at.place)
		}
		if c.AllowAnonymous && login.Password == "" && !login.Certificate {
			l.find("anonymous-store", finding.Warning, "give the server a user and password, write them into the URL, and take allow-anonymous away",
				"%s: %s takes whoever comes", at.setting, at.place)
		}
	}
	if c.Store.Shared() && !c.Users.Shared() && e.unread("accounts-local") == "" {
		l.find("accounts-local", finding.Warning, "name a server for the accounts with users=postgres://… or mysql://…",
			"sessions are in %s and accounts in %s", c.Store, c.Users)
	}
	if c.Store.Scheme == config.Memory {
		l.find("store-volatile", finding.Warning, "leave out store=memory:, and SQLite in the data directory keeps them", "store is memory:")
	}
}

// loginOf returns how a server is reached; false where the place is none, or is a
// fault of the configuration.
func loginOf(p config.Place) (link.Login, bool) {
	var l link.Login
	var err error
	switch p.Scheme {
	case config.Postgres:
		l, err = postgres.CheckURL(p.URL, &postgres.Options{AllowPlaintext: true})
	case config.MySQL:
		l, err = mariadb.CheckURL(p.URL, &mariadb.Options{AllowPlaintext: true})
	case config.Redis:
		l, err = redisstore.CheckURL(p.URL, &redisstore.Options{AllowPlaintext: true})
	case config.Memcache:
		l, err = memcachestore.CheckURL(p.URL, &memcachestore.Options{AllowPlaintext: true})
	default:
		return l, false
	}
	return l, err == nil
}

// encrypted tells whether the package of the place takes the link without being
// allowed plaintext.
func encrypted(p config.Place) bool {
	var err error
	switch p.Scheme {
	case config.Postgres:
		_, err = postgres.CheckURL(p.URL, nil)
	case config.MySQL:
		_, err = mariadb.CheckURL(p.URL, nil)
	case config.Redis:
		_, err = redisstore.CheckURL(p.URL, nil)
	case config.Memcache:
		_, err = memcachestore.CheckURL(p.URL, nil)
	}
	return err == nil
}

// everywhere tells whether a host is all addresses of the machine.
func everywhere(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}

// open tells whether a host is all addresses of the machine, or one that is routed
// in the internet.
func open(host string) bool {
	ip, err := netip.ParseAddr(host)
	return everywhere(host) || err == nil && !ip.IsPrivate() && !ip.IsLoopback() && !ip.IsLinkLocalUnicast()
}

// wide tells whether a network is more than anybody's own.
func wide(p netip.Prefix) bool {
	if p.Addr().Is4() {
		return p.Bits() < 8
	}
	return p.Bits() < 16
}
