package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/stdlib"

	"github.com/cloakroom-dev/cloakroom/internal/link"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/internal/server"
)

// Options are the choices of Open. Nil and the zero value are the safe ones.
type Options struct {
	// MaxConns is how many connections there are at most; whoever needs one more
	// waits until its context ends. Zero is 16, the most is 1024. All instances
	// together, and whoever else uses the server, have to stay below the server's
	// max_connections, which is 100 unless it was set.
	MaxConns int

	// ConnLifetime is how old a connection becomes, so that a server that was
	// added gets its share. Zero is 30 minutes. One that is idle for 5 minutes is
	// closed.
	ConnLifetime time.Duration

	// ConnectTimeout is how long a connection, with TLS and password, may take to
	// each host of the URL. Zero is 5 seconds; connect_timeout of the URL wins.
	ConnectTimeout time.Duration

	// AllowPlaintext takes a link to another host that is not encrypted, or whose
	// other end proves nothing (ASVS 12.3.1, 12.3.2). It is for links that are
	// protected in another way.
	AllowPlaintext bool
}

// DB is an open database. Use [Open]. Its methods may be called by many
// goroutines at once.
type DB struct {
	pool  *server.Pool
	store *sqlstore.Store
}

var _ sqlstore.DB = (*DB)(nil)

// Open connects to the database that the URL names and makes the tables of
// sessions where there are none. Errors are of one line, say what to do, and name
// no password.
func Open(ctx context.Context, url string, opts *Options) (*DB, error) {
	config, limits, err := resolve(url, opts)
	if err != nil {
		return nil, err
	}
	connector := stdlib.GetConnector(*config, stdlib.OptionShouldPing(stale))
	db := &DB{pool: server.Open(connector, limits, rules(config.Password))}
	if err := db.pool.DB().PingContext(ctx); err != nil {
		db.pool.Close()
		return nil, db.pool.Describe(err)
	}
	if db.store, err = sqlstore.New(ctx, db); err != nil {
		db.pool.Close()
		return nil, err
	}
	return db, nil
}

// CheckURL returns what Open would refuse of a URL and options before it
// connects, for a program that lists all faults of its configuration at once; and,
// for one that has rules of its own about it, how the server is reached.
func CheckURL(url string, opts *Options) (link.Login, error) {
	config, _, err := resolve(url, opts)
	if err != nil {
		return link.Login{}, err
	}
	return login(config), nil
}

// stale asks for a ping where a connection that lay idle has something to say, or
// may have. To ask every one would be a second round trip for each visitor of a
// site that has few.
func stale(_ context.Context, p stdlib.ShouldPingParams) bool {
	if p.IdleDuration <= time.Second {
		return false
	}
	quiet, _ := link.Quiet(p.Conn.PgConn().Conn())
	return !quiet
}

// Store returns the session store that is kept in the database, always the same.
func (db *DB) Store() *sqlstore.Store { return db.store }

// Dialect returns [sqlstore.PostgreSQL].
func (db *DB) Dialect() *sqlstore.Dialect { return sqlstore.PostgreSQL }

// Reader runs statements on the pool, each by itself.
func (db *DB) Reader() sqlstore.Queryer { return db.pool.DB() }

// Exec runs one statement, committed by itself, in one round trip; see
// [sqlstore.DB]. A statement that the server undid for a deadlock is run again.
func (db *DB) Exec(ctx context.Context, query string, args ...any) (int, error) {
	return db.pool.Exec(ctx, query, args...)
}

// Write runs f in a serializable transaction, again if the server undid it for
// the sake of another; see [sqlstore.DB].
func (db *DB) Write(ctx context.Context, f func(ctx context.Context, tx sqlstore.Queryer) error) error {
	return db.pool.Write(ctx, f)
}

// migrations is the advisory lock that a migration holds, a number that means
// nothing. Such locks belong to one database of the server.
const migrations = 0x636c6f616b726f6d

// Migrate runs f in a transaction that no other migration runs beside; see
// [sqlstore.DB]. The lock belongs to the transaction and not to the connection,
// which a proxy between may give to others.
func (db *DB) Migrate(ctx context.Context, f func(ctx context.Context, tx sqlstore.Queryer) error) error {
	// What the holder before did must be seen, so the snapshot is taken by the
	// statement and not by the transaction.
	return db.pool.WriteCommitted(ctx, func(ctx context.Context, tx sqlstore.Queryer) error {
		if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", int64(migrations)); err != nil {
			return err
		}
		return f(ctx, tx)
	})
}

// Durable returns an error if the server may lose an acknowledged write when it
// or its machine crashes, which says what to set.
func (db *DB) Durable(ctx context.Context) error {
	names := []string{"synchronous_commit", "fsync", "full_page_writes"}
	are := make([]string, len(names))
	err := db.pool.DB().QueryRowContext(ctx, "SELECT current_setting($1), current_setting($2), current_setting($3)",
		names[0], names[1], names[2]).Scan(&are[0], &are[1], &are[2])
	if err != nil {
		return fmt.Errorf("postgres: read the server's settings: %w", db.pool.Describe(err))
	}
	var faults []string
	for i, is := range are {
		if is == "off" {
			faults = append(faults, names[i]+" is off")
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("postgres: a crash of the server may bring ended sessions back: %s: set it to on", strings.Join(faults, ", "))
}

// Close waits for the statements that run and closes all connections. What is
// called afterwards fails.
func (db *DB) Close() error { return db.pool.Close() }
