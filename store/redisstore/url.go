package redisstore

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/cloakroom-dev/cloakroom/internal/link"
)

// target is what a URL says.
type target struct {
	network, addr  string // as net.Dial takes them
	user, password string
	db             int
	prefix         string
	tls            *tls.Config // nil for plaintext
}

// resolve reads a URL together with options, and tells what is wrong with both in
// one line. The prefix of the URL stands in the options that it returns.
func resolve(raw string, opts *Options) (*target, *Options, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	var faults []string
	t, err := parse(raw, o.AllowPlaintext)
	switch {
	case err != nil:
		faults = append(faults, err.Error())
	case t.prefix != "" && o.Prefix != "" && t.prefix != o.Prefix:
		faults = append(faults, "the prefix in the URL is not that of the options")
	case t.prefix != "":
		o.Prefix = t.prefix
	}
	if err := link.Join(append(faults, o.faults()...)); err != nil {
		return nil, nil, fmt.Errorf("redisstore: %w", err)
	}
	return t, &o, nil
}

// parse reads a URL. Its errors name no part of it that may be a password, and so
// never quote what cannot be parsed.
func parse(raw string, plaintext bool) (*target, error) {
	u, err := link.Parse(raw)
	if err != nil {
		return nil, err
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
	query, err := link.Query(u.RawQuery, append([]string{"db", "prefix"}, link.Parameters...)...)
	if err != nil {
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

// login is how the server is reached and what is shown there.
func (t *target) login() link.Login {
	host, _, _ := net.SplitHostPort(t.addr)
	return link.Login{
		User: t.user, Password: t.password,
		Certificate: t.tls != nil && len(t.tls.Certificates) > 0,
		Local:       t.network == "unix" || link.Local(host),
	}
}

// socket reads unix:///path?db=0.
func (t *target) socket(u *url.URL, query url.Values) error {
	if u.Host != "" || !strings.HasPrefix(u.Path, "/") {
		return errors.New("a Unix socket in the URL needs an absolute path: unix:///run/redis.sock")
	}
	if link.HasTLS(query) {
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
		var err error
		t.tls, err = link.TLS(query, host)
		return err
	}
	if link.HasTLS(query) {
		return errors.New("ca, cert, key and server-name need TLS: use rediss://")
	}
	if !plaintext && !link.Local(host) {
		return errors.New("a link to another host needs TLS: use rediss://, or a Unix socket")
	}
	return nil
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
