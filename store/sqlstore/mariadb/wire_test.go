package mariadb_test

import (
	"context"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/internal/wiretest"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/mariadb"
)

var (
	record = wiretest.Record
	why    = wiretest.Why
)

// one is a pool of one connection.
var one = &mariadb.Options{MaxConns: 1}

func TestOneRoundTrip(t *testing.T) {
	p, through := wiretest.New(t, services.MariaDB(t))
	wiretest.OneRoundTrip(t, p, open(t, through, one))
}

func TestPromise01_NeverResent(t *testing.T) {
	url := services.MariaDB(t)
	p, through := wiretest.New(t, url)
	wiretest.NeverResent(t, p, open(t, through, one), open(t, url, nil))
}

// TestPromise07_ATransactionThatCannotEndEnds: a server that stops answering at a
// COMMIT or a ROLLBACK keeps neither the caller nor the connection.
func TestPromise07_ATransactionThatCannotEndEnds(t *testing.T) {
	wiretest.EndOfTransaction(t, services.MariaDB(t), func(url string) wiretest.DB { return open(t, url, one) })
}

func TestStaleConnections(t *testing.T) {
	p, through := wiretest.New(t, services.MariaDB(t))
	wiretest.StaleConnections(t, p, open(t, through, nil))
}

func TestDeadlock(t *testing.T) { wiretest.Deadlock(t, open(t, services.MariaDB(t), nil)) }

func TestASVS_13_1_2_PoolLimit(t *testing.T) {
	wiretest.PoolLimit(t, open(t, services.MariaDB(t), &mariadb.Options{MaxConns: 2}))
}

func TestAttack_A08_Bytes(t *testing.T) { provenBytes(t, open(t, services.MariaDB(t), nil)) }

func provenBytes(t *testing.T, db *mariadb.DB) {
	t.Helper()
	wiretest.Bytes(t, db)
}

// wireCalls are calls of a store, each of which finds what it is about.
func wireCalls(ctx context.Context, st *sqlstore.Store) map[string]func() error {
	made := func(user string) (store.Record, error) {
		r := record(user)
		err := st.Put(ctx, r)
		r.Version++
		return r, err
	}
	after := func(f func(r store.Record) error) func() error {
		return func() error {
			r, err := made("alice")
			if err != nil {
				return err
			}
			return f(r)
		}
	}
	return map[string]func() error{
		"update": after(func(r store.Record) error { return st.Put(ctx, r) }),
		"touch":  after(func(r store.Record) error { return st.Touch(ctx, r.ID, r.Seen, r.Expires) }),
		"get":    after(func(r store.Record) error { _, err := st.Get(ctx, r.ID); return err }),
		"end":    after(func(r store.Record) error { return st.End(ctx, r.ID, 0, why(), r.Deadline) }),
		"list":   after(func(store.Record) error { _, err := st.ListUser(ctx, "alice"); return err }),
		"scan":   after(func(store.Record) error { _, err := st.Scan(ctx, store.ID{}, 10); return err }),
		"sweep":  after(func(store.Record) error { _, err := st.Sweep(ctx, time.Now()); return err }),
		"end user": after(func(r store.Record) error {
			_, err := st.EndUser(ctx, "alice", store.ID{}, why(), r.Deadline)
			return err
		}),
	}
}
