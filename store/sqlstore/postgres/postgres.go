package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

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
	user  string
	known bool // there is a password or a client certificate
}

var _ sqlstore.DB = (*DB)(nil)

// Open connects to the database that the URL names and makes the tables of
// sessions where there are none. Errors are of one line, say what to do, and name
// no password.
func Open(ctx context.Context, url string, opts *Options) (*DB, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	limits := server.Limits{MaxConns: o.MaxConns, ConnLifetime: o.ConnLifetime, ConnectTimeout: o.ConnectTimeout}
	if err := limits.Check(); err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	config, err := parse(url, o.AllowPlaintext, limits.ConnectTimeout)
	if err != nil {
		return nil, err
	}
	limits.ConnectTimeout = config.ConnectTimeout * time.Duration(1+len(config.Fallbacks))
	connector := stdlib.GetConnector(*config, stdlib.OptionShouldPing(stale))
	db := &DB{user: config.User, known: config.Password != "" || hasCertificate(config)}
	db.pool = server.Open(connector, limits, rules(config.Password))
	if err := db.pool.DB().PingContext(ctx); err != nil {
		return nil, errors.Join(db.pool.Describe(err), db.pool.Close())
	}
	if db.store, err = sqlstore.New(ctx, db); err != nil {
		return nil, errors.Join(err, db.pool.Close())
	}
	return db, nil
}

// stale asks for a ping where a connection that lay idle has something to say, or
// may have. To ask every one would be a second round trip for each visitor of a
// site that has few.
func stale(_ context.Context, p stdlib.ShouldPingParams) bool {
	return p.IdleDuration > time.Second && !server.Quiet(p.Conn.PgConn().Conn())
}

// Store returns the session store that is kept in the database, always the same.
func (db *DB) Store() *sqlstore.Store { return db.store }

// Login returns the user that the database knows this program as, and whether
// there is a password or a client certificate to prove it.
func (db *DB) Login() (user string, proof bool) { return db.user, db.known }

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
	var faults []error
	for setting, fault := range map[string]string{"synchronous_commit": "off", "fsync": "off", "full_page_writes": "off"} {
		var is string
		if err := db.pool.DB().QueryRowContext(ctx, "SELECT current_setting($1)", setting).Scan(&is); err != nil {
			return fmt.Errorf("postgres: read the server's settings: %w", db.pool.Describe(err))
		}
		if is == fault {
			faults = append(faults, fmt.Errorf("%s is %s", setting, is))
		}
	}
	if len(faults) == 0 {
		return nil
	}
	text := strings.ReplaceAll(errors.Join(faults...).Error(), "\n", ", ")
	return fmt.Errorf("postgres: a crash of the server may bring ended sessions back: %s: set it to on", text)
}

// Close waits for the statements that run and closes all connections. What is
// called afterwards fails.
func (db *DB) Close() error { return db.pool.Close() }

func hasCertificate(config *pgx.ConnConfig) bool {
	return config.TLSConfig != nil && (len(config.TLSConfig.Certificates) > 0 || config.TLSConfig.GetClientCertificate != nil)
}
