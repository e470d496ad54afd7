package mariadb

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/go-sql-driver/mysql"

	"github.com/cloakroom-dev/cloakroom/internal/link"
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
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, errors.New("mariadb: " + link.Redact(err.Error(), config.Passwd))
	}
	db := &DB{name: config.DBName}
	db.pool = server.Open(bounded{lookers{connector}}, limits, rules(config.Passwd))
	if err := db.checkServer(ctx); err != nil {
		db.pool.Close()
		return nil, err
	}
	return db, nil
}

// lookers is a connector whose connections change nothing. The variable behind the
// statement has one name in MariaDB and another in MySQL.
type lookers struct{ driver.Connector }

// Connect implements driver.Connector.
func (c lookers) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.(driver.ExecerContext).ExecContext(ctx, "SET SESSION TRANSACTION READ ONLY", nil); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}
