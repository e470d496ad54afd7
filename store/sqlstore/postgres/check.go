package postgres

import (
	"fmt"

	"github.com/cloakroom-dev/cloakroom/store/sqlstore/internal/server"
)

// CheckURL returns what Open would refuse of a URL and options before it
// connects, for a program that lists all faults of its configuration at once.
func CheckURL(url string, opts *Options) error {
	var o Options
	if opts != nil {
		o = *opts
	}
	limits := server.Limits{MaxConns: o.MaxConns, ConnLifetime: o.ConnLifetime, ConnectTimeout: o.ConnectTimeout}
	if err := limits.Check(); err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	_, err := parse(url, o.AllowPlaintext, limits.ConnectTimeout)
	return err
}
