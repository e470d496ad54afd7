package postgres

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cloakroom-dev/cloakroom/internal/link"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/internal/server"
)

// form is what a URL looks like, in errors.
const form = "postgres://user:password@host:5432/database?sslmode=verify-full"

// resolve reads a URL together with options, and tells what is wrong with both in
// one line. A connection may take as long as the limits say to each of the hosts.
func resolve(raw string, opts *Options) (*pgx.ConnConfig, server.Limits, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	limits := server.Limits{MaxConns: o.MaxConns, ConnLifetime: o.ConnLifetime, ConnectTimeout: o.ConnectTimeout}
	faults := limits.Check()
	config, err := parse(raw, limits.ConnectTimeout)
	if err != nil {
		faults = append(faults, err.Error())
	} else if !o.AllowPlaintext {
		faults = append(faults, plain(config)...)
	}
	if err := link.Join(faults); err != nil {
		return nil, limits, fmt.Errorf("postgres: %w", err)
	}
	limits.ConnectTimeout = config.ConnectTimeout * time.Duration(1+len(config.Fallbacks))
	return config, limits, nil
}

// parse reads a URL, and what it leaves out from where libpq looks for it.
func parse(raw string, timeout time.Duration) (*pgx.ConnConfig, error) {
	u, err := server.Parse(raw, form, "postgres", "postgresql")
	if err != nil {
		return nil, err
	}
	config, err := pgx.ParseConfig(raw)
	if err != nil {
		return nil, errors.New(why(err, raw, u))
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = timeout
	}
	if _, ok := config.RuntimeParams["application_name"]; !ok {
		config.RuntimeParams["application_name"] = "cloakroom"
	}
	return config, nil
}

// ways are the hosts and the kinds of links that are tried in turn.
func ways(config *pgx.ConnConfig) []*pgconn.FallbackConfig {
	first := &pgconn.FallbackConfig{Host: config.Host, Port: config.Port, TLSConfig: config.TLSConfig}
	return append([]*pgconn.FallbackConfig{first}, config.Fallbacks...)
}

// local tells whether a host is this machine, or the directory of a socket.
func local(host string) bool {
	network, _ := pgconn.NetworkAddress(host, 0)
	return network == "unix" || link.Local(host)
}

// plain returns a fault for each host to which there would be a link that others
// can read or answer.
func plain(config *pgx.ConnConfig) (faults []string) {
	for _, w := range ways(config) {
		if c := w.TLSConfig; local(w.Host) || c != nil && !c.InsecureSkipVerify && c.ServerName != "" {
			continue
		}
		fault := fmt.Sprintf("the link to %q would not be encrypted and verified: "+
			"add sslmode=verify-full to the URL, and sslrootcert=/path/ca.pem for a CA of your own", w.Host)
		if !slices.Contains(faults, fault) {
			faults = append(faults, fault)
		}
	}
	return faults
}

// login is how the servers are reached and what is shown there.
func login(config *pgx.ConnConfig) link.Login {
	c := config.TLSConfig
	return link.Login{
		User: config.User, Password: config.Password,
		Certificate: c != nil && (len(c.Certificates) > 0 || c.GetClientCertificate != nil),
		Local:       !slices.ContainsFunc(ways(config), func(w *pgconn.FallbackConfig) bool { return !local(w.Host) }),
	}
}

// why says what is wrong with a URL, without the URL, which the driver repeats in
// front, without what it could not take apart, and without its secrets.
func why(err error, raw string, u *url.URL) string {
	text := err.Error()
	if _, rest, ok := strings.Cut(text, "`: "); ok {
		text = rest
	}
	if strings.HasPrefix(text, "failed to parse as URL") {
		return "the URL cannot be parsed: write " + form
	}
	password, _ := u.User.Password()
	return link.Redact(text, raw, password, u.Query().Get("password"), u.Query().Get("sslpassword"))
}
