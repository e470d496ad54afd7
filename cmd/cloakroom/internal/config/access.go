package config

import (
	"strings"

	"github.com/cloakroom-dev/cloakroom/internal/link"
)

// checkAccess adds a place on another host that takes whoever comes, or whoever
// tries the password that everybody tries first: what runs beside us in a network
// could end every session, or read every account (ASVS 13.2.1, 13.2.3). This
// machine's users are a question of its own, so that loopback and sockets pass.
// It is judged before anything is sent there, by what the package of the place has
// read in the URL.
func (c *Config) checkAccess(setting string, p Place, l link.Login, faults *Faults) {
	if c.AllowAnonymous || l.Local || l.Certificate {
		return
	}
	const unless = ", or set allow-anonymous=true if something else keeps strangers away"
	switch {
	case l.Password == "":
		faults.add("%s: %s is on another host and takes whoever comes: %s%s", setting, p, remedies[p.Scheme], unless)
	case wellKnown(p.Scheme, l):
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
func wellKnown(scheme string, l link.Login) bool {
	for _, name := range append([]string{l.User}, products[scheme]...) {
		if name != "" && strings.EqualFold(l.Password, name) {
			return true
		}
	}
	return false
}
