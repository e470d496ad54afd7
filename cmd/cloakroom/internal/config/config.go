// Package config reads what the command is told: by flags, by environment
// variables and by a TOML file, under the same names.
//
// A flag goes before the environment, the environment before the file, the file
// before the default. [Load] reports every fault at once, each on one line that
// says what is wrong and what to do, and none repeats the value: a secret that
// was put into the wrong place must not reach a terminal or a log for it.
package config

import (
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keysource"
)

// Config is what the command runs with. Load fills it; the zero value is of no
// use.
type Config struct {
	// Listen is the address to listen on, host:port.
	Listen string

	// Data is the directory where the command keeps what is not kept elsewhere.
	Data string

	// Prefix is the path under which the pages live, with a leading slash and
	// without a trailing one.
	Prefix string

	// Store keeps the sessions.
	Store Place

	// Users keeps the accounts.
	Users Place

	// AllowPlaintext says that a link to a store on another host may do without
	// TLS.
	AllowPlaintext bool

	// AllowAnonymous says that a store on another host may take whoever comes.
	AllowAnonymous bool

	// StoreTimeout is the longest that a call of the store or of the accounts
	// may take.
	StoreTimeout time.Duration

	// MaxConnections is the most connections to each PostgreSQL, MariaDB and
	// Memcached server; 0 for the default
	// of its package.
	MaxConnections int

	// Keys is where the keys come from.
	Keys keysource.Place

	// KeysInterval is how often the source of the keys is looked at; 0 where it
	// never changes.
	KeysInterval time.Duration

	// KeyRotation is how old the active key becomes before the service exchanges
	// it by itself; 0 for never.
	KeyRotation time.Duration

	// PublicURL is scheme and host under which browsers see the service; nil
	// where that is the address it listens on.
	PublicURL *url.URL

	// TrustedProxies may say where a request came from. None by default.
	TrustedProxies []netip.Prefix

	// TLSCert and TLSKey are the paths of certificate chain and key in PEM form;
	// both or neither.
	TLSCert, TLSKey string

	// IdleTimeout and Lifetime are the two deadlines of a session.
	IdleTimeout, Lifetime time.Duration

	// MaxSessions is the most sessions that a user may have; 0 for no limit.
	MaxSessions int

	// ReauthAfter is how old a proof of identity may be for what does harm in the
	// hands of whoever finds a screen unlocked.
	ReauthAfter time.Duration

	// BannedWords are words that are no passwords here, with what is easily made of
	// them: the name of the organisation.
	BannedWords []string

	// Pepper says that new hashes of passwords are encrypted under the key ring.
	Pepper bool

	// AuditRetention is how long the audit log keeps an entry; 0 for ever.
	AuditRetention time.Duration

	// LogFormat is "text" or "json"; LogLevel one of debug, info, warn, error.
	LogFormat, LogLevel string

	// AdminListen is where health, readiness and metrics are answered; "" for nowhere.
	AdminListen string

	// environ is there while Load runs.
	environ *variables
}

// TLS tells whether the service itself ends TLS.
func (c *Config) TLS() bool { return c.TLSCert != "" }

// PlainCookie tells whether the session cookie is called "session" and lacks
// the Secure attribute: only where the operator said that the public URL is
// plain http, which is taken for loopback alone.
func (c *Config) PlainCookie() bool {
	return c.PublicURL != nil && c.PublicURL.Scheme == "http"
}

// HTTPS tells whether browsers reach the service by https, as far as the
// configuration says.
func (c *Config) HTTPS() bool {
	return c.TLS() || c.PublicURL != nil && c.PublicURL.Scheme == "https"
}

// Origin returns the public URL, "" where there is none.
func (c *Config) Origin() string {
	if c.PublicURL == nil {
		return ""
	}
	return c.PublicURL.Scheme + "://" + c.PublicURL.Host
}

// Base returns scheme and host for links: the public URL, else where the
// service listens on. Who listens on all addresses is found on this machine.
func (c *Config) Base(listening string) string {
	if host, port, err := net.SplitHostPort(listening); err == nil {
		if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
			listening = net.JoinHostPort("localhost", port)
		}
	}
	switch {
	case c.PublicURL != nil:
		return c.Origin()
	case c.TLS():
		return "https://" + listening
	}
	return "http://" + listening
}

// derive fills in what follows from other settings where nobody said anything.
func (c *Config) derive() {
	if c.IdleTimeout == 0 {
		c.IdleTimeout = min(defaultIdleTimeout, c.Lifetime)
	}
	db := Place{Scheme: SQLite, Path: filepath.Join(c.Data, "cloakroom.db")}
	if c.Store.Scheme == "" {
		c.Store = db
	}
	if c.Users.Scheme == "" {
		c.Users = db
	}
	if c.Keys.Scheme == "" {
		c.Keys = keysource.InFile(filepath.Join(c.Data, "keys"))
	}
	if c.KeysInterval == 0 {
		c.KeysInterval = c.Keys.Interval()
	}
}

// defaultIdleTimeout is that of the library.
const defaultIdleTimeout = 30 * time.Minute

// setting is one name that can be set, and how its text is understood.
type setting struct {
	name  string
	def   string // what Load takes where nobody said anything
	usage string
	set   func(c *Config, text string) error
}

// settings in the order in which help shows them.
var settings = []setting{
	{"listen", "127.0.0.1:8080", "`host:port` to listen on", setListen},
	{"data", "cloakroom-data", "`directory` for database and keys", setData},
	{"prefix", "/auth", "`path` under which the pages live", setPrefix},
	{"store", "", "`place` of the sessions: " + storePlaces + " (default: SQLite in the data directory)", setStore},
	{"store-file", "", "`file` that holds what store would, for a place with a password", setStoreFile},
	{"users", "", "`place` of the accounts: " + userPlaces + " (default: SQLite in the data directory)", setUsers},
	{"users-file", "", "`file` that holds what users would", setUsersFile},
	{"allow-plaintext", "false", "`true` or false: let the links to stores on other hosts do without TLS", setAllowPlaintext},
	{"allow-anonymous", "false", "`true` or false: let stores on other hosts do without credentials of their own", setAllowAnonymous},
	{"store-timeout", "250ms", "the longest `time` that a call of the store or the accounts may take", setStoreTimeout},
	{"max-connections", "", "most `connections` to each PostgreSQL, MariaDB and Memcached server (default: 16, 16 and 32)", setMaxConnections},
	{"keys", "", "`place` of the keys: " + keysource.Schemes + " (default: a file in the data directory)", setKeys},
	{"keys-file", "", "`file` with the keys, mounted as a secret", setKeysFile},
	{"keys-interval", "", "look for other keys at this `time`, as 30s (default: 1s for files, 1m for managers of secrets)", setKeysInterval},
	{"key-rotation", "0", "exchange the key by itself at this `age`, as 90d; 0 for never", setKeyRotation},
	{"public-url", "", "`URL` under which browsers see the service, as https://login.example.org", setPublicURL},
	{"trusted-proxies", "", "`networks` or addresses, with commas, whose X-Forwarded-For is believed", setTrustedProxies},
	{"tls-cert", "", "`file` with the certificate chain (PEM)", setTLSCert},
	{"tls-key", "", "`file` with the certificate's key (PEM)", setTLSKey},
	{"idle-timeout", "", "a session ends after this `time` without a request, as 30m or 24h (default: 30m, at most lifetime)", setIdleTimeout},
	{"lifetime", "24h", "a session ends after this `time` whatever happens, as 24h or 168h", setLifetime},
	{"max-sessions", "0", "most `sessions` that a user may have, the oldest goes; 0 for no limit", setMaxSessions},
	{"reauth-after", "15m", "changes that do harm ask for the password again after this `time`, as 15m or 1h", setReauthAfter},
	{"banned-words", "", "`words`, with commas, that are no passwords: the names of your organisation", setBannedWords},
	{"pepper", "false", "`true` or false: encrypt hashes of passwords under the keys", setPepper},
	{"audit-retention", "400d", "the audit log keeps an entry for this `time`, as 400d; 0 for ever", setAuditRetention},
	{"log-format", "text", "`format` of the log: text or json", setLogFormat},
	{"log-level", "info", "least `level` of the log: debug, info, warn or error", setLogLevel},
	{"admin-listen", "", "loopback `host:port` of /healthz, /readyz and /metrics (default: nowhere)", setAdminListen},
}

// Setting is a setting as help shows it. In Usage, what kind of value it takes
// stands in backquotes, as package pflag reads them.
type Setting struct{ Name, Default, Usage string }

// Settings returns the settings with these names, all of them for none, in the
// order in which help shows them.
func Settings(names ...string) []Setting {
	var out []Setting
	for _, s := range settings {
		if len(names) == 0 || slices.Contains(names, s.name) {
			out = append(out, Setting{s.name, s.def, s.usage})
		}
	}
	return out
}
