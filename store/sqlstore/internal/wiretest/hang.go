package wiretest

import (
	"context"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/faultproxy"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// patience is how long a test waits for what has to end by itself.
const patience = 5 * time.Second

// hanging is a database with one connection behind a proxy, and one beside it.
type hanging struct {
	proxy      *faultproxy.Proxy
	db, direct DB
	change     string
}

// EndOfTransaction proves that the end of a transaction is not waited for longer
// than the caller's context lasts, and that its connection is of use to the next
// caller, or gone. Open opens a database with one connection.
func EndOfTransaction(t *testing.T, server string, open func(url string) DB) {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	h := hanging{proxy: faultproxy.New(t, u.Host), direct: open(server)}
	u.Host = h.proxy.Addr()
	h.db = open(u.String())
	h.change = h.db.Dialect().SQL("UPDATE cloakroom_session SET version = version + 1 WHERE id = ?")
	t.Run("commit that does not arrive", func(t *testing.T) { h.commit(t, faultproxy.Fault{Blackhole: true}, 1) })
	t.Run("commit that is not answered", func(t *testing.T) { h.commit(t, faultproxy.Fault{DropAnswers: true}, 2) })
	t.Run("commit that is answered late", h.late)
	t.Run("rollback that is not answered", h.rollback)
	t.Run("caller who goes", func(t *testing.T) { h.gone(t, 0) })
	t.Run("caller who has gone long ago", func(t *testing.T) { h.gone(t, 500*time.Millisecond) })
	t.Run("rollback", h.kept)
}

// write makes a session and calls Write with an f that changes it and then calls
// then. It returns what Write does, and before it a function that proves which
// version the session has, and that the pool's connection takes the next write.
func (h *hanging) write(t *testing.T, ctx context.Context, then func() error) (check func(version uint64), err error) {
	t.Helper()
	r := Record("alice")
	if err := h.direct.Store().Put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- h.db.Write(ctx, func(ctx context.Context, tx sqlstore.Queryer) error {
			if _, err := tx.ExecContext(ctx, h.change, r.ID[:]); err != nil {
				return err
			}
			return then()
		})
	}()
	select {
	case err = <-done:
	case <-time.After(patience):
		t.Fatalf("the write has not ended after %v", patience)
	}
	return func(version uint64) {
		t.Helper()
		h.proxy.Heal()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if got, err := h.direct.Store().Get(ctx, r.ID); err != nil || got.Version != version {
			t.Errorf("version %d, %v, want %d", got.Version, err, version)
		}
		// Neither within a transaction that is still open, nor behind its lock.
		if _, err := h.db.Exec(ctx, h.change, r.ID[:]); err != nil {
			t.Errorf("the next write: %v", err)
		}
		if got, err := h.direct.Store().Get(ctx, r.ID); err != nil || got.Version != version+1 {
			t.Errorf("after the next write: version %d, %v, want %d", got.Version, err, version+1)
		}
	}, err
}

// commit is a COMMIT that hangs: the caller learns that its time is over, as with
// every other write of which nobody knows whether it is kept.
func (h *hanging) commit(t *testing.T, fault faultproxy.Fault, version uint64) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	check, err := h.write(t, ctx, func() error {
		h.proxy.Set(fault)
		return nil
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the end of its context", err)
	}
	check(version)
}

// late is a COMMIT whose caller goes while it is under way: its answer is waited
// for.
func (h *hanging) late(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	check, err := h.write(t, ctx, func() error {
		h.proxy.Set(faultproxy.Fault{Latency: 50 * time.Millisecond})
		before, _ := h.proxy.Bytes()
		go func() {
			for up := before; up == before && ctx.Err() == nil; up, _ = h.proxy.Bytes() {
				time.Sleep(time.Millisecond)
			}
			cancel()
		}()
		return nil
	})
	if err != nil {
		t.Errorf("got %v, want the answer", err)
	}
	check(2)
}

// rollback is a ROLLBACK that hangs, of a caller who has time without end.
func (h *hanging) rollback(t *testing.T) {
	refused := errors.New("refused")
	check, err := h.write(t, context.Background(), func() error {
		h.proxy.Set(faultproxy.Fault{Blackhole: true})
		return refused
	})
	if !errors.Is(err, refused) {
		t.Errorf("got %v, want the error of f", err)
	}
	check(1)
}

// gone is a caller who goes so long before the COMMIT: nothing is kept.
func (h *hanging) gone(t *testing.T, before time.Duration) {
	ctx, cancel := context.WithCancel(t.Context())
	check, err := h.write(t, ctx, func() error {
		cancel()
		time.Sleep(before)
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the end of its context", err)
	}
	check(1)
}

// kept is a ROLLBACK that is answered: it costs no connection.
func (h *hanging) kept(t *testing.T) {
	refused, before := errors.New("refused"), h.proxy.Connections()
	check, err := h.write(t, t.Context(), func() error { return refused })
	if !errors.Is(err, refused) {
		t.Errorf("got %v, want the error of f", err)
	}
	check(1)
	if n := h.proxy.Connections() - before; n != 0 {
		t.Errorf("%d new connections, want 0", n)
	}
}
