package config

import (
	"net"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// login is how a place is reached, and what is shown there.
type login struct {
	hosts          []string // none for a Unix socket
	user, password string
	certificate    bool // of a client
}

// checkAccess adds a place on another host that takes whoever comes, or whoever
// tries the password that everybody tries first: what runs beside us in a network
// could end every session, or read every account (ASVS 13.2.1, 13.2.3). This
// machine's users are a question of its own, so that loopback and sockets pass.
// It is judged before anything is sent there.
func (c *Config) checkAccess(setting string, p Place, faults *Faults) {
	if c.AllowAnonymous || p.URL == "" {
		return
	}
	l, ok := loginOf(p)
	if !ok || l.near() || l.certificate {
		return
	}
	const unless = ", or set allow-anonymous=true if something else keeps strangers away"
	switch {
	case l.password == "":
		faults.add("%s: %s is on another host and takes whoever comes: %s%s", setting, p, remedies[p.Scheme], unless)
	case l.wellKnown(p.Scheme):
		faults.add("%s: %s is on another host, and its password is the name of the user or of the product, which is what everybody tries first: give it another%s", setting, p, unless)
	}
}

// remedies says how each kind of server learns who comes.
var remedies = map[string]string{
	Postgres: "write postgres://user:password@…, or name a client certificate with sslcert and sslkey",
	MySQL:    "write mysql://user:password@…, or name a client certificate with cert and key",
	Redis:    "write user:password@ or :password@ before the host (requirepass or an ACL on the server), or name a client certificate with cert and key",
	// It has no accounts but those of -Y, and no rights with any.
	Memcache: "use memcaches:// with a client certificate in cert and key (memcached -Z -o ssl_verify_mode=2), or write user:password@ before the host (memcached -Y)",
}

// products are the names that a server of the scheme goes by.
var products = map[string][]string{
	Postgres: {"postgres", "postgresql"}, MySQL: {"mysql", "mariadb"}, Redis: {"redis", "valkey", "default"}, Memcache: {"memcache", "memcached"},
}

// wellKnown tells whether the password is one that comes with the server.
func (l login) wellKnown(scheme string) bool {
	for _, name := range append([]string{l.user}, products[scheme]...) {
		if name != "" && strings.EqualFold(l.password, name) {
			return true
		}
	}
	return false
}

// near tells whether all of it is on this machine.
func (l login) near() bool {
	for _, h := range l.hosts {
		if !loopbackHost(h) {
			return false
		}
	}
	return true
}

// loginOf reads a URL that the package of its place has found good.
func loginOf(p Place) (login, bool) {
	if p.Scheme == Postgres {
		return postgresLogin(p.URL)
	}
	_, rest, _ := strings.Cut(p.URL, "://")
	rest, rawQuery, _ := strings.Cut(rest, "?")
	authority, _, _ := strings.Cut(rest, "/")
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return login{}, false
	}
	l := login{certificate: query.Has("cert")}
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, password, _ := strings.Cut(authority[:i], ":")
		if l.user, err = url.PathUnescape(user); err != nil {
			return login{}, false
		}
		if l.password, err = url.PathUnescape(password); err != nil {
			return login{}, false
		}
		authority = authority[i+1:]
	}
	if authority != "" && !query.Has("socket") { // several of memcache://, which net/url does not read
		for h := range strings.SplitSeq(authority, ",") {
			l.hosts = append(l.hosts, hostOf(h))
		}
	}
	return l, true
}

// hostOf is host:port, or a host alone, without its port and brackets.
func hostOf(s string) string {
	if host, _, err := net.SplitHostPort(s); err == nil {
		return host
	}
	return strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
}

// postgresLogin lets the driver read what may also stand in PGPASSWORD, a file of
// passwords or a service.
func postgresLogin(s string) (login, bool) {
	c, err := pgconn.ParseConfig(s)
	if err != nil {
		return login{}, false
	}
	l := login{user: c.User, password: c.Password}
	add := func(host string) {
		if network, _ := pgconn.NetworkAddress(host, 0); network != "unix" {
			l.hosts = append(l.hosts, host)
		}
	}
	add(c.Host)
	for _, f := range c.Fallbacks {
		add(f.Host)
	}
	l.certificate = c.TLSConfig != nil && len(c.TLSConfig.Certificates) > 0
	return l, true
}
