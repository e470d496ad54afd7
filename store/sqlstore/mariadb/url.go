package mariadb

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"

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

// parse reads a URL, and refuses a link that others can read or answer.
func parse(s string, allowPlaintext bool) (*mysql.Config, error) {
	u, err := server.Parse(s, form, "mysql", "mariadb")
	if err != nil {
		return nil, fmt.Errorf("mariadb: %w", err)
	}
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	c := mysql.NewConfig()
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
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		fault("what stands behind the ? cannot be read")
	}
	for key, values := range query {
		if !slices.Contains([]string{"tls", "ca", "cert", "key", "server-name", "socket"}, key) {
			fault("%.40q is no parameter: there are tls, ca, cert, key, server-name and socket", key)
		}
		if len(values) > 1 {
			fault("%.40q is there twice", key)
		}
	}
	host := u.Hostname()
	c.Net, c.Addr = "tcp", net.JoinHostPort(host, u.Port())
	if u.Port() == "" {
		c.Addr = net.JoinHostPort(host, "3306")
	}
	if socket := query.Get("socket"); socket != "" {
		if host != "" {
			fault("name a host or a socket, not both")
		}
		c.Net, c.Addr, host = "unix", socket, "/"
	} else if host == "" {
		fault("name a host, or a socket with ?socket=/path")
	}
	if c.TLS, err = tlsConfig(query, host); err != nil {
		faults = append(faults, err)
	} else if c.TLS == nil && host != "" && !allowPlaintext && !server.Near(host) {
		fault("the link to %q would not be encrypted: add tls=true to the URL, and ca=/path/ca.pem for a CA of your own", host)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, errors.New("mariadb: " + server.OneLine(err, c.Passwd))
	}
	return c, nil
}

// tlsConfig returns how the link is encrypted, nil for not at all. There is no way
// to ask for a link whose other end proves nothing (ASVS 12.3.2).
func tlsConfig(query url.Values, host string) (*tls.Config, error) {
	ca, cert, key, name := query.Get("ca"), query.Get("cert"), query.Get("key"), query.Get("server-name")
	more := ca != "" || cert != "" || key != "" || name != ""
	switch query.Get("tls") {
	case "":
		if !more {
			return nil, nil
		}
	case "false":
		if more {
			return nil, errors.New("tls=false contradicts ca, cert, key and server-name")
		}
		return nil, nil
	case "true":
	default:
		return nil, errors.New("tls is true or false")
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if name != "" {
		c.ServerName = name
	}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("read the CA: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("the CA %q holds no certificate", ca)
		}
	}
	if (cert == "") != (key == "") {
		return nil, errors.New("a client certificate needs both cert and key")
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("read the client certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
