package mariadb

import (
	"context"
	"database/sql/driver"
)

// bounded is a connector whose transactions end with the context that they began
// with. The driver's own COMMIT and ROLLBACK know no context, and read the answer
// under no deadline: a server that stops answering just then would keep the caller,
// and the connection, for ever.
type bounded struct{ driver.Connector }

// Connect implements driver.Connector.
func (b bounded) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := b.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{driverConn: c.(driverConn)}, nil
}

// driverConn is what the driver's connections can do. All of it is named here, as
// package sql asks a connection for each by itself, and does without what it does
// not find.
type driverConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// conn is a connection. Package sql lets one goroutine use it at a time.
type conn struct {
	driverConn
	unclear bool // nobody knows whether a transaction is open
}

// IsValid implements driver.Validator. A connection that may be in a transaction
// is closed, which undoes it: in the pool it would take the next statements into a
// transaction that nobody commits.
func (c *conn) IsValid() bool { return !c.unclear && c.driverConn.IsValid() }

// BeginTx implements driver.ConnBeginTx. The driver sets the isolation level.
func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if _, err := c.driverConn.BeginTx(ctx, opts); err != nil {
		c.unclear = true
		return nil, err
	}
	return tx{ctx, c}, nil
}

// tx is a transaction.
type tx struct {
	ctx  context.Context
	conn *conn
}

// Commit implements driver.Tx.
func (t tx) Commit() error { return t.end("COMMIT") }

// Rollback implements driver.Tx.
func (t tx) Rollback() error { return t.end("ROLLBACK") }

func (t tx) end(how string) error {
	_, err := t.conn.ExecContext(t.ctx, how, nil)
	t.conn.unclear = err != nil
	return err
}
