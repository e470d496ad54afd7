package postgres

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cloakroom-dev/cloakroom/store/sqlstore/internal/server"
)

// form is what a URL looks like, in errors.
const form = "postgres://user:password@host:5432/database?sslmode=verify-full"

// parse reads a URL, and refuses a link that others can read or answer.
func parse(s string, allowPlaintext bool, timeout time.Duration) (*pgx.ConnConfig, error) {
	u, err := server.Parse(s, form, "postgres", "postgresql")
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	config, err := pgx.ParseConfig(s)
	if err != nil {
		return nil, errors.New("postgres: " + why(err, s, u))
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = timeout
	}
	if _, ok := config.RuntimeParams["application_name"]; !ok {
		config.RuntimeParams["application_name"] = "cloakroom"
	}
	if allowPlaintext {
		return config, nil
	}
	links := map[string][]*tls.Config{config.Host: {config.TLSConfig}}
	for _, f := range config.Fallbacks {
		links[f.Host] = append(links[f.Host], f.TLSConfig)
	}
	for host, configs := range links {
		for _, c := range configs {
			if !server.Near(host) && (c == nil || c.InsecureSkipVerify || c.ServerName == "") {
				return nil, fmt.Errorf("postgres: the link to %q would not be encrypted and verified: "+
					"add sslmode=verify-full to the URL, and sslrootcert=/path/ca.pem for a CA of your own", host)
			}
		}
	}
	return config, nil
}

// why says what is wrong with a URL, without its secrets.
func why(err error, s string, u *url.URL) string {
	password, _ := u.User.Password()
	return server.OneLine(err, s, password, u.Query().Get("password"), u.Query().Get("sslpassword"))
}
