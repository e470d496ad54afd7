package postgres

import (
	"context"

	"github.com/jackc/pgx/v5/stdlib"

	"github.com/cloakroom-dev/cloakroom/store/sqlstore/internal/server"
)

// OpenReadOnly is [Open] for looking alone: no table is made or altered, and the
// server refuses every statement that would change something. There may be no
// tables, so that Store returns nil.
func OpenReadOnly(ctx context.Context, url string, opts *Options) (*DB, error) {
	config, limits, err := resolve(url, opts)
	if err != nil {
		return nil, err
	}
	config.RuntimeParams["default_transaction_read_only"] = "on"
	connector := stdlib.GetConnector(*config, stdlib.OptionShouldPing(stale))
	db := &DB{pool: server.Open(connector, limits, rules(config.Password))}
	if err := db.pool.DB().PingContext(ctx); err != nil {
		db.pool.Close()
		return nil, db.pool.Describe(err)
	}
	return db, nil
}
