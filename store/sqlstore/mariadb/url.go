package mariadb

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/cloakroom-dev/cloakroom/internal/link"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/internal/server"
)

// form is what a URL looks like, in errors.
const form = "mysql://user:password@host:3306/database?tls=true"

// session is what is set on every connection, so that no setting of the server
// changes what a statement means.
var session = map[string]string{
	"autocommit":      "1",
	"completion_type": "'NO_CHAIN'",
	// What does not fit is an error and is never cut. Neither ANSI_QUOTES nor
	// NO_BACKSLASH_ESCAPES, with which a quote would mean something else.
	"sql_mode":         "'STRICT_TRANS_TABLES,STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
	"sql_safe_updates": "0",
	"sql_select_limit": "DEFAULT",
	"time_zone":        "'+00:00'",
	// A write whose caller has gone does not wait for a lock for ever.
	"innodb_lock_wait_timeout": "5",
}

// resolve reads a URL together with options, and tells what is wrong with both in
// one line.
func resolve(raw string, opts *Options) (*mysql.Config, server.Limits, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	limits := server.Limits{MaxConns: o.MaxConns, ConnLifetime: o.ConnLifetime, ConnectTimeout: o.ConnectTimeout}
	faults := limits.Check()
	c := mysql.NewConfig()
	if u, err := server.Parse(raw, form, "mysql", "mariadb"); err != nil {
		faults = append(faults, err.Error())
	} else {
		faults = append(faults, configure(c, u, o.AllowPlaintext)...)
	}
	if err := link.Join(faults); err != nil {
		return nil, limits, errors.New("mariadb: " + link.Redact(err.Error(), c.Passwd))
	}
	return c, limits, nil
}

// login is how the server is reached and what is shown there.
func login(c *mysql.Config) link.Login {
	host, _, _ := net.SplitHostPort(c.Addr)
	return link.Login{
		User: c.User, Password: c.Passwd,
		Certificate: c.TLS != nil && len(c.TLS.Certificates) > 0,
		Local:       c.Net == "unix" || link.Local(host),
	}
}

// configure takes over what a URL says and returns its faults, a link that others
// can read or answer among them.
func configure(c *mysql.Config, u *url.URL, allowPlaintext bool) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	c.User = u.User.Username()
	c.Passwd, _ = u.User.Password()
	c.Params = session
	c.InterpolateParams = true // one round trip; its character set is utf8mb4, in which no byte hides a quote
	c.ClientFoundRows = true
	c.MaxAllowedPacket = 0 // ask the server
	c.Logger = &mysql.NopLogger{}

	c.DBName = strings.TrimPrefix(u.Path, "/")
	if c.DBName == "" || strings.Contains(c.DBName, "/") {
		fault("name one database behind the host, as in %s", form)
	}
	query, err := link.Query(u.RawQuery, append([]string{"tls", "socket"}, link.Parameters...)...)
	if err != nil {
		fault("%v", err)
	}
	host, port := u.Hostname(), cmp.Or(u.Port(), "3306")
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		fault("the port is not within 1 to 65535")
	}
	c.Net, c.Addr = "tcp", net.JoinHostPort(host, port)
	switch socket := query.Get("socket"); {
	case socket != "" && host != "":
		fault("name a host or a socket, not both")
	case socket != "":
		c.Net, c.Addr = "unix", socket
	case host == "":
		fault("name a host, or a socket with ?socket=/path")
	}
	if c.TLS, err = encryption(query, host); err != nil {
		fault("%v", err)
	} else if c.TLS == nil && host != "" && !allowPlaintext && !link.Local(host) {
		fault("the link to %q would not be encrypted: add tls=true to the URL, and ca=/path/ca.pem for a CA of your own", host)
	}
	return faults
}

// encryption returns how the link is encrypted, nil for not at all. There is no
// way to ask for a link whose other end proves nothing (ASVS 12.3.2).
func encryption(query url.Values, host string) (*tls.Config, error) {
	switch query.Get("tls") {
	case "":
		if !link.HasTLS(query) {
			return nil, nil
		}
	case "false":
		if link.HasTLS(query) {
			return nil, errors.New("tls=false contradicts ca, cert, key and server-name")
		}
		return nil, nil
	case "true":
	default:
		return nil, errors.New("tls is true or false")
	}
	return link.TLS(query, host)
}
