package redisstore

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
)

// target is what a URL says.
type target struct {
	network, addr  string // as net.Dial takes them
	user, password string
	db             int
	prefix         string
	tls            *tls.Config // nil for plaintext
}

// parse reads a URL. Its errors name no part of it that may be a password, and so
// never quote what cannot be parsed.
func parse(raw string, plaintext bool) (*target, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("the URL cannot be parsed: write special characters of user and password as %XX")
	}
	t := &target{network: "tcp"}
	if u.User != nil {
		t.user = u.User.Username()
		t.password, _ = u.User.Password()
	}
	if t.user != "" && t.password == "" {
		return nil, errors.New("the URL has a user and no password: write user:password@ or :password@")
	}
	if u.Opaque != "" || u.Fragment != "" {
		return nil, errors.New("the URL has an unexpected part: write redis://user:password@host:port/0")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil || u.User == nil && strings.Contains(u.RawQuery, "@") { // a password with a question mark
		return nil, errors.New("the query of the URL cannot be parsed: write special characters of user and password as %XX")
	}
	if err := checkQuery(query); err != nil {
		return nil, err
	}
	t.prefix = query.Get("prefix")
	switch u.Scheme {
	case "unix", "redis+unix":
		err = t.socket(u, query)
	case "redis", "rediss":
		err = t.host(u, query, plaintext)
	default:
		err = errors.New("the URL begins with another scheme than redis://, rediss:// or unix://")
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// checkQuery refuses what nobody would look at, and what is there twice.
func checkQuery(query url.Values) error {
	for name, values := range query {
		switch name {
		case "ca", "cert", "key", "server-name", "db", "prefix":
		default:
			// Unnamed: in a URL that is written wrongly it may be a piece of the password.
			return errors.New("unknown parameter in the URL: it takes ca, cert, key, server-name, db and prefix")
		}
		if len(values) != 1 || values[0] == "" {
			return fmt.Errorf("parameter %q in the URL: write it once, with a value", name)
		}
	}
	return nil
}

// socket reads unix:///path?db=0.
func (t *target) socket(u *url.URL, query url.Values) error {
	if u.Host != "" || !strings.HasPrefix(u.Path, "/") {
		return errors.New("a Unix socket in the URL needs an absolute path: unix:///run/redis.sock")
	}
	if query.Has("ca") || query.Has("cert") || query.Has("key") || query.Has("server-name") {
		return errors.New("a Unix socket has no TLS: leave out ca, cert, key and server-name")
	}
	t.network, t.addr = "unix", u.Path
	return t.number(query.Get("db"))
}

// host reads redis://host:port/0 and rediss://.
func (t *target) host(u *url.URL, query url.Values, plaintext bool) error {
	host, port := u.Hostname(), u.Port()
	if host == "" {
		return errors.New("the URL has no host: write redis://host:port/0")
	}
	if port == "" {
		port = "6379"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return errors.New("the port in the URL is none")
	}
	t.addr = net.JoinHostPort(host, port)
	path := strings.TrimPrefix(u.Path, "/")
	if path != "" && query.Has("db") {
		return errors.New("the URL has two database numbers")
	}
	if path == "" {
		path = query.Get("db")
	}
	if err := t.number(path); err != nil {
		return err
	}
	if u.Scheme == "rediss" {
		return t.encrypt(host, query)
	}
	if query.Has("ca") || query.Has("cert") || query.Has("key") || query.Has("server-name") {
		return errors.New("ca, cert, key and server-name need TLS: use rediss://")
	}
	if !plaintext && !loopback(host) {
		return errors.New("a link to another host needs TLS: use rediss://, or a Unix socket (ASVS 12.3.1)")
	}
	return nil
}

// loopback reports whether a host is this machine.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

func (t *target) number(db string) error {
	if db == "" {
		return nil
	}
	n, err := strconv.ParseUint(db, 10, 16)
	if err != nil {
		return errors.New("the database number in the URL is none")
	}
	t.db = int(n)
	return nil
}

// encrypt reads what TLS needs. The server's certificate is verified, and for
// its host; there is no parameter that says otherwise.
func (t *target) encrypt(host string, query url.Values) error {
	t.tls = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if name := query.Get("server-name"); name != "" {
		t.tls.ServerName = name
	}
	if file := query.Get("ca"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("parameter ca: %w", err)
		}
		t.tls.RootCAs = x509.NewCertPool()
		if !t.tls.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("parameter ca: there is no certificate in %s", file)
		}
	}
	cert, key := query.Get("cert"), query.Get("key")
	if cert == "" && key == "" {
		return nil
	}
	if cert == "" || key == "" {
		return errors.New("a client certificate needs both cert and key")
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("parameters cert and key: %w", err)
	}
	t.tls.Certificates = []tls.Certificate{pair}
	return nil
}
