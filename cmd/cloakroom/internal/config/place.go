package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cloakroom-dev/cloakroom/internal/link"
	"github.com/cloakroom-dev/cloakroom/internal/secretfile"
	"github.com/cloakroom-dev/cloakroom/store/memcachestore"
	"github.com/cloakroom-dev/cloakroom/store/redisstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/mariadb"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/postgres"
)

// Place names where the sessions or the accounts are kept.
type Place struct {
	// Scheme is one of the constants below.
	Scheme string

	// Path is that of SQLite's database file.
	Path string

	// URL is that of a server, the password in it included: it is for opening,
	// and for no message.
	URL string
}

// The schemes of places, as they stand before the colon.
const (
	Memory   = "memory"
	SQLite   = "sqlite"
	Postgres = "postgres"
	MySQL    = "mysql"
	Redis    = "redis"
	Memcache = "memcache"
	Sealed   = "sealed"
)

// schemes are all that a place may begin with, and what they mean.
var schemes = map[string]string{
	"sqlite": SQLite, "memory": Memory, "sealed": Sealed,
	"postgres": Postgres, "postgresql": Postgres, // libpq takes both
	"mysql": MySQL, "mariadb": MySQL,
	"redis": Redis, "rediss": Redis, "redis+unix": Redis,
	"memcache": Memcache, "memcaches": Memcache,
}

// What the settings take, for messages.
const (
	storePlaces = "sqlite:PATH, memory:, sealed:, postgres://…, mysql://…, redis://…, rediss://…, redis+unix:///…, memcache://… and memcaches://…"
	userPlaces  = "sqlite:PATH, postgres://… and mysql://…"
)

// Shared tells whether several instances can meet there.
func (p Place) Shared() bool { return p.URL != "" }

// Same tells whether two places are one: they read the same, or are one file of SQLite
// under two names.
func (p Place) Same(o Place) bool {
	if p == o {
		return true
	}
	if p.Scheme != SQLite || o.Scheme != SQLite {
		return false
	}
	one, err := os.Stat(p.Path)
	two, err2 := os.Stat(o.Path)
	if err == nil && err2 == nil {
		return os.SameFile(one, two)
	}
	return Behind(p.Path) == Behind(o.Path)
}

// Behind returns the absolute path behind all links. What is not there yet is taken for
// no link.
func Behind(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		abs = filepath.Clean(path)
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		return real
	}
	if dir := filepath.Dir(abs); dir != abs {
		return filepath.Join(Behind(dir), filepath.Base(abs))
	}
	return abs
}

// String names the place without its secrets.
func (p Place) String() string {
	switch {
	case p.Path != "":
		return p.Scheme + ":" + secretfile.Shown(p.Path)
	case p.URL == "":
		return p.Scheme + ":"
	}
	// Not of a URL whose host and path may be pieces of the password.
	if u, err := link.Parse(p.URL); err == nil {
		return p.Scheme + "://" + u.Host + u.EscapedPath()
	}
	return p.Scheme + "://"
}

func setStore(c *Config, text string) (err error) {
	c.Store, err = parsePlace(text, storePlaces)
	return err
}

func setUsers(c *Config, text string) (err error) {
	c.Users, err = usersPlace(text)
	return err
}

func usersPlace(text string) (Place, error) {
	p, err := parsePlace(text, userPlaces)
	if err == nil && p.Scheme != "" && p.Scheme != SQLite && p.Scheme != Postgres && p.Scheme != MySQL {
		return Place{}, fmt.Errorf("%q is not supported for accounts: this version takes %s", p.Scheme+":", userPlaces)
	}
	return p, err
}

// setStoreFile and setUsersFile take a place from a file, as a place may hold a
// password. They stand behind store and users in the list of settings.
func setStoreFile(c *Config, path string) error {
	return placeFile(&c.Store, "store", path, func(s string) (Place, error) { return parsePlace(s, storePlaces) })
}

func setUsersFile(c *Config, path string) error {
	return placeFile(&c.Users, "users", path, usersPlace)
}

func placeFile(p *Place, setting, path string, parse func(string) (Place, error)) error {
	switch {
	case path == "":
		return nil
	case p.Scheme != "":
		return fmt.Errorf("%s is set as well: remove one of them", setting)
	}
	if err := secretfile.CheckPath(path, "file"); err != nil {
		return err
	}
	text, err := readSecret(path)
	if err != nil {
		return err
	}
	line := strings.TrimSpace(text)
	if line == "" {
		return fmt.Errorf("%s: empty: write the place into it, as for %s", path, setting)
	}
	*p, err = parse(line)
	return err
}

// parsePlace reads a place; "" is the zero Place, which Config.derive fills. Of
// an unknown one only the scheme is repeated: a URL may hold a password.
func parsePlace(text, supported string) (Place, error) {
	if text == "" {
		return Place{}, nil
	}
	given, rest, ok := strings.Cut(text, ":")
	if !ok || !plainScheme(given) {
		return Place{}, fmt.Errorf("no scheme: this version takes %s", supported)
	}
	scheme, ok := schemes[given]
	if !ok {
		return Place{}, fmt.Errorf("%q is not supported: this version takes %s", given+":", supported)
	}
	switch scheme {
	case SQLite:
		return sqlitePlace(rest)
	case Memory, Sealed:
		if rest != "" {
			return Place{}, fmt.Errorf("something behind the colon of %s: take it away", scheme)
		}
		return Place{Scheme: scheme}, nil
	}
	if !strings.HasPrefix(rest, "//") || strings.ContainsAny(text, " \t\r\n\x00") {
		return Place{}, fmt.Errorf("not a URL: write %s://…, without spaces", given)
	}
	return Place{Scheme: scheme, URL: text}, nil
}

func sqlitePlace(path string) (Place, error) {
	switch {
	case path == "":
		return Place{}, errors.New("no path: write sqlite:PATH")
	case strings.HasPrefix(path, "//"):
		return Place{}, errors.New("not a path: write sqlite:PATH, without //")
	case strings.ContainsAny(path, "?#\x00") || strings.Contains(path, ":memory:"):
		return Place{}, errors.New("not a path: write sqlite:PATH with the path of a file, without options")
	}
	if err := secretfile.CheckPath(path, "file"); err != nil {
		return Place{}, err
	}
	return Place{Scheme: SQLite, Path: path}, nil
}

// checkPlace adds what the package of a place would refuse of its URL, and who
// would be let in there. None of them repeats a password.
func (c *Config) checkPlace(setting string, p Place, faults *Faults) {
	var (
		l   link.Login
		err error
	)
	switch p.Scheme {
	case Postgres:
		l, err = postgres.CheckURL(p.URL, &postgres.Options{MaxConns: c.MaxConnections, AllowPlaintext: c.AllowPlaintext})
	case MySQL:
		l, err = mariadb.CheckURL(p.URL, &mariadb.Options{MaxConns: c.MaxConnections, AllowPlaintext: c.AllowPlaintext})
	case Redis:
		l, err = redisstore.CheckURL(p.URL, &redisstore.Options{AllowPlaintext: c.AllowPlaintext})
	case Memcache:
		l, err = memcachestore.CheckURL(p.URL, &memcachestore.Options{MaxConns: c.MaxConnections, AllowPlaintext: c.AllowPlaintext})
	default:
		return // of this machine
	}
	if err != nil {
		text := err.Error()
		if _, fault, _ := strings.Cut(text, ": "); !strings.Contains(fault, ": ") { // behind the package
			text += "; mend the URL"
		}
		faults.add("%s: %s", setting, text)
		return
	}
	c.checkAccess(setting, p, l, faults)
}

// UsesData tells whether anything is kept in the data directory.
func (c *Config) UsesData() bool {
	return inside(c.Data, c.Store.Path) || inside(c.Data, c.Users.Path) || inside(c.Data, c.Keys.Path())
}

// inside tells whether a path leads into a directory, as far as their texts say.
func inside(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return path != "" && err == nil && filepath.IsLocal(rel)
}
