package postgres_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/internal/wiretest"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore/postgres"
)

var (
	record = wiretest.Record
	why    = wiretest.Why
)

// one is a pool of one connection.
var one = &postgres.Options{MaxConns: 1}

func TestOneRoundTrip(t *testing.T) {
	for _, mode := range []string{"cache_statement", "exec"} {
		t.Run(mode, func(t *testing.T) {
			p, through := wiretest.New(t, with(t, services.Postgres(t), "default_query_exec_mode", mode))
			wiretest.OneRoundTrip(t, p, open(t, through, one))
		})
	}
}

// TestOneRoundTripAfterAPause: a connection that lay idle is not asked whether it
// is alive.
func TestOneRoundTripAfterAPause(t *testing.T) {
	p, through := wiretest.New(t, services.Postgres(t))
	db := open(t, through, one)
	get := func() {
		if _, err := db.Store().Get(t.Context(), store.ID{}); !errors.Is(err, store.ErrNotFound) {
			t.Error(err)
		}
	}
	get()
	time.Sleep(1100 * time.Millisecond)
	if trips, opened := p.Trips(get); trips != 1 || opened != 0 {
		t.Errorf("%d round trips, %d new connections, want 1 and 0", trips, opened)
	}
}

func TestPromise01_NeverResent(t *testing.T) {
	url := services.Postgres(t)
	p, through := wiretest.New(t, url)
	wiretest.NeverResent(t, p, open(t, through, one), open(t, url, nil))
}

// TestPromise07_ATransactionThatCannotEndEnds: a server that stops answering at a
// COMMIT or a ROLLBACK keeps neither the caller nor the connection.
func TestPromise07_ATransactionThatCannotEndEnds(t *testing.T) {
	wiretest.EndOfTransaction(t, services.Postgres(t), func(url string) wiretest.DB { return open(t, url, one) })
}

func TestStaleConnections(t *testing.T) {
	p, through := wiretest.New(t, services.Postgres(t))
	wiretest.StaleConnections(t, p, open(t, through, nil))
}

func TestDeadlock(t *testing.T) { wiretest.Deadlock(t, open(t, services.Postgres(t), nil)) }

func TestASVS_13_1_2_PoolLimit(t *testing.T) {
	wiretest.PoolLimit(t, open(t, services.Postgres(t), &postgres.Options{MaxConns: 2}))
}

func TestAttack_A08_Bytes(t *testing.T) { wiretest.Bytes(t, open(t, services.Postgres(t), nil)) }

// spy notes the statements that run on a database.
type spy struct {
	sqlstore.DB
	ran []call
}

type call struct {
	query string
	args  []any
}

func (s *spy) Exec(ctx context.Context, query string, args ...any) (int, error) {
	s.ran = append(s.ran, call{query, args})
	return s.DB.Exec(ctx, query, args...)
}

func (s *spy) Reader() sqlstore.Queryer { return spyReader{s.DB.Reader(), s} }

type spyReader struct {
	sqlstore.Queryer
	spy *spy
}

func (r spyReader) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	r.spy.ran = append(r.spy.ran, call{query, args})
	return r.Queryer.QueryContext(ctx, query, args...)
}

func (r spyReader) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	r.spy.ran = append(r.spy.ran, call{query, args})
	return r.Queryer.QueryRowContext(ctx, query, args...)
}

// calls does all that a store can with one session, and returns what ran.
func (s *spy) calls(t *testing.T, st *sqlstore.Store) []call {
	t.Helper()
	s.ran = nil
	ctx, r := t.Context(), record("alice")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(st.Put(ctx, r))
	r.Version++
	must(st.Put(ctx, r))
	must(st.Touch(ctx, r.ID, r.Seen, r.Expires))
	for _, f := range []func() error{
		func() error { _, err := st.Get(ctx, r.ID); return err },
		func() error { _, err := st.ListUser(ctx, "alice"); return err },
		func() error { _, err := st.Scan(ctx, store.ID{}, 10); return err },
		func() error { _, err := st.Sweep(ctx, time.Now()); return err },
		func() error { _, err := st.EndUser(ctx, "alice", store.ID{}, why(), r.Deadline); return err },
	} {
		must(f())
	}
	if err := st.End(ctx, r.ID, 0, why(), r.Deadline); !errors.Is(err, store.ErrEnded) {
		t.Fatal(err)
	}
	return s.ran
}
