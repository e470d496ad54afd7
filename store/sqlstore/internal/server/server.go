// Package server is what the databases that run elsewhere have in common: a pool
// of connections with a limit, statements that are run again when the server has
// undone them and never otherwise, and the rules of the link to the server.
package server

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// Limits are the bounds of a pool. The zero value is filled in by Check.
type Limits struct {
	MaxConns       int
	ConnLifetime   time.Duration
	ConnectTimeout time.Duration
}

// The defaults, and the most connections that may be asked for.
const (
	defaultConns    = 16
	maxConns        = 1024
	defaultLifetime = 30 * time.Minute
	defaultConnect  = 5 * time.Second
	idleTime        = 5 * time.Minute
)

// Check fills in the defaults and returns every fault.
func (l *Limits) Check() []string {
	var faults []string
	if l.MaxConns < 0 || l.MaxConns > maxConns {
		faults = append(faults, fmt.Sprintf("MaxConns is %d, want 0 to %d", l.MaxConns, maxConns))
	}
	if l.ConnLifetime < 0 {
		faults = append(faults, fmt.Sprintf("ConnLifetime %v is negative", l.ConnLifetime))
	}
	if l.ConnectTimeout < 0 {
		faults = append(faults, fmt.Sprintf("ConnectTimeout %v is negative", l.ConnectTimeout))
	}
	l.MaxConns = cmp.Or(l.MaxConns, defaultConns)
	l.ConnLifetime = cmp.Or(l.ConnLifetime, defaultLifetime)
	l.ConnectTimeout = cmp.Or(l.ConnectTimeout, defaultConnect)
	return faults
}

// Pool is a pool of connections to one database.
type Pool struct {
	db    *sql.DB
	conns int
	rules Rules
	swept atomic.Int64 // when the idle connections were last closed, in nanoseconds
}

// Rules are what a driver's errors mean.
type Rules struct {
	// Undone tells whether the server says that it has undone the statement, or
	// the transaction, for the sake of another: it may be run again.
	Undone func(error) bool

	// ReadOnly tells whether the server says that it takes no writes: it may have
	// been the one that does until a moment ago.
	ReadOnly func(error) bool

	// Nothing tells whether the error of this statement is an answer: it met a row
	// that it leaves. May be nil.
	Nothing func(query string, err error) bool

	// Describe makes an error of one line that says what to do.
	Describe func(error) error
}

// Open makes a pool. It opens no connection yet.
func Open(c driver.Connector, l Limits, rules Rules) *Pool {
	db := sql.OpenDB(patient{c, l.ConnectTimeout})
	db.SetMaxOpenConns(l.MaxConns)
	db.SetMaxIdleConns(l.MaxConns)
	db.SetConnMaxLifetime(l.ConnLifetime)
	db.SetConnMaxIdleTime(idleTime)
	return &Pool{db: db, conns: l.MaxConns, rules: rules}
}

// patient is a connector whose connections come in time or not at all: package
// sql opens some for whoever waits, under no deadline, and one that never came
// would count against the limit for ever.
type patient struct {
	driver.Connector
	timeout time.Duration
}

func (p patient) Connect(ctx context.Context) (driver.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	return p.Connector.Connect(ctx)
}

// DB returns the pool itself, for statements that change nothing.
func (p *Pool) DB() *sql.DB { return p.db }

// Describe makes an error of one line that says what to do.
func (p *Pool) Describe(err error) error { return p.rules.Describe(err) }

// Close waits for the statements that run and closes all connections.
func (p *Pool) Close() error { return p.db.Close() }

// attempts is how often at most something is run that the server undoes.
const attempts = 100

// again calls f until the server has not undone it. driver.ErrBadConn is the
// other error after which f may run again: both drivers return it only if no
// byte of the statement was written.
func (p *Pool) again(ctx context.Context, f func() error) error {
	for n := 1; ; n++ {
		err := f()
		switch {
		case err == nil:
			return nil
		case p.rules.ReadOnly(err):
			p.renew()
			return p.rules.Describe(err)
		case !p.rules.Undone(err) && !errors.Is(err, driver.ErrBadConn) || n == attempts:
			return p.rules.Describe(err)
		}
		// Two that were in each other's way are not to meet again.
		pause := min(time.Millisecond<<min(n-1, 6), 50*time.Millisecond)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(rand.N(pause)):
		}
	}
}

// renew closes the idle connections, at most once a second: after a failover they
// lead to a server that was the first one, while the name leads to the new one.
func (p *Pool) renew() {
	now, last := time.Now().UnixNano(), p.swept.Load()
	if now-last < int64(time.Second) || !p.swept.CompareAndSwap(last, now) {
		return
	}
	p.db.SetMaxIdleConns(-1)
	p.db.SetMaxIdleConns(p.conns)
}

// settle is how long a caller whose context has ended waits for a statement that
// was sent. It takes a fraction of that, and to know what became of it is worth
// it: whoever reads the record to find out could read it too early. Only a server
// or a link that hangs leaves the question open.
const settle = 250 * time.Millisecond

// late returns a context that ends settle after ctx, or when end is called.
func late(ctx context.Context) (sent context.Context, end context.CancelFunc) {
	sent, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(settle, cancel) })
	return sent, func() { stop(); cancel() }
}

// Exec runs one statement, committed by itself; see [sqlstore.DB]. Waiting for a
// connection ends with ctx, and what was sent is waited for a little longer.
func (p *Pool) Exec(ctx context.Context, query string, args ...any) (n int, err error) {
	err = p.again(ctx, func() error {
		conn, err := p.db.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		sent, end := late(ctx)
		defer end()
		n, err = p.exec(sent, conn, query, args)
		if sent.Err() != nil {
			return ctx.Err()
		}
		return err
	})
	return n, err
}

func (p *Pool) exec(ctx context.Context, conn *sql.Conn, query string, args []any) (int, error) {
	res, err := conn.ExecContext(ctx, query, args...)
	if err != nil {
		if p.nothing(query, err) {
			err = nil
		}
		return 0, err
	}
	n, err := res.RowsAffected()
	return int(n), err
}

func (p *Pool) nothing(query string, err error) bool {
	return p.rules.Nothing != nil && p.rules.Nothing(query, err)
}

// Write runs f in a serializable transaction; see [sqlstore.DB].
func (p *Pool) Write(ctx context.Context, f func(context.Context, sqlstore.Queryer) error) error {
	return p.again(ctx, func() error {
		return p.transaction(ctx, sql.LevelSerializable, f)
	})
}

// WriteCommitted runs f in a transaction that sees what others have committed,
// and once only.
func (p *Pool) WriteCommitted(ctx context.Context, f func(context.Context, sqlstore.Queryer) error) error {
	if err := p.transaction(ctx, sql.LevelReadCommitted, f); err != nil {
		return p.rules.Describe(err)
	}
	return nil
}

// transaction runs f in a transaction. The driver ends it under the context that
// it began with, which lasts as long as Exec waits: only a COMMIT that was not
// answered by then is one of which nobody knows whether it is kept.
func (p *Pool) transaction(ctx context.Context, level sql.IsolationLevel, f func(context.Context, sqlstore.Queryer) error) error {
	conn, err := p.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	sent, end := late(ctx)
	defer end()
	tx, err := conn.BeginTx(sent, &sql.TxOptions{Isolation: level})
	if err != nil {
		return cmp.Or(ended(ctx, sent), err)
	}
	// Of what is not committed, be it for a panic of f. Nobody waits long for it:
	// without an answer the connection is closed, which undoes it too.
	defer func() {
		defer time.AfterFunc(settle, end).Stop()
		tx.Rollback()
	}()
	if err := f(ctx, queryer{tx, p}); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err // nothing is kept, which is better known than asked
	}
	if err := tx.Commit(); err != nil {
		return cmp.Or(ended(ctx, sent), err)
	}
	return nil
}

// ended returns why a statement under sent has ended, nil if it did so by itself.
func ended(ctx, sent context.Context) error {
	if sent.Err() == nil {
		return nil
	}
	return ctx.Err()
}

// Conn runs f on one connection, which is closed if f fails: nobody knows the
// state that it is in.
func (p *Pool) Conn(ctx context.Context, f func(context.Context, sqlstore.Queryer) error) error {
	conn, err := p.db.Conn(ctx)
	if err != nil {
		return p.rules.Describe(err)
	}
	defer conn.Close()
	if err := f(ctx, queryer{conn, p}); err != nil {
		conn.Raw(func(any) error { return driver.ErrBadConn })
		return p.rules.Describe(err)
	}
	return nil
}

// queryer is a transaction or a connection on which an answer is no error.
type queryer struct {
	sqlstore.Queryer
	pool *Pool
}

func (q queryer) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	res, err := q.Queryer.ExecContext(ctx, query, args...)
	if err != nil && q.pool.nothing(query, err) {
		return driver.RowsAffected(0), nil
	}
	return res, err
}
