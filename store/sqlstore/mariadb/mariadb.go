package mariadb

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/cloakroom-dev/cloakroom/internal/link"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/internal/server"
)

// Options are the choices of Open. Nil and the zero value are the safe ones.
type Options struct {
	// MaxConns is how many connections there are at most; whoever needs one more
	// waits until its context ends. Zero is 16, the most is 1024. All instances
	// together, and whoever else uses the server, have to stay below the server's
	// max_connections, which is 151 unless it was set.
	MaxConns int

	// ConnLifetime is how old a connection becomes, so that a server that was
	// added gets its share. Zero is 30 minutes. One that is idle for 5 minutes is
	// closed.
	ConnLifetime time.Duration

	// ConnectTimeout is how long a connection, with TLS and password, may take.
	// Zero is 5 seconds.
	ConnectTimeout time.Duration

	// AllowPlaintext takes a link to another host that is not encrypted (ASVS
	// 12.3.1). It is for links that are protected in another way.
	AllowPlaintext bool
}

// DB is an open database. Use [Open]. Its methods may be called by many
// goroutines at once.
type DB struct {
	pool  *server.Pool
	store *sqlstore.Store
	name  string
}

var _ sqlstore.DB = (*DB)(nil)

// minPacket is the smallest max_allowed_packet in bytes with which a session of
// store.MaxData bytes fits into a statement: twice its size, as some bytes are
// written as two, and what stands around it.
const minPacket = 4 << 20

// Open connects to the database that the URL names and makes the tables of
// sessions where there are none. Errors are of one line, say what to do, and name
// no password.
func Open(ctx context.Context, url string, opts *Options) (*DB, error) {
	config, limits, err := resolve(url, opts)
	if err != nil {
		return nil, err
	}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, errors.New("mariadb: " + link.Redact(err.Error(), config.Passwd))
	}
	db := &DB{name: config.DBName}
	db.pool = server.Open(bounded{connector}, limits, rules(config.Passwd))
	if err := db.checkServer(ctx); err != nil {
		db.pool.Close()
		return nil, err
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

// checkServer refuses a server that could not take the largest session.
func (db *DB) checkServer(ctx context.Context) error {
	var packet int
	if err := db.pool.DB().QueryRowContext(ctx, "SELECT @@max_allowed_packet").Scan(&packet); err != nil {
		return db.pool.Describe(err)
	}
	if packet < minPacket {
		return fmt.Errorf("mariadb: the server's max_allowed_packet is %d bytes: set it to %d at least", packet, minPacket)
	}
	return nil
}

// Store returns the session store that is kept in the database, always the same.
func (db *DB) Store() *sqlstore.Store { return db.store }

// Dialect returns [sqlstore.MariaDB].
func (db *DB) Dialect() *sqlstore.Dialect { return sqlstore.MariaDB }

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

// Migrate runs f on one connection, under a lock that the server takes away when
// the connection ends; see [sqlstore.DB]. The server keeps each CREATE and ALTER
// at once, so one of them that finds its work done is no error: an instance that
// was killed did it.
func (db *DB) Migrate(ctx context.Context, f func(ctx context.Context, tx sqlstore.Queryer) error) error {
	// The name is the whole server's, and at most 64 characters.
	sum := sha256.Sum256([]byte(db.name))
	lock := "cloakroom." + hex.EncodeToString(sum[:16])
	return db.pool.Conn(ctx, func(ctx context.Context, conn sqlstore.Queryer) error {
		for got := 0; got != 1; {
			// In short turns: a server does not notice that who waits has gone.
			err := conn.QueryRowContext(ctx, "SELECT coalesce(get_lock(?, 2), 0)", lock).Scan(&got)
			if err != nil {
				return err
			}
		}
		if err := f(ctx, resumed{conn}); err != nil {
			return err // the connection is closed, and the lock goes with it
		}
		_, err := conn.ExecContext(ctx, "DO release_lock(?)", lock)
		return err
	})
}

// resumed is a connection on which what is there already is not made again.
type resumed struct{ sqlstore.Queryer }

func (q resumed) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	res, err := q.Queryer.ExecContext(ctx, query, args...)
	verb, _, _ := strings.Cut(strings.TrimSpace(query), " ")
	if (verb == "CREATE" || verb == "ALTER" || verb == "DROP") && isDone(err) {
		return driver.RowsAffected(0), nil
	}
	return res, err
}

// Durable returns an error if the server may lose an acknowledged write when it
// or its machine crashes, which says what to set.
func (db *DB) Durable(ctx context.Context) error {
	var (
		engine               string
		flush, binlog, syncs int
	)
	err := db.pool.DB().QueryRowContext(ctx, `SELECT @@innodb_flush_log_at_trx_commit, @@log_bin, @@sync_binlog,
		(SELECT engine FROM information_schema.tables WHERE table_schema = database() AND table_name = 'cloakroom_session')`).
		Scan(&flush, &binlog, &syncs, &engine)
	if err != nil {
		return fmt.Errorf("mariadb: read the server's settings: %w", db.pool.Describe(err))
	}
	var faults []string
	if engine != "InnoDB" {
		faults = append(faults, "the tables are of the engine "+engine+", which has no transactions: alter them to InnoDB")
	}
	if flush != 1 {
		faults = append(faults, fmt.Sprintf("innodb_flush_log_at_trx_commit is %d: set it to 1", flush))
	}
	if binlog != 0 && syncs != 1 {
		faults = append(faults, fmt.Sprintf("sync_binlog is %d: set it to 1", syncs))
	}
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("mariadb: a crash of the server may bring ended sessions back: %s", strings.Join(faults, ", "))
}

// Close waits for the statements that run and closes all connections. What is
// called afterwards fails.
func (db *DB) Close() error { return db.pool.Close() }
